"""Decides when a file that is being written is complete."""

import heapq
import itertools
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tvtasks.filesystem import FileStatus

logger = logging.getLogger(__name__)

RETEST_FRACTION = 4.0
"""A quiet but incomplete file is tested again after its waiting time so far divided by this.

Otherwise a thousand truncated files would be opened every two seconds for ten minutes.
"""


@dataclass(slots=True)
class _Waiting:
    status: FileStatus
    changed: float
    seen: float
    backlog: bool
    due: float = math.inf
    stuck: str = ""


class _Turn(NamedTuple):
    """When a file is due for a look; of files due at the same time, the older goes first."""

    due: float
    mtime_ns: int
    number: int
    path: Path


class SettleTracker:
    """Decides which files have stopped changing and are complete.

    A file has settled when all of these hold:

    - its size and its time of last change, whatever they are, have stayed the same for `settle` seconds
      between two observations;
    - it is not empty;
    - `incomplete` finds nothing wrong: the file can be opened, and its format says that it is complete.

    Time is the monotonic time that the caller passes in. It is never compared with a file's own times, so an
    instrument with a wrong clock, or a file dated in the future, makes no difference.

    Edge cases
    ----------
    Preallocated at full size, or written with pauses longer than `settle`: quiet but incomplete. The file is
    tested again after `settle` seconds, and then less and less often.

    Not settled `max_wait` seconds after its last change: stuck. This is reported once, with the reason. A
    change frees the file. It is also tested again every `max_wait` seconds, because what it lacked may have
    come without a change to the file itself: its companion file, or the release of a lock.

    Nothing missing, but of a format that does not record its length: settled after `max_wait` seconds.

    Always growing: never settled and never stuck; listed as waiting.

    Gone: forgotten. Under a new name it is a new file.

    Settled: forgotten too; the caller records what is done and must not offer the file again without a
    reason.

    Parameters
    ----------
    incomplete
        Returns a sentence if the file cannot be opened or is incomplete, else None. Called only for quiet,
        non-empty files.
    settle
        Seconds without change.
    max_wait
        Seconds after its last change when a file that has not settled counts as stuck.
    doubtful
        Returns a sentence if a file in which nothing is missing may still grow, because its format does not
        record its length. Such a file settles after `max_wait` seconds instead of `settle`.
    """

    def __init__(
        self,
        incomplete: Callable[[Path], str | None],
        *,
        settle: float = 2.0,
        max_wait: float = 600.0,
        doubtful: Callable[[Path], str | None] = lambda path: None,
    ) -> None:
        self._incomplete = incomplete
        self._doubtful = doubtful
        self._settle = settle
        self._max_wait = max_wait
        self._files: dict[Path, _Waiting] = {}
        # Two queues, new acquisitions and backlog. A file that was put off is in its queue several times;
        # only the turn at `_Waiting.due` counts.
        self._turns: dict[bool, list[_Turn]] = {False: [], True: []}
        self._number = itertools.count()

    def observe(
        self,
        path: Path,
        status: FileStatus | None,
        now: float,
        *,
        written: bool = False,
        backlog: bool = False,
    ) -> None:
        """Take in the present status of a file.

        Parameters
        ----------
        path
            The file.
        status
            Its size and time of last change; None if it is no longer there.
        now
            Monotonic time, in seconds.
        written
            Whether it was written to a moment ago, even if it looks the same: some file systems store times
            in steps of two seconds.
        backlog
            Whether the file was there before monitoring began: new acquisitions go first.
        """
        if status is None:
            self._files.pop(path, None)
            return
        file = self._files.get(path)
        if file is None or file.status != status or written:
            file = self._files[path] = _Waiting(status, changed=now, seen=now, backlog=backlog)
            self._put_off(path, file, now + self._settle)
        else:
            file.seen = now

    def due(self, now: float) -> Iterator[Path]:
        """Yield the files that are due for a look, one by one: new acquisitions first.

        Later observations are taken into account, so a caller may stop at any time, and may observe other
        files between two of these.
        """
        while True:
            queue = next((queue for queue in self._turns.values() if self._first(queue) <= now), None)
            if queue is None:
                return
            path = heapq.heappop(queue).path
            self._put_off(path, self._files[path], now + self._settle)
            yield path

    def settled(self, path: Path, now: float) -> bool:
        """Return whether a file that was just observed has settled; if so, forget it."""
        file = self._files.get(path)
        if file is None or file.seen - file.changed < self._settle:
            return False
        problem = "it is empty" if file.status.size == 0 else self._incomplete(path)
        waited = now - file.changed
        if problem is None and (waited >= self._max_wait or self._doubtful(path) is None):
            del self._files[path]
            return True
        if problem is not None and not file.stuck and waited >= self._max_wait:
            file.stuck = (
                f"{path.name} is still incomplete after {self._max_wait:g} s: {problem.rstrip('.')}. "
                "tvtasks takes it up again when it changes."
            )
            logger.warning(file.stuck)
        if file.stuck:
            self._put_off(path, file, now + self._max_wait)
        else:
            pause = max(self._settle, waited / RETEST_FRACTION)
            self._put_off(path, file, min(now + pause, file.changed + self._max_wait))
        return False

    def hurry(self, path: Path, now: float) -> None:
        """Test a file soon, because what it lacked may have come."""
        file = self._files.get(path)
        if file is not None and file.due > now + self._settle:
            self._put_off(path, file, now + self._settle)

    def is_backlog(self, path: Path) -> bool:
        """Return whether a waiting file was there before monitoring began and has not changed since."""
        file = self._files.get(path)
        return file is not None and file.backlog

    def __contains__(self, path: Path) -> bool:
        return path in self._files

    @property
    def next_due(self) -> float:
        """When the next file is due for a look; infinite if there is none."""
        return min(self._first(queue) for queue in self._turns.values())

    def _put_off(self, path: Path, file: _Waiting, due: float) -> None:
        file.due = due
        heapq.heappush(self._turns[file.backlog], _Turn(due, file.status.mtime_ns, next(self._number), path))

    def _first(self, queue: list[_Turn]) -> float:
        """Return when the first file of a queue is due, and drop outdated turns before it."""
        while queue:
            file = self._files.get(queue[0].path)
            if file is not None and file.due == queue[0].due:
                return file.due
            heapq.heappop(queue)
        return math.inf

    @property
    def waiting(self) -> list[Path]:
        """The files that have not settled and are not stuck, in the order of their last change."""
        return [path for path, file in self._files.items() if not file.stuck]

    @property
    def stuck(self) -> dict[Path, str]:
        """A sentence for each file that stopped changing while it was incomplete."""
        return {path: file.stuck for path, file in self._files.items() if file.stuck}
