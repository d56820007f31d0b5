"""The Prefect server that shows the runs: the one that the user named, ours if it runs, or a new one.

A `ServerKeeper` looks after it while a watch is running.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from tvtasks import writers
from tvtasks.dashboard.serve import MARK_PATH, STARTER_VARIABLE, Mark, api_url, mark_path, prefect_home
from tvtasks.errors import ConfigurationError, ServerError
from tvtasks.health.heartbeat import ServerState
from tvtasks.periodic import Periodic

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

LOCAL_PORT = 4200
START_SECONDS = 180.0
"""Seconds to wait for a start: the first start makes the database, which takes half a minute on a fast PC."""

SERVER_CHECK_SECONDS = 5.0
"""Seconds between checks that the server answers."""

OTHERS_PATIENCE = 15.0
"""Seconds without an answer after which a server that someone else started counts as gone: its owner may
restart it first."""

BUSY_SECONDS = 20.0
"""Seconds to wait for the first answer of a server that the user named: it may be busy."""

WEDGED_SECONDS = 180.0
"""Seconds without an answer after which we end our own server although its process lives; a busy server
answers late."""

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds between attempts to start a server: at first and at most, doubling each time."""

LOG_SIZE = 5_000_000
"""Bytes of the server's log above which a new log begins; the previous one is kept."""


@dataclass(frozen=True)
class Server:
    """A Prefect server that answers.

    Attributes
    ----------
    api_url
        Its address for programs.
    process
        The server process if we started it; None if it was already running.
    is_ours_to_start
        Whether we may replace it when it dies: not if the user named it.
    mark
        How a server of ours that was running already introduced itself.
    """

    api_url: str
    process: subprocess.Popen[bytes] | None = None
    is_ours_to_start: bool = True
    mark: Mark | None = None

    @property
    def dashboard(self) -> str:
        """Its address for a browser."""
        return self.api_url.removesuffix("/").removesuffix("/api")

    @property
    def origin(self) -> str:
        """Whose server it is, in words."""
        if self.process:
            return "started for this command"
        return "tvtasks' own, already running" if self.is_ours_to_start else "named by PREFECT_API_URL"

    def stop(self) -> None:
        """Stop the server if we started it, or if the process that started it was killed."""
        if self.process is None:
            if self.mark and self.mark.is_orphan:
                with suppress(OSError):
                    os.kill(self.mark.pid, signal.SIGTERM)
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def configured() -> Server | None:
    """Return the server that PREFECT_API_URL or the Prefect profile names; None if they name none.

    Raises
    ------
    ServerError
        That server does not answer, or refuses the password.
    """
    from prefect.settings import (  # noqa: PLC0415 - importing Prefect takes a second
        PREFECT_API_AUTH_STRING,
        PREFECT_API_KEY,
        PREFECT_API_URL,
    )

    url = PREFECT_API_URL.value()
    if not url:
        return None
    if not answers(url, timeout=BUSY_SECONDS):
        raise ServerError(
            f"The Prefect server at {url} (PREFECT_API_URL) does not answer. Start it, correct the address, "
            "or unset PREFECT_API_URL to use a server on this computer."
        )
    password = PREFECT_API_AUTH_STRING.value()
    name, _, secret = (password or "").partition(":")
    login = (name, secret) if password else None
    if not PREFECT_API_KEY.value() and _refuses(url, login):
        what = "refuses the password in PREFECT_API_AUTH_STRING" if password else "asks for a password"
        raise ServerError(
            f"The Prefect server at {url} {what}. Set PREFECT_API_AUTH_STRING to the name:password that it "
            "was started with."
        )
    return Server(url, is_ours_to_start=False)


def _refuses(api_url: str, login: tuple[str, str] | None) -> bool:
    import httpx  # noqa: PLC0415 - see _get

    with suppress(httpx.HTTPError):
        reply = _get(f"{api_url.removesuffix('/')}/admin/version", auth=login, timeout=BUSY_SECONDS)
        return reply.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}
    return False


