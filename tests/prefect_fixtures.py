"""A real Prefect server, the command line in this process, and small scans: for tests of the outer rooms."""

import os
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from filelock import FileLock

if TYPE_CHECKING:  # importing Prefect takes a second, which tests of a solver can save
    from tvtasks.dashboard.server import Server

SaveScan = Callable[..., Path]
WriteScan = Callable[..., Path]
Tvtasks = Callable[..., "Ended"]


AUDIT = """
import os, sys

log = os.open(os.environ["TVTASKS_AUDIT"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def note(event, arguments):
    if event in {"socket.connect", "socket.bind", "socket.sendto"}:
        os.write(log, f"{event}\\t{arguments[1]!r}\\n".encode())
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        os.write(log, f"{event}\\t{arguments[0]!r}\\n".encode())

sys.addaudithook(note)
"""


class Audit(NamedTuple):
    """Environment variables, and the file in which each line is an event and an address."""

    environment: dict[str, str]
    log: Path


class Ended(NamedTuple):
    """The exit code of a command, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again within a fraction of a second: a test has nothing else to do."""
    from tvtasks import monitor
    from tvtasks.acquisition import loop
    from tvtasks.dashboard import supervision, watch_page

    monkeypatch.setattr(monitor, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(loop, "TURN_SECONDS", 0.02)
    monkeypatch.setattr(supervision, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(watch_page, "PUBLISH_SECONDS", 0.1)


@pytest.fixture
def dead_url() -> str:
    """The address of a Prefect server that is not running."""
    return f"http://127.0.0.1:{unused_port()}/api"


@pytest.fixture(scope="session")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """Environment in which each Python process logs its network calls, and the file of that log."""
    folder = tmp_path_factory.mktemp("audit")
    (folder / "sitecustomize.py").write_text(AUDIT, "utf-8")
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    return Audit({"PYTHONPATH": path, "TVTASKS_AUDIT": str(folder / "network.txt")}, folder / "network.txt")


@pytest.fixture
def tvtasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Tvtasks:
    """Call the command line in a folder of its own, in this process, which has already imported it."""
    from tvtasks.cli import app
    from tvtasks.dashboard import server as servers

    monkeypatch.chdir(tmp_path)
    # Leave the developer's own server alone.
    monkeypatch.setattr(servers, "LOCAL_PORT", unused_port())

    def call(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["tvtasks", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            app.main()
        return Ended(int(end.value.code or 0), *capfd.readouterr())

    return call


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server has its database."""
    return tmp_path_factory.mktemp("prefect")


def copy_database(source: Path, folder: Path) -> Path:
    """Copy a server's database, which takes ten seconds to make, into another folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        closing(sqlite3.connect(source / "tvtasks.db")) as of,
        closing(sqlite3.connect(folder / "tvtasks.db")) as to,
    ):
        of.backup(to)
    return folder


@pytest.fixture
def database(server: "Server", home: Path) -> Callable[[Path], Path]:
    """Copies the server's database into a folder."""
    return lambda folder: copy_database(home, folder)


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder, the same in all processes of pytest-xdist, for the database that the first server makes."""
    root = tmp_path_factory.getbasetemp()
    return (root.parent if os.environ.get("PYTEST_XDIST_WORKER") else root) / "new-database"


@pytest.fixture(scope="session")
def server(home: Path, audit: Audit, new_database: Path) -> Iterator["Server"]:
    """A Prefect server with a database of its own."""
    from tvtasks.dashboard import server as servers

    with pytest.MonkeyPatch.context() as patch, FileLock(f"{new_database}.lock"):
        if is_made := new_database.exists():
            copy_database(new_database, home)
        for name, value in audit.environment.items():
            patch.setenv(name, value)
        # How often it looks for silent runs; by default every 5 s.
        patch.setenv("PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY", "PT1S")
        # The usual port belongs to the developer's own server, whether it is running now or starts later.
        patch.setattr(servers, "LOCAL_PORT", unused_port())
        started = servers.start(home / "server.log", home=home)
        if not is_made:
            copy_database(home, new_database)
    yield started
    started.stop()


@pytest.fixture
def at_server(server: "Server") -> Iterator["Server"]:
    """The server, with flows of this process running under it."""
    from tvtasks.dashboard.supervision import prefect_at

    with prefect_at(server.api_url):
        yield server


@pytest.fixture(scope="session")
def save_scan() -> SaveScan:
    """Saves a scan of 32 × 48 pixels, a different one for each `seed`, and returns its path."""

    def save(path: Path, seed: int = 0) -> Path:
        path.parent.mkdir(exist_ok=True)
        rng = np.random.default_rng(seed)
        with path.open("wb") as file:
            np.save(file, rng.normal(size=(32, 48)).cumsum(axis=1).astype(np.float32))
        return path

    return save


@pytest.fixture
def write_scan(tmp_path: Path, save_scan: SaveScan) -> WriteScan:
    """Saves a scan under a name in the folder `scans`."""
    return lambda name, seed=0: save_scan(tmp_path / "scans" / name, seed)
