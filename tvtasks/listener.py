"""Listeners follow the work: a terminal, a log, a page in the dashboard, metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvtasks.outcome import BatchReport, Change, Outcome

Progress = Callable[[int, int], object]
"""Called now and then with the number of files read and the total."""


def no_progress(done: int, total: int) -> None:
    """Ignore the progress."""


class Listener:
    """Follows the work. Every method here does nothing; a listener overrides the ones it needs.

    All methods except `problems` are called one at a time, in the thread that records the work; they must not
    block. `problems` is called in the thread that writes heartbeats.
    """

    def reading(self, done: int, total: int) -> None:
        """Take the number of files that planning has read, and the total."""

    def planned(self, report: BatchReport, summary: str) -> None:
        """Take the plan of a batch; `report` is updated from now on."""

    def finished(self, outcome: Outcome) -> None:
        """Take the outcome of an image of a batch."""

    def changed(self, change: Change) -> None:
        """Take a change in the state of a file of a watch."""

    def problems(self, begun: Sequence[str], ended: Sequence[str], present: Sequence[str]) -> None:
        """Take sentences on the problems of a watch: those that began, those that ended, all present ones."""


class Listeners(Listener):
    """Passes everything on to several listeners, in order.

    Parameters
    ----------
    listeners
        The listeners; `add` adds more.
    """

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = list(listeners)

    def add(self, listener: Listener) -> None:
        """Add a listener."""
        self._listeners.append(listener)

    def reading(self, done: int, total: int) -> None:
        """Pass it on."""
        for listener in self._listeners:
            listener.reading(done, total)

    def planned(self, report: BatchReport, summary: str) -> None:
        """Pass it on."""
        for listener in self._listeners:
            listener.planned(report, summary)

    def finished(self, outcome: Outcome) -> None:
        """Pass it on."""
        for listener in self._listeners:
            listener.finished(outcome)

    def changed(self, change: Change) -> None:
        """Pass it on."""
        for listener in self._listeners:
            listener.changed(change)

    def problems(self, begun: Sequence[str], ended: Sequence[str], present: Sequence[str]) -> None:
        """Pass it on."""
        for listener in self._listeners:
            listener.problems(begun, ended, present)
