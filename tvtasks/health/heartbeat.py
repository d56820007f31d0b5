"""The heartbeat of a watch: what it reports about itself every few seconds, and how to read it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from tvtasks.archive.folder import heartbeat_path, local_heartbeat_path
from tvtasks.options import WatchOptions


@dataclass(frozen=True)
class Pulse:
    """What the acquisition loop reports at each turn.

    Attributes
    ----------
    observer
        ``native`` or ``polling``.
    observer_alive
        Whether changes in the folder are being reported.
    look_age
        Seconds since the last look at the folder ended; looks happen in a thread beside the loop.
    settling, running
        How many files the monitor is waiting for, and how many are being restored.
    longest
        Seconds that the oldest work under way has taken so far.
    longest_file
        The name of its file.
    error
        A sentence on what stops the loop itself (the ledger cannot be written); else empty.
    unreadable
        The first subfolders that cannot be read, with the number of all such; None if all can be read.
    """

    observer: str = ""
    observer_alive: bool = True
    look_age: float = 0.0
    settling: int = 0
    running: int = 0
    longest: float = 0.0
    longest_file: str = ""
    error: str = ""
    unreadable: tuple[str, int] | None = None


@dataclass(frozen=True)
class ServerState:
    """A Prefect server: its address, whether it answers, and whether the watch restarts it by itself."""

    url: str
    answers: bool
    kept: bool


@dataclass(frozen=True)
class Heartbeat:
    """What is known about a watch at one moment.

    Attributes
    ----------
    pid, host
        The process id, and the name of its computer.
    options
        What the watch was asked for, with absolute paths.
    recipe
        Identity of the recipes in the ledger.
    started, written
        When the watch began, and when this was written.
    since_turn
        Seconds since the last turn of the loop, by a clock that nobody can set.
    pulse
        What the loop reported at that turn.
    folder_fault, archive_fault
        Why the folder cannot be read, and why the archive cannot be written to; else empty.
    free, total
        Bytes on the archive's disk; None if not known.
    full
        Whether writing failed because the disk is full or a quota is used up.
    server
        The Prefect server; None for a watch without a dashboard.
    rival
        Another process that writes heartbeats to this archive; else empty.
    ended
        When the watch ended properly; None while it runs, or if it was killed.
    end
        The error that ended it; empty if someone stopped it.
    """

    pid: int
    host: str
    options: WatchOptions
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
        """The process and its computer, in words."""
        return f"process {self.pid} on {self.host}"

    def to_json(self) -> bytes:
        """Return the heartbeat as JSON."""
        return _HEARTBEAT.dump_json(self, indent=2)

    @staticmethod
    def from_json(content: bytes) -> Heartbeat:
        """Return the heartbeat that `to_json` wrote.

        Raises
        ------
        pydantic.ValidationError
            The content is no heartbeat, or only half of one.
        """
        return _HEARTBEAT.validate_json(content)


_HEARTBEAT = TypeAdapter(Heartbeat)


def utc_now() -> datetime:
    """Return the time of day, in UTC."""
    return datetime.now(UTC)


def read_heartbeat(archive: Path, *, attempts: int = 3) -> Heartbeat | None:
    """Return the newest heartbeat in an archive; None if there is none that can be read."""
    return _read(heartbeat_path(archive), attempts)


def read_local_heartbeat(archive: Path) -> Heartbeat | None:
    """Return the newest heartbeat of a watch on this computer; it exists even if the archive is away."""
    return _read(local_heartbeat_path(archive), 3)


def _read(path: Path, attempts: int) -> Heartbeat | None:
    for attempt in range(attempts):
        try:
            return Heartbeat.from_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError):
            # On a full disk, and on Windows, we may meet it half-written: the writer is done in an instant.
            if attempt + 1 < attempts:
                time.sleep(0.02)
    return None
