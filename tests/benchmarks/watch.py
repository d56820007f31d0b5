"""A clock for iterations that other programs run: what objective they reached after how many seconds."""

import math
import time
from collections.abc import Callable

from tests.benchmarks.cases import Case
from tvtasks.operators import Array

State = Callable[[], tuple[Array, Array | None]]
"""Returns u and, for TGV-L1, v of a running iteration."""

BEYOND = math.inf  # seconds, where the budget ended first


class EnoughError(Exception):
    """Ends a peer's iteration from its callback."""


class Watch:
    """Looks at a running iteration, each time after 5 % more iterations, with the clock stopped."""

    def __init__(self, case: Case, image: Array, goal: float, budget: float) -> None:
        self.case, self.image, self.goal, self.budget = case, image, goal, budget
        self.looks: list[tuple[float, float]] = []  # seconds, energy
        self.iterations_at: list[int] = []  # of each look
        self.began, self.looking, self.iterations, self.next = time.perf_counter(), 0.0, 0, 1

    @property
    def seconds(self) -> float:
        """Time since the start, without the looks."""
        return time.perf_counter() - self.began - self.looking

    def __call__(self, state: State) -> None:
        self.iterations += 1
        if self.iterations < self.next:
            return
        self.next += max(1, self.next // 20)
        before = self.seconds
        self.note(before, *state())
        self.looking += self.seconds - before

    def note(self, seconds: float, u: Array, v: Array | None) -> None:
        """Note the energy that was reached after `seconds`."""
        energy = self.case.energy(u, v, self.image)
        self.looks.append((seconds, energy))
        self.iterations_at.append(self.iterations)
        if energy <= self.goal or seconds > self.budget:
            raise EnoughError

    def seconds_to(self, energy: float) -> float:
        within = (seconds for seconds, reached in self.looks if reached <= energy and seconds <= self.budget)
        return next(within, BEYOND)

    def iterations_to(self, energy: float) -> float:
        return next(
            (n for n, (_, reached) in zip(self.iterations_at, self.looks, strict=True) if reached <= energy),
            math.inf,
        )
