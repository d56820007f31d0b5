"""Proven bounds on the distance to the minimum, from any primal and dual iterate, in float64.

A certificate does not depend on how its iterates were computed: a wrong dual variable gives a large gap,
never a false one. For the box bound: the minimiser of TV-L1 lies between the lowest and the highest value of
the image.

References
----------
Section 2 of: A. Chambolle, T. Pock, "A First-Order Primal-Dual Algorithm for Convex Problems with
Applications to Imaging", Journal of Mathematical Imaging and Vision 40 (2011) 120–145,
doi:10.1007/s10851-010-0251-1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tvtasks.models import TVL1, HuberROF, Model
from tvtasks.operators import Array, Direction
from tvtasks.solvers import Check, Solution, bounds
from tvtasks.solvers.grid import Grid, pad

_TINY = float(np.finfo(np.float64).tiny)


class Certificate(NamedTuple):
    """Energy of a primal iterate, a lower bound on the minimum, the relative gap, and what it is based on."""

    energy: float
    lower: float
    gap: float
    bound: str


class Iterates(NamedTuple):
    """Padded iterates: u, v for TGV-L1, and the dual field."""

    u: Array
    v: Array | None
    dual: Array


def solution(
    certificate: Certificate,
    u: Array,
    v: Array | None = None,
    *,
    method: str,
    converged: bool = True,
    iterations: int = 0,
    history: tuple[Check, ...] = (),
) -> Solution:
    """Combine a minimiser and its certificate."""
    return Solution(
        u=u,
        v=v,
        energy=certificate.energy,
        gap=certificate.gap,
        bound=certificate.bound,
        iterations=iterations,
        converged=converged,
        method=method,
        history=history,
    )


def relative_gap(energy: float, gap: float) -> float:
    """Return the gap for which energy ≤ (1 + gap) · minimum; infinite if nothing is proven."""
    if gap <= 0:
        return 0.0
    lower = energy - gap
    return gap / lower if lower > 0 else float("inf")


def with_lower(certificate: Certificate, lower: float, bound: str) -> Certificate:
    """Replace the lower bound on the minimum in a certificate."""
    return Certificate(
        certificate.energy, lower, relative_gap(certificate.energy, certificate.energy - lower), bound
    )


def certify(
    model: Model, u: Array, v: Array | None, dual: Array, image: Array, direction: Direction
) -> Certificate:
    """Certify `u` (M, N), for TGV-L1 with `v` (2, M, N), by a dual field.

    `dual` is p (2, M, N) or, for TGV-L1, q with the three or four components of its gradient; it is projected
    onto its ball first.
    """
    grid = Grid.of(u.shape, direction, np.float64)
    padded = Iterates(pad(u, np.float64), None if v is None else pad(v, np.float64), pad(dual, np.float64))
    return certify_padded(model, padded, np.ascontiguousarray(image, np.float64), 0.0, 1.0, grid)


def certify_rounded(
    model: Model, u: Array, v: Array | None, dual: Array, image: Array, direction: Direction, rtol: float
) -> tuple[Certificate, Array, Array | None]:
    """Certify a float64 result, rounded to the image's dtype if the gap then meets the tolerance."""
    kinds: dict[Any, None] = dict.fromkeys((image.dtype.type, np.float64))
    for kind in kinds:
        fit, slope = u.astype(kind, copy=False), None if v is None else v.astype(kind, copy=False)
        certificate = certify(model, fit, slope, dual, image, direction)
        if certificate.gap <= rtol:
            break
    return certificate, fit, slope


def certify_padded(
    model: Model, at: Iterates, image: Array, low: float, extent: float, grid: Grid
) -> Certificate:
    """Certify padded iterates for f = (image − low) / extent, without a temporary of the image's size."""
    if isinstance(model, HuberROF):
        energies, gaps = bounds.huber_rof_gap(
            at.u, at.dual, image, low, extent, grid.mx, grid.my, model.lam, model.alpha
        )
        energy, gap = float(energies.sum()), float(gaps.sum())
        return Certificate(energy, energy - gap, relative_gap(energy, gap), "primal-dual gap")
    if isinstance(model, TVL1):
        least, greatest = (float(image.min()) - low) / extent, (float(image.max()) - low) / extent
        (energies, products, outside), largest = bounds.tv_l1_bounds(
            at.u, at.dual, image, low, extent, grid.mx, grid.my, model.lam, least, greatest
        )
        product, most = float(products.sum()), float(largest.max())
        scaled = product * min(1.0, model.lam / most) if most > 0 else 0.0
        boxed = product - float(outside.sum())
        lower, bound = max(
            (scaled, "primal-dual gap, dual scaled"), (boxed, "primal-dual gap within the image's range")
        )
    else:
        assert at.v is not None
        (energies, products), (p_squared, largest) = bounds.tgv_l1_bounds(
            at.u, at.v, at.dual, image, low, extent, *grid, model.lam, model.alpha1, model.alpha2
        )
        scale = min(1.0, model.alpha1 / max(float(p_squared.max()) ** 0.5, _TINY))
        scale = min(scale, model.lam / max(float(largest.max()), _TINY))
        lower, bound = scale * float(products.sum()), "primal-dual gap, dual scaled"
    energy = float(energies.sum())
    return Certificate(energy, lower, relative_gap(energy, energy - lower), bound)
