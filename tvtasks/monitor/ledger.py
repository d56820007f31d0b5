"""What was done with which file, and what is still to be done: a SQLite file that outlives the process.

The ledger is the queue. Nothing else keeps a list of work, so that a kill loses none, ten thousand files take
no memory, and what another process puts back (``tvtasks retry``) is seen at the next look.
"""

import json
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

from tvtasks.errors import ArchiveError
from tvtasks.monitor.observe import is_network_folder
from tvtasks.monitor.settle import Status

SCHEMA_VERSION = 2
BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process that writes to the ledger."""

LATEST_MTIME_NS = 2**63 - 1
"""SQLite's largest integer: the year 2262. A file that is dated later counts as dated then."""

FIRST_RETRY = timedelta(seconds=10)
LONGEST_RETRY = timedelta(hours=1)
"""How long failed work waits: at first, and, doubled each time, at most."""

ATTEMPTS_OF_A_DEFECT = 3
"""Attempts after which work that fails by an error in tvtasks itself is given up."""

_SCHEMA = (
    """
    CREATE TABLE files (
        id INTEGER PRIMARY KEY,
        recipe TEXT NOT NULL,
        folder TEXT NOT NULL,
        name TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        state TEXT NOT NULL,
        priority TEXT NOT NULL,
        next_attempt TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        failures INTEGER NOT NULL,
        first_seen TEXT NOT NULL,
        updated TEXT NOT NULL,
        reason TEXT NOT NULL,
        outputs TEXT NOT NULL,
        detail TEXT NOT NULL,
        UNIQUE (folder, name, recipe, sha256)
    )
    """,
    "CREATE INDEX content ON files (sha256, recipe, state)",
    # What claim() looks through, in the order of its search: the last part of every index is the id.
    "CREATE INDEX waiting ON files (recipe, priority, next_attempt) WHERE state IN ('queued', 'failed')",
    "CREATE INDEX states ON files (state, recipe, updated)",
    """
    CREATE TABLE attempts (
        id INTEGER PRIMARY KEY,
        file INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
        begun TEXT NOT NULL,
        ended TEXT NOT NULL,
        outcome TEXT NOT NULL,
        reason TEXT NOT NULL
    )
    """,
    "CREATE INDEX of_a_file ON attempts (file)",
    "CREATE INDEX endings ON attempts (outcome, ended)",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


class State(StrEnum):
    """How far a file has come. What has not settled has no content yet, and is not in the ledger."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    """The work did not succeed for a reason outside the file; it is tried again by itself."""
    QUARANTINED = "quarantined"
    """The file itself is at fault; it is not tried again until its content changes or someone asks for it."""
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
        How many of the latest attempts did not come to an end, since it was last put back by hand.
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
        Of the queued entries, the one that was seen first.
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


class Ledger:
    """The record of all files, kept in a SQLite file. Threads and processes may share one ledger.

    Parameters
    ----------
    path
        The SQLite file; it and its folder are created where they do not exist.
    now
        The time of day, for what is recorded and for when failed work is due.

    Attributes
    ----------
    news
        Set whenever work has been put into the queue through this object: whoever waits for work clears it.

    Raises
    ------
    ArchiveError
        The file cannot be opened or written, or is not a ledger of this version of tvtasks. Every method
        raises it when the file cannot be used, and may be called again: a full disk may have been freed, and
        a share that dropped out may be back.
    """

    def __init__(self, path: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path = path
        self.news = threading.Event()
        self._now = now
        self._lock = threading.Lock()
        self._lost = False
        self._connection = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def enqueue(
        self,
        path: Path,
        size: int,
        mtime_ns: int,
        sha256: str,
        recipe: str,
        *,
        priority: Priority = Priority.LIVE,
    ) -> Entry | None:
        """Record the content that a path now holds; return the entry where there is work to do.

        Work is recognised by content and recipe: where it was done for any path, this path is recorded as
        done with the same outputs. Where the content is queued, running or quarantined under this very path,
        nothing is to be done either. In all these cases the answer is None.

        Earlier content of the path that was not restored can no longer be read and is marked as overwritten.
        Content that is running is left alone: its bytes may have been read before they were overwritten.
        """
        with self._transaction() as db:
            for other in _select(db, "recipe = ? AND folder = ? AND name = ?", recipe, *_place(path)):
                if other.sha256 != sha256 and other.state in _REPLACEABLE:
                    self._write(db, _overwritten(other))
            known = _find(db, path, sha256, recipe)
            entry = replace(
                known or Entry(path, sha256, recipe, size, mtime_ns, priority=priority),
                size=size,
                mtime_ns=mtime_ns,
            )
            if entry.state is not State.RUNNING and (done := _done(db, entry)):
                self._write(db, _done_as(entry, done))
                return None
            if known and known.state not in {State.FAILED, State.OVERWRITTEN}:
                self._write(db, entry)
                return None
            entry = self._write(db, _queued(replace(entry, priority=priority)))
        self.news.set()
        return entry

    def known(self, path: Path, size: int, mtime_ns: int, recipe: str) -> Entry | None:
        """Return the entry of a file that looks as it did when it was recorded; its content is not read."""
        with self._transaction("DEFERRED") as db:
            found = _select(db, "recipe = ? AND folder = ? AND name = ?", recipe, *_place(path))
        return max(
            (
                entry
                for entry in found
                if (entry.size, entry.mtime_ns) == (size, mtime_ns) and entry.state is not State.OVERWRITTEN
            ),
            key=lambda entry: entry.updated,
            default=None,
        )

    def known_in(self, folder: Path, recipe: str) -> dict[str, Status]:
        """Return what each known file directly in a folder looked like when it was last recorded, by name.

        It is `known` for a whole folder at once: a scan of 100,000 files asks once.
        """
        with self._transaction("DEFERRED") as db:
            rows = db.execute(
                "SELECT name, size, mtime_ns, updated FROM files WHERE folder = ? AND recipe = ? "
                "AND state != 'overwritten'",
                (_text(str(folder)), recipe),
            ).fetchall()
        latest: dict[str | bytes, str] = {}
        found: dict[str | bytes, Status] = {}
        for name, size, mtime_ns, updated in rows:
            # Of several contents of a name the one that was recorded last counts.
            if name not in latest or latest[name] < updated:
                latest[name], found[name] = updated, Status(size, mtime_ns)
        return {os.fsdecode(name): status for name, status in found.items()}

    def claim(self, recipe: str) -> Entry | None:
        """Take the next piece of work that is due and mark it as running; None where there is none.

        Live work goes before backlog and that before reruns; in each, what is new before what failed, and the
        oldest first. Content that was done meanwhile under another path is recorded as done; content that is
        running under another path waits for the outcome.
        """
        with self._transaction() as db:
            now = self._now()
            while entry := _next_due(db, recipe, now):
                if done := _done(db, entry):
                    self._write(db, _done_as(entry, done))
                    continue
                entry = self._write(
                    db,
                    replace(_queued(entry), state=State.RUNNING, attempts=entry.attempts + 1),
                )
                db.execute(
                    "INSERT INTO attempts (file, begun, ended, outcome, reason) VALUES (?, ?, '', '', '')",
                    (_id(db, entry), _iso(now)),
                )
                return entry
            return None

    def finish(self, entry: Entry, outputs: Sequence[Path], detail: Mapping[str, Any]) -> list[Entry]:
        """Mark work as done, and with it what waits under other paths with the same content.

        Returns all of it, as it stands now. `detail` holds a few numbers for status tables and must be safe
        for JSON.
        """
        with self._transaction() as db:
            entry = replace(_current(db, entry), outputs=tuple(outputs), detail=detail, failures=0)
            done = self._end(db, entry, State.DONE)
            copies = _select(
                db,
                "sha256 = ? AND recipe = ? AND state IN ('queued', 'failed') ORDER BY id",
                entry.sha256,
                entry.recipe,
            )
            return [done, *(self._write(db, _done_as(copy, done)) for copy in copies)]

    def fail(self, entry: Entry, reason: str, *, heals: bool = True) -> Entry:
        """Mark work as failed for a reason outside the file; return the entry, which says when it is due.

        What heals (disk full, locked, server down) is tried again without end, after 10 s, then twice as
        long each time, at most an hour. What does not heal by itself, a defect of tvtasks, is quarantined at
        the third attempt.
        """
        with self._transaction() as db:
            entry = _current(db, entry)
            if not heals and entry.failures + 1 >= ATTEMPTS_OF_A_DEFECT:
                return self._end(db, entry, State.QUARANTINED, reason)
            return self._end(db, self._put_off(entry), State.FAILED, reason)

    def quarantine(self, entry: Entry, reason: str) -> Entry:
        """Mark the file itself as at fault: there is no further attempt until its content changes."""
        with self._transaction() as db:
            return self._end(db, _current(db, entry), State.QUARANTINED, reason)

    def mark_overwritten(self, entry: Entry, reason: str = "") -> Entry:
        """Say that the path does not hold this content any more; `reason` says what else, if not overwritten.

        The monitor finds the new content; should the old content come back, it is queued again.
        """
        with self._transaction() as db:
            entry = _overwritten(_current(db, entry), reason)
            return self._end(db, entry, State.OVERWRITTEN, entry.reason)

    def recover(self, recipe: str) -> list[Entry]:
        """Put back into the queue what was running when the power failed or the process was killed.

        To be called at start, when nothing is running. Returns what was running. A file during which that
        happened several times in a row may be the cause: it is put off like failed work, so that the others
        are done before it.
        """
        with self._transaction() as db:
            return [self._interrupted(db, entry) for entry in _in_state(db, recipe, State.RUNNING)]

    def retry(self, path: Path | None = None, *, recipe: str | None = None) -> int:
        """Queue failed and quarantined files again, at once; return how many.

        Parameters
        ----------
        path
            The file, which then goes with the new acquisitions; all files, as reruns, if not given.
        recipe
            Only work for this recipe: a watch does not take up that of others.
        """
        where = "AND (? IS NULL OR recipe = ?)" + ("" if path is None else " AND folder = ? AND name = ?")
        values = (recipe, recipe, *(() if path is None else _place(path)))
        priority = Priority.RERUN if path is None else Priority.LIVE
        with self._transaction() as db:
            return db.execute(
                "UPDATE files SET state = 'queued', reason = '', next_attempt = '', failures = 0, "
                f"priority = ?, updated = ? WHERE state IN ('failed', 'quarantined') {where}",
                (priority.value, _iso(self._now()), *values),
            ).rowcount

    def prune(
        self,
        *,
        keep: int = 20,
        age: timedelta = timedelta(days=30),
        gone_age: timedelta = timedelta(days=365),
    ) -> int:
        """Forget what nobody asks for any more, so that the ledger does not grow for ever; return how much.

        Parameters
        ----------
        keep, age
            Of the attempts at a file all but the last `keep` are forgotten when they are older than `age`; so
            are entries that were overwritten.
        gone_age
            Entries that are older than this and not waiting are forgotten where their file is gone. A folder
            that is empty or cannot be listed says nothing: it may be a share that is not connected.
        """
        now = self._now()
        with self._transaction() as db:
            number = db.execute(
                "DELETE FROM attempts WHERE ended != '' AND ended < ? AND "
                "(SELECT count(*) FROM attempts AS later WHERE later.file = attempts.file "
                "AND later.id > attempts.id) >= ?",
                (_iso(now - age), keep),
            ).rowcount
            number += db.execute(
                "DELETE FROM files WHERE state = 'overwritten' AND updated < ?", (_iso(now - age),)
            ).rowcount
        old = "state IN ('done', 'failed', 'quarantined') AND updated < ?"
        with self._transaction("DEFERRED") as db:
            rows = db.execute(f"SELECT DISTINCT folder FROM files WHERE {old}", (_iso(now - gone_age),))
            folders = [row["folder"] for row in rows]
        for folder in folders:
            # A listing of a share may take long: nobody waits for the ledger meanwhile.
            try:
                there = set(os.listdir(os.fsdecode(folder)))  # noqa: PTH208 - names, not paths
            except OSError:
                continue
            if not there:
                continue
            with self._transaction() as db:
                gone = [
                    (row["id"],)
                    for row in db.execute(
                        f"SELECT id, name FROM files WHERE {old} AND folder = ?",
                        (_iso(now - gone_age), folder),
                    )
                    if os.fsdecode(row["name"]) not in there
                ]
                db.executemany("DELETE FROM files WHERE id = ?", gone)
                number += len(gone)
        return number

    def entries(self, recipe: str | None = None, *states: State) -> list[Entry]:
        """Return the entries, all or those of one recipe or in some states, in the order first seen."""
        with self._transaction("DEFERRED") as db:
            return _in_state(db, recipe, *states)

    def history(self, path: Path) -> list[Attempt]:
        """Return all attempts at a path, whatever its content and the recipe, the oldest first."""
        with self._transaction("DEFERRED") as db:
            rows = db.execute(
                "SELECT begun, ended, outcome, attempts.reason FROM attempts JOIN files ON file = files.id "
                "WHERE folder = ? AND name = ? ORDER BY attempts.id",
                _place(path),
            ).fetchall()
        return [Attempt(**dict(row)) for row in rows]

    def counts(self, recipe: str | None = None) -> dict[State, int]:
        """Return how many entries are in each state; every state is present."""
        with self._transaction("DEFERRED") as db:
            return _counts(db, recipe)

    def overview(self, recipe: str | None = None) -> Overview:
        """Return the figures for a status table."""
        of, recipes = ("AND recipe = ?", (recipe,)) if recipe is not None else ("", ())
        with self._transaction("DEFERRED") as db:
            errors = [
                _select(db, f"state = ? {of} ORDER BY updated DESC LIMIT 1", state.value, *recipes)
                for state in (State.FAILED, State.QUARANTINED)
            ]
            (hour,) = db.execute(
                "SELECT count(*) FROM attempts JOIN files ON file = files.id "
                f"WHERE outcome = 'done' AND ended > ? {of}",
                (_iso(self._now() - timedelta(hours=1)), *recipes),
            ).fetchone()
            last = db.execute(
                "SELECT begun, ended FROM attempts JOIN files ON file = files.id "
                f"WHERE outcome = 'done' {of} ORDER BY ended DESC LIMIT 100",
                recipes,
            ).fetchall()
            (next_retry,) = db.execute(
                "SELECT min(next_attempt) FROM files INDEXED BY waiting "
                f"WHERE state IN ('queued', 'failed') AND next_attempt != '' {of}",
                recipes,
            ).fetchone()
            waiting = _select(
                db,
                f"state IN ('queued', 'failed') AND next_attempt = '' {of} ORDER BY id LIMIT 1",
                *recipes,
                using="INDEXED BY waiting",
            )
            counts = _counts(db, recipe)
        seconds = [
            (datetime.fromisoformat(row["ended"]) - datetime.fromisoformat(row["begun"])).total_seconds()
            for row in last
        ]
        return Overview(
            counts=counts,
            oldest_waiting=waiting[0] if waiting else None,
            last_error=max(
                (entry for found in errors for entry in found), key=lambda entry: entry.updated, default=None
            ),
            done_last_hour=hour,
            seconds_per_file=sum(seconds) / len(seconds) if seconds else None,
            next_retry=next_retry or "",
        )

    def _interrupted(self, db: sqlite3.Connection, entry: Entry) -> Entry:
        reason = (
            f"{entry.path.name} was being restored when tvtasks was killed or the power failed, "
            f"{entry.failures + 1} times in a row."
        )
        entry = self._put_off(entry)
        self._close_attempt(db, entry, "interrupted", reason)
        if entry.failures < ATTEMPTS_OF_A_DEFECT:
            return self._write(db, _queued(entry))
        return self._write(
            db, replace(entry, state=State.FAILED, reason=f"{reason} It is tried again after the others.")
        )

    def _put_off(self, entry: Entry) -> Entry:
        """Count one more failure, and wait the longer the more there were."""
        # Two to the power of a month of failures is too much for a time.
        delay = min(FIRST_RETRY * 2 ** min(entry.failures, 20), LONGEST_RETRY)
        return replace(entry, failures=entry.failures + 1, next_attempt=_iso(self._now() + delay))

    def _end(self, db: sqlite3.Connection, entry: Entry, state: State, reason: str = "") -> Entry:
        """Record how work ended, in its entry and in its attempt."""
        if state is not State.FAILED:
            entry = _queued(entry)
        self._close_attempt(db, entry, state.value, reason)
        return self._write(db, replace(entry, state=state, reason=reason))

    def _close_attempt(self, db: sqlite3.Connection, entry: Entry, outcome: str, reason: str) -> None:
        db.execute(
            "UPDATE attempts SET ended = ?, outcome = ?, reason = ? WHERE file = ? AND ended = ''",
            (_iso(self._now()), outcome, _printable(reason), _id(db, entry)),
        )

    def _write(self, db: sqlite3.Connection, entry: Entry) -> Entry:
        """Insert or update an entry, and return it with its times."""
        now = _iso(self._now())
        entry = replace(entry, first_seen=entry.first_seen or now, updated=now)
        _upsert(db, entry)
        return entry

    @contextmanager
    def _transaction(
        self, kind: Literal["IMMEDIATE", "DEFERRED"] = "IMMEDIATE"
    ) -> Iterator[sqlite3.Connection]:
        """Begin and commit. DEFERRED is for reading alone: coming to write later, it could not wait."""
        with self._lock:
            if self._lost:
                self._connection.close()
                self._connection = self._open()
                self._lost = False
            try:
                self._connection.execute(f"BEGIN {kind}")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                finally:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                # A share that dropped out and came back leaves a connection to a file that is no longer
                # there: the next call opens it anew.
                self._lost = (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _CONNECTION_LOST
                raise _unusable(self.path, error) from error

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # One connection for all threads, guarded by the lock; transactions are begun by hand.
            connection = sqlite3.connect(
                self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise ArchiveError(
                f"The ledger {self.path} cannot be opened: {error}. Check that its folder can be written to."
            ) from error
        try:
            self._prepare(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error | ValueError):
                raise _unusable(self.path, error) from error
            raise
        return connection

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.row_factory = sqlite3.Row
        db.execute("BEGIN IMMEDIATE")
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
        if version == 1:
            db.execute("ALTER TABLE files RENAME TO files_1")
            db.execute("DROP INDEX content")
        if version < SCHEMA_VERSION:
            for statement in _SCHEMA:
                db.execute(statement)
        if version == 1:
            _take_over_schema_1(db)
        db.execute("COMMIT")
        if is_network_folder(self.path.parent):
            # WAL needs memory that all readers share, which a network file system does not give. With the
            # older journal a reader and a writer wait for each other for some milliseconds.
            db.execute("PRAGMA journal_mode = TRUNCATE")
        else:
            # A status table that reads and the monitor that writes do not wait for each other. A power cut
            # may cost the last few commits, which only means that their work is done again.
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA foreign_keys = ON")


_REPLACEABLE = {State.QUEUED, State.FAILED, State.QUARANTINED}
_CONNECTION_LOST = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


class ReadOnlyLedger(Ledger):
    """A ledger that is looked at by whoever may read it, without a lock, a change or a new file."""

    def _open(self) -> sqlite3.Connection:
        place = self.path.absolute().as_uri()
        try:
            try:
                connection = self._connect(f"{place}?mode=ro")
            except sqlite3.OperationalError:
                # One who may not write into the folder cannot take part in the monitor's WAL; where no
                # monitor runs there is none, and the file stands still.
                if self.path.with_name(self.path.name + "-wal").exists():
                    raise
                connection = self._connect(f"{place}?mode=ro&immutable=1")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error as error:
            raise ArchiveError(
                f"The ledger {self.path} cannot be read: {error}. Check that you may read it and its folder; "
                "if it is damaged, move it away, and a new one is begun."
            ) from error
        if version != SCHEMA_VERSION:
            connection.close()
            raise ArchiveError(
                f"The ledger {self.path} is of another version of tvtasks (schema {version}; this one knows "
                f"{SCHEMA_VERSION}). Start the watch once with this version, which takes it over."
            )
        return connection

    def _connect(self, place: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            place, uri=True, timeout=5.0, isolation_level=None, check_same_thread=False
        )
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error:
            connection.close()
            raise
        return connection


def _take_over_schema_1(db: sqlite3.Connection) -> None:
    """Copy what a ledger of schema 1 holds. It had no attempts, no priorities, and a path in one piece."""
    for row in db.execute("SELECT * FROM files_1 ORDER BY id"):
        state = State(row["state"])
        entry = Entry(
            path=Path(os.fsdecode(row["path"])),
            sha256=row["sha256"],
            recipe=row["recipe"],
            size=row["size"],
            mtime_ns=row["mtime_ns"],
            state=state,
            reason=row["reason"],
            outputs=tuple(Path(output) for output in json.loads(row["outputs"])),
            detail=json.loads(row["detail"]),
            priority=Priority.BACKLOG,
            # Failed work used to be tried again at the next start, which is now.
            next_attempt=row["updated"] if state is State.FAILED else "",
            attempts=row["attempts"],
            first_seen=row["first_seen"],
            updated=row["updated"],
        )
        _upsert(db, entry)
    db.execute("DROP TABLE files_1")


def _unusable(path: Path, error: sqlite3.Error | ValueError) -> ArchiveError:
    if isinstance(error, sqlite3.OperationalError):
        return ArchiveError(
            f"The ledger {path} cannot be used: {error}. Check that the disk is not full and that the file "
            "can be written to. Work that was done but not recorded is done again."
        )
    return ArchiveError(
        f"The ledger {path} is damaged or not a ledger: {error}. Move it away to begin a new one; images "
        "that were done are then done again."
    )


def _iso(when: datetime) -> str:
    """Return a time such that the order of texts is the order of times."""
    return when.astimezone(UTC).isoformat(timespec="microseconds")


def _text(name: str) -> str | bytes:
    """Return a name as SQLite stores it: as bytes where it is not valid Unicode, which Linux allows."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def _place(path: Path) -> tuple[str | bytes, str | bytes]:
    """Return folder and name as SQLite stores them."""
    return _text(str(path.parent)), _text(path.name)


def _printable(reason: str) -> str:
    """Return a sentence that may quote a name that is not valid Unicode, as Unicode."""
    return reason.encode(errors="backslashreplace").decode()


def _entry(row: sqlite3.Row) -> Entry:
    return Entry(
        path=Path(os.fsdecode(row["folder"]), os.fsdecode(row["name"])),
        sha256=row["sha256"],
        recipe=row["recipe"],
        size=row["size"],
        mtime_ns=row["mtime_ns"],
        state=State(row["state"]),
        reason=row["reason"],
        outputs=tuple(Path(output) for output in json.loads(row["outputs"])),
        detail=json.loads(row["detail"]),
        priority=Priority(row["priority"]),
        next_attempt=row["next_attempt"],
        attempts=row["attempts"],
        failures=row["failures"],
        first_seen=row["first_seen"],
        updated=row["updated"],
    )


def _select(db: sqlite3.Connection, where: str, *values: object, using: str = "") -> list[Entry]:
    return [_entry(row) for row in db.execute(f"SELECT * FROM files {using} WHERE {where}", values)]


def _in_state(db: sqlite3.Connection, recipe: str | None, *states: State) -> list[Entry]:
    """Return the entries of a recipe and of some states, or of all where none is given, by age."""
    wanted = []
    values: list[str] = []
    if recipe is not None:
        wanted.append("recipe = ?")
        values.append(recipe)
    if states:
        wanted.append(f"state IN ({', '.join('?' * len(states))})")
        values += states
    return _select(db, f"{' AND '.join(wanted) or '1'} ORDER BY id", *values)


def _find(db: sqlite3.Connection, path: Path, sha256: str, recipe: str) -> Entry | None:
    found = _select(
        db, "recipe = ? AND folder = ? AND name = ? AND sha256 = ?", recipe, *_place(path), sha256
    )
    return found[0] if found else None


def _current(db: sqlite3.Connection, entry: Entry) -> Entry:
    """Return an entry as it stands now; what the caller holds may be old."""
    return _find(db, entry.path, entry.sha256, entry.recipe) or entry


def _id(db: sqlite3.Connection, entry: Entry) -> int:
    found: tuple[int] = db.execute(
        "SELECT id FROM files WHERE recipe = ? AND folder = ? AND name = ? AND sha256 = ?",
        (entry.recipe, *_place(entry.path), entry.sha256),
    ).fetchone()
    return found[0]


def _next_due(db: sqlite3.Connection, recipe: str, now: datetime) -> Entry | None:
    """Return what is to be done next, leaving out content that is running under another path."""
    due = (
        ("next_attempt = ''", ()),
        ("next_attempt BETWEEN '0' AND ?", (_iso(now),)),
        # No backoff is so long: it was written by a clock that was ahead, and would wait for years.
        ("next_attempt > ?", (_iso(now + LONGEST_RETRY),)),
    )
    for priority in Priority:
        for when, values in due:
            found = _select(
                db,
                f"recipe = ? AND priority = ? AND state IN ('queued', 'failed') AND {when} "
                "AND NOT EXISTS (SELECT 1 FROM files AS twin WHERE twin.sha256 = files.sha256 "
                "AND twin.recipe = files.recipe AND twin.state = 'running') "
                "ORDER BY next_attempt, id LIMIT 1",
                recipe,
                priority.value,
                *values,
                using="INDEXED BY waiting",
            )
            if found:
                return found[0]
    return None


def _done(db: sqlite3.Connection, entry: Entry) -> Entry | None:
    """Return an entry in which this content was done with this recipe, under whatever path."""
    found = _select(db, "sha256 = ? AND recipe = ? AND state = 'done' LIMIT 1", entry.sha256, entry.recipe)
    return found[0] if found else None


def _counts(db: sqlite3.Connection, recipe: str | None) -> dict[State, int]:
    where, values = ("", ()) if recipe is None else ("WHERE recipe = ?", (recipe,))
    rows = db.execute(
        f"SELECT state, count(*) AS number FROM files INDEXED BY states {where} GROUP BY state", values
    )
    number = Counter({State(row["state"]): row["number"] for row in rows})
    return {state: number[state] for state in State}


def _queued(entry: Entry) -> Entry:
    return replace(entry, state=State.QUEUED, reason="", next_attempt="")


def _done_as(entry: Entry, done: Entry) -> Entry:
    return replace(_queued(entry), state=State.DONE, failures=0, outputs=done.outputs, detail=done.detail)


def _overwritten(entry: Entry, reason: str = "") -> Entry:
    reason = reason or (
        f"{entry.path.name} was overwritten with other content before this content was restored."
    )
    return replace(_queued(entry), state=State.OVERWRITTEN, reason=reason)


def _upsert(db: sqlite3.Connection, entry: Entry) -> None:
    folder, name = _place(entry.path)
    values = {
        "recipe": entry.recipe,
        "folder": folder,
        "name": name,
        "sha256": entry.sha256,
        "size": entry.size,
        "mtime_ns": entry.mtime_ns,
        "state": entry.state.value,
        "priority": entry.priority.value,
        "next_attempt": entry.next_attempt,
        "attempts": entry.attempts,
        "failures": entry.failures,
        "first_seen": entry.first_seen,
        "updated": entry.updated,
        "reason": _printable(entry.reason),
        "outputs": json.dumps([str(output) for output in entry.outputs]),
        "detail": json.dumps(dict(entry.detail)),
    }
    db.execute(
        f"INSERT INTO files ({', '.join(values)}) VALUES ({', '.join(f':{name}' for name in values)}) "
        "ON CONFLICT (folder, name, recipe, sha256) DO UPDATE SET "
        + ", ".join(f"{name} = excluded.{name}" for name in values),
        values,
    )
