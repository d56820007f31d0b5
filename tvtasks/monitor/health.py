"""Signs of life of a watch: written by a thread beside the work, read and judged by whoever wants to know.

The work may hang in a solver or on a dead share, so nothing here waits for it, and whatever may itself hang
is asked in a thread of its own.
"""

import errno
import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Generic, Literal, Self, TypeVar

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from tvtasks.monitor.hold import in_use, lock_path

logger = logging.getLogger(__name__)

BEAT = 5.0
"""Seconds between two heartbeats."""

STALLED = 30.0
"""Seconds without a turn of the loop, or without a heartbeat, after which something hangs."""

HANGING = 20.0
"""Seconds after which a folder that has not answered counts as gone."""

LOOKING = 60.0
"""Seconds that a look at the folder may take; hashing a file of some GB over a share takes that long."""

LONG_WORK = 1800.0
"""Seconds after which the work on one file is worth a look; a large image takes minutes."""

LEAST_FREE = 500_000_000
"""Free bytes below which a disk is nearly full: room for some tens of large images."""

_MOMENT = 0.5
_SYMPTOMS = {"error", "observer"}  # that are no longer named when their cause is known have not ended
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}

T = TypeVar("T")
Kind = Literal[
    "heartbeat", "loop", "work", "error", "observer", "folder", "archive", "disk", "server", "rival",
    "ledger", "waiting", "failed", "quarantined",
]  # fmt: skip
Life = Literal["alive", "stalled", "stopped"]

OVER: dict[Kind, str] = {
    "loop": "The watch goes on.",
    "work": "The file that took so long is no longer worked on.",
    "error": "What the watch stumbled over is past.",
    "observer": "Changes in the watched folder are reported again.",
    "folder": "The watched folder can be read again.",
    "archive": "The archive can be written again.",
    "disk": "The disk of the archive has room again.",
    "server": "The Prefect server answers again.",
    "rival": "No other watch writes into the archive any more.",
}
"""What is said when a problem of a running watch ends."""


@dataclass(frozen=True)
class Pulse:
    """What the loop that watches and restores says of itself at each of its turns.

    Attributes
    ----------
    observer
        ``native`` or ``polling``.
    observer_alive
        Whether changes in the folder are being reported.
    look_age
        Seconds since the last look at the folder came to its end; looking goes on beside the loop.
    settling, running
        How many files are waited for, and worked on.
    longest
        Seconds that the oldest piece of work under way has taken so far.
    longest_file
        Name of its file.
    error
        A sentence for what keeps the loop itself from going on (the ledger cannot be written); else empty.
    """

    observer: str = ""
    observer_alive: bool = True
    look_age: float = 0.0
    settling: int = 0
    running: int = 0
    longest: float = 0.0
    longest_file: str = ""
    error: str = ""


@dataclass(frozen=True)
class ServerState:
    """A Prefect server: its address, whether it answers, and whether a watch starts it again by itself."""

    url: str
    answers: bool
    kept: bool


@dataclass(frozen=True)
class Heartbeat:
    """What is known of a watch at one moment.

    Attributes
    ----------
    pid, host
        Process, and the name of its computer.
    folder, archive
        What it watches, and where results go.
    recipes
        The recipes, as they were given.
    recipe
        Identity of the recipes in the ledger.
    started, written
        When the watch began, and when this was written.
    since_turn
        Seconds since the last turn of the loop; measured on a clock that nobody sets.
    pulse
        What the loop said at that turn.
    folder_fault, archive_fault
        Why the folder cannot be read, and the archive not be written; else empty.
    free, total
        Bytes on the archive's disk; None where that is not known.
    full
        Whether writing failed for want of space, be it of the disk or of a quota.
    server
        The Prefect server; None where runs are not shown.
    rival
        Which other process writes its heartbeats into this archive; else empty.
    ended
        When the watch ended in order; None while it runs, or when it was killed.
    end
        The error that ended it; empty where it was stopped on purpose.
    """

    pid: int
    host: str
    folder: Path
    archive: Path
    recipes: tuple[str, ...]
    recipe: str
    started: datetime
    written: datetime
    since_turn: float
    pulse: Pulse = Pulse()
    folder_fault: str = ""
    archive_fault: str = ""
    free: int | None = None
    total: int | None = None
    full: bool = False
    server: ServerState | None = None
    rival: str = ""
    ended: datetime | None = None
    end: str = ""

    @property
    def who(self) -> str:
        """The process, in words."""
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True)
class Problem:
    """Something that needs attention: a sentence that says what to do, and its kind, which stays the same."""

    kind: Kind
    sentence: str


def utc_now() -> datetime:
    """Return the time of day, in UTC."""
    return datetime.now(UTC)


