"""A server that is busy for a moment keeps nobody waiting for two seconds."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import httpx
import prefect
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from tvtasks.dashboard.client import Connection
from tvtasks.dashboard.private import own_client, retry_soon

VERSION = f'"{prefect.__version__}"'.encode()  # what a client asks first


@contextmanager
def busy_server(times: int) -> Iterator[tuple[str, list[str]]]:
    """A server that says so many times that it is busy; its address, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(503 if len(asked) <= times else 200)
            self.send_header("content-length", str(len(VERSION)))
            self.end_headers()
            self.wfile.write(VERSION)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/api", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def pauses(monkeypatch):
    """What Prefect's client has waited; the waiting itself is left out."""
    waited = []
    monkeypatch.setattr("prefect.client.base.time.sleep", waited.append)
    return waited


def test_a_run_retries_soon_and_waits_longer_each_time(pauses):
    with busy_server(3) as (url, asked), temporary_settings({PREFECT_API_URL: url}), own_client() as client:
        assert client.request("GET", "/health").status_code == 200
    assert asked[-1] == "/api/health"
    assert pauses == sorted(pauses)
    assert len(pauses) == 3
    assert sum(pauses) < 1.0


def test_so_does_the_supervisor_of_the_runs(pauses):
    with busy_server(1) as (url, asked):
        connection = Connection(url)
        assert connection.client.request("GET", "/health").status_code == 200
        connection.close()
    assert asked[-1] == "/api/health"
    assert len(pauses) == 1
    assert pauses[0] < 0.1


def test_a_server_that_names_a_pause_is_obeyed():
    request = httpx.Request("GET", "http://127.0.0.1/api/health")
    response = httpx.Response(503, headers={"retry-after": "7"}, request=request)
    retry_soon(response)
    assert response.headers["retry-after"] == "7"
    fine = httpx.Response(200, request=request)
    retry_soon(fine)
    assert "retry-after" not in fine.headers
