"""From the queue to the work: takes what is due, has it done in threads, and records how it ended."""

from __future__ import annotations

import contextvars
import errno
import logging
import math
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from tvtasks.errors import (
    ArchiveError,
    CancelledRunError,
    RecipeError,
    TvtasksError,
    UnreadableFileError,
    UnusableImageError,
)
from tvtasks.monitor.ledger import LATEST_MTIME_NS, Entry, Ledger

logger = logging.getLogger(__name__)

T = TypeVar("T")

AWAY = 5.0
"""Seconds for which nothing is begun after the folder with all files was found to be gone.

A share that drops out would otherwise have its whole backlog fail, file by file, within seconds.
"""

_NOT_AGAIN = (UnreadableFileError, UnusableImageError, RecipeError, CancelledRunError)


@dataclass(frozen=True)
class Restored(Generic[T]):
    """What came of the work on a file.

    Attributes
    ----------
    checksums
        SHA-256 of the file as it was read, hexadecimal.
    outputs
        The archive files.
    detail
        A few numbers for status tables, safe for JSON.
    outcomes
        What else whoever shows it should know.
    """

    checksums: frozenset[str]
    outputs: tuple[Path, ...]
    detail: Mapping[str, Any]
    outcomes: tuple[T, ...] = ()


@dataclass(frozen=True)
class Event(Generic[T]):
    """An entry of the ledger that has come to another state.

    `restored` is there where the work was done now; content that was done under another path has none.
    """

    entry: Entry
    restored: Restored[T] | None = None


