"""A Prefect server for tvtasks: small writes in batches, no outside requests, no answer to foreign pages.

A browser sends the requests of any page to any address, including servers on this computer. So each request
must name a host that this server is known by (otherwise a foreign name that resolves to this computer would
pass), and a request from a page must come from one of the server's own pages. These pages, in turn, may load
nothing from elsewhere: they show names and notes from files of any origin.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

from tvtasks import memory, writers
from tvtasks.errors import TvtasksError
from tvtasks.files import whole
from tvtasks.periodic import Periodic

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
DATABASE = "tvtasks.db"
"""File name of the database, in Prefect's home."""

STARTER_VARIABLE = "TVTASKS_SERVER_STARTER"
"""Environment variable: the process that stops the server when it ends; see `tvtasks.writers.name`."""

MARK_PATH = "/tvtasks"
"""Path of the server's own mark."""

# A run of four tasks makes about a hundred small writes. With the defaults they lock SQLite so long that the
# next run gets the answer "busy" and waits two seconds; in batches they do not.
ENVIRONMENT = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "50",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "50",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
    "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
    "DO_NOT_TRACK": "1",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
}
"""Settings that every server of ours has."""

# Keep runs with their pictures for a month, and events, which fill most of the database, for two days. The
# archives hold the results, so nothing depends on either.
RETENTION = {
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(30 * 86_400),
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P2D",
}
"""Settings that the user may override."""

MEMORY_VARIABLE = "TVTASKS_SERVER_MEMORY"
"""Environment variable: GB of memory above which a server begins afresh at the next pause."""

MEMORY = 1.0
"""The same if the variable is not set: three times what a new server takes."""

PAUSE_SECONDS = 20.0
"""Seconds without a new run or state that count as a pause."""

REST_SECONDS = 5.0
"""Seconds between looks at the server's memory."""

_REFUSED = b"This server answers its own pages and programs only ('tvtasks server --allow-host' adds a name)."
_POLICY_VIOLATION = 1008


def api_url(port: int) -> str:
    """Return the address, for programs on this computer, of a server at this port."""
    return f"http://127.0.0.1:{port}/api"


def environment(port: int) -> dict[str, str]:
    """Return this process's environment with the settings of a server at this port."""
    pages = ",".join(f"http://{host}:{port}" for host in ("127.0.0.1", "localhost"))
    own = {**ENVIRONMENT, "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": pages}
    # Without an address, the dashboard looks for its server at the usual port.
    found = {**RETENTION, "PREFECT_SERVER_UI_API_URL": api_url(port), **os.environ, **own}
    found.pop("PREFECT_API_URL", None)  # the server is not its own client
    return found


@dataclass(frozen=True)
class Mark:
    """What a server of ours answers at `MARK_PATH`, and leaves in Prefect's home so that others find it.

    Attributes
    ----------
    url
        Its address for programs.
    pid
        Its process.
    id
        A random name: no other server answers with it.
    starter
        The process that stops it; empty if it runs until someone stops it.
    """

    url: str
    pid: int
    id: str
    starter: str

    @classmethod
    def of(cls, record: bytes) -> Self | None:
        """Return the mark in a record; None if it holds none."""
        try:
            return cls(**json.loads(record))
        except (ValueError, TypeError):
            return None

    @property
    def record(self) -> bytes:
        """The mark as JSON."""
        return json.dumps(asdict(self)).encode()

    @property
    def is_orphan(self) -> bool:
        """Whether the process that would stop the server has ended without stopping it."""
        return bool(self.starter) and writers.is_gone(self.starter)


def prefect_home() -> Path:
    """Return the folder for Prefect's settings and databases."""
    return Path(os.environ.get("PREFECT_HOME") or Path("~", ".prefect")).expanduser()


def mark_path(home: Path) -> Path:
    """Return the path of the mark of the server whose database is in this folder."""
    return home / "tvtasks-server.json"


@contextmanager
def leaving(mark: Mark, home: Path) -> Iterator[None]:
    """Leave a mark in Prefect's home while the context is open; without it the server runs, unfound."""
    path = mark_path(home)
    with suppress(TvtasksError), whole(path) as draft:
        draft.write_bytes(mark.record)
    try:
        yield
    finally:
        with suppress(OSError):
            if path.read_bytes() == mark.record:
                path.unlink()


class Rest:
    """Decides when a server begins afresh: Prefect's server takes about 50 kB more with every run.

    Parameters
    ----------
    most
        Bytes of memory above which the server begins afresh at the next pause, and above one and a half times
        of which it does so at once.
    clock
        Returns monotonic seconds.
    occupied
        Returns the bytes that the process occupies.
    """

    def __init__(
        self,
        most: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        occupied: Callable[[], int | None] = memory.resident,
    ) -> None:
        self._most = most
        self._clock = clock
        self._occupied = occupied
        self._last_work = clock()

    def saw(self, method: str, path: str) -> None:
        """Take note of a request: only those count that create runs or change their state."""
        if method == "POST" and path.endswith(("_runs/", "/set_state")):
            self._last_work = self._clock()

    def is_due(self) -> bool:
        """Return whether the server should begin afresh now."""
        occupied = self._occupied() or 0
        pauses = self._clock() - self._last_work >= PAUSE_SECONDS
        return occupied > 1.5 * self._most or (occupied > self._most and pauses)


