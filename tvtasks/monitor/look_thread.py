"""The thread in which a monitor looks at its folder."""

import threading
from collections.abc import Callable

JOIN_SECONDS = 5.0
"""Seconds that stopping waits for a look to end."""


class LookThread:
    """Has looks made in a thread of their own: when somebody asks, when something happens, when one is due.

    A look may hang for minutes on a share that has died. Whoever asks is held up no longer than `patience`.

    Parameters
    ----------
    look
        Looks once, and returns when the next look is due, by the clock.
    clock
        Monotonic seconds.
    patience
        Seconds that `ask` waits at most; None for no thread: it looks in the caller's, and to the end.
    """

    def __init__(self, look: Callable[[], float], clock: Callable[[], float], patience: float | None) -> None:
        self._look = look
        self._clock = clock
        self._patience = patience
        self._due = 0.0
        # Looks that were asked for and given, something that happened, an error that ended the thread.
        self._turn = threading.Condition()
        self._asked = self._given = 0
        self._busy = self._woken = self._ended = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def start(self, due: float) -> None:
        """Begin, with the first look due at a time of the clock."""
        self._due = due
        if self._patience is not None:
            self._thread = threading.Thread(target=self._keep_looking, name="tvtasks monitor", daemon=True)
            self._thread.start()

    def ask(self) -> None:
        """Have a look made where there is a reason to; raise the error of one that failed."""
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
        """Have a look made soon, because something has happened. Any thread may call it."""
        with self._turn:
            self._woken = True
            self._turn.notify_all()

    def stop(self) -> bool:
        """End the thread; return whether it did, or else hangs in a look and is left to itself."""
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
                # Once it is stopped, what the look works with may be closed while it is still held up.
                self._error = None if self._ended else error
                self._turn.notify_all()
