"""A thread that does something every few seconds, logs errors and carries on."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable
from typing import Self

logger = logging.getLogger(__name__)


class Periodic:
    """Calls a function every few seconds in a thread of its own, whatever the function raises.

    The thread runs in a copy of the context in which the object was made, so that the caller's settings apply
    there too. The first call comes at once, unless `wait_first`.

    Parameters
    ----------
    action
        The function to call.
    every
        Seconds between calls.
    name
        Name of the thread.
    wait_first
        Whether to wait `every` seconds before the first call.
    expected
        Errors that are normal in operation (a server that is down); logged only at debug level.
    """

    def __init__(
        self,
        action: Callable[[], object],
        *,
        every: float,
        name: str,
        wait_first: bool = False,
        expected: tuple[type[Exception], ...] = (),
    ) -> None:
        self._action = action
        self._every = every
        self._wait_first = wait_first
        self._expected = expected
        self._stop = threading.Event()
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float | None = None) -> bool:
        """Ask the thread to end, wait for it, and return whether it ended in time (or never started)."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def is_running(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive()

    @property
    def is_stopping(self) -> bool:
        """Whether the thread was asked to end."""
        return self._stop.is_set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def call(self) -> None:
        """Call the function now, in the calling thread, and log what it raises."""
        try:
            self._action()
        except self._expected as error:
            logger.debug("%s: %s", self._thread.name, error)
        except Exception:
            logger.exception("%s failed", self._thread.name)

    def _run(self) -> None:
        if self._wait_first and self._stop.wait(self._every):
            return
        while True:
            self.call()
            if self._stop.wait(self._every):
                return
