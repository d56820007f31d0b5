"""Whoever wants to hear of the work as it goes on: a terminal, a log, a page of the dashboard, metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvtasks.outcome import BatchReport, Change, Outcome

Progress = Callable[[int, int], object]
"""Called now and then with how many of how many files were read."""


def no_progress(done: int, total: int) -> None:
    """Hear how many of how many files were read, and do nothing."""


class Listener:
    """Hears of the work as it goes on. Here every method does nothing; a listener overrides what it needs.

    All methods but `problems` are called in the thread that keeps the books of the work, one at a time; they
    must not block. `problems` is called in the thread that writes heartbeats.
    """

    def reading(self, done: int, total: int) -> None:
        """Hear how many of how many files were read to find out what is to be done."""

    def planned(self, report: BatchReport, summary: str) -> None:
        """Hear what a batch is going to do; `report` fills up from now on."""

    def finished(self, outcome: Outcome) -> None:
        """Hear what came of an image of a batch."""

    def changed(self, change: Change) -> None:
        """Hear that a file of a watch has come to another state."""

    def problems(self, begun: Sequence[str], ended: Sequence[str], present: Sequence[str]) -> None:
        """Hear which problems of a watch have begun and ended, and which there are now, as sentences."""


class Listeners(Listener):
    """Passes everything on to several listeners, in order.

    Parameters
    ----------
    listeners
        Whom to pass it on to; more may be added with `add`.
    """

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = list(listeners)

    def add(self, listener: Listener) -> None:
        """Pass everything on to one more."""
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
