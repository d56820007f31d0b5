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

from typing import Any, NamedTuple, Protocol

import numpy as np

from tvtasks.models import TGVL1, TVL1, HuberROF, Model
from tvtasks.operators import Array, Direction
from tvtasks.solvers import Check, Solution, bounds
from tvtasks.solvers.grid import Grid, pad
from tvtasks.solvers.wavefront import BAND, Threads, share_rows

# By these, and by what leaves nothing beyond ±λ, w is multiplied for the bound of TV-L1.
_SCALES = np.array([1.0, 0.999, 0.995, 0.98, 0.93])
# Pixels that are repaired together, so that they stay in the cache.
_BAND_PIXELS = 2**19
# How fast the local scale of q decays, per pixel at λ = α1, and how often it is found anew.
_DECAY, _ROUNDS = 0.06, 2
# Below this part of the energy, a bound is not worth another round.
_HOPELESS = (0.5, 0.99, 1.0)


class Repairs(Protocol):
    """Makes a dual field prove more."""

    def rows(self, dual: Array, first: int, last: int) -> Array:
        """Return the repaired rows from one before `first` to `last`, of a padded field."""
        ...


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
    model: Model,
    at: Iterates,
    image: Array,
    low: float,
    extent: float,
    grid: Grid,
    threads: Threads | None = None,
    *,
    rounds: int | None = None,
    repair: Repairs | None = None,
) -> Certificate:
    """Certify padded iterates for f = (image − low) / extent, without a temporary of the image's size.

    Rows are summed one by one and then together, so that the number of threads changes nothing. `rounds`
    says how often the local scale of TGV-L1 is found anew; `repair` makes the dual field of TV-L1 prove more.
    """
    if isinstance(model, HuberROF):
        return _huber_rof(model, at, image, low, extent, grid, threads)
    if isinstance(model, TVL1):
        return _tv_l1(model, at, image, low, extent, grid, threads, repair)
    return _tgv_l1(model, at, image, low, extent, grid, threads, _ROUNDS if rounds is None else rounds)


def _huber_rof(
    model: HuberROF,
    at: Iterates,
    image: Array,
    low: float,
    extent: float,
    grid: Grid,
    threads: Threads | None,
) -> Certificate:
    end = len(at.u) - 1
    sums = np.zeros((2, end + 1))

    def some(first: int, last: int) -> None:
        bounds.huber_rof_gap(
            at.u, at.dual, image, low, extent, grid.mx, grid.my, model.lam, model.alpha, first, last, sums
        )

    share_rows(threads, some, 1, end)
    energy, gap = (float(total) for total in sums.sum(axis=1))
    return Certificate(energy, energy - gap, relative_gap(energy, gap), "primal-dual gap")


def _tv_l1(
    model: TVL1,
    at: Iterates,
    image: Array,
    low: float,
    extent: float,
    grid: Grid,
    threads: Threads | None,
    repair: Repairs | None,
) -> Certificate:
    """Scale w = ∇ᵀp, and pay for what is still beyond ±λ with the range of the image; the best scale counts.

    The last of them leaves nothing beyond.
    """
    end = len(at.u) - 1
    sums = np.zeros((2 + _SCALES.size, end + 1))
    least, greatest = (float(image.min()) - low) / extent, (float(image.max()) - low) / extent
    box = (model.lam, least, greatest, _SCALES)

    def some(first: int, last: int) -> float:
        if repair is not None:
            height = max(BAND, _BAND_PIXELS // at.u.shape[1])
            return max(repaired(n, min(n + height, last)) for n in range(first, last, height))
        found = bounds.tv_l1_bounds(
            at.u, at.dual, image, low, extent, grid.mx, grid.my, *box, first, last, sums
        )
        return float(found.max())

    def repaired(first: int, last: int) -> float:
        assert repair is not None
        dual, above = repair.rows(at.dual, first, last), first - 1
        here = np.zeros((len(sums), last - above))
        u, rows, my = at.u[above:], image[above:], grid.my[above:]
        found = bounds.tv_l1_bounds(u, dual, rows, low, extent, grid.mx, my, *box, 1, last - above, here)
        sums[:, first:last] = here[:, 1:]
        return float(found.max())

    most = max(share_rows(threads, some, 1, end))
    energy, product, *outside = (float(total) for total in sums.sum(axis=1))
    boxed = max(float(scale) * product - cost for scale, cost in zip(_SCALES, outside, strict=True))
    scaled = product * min(1.0, model.lam / most) if most > 0 else 0.0
    lower, bound = max(
        (scaled, "primal-dual gap, dual scaled"), (boxed, "primal-dual gap within the image's range")
    )
    return Certificate(energy, lower, relative_gap(energy, energy - lower), bound)


def _tgv_l1(
    model: TGVL1,
    at: Iterates,
    image: Array,
    low: float,
    extent: float,
    grid: Grid,
    threads: Threads | None,
    rounds: int,
) -> Certificate:
    """Scale q so that p = Eᵀq and w = ∇ᵀp are within their bounds: where they exceed them, and then the rest.

    A scale that varies slowly keeps most of the bound where nothing is exceeded; a second round corrects what
    its own variation exceeds.
    """
    u, v, dual = at
    assert v is not None
    end = len(at.u) - 1
    blocks = tuple(-(-(n - 2) // bounds.BLOCK) for n in at.u.shape)
    shares = np.ones(blocks)
    decay = float(np.exp(-_DECAY * bounds.BLOCK * min(1.0, model.lam / model.alpha1)))
    energy, lower, bound = 0.0, -np.inf, ""
    for tried in range(1 + rounds):
        sums, largest = np.zeros((2, end + 1)), np.zeros((2, blocks[0], at.u.shape[1]))

        def some(first: int, last: int) -> None:
            bounds.tgv_l1_bounds(
                u,
                v,
                dual,
                shares,  # noqa: B023 - called before they change
                image,
                low,
                extent,
                *grid,
                model.lam,
                model.alpha1,
                model.alpha2,
                tried == 0,  # noqa: B023
                first,
                last,
                sums,  # noqa: B023
                largest,  # noqa: B023
            )

        share_rows(threads, some, 1, end)
        if tried == 0:
            energy = float(sums[0].sum())
        excess = np.maximum(
            np.sqrt(largest[0]).max(initial=0.0) / model.alpha1, largest[1].max(initial=0.0) / model.lam
        )
        found = float(sums[1].sum()) / max(1.0, float(excess))
        if found > lower:
            lower, bound = found, "primal-dual gap, dual scaled" + (" locally" if tried else "")
        if excess <= 1 + 1e-9 or found <= _HOPELESS[tried] * energy:
            break
        shares /= 1 + _spread_excess(largest, model, decay)
    return Certificate(energy, lower, relative_gap(energy, energy - lower), bound)


def _spread_excess(largest: Array, model: TGVL1, decay: float) -> Array:
    """Return by how much p or w exceed their bounds in each block, and around it, decaying with distance."""
    width = largest.shape[2] - 2
    columns = np.zeros((2, largest.shape[1], -(-width // bounds.BLOCK) * bounds.BLOCK))
    columns[:, :, :width] = largest[:, :, 1:-1]
    p_squared, w = columns.reshape(2, largest.shape[1], -1, bounds.BLOCK).max(axis=3)
    excess = np.maximum(np.sqrt(p_squared) / model.alpha1, w / model.lam) - 1
    excess = np.maximum(excess, 0.0)
    bounds.spread(excess, decay)
    return np.asarray(excess)
