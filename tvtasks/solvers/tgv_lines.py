"""TGV-L1 in one direction: every line is a linear programme, solved by an interior-point method.

In one direction v has one component and its second-order dual q one number per pixel. The dual of TGV-L1,

    max ⟨w, f⟩  with  |q| ≤ α2,  |p| ≤ α1,  |w| ≤ λ,  p = Eᵀq,  w = ∇ᵀp,

has q as its only variable, and q = 0 is inside all its bounds. The multipliers of the bounds are what the
primal terms measure: Ev for those on q, ∇u − v for those on p, f − u for those on w. A Newton step solves an
equation in q with five diagonals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tvtasks.models import TGVL1
from tvtasks.operators import Array, Direction
from tvtasks.solvers import Solution, certificates
from tvtasks.solvers.kernels import compiled, larger
from tvtasks.solvers.lines import in_blocks

# Lines that are solved side by side, with their pixels down a column.
_LANES = 32
# A line is solved when its energy is proven to be this close to its minimum (relative), or when the products
# of slacks and multipliers are so small beside it that only rounding remains. That takes 10 to 30 Newton
# steps.
_TOLERANCE, _SPENT, _NOTHING = 1e-9, 1e-11, 1e-14
_STEPS = 80
# If a solution is not unique, rounding may spoil it after that. So the best of all steps is kept, and after
# this many steps without improvement the line is given up.
_PATIENCE = 4
# The products at the start; the fraction of them that a step aims at (also after a short step); how much of
# the way to the next bound a step goes.
_START, _CENTRE, _CENTRE_AGAIN, _REACH = 0.1, 0.1, 0.5, 0.995
_SINGULAR, _IMMOVABLE = 1e-13, 1e100
# Slacks are differences of numbers of order 1.
_LEAST = 1e-18


def solve(
    image: Array, model: TGVL1, direction: Direction, *, rtol: float = 0.0, threads: int = 1
) -> Solution | None:
    """Return the minimiser for direction ``x`` or ``y``, or None for lines of fewer than four pixels.

    Its gap says how close it is to the minimum. It is float32 for a float32 image, unless that would miss the
    tolerance.
    """
    f = np.ascontiguousarray(image if direction == "y" else image.T, np.float64)
    n, lines = f.shape
    if n < 4:
        return None
    low, extent = float(f.min()), float(np.ptp(f))
    free = n - 1 if model.gradient == "jacobian" else n - 2
    u, v, q = np.zeros((3, n, lines))

    def solve_some(blocks: Sequence[slice]) -> None:
        data = np.zeros((n, _LANES))
        for part in blocks:
            lanes = slice(0, part.stop - part.start)
            data[:, lanes] = (f[:, part] - low) / extent
            fit, slope, dual = _block(data, free, model.lam, model.alpha1, model.alpha2)
            u[:, part] = low + extent * fit[:, lanes]
            v[:, part] = extent * slope[:, lanes]
            q[:, part] = dual[:, lanes]

    in_blocks(solve_some, lines, _LANES, threads)
    if direction == "x":
        u, v, q = (np.ascontiguousarray(a.T) for a in (u, v, q))
    slope, dual = _as_fields(v, q, model, direction)
    certificate, u, slope_in_dtype = certificates.certify_rounded(
        model, u, slope, dual, image, direction, rtol
    )
    return certificates.solution(certificate, u, slope_in_dtype, method="interior-point")


def _as_fields(v: Array, q: Array, model: TGVL1, direction: Direction) -> tuple[Array, Array]:
    """Return v and q as components of their fields in two dimensions."""
    along = 0 if direction == "x" else 1
    slope = np.zeros((2, *v.shape))
    slope[along] = v
    if model.gradient == "jacobian":
        dual = np.zeros((4, *q.shape))
        dual[3 * along] = q
    else:
        dual = np.zeros((3, *q.shape))
        # Backward differences: the one between two pixels is stored at the second.
        dual[along] = np.roll(q, 1, axis=1 - along)
    return slope, dual


# Below, rows are pixels and columns are lanes; two rows of zeros before and after the line are its borders.
# Row r of q belongs to v[r+1] − v[r], so p[r] = q[r-1] − q[r], and w[r] = q[r-2] + t[r] q[r-1] + q[r] with t
# = −2. For the Jacobian, whose v has a last element that ∇u does not reach, t is −1 in the last row.


class _Line(NamedTuple):
    """What is constant in a block: which rows of w, p and q (in this order) are bounded, and by what."""

    t: Array
    ends: Array  # one more than the last row
    bounds: Array


@compiled
def _bounded(k: int, q: Array, r: int, t: Array, z: Array) -> None:
    """Row r of w, p or q."""
    if k == 0:
        middle = t[r]
        for lane in range(_LANES):
            z[lane] = q[r - 2, lane] + middle * q[r - 1, lane] + q[r, lane]
    elif k == 1:
        for lane in range(_LANES):
            z[lane] = q[r - 1, lane] - q[r, lane]
    else:
        for lane in range(_LANES):
            z[lane] = q[r, lane]


@compiled
def _barrier(z: Array, c: float, a: Array, r: int, mu: Array, theta: Array, d: Array) -> None:
    """Linearise the bounds |z| ≤ c in a row: after a step δz their multiplier is d + θ δz."""
    for lane in range(_LANES):
        value, up, down, aim = z[lane], a[0, r, lane], a[1, r, lane], mu[lane]
        upper, lower = 1 / larger(c - value, _LEAST), 1 / larger(c + value, _LEAST)
        theta[r, lane] = up * upper + down * lower
        d[r, lane] = aim * (upper - lower)


@compiled
def _eliminate(
    r: int,
    t1: float,
    t2: float,
    theta: Array,
    d: Array,
    f: Array,
    pivot: Array,
    near: Array,
    far: Array,
    y: Array,
) -> None:
    """Row of the five-diagonal matrix and of the right-hand side, after elimination (LDLᵀ)."""
    for lane in range(_LANES):
        w0, w1, w2 = theta[0, r, lane], theta[0, r + 1, lane], theta[0, r + 2, lane]
        p0, p1, q0 = theta[1, r, lane], theta[1, r + 1, lane], theta[2, r, lane]
        right = (f[r, lane] - d[0, r, lane]) + t1 * (f[r + 1, lane] - d[0, r + 1, lane])
        right += (f[r + 2, lane] - d[0, r + 2, lane]) - (d[1, r + 1, lane] - d[1, r, lane]) - d[2, r, lane]
        # `near` and `far` hold the row's off-diagonal entries; those above the diagonal are divided already.
        before, before_that = near[r - 1, lane], far[r - 2, lane]
        pivot1, pivot2 = pivot[r - 1, lane], pivot[r - 2, lane]
        y1, y2 = y[r - 1, lane], y[r - 2, lane]
        far1 = far[r - 1, lane]
        diagonal = w0 + t1 * t1 * w1 + w2 + p0 + p1 + q0
        own = diagonal - before * before * pivot1 - before_that * before_that * pivot2
        # Where q is not unique, only rounding remains of a pivot: such an element does not move.
        own = own if own > _SINGULAR * diagonal else _IMMOVABLE
        pivot[r, lane] = own
        near[r, lane] = (t1 * w1 + t2 * w2 - p1 - far1 * before * pivot1) / own
        far[r, lane] = w2 / own
        y[r, lane] = right - before * y1 - before_that * y2


@compiled
def _substitute(r: int, pivot: Array, near: Array, far: Array, y: Array) -> None:
    for lane in range(_LANES):
        value, own, one, two = y[r, lane], pivot[r, lane], near[r, lane], far[r, lane]
        after, after_that = y[r + 1, lane], y[r + 2, lane]
        y[r, lane] = value / own - one * after - two * after_that


@compiled
def _reach(z: Array, dz: Array, c: float, a: Array, r: int, mu: Array, most: Array) -> None:
    """Record the inverse of how far a row can go: q in most[0], multipliers in most[1]."""
    for lane in range(_LANES):
        value, change, up, down, aim = z[lane], dz[lane], a[0, r, lane], a[1, r, lane], mu[lane]
        upper, lower = 1 / larger(c - value, _LEAST), 1 / larger(c + value, _LEAST)
        slack = larger(change * upper, -change * lower)
        rise = 1 - aim * upper / up - upper * change
        fall = 1 - aim * lower / down + lower * change
        multiplier = larger(rise, fall)
        most0, most1 = most[0, lane], most[1, lane]
        most[0, lane], most[1, lane] = larger(slack, most0), larger(multiplier, most1)


@compiled
def _multiply(z: Array, dz: Array, c: float, a: Array, r: int, mu: Array, step: Array) -> None:
    """Move the multipliers of a row."""
    for lane in range(_LANES):
        value, change, up, down, aim = z[lane], dz[lane], a[0, r, lane], a[1, r, lane], mu[lane]
        upper, lower, far = 1 / larger(c - value, _LEAST), 1 / larger(c + value, _LEAST), step[1, lane]
        rise, fall = (aim + up * change) * upper - up, (aim - down * change) * lower - down
        a[0, r, lane] = up + far * rise if far > 0 else up
        a[1, r, lane] = down + far * fall if far > 0 else down


@compiled
def _advance(q: Array, dq: Array, r: int, step: Array) -> None:
    for lane in range(_LANES):
        value, change, far = q[r, lane], dq[r, lane], step[0, lane]
        q[r, lane] = value + far * change if far > 0 else value


@compiled
def _products(z: Array, c: float, a: Array, r: int, total: Array) -> None:
    for lane in range(_LANES):
        value, up, down = z[lane], a[0, r, lane], a[1, r, lane]
        total[lane] += (c - value) * up + (c + value) * down


@compiled
def _primal(f: Array, a: Array, r: int, inner: float, u: Array, v: Array) -> None:
    """Compute a row of u, and the row of v before it."""
    for lane in range(_LANES):
        fit = f[r, lane] - (a[0, 0, r, lane] - a[0, 1, r, lane])
        before = u[r - 1, lane]
        u[r, lane] = fit
        v[r - 1, lane] = inner * (fit - before) - (a[1, 0, r - 1, lane] - a[1, 1, r - 1, lane])


@compiled
def _energy(
    r: int,
    f: Array,
    q: Array,
    a: Array,
    v: Array,
    t: float,
    lam: float,
    alpha1: float,
    alpha2: float,
    energy: Array,
    product: Array,
) -> None:
    """Add a row's part of the energy and of ⟨w, f⟩."""
    for lane in range(_LANES):
        misfit = abs(a[0, 0, r, lane] - a[0, 1, r, lane])
        steep = abs(a[1, 0, r, lane] - a[1, 1, r, lane])
        bend = abs(v[r + 1, lane] - v[r, lane])
        w = q[r - 2, lane] + t * q[r - 1, lane] + q[r, lane]
        energy[lane] += lam * misfit + alpha1 * steep + alpha2 * bend
        product[lane] += w * f[r, lane]


