"""What a ledger holds: entries with their states and priorities, attempts, and an overview."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any


class State(StrEnum):
    """How far a file has come. A file that has not settled has no content yet, and is not in the ledger."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    """The work failed for a reason outside the file; it is retried."""
    QUARANTINED = "quarantined"
    """The file itself is at fault; it is not retried until its content changes or someone asks for it."""
    OVERWRITTEN = "overwritten"
    """The path held other content, or no file, before this content was restored; nothing is left to do."""


class Priority(StrEnum):
    """What goes first."""

    LIVE = "live"
    BACKLOG = "backlog"
    RERUN = "rerun"


@dataclass(frozen=True)
class Entry:
    """One content of one file under one recipe.

    Attributes
    ----------
    path
        Where the file lies.
    sha256
        Checksum of its content, hexadecimal.
    recipe
        Identity of the recipe.
    size, mtime_ns
        Bytes, and time of last change in nanoseconds, when the content was hashed.
    state
        How far it has come.
    reason
        A sentence where it failed, was quarantined or overwritten.
    outputs
        The archive files written.
    detail
        A few numbers for a status table (gap, seconds), safe for JSON.
    priority
        What goes first.
    next_attempt
        When failed work is due again, ISO 8601, UTC; empty for work that is due at once.
    attempts
        How often the work was begun.
    failures
        How many of the latest attempts did not succeed, since someone last queued it by hand.
    first_seen, updated
        ISO 8601, UTC.
    """

    path: Path
    sha256: str
    recipe: str
    size: int
    mtime_ns: int
    state: State = State.QUEUED
    reason: str = ""
    outputs: tuple[Path, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)
    priority: Priority = Priority.LIVE
    next_attempt: str = ""
    attempts: int = 0
    failures: int = 0
    first_seen: str = ""
    updated: str = ""

    def queued(self) -> Entry:
        """Return the entry as it is when its work is due at once."""
        return replace(self, state=State.QUEUED, reason="", next_attempt="")

    def done_as(self, other: Entry) -> Entry:
        """Return the entry as done, with the outputs of another entry of the same content."""
        return replace(
            self.queued(), state=State.DONE, failures=0, outputs=other.outputs, detail=other.detail
        )

    def overwritten(self, reason: str = "") -> Entry:
        """Return the entry as overwritten."""
        usual = f"{self.path.name} was overwritten with other content before this content was restored."
        return replace(self.queued(), state=State.OVERWRITTEN, reason=reason or usual)


@dataclass(frozen=True)
class Attempt:
    """One time that work was begun.

    `outcome` is the state that it led to, ``interrupted`` where a kill or a power failure ended it, and empty
    while it runs. Times are ISO 8601, UTC.
    """

    begun: str
    ended: str
    outcome: str
    reason: str


@dataclass(frozen=True)
class Overview:
    """What a person wants to know of a ledger.

    Attributes
    ----------
    counts
        Entries in each state; every state is present.
    oldest_waiting
        The queued entry that was seen first.
    last_error
        The entry that failed or was quarantined last.
    done_last_hour
        Files restored in the last hour.
    seconds_per_file
        Mean time of the last 100 files that were restored, from start to end; None where there are none.
    next_retry
        When the next failed file is due, ISO 8601, UTC; empty where there is none.
    """

    counts: Mapping[State, int]
    oldest_waiting: Entry | None
    last_error: Entry | None
    done_last_hour: int
    seconds_per_file: float | None
    next_retry: str
