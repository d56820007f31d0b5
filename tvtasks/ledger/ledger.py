"""The queue and the record of all files: a SQLite file that outlives the process.

The ledger is the queue. Nothing else keeps a list of work: a kill loses none of it, ten thousand files take
no memory, and work that another process queues (``tvtasks retry``) is seen at the next look.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Self

from tvtasks import places
from tvtasks.errors import ArchiveAwayError, ArchiveError
from tvtasks.filesystem import FileStatus, is_network_folder, status_of
from tvtasks.ledger import retries, rows
from tvtasks.ledger.entries import UNRESTORED, Attempt, Entry, Output, Overview, Priority, State

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process that writes to the ledger."""


class Ledger:
    """The queue and the record of all files, in a SQLite file. Threads and processes may share one ledger.

    Parameters
    ----------
    path
        The SQLite file; the ledger creates it and its folder if they do not exist.
    now
        Returns the time of day, for records and for when failed work is due.

    Attributes
    ----------
    news
        Set whenever this object queues work; whoever waits for work clears it.

    Raises
    ------
    ArchiveError
        The file cannot be opened or written, or is not a ledger of this version of tvtasks. Every method
        raises it when the file cannot be used, and may be called again later: someone may have freed the
        disk, and a share that dropped out may be back.
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
        """Record the content that a path now holds; return the entry if there is work to do.

        Content and recipe identify work. If it was done for any path, this path is recorded as done with the
        same outputs. If the content is queued, running, quarantined or cancelled under this very path, there
        is nothing to do either. In all these cases the method returns None.

        Earlier content of the path that was not restored cannot be read any more and is marked as
        overwritten. Running content is left alone: its bytes may have been read before they were overwritten.
        """
        with self._transaction() as db:
            for other in rows.select(db, "recipe = ? AND folder = ? AND name = ?", recipe, *rows.place(path)):
                if other.sha256 != sha256 and other.state in _REPLACEABLE:
                    self._write(db, other.overwritten())
            known = rows.find(db, path, sha256, recipe)
            entry = replace(
                known or Entry(path, sha256, recipe, size, mtime_ns, priority=priority),
                size=size,
                mtime_ns=mtime_ns,
            )
            if entry.state is not State.RUNNING and (done := rows.done_entry(db, entry)):
                self._write(db, entry.done_as(done))
                return None
            if known and known.state not in {State.FAILED, State.OVERWRITTEN}:
                self._write(db, entry)
                return None
            entry = self._write(db, replace(entry, priority=priority).queued())
        self.news.set()
        return entry

    def known(self, path: Path, size: int, mtime_ns: int, recipe: str) -> Entry | None:
        """Return the entry of a file that looks as it did when it was recorded; do not read its content."""
        with self._transaction("DEFERRED") as db:
            found = rows.select(db, "recipe = ? AND folder = ? AND name = ?", recipe, *rows.place(path))
        return max(
            (
                entry
                for entry in found
                if (entry.size, entry.mtime_ns) == (size, mtime_ns) and entry.state is not State.OVERWRITTEN
            ),
            key=lambda entry: entry.updated,
            default=None,
        )

    def known_in(self, folder: Path, recipe: str) -> dict[str, FileStatus]:
        """Return the status of each known file directly in a folder as it was last recorded, by name.

        This is `known` for a whole folder at once: a scan of 100,000 files asks once.
        """
        with self._transaction("DEFERRED") as db:
            seen = db.execute(
                "SELECT name, size, mtime_ns, updated FROM files WHERE folder = ? AND recipe = ? "
                "AND state != 'overwritten'",
                (rows.as_text(str(folder)), recipe),
            ).fetchall()
        latest: dict[str | bytes, str] = {}
        looks: dict[str | bytes, FileStatus] = {}
        for name, size, mtime_ns, updated in seen:
            # If a name has had several contents, the one recorded last counts.
            if name not in latest or latest[name] < updated:
                latest[name], looks[name] = updated, FileStatus(size, mtime_ns)
        return {os.fsdecode(name): status for name, status in looks.items()}

    def claim(self, recipe: str) -> Entry | None:
        """Take the next piece of work that is due and mark it as running; return None if nothing is due.

        Live work goes before backlog, and backlog before reruns. Within each, new work goes before failed
        work, and older work first. Content that was done under another path in the meantime is recorded as
        done; content that is running under another path waits for the outcome.
        """
        with self._transaction() as db:
            now = self._now()
            while entry := rows.next_due(db, recipe, now):
                if done := rows.done_entry(db, entry):
                    self._write(db, entry.done_as(done))
                    continue
                entry = self._write(
                    db,
                    replace(entry.queued(), state=State.RUNNING, attempts=entry.attempts + 1),
                )
                db.execute(
                    "INSERT INTO attempts (file, begun, ended, outcome, reason) VALUES (?, ?, '', '', '')",
                    (rows.row_id(db, entry), rows.timestamp(now)),
                )
                return entry
            return None

    def finish(self, entry: Entry, outputs: Sequence[Output], detail: Mapping[str, Any]) -> list[Entry]:
        """Mark work as done, together with waiting work on the same content under other paths.

        Returns all of these entries as they now are. `detail` holds a few numbers for status tables and must
        be safe for JSON.
        """
        with self._transaction() as db:
            entry = replace(rows.current(db, entry), outputs=tuple(outputs), detail=detail, failures=0)
            done = self._end(db, entry, State.DONE)
            copies = rows.select(
                db,
                "sha256 = ? AND recipe = ? AND state IN ('queued', 'failed') ORDER BY id",
                entry.sha256,
                entry.recipe,
            )
            return [done, *(self._write(db, copy.done_as(done)) for copy in copies)]

    def fail(self, entry: Entry, reason: str, *, heals: bool = True) -> Entry:
        """Mark work as failed for a reason outside the file; return the entry with its next attempt.

        `tvtasks.ledger.retries` decides when that is due. If the cause does not heal by itself, the work is
        quarantined after a few attempts.
        """
        with self._transaction() as db:
            entry = rows.current(db, entry)
            if not heals and entry.failures + 1 >= retries.ATTEMPTS_AT_A_DEFECT:
                return self._end(db, entry, State.QUARANTINED, reason)
            return self._end(db, self._put_off(entry), State.FAILED, reason)

    def quarantine(self, entry: Entry, reason: str) -> Entry:
        """Mark the file itself as at fault: there are no more attempts until its content changes."""
        with self._transaction() as db:
            return self._end(db, rows.current(db, entry), State.QUARANTINED, reason)

    def cancel(self, entry: Entry, reason: str) -> Entry:
        """Record that someone cancelled the work: it is queued again by `recover` or `retry`."""
        with self._transaction() as db:
            return self._end(db, rows.current(db, entry), State.CANCELLED, reason)

    def put_back(self, entry: Entry) -> Entry:
        """Queue work again that stopped half-way to let others go first: it comes after all new files."""
        with self._transaction() as db:
            entry = replace(rows.current(db, entry), priority=Priority.RERUN, failures=0)
            entry = self._end(db, entry, State.QUEUED)
        self.news.set()
        return entry

    def others_wait(self, entry: Entry) -> bool:
        """Return whether other work is due that goes before what `put_back` would queue again."""
        with self._transaction("DEFERRED") as db:
            found = rows.next_due(db, entry.recipe, self._now())
            return found is not None and found.priority is not Priority.RERUN

    def mark_overwritten(self, entry: Entry, reason: str = "") -> Entry:
        """Record that the path no longer holds this content; `reason` explains it if it was not overwritten.

        The monitor finds the new content. If the old content comes back, it is queued again.
        """
        with self._transaction() as db:
            entry = rows.current(db, entry).overwritten(reason)
            return self._end(db, entry, State.OVERWRITTEN, entry.reason)

    def outputs(
        self, recipe: str | None = None, path: Path | None = None
    ) -> Iterator[list[tuple[int, Sequence[Output]]]]:
        """Yield the number and the results of each entry that has results, many at a time.

        Parameters
        ----------
        recipe
            Only entries of this recipe.
        path
            Only entries of this file.
        """
        where, values = "(? IS NULL OR recipe = ?)", [recipe, recipe]
        if path is not None:
            where += " AND folder = ? AND name = ?"
            values += rows.place(path)  # type: ignore[arg-type]
        last = 0
        while True:
            with self._transaction("DEFERRED") as db:
                found = db.execute(
                    f"SELECT id, outputs FROM files WHERE {where} AND id > ? AND outputs != '[]' "
                    "AND state IN ('done', 'quarantined') ORDER BY id LIMIT 5000",
                    (*values, last),
                ).fetchall()
            if not found:
                return
            last = found[-1]["id"]
            yield [(row["id"], rows.outputs(row)) for row in found]

    def entry(self, number: int) -> Entry | None:
        """Return an entry by its number; None if it has been deleted."""
        with self._transaction("DEFERRED") as db:
            return next(iter(rows.select(db, "id = ?", number)), None)

    def lose(self, lost: Iterable[tuple[Entry, str]]) -> list[Entry]:
        """Queue work again whose results are missing or damaged; return the entries that were queued.

        If the same content was done under several paths, the paths that still exist are queued. If none of
        them exists, the work cannot be done again: it is quarantined, for someone to put a file back. Work
        that is no longer done, because another process was quicker, is left alone.

        Parameters
        ----------
        lost
            Entries that are done, each with a sentence on what became of its results.
        """
        queued = []
        reasons = {(entry.sha256, entry.recipe): reason for entry, reason in lost}
        for (sha256, recipe), reason in reasons.items():
            with self._transaction() as db:
                twins = rows.select(db, "sha256 = ? AND recipe = ? AND state = 'done'", sha256, recipe)
                there = [twin for twin in twins if status_of(twin.path)]
                for twin in twins:
                    if twin in there:
                        queued.append(self._write(db, twin.lost(reason)))
                    elif there:
                        self._write(db, twin.overwritten(f"{twin.path.name} was removed."))
                    else:
                        gone = (
                            f"{reason} Its image {twin.path} is gone too. Put one of them back, then run "
                            "tvtasks retry."
                        )
                        self._write(db, replace(twin, state=State.QUARANTINED, reason=gone))
        if queued:
            self.news.set()
        return queued

    def regain(self, entry: Entry, outputs: Sequence[Output]) -> None:
        """Record that all results of an entry are there, and how they look now."""
        with self._transaction() as db:
            now = rows.current(db, entry)
            if now.state is entry.state and now.outputs == entry.outputs:
                rows.upsert(db, replace(now.queued(), state=State.DONE, outputs=tuple(outputs)))

    def recover(self, recipe: str) -> list[Entry]:
        """Queue the work again that was cancelled, or running when the power failed or tvtasks was killed.

        Call this at the start, when nothing is running. Returns the entries that were running. A file that
        was interrupted several times in a row may be the cause: it is put off like failed work, so that the
        others go first.
        """
        with self._transaction() as db:
            for entry in rows.in_state(db, recipe, State.CANCELLED):
                self._write(db, entry.queued())
            return [self._interrupted(db, entry) for entry in rows.in_state(db, recipe, State.RUNNING)]

    def retry(self, path: Path | None = None, *, recipe: str | None = None) -> int:
        """Queue failed, quarantined and cancelled files again, due now; return how many.

        Parameters
        ----------
        path
            The file, which then goes with new acquisitions; if not given, all files, as reruns.
        recipe
            Only work for this recipe: a watch does not take up work for other recipes.
        """
        where = "AND (? IS NULL OR recipe = ?)" + ("" if path is None else " AND folder = ? AND name = ?")
        values = (recipe, recipe, *(() if path is None else rows.place(path)))
        priority = Priority.RERUN if path is None else Priority.LIVE
        with self._transaction() as db:
            return db.execute(
                "UPDATE files SET state = 'queued', reason = '', next_attempt = '', failures = 0, "
                f"priority = ?, updated = ? WHERE state IN ('failed', 'quarantined', 'cancelled') {where}",
                (priority.value, rows.timestamp(self._now()), *values),
            ).rowcount

    def prune(
        self,
        *,
        keep: int = 20,
        age: timedelta = timedelta(days=30),
        gone_age: timedelta = timedelta(days=365),
    ) -> int:
        """Delete old records, so that the ledger does not grow for ever; return how many.

        Parameters
        ----------
        keep, age
            Attempts older than `age` are deleted, except the last `keep` at each file; so are overwritten
            entries.
        gone_age
            Entries older than this that do not wait are deleted if their file is gone. A folder that is empty
            or cannot be listed proves nothing: it may be a share that is not connected.
        """
        now = self._now()
        with self._transaction() as db:
            number = db.execute(
                "DELETE FROM attempts WHERE ended != '' AND ended < ? AND "
                "(SELECT count(*) FROM attempts AS later WHERE later.file = attempts.file "
                "AND later.id > attempts.id) >= ?",
                (rows.timestamp(now - age), keep),
            ).rowcount
            number += db.execute(
                "DELETE FROM files WHERE state = 'overwritten' AND updated < ?", (rows.timestamp(now - age),)
            ).rowcount
        old = "state IN ('done', 'failed', 'quarantined', 'cancelled') AND updated < ?"
        with self._transaction("DEFERRED") as db:
            before = (rows.timestamp(now - gone_age),)
            found = db.execute(f"SELECT DISTINCT folder FROM files WHERE {old}", before).fetchall()
        folders = [row["folder"] for row in found]
        for folder in folders:
            # Listing a share may take long: nobody waits for the ledger during that time.
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
                        (rows.timestamp(now - gone_age), folder),
                    )
                    if os.fsdecode(row["name"]) not in there
                ]
                db.executemany("DELETE FROM files WHERE id = ?", gone)
                number += len(gone)
        return number

    def entries(self, recipe: str | None = None, *states: State) -> list[Entry]:
        """Return all entries, or those of one recipe or in some states, in the order they were first seen."""
        with self._transaction("DEFERRED") as db:
            return rows.in_state(db, recipe, *states)

    def history(self, path: Path) -> list[Attempt]:
        """Return all attempts at a path, whatever its content and recipe, oldest first."""
        with self._transaction("DEFERRED") as db:
            found = db.execute(
                "SELECT begun, ended, outcome, attempts.reason FROM attempts JOIN files ON file = files.id "
                "WHERE folder = ? AND name = ? ORDER BY attempts.id",
                rows.place(path),
            ).fetchall()
        return [Attempt(**dict(row)) for row in found]

    def was_interrupted(self, entry: Entry) -> bool:
        """Return whether tvtasks was ever killed while it restored this file."""
        with self._transaction("DEFERRED") as db:
            found = db.execute(
                "SELECT 1 FROM attempts WHERE file = ? AND outcome = 'interrupted' LIMIT 1",
                (rows.row_id(db, entry),),
            ).fetchone()
        return found is not None

    def counts(self, recipe: str | None = None) -> dict[State, int]:
        """Return how many entries are in each state; every state is present."""
        with self._transaction("DEFERRED") as db:
            return rows.counts(db, recipe)

    def overview(self, recipe: str | None = None) -> Overview:
        """Return the figures for a status table."""
        of, recipes = ("AND recipe = ?", (recipe,)) if recipe is not None else ("", ())
        with self._transaction("DEFERRED") as db:
            errors = [
                rows.select(db, f"state = ? {of} ORDER BY updated DESC LIMIT 1", state.value, *recipes)
                for state in UNRESTORED
            ]
            (hour,) = db.execute(
                "SELECT count(*) FROM attempts JOIN files ON file = files.id "
                f"WHERE outcome = 'done' AND ended > ? {of}",
                (rows.timestamp(self._now() - timedelta(hours=1)), *recipes),
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
            waiting = rows.select(
                db,
                f"state IN ('queued', 'failed') AND next_attempt = '' {of} ORDER BY id LIMIT 1",
                *recipes,
                using="INDEXED BY waiting",
            )
            newest = rows.select(
                db, f"state = ? {of} ORDER BY updated DESC LIMIT 1", State.DONE.value, *recipes
            )
            counts = rows.counts(db, recipe)
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
            newest=newest[0] if newest else None,
        )

    def _interrupted(self, db: sqlite3.Connection, entry: Entry) -> Entry:
        reason = (
            f"{entry.path.name} was being restored when tvtasks was killed or the power failed, "
            f"{entry.failures + 1} times in a row."
        )
        entry = self._put_off(entry)
        self._close_attempt(db, entry, "interrupted", reason)
        if entry.failures < retries.ATTEMPTS_AT_A_DEFECT:
            return self._write(db, entry.queued())
        return self._write(
            db, replace(entry, state=State.FAILED, reason=f"{reason} tvtasks retries it after the others.")
        )

    def _put_off(self, entry: Entry) -> Entry:
        """Count one more failure, and set when the work is due again."""
        due = self._now() + retries.delay(entry.failures)
        return replace(entry, failures=entry.failures + 1, next_attempt=rows.timestamp(due))

    def _end(self, db: sqlite3.Connection, entry: Entry, state: State, reason: str = "") -> Entry:
        """Record how work ended, in its entry and in its attempt."""
        if state is not State.FAILED:
            entry = entry.queued()
        self._close_attempt(db, entry, state.value, reason)
        return self._write(db, replace(entry, state=state, reason=reason))

    def _close_attempt(self, db: sqlite3.Connection, entry: Entry, outcome: str, reason: str) -> None:
        db.execute(
            "UPDATE attempts SET ended = ?, outcome = ?, reason = ? WHERE file = ? AND ended = ''",
            (rows.timestamp(self._now()), outcome, rows.printable(reason), rows.row_id(db, entry)),
        )

    def _write(self, db: sqlite3.Connection, entry: Entry) -> Entry:
        """Insert or update an entry, and return it with its times."""
        now = rows.timestamp(self._now())
        entry = replace(entry, first_seen=entry.first_seen or now, updated=now)
        rows.upsert(db, entry)
        return entry

    @contextmanager
    def _transaction(
        self, kind: Literal["IMMEDIATE", "DEFERRED"] = "IMMEDIATE"
    ) -> Iterator[sqlite3.Connection]:
        """Begin and commit. DEFERRED is for reading only: a later write in it could not wait for its turn."""
        with self._lock:
            try:
                places.check(self.path)
            except ArchiveAwayError:
                # The open file is on the disk that is gone: nobody would see what is written there.
                self._lost = True
                raise
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
                # A share that dropped out and came back leaves a connection to a file that no longer
                # exists: the next call opens the file again.
                self._lost = (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _CONNECTION_LOST
                raise _unusable(self.path, error) from error

    def _open(self) -> sqlite3.Connection:
        places.check(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # One connection for all threads, guarded by the lock; we begin transactions by hand.
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
        if version == 0 and objects:
            raise ArchiveError(
                f"{self.path} is a database of another program, not a ledger. Give another path."
            )
        if version not in {0, *_READABLE}:
            raise _other_version(self.path, version)
        if version == rows.SCHEMA_VERSION - 1:
            rows.migrate(db)
        if version == 0:
            for statement in rows.SCHEMA:
                db.execute(statement)
        db.execute("COMMIT")
        if is_network_folder(self.path.parent):
            # WAL needs memory that all readers share, and a network file system has none. With the older
            # journal, a reader and a writer wait for each other for some milliseconds.
            db.execute("PRAGMA journal_mode = TRUNCATE")
        else:
            # A status table that reads and a monitor that writes do not wait for each other. A power cut
            # may cost the last few commits; their work is then done again.
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA foreign_keys = ON")


_READABLE = {rows.SCHEMA_VERSION - 1, rows.SCHEMA_VERSION}
_REPLACEABLE = {State.QUEUED, *UNRESTORED}
_CONNECTION_LOST = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


class ReadOnlyLedger(Ledger):
    """A ledger that anyone with read permission can look at: no lock, no change, no new file."""

    def _open(self) -> sqlite3.Connection:
        place = self.path.absolute().as_uri()
        try:
            try:
                connection = self._connect(f"{place}?mode=ro")
            except sqlite3.OperationalError:
                # Without permission to write to the folder we cannot join the monitor's WAL. If no
                # monitor is running there is no WAL, and the file does not change.
                if self.path.with_name(self.path.name + "-wal").exists():
                    raise
                connection = self._connect(f"{place}?mode=ro&immutable=1")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error as error:
            raise ArchiveError(
                f"The ledger {self.path} cannot be read: {error}. Check that you may read it and its folder; "
                "if it is damaged, move it away: the watch begins a new one."
            ) from error
        if version not in _READABLE:
            connection.close()
            raise _other_version(self.path, version)
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


def _other_version(path: Path, version: int) -> ArchiveError:
    return ArchiveError(
        f"The ledger {path} belongs to another version of tvtasks (schema {version}; this one knows "
        f"{rows.SCHEMA_VERSION}). Use that version, or move the ledger away to begin a new one: images that "
        "the archive holds are not restored again."
    )


def _unusable(path: Path, error: sqlite3.Error | ValueError) -> ArchiveError:
    if isinstance(error, sqlite3.OperationalError):
        return ArchiveError(
            f"The ledger {path} cannot be used: {error}. Check that the disk is not full and that the file "
            "can be written to. Work that was done but not recorded will be done again."
        )
    return ArchiveError(
        f"The ledger {path} is damaged or not a ledger: {error}. Move it away to begin a new one: images "
        "that the archive holds are not restored again."
    )
