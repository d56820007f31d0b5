"""The parts of every iteration: how it continues, what it holds, and where its dual field has been."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tvtasks.operators import Array
from tvtasks.solvers import kernels
from tvtasks.solvers.certificates import Iterates
from tvtasks.solvers.wavefront import Block, Wavefront

# Bounds of ‖∇‖² by direction; they hold for ‖E‖² of TGV-L1 as well.
NORM = {"both": 8.0, "x": 4.0, "y": 4.0}
RELAXATION = 1.9
EPS = float(np.finfo(np.float32).eps)
# Iterations between two samples of a mean.
_SAMPLE = 20


class RecentMean:
    """The mean of a dual field over the recent half of the iterations, in float32.

    The bounds need a derivative of the dual field within ±λ at every pixel. The last iterate oscillates about
    that long after u has settled; the mean gives a gap several times smaller.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.field = np.zeros(shape, np.float32)
        self._done, self._since, self._counted = 0, 0, 0

    def advance(self, front: Wavefront, iterate: Block, dual: Array, iterations: int) -> None:
        """Iterate, and take samples on the way."""
        if self._done >= 2 * self._since:
            self.field[:], self._since, self._counted = 0, self._done, 0
        end = self._done + iterations
        while self._done < end:
            block = min(_SAMPLE, end - self._done)
            front.run(iterate, block)
            self._done, self._counted = self._done + block, self._counted + 1
            kernels.add_to_mean(self.field, dual, 1 / self._counted)


class Iteration(NamedTuple):
    """A model's iteration, ready to run; `state` holds its padded arrays."""

    advance: Callable[[int], None]
    state: tuple[Array, ...]
    iterates: Callable[[], tuple[Iterates, ...]]  # one per dual field that is worth checking
    mean: RecentMean | None = None
    # the gap that float32 may not get below, given the energy per pixel
    floor: Callable[[float], float] = lambda energy: 0.0
    # fraction of the energy that float32 may change it by, likewise
    blur: Callable[[float], float] = lambda energy: 2e-5
    # whether the first phase continues in float64 if float32 does not bring the energy down far enough
    refines: bool = False
    last_phase: bool = True
