"""Compiling loops with numba: once for each version of tvtasks, computer and user.

Compiled code is kept beside this package if its folder can be written, else in the user's own cache. The
variable NUMBA_CACHE_DIR names another folder, for a user without a home such as a service.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_heard: list[Callable[[], None]] = []


def kept(**options: Any) -> Callable[[F], F]:
    """Return a decorator that compiles a function when it is first called, and keeps the result on disk.

    Without a folder that can be written, every process compiles again. A folder for temporary files would not
    do: whoever else may write there could plant code.

    Parameters
    ----------
    options
        What ``numba.njit`` takes.
    """
    from numba import njit  # noqa: PLC0415 - this module is imported to hear of compiling, which may never come

    _listen()

    def decorate(function: F) -> F:
        try:
            compiled: F = njit(cache=True, **options)(function)
        except RuntimeError:  # numba found no folder
            compiled = njit(**options)(function)
        return compiled

    return decorate


def on_first_compiling(call: Callable[[], None] | None) -> None:
    """Call a function, in the thread that compiles, when something must be compiled; at most once.

    This replaces an earlier function. None: call nothing.
    """
    _heard[:] = [call] if call else []


@cache
def _listen() -> None:
    from numba.core import event  # noqa: PLC0415 - see kept

    class Listener(event.Listener):
        def on_start(self, event: object) -> None:
            while _heard:
                _heard.pop()()

        def on_end(self, event: object) -> None:
            pass

    register: Callable[..., Any] = event.register
    register("numba:compile", Listener())
