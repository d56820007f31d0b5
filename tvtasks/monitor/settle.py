"""When a file that is being written is whole."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger(__name__)


class Status(NamedTuple):
    """What a file system says of a file without opening it."""

    size: int
    mtime_ns: int


@dataclass(slots=True)
class _Waiting:
    status: Status
    changed: float
    seen: float
    backlog: bool
    tested: float = float("-inf")
    stuck: str = ""


class SettleTracker:
    """Tells which files have stopped changing and are whole.

    A file is settled when all of these hold:

    - its size and its time of last change have stayed the same, whatever they are, for `settle` seconds
      between two observations;
    - it is not empty;
    - `incomplete` has no objection: the file opens for reading and its format says that it is whole.

    Time is the monotonic time that the caller passes in. It is never compared with a file's own times, so
    that an instrument whose clock is wrong, or a file dated in the future, makes no difference.

    Edge cases
    ----------
    A file allocated to its full size, or a writer that pauses longer than `settle`: quiet, but not whole. It
    is tested again every `settle` seconds.

    Not settled `max_wait` seconds after its last change: the file is stuck, which is said once with its
    reason. A change frees it. It is also tested again every `max_wait` seconds, because what it lacked may
    have come without the file itself changing: its other half, or the release of a lock.

    Always growing: never settled and never stuck; it is listed as waiting.

    Gone: forgotten. Under a new name it is a new file.

    Settled: forgotten too; the caller keeps what is done and must not offer it again without a reason.

    Parameters
    ----------
    incomplete
        Gives a sentence when the file cannot be opened or is not whole, else None. It is called for quiet,
        non-empty files only.
    settle
        Seconds without change.
    max_wait
        Seconds after the last change when a file that has not settled is called stuck.
    """

    def __init__(
        self, incomplete: Callable[[Path], str | None], *, settle: float = 2.0, max_wait: float = 600.0
    ) -> None:
        self._incomplete = incomplete
        self._settle = settle
        self._max_wait = max_wait
        self._files: dict[Path, _Waiting] = {}

    def observe(self, path: Path, status: Status | None, now: float, *, backlog: bool = False) -> None:
        """Take in what a file looks like now.

        Parameters
        ----------
        path
            The file.
        status
            Its size and time of last change; None where it is no longer there.
        now
            Monotonic time, in seconds.
        backlog
            The file was there before monitoring began: new acquisitions go first.
        """
        if status is None:
            self._files.pop(path, None)
            return
        file = self._files.get(path)
        if file is None or file.status != status:
            self._files[path] = _Waiting(status, changed=now, seen=now, backlog=backlog)
        else:
            file.seen = now

    def due(self, now: float) -> list[Path]:
        """Return the files that are worth another look: new acquisitions first, then the longest untested."""
        found = [
            (file.backlog, file.tested, path)
            for path, file in self._files.items()
            if now - file.changed >= self._settle
            and now - file.tested >= (self._max_wait if file.stuck else self._settle)
        ]
        return [path for _, _, path in sorted(found, key=lambda item: item[:2])]

    def settled(self, path: Path, now: float) -> bool:
        """Return whether a file that was just observed is settled; if so, it is forgotten."""
        file = self._files.get(path)
        if file is None or file.seen - file.changed < self._settle:
            return False
        file.tested = now
        problem = "it is empty" if file.status.size == 0 else self._incomplete(path)
        if problem is None:
            del self._files[path]
            return True
        if not file.stuck and now - file.changed >= self._max_wait:
            file.stuck = (
                f"{path.name} is still incomplete after {self._max_wait:g} s: {problem.rstrip('.')}. "
                "It is taken up again when it changes."
            )
            logger.warning(file.stuck)
        return False

    @property
    def waiting(self) -> list[Path]:
        """The files that have not settled and are not stuck, in the order in which they last changed."""
        return [path for path, file in self._files.items() if not file.stuck]

    @property
    def stuck(self) -> dict[Path, str]:
        """A sentence for each file that has stopped changing without becoming whole."""
        return {path: file.stuck for path, file in self._files.items() if file.stuck}
