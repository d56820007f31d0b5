"""A listener that notes its calls and passes them on to functions of a test."""

from collections.abc import Callable, Sequence

from tvtasks.listener import Listener
from tvtasks.outcome import BatchReport, Change, Outcome


class Heard(Listener):
    def __init__(
        self,
        finished: Callable[[Outcome], object] = lambda outcome: None,
        changed: Callable[[Change], object] = lambda change: None,
    ) -> None:
        self.outcomes: list[Outcome] = []
        self.changes: list[Change] = []
        self.problems_heard: list[tuple[list[str], list[str], list[str]]] = []
        self.report: BatchReport | None = None
        self._finished = finished
        self._changed = changed

    def planned(self, report: BatchReport, summary: str) -> None:
        self.report = report

    def finished(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._finished(outcome)

    def changed(self, change: Change) -> None:
        self.changes.append(change)
        self._changed(change)

    def problems(self, begun: Sequence[str], ended: Sequence[str], present: Sequence[str]) -> None:
        self.problems_heard.append((list(begun), list(ended), list(present)))
