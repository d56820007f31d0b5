"""How Ctrl-C ends a command: the first one finishes the work under way, the second ends the process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

STOPPED_AT_ONCE = 130
"""Exit code of a process that a second Ctrl-C ended."""


class Stop(threading.Event):
    """The first Ctrl-C sets it; the second calls `at_once`, just before the process ends."""

    at_once: Callable[[], object] = staticmethod(lambda: None)


@contextmanager
def stopping_gently(tell: Callable[[str], object]) -> Iterator[Stop]:
    """Yield the event that the first Ctrl-C or SIGTERM sets, to finish the work under way.

    The second one ends the process at once: the ledger knows which work was under way and repeats it.

    Parameters
    ----------
    tell
        Prints a sentence for the user; errors that it raises are ignored.
    """
    stop = Stop()

    def handle(*_: object) -> None:
        if stop.is_set():
            _end(stop, tell)
        stop.set()
        _try(tell, "Finishing the work under way; press Ctrl-C again to stop at once.")

    # On Windows, a service manager or the creator of our process group sends CTRL_BREAK.
    names = [name for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
    before: dict[int, Any] = {}
    for name in names:
        number = getattr(signal, name)
        before[number] = signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(stop: Stop, tell: Callable[[str], object]) -> NoReturn:
    with suppress(Exception):
        stop.at_once()
    _try(tell, "Stopped at once. The next start repeats the work that was under way.")
    # Not sys.exit(), which would wait for the working threads.
    os._exit(STOPPED_AT_ONCE)


def _try(tell: Callable[[str], object], text: str) -> None:
    # A closed terminal, or a signal in the middle of another line, must not prevent the stop.
    with suppress(OSError, RuntimeError):
        tell(text)
