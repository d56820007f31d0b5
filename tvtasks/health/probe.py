"""Calls that may hang, made in a thread of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Probe(Generic[T]):
    """Makes a call that may hang, as any call on a dead share does, in a thread of its own."""

    def __init__(self, call: Callable[[], T], first: T, clock: Callable[[], float]) -> None:
        self.answer = first
        self._call = call
        self._clock = clock
        self._asked: float | None = None
        self._wanted = threading.Event()
        self._answered = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="tvtasks health probe", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Make the call again, unless the last one has not answered yet."""
        if self._asked is None:
            self._asked = self._clock()
            self._answered.clear()
            self._wanted.set()

    def waiting(self) -> float:
        """Return the seconds since the call was made; 0 if it has answered."""
        asked = self._asked
        return 0.0 if asked is None else self._clock() - asked

    def wait(self, timeout: float) -> bool:
        """Wait for the answer to the last call; return whether it came."""
        return self._answered.wait(timeout)

    def end(self, timeout: float) -> None:
        """End the thread; leave it alone if it hangs."""
        self._ended = True
        self._wanted.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._ended:
                return
            self.answer = self._call()
            self._asked = None
            self._answered.set()
