"""The parts of every iteration: how it continues, what it holds, and where its dual field has been."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tvtasks.operators import Array, Direction
from tvtasks.solvers import kernels
from tvtasks.solvers.certificates import Iterates
from tvtasks.solvers.grid import kept
from tvtasks.solvers.wavefront import Threads, zeros

# Bounds of ‖∇‖² by direction; they hold for ‖E‖² of TGV-L1 as well.
NORM = {"both": 8.0, "x": 4.0, "y": 4.0}
RELAXATION = 1.9
EPS = float(np.finfo(np.float32).eps)
# Iterations between two samples of a mean, and how many times as many there are when the next mean starts.
_SAMPLE = 16
_GROWTH = 1.25
_REPAIRS = 10


class RecentMeans:
    """Means of a dual field over recent iterations, in float32, taken while the iterations run.

    The bounds need a derivative of the dual field within ±λ at every pixel. The last iterate oscillates about
    that long after u has settled; a mean gives a gap several times smaller. There are two, which start anew
    in turn, so that one of them always covers a fair part of the iterations after the `first` ones, in which
    no memory is touched.
    """

    def __init__(self, shape: tuple[int, ...], threads: Threads | None = None, first: int = 0) -> None:
        self._first = first
        self.fields = zeros(threads, (2, *shape), np.float32)
        self._counted = [0, 0]
        self._older, self._done, self._until = 0, 0, 0

    @property
    def field(self) -> Array:
        """The mean that covers more iterations."""
        return np.asarray(self.fields[self._older])

    def shares(self, iterations: int) -> Array:
        """Return the weights of each of the next iterations in the two means, shape (iterations, 2)."""
        shares = np.zeros((iterations, 2))
        start, self._done = self._done, self._done + iterations
        for done in range(start + 1, start + iterations + 1):
            if done <= self._first or (done % _SAMPLE and done != start + iterations):
                continue
            if done > self._until:
                self._until = max(done + 2 * _SAMPLE, int(_GROWTH * done))
                self._counted[self._older], self._older = 0, 1 - self._older
            for window in range(2):
                self._counted[window] += 1
                shares[done - start - 1, window] = 1 / self._counted[window]
        return shares


class Iteration(NamedTuple):
    """A model's iteration, ready to run; `state` holds its padded arrays."""

    advance: Callable[[int], None]
    state: tuple[Array, ...]
    iterates: Callable[[bool], Iterates]  # with the last dual field, or with a mean
    mean: RecentMeans | None = None
    # the gap that float32 may not get below, given the energy per pixel
    floor: Callable[[float], float] = lambda energy: 0.0
    # fraction of the energy that float32 may change it by, likewise
    blur: Callable[[float], float] = lambda energy: 2e-5
    # whether the first phase continues in float64 if float32 does not bring the energy down far enough
    refines: bool = False
    last_phase: bool = True
    # the first phase ends when the energy is within about this part of the tolerance
    enough: float = 0.5
    repair: Repair | None = None  # makes the dual field prove more


class Repair:
    """Turns a dual field of TV-L1 into one that exceeds its bounds by less, so that it proves more.

    Ten steps cost as much as ten iterations, and the gap is often five times smaller. A row depends on as
    many rows around it as there are steps, so bands of rows are repaired one by one.
    """

    def __init__(self, lam: float, direction: Direction) -> None:
        self._lam, self._along = lam, kept(direction)
        t, self._beyond = 1.0, np.zeros(_REPAIRS)
        for n in range(_REPAIRS):
            after = (1 + np.sqrt(1 + 4 * t * t)) / 2
            t, self._beyond[n] = after, (t - 1) / after

    def rows(self, dual: Array, first: int, last: int) -> Array:
        """Return the repaired rows from one before `first` to `last`, of a padded field."""
        end = dual.shape[1] - 1
        above, below = max(first - 2 - _REPAIRS, 0), min(last + 2 + _REPAIRS, end)
        p = np.array(dual[:, above : below + 1])
        o = p.copy()
        rows = np.zeros((_REPAIRS, 1, 4, p.shape[2]), p.dtype)
        steps = p.shape[1] + 2 * (_REPAIRS - 1)
        kernels.repair(p, o, *self._along, self._lam, self._beyond, _REPAIRS, rows, 1, steps)
        return np.ascontiguousarray(p[:, first - 1 - above : last + 1 - above])