def running(home: Path | None = None) -> Server | None:
    """Return the server of ours that runs on this computer, if there is one.

    A server that is not ours may belong to someone else, and answers the pages of any site: use it only by
    its name.

    Parameters
    ----------
    home
        Folder of its database; Prefect's home if not given.
    """
    with suppress(OSError):
        mark = Mark.of(mark_path(home or prefect_home()).read_bytes())
        if mark and _answers_as(mark) and answers(mark.url):
            return Server(mark.url, mark=mark)
    return None


def _answers_as(mark: Mark) -> bool:
    import httpx  # noqa: PLC0415 - see _get

    with suppress(httpx.HTTPError):
        return _get(mark.url.removesuffix("/api") + MARK_PATH, timeout=2.0).content == mark.record
    return False


def _get(url: str, **options: Any) -> httpx.Response:
    """Get a page, for which the certificates of the system are read only if it needs them: they cost 70 ms.

    httpx is imported by those who ask a server, since it takes 100 ms, and often there is none.
    """
    import httpx  # noqa: PLC0415 - see above

    return httpx.get(url, verify=url.startswith("https:"), **options)


def start(
    log: Path,
    *,
    home: Path | None = None,
    port: int | None = None,
    keep: bool = False,
    waiting: Callable[[], object] = lambda: None,
) -> Server:
    """Start a server on loopback with Prefect's embedded database, and wait until it answers.

    Parameters
    ----------
    log
        File for its output.
    home
        Folder for its database; Prefect's own place if not given.
    port
        Its port; if not given, PREFECT_SERVER_API_PORT or 4200, or any free one if that is taken.
    keep
        Whether it keeps running when this process has ended.
    waiting
        Called several times a second during the start; may raise an error to give up.

    Raises
    ------
    ConfigurationError
        The server does not start; the message gives the reason.
    """
    wanted = port or int(os.environ.get("PREFECT_SERVER_API_PORT") or LOCAL_PORT)
    if not is_free(wanted):
        if port:
            raise ConfigurationError(f"Another program uses port {port}. Choose another port.")
        wanted = free_port()
    settings = {**os.environ, STARTER_VARIABLE: "" if keep else writers.name()}
    if home is not None:
        settings["PREFECT_HOME"] = str(home.resolve())
    settings["PYTHONSAFEPATH"] = "1"  # never import a file from the current folder
    command = [sys.executable, "-m", "tvtasks.cli", "server", "--port", str(wanted)]
    # In a process group of its own, so that Ctrl-C reaches only us: runs need the server until they end.
    own_group: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        own_group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        rotate(log)
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                env=settings,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                **own_group,
            )
    except OSError as error:
        raise ConfigurationError(
            f"The Prefect server cannot be started with its output in {log}: {error.strerror or error}. "
            "Check that you may write to this folder."
        ) from error
    server = Server(api_url(wanted), process)
    deadline = time.monotonic() + START_SECONDS
    try:
        while not answers(server.api_url):
            waiting()
            if process.poll() is not None or time.monotonic() > deadline:
                raise ConfigurationError(
                    f"The Prefect server did not start. The reason is in {log}; its last lines: {_tail(log)}"
                )
            time.sleep(0.2)
    except BaseException:
        server.stop()
        raise
    return server