def heartbeat_path(archive: Path) -> Path:
    """Where the heartbeat of an archive's watch lies."""
    return archive / ".tvtasks" / "heartbeat.json"


_HEARTBEAT = TypeAdapter(Heartbeat)


def read_heartbeat(archive: Path, *, attempts: int = 3) -> Heartbeat | None:
    """Return the newest heartbeat of an archive, None where no watch has left one that can be read."""
    for attempt in range(attempts):
        try:
            return _HEARTBEAT.validate_json(heartbeat_path(archive).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError):
            # On a full disk, and on Windows, it may be met half-written: the writer is done in an instant.
            if attempt + 1 < attempts:
                time.sleep(0.02)
    return None


def refuse_second(ledger: Path) -> None:
    """Refuse a watch on a ledger that another one holds; writes nothing.

    The monitor that begins takes the lock itself; asking before tells it before anything else is begun.

    Raises
    ------
    ConfigurationError
        Saying who holds it.
    """
    lock = lock_path(ledger)
    if not lock.exists():
        return
    try:
        with FileLock(lock, timeout=0):
            return
    except Timeout:
        raise in_use(ledger) from None
    except OSError:
        return  # the monitor says what is wrong with it


def life(heartbeat: Heartbeat, now: datetime) -> Life:
    """Say whether a watch is alive, stalled (it hangs, or was killed), or has ended in order."""
    if heartbeat.ended:
        return "stopped"
    return "stalled" if {"heartbeat", "loop"} & {found.kind for found in judge(heartbeat, now)} else "alive"


def judge(heartbeat: Heartbeat, now: datetime) -> list[Problem]:
    """Say what is wrong with a watch, the gravest first; nothing of one that has ended in order.

    Parameters
    ----------
    heartbeat
        The newest one.
    now
        The time of day, in UTC.
    """
    if heartbeat.ended:
        if not heartbeat.end:
            return []
        return [Problem("heartbeat", f"The watch ended by itself: {heartbeat.end}")]
    silent = (now - heartbeat.written).total_seconds()
    if silent > STALLED:
        # All else in it is as old, and may have changed since.
        sentence = (
            f"There has been no sign of life of the watch ({heartbeat.who}) for {duration(silent)}: it was "
            "killed, or its computer is off or hangs. Start it again; nothing is lost."
        )
        return [Problem("heartbeat", sentence), *_disk(heartbeat)]
    found = [*_rival(heartbeat), *_places(heartbeat), *_disk(heartbeat)]
    if heartbeat.since_turn > STALLED:
        sentence = (
            f"The watch hangs: it has done nothing for {duration(heartbeat.since_turn)}. If this lasts, stop "
            "it by pressing Ctrl-C twice and start it again; nothing is lost."
        )
        found.append(Problem("loop", sentence))
    elif heartbeat.pulse.error and not found:
        # What the loop stumbles over has one of the causes above, as a rule.
        found.append(Problem("error", heartbeat.pulse.error))
    return [*found, *_work(heartbeat), *_server(heartbeat)]


