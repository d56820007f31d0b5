"""Looks at a running iteration: what is kept of them, when the next is due, and what they ask for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvtasks.operators import Array
from tvtasks.solvers import certificates
from tvtasks.solvers.certificates import Certificate, Iterates
from tvtasks.solvers.stopping import Check

# Fewer iterations than this between two looks at the gap are not worth the look.
LEAST_BLOCK = 25


@dataclass
class Best:
    """The least energy with its iterate, and the greatest lower bound; they may come from different looks."""

    energy: float = np.inf
    u: Array | None = None
    v: Array | None = None
    lower: float = -np.inf
    bound: str = ""

    def note(self, certificate: Certificate, at: Iterates) -> None:
        """Take over what is better at this look."""
        if self.u is None or certificate.energy < self.energy:
            self.energy = certificate.energy
            self.u, self.v = at.u.copy(), None if at.v is None else at.v.copy()
        if certificate.lower > self.lower or not self.bound:
            self.lower, self.bound = certificate.lower, certificate.bound

    @property
    def gap(self) -> float:
        """The relative gap between the two."""
        return certificates.relative_gap(self.energy, self.energy - self.lower)


def phase_ends(history: list[Check], enough: float, began: int, approaching: bool) -> bool:
    """Whether it is time for other steps.

    The energy is above the minimum by less than three times what the last quarter of the iterations took off
    it. Where the proof does not come in time it may be the energy that is not low enough.
    """
    last = history[-1]
    if approaching:
        return len(history) > 1 and 3 * abs(history[-2].energy - last.energy) <= enough * last.energy
    return last.iteration - began >= max(8 * LEAST_BLOCK, 2 * began)


def until_next_check(history: list[Check], rtol: float, began: int, approaching: bool) -> int:
    """Choose the iterations until the next look at the gap, which costs as much as one to five of them.

    The gap falls like a power of the number of iterations, for a while: that power, from the last two looks,
    says when it will be there. Going only most of the way, and not far at a time, allows for errors. Where
    the start had a gap already, as with Huber-ROF alone, it falls by the same factor in each iteration.
    """
    last = history[-1]
    done, gap = last.iteration - began, last.gap
    if approaching:
        return max(LEAST_BLOCK, last.iteration // 4)
    step = max(LEAST_BLOCK, done // 5)
    before = history[-2] if len(history) > 1 else last
    if before.iteration < began or not 0 < gap < 0.999 * before.gap < np.inf:
        return step
    if before.iteration == began:
        return int(np.clip(1.2 * done * np.log(gap / rtol) / np.log(before.gap / gap), 5, step))
    power = np.log(before.gap / gap) / np.log(done / (before.iteration - began))
    factor = np.exp(min(np.log(gap / rtol) / power, 1.0))
    return int(min(max(0.8 * (factor - 1) * done, 5, done // 5), max(0.6 * done, step)))


def rounding_matters(history: list[Check], floor: float, began: int) -> bool:
    """Whether float32 may keep the gap from falling: it nears the `floor`, or has ceased to fall."""
    last = history[-1]
    return last.gap < floor or (last.iteration - began > 200 and last.gap > 0.9 * history[-2].gap)
