"""From the queue to the work: takes due files, restores them in threads, and records the outcomes."""

from __future__ import annotations

import contextvars
import logging
import math
import stat
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from tvtasks import places
from tvtasks.courtesy import Turn
from tvtasks.errors import ArchiveError
from tvtasks.filesystem import LATEST_MTIME_NS, MountedFolder
from tvtasks.health.results import output_of
from tvtasks.ledger import Entry, Ledger
from tvtasks.ledger.retries import Retry, explain, log_defect, retry_after
from tvtasks.outcome import Change, Outcome, largest_gap

logger = logging.getLogger(__name__)

AWAY_SECONDS = 5.0
"""Seconds without new work after the watched folder was found to be gone.

Without this pause, the whole backlog of a share that drops out would fail within seconds, file by file.
"""

Work = Callable[[Entry], Sequence[Outcome]]
"""Restores the images of a file; called in a thread of its own."""


class Dispatcher:
    """Works through the queue of a ledger, a few files at a time.

    It keeps no queue of its own: whenever a thread is free, it claims work from the ledger. It holds outcomes
    only while the ledger cannot record them because the disk is full, and starts no new work until it can.

    It checks each file before the work starts. A file that has changed, or is gone, is marked as overwritten;
    the monitor finds its new content.

    Parameters
    ----------
    ledger
        The queue and the record.
    recipe
        Identity of the recipe whose work this is.
    work
        Does the work.
    folder
        The folder of the files: while it is gone, no work starts.
    archive
        Where the results go: while it is gone, no work starts.
    workers
        How many files are worked on at a time.
    clock
        Returns monotonic seconds, to time the work.

    Examples
    --------
    ::

        with Dispatcher(ledger, recipe, work) as dispatcher:
            while True:
                for change in dispatcher.turn():
                    ...
                dispatcher.wait(0.25)
    """

    def __init__(
        self,
        ledger: Ledger,
        recipe: str,
        work: Work,
        *,
        folder: Path | None = None,
        archive: Path | None = None,
        workers: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._recipe = recipe
        self._work = work
        self._archive = archive
        self._root = MountedFolder(folder) if folder else None
        self._workers = workers
        self._clock = clock
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="restore")
        self._under_way: dict[Future[Sequence[Outcome]], tuple[Entry, float]] = {}
        self._turns: dict[Future[Sequence[Outcome]], Turn] = {}
        self._trouble = ""
        self._away_until = -math.inf

    def __enter__(self) -> Self:
        self._ledger.recover(self._recipe)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        self.turn(begin=False)

    def turn(self, *, begin: bool = True) -> list[Change]:
        """Record finished work and, if `begin`, start work that is due. Never waits for work.

        Returns the changes, in order. A ledger that cannot be written to shows in `trouble`; it raises no
        error.
        """
        changes: list[Change] = []
        try:
            for future in [future for future in self._under_way if future.done()]:
                changes += self._record(self._under_way[future][0], future)
                # Only now: an outcome that could not be recorded is recorded at a later turn.
                del self._under_way[future], self._turns[future]
            begin = begin and self._clock() >= self._away_until
            if begin and self._archive:
                places.check(self._archive)
            while begin and len(self._under_way) < self._workers:
                entry = self._ledger.claim(self._recipe)
                if entry is None:
                    break
                changes.append(_change(entry))
                self._begin(entry)
        except ArchiveError as error:
            if str(error) != self._trouble:
                logger.warning("%s", error)
            self._trouble = str(error)
        else:
            self._trouble = ""
        return changes

    def wait(self, timeout: float) -> None:
        """Wait until work finishes or is queued, but at most `timeout` seconds."""
        self._ledger.news.wait(timeout)
        self._ledger.news.clear()

    @property
    def running(self) -> dict[Path, float]:
        """The files being worked on, oldest work first, each with the seconds so far."""
        now = self._clock()
        return {
            entry.path: now - begun for future, (entry, begun) in self._under_way.items() if not future.done()
        }

    @property
    def is_idle(self) -> bool:
        """Whether no work is running or still to be recorded; after a turn, none is due either."""
        return not self._under_way

    @property
    def trouble(self) -> str:
        """A sentence if the ledger could not be read or written at the last turn; else empty."""
        return self._trouble

    def _begin(self, entry: Entry) -> None:
        # A copy for each: a thread does not inherit the caller's context variables.
        context = contextvars.copy_context()
        turn = Turn(lambda: self._others_wait(entry), clock=self._clock)
        future = self._pool.submit(context.run, self._do, entry, turn)
        self._under_way[future] = (entry, self._clock())
        self._turns[future] = turn
        future.add_done_callback(lambda _: self._ledger.news.set())

    def _do(self, entry: Entry, turn: Turn) -> Sequence[Outcome]:
        turn.take()
        self._check_unchanged(entry)
        return self._work(entry)

    def _others_wait(self, entry: Entry) -> bool:
        try:
            return self._ledger.others_wait(entry)
        except ArchiveError:  # the next turn shows the trouble
            return False

    def _is_away(self) -> bool:
        return self._root is not None and bool(self._root.fault())

    def _check_unchanged(self, entry: Entry) -> None:
        """Raise an error if a file no longer looks as it did when it was queued."""
        path = entry.path
        try:
            status = path.stat()
        except FileNotFoundError:
            if not path.parent.is_dir() or self._is_away():
                raise  # the share is gone: the file may well be on it
            raise _SupersededError(
                f"{path.name} was removed before it was restored. To restore it, put it back."
            ) from None
        if not stat.S_ISREG(status.st_mode) or (entry.size, entry.mtime_ns) != (
            status.st_size,
            min(status.st_mtime_ns, LATEST_MTIME_NS),
        ):
            raise _SupersededError(f"{path.name} has changed since it was queued; tvtasks looks at it again.")

    def _record(self, entry: Entry, future: Future[Sequence[Outcome]]) -> list[Change]:
        """Record the outcome of the work on a file."""
        error = future.exception()
        if error is not None:
            return [_change(self._record_error(entry, error))]
        outcomes = tuple(future.result())
        if {outcome.source_sha256 for outcome in outcomes} - {entry.sha256}:
            # The file was overwritten before it was read. The new content is in the archive under its own
            # checksum; the monitor finds it and sees that it is done.
            return [_change(self._ledger.mark_overwritten(entry))]
        outputs = [output_of(outcome.archive) for outcome in outcomes if outcome.archive]
        if self._turns[future].left:
            return [_change(self._ledger.put_back(entry), outcomes)]
        done, *copies = self._ledger.finish(entry, outputs, _detail(outcomes))
        return [_change(done, outcomes), *map(_change, copies)]

    def _record_error(self, entry: Entry, error: BaseException) -> Entry:
        if isinstance(error, _SupersededError):
            return self._ledger.mark_overwritten(entry, str(error))
        if isinstance(error, FileNotFoundError) and self._is_away():
            self._away_until = self._clock() + AWAY_SECONDS
        reason = explain(entry.path, error)
        retry = retry_after(error)
        if retry is Retry.NEVER:
            return self._ledger.quarantine(entry, reason)
        if retry is Retry.AT_NEXT_START:
            return self._ledger.cancel(entry, reason)
        failed = self._ledger.fail(entry, reason, heals=retry is Retry.FOR_EVER)
        if retry is Retry.A_FEW_TIMES:
            log_defect(entry.path, error)  # only once it is recorded, which may take several turns
        return failed


class _SupersededError(Exception):
    """The file is gone or has changed since it was queued; the message says which."""


def _change(entry: Entry, outcomes: tuple[Outcome, ...] = ()) -> Change:
    return Change(entry.path, entry.state, reason=entry.reason, outcomes=outcomes)


def _detail(outcomes: Sequence[Outcome]) -> dict[str, object]:
    """Return a few numbers for status tables, safe for JSON."""
    return {
        "gap": largest_gap(outcomes),
        "seconds": sum(outcome.seconds or 0.0 for outcome in outcomes),
        "recipe": ", ".join(dict.fromkeys(outcome.recipe for outcome in outcomes)),
    }
