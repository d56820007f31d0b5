"""The Prefect server that runs are shown on: the one that is configured, one that runs here, or a new one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tvtasks.errors import ConfigurationError

LOCAL_PORT = 4200
START_SECONDS = 180.0
"""A first start makes the database, half a minute on a fast PC."""

# A 4-task run sends about a hundred small writes. With the defaults SQLite is locked by them for so long that
# the next run is answered "busy" and waits two seconds; written in batches that does not happen.
_ENVIRONMENT = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "50",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "50",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # The newer dashboard asks an analytics host on the internet; this one asks nobody.
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
}


@dataclass(frozen=True)
class Server:
    """A Prefect server that answers; `process` is None where it was running before."""

    api_url: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def dashboard(self) -> str:
        """Address to open in a browser."""
        return self.api_url.removesuffix("/").removesuffix("/api")

    def stop(self) -> None:
        """Stop the server if it was started here."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def configured() -> Server | None:
    """Return the server that PREFECT_API_URL or the Prefect profile names, None if they name none.

    Raises
    ------
    ConfigurationError
        If that server does not answer.
    """
    from prefect.settings import PREFECT_API_URL  # noqa: PLC0415 - importing Prefect takes a second

    url = PREFECT_API_URL.value()
    if not url:
        return None
    if not answers(url):
        raise ConfigurationError(
            f"The Prefect server at {url} (PREFECT_API_URL) does not answer. Start it, correct the address, "
            "or unset PREFECT_API_URL to use a server on this computer."
        )
    return Server(url)


def running() -> Server | None:
    """Return the server on this computer, if one answers at the usual port."""
    url = _local_url(LOCAL_PORT)
    return Server(url) if answers(url) else None


def start(log: Path, *, home: Path | None = None, waiting: Callable[[], object] = lambda: None) -> Server:
    """Start a server on loopback with Prefect's embedded database, and wait until it answers.

    Parameters
    ----------
    log
        Where its output goes.
    home
        Where its database is; Prefect's own place if not given.
    waiting
        Called several times a second while it starts; may raise to give up.
    """
    port = LOCAL_PORT if _is_free(LOCAL_PORT) else _free_port()
    environment = {**os.environ, **_ENVIRONMENT}
    environment.pop("PREFECT_API_URL", None)
    # Unless it is told, the dashboard looks for its server at the usual port, whatever --port says.
    environment["PREFECT_SERVER_UI_API_URL"] = _local_url(port)
    if home is not None:
        environment["PREFECT_HOME"] = str(home.resolve())
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    # In a group of its own, so that Ctrl-C reaches us alone: runs in progress need the server to the end.
    own_group: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        own_group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            **own_group,
        )  # fmt: skip
    server = Server(_local_url(port), process)
    deadline = time.monotonic() + START_SECONDS
    try:
        while not answers(server.api_url):
            waiting()
            if process.poll() is not None or time.monotonic() > deadline:
                raise ConfigurationError(
                    f"The Prefect server did not start; {log} says why. Its last lines: {_tail(log)}"
                )
            time.sleep(0.2)
    except BaseException:
        server.stop()
        raise
    return server


def answers(api_url: str) -> bool:
    """Return whether a Prefect server answers at this address."""
    try:
        reply = httpx.get(f"{api_url.removesuffix('/')}/health", timeout=2.0)
        return reply.status_code == httpx.codes.OK and reply.json() is True
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return False


def _local_url(port: int) -> str:
    return f"http://127.0.0.1:{port}/api"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _tail(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    return " / ".join(line.strip() for line in lines[-3:])
