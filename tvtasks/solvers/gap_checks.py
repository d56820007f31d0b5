"""Checks of a running iteration: what they keep, when the next is due, and what they lead to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvtasks.operators import Array
from tvtasks.solvers import bounds, certificates
from tvtasks.solvers.certificates import Certificate, Iterates
from tvtasks.solvers.stopping import Check
from tvtasks.solvers.wavefront import Threads, share_rows, zeros

# Fewer iterations than this between two checks of the gap are not worth a check.
LEAST_BLOCK = 25
# A gap that stalls this many times above what rounding allows has another reason, at first.
_NEAR, _LONG = 3.0, 2000


@dataclass
class Best:
    """The lowest energy with its iterate, and the highest lower bound, perhaps of different checks."""

    energy: float = np.inf
    u: Array | None = None
    v: Array | None = None
    lower: float = -np.inf
    bound: str = ""
    promising: float = 6.0  # how far above the tolerance a gap may be for a repair to be tried

    fell: float = 0.0  # by how much the energy fell, and the bound rose, at the last look
    rose: float = 0.0
    _before: tuple[float, float] = (np.inf, -np.inf)

    def begin(self) -> None:
        """Begin a look, which may note several iterates."""
        self._before = self.energy, self.lower

    def note(self, certificate: Certificate, at: Iterates, threads: Threads | None = None) -> None:
        """Keep what is better at this check."""
        if self.u is None or certificate.energy < self.energy:
            self.energy = certificate.energy
            self.u = _copied(at.u, self.u, threads)
            self.v = None if at.v is None else _copied(at.v, self.v, threads)
        if certificate.lower > self.lower or not self.bound:
            self.lower, self.bound = certificate.lower, certificate.bound
        self.fell, self.rose = self._before[0] - self.energy, self.lower - self._before[1]

    @property
    def gap(self) -> float:
        """The relative gap between the two."""
        return certificates.relative_gap(self.energy, self.energy - self.lower)


def _copied(source: Array, target: Array | None, threads: Threads | None) -> Array:
    """Copy an array, into `target` if it has the same dtype."""
    if target is None or target.dtype != source.dtype:
        target = zeros(threads, source.shape, source.dtype)
    shape = (-1, *source.shape[-2:])
    whole, there = source.reshape(shape), target.reshape(shape)
    share_rows(threads, lambda first, last: bounds.copy_rows(whole, there, first, last), 0, shape[1])
    return target


def phase_ends(history: list[Check], enough: float, began: int, approaching: bool) -> bool:
    """Return whether the next phase, with other steps, is due.

    The energy exceeds the minimum by less than three times the decrease of the last quarter of the
    iterations. If the proof does not follow in time, the energy may be too high.
    """
    last = history[-1]
    if approaching:
        return len(history) > 1 and 3 * abs(history[-2].energy - last.energy) <= enough * last.energy
    return last.iteration - began >= max(8 * LEAST_BLOCK, 2 * began)


def until_next_check(history: list[Check], rtol: float, began: int, approaching: bool) -> int:
    """Return the iterations until the next check of the gap, which costs as much as one to five of them.

    For a while the gap falls like a power of the number of iterations; that power, from the last two checks,
    predicts when it will be reached. Going only most of the way, and not far at a time, allows for errors. If
    the start had a gap already, as with Huber-ROF alone, the gap falls by the same factor in each iteration.
    """
    last = history[-1]
    done, gap = last.iteration - began, last.gap
    if approaching:
        return max(LEAST_BLOCK, last.iteration // 4)
    step = max(LEAST_BLOCK, last.iteration // 5)
    before = history[-2] if len(history) > 1 else last
    if before.iteration < began or not 0 < gap < 0.999 * before.gap < np.inf:
        return step
    if before.iteration == began:
        return int(np.clip(1.2 * done * np.log(gap / rtol) / np.log(before.gap / gap), 5, step))
    power = np.log(before.gap / gap) / np.log(done / (before.iteration - began))
    factor = np.exp(min(np.log(gap / rtol) / power, 1.0))
    return int(min(max(0.8 * (factor - 1) * done, 5, done // 10), step))


def rounding_matters(history: list[Check], floor: float, began: int) -> bool:
    """Return whether float32 may keep the gap from falling: it is near the `floor`, or has stalled."""
    last = history[-1]
    stalled = last.iteration - began > 200 and last.gap > 0.9 * history[-2].gap
    patience = last.gap < _NEAR * floor or last.iteration - began > _LONG
    return last.gap < floor or (stalled and patience)
