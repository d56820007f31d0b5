"""What was done with which file: a SQLite table that outlives the process."""

import json
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

from tvtasks.errors import ArchiveError

SCHEMA_VERSION = 1
BUSY_TIMEOUT = 30.0
"""Seconds to wait for another process that writes to the ledger."""

_SCHEMA = (
    """
    CREATE TABLE files (
        id INTEGER PRIMARY KEY,
        path TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        recipe TEXT NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL,
        outputs TEXT NOT NULL,
        detail TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        first_seen TEXT NOT NULL,
        updated TEXT NOT NULL,
        UNIQUE (path, sha256, recipe)
    )
    """,
    "CREATE INDEX content ON files (sha256, recipe)",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


class State(StrEnum):
    """How far a file has come. What has not settled has no content yet, and is not in the ledger."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    """The work did not succeed for a reason outside the file; it is tried again."""
    QUARANTINED = "quarantined"
    """The file itself is at fault; it is not tried again until its content changes."""
    OVERWRITTEN = "overwritten"
    """The path held other content before this content was restored; there is nothing left to do."""


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
    attempts
        How often the work was begun.
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
    attempts: int = 0
    first_seen: str = ""
    updated: str = ""


class Ledger:
    """The record of all files, kept in a SQLite file. Threads may share one ledger.

    Parameters
    ----------
    path
        The SQLite file; it and its folder are created where they do not exist.

    Raises
    ------
    ArchiveError
        The file cannot be opened or written, or is not a ledger of this version of tvtasks. Every method
        raises it when the file cannot be used any longer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # One connection for all threads, guarded by the lock; transactions are begun by hand.
            self._connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise ArchiveError(
                f"The ledger {path} cannot be opened: {error}. Check that its folder can be written to."
            ) from error
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def enqueue(self, path: Path, size: int, mtime_ns: int, sha256: str, recipe: str) -> Entry | None:
        """Record the content that a path now holds; return the entry where there is work to do.

        Work is recognised by content and recipe: where it was done for any path, this path is recorded as
        done with the same outputs. Where the content is queued, running or quarantined under this very path,
        nothing is to be done either. In all these cases the answer is None.

        Earlier content of the path that was still waiting can no longer be read and is marked as overwritten.
        One that is running is left alone: its bytes may have been read before they were overwritten.
        """
        with self._transaction() as db:
            for other in _select(db, "path = ? AND recipe = ?", _text(path), recipe):
                if other.sha256 != sha256 and other.state in {State.QUEUED, State.FAILED}:
                    _write(db, _overwritten(other))
            known = _find(db, path, sha256, recipe)
            entry = replace(
                known or Entry(path, sha256, recipe, size, mtime_ns), size=size, mtime_ns=mtime_ns
            )
            if entry.state is not State.RUNNING and (done := _done(db, entry)):
                _write(db, _done_as(entry, done))
                return None
            if known and known.state not in {State.FAILED, State.OVERWRITTEN}:
                _write(db, entry)
                return None
            return _write(db, replace(entry, state=State.QUEUED, reason=""))

    def known(self, path: Path, size: int, mtime_ns: int, recipe: str) -> Entry | None:
        """Return the entry of a file that looks as it did when it was recorded; its content is not read."""
        with self._transaction("DEFERRED") as db:
            found = _select(
                db,
                "path = ? AND recipe = ? AND size = ? AND mtime_ns = ?",
                _text(path),
                recipe,
                size,
                mtime_ns,
            )
        return max(
            (entry for entry in found if entry.state is not State.OVERWRITTEN),
            key=lambda entry: entry.updated,
            default=None,
        )

    def start(self, entry: Entry) -> Entry | None:
        """Mark queued or failed work as running; return None where there is nothing left to do.

        That is so when its path was overwritten in the meantime, when the same content was done under another
        path, or when someone else has begun it.
        """
        with self._transaction() as db:
            entry = _current(db, entry)
            if entry.state not in {State.QUEUED, State.FAILED}:
                return None
            if done := _done(db, entry):
                _write(db, _done_as(entry, done))
                return None
            return _write(db, replace(entry, state=State.RUNNING, reason="", attempts=entry.attempts + 1))

    def finish(self, entry: Entry, outputs: Sequence[Path], detail: Mapping[str, Any]) -> None:
        """Mark work as done; `detail` holds a few numbers for status tables and must be safe for JSON."""
        self._update(entry, state=State.DONE, reason="", outputs=tuple(outputs), detail=detail)

    def fail(self, entry: Entry, reason: str) -> None:
        """Mark work as failed for a reason outside the file (disk full, locked): worth another attempt."""
        self._update(entry, state=State.FAILED, reason=reason)

    def quarantine(self, entry: Entry, reason: str) -> None:
        """Mark the file itself as at fault: there is no further attempt until its content changes."""
        self._update(entry, state=State.QUARANTINED, reason=reason)

    def mark_overwritten(self, entry: Entry) -> None:
        """Say that the path holds other content than `entry`: what was read has another checksum.

        The monitor finds the new content; should the old content come back, it is queued again.
        """
        with self._transaction() as db:
            _write(db, _overwritten(_current(db, entry)))

    def recover(self, recipe: str) -> list[Entry]:
        """Put back into the queue what a kill or a failure left behind, and return it, oldest first.

        To be called once at start, when nothing is running. Quarantined files stay where they are.
        """
        with self._transaction() as db:
            left = _select(db, "recipe = ? AND state IN ('queued', 'running', 'failed') ORDER BY id", recipe)
            return [_write(db, replace(entry, state=State.QUEUED, reason="")) for entry in left]

    def entries(self, recipe: str | None = None) -> list[Entry]:
        """Return all entries, or those of one recipe, in the order in which they were first seen."""
        with self._transaction("DEFERRED") as db:
            return _select(db, "? IS NULL OR recipe = ? ORDER BY id", recipe, recipe)

    def counts(self, recipe: str | None = None) -> dict[State, int]:
        """Return how many entries are in each state; every state is present."""
        with self._transaction("DEFERRED") as db:
            rows = db.execute(
                "SELECT state, count(*) AS number FROM files WHERE ? IS NULL OR recipe = ? GROUP BY state",
                (recipe, recipe),
            ).fetchall()
        number = Counter({State(row["state"]): row["number"] for row in rows})
        return {state: number[state] for state in State}

    def _update(self, entry: Entry, **changes: Any) -> None:
        with self._transaction() as db:
            _write(db, replace(_current(db, entry), **changes))

    @contextmanager
    def _transaction(
        self, kind: Literal["IMMEDIATE", "DEFERRED"] = "IMMEDIATE"
    ) -> Iterator[sqlite3.Connection]:
        """Begin and commit. DEFERRED is for reading alone: coming to write later, it could not wait."""
        with self._lock:
            try:
                self._connection.execute(f"BEGIN {kind}")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                finally:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise _unusable(self.path, error) from error

    def _prepare(self) -> None:
        self._connection.row_factory = sqlite3.Row
        with self._transaction() as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            (objects,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if version > SCHEMA_VERSION:
                raise ArchiveError(
                    f"The ledger {self.path} was written by a newer version of tvtasks (schema {version}; "
                    f"this one knows {SCHEMA_VERSION}). Update tvtasks."
                )
            if version == 0 and objects:
                raise ArchiveError(
                    f"{self.path} is a database of something else, not a ledger. Give another path."
                )
            if version == 0:
                for statement in _SCHEMA:
                    db.execute(statement)
        try:
            # A status table that reads and the monitor that writes do not wait for each other. A power cut
            # may cost the last few commits, which only means that their work is done again.
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from error


def _unusable(path: Path, error: sqlite3.Error) -> ArchiveError:
    if isinstance(error, sqlite3.OperationalError):
        return ArchiveError(
            f"The ledger {path} cannot be used: {error}. Check that the disk is not full and that the file "
            "can be written to. Work that was done but not recorded is done again."
        )
    return ArchiveError(
        f"The ledger {path} is damaged or not a ledger: {error}. Move it away to begin a new one; images "
        "that were done are then done again."
    )


def _text(path: Path) -> str | bytes:
    """Return a path as SQLite stores it: as bytes where a name is not valid Unicode, which Linux allows."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return str(path)


def _entry(row: sqlite3.Row) -> Entry:
    return Entry(
        path=Path(os.fsdecode(row["path"])),
        sha256=row["sha256"],
        recipe=row["recipe"],
        size=row["size"],
        mtime_ns=row["mtime_ns"],
        state=State(row["state"]),
        reason=row["reason"],
        outputs=tuple(Path(output) for output in json.loads(row["outputs"])),
        detail=json.loads(row["detail"]),
        attempts=row["attempts"],
        first_seen=row["first_seen"],
        updated=row["updated"],
    )


def _select(db: sqlite3.Connection, where: str, *values: object) -> list[Entry]:
    return [_entry(row) for row in db.execute(f"SELECT * FROM files WHERE {where} ", values)]


def _find(db: sqlite3.Connection, path: Path, sha256: str, recipe: str) -> Entry | None:
    found = _select(db, "path = ? AND sha256 = ? AND recipe = ?", _text(path), sha256, recipe)
    return found[0] if found else None


def _current(db: sqlite3.Connection, entry: Entry) -> Entry:
    """Return an entry as it stands now; what the caller holds may be old."""
    return _find(db, entry.path, entry.sha256, entry.recipe) or entry


def _done(db: sqlite3.Connection, entry: Entry) -> Entry | None:
    """Return an entry in which this content was done with this recipe, under whatever path."""
    found = _select(db, "sha256 = ? AND recipe = ? AND state = 'done' LIMIT 1", entry.sha256, entry.recipe)
    return found[0] if found else None


def _done_as(entry: Entry, done: Entry) -> Entry:
    return replace(entry, state=State.DONE, reason="", outputs=done.outputs, detail=done.detail)


def _overwritten(entry: Entry) -> Entry:
    reason = f"{entry.path.name} was overwritten with other content before this content was restored."
    return replace(entry, state=State.OVERWRITTEN, reason=reason)


def _write(db: sqlite3.Connection, entry: Entry) -> Entry:
    """Insert or update an entry, and return it with its times."""
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    entry = replace(entry, first_seen=entry.first_seen or now, updated=now)
    values = {
        "path": _text(entry.path),
        "sha256": entry.sha256,
        "recipe": entry.recipe,
        "size": entry.size,
        "mtime_ns": entry.mtime_ns,
        "state": entry.state.value,
        # A reason may quote a name that is not valid Unicode.
        "reason": entry.reason.encode(errors="backslashreplace").decode(),
        "outputs": json.dumps([str(output) for output in entry.outputs]),
        "detail": json.dumps(dict(entry.detail)),
        "attempts": entry.attempts,
        "first_seen": entry.first_seen,
        "updated": entry.updated,
    }
    db.execute(
        f"INSERT INTO files ({', '.join(values)}) VALUES ({', '.join(f':{name}' for name in values)}) "
        "ON CONFLICT (path, sha256, recipe) DO UPDATE SET "
        + ", ".join(f"{name} = excluded.{name}" for name in values),
        values,
    )
    return entry