def is_nearly_full(free: int, total: int) -> bool:
    """Return whether a disk has too little room: less than `LEAST_FREE`, or a tenth where it is small."""
    return free < min(LEAST_FREE, total // 10)


def duration(seconds: float) -> str:
    """Say how long in the unit that fits: ``45 s``, ``12 min``, ``5 h``, ``3 days``."""
    for unit, size, limit in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < limit:
            return f"{max(seconds, 0) / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def amount(size: float) -> str:
    """Say how many bytes in the unit that fits: ``312 MB``, ``1.2 TB``."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB" if size < 1000 else f"{size / 1000:.1f} TB"


def _rival(heartbeat: Heartbeat) -> list[Problem]:
    if not heartbeat.rival:
        return []
    sentence = (
        f"Two watches write into the archive {heartbeat.archive}: {heartbeat.who} and {heartbeat.rival}. "
        "Stop one of them, or give it another archive."
    )
    return [Problem("rival", sentence)]


def _places(heartbeat: Heartbeat) -> list[Problem]:
    """Judge the two folders, and how changes in one of them are noticed."""
    found = []
    pulse, folder = heartbeat.pulse, heartbeat.folder
    if heartbeat.folder_fault:
        sentence = (
            f"The watched folder {folder} cannot be read: {heartbeat.folder_fault}. Check the drive or the "
            "network share; watching goes on by itself when it is back."
        )
        found.append(Problem("folder", sentence))
    elif not pulse.observer_alive:
        sentence = (
            f"Changes in {folder} are not reported at the moment: the {pulse.observer} observer has ended. "
            "It is started again by itself, and the next scan finds what it misses. If this lasts, start "
            "the watch with --observer polling."
        )
        found.append(Problem("observer", sentence))
    elif pulse.look_age > LOOKING:
        sentence = (
            f"A look at {folder} has taken {duration(pulse.look_age)} so far: a share that hangs, or a very "
            "large file. Check the share if this lasts; what is queued is worked on meanwhile."
        )
        found.append(Problem("observer", sentence))
    if heartbeat.archive_fault and not heartbeat.full:
        sentence = (
            f"The archive {heartbeat.archive} cannot be written: {heartbeat.archive_fault}. Check its drive "
            "or share and who may write there; files that fail are tried again by themselves."
        )
        found.append(Problem("archive", sentence))
    return found


def _work(heartbeat: Heartbeat) -> list[Problem]:
    pulse = heartbeat.pulse
    if pulse.longest <= LONG_WORK:
        return []
    sentence = (
        f"{pulse.longest_file or 'A file'} has been worked on for {duration(pulse.longest)}. If it is no "
        "very large image, stop the watch by pressing Ctrl-C twice and start it again."
    )
    return [Problem("work", sentence)]


def _server(heartbeat: Heartbeat) -> list[Problem]:
    server = heartbeat.server
    if server is None or server.answers:
        return []
    what = "It is started again by itself." if server.kept else "Start it again."
    sentence = (
        f"The Prefect server at {server.url} does not answer: files are restored, but get no page in the "
        f"dashboard. {what}"
    )
    return [Problem("server", sentence)]


def _disk(heartbeat: Heartbeat) -> list[Problem]:
    free, total = heartbeat.free, heartbeat.total
    if free is not None and total is not None and is_nearly_full(free, total):
        what = f"is nearly full: {amount(free)} of {amount(total)} are free"
    elif heartbeat.full:
        what = "takes no more of your files: a quota is used up"
    else:
        return []
    return [
        Problem(
            "disk",
            f"The disk of the archive {heartbeat.archive} {what}. Make room; files that fail are tried again "
            "by themselves.",
        )
    ]


class _Probe(Generic[T]):
    """A call that may hang, as any does on a dead share, made in a thread of its own when asked for."""

    def __init__(self, call: Callable[[], T], first: T, clock: Callable[[], float]) -> None:
        self.answer = first
        self._call = call
        self._clock = clock
        self._asked: float | None = None
        self._wanted = threading.Event()
        self._answered = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="tvtasks health probe", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Ask again, unless an answer is still awaited."""
        if self._asked is None:
            self._asked = self._clock()
            self._answered.clear()
            self._wanted.set()

    def waiting(self) -> float:
        """Seconds for which an answer has been awaited; 0 where there is one."""
        asked = self._asked
        return 0.0 if asked is None else self._clock() - asked

    def wait(self, timeout: float) -> bool:
        """Wait for the answer that was asked for last; return whether it came."""
        return self._answered.wait(timeout)

    def end(self, timeout: float) -> None:
        """End the thread; one that hangs is left to itself."""
        self._ended = True
        self._wanted.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._ended:
                return
            self.answer = self._call()
            self._asked = None
            self._answered.set()


@dataclass(frozen=True)
class _ArchiveState:
    fault: str = ""
    full: bool = False
    free: int | None = None
    total: int | None = None
    rival: str = ""


class Heart:
    """Writes a heartbeat every few seconds while it is entered, whatever becomes of the work beside it.

    Problems that begin and end are logged once, and told to `changed`; neither may stop it.

    Parameters
    ----------
    folder, archive, recipes, recipe
        See `Heartbeat`.
    server
        Says at once, without asking anyone, how the Prefect server was when it was last seen.
    changed
        Called with the problems that have begun, those that have ended, and all there are now.
    every
        Seconds between heartbeats.
    clock, now
        Monotonic seconds; the time of day.
    """

    def __init__(
        self,
        folder: Path,
        archive: Path,
        *,
        recipes: Sequence[str] = (),
        recipe: str = "",
        server: Callable[[], ServerState | None] = lambda: None,
        changed: Callable[[list[Problem], list[Problem], list[Problem]], object] = lambda *_: None,
        every: float = BEAT,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._server = server
        self._changed = changed
        self._every = every
        self._clock = clock
        self._now = now
        self._turn = (clock(), Pulse())
        self._problems: dict[Kind, Problem] = {}
        self._written = b""
        self._stop = threading.Event()
        started = now()
        self._beat = Heartbeat(
            os.getpid(), socket.gethostname(), folder.absolute(), archive.absolute(), tuple(recipes), recipe,
            started, started, 0.0,
        )  # fmt: skip
        self._folder = _Probe(lambda: _fault(folder), "", clock)
        self._archive = _Probe(self._keep, _ArchiveState(), clock)
        self._thread = threading.Thread(target=self._run, name="tvtasks heartbeat", daemon=True)

    def pulse(self, pulse: Pulse) -> None:
        """Take in a turn of the loop; costs nothing, and never waits."""
        self._turn = (self._clock(), pulse)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        self._stop.set()
        self._thread.join(HANGING)
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
        end = "" if error is None or interrupted else str(error) or type(error).__name__
        if end:
            logger.error("The watch ends: %s", end)
        self._archive.wait(2.0)
        now, (turned, pulse) = self._now(), self._turn
        self._beat = replace(
            self._beat, written=now, since_turn=self._clock() - turned, pulse=pulse, ended=now, end=end
        )
        self._archive.ask()
        # A dead share must not hold up the end of the process.
        self._archive.wait(2.0)
        self._folder.end(0.1)
        self._archive.end(0.1)

    def beat(self) -> list[Problem]:
        """Compose a heartbeat from what is known by now, judge it, tell what has changed and have it written.

        Waits for a disk or a share no longer than a moment, and never for a server.
        """
        self._folder.ask()
        self._folder.wait(_MOMENT)
        now, (turned, pulse) = self._now(), self._turn
        disk, folder_fault = self._archive.answer, self._folder.answer
        if self._folder.waiting() > HANGING:
            folder_fault = f"it has not answered for {duration(self._folder.waiting())}"
        archive_fault = disk.fault
        if self._archive.waiting() > HANGING:
            archive_fault = f"it has not answered for {duration(self._archive.waiting())}"
        self._beat = replace(
            self._beat, written=now, since_turn=self._clock() - turned, pulse=pulse,
            folder_fault=folder_fault, archive_fault=archive_fault, full=disk.full,
            free=disk.free, total=disk.total, rival=disk.rival, server=self._server(),
        )  # fmt: skip
        self._archive.ask()
        found = {problem.kind: problem for problem in judge(self._beat, now)}
        begun = [problem for kind, problem in found.items() if kind not in self._problems]
        ended = [
            problem for kind, problem in self._problems.items()
            if kind not in found and not (begun and kind in _SYMPTOMS)
        ]  # fmt: skip
        self._problems = found
        if begun or ended:
            # The log lies in the archive and may hang with it: it comes last.
            self._changed(begun, ended, list(found.values()))
            for problem in begun:
                logger.warning("%s", problem.sentence)
            for problem in ended:
                logger.info("%s", OVER[problem.kind])
        return list(found.values())

    def answered(self, timeout: float = 10.0) -> bool:
        """Wait until the probes of the last beat have answered; return whether they have."""
        return self._folder.wait(timeout) and self._archive.wait(timeout)

    def _run(self) -> None:
        while True:
            try:
                self.beat()
            except Exception:
                # This thread is what says that something is wrong: it ends for nothing.
                logger.exception("The heartbeat stumbled")
            if self._stop.wait(self._every):
                return

    def _keep(self) -> _ArchiveState:
        """Write the newest heartbeat, and say how the archive is."""
        path = heartbeat_path(self._beat.archive)
        rival = self._rival(path)
        fault, full = "", False
        content = _HEARTBEAT.dump_json(self._beat, indent=2)
        try:
            _write(path, content)
        except OSError as error:
            fault, full = error.strerror or str(error), error.errno in _FULL
        self._written = content
        try:
            usage = shutil.disk_usage(self._beat.archive)
        except OSError as error:
            return _ArchiveState(fault or error.strerror or str(error), full, rival=rival)
        return _ArchiveState(fault, full, usage.free, usage.total, rival)

    def _rival(self, path: Path) -> str:
        """Say which other process has written here since this one did."""
        try:
            content = path.read_bytes()
            if not self._written or content == self._written:
                return ""
            other = _HEARTBEAT.validate_json(content)
        except (OSError, ValidationError):
            return ""
        is_other = (other.pid, other.host) != (self._beat.pid, self._beat.host)
        recent = self._now() - other.written < timedelta(seconds=STALLED)
        return other.who if is_other and other.ended is None and recent else ""


def _fault(folder: Path) -> str:
    """Say why a folder cannot be read; empty where it can."""
    try:
        with os.scandir(folder) as entries:
            next(entries, None)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _write(path: Path, content: bytes) -> None:
    """Replace a small file so that a reader never meets half of it.

    Where there is no room for a second file, the first is overwritten in place before the error is raised:
    its space is its own already, and the news that the disk is full still gets out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    except OSError:
        _try_in_place(path, content)
        _try_unlink(draft)
        raise


def _try_in_place(path: Path, content: bytes) -> None:
    try:
        with path.open("r+b") as file:
            file.write(content)
            file.truncate()
    except OSError:
        return


def _try_unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
