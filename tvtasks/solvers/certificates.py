"""Proven bounds on the distance to the minimum, from any primal and dual iterate, in float64.

A certificate does not care how its iterates came about: a wrong dual variable gives a large gap, never a
false one. Source: Chambolle & Pock 2011, section 2; for the box bound, the minimiser of TV-L1 lies between
the least and the greatest value of the image.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tvtasks.models import TGVL1, TVL1, HuberROF
from tvtasks.operators import Array, Direction
from tvtasks.solvers import Check, Solution, kernels
from tvtasks.solvers.grid import Grid, pad


class Certificate(NamedTuple):
    """Energy of a primal iterate, a lower bound on the minimum, the relative gap, and what it rests on."""

    energy: float
    lower: float
    gap: float
    bound: str


def solution(
    certificate: Certificate, u: Array, v: Array | None = None, *, method: str, converged: bool = True,
    iterations: int = 0, history: tuple[Check, ...] = (),
) -> Solution:  # fmt: skip
    """Join a minimiser and its certificate."""
    return Solution(
        u=u, v=v, energy=certificate.energy, gap=certificate.gap, bound=certificate.bound,
        iterations=iterations, converged=converged, method=method, history=history,
    )  # fmt: skip


def relative_gap(energy: float, gap: float) -> float:
    """Return the gap that makes energy ≤ (1 + gap) · minimum; infinite if nothing is proven."""
    if gap <= 0:
        return 0.0
    lower = energy - gap
    return gap / lower if lower > 0 else float("inf")


def huber_rof(u: Array, p: Array, image: Array, model: HuberROF, direction: Direction) -> Certificate:
    """Certify `u` (M, N) with the dual field `p` (2, M, N), which is projected on its ball first."""
    grid = Grid.of(u.shape, direction, np.float64)
    padded = pad(p, np.float64)
    energy, gap = kernels.huber_rof_gap(
        pad(u, np.float64), padded[0], padded[1], pad(image, np.float64), grid.mx, grid.my,
        model.lam, model.alpha,
    )  # fmt: skip
    return Certificate(energy, energy - gap, relative_gap(energy, gap), "primal-dual gap")


def tv_l1(u: Array, p: Array, image: Array, model: TVL1, direction: Direction) -> Certificate:
    """Certify `u` (M, N) with the dual field `p` (2, M, N), which is projected on its ball first."""
    grid = Grid.of(u.shape, direction, np.float64)
    padded = pad(p, np.float64)
    energy, scaled, box = kernels.tv_l1_bounds(
        pad(u, np.float64), padded[0], padded[1], pad(image, np.float64), grid.mx, grid.my,
        float(image.min()), float(image.max()), model.lam,
    )  # fmt: skip
    lower, bound = max(
        (scaled, "primal-dual gap, dual scaled"), (box, "primal-dual gap within the image's range")
    )
    return Certificate(energy, lower, relative_gap(energy, energy - lower), bound)


def tgv_l1(u: Array, v: Array, q: Array, image: Array, model: TGVL1, direction: Direction) -> Certificate:
    """Certify `u` (M, N) and `v` (2, M, N) with the dual field `q` (3 or 4, M, N), made feasible first."""
    grid = Grid.of(u.shape, direction, np.float64)
    energy, lower = kernels.tgv_l1_bounds(
        pad(u, np.float64), pad(v, np.float64), pad(q, np.float64), pad(image, np.float64), *grid,
        model.lam, model.alpha1, model.alpha2,
    )  # fmt: skip
    return Certificate(energy, lower, relative_gap(energy, energy - lower), "primal-dual gap, dual scaled")
