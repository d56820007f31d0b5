"""A file with many images lets others go first: it stops between two images, and goes on after them.

What was restored is in the archive, so going on costs only reading the file again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar

SLICE_SECONDS = 5.0
"""How long a file is worked on before it may have to let others go first."""

_turn: ContextVar[Turn | None] = ContextVar("turn", default=None)


class Turn:
    """The turn of a file: how long it may be worked on, and what was left at its end.

    Parameters
    ----------
    others_wait
        Returns whether other files are waiting. It may be called in any thread.
    clock
        Returns monotonic seconds.

    Attributes
    ----------
    left
        Images that were left when the turn ended early.
    """

    def __init__(
        self, others_wait: Callable[[], bool], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.left = 0
        self._others_wait = others_wait
        self._clock = clock
        self._until = clock() + SLICE_SECONDS

    def take(self) -> None:
        """Make this the turn of the work in the present context."""
        _turn.set(self)

    def is_over(self) -> bool:
        """Return whether others should go first now."""
        return self._clock() >= self._until and self._others_wait()


def ends_early(left: int) -> bool:
    """Return whether the work on a file should stop after an image, with `left` images to go.

    Outside a turn it never should.

    Examples
    --------
    >>> ends_early(3)
    False
    """
    turn = _turn.get()
    if turn is None or left == 0 or not turn.is_over():
        return False
    turn.left = left
    return True