class OwnPagesOnly:
    """Refuses requests that name a foreign host or come from a foreign page.

    Parameters
    ----------
    app
        The server.
    hosts
        Names that it is known by besides those of this computer, without ports.
    mark
        What it answers at `MARK_PATH`.
    policy
        What its pages may load, as a Content-Security-Policy.
    saw
        Called with the method and the path of each request that is passed on.
    """

    def __init__(
        self,
        app: App,
        hosts: Collection[str] = (),
        mark: bytes = b"",
        policy: str = "",
        saw: Callable[[str, str], object] = lambda method, path: None,
    ) -> None:
        self._app = app
        self._saw = saw
        self._policy = (b"content-security-policy", policy.encode())
        self._named = {host.lower() for host in hosts}
        self._mark = mark

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "lifespan" and not self._is_own(dict(scope["headers"])):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            else:
                await _answer(send, 403, b"text/plain", _REFUSED)
        elif scope["type"] == "http" and scope["path"] == MARK_PATH:
            await _answer(send, 200, b"application/json", self._mark)
        else:
            self._saw(scope.get("method", ""), scope.get("path", ""))
            await self._app(scope, receive, self._with_policy(send))

    def _with_policy(self, send: Send) -> Send:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], self._policy]}
            await send(message)

        return answer

    def _is_own(self, headers: dict[bytes, bytes]) -> bool:
        host, port = _split(headers.get(b"host", b""))
        if host not in LOCAL_HOSTS | self._named:
            return False
        if b"origin" not in headers:
            return True
        scheme, _, address = headers[b"origin"].partition(b"://")
        page, page_port = _split(address)
        if scheme not in {b"http", b"https"}:
            return False
        # A proxy may name this computer as the host; other ports of this computer are other servers.
        return page in self._named or (page in LOCAL_HOSTS and host in LOCAL_HOSTS and page_port == port)


async def _answer(send: Send, status: int, kind: bytes, body: bytes) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _split(address: bytes) -> tuple[str, str]:
    """Return host and port of an address."""
    text = address.decode("latin-1").lower()
    host, bracket, rest = text.partition("]") if text.startswith("[") else ("", "", text)  # IPv6
    name, _, port = rest.partition(":")
    return host + bracket + name, port


def page_policy(api_url: str, port: int) -> str:
    """Return the policy by which a browser lets pages contact this server and nobody else."""
    where = urlsplit(api_url)
    places = {where.netloc, f"127.0.0.1:{port}", f"localhost:{port}"}
    secure = "s" if where.scheme == "https" else ""
    own = " ".join(f"http{secure}://{place} ws{secure}://{place}" for place in sorted(places))
    return (
        "default-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
        "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        f"connect-src 'self' {own}; object-src 'none'; base-uri 'self'; frame-ancestors 'none'"
    )


def serve(host: str, port: int, hosts: Collection[str]) -> None:
    """Run a Prefect server until it is stopped.

    Its database is the one that Prefect's settings name, or else ``tvtasks.db`` in Prefect's home: a server
    that the user runs for other work keeps its own.

    Parameters
    ----------
    host
        Address to listen on.
    port
        Port to listen on.
    hosts
        Names that it is known by besides those of this computer.
    """
    os.environ.update(environment(port))
    os.environ.pop("PREFECT_API_URL", None)
    import uvicorn  # noqa: PLC0415 - with Prefect, which reads its settings when it is imported
    from prefect.server.api.server import create_app  # noqa: PLC0415
    from prefect.settings import (  # noqa: PLC0415
        PREFECT_API_DATABASE_CONNECTION_URL,
        get_current_settings,
        temporary_settings,
    )

    from tvtasks.dashboard.private import without_new_interface  # noqa: PLC0415

    settings = get_current_settings()
    usual = f"sqlite+aiosqlite:///{settings.home}/prefect.db"
    own = f"sqlite+aiosqlite:///{settings.home}/{DATABASE}"
    is_usual = PREFECT_API_DATABASE_CONNECTION_URL.value() == usual
    rest = Rest(1e9 * float(os.environ.get(MEMORY_VARIABLE) or MEMORY))
    mark = Mark(api_url(port), os.getpid(), uuid4().hex, os.environ.get(STARTER_VARIABLE, ""))
    # Uvicorn raises the signal again when it has stopped; without a handler, the mark would be left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with (
        temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: own} if is_usual else {}),
        leaving(mark, settings.home),
    ):
        policy = page_policy(os.environ["PREFECT_SERVER_UI_API_URL"], port)
        with without_new_interface():
            app = OwnPagesOnly(create_app(final=True), hosts, mark.record, policy, rest.saw)
        running = uvicorn.Server(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                timeout_keep_alive=settings.server.api.keepalive_timeout,
                ws_ping_interval=settings.server.api.websocket_ping_interval,
                ws_ping_timeout=settings.server.api.websocket_ping_timeout,
                timeout_graceful_shutdown=10,
                log_level=settings.server.logging_level.lower(),
            )
        )
        is_resting = False

        def rest_when_due() -> None:
            nonlocal is_resting
            if running.started and rest.is_due():
                is_resting = running.should_exit = True
                print("The server begins afresh, because it takes much memory.", flush=True)

        looks = Periodic(rest_when_due, every=REST_SECONDS, name="tvtasks server memory", wait_first=True)
        with looks, suppress(KeyboardInterrupt):  # Ctrl-C, which uvicorn raises again when it has stopped
            running.run()
        if not running.started:
            sys.exit(1)  # its log says why
    if is_resting and not (sys.platform == "win32" and mark.starter):  # its keeper starts it again
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *_words(sys.orig_argv[1:])])


def _words(words: list[str]) -> list[str]:
    """Return the words of a command line as the program on Windows gets them again."""
    return [f'"{word}"' if sys.platform == "win32" and " " in word else word for word in words]