class Dispatcher(Generic[T]):
    """Works off the queue of a ledger, a few files at a time.

    It keeps no queue of its own: each piece of work is claimed from the ledger when a thread is free. Only
    outcomes that could not be recorded, because the disk is full, are kept until they can; nothing new is
    begun until then.

    Before a file is worked on it is looked at: what has other content by now, or is gone, is marked as
    overwritten, and the monitor finds what there is instead.

    Parameters
    ----------
    ledger
        The queue and the record.
    recipe
        Identity of the recipe whose work is done.
    restore
        Does the work; called in one thread per piece of work.
    folder
        Where the files are: while it is gone, nothing is begun.
    workers
        How many pieces of work are done at a time.
    clock
        Monotonic seconds, for how long work takes.

    Examples
    --------
    ::

        with Dispatcher(ledger, recipe, restore) as dispatcher:
            while True:
                for event in dispatcher.turn():
                    ...
                dispatcher.wait(0.25)
    """

    def __init__(
        self,
        ledger: Ledger,
        recipe: str,
        restore: Callable[[Entry], Restored[T]],
        *,
        folder: Path | None = None,
        workers: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._recipe = recipe
        self._restore = restore
        self._folder = folder
        self._workers = workers
        self._clock = clock
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="restore")
        self._work: dict[Future[Restored[T]], tuple[Entry, float]] = {}
        self._trouble = ""
        self._away_until = -math.inf

    def __enter__(self) -> Self:
        self._ledger.recover(self._recipe)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        self.turn(begin=False)

    def turn(self, *, begin: bool = True) -> list[Event[T]]:
        """Record the work that has ended and, unless told not to, begin what is due. Never waits for work.

        Returns what has changed, in order. A ledger that cannot be written shows in `trouble`, not as an
        error.
        """
        events: list[Event[T]] = []
        try:
            for future in [future for future in self._work if future.done()]:
                events += self._record(self._work[future][0], future)
                # Not before: an outcome that could not be recorded is recorded at a later turn.
                del self._work[future]
            begin = begin and self._clock() >= self._away_until
            while begin and len(self._work) < self._workers and (entry := self._ledger.claim(self._recipe)):
                events.append(Event(entry))
                # A copy each: what the caller has set for its calls does not reach a thread by itself.
                context = contextvars.copy_context()
                future = self._pool.submit(context.run, self._do, entry)
                self._work[future] = (entry, self._clock())
                future.add_done_callback(lambda _: self._ledger.news.set())
        except ArchiveError as error:
            if str(error) != self._trouble:
                logger.warning("%s", error)
            self._trouble = str(error)
        else:
            self._trouble = ""
        return events

    def wait(self, timeout: float) -> None:
        """Wait until some work has ended or come into the queue, at most `timeout` seconds."""
        self._ledger.news.wait(timeout)
        self._ledger.news.clear()

    @property
    def running(self) -> dict[Path, float]:
        """The files that are worked on, the oldest first, and for how many seconds."""
        now = self._clock()
        return {entry.path: now - begun for future, (entry, begun) in self._work.items() if not future.done()}

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing remains to be recorded; after a turn, nothing is due either."""
        return not self._work

    @property
    def trouble(self) -> str:
        """A sentence where the ledger could not be read or written at the last turn; else empty."""
        return self._trouble

    def _do(self, entry: Entry) -> Restored[T]:
        _check_unchanged(entry)
        return self._restore(entry)

    def _record(self, entry: Entry, future: Future[Restored[T]]) -> list[Event[T]]:
        """Record how the work on a file ended."""
        error = future.exception()
        if error is not None:
            return [Event(self._record_error(entry, error))]
        restored = future.result()
        if restored.checksums - {entry.sha256}:
            # It was overwritten before it was read. What was read is in the archive under its own checksum;
            # the monitor will find the new content and see that it is done.
            return [Event(self._ledger.mark_overwritten(entry))]
        done, *copies = self._ledger.finish(entry, restored.outputs, restored.detail)
        return [Event(done, restored), *(Event(copy) for copy in copies)]

    def _record_error(self, entry: Entry, error: BaseException) -> Entry:
        if isinstance(error, _SupersededError):
            return self._ledger.mark_overwritten(entry, str(error))
        if isinstance(error, FileNotFoundError) and self._folder and not self._folder.is_dir():
            self._away_until = self._clock() + AWAY
        reason = sentence(entry.path, error)
        if isinstance(error, _NOT_AGAIN) and not is_passing(error):
            return self._ledger.quarantine(entry, reason)
        if isinstance(error, TvtasksError) or is_passing(error):
            return self._ledger.fail(entry, reason)
        failed = self._ledger.fail(entry, reason, heals=False)
        _log(entry.path, error)  # once: recording may take several turns
        return failed


class _SupersededError(Exception):
    """The file is not what it was when it was queued; the message says what it is."""


def is_passing(error: BaseException) -> bool:
    """Return whether the system is behind an error, not the file: full, locked, away, not allowed.

    Libraries raise OSError for damaged files too, without a number, or with that of an invalid argument
    where an offset in the file leads nowhere.
    """
    return any(
        isinstance(cause, OSError) and cause.errno not in {None, errno.EINVAL} for cause in _causes(error)
    )


def defect(path: Path, error: BaseException) -> str:
    """Log an error that is not the user's with its traceback, and return a sentence for it."""
    _log(path, error)
    return sentence(path, error)


def _log(path: Path, error: BaseException) -> None:
    logger.error("%s could not be restored", path, exc_info=error)


def sentence(path: Path, error: BaseException) -> str:
    """Return what to tell a user of an error: which file, what is wrong, and what to do."""
    if isinstance(error, TvtasksError):
        return str(error)
    if is_passing(error):
        return f"{path.name} could not be restored: {error}. It is tried again by itself."
    return (
        f"{path.name}: an error in tvtasks itself ({type(error).__name__}: {error}). The other files go on; "
        "please report it together with this file."
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        yield found
        seen.add(id(found))
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def _check_unchanged(entry: Entry) -> None:
    """Raise where a file does not look as it did when it was queued."""
    path = entry.path
    try:
        status = path.stat()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise  # a share that is away: the file may well be on it
        raise _SupersededError(
            f"{path.name} was removed before it was restored. It is restored when it is put back."
        ) from None
    if not stat.S_ISREG(status.st_mode) or (entry.size, entry.mtime_ns) != (
        status.st_size,
        min(status.st_mtime_ns, LATEST_MTIME_NS),
    ):
        raise _SupersededError(f"{path.name} has changed since it was queued; it is looked at again.")
