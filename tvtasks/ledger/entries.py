"""What a ledger holds: entries with their states and priorities, attempts, and an overview."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any


class State(StrEnum):
    """The state of a file. A file that has not settled has no final content yet and is not in the ledger."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    """The cause lies outside the file; tvtasks retries it."""
    QUARANTINED = "quarantined"
    """The file itself is at fault; tvtasks retries it only if its content changes or someone asks."""
    CANCELLED = "cancelled"
    """Someone cancelled it in the dashboard; the next start of a watch restores it, or ``tvtasks retry``."""
    OVERWRITTEN = "overwritten"
    """The file was overwritten or removed before this content was restored; nothing is left to do."""


UNRESTORED = frozenset({State.FAILED, State.QUARANTINED, State.CANCELLED})
"""States of a file that was not restored and needs attention."""


class Priority(StrEnum):
    """Which work goes first."""

    LIVE = "live"
    BACKLOG = "backlog"
    RERUN = "rerun"


@dataclass(frozen=True)
class Output:
    """A result in the archive as it was written.

    Attributes
    ----------
    path
        The result.
    size, mtime_ns
        Bytes, and time of last change in nanoseconds; -1 if an earlier version of tvtasks wrote it.
    seal
        The checksum of all its bytes, which it contains itself; empty if not known.
    """

    path: Path
    size: int = -1
    mtime_ns: int = -1
    seal: str = ""


@dataclass(frozen=True)
class Entry:
    """One content of one file under one recipe.

    Attributes
    ----------
    path
        Where the file is.
    sha256
        SHA-256 of its content, hexadecimal.
    recipe
        Identity of the recipe.
    size, mtime_ns
        Bytes, and time of last change in nanoseconds, as they were when the content was hashed.
    state
        The state of the work.
    reason
        A sentence on why it failed, was quarantined or was overwritten; else empty.
    outputs
        The results written to the archive.
    detail
        A few numbers for a status table (gap, seconds), safe for JSON.
    priority
        How urgent the work is.
    next_attempt
        When failed work is due again, ISO 8601, UTC; empty for work that is due now.
    attempts
        How many times the work has begun.
    failures
        How many attempts have failed in a row since someone last queued it by hand.
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
    outputs: tuple[Output, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)
    priority: Priority = Priority.LIVE
    next_attempt: str = ""
    attempts: int = 0
    failures: int = 0
    first_seen: str = ""
    updated: str = ""

    def queued(self) -> Entry:
        """Return the entry with its work due now."""
        return replace(self, state=State.QUEUED, reason="", next_attempt="")

    def done_as(self, other: Entry) -> Entry:
        """Return the entry as done, with the outputs of another entry with the same content."""
        return replace(
            self.queued(), state=State.DONE, failures=0, outputs=other.outputs, detail=other.detail
        )

    def lost(self, reason: str) -> Entry:
        """Return the entry with its work due again, because a result is missing or damaged."""
        return replace(self.queued(), reason=reason, priority=Priority.BACKLOG, failures=0)

    def overwritten(self, reason: str = "") -> Entry:
        """Return the entry as overwritten."""
        usual = f"{self.path.name} was overwritten with other content before this content was restored."
        return replace(self.queued(), state=State.OVERWRITTEN, reason=reason or usual)


@dataclass(frozen=True)
class Attempt:
    """One attempt at the work.

    `outcome` is the state that the attempt led to, ``interrupted`` if a kill or a power failure ended it, and
    empty while it runs. Times are ISO 8601, UTC.
    """

    begun: str
    ended: str
    outcome: str
    reason: str


@dataclass(frozen=True)
class Overview:
    """The figures of a ledger for a status table.

    Attributes
    ----------
    counts
        Entries in each state; every state is present.
    oldest_waiting
        The waiting entry that was seen first.
    last_error
        The entry that failed or was quarantined most recently.
    done_last_hour
        Files restored in the last hour.
    seconds_per_file
        Mean time from start to end of the last 100 restored files; None if there are none.
    next_retry
        When the next failed file is due, ISO 8601, UTC; empty if there is none.
    newest
        The entry that was restored most recently.
    """

    counts: Mapping[State, int]
    oldest_waiting: Entry | None
    last_error: Entry | None
    done_last_hour: int
    seconds_per_file: float | None
    next_retry: str
    newest: Entry | None = None