@compiled
def _keep(a: Array, r: int, better: Array, kept: Array) -> None:
    for lane in range(_LANES):
        new, old = a[r, lane], kept[r, lane]
        kept[r, lane] = new if better[lane] > 0 else old


@compiled
def _measure(
    f: Array, q: Array, a: Array, line: _Line, u: Array, v: Array, left: Array, energy: Array, product: Array
) -> None:
    """Write u and v, the sum of all products of slacks and multipliers, the energy and its lower bound."""
    end = line.ends[0]
    z = np.zeros(_LANES)
    left[:], energy[:], product[:] = 0.0, 0.0, 0.0
    for k in range(3):
        for r in range(2, line.ends[k]):
            _bounded(k, q, r, line.t, z)
            _products(z, line.bounds[k], a[k], r, left)
    for r in range(2, end + 1):
        _primal(f, a, r, 1.0 if 2 < r < end else 0.0, u, v)
    for r in range(2, end):
        alpha2 = line.bounds[2] if r < line.ends[2] else 0.0
        _energy(r, f, q, a, v, line.t[r], line.bounds[0], line.bounds[1], alpha2, energy, product)


@compiled
def _newton(
    f: Array, q: Array, a: Array, mu: Array, line: _Line, theta: Array, d: Array, factors: Array, y: Array
) -> None:
    """Write to y the step of q that moves all products of slacks and multipliers towards `mu`."""
    z = np.zeros(_LANES)
    for k in range(3):
        for r in range(2, line.ends[k]):
            _bounded(k, q, r, line.t, z)
            _barrier(z, line.bounds[k], a[k], r, mu, theta[k], d[k])
    last = line.ends[2]
    for r in range(2, last):
        _eliminate(r, line.t[r + 1], line.t[r + 2], theta, d, f, factors[0], factors[1], factors[2], y)
    y[last:] = 0.0
    for r in range(last - 1, 1, -1):
        _substitute(r, factors[0], factors[1], factors[2], y)


