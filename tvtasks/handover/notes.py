"""What was delivered, in ``.tvtasks/handed-on.sqlite``; whoever delivers writes it, `status` reads it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tvtasks.archive.catalogue import archive_files
from tvtasks.archive.folder import PRIVATE
from tvtasks.errors import ArchiveError
from tvtasks.words import count

_TABLES = """
create table if not exists actions (action text primary key, unreadable integer);
create table if not exists deliveries (action text, run text, at text, primary key (action, run));
create table if not exists failures (
    action text, run text, attempts integer, due real, refused integer, reason text,
    primary key (action, run)
);
"""


@dataclass(frozen=True)
class Standing:
    """How far an action is.

    Attributes
    ----------
    action
        Name of the action.
    delivered, waiting, refused
        Numbers of results.
    reason
        Why the next result was not delivered; empty if it was not tried.
    attempts
        How often that was tried.
    """

    action: str
    delivered: int
    waiting: int
    refused: int
    reason: str
    attempts: int

    @property
    def words(self) -> str:
        """The numbers in words, and the reason."""
        why = f" ({self.reason})" if self.reason else ""
        refused = f", {self.refused} refused" if self.refused else ""
        return f"{count(self.delivered, 'result')} delivered, {self.waiting} waiting{why}{refused}"


@dataclass(frozen=True)
class Failure:
    """The last failure of a delivery: attempts, when the next is due (s since 1970), whether it is final."""

    attempts: int = 0
    due: float = 0.0
    refused: bool = False


def notes_path(archive: Path) -> Path:
    """Return the path of the notes of an archive."""
    return archive / PRIVATE / "handed-on.sqlite"


def standings(archive: Path) -> list[Standing]:
    """Return how far the actions of the last hand-over are; none if there was none.

    Raises
    ------
    ArchiveError
        The notes cannot be read.
    """
    if not notes_path(archive).is_file():
        return []
    with opened(archive) as notes:
        return list(notes.standings(sum(1 for _ in archive_files(archive))))


@contextmanager
def opened(archive: Path) -> Iterator[Notes]:
    """Open the notes of an archive; they are created if missing.

    Raises
    ------
    ArchiveError
        They cannot be read or written.
    """
    path = notes_path(archive)
    try:
        path.parent.mkdir(exist_ok=True)
        with closing(sqlite3.connect(path, timeout=30.0)) as db:
            db.executescript(_TABLES)
            yield Notes(db)
    except (OSError, sqlite3.Error) as error:
        raise ArchiveError(
            f"{path} cannot be written: {error}. Check the disk and that you may write to it."
        ) from error


class Notes:
    """The notes, open; each change is on the disk when a method returns."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def declare(self, actions: Iterable[str], unreadable: int) -> None:
        """Note which actions there are, and how many files of the archive cannot be read or are copies."""
        wanted = {(action, unreadable) for action in actions}
        if wanted != set(self._db.execute("select action, unreadable from actions")):
            with self._db:
                self._db.execute("delete from actions")
                self._db.executemany("insert into actions values (?, ?)", sorted(wanted))

    def delivered(self, action: str) -> set[str]:
        """Return the run_ids that an action has delivered."""
        rows = self._db.execute("select run from deliveries where action = ?", (action,))
        return {run for (run,) in rows}

    def failures(self, action: str) -> dict[str, Failure]:
        """Return the failures of an action, by run_id."""
        rows = self._db.execute(
            "select run, attempts, due, refused from failures where action = ?", (action,)
        )
        return {run: Failure(attempts, due, bool(refused)) for run, attempts, due, refused in rows}

    def note_delivery(self, action: str, run: str) -> None:
        """Note a delivery, and forget its failures."""
        with self._db:
            now = datetime.now(UTC).isoformat()
            self._db.execute("insert or ignore into deliveries values (?, ?, ?)", (action, run, now))
            self._db.execute("delete from failures where action = ? and run = ?", (action, run))

    def note_failure(self, action: str, run: str, failure: Failure, reason: str) -> None:
        """Note a failure."""
        row = (action, run, failure.attempts, failure.due, int(failure.refused), reason)
        with self._db:
            self._db.execute("insert or replace into failures values (?, ?, ?, ?, ?, ?)", row)

    def forget_failures(self) -> None:
        """Forget all failures, so that everything not delivered is tried at once."""
        with self._db:
            self._db.execute("delete from failures")

    def standings(self, files: int) -> Iterator[Standing]:
        """Yield how far each action is, of an archive with so many files."""
        for action, unreadable in self._db.execute("select action, unreadable from actions order by rowid"):
            (done,) = self._db.execute(
                "select count(*) from deliveries where action = ?", (action,)
            ).fetchone()
            failures = self._db.execute(
                "select refused, reason, attempts from failures where action = ?", (action,)
            ).fetchall()
            refused = sum(row[0] for row in failures)
            reason, attempts = next(((row[1], row[2]) for row in failures if not row[0]), ("", 0))
            waiting = max(files - unreadable - done - refused, 0)
            yield Standing(action, done, waiting, refused, reason, attempts)