class ServerKeeper:
    """Looks after a Prefect server, in a thread of its own, while its context is open; then stops it.

    If our own server dies, the keeper restarts it on the same port. It also restarts a server that was found
    running here, since nobody else may do so. A server that the user named is the user's: the keeper only
    checks it. Restoring continues throughout.

    Parameters
    ----------
    server
        The server; it answers.
    log
        File for the output of a new server.
    home
        Folder for the database of a new server; Prefect's own place if not given.
    keep
        Whether the server keeps running at the end.
    clock
        Returns monotonic seconds.
    """

    def __init__(
        self,
        server: Server,
        log: Path,
        *,
        home: Path | None = None,
        keep: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server = server
        self._keep = keep
        self._log = log
        self._home = home
        self._clock = clock
        import httpx  # noqa: PLC0415 - see _get

        # Made once: making a client reads all certificates of the system, which costs more than many checks.
        self._client = httpx.Client(timeout=2.0)
        self._answers = True
        self._last_answer = clock()
        self._next_start = clock()
        self._pause = FIRST_PAUSE
        self._thread = Periodic(
            self.check, every=SERVER_CHECK_SECONDS, name="tvtasks server keeper", wait_first=True
        )

    def state(self) -> ServerState:
        """Return the state of the server at the last check; never waits."""
        return ServerState(self.server.api_url, self._answers, self.server.is_ours_to_start)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.stop()
        self._client.close()
        if not self._keep:
            self.server.stop()

    def abandon(self) -> None:
        """End a server that we started, without waiting for anything."""
        if self.server.process:
            self.server.process.terminate()

    def check(self) -> None:
        """Check that the server answers; restart it if it is gone and an attempt is due."""
        now = self._clock()
        self._answers = answers(self.server.api_url, self._client)
        rotate(self._log)
        if self._answers:
            self._last_answer = now
            self._pause = FIRST_PAUSE
        elif self._is_gone(now) and now >= self._next_start:
            self._start_again()

    def _is_gone(self, now: float) -> bool:
        if not self.server.is_ours_to_start:
            return False
        process = self.server.process
        if process is None:
            return now - self._last_answer > OTHERS_PATIENCE
        return process.poll() is not None or now - self._last_answer > WEDGED_SECONDS

    def _start_again(self) -> None:
        where = urlsplit(self.server.api_url)
        try:
            self.server.stop()
            if where.port is None or not is_free(where.port):
                raise ConfigurationError(f"Another program uses port {where.port}.")
            logger.info("Restarting the Prefect server at %s", self.server.api_url)
            self.server = start(self._log, home=self._home, port=where.port, waiting=self._check_stop)
        except _StoppedError:
            return
        except ConfigurationError as error:
            logger.warning("%s The next attempt is in %.0f s.", error, self._pause)
            self._next_start = self._clock() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        else:
            self._answers = True
            self._last_answer = self._clock()
            logger.info("The Prefect server at %s answers again", self.server.api_url)

    def _check_stop(self) -> None:
        if self._thread.is_stopping:
            raise _StoppedError


class _StoppedError(Exception):
    """The watch ended while a server was starting."""


def answers(api_url: str, client: httpx.Client | None = None, *, timeout: float = 2.0) -> bool:
    """Return whether a Prefect server answers at this address within so many seconds."""
    import httpx  # noqa: PLC0415 - see _get

    get = client.get if client else _get
    try:
        reply = get(f"{api_url.removesuffix('/')}/health", timeout=timeout)
        return reply.status_code == httpx.codes.OK and reply.json() is True
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return False


def rotate(log: Path) -> None:
    """Begin a new log of the server if it has become large, and keep the previous one.

    The file is emptied instead of renamed, because the server keeps writing to its open file.
    """
    with suppress(OSError):
        if log.is_file() and log.stat().st_size > LOG_SIZE:
            shutil.copyfile(log, log.with_suffix(".1.log"))
            os.truncate(log, 0)


def is_free(port: int) -> bool:
    """Return whether no program on this computer listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def free_port() -> int:
    """Return a port on which no program listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _tail(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    return " / ".join(line.strip() for line in lines[-3:])


def find(*, by_profile: bool = True) -> Server | None:
    """Return the server that the user named, or else one of ours on this computer; None if there is none.

    Parameters
    ----------
    by_profile
        Whether to look at the Prefect profile as well as PREFECT_API_URL; reading it takes a second.

    Raises
    ------
    ServerError
        The server that the user named does not answer, or refuses the password.
    """
    named = configured() if by_profile or os.environ.get("PREFECT_API_URL") else None
    return named or running()
