"""Setting up a server whose database is busy."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from tvtasks.cli.deploy import patiently


@pytest.fixture
def busy() -> Iterator[str]:
    """The address of a server that is busy twice, then answers, and then refuses."""
    answers = iter([503, 503, 200, 409])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(next(answers))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_busy_server_is_asked_again_and_another_refusal_is_final(busy: str) -> None:
    def work() -> int:
        return httpx.get(busy).raise_for_status().status_code

    pauses: list[float] = []
    assert patiently(work, wait=pauses.append) == 200
    assert pauses == [2.0, 5.0]
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        patiently(work, wait=pauses.append)
    assert len(pauses) == 2
