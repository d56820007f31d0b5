"""The thread in which a monitor looks at its folder."""

import threading
from collections.abc import Callable

JOIN_SECONDS = 5.0
"""Seconds that stopping waits for a look to end."""


class LookThread:
    """Makes looks in a thread of their own: when someone asks, when something happens, when one is due.

    A look may hang for minutes on a dead share. `ask` never waits longer than `patience`.

    Parameters
    ----------
    look
        Looks once, and returns when the next look is due, by the clock.
    clock
        Returns monotonic seconds.
    patience
        Seconds that `ask` waits at most; None to use no thread and look in the caller's until it is complete.
    """

    def __init__(self, look: Callable[[], float], clock: Callable[[], float], patience: float | None) -> None:
        self._look = look
        self._clock = clock
        self._patience = patience
        self._due = 0.0
        # Looks asked for and made, whether something happened, and the error that ended the thread.
        self._turn = threading.Condition()
        self._asked = self._given = 0
        self._busy = self._woken = self._ended = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def start(self, due: float) -> None:
        """Start; the first look is due at this time of the clock."""
        self._due = due
        if self._patience is not None:
            self._thread = threading.Thread(target=self._keep_looking, name="tvtasks monitor", daemon=True)
            self._thread.start()

    def ask(self) -> None:
        """Make a look if there is a reason to; raise the error of a look that failed."""
        if self._thread is None:
            self._look()
            return
        with self._turn:
            if self._busy or self._woken or self._clock() >= self._due:
                self._asked += 1
                asked = self._asked
                self._turn.notify_all()
                self._turn.wait_for(lambda: self._given >= asked or self._error is not None, self._patience)
        if self._error is not None:
            raise self._error

    def wake(self) -> None:
        """Make a look soon, because something has happened. Any thread may call this."""
        with self._turn:
            self._woken = True
            self._turn.notify_all()

    def stop(self) -> bool:
        """End the thread; return whether it ended. If it hangs in a look, it is left alone."""
        with self._turn:
            self._ended = True
            self._turn.notify_all()
        if self._thread is None:
            return True
        self._thread.join(JOIN_SECONDS)
        return not self._thread.is_alive()

    def _keep_looking(self) -> None:
        try:
            while True:
                with self._turn:
                    self._turn.wait_for(
                        lambda: self._ended or self._woken or self._asked > self._given,
                        max(self._due - self._clock(), 0.0),
                    )
                    if self._ended:
                        return
                    asked, self._woken, self._busy = self._asked, False, True
                due = self._look()
                with self._turn:
                    self._due, self._given, self._busy = due, asked, False
                    self._turn.notify_all()
        except BaseException as error:
            with self._turn:
                # After a stop, the things that a hanging look uses may have been closed.
                self._error = None if self._ended else error
                self._turn.notify_all()