@compiled
def _step(q: Array, y: Array, a: Array, mu: Array, line: _Line, most: Array, step: Array) -> None:
    """Move along y as far as the bounds allow; a lane with an infinity in `most` does not move."""
    z, dz = np.zeros(_LANES), np.zeros(_LANES)
    for k in range(3):
        for r in range(2, line.ends[k]):
            _bounded(k, q, r, line.t, z)
            _bounded(k, y, r, line.t, dz)
            _reach(z, dz, line.bounds[k], a[k], r, mu, most)
    for lane in range(_LANES):
        for k in range(2):
            step[k, lane] = min(1.0, _REACH / most[k, lane]) if most[k, lane] > 0 else 1.0
    for k in range(3):
        for r in range(2, line.ends[k]):
            _bounded(k, q, r, line.t, z)
            _bounded(k, y, r, line.t, dz)
            _multiply(z, dz, line.bounds[k], a[k], r, mu, step)
    for r in range(2, line.ends[2]):
        _advance(q, y, r, step)


@compiled
def _block(data: Array, free: int, lam: float, alpha1: float, alpha2: float) -> Any:
    """Solve the columns of `data`, with values in [0, 1]; return u, v and q, which has `free` variables."""
    n = data.shape[0]
    end = n + 2
    f, u, v, q, y = np.zeros((5, n + 4, _LANES))
    factors, theta, d = np.zeros((3, 3, n + 4, _LANES))
    factors[0, :2] = 1.0
    # Multipliers of w, p and q, for the upper and the lower bound.
    a = np.zeros((3, 2, n + 4, _LANES))
    for i in range(n):  # f[2:end] = data compiles for seconds what would describe unequal shapes
        for lane in range(_LANES):
            f[i + 2, lane] = data[i, lane]
    t = np.full(n + 4, -2.0)
    if free == n - 1:
        t[end - 1] = -1.0
    line = _Line(t, np.array([end, free + 3, free + 2]), np.array([lam, alpha1, alpha2]))
    for k in range(3):
        a[k, :, 2 : line.ends[k]] = _START / line.bounds[k]
    mu, energy, product, better = np.zeros((4, _LANES))
    most, step = np.zeros((2, _LANES)), np.ones((2, _LANES))
    best, since = np.full(_LANES, np.inf), np.zeros(_LANES)
    kept = np.zeros((3, n + 4, _LANES))
    for _ in range(_STEPS):
        _measure(f, q, a, line, u, v, mu, energy, product)
        busy = False
        for lane in range(_LANES):
            gap = energy[lane] - product[lane]
            better[lane] = 1.0 if gap < best[lane] else 0.0
            best[lane] = gap if better[lane] > 0 else best[lane]
            since[lane] = 0.0 if better[lane] > 0 else since[lane] + 1
            done = gap <= _TOLERANCE * product[lane] or since[lane] > _PATIENCE
            done = done or mu[lane] <= _SPENT * product[lane] + _NOTHING
            busy = busy or not done
            most[:, lane] = np.inf if done else 0.0
            centre = _CENTRE_AGAIN if min(step[0, lane], step[1, lane]) < 0.5 else _CENTRE
            mu[lane] *= centre / (2 * (n + 2 * free + 1))
        for r in range(2, end):
            _keep(u, r, better, kept[0])
            _keep(v, r, better, kept[1])
            _keep(q, r, better, kept[2])
        if not busy:
            break
        _newton(f, q, a, mu, line, theta, d, factors, y)
        _step(q, y, a, mu, line, most, step)
    return kept[0, 2:end], kept[1, 2:end], kept[2, 2:end]
