"""Compiled iterations and sums of the primal–dual methods (numba; they release the interpreter's lock).

Every array is padded by one pixel of zeros on each side, and borders and directions are masks: `mx[j]` is 1
where ∂x is a true difference, `my[i]` likewise for ∂y. So there is no branch in an inner loop, and one kernel
serves all three directions. Iterates are float32 or float64; constants are converted to that dtype first
(a float64 literal would turn the whole loop into float64). The sums behind certificates take float64 arrays
and add up row by row.

An iteration goes through the image once: a primal row, then the dual row above it, for which all is there by
then. Extrapolated variables live in buffers of four rows. Several iterations follow one another down the
image, two rows apart (a wavefront), while the rows that they share are in the cache; the numbers are the same
as with one iteration after the other.
"""

# A compiled call inside a loop can keep it from being vectorised, so some kernels are long.
# ruff: noqa: PLR0912, PLR0915

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

# "nnan" and "ninf" stay out: a diverging iterate must be seen. error_model="numpy" drops the test for a
# division by zero, which keeps loops from being vectorised.
_compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "arcp"})

# Bytes that the rows of a wavefront may take: what a core has of fast cache, give or take.
_CACHE = 2**21


@_compiled
def _depth(iterations: int, row_bytes: int) -> int:
    """How many iterations follow one another: 2 · depth + 2 rows are in use at a time."""
    return max(1, min(iterations, 16, (_CACHE // row_bytes - 2) // 2))


@_compiled
def _wavefront(last: int, iterations: int) -> Any:
    """Yield (iteration, row), rows 1 … last of each, an iteration always two rows behind the one before."""
    for step in range(1, last + 2 * iterations):
        for iteration in range(iterations):
            row = step - 2 * iteration
            if 1 <= row <= last:
                yield iteration, row


@_compiled
def _huber_rof_primal(
    u: Array, ubar: Array, f: Array, px: Array, py: Array, py_above: Array, mx: Array, above: Any, here: Any,
    tau: Any, pull: Any, shrink: Any, theta: Any,
) -> None:  # fmt: skip
    for j in range(1, u.size - 1):
        w = mx[j - 1] * px[j - 1] - mx[j] * px[j] + above * py_above[j] - here * py[j]
        new = (u[j] - tau * w + pull * f[j]) * shrink
        ubar[j] = new + theta * (new - u[j])
        u[j] = new


@_compiled
def _huber_rof_dual(
    px: Array, py: Array, ubar: Array, ubar_below: Array, mx: Array, here: Any, sigma: Any, shrink: Any
) -> None:
    one = px.dtype.type(1)
    for j in range(1, px.size - 1):
        a = (px[j] + sigma * mx[j] * (ubar[j + 1] - ubar[j])) * shrink
        b = (py[j] + sigma * here * (ubar_below[j] - ubar[j])) * shrink
        s = one / max(one, np.sqrt(a * a + b * b))
        px[j] = a * s
        py[j] = b * s


@_compiled
def huber_rof(
    u: Array, p: Array, f: Array, mx: Array, my: Array, lam: float, alpha: float,
    tau: Array, sigma: Array, theta: Array,
) -> None:  # fmt: skip
    """Chambolle & Pock 2011, algorithms 2 and 3, for Huber-ROF: one iteration for each entry of the steps."""
    rows, columns = u.shape
    real = u.dtype.type
    depth = _depth(tau.size, 5 * columns * u.itemsize)
    ubar = np.zeros((depth, 4, columns), u.dtype)
    for start in range(0, tau.size, depth):
        for t, i in _wavefront(rows - 1, min(depth, tau.size - start)):
            n = start + t
            if i < rows - 1:
                _huber_rof_primal(
                    u[i], ubar[t, i % 4], f[i], p[0, i], p[1, i], p[1, i - 1], mx, my[i - 1], my[i],
                    real(tau[n]), real(tau[n] * lam), real(1 / (1 + tau[n] * lam)), real(theta[n]),
                )  # fmt: skip
            if i > 1:
                _huber_rof_dual(
                    p[0, i - 1], p[1, i - 1], ubar[t, (i - 1) % 4], ubar[t, i % 4], mx, my[i - 1],
                    real(sigma[n]), real(1 / (1 + sigma[n] * alpha)),
                )  # fmt: skip


@_compiled
def _l1_primal(
    u: Array, ubar: Array, f: Array, px: Array, py: Array, py_above: Array, mx: Array, above: Any, here: Any,
    tau: Any, step: Any, rho: Any,
) -> None:  # fmt: skip
    """Row of u for an L1 fidelity of weight step/τ, over-relaxed."""
    two = u.dtype.type(2)
    for j in range(1, u.size - 1):
        t = u[j] - tau * (mx[j - 1] * px[j - 1] - mx[j] * px[j] + above * py_above[j] - here * py[j])
        move = t - min(max(t - f[j], -step), step) - u[j]
        ubar[j] = u[j] + two * move
        u[j] += rho * move


@_compiled
def _tv_l1_dual(
    px: Array, py: Array, ubar: Array, ubar_below: Array, mx: Array, here: Any, sigma: Any, rho: Any
) -> None:
    one = px.dtype.type(1)
    for j in range(1, px.size - 1):
        a = px[j] + sigma * mx[j] * (ubar[j + 1] - ubar[j])
        b = py[j] + sigma * here * (ubar_below[j] - ubar[j])
        s = one / max(one, np.sqrt(a * a + b * b))
        px[j] += rho * (a * s - px[j])
        py[j] += rho * (b * s - py[j])


@_compiled
def tv_l1(
    u: Array, p: Array, f: Array, mx: Array, my: Array,
    lam: float, tau: float, sigma: float, rho: float, iterations: int,
) -> None:  # fmt: skip
    """Over-relaxed primal–dual iteration for TV-L1."""
    rows, columns = u.shape
    real = u.dtype.type
    depth = _depth(iterations, 5 * columns * u.itemsize)
    ubar = np.zeros((depth, 4, columns), u.dtype)
    for start in range(0, iterations, depth):
        for t, i in _wavefront(rows - 1, min(depth, iterations - start)):
            if i < rows - 1:
                _l1_primal(
                    u[i], ubar[t, i % 4], f[i], p[0, i], p[1, i], p[1, i - 1], mx, my[i - 1], my[i],
                    real(tau), real(tau * lam), real(rho),
                )  # fmt: skip
            if i > 1:
                _tv_l1_dual(
                    p[0, i - 1], p[1, i - 1], ubar[t, (i - 1) % 4], ubar[t, i % 4], mx, my[i - 1],
                    real(sigma), real(rho),
                )  # fmt: skip


# TGV-L1. The dual of the second-order term, `q`, has three components (xx, yy, √2·xy) for the symmetrised
# gradient and four (∂x vx, ∂y vx, ∂x vy, ∂y vy) for the Jacobian; see tvtasks.operators.


@_compiled
def _adjoint_symmetrised_row(
    q: Array, mx: Array, my: Array, ex: Array, ey: Array, mixed: Any, i: int, x: Array, y: Array
) -> None:
    """Write row `i` of both components of Eᵀq to the rows `x` and `y`, for the symmetrised gradient."""
    xx, yy, yy_below, xy, xy_below = q[0, i], q[1, i], q[1, i + 1], q[2, i], q[2, i + 1]
    above, here, middle, below = mixed * my[i - 1], mixed * my[i], ey[i], ey[i + 1]
    for j in range(1, x.size - 1):
        x[j] = ex[j] * xx[j] - ex[j + 1] * xx[j + 1] + mx[j] * (above * xy[j] - here * xy_below[j])
        y[j] = middle * yy[j] - below * yy_below[j] + here * (mx[j - 1] * xy[j] - mx[j] * xy[j + 1])


@_compiled
def _adjoint_jacobian_row(q: Array, mx: Array, my: Array, i: int, x: Array, y: Array) -> None:
    """Write row `i` of both components of Eᵀq to the rows `x` and `y`, for the Jacobian."""
    a, b, b_above, c, d, d_above = q[0, i], q[1, i], q[1, i - 1], q[2, i], q[3, i], q[3, i - 1]
    above, here = my[i - 1], my[i]
    for j in range(1, x.size - 1):
        x[j] = mx[j - 1] * a[j - 1] - mx[j] * a[j] + above * b_above[j] - here * b[j]
        y[j] = mx[j - 1] * c[j - 1] - mx[j] * c[j] + above * d_above[j] - here * d[j]


@_compiled
def _symmetrised_row(
    vx: Array, vx_above: Array, vy: Array, vy_above: Array, mx: Array, ex: Array, mixed_above: Any,
    mixed_here: Any, middle: Any, e: Array,
) -> None:  # fmt: skip
    """Write a row of (E_xx, E_yy, √2·E_xy) of v to the rows of `e`."""
    for j in range(1, vx.size - 1):
        e[0, j] = ex[j] * (vx[j] - vx[j - 1])
        e[1, j] = middle * (vy[j] - vy_above[j])
        e[2, j] = mixed_above * mx[j] * (vx[j] - vx_above[j]) + mixed_here * mx[j - 1] * (vy[j] - vy[j - 1])


@_compiled
def _jacobian_row(
    vx: Array, vx_below: Array, vy: Array, vy_below: Array, mx: Array, here: Any, e: Array
) -> None:
    """Write a row of the Jacobian of v to the rows of `e`."""
    for j in range(1, vx.size - 1):
        e[0, j] = mx[j] * (vx[j + 1] - vx[j])
        e[1, j] = here * (vx_below[j] - vx[j])
        e[2, j] = mx[j] * (vy[j + 1] - vy[j])
        e[3, j] = here * (vy_below[j] - vy[j])


@_compiled
def _move(v: Array, vbar: Array, p: Array, w: Array, tau: Any, rho: Any) -> None:
    """Row of a component of v, over-relaxed; `w` is Eᵀq."""
    two = v.dtype.type(2)
    for j in range(1, v.size - 1):
        move = tau * (p[j] - w[j])
        vbar[j] = v[j] + two * move
        v[j] += rho * move


@_compiled
def _tgv_l1_dual(
    px: Array, py: Array, ubar: Array, ubar_below: Array, vxbar: Array, vybar: Array, mx: Array, here: Any,
    sigma: Any, inverse: Any, rho: Any,
) -> None:  # fmt: skip
    """Row of p in its ball of radius 1/inverse."""
    one = px.dtype.type(1)
    for j in range(1, px.size - 1):
        a = px[j] + sigma * (mx[j] * (ubar[j + 1] - ubar[j]) - vxbar[j])
        b = py[j] + sigma * (here * (ubar_below[j] - ubar[j]) - vybar[j])
        s = one / max(one, inverse * np.sqrt(a * a + b * b))
        px[j] += rho * (a * s - px[j])
        py[j] += rho * (b * s - py[j])


@_compiled
def _second_dual(q: Array, i: int, e: Array, scale: Array, sigma: Any, inverse: Any, rho: Any) -> None:
    """Row `i` of q, as many components as `e` has rows, in its ball of radius 1/inverse."""
    one = scale.dtype.type(1)
    for j in range(1, scale.size - 1):
        scale[j] = scale.dtype.type(0)
    for k in range(e.shape[0]):
        component, row = q[k, i], e[k]
        for j in range(1, scale.size - 1):
            row[j] = component[j] + sigma * row[j]
            scale[j] += row[j] * row[j]
    for j in range(1, scale.size - 1):
        scale[j] = one / max(one, inverse * np.sqrt(scale[j]))
    for k in range(e.shape[0]):
        component, row = q[k, i], e[k]
        for j in range(1, scale.size - 1):
            component[j] += rho * (row[j] * scale[j] - component[j])


@_compiled
def tgv_l1(
    u: Array, v: Array, p: Array, q: Array, f: Array,
    mx: Array, my: Array, ex: Array, ey: Array, mixed: float, lam: float, alpha1: float, alpha2: float,
    tau_u: float, tau_v: float, sigma_p: float, sigma_q: float, rho: float, iterations: int,
) -> None:  # fmt: skip
    """Over-relaxed primal–dual iteration with separate steps for u, v, p and q, for TGV-L1.

    E is the Jacobian where `q` has four components, the symmetrised gradient where it has three.
    """
    rows, columns = u.shape
    jacobian = q.shape[0] == 4
    real = u.dtype.type
    depth = _depth(iterations, 13 * columns * u.itemsize)
    ubar = np.zeros((depth, 4, columns), u.dtype)
    vxbar = np.zeros((depth, 4, columns), u.dtype)
    vybar = np.zeros((depth, 4, columns), u.dtype)
    w = np.zeros((2, columns), u.dtype)
    e = np.zeros((q.shape[0], columns), u.dtype)
    scale = np.zeros(columns, u.dtype)
    for start in range(0, iterations, depth):
        for t, i in _wavefront(rows - 1, min(depth, iterations - start)):
            now = i % 4
            if i < rows - 1:
                _l1_primal(
                    u[i], ubar[t, now], f[i], p[0, i], p[1, i], p[1, i - 1], mx, my[i - 1], my[i],
                    real(tau_u), real(tau_u * lam), real(rho),
                )  # fmt: skip
                if jacobian:
                    _adjoint_jacobian_row(q, mx, my, i, w[0], w[1])
                else:
                    _adjoint_symmetrised_row(q, mx, my, ex, ey, real(mixed), i, w[0], w[1])
                _move(v[0, i], vxbar[t, now], p[0, i], w[0], real(tau_v), real(rho))
                _move(v[1, i], vybar[t, now], p[1, i], w[1], real(tau_v), real(rho))
            r, before, earlier = i - 1, (i - 1) % 4, (i - 2) % 4
            if r < 1:
                continue
            _tgv_l1_dual(
                p[0, r], p[1, r], ubar[t, before], ubar[t, now], vxbar[t, before], vybar[t, before],
                mx, my[r], real(sigma_p), real(1 / alpha1), real(rho),
            )  # fmt: skip
            if jacobian:
                _jacobian_row(
                    vxbar[t, before], vxbar[t, now], vybar[t, before], vybar[t, now], mx, my[r], e
                )  # fmt: skip
            else:
                _symmetrised_row(
                    vxbar[t, before], vxbar[t, earlier], vybar[t, before], vybar[t, earlier], mx, ex,
                    real(mixed) * my[r - 1], real(mixed) * my[r], ey[r], e,
                )  # fmt: skip
            _second_dual(q, r, e, scale, real(sigma_q), real(1 / alpha2), real(rho))


@_compiled
def tridiagonal_box(f: Array, lam: float, alpha: float, p: Array, passes: int) -> int:
    """Minimise ½ pᵀ(αI + DDᵀ/λ)p − pᵀDf over |p| ≤ 1 for one line `f`, in place; D the forward difference.

    Primal–dual active set: entries held at ±1 are fixed, the others solve a tridiagonal system, and entries
    change side where they leave the box or their multiplier has the wrong sign. The tolerance decides ties,
    which integer data have (without it such lines cycle for α = 0).

    Returns the number of passes, or -1 if the sets had not settled after `passes`.
    """
    n = f.size - 1
    tolerance = 1e-12
    diagonal = alpha + 2 / lam
    beside = -1 / lam
    side = np.zeros(n, np.int8)
    c = np.empty(n)
    d = np.empty(n)
    for count in range(passes):
        for i in range(n):
            if side[i] != 0:
                c[i] = 0.0
                d[i] = float(side[i])
            else:
                pivot = diagonal
                right = f[i + 1] - f[i]
                if i > 0:
                    pivot -= beside * c[i - 1]
                    right -= beside * d[i - 1]
                c[i] = beside / pivot
                d[i] = right / pivot
        p[n - 1] = d[n - 1]
        for i in range(n - 2, -1, -1):
            p[i] = d[i] - c[i] * p[i + 1]
        changed = False
        for i in range(n):
            new = 0
            if side[i] == 0:
                if p[i] > 1 + tolerance:
                    new = 1
                elif p[i] < -1 - tolerance:
                    new = -1
            else:
                left = p[i - 1] if i > 0 else 0.0
                right = p[i + 1] if i < n - 1 else 0.0
                multiplier = f[i + 1] - f[i] - diagonal * p[i] - beside * (left + right)
                if multiplier * side[i] > -tolerance * diagonal:
                    new = side[i]
            if new != side[i]:
                side[i] = new
                changed = True
        if not changed:
            return count + 1
    return -1


@_compiled
def lines_box(f: Array, lam: float, alpha: float, p: Array, passes: int) -> int:
    """`tridiagonal_box` for every row of `f`; the largest number of passes, or -1 if one did not settle."""
    most = 0
    for i in range(f.shape[0]):
        count = tridiagonal_box(f[i], lam, alpha, p[i], passes)
        if count < 0:
            return -1
        most = max(most, count)
    return most


@_compiled
def tv_l1_line(f: Array, lam: float, u: Array, p: Array) -> None:
    """Minimise Σ|u[i+1] − u[i]| + λ Σ|u[i] − f[i]| for one line: `u` exactly, and a dual `p` that proves it.

    Dynamic programme over the derivative of the optimal cost of the line so far as a function of its last
    value: a staircase, kept as its jumps in order. A pixel adds a jump of 2λ at its value; the next pixel
    sees the staircase cut off at ±1, so that no more than 1/λ + 2 jumps are ever kept. Then u is read off
    backwards: the next value, clamped to where the staircase is between −1 and 1.
    """
    n = f.size
    at = np.empty(n + 2)
    jump = np.empty(n + 2)
    lower = np.empty(n)
    upper = np.empty(n)
    count = 0
    left = 0.0
    right = 0.0
    for i in range(n):
        k = count
        while k > 0 and at[k - 1] > f[i]:
            at[k] = at[k - 1]
            jump[k] = jump[k - 1]
            k -= 1
        at[k] = f[i]
        jump[k] = 2 * lam
        count += 1
        left -= lam
        right += lam
        if i == n - 1:
            break
        lower[i] = -np.inf
        first = 0
        if left < -1:
            while left + jump[first] < -1:
                left += jump[first]
                first += 1
            lower[i] = at[first]
            jump[first] -= -1 - left
            left = -1.0
        upper[i] = np.inf
        if right > 1:
            while right - jump[count - 1] > 1:
                right -= jump[count - 1]
                count -= 1
            upper[i] = at[count - 1]
            jump[count - 1] -= right - 1
            right = 1.0
        for k in range(first, count):
            at[k - first] = at[k]
            jump[k - first] = jump[k]
        count -= first
    k = 0
    while k < count - 1 and left + jump[k] < 0:
        left += jump[k]
        k += 1
    u[n - 1] = at[k]
    for i in range(n - 2, -1, -1):
        u[i] = min(max(u[i + 1], lower[i]), upper[i])
    # The dual: p[i] = p[i-1] + λ s with s in the subdifferential of |u − f|, p[i] = ±1 where u steps, and 0
    # behind the last pixel. Forwards the interval of what is possible, backwards one choice.
    low = 0.0
    high = 0.0
    for i in range(n - 1):
        low += lam * (1 if u[i] > f[i] else -1)
        high += lam * (-1 if u[i] < f[i] else 1)
        step = u[i + 1] - u[i]
        low = 1.0 if step > 0 else max(low, -1.0)
        high = -1.0 if step < 0 else min(high, 1.0)
        if step < 0:
            low = -1.0
        if step > 0:
            high = 1.0
        lower[i] = low
        upper[i] = high
    after = 0.0
    for i in range(n - 2, -1, -1):
        most = after - lam * (1 if u[i + 1] > f[i + 1] else -1)
        least = after - lam * (-1 if u[i + 1] < f[i + 1] else 1)
        after = min(max(after, least, lower[i]), most, upper[i])
        p[i] = after


@_compiled
def tv_l1_lines(f: Array, lam: float, u: Array, p: Array) -> None:
    """`tv_l1_line` for every row of `f`."""
    for i in range(f.shape[0]):
        tv_l1_line(f[i], lam, u[i], p[i])


@_compiled
def huber_rof_gap(
    u: Array, px: Array, py: Array, f: Array, mx: Array, my: Array, lam: float, alpha: float
) -> Any:
    """Energy and primal–dual gap of Huber-ROF, `p` projected on the unit ball. All arrays float64.

    The gap is written as a sum of terms that are each ≥ 0 (Fenchel–Young per pixel, and the square of the
    optimality condition), so that nothing cancels: it is meaningful down to rounding, even where the iterates
    come from float32.
    """
    rows, columns = u.shape
    energies = np.zeros(rows)
    gaps = np.zeros(rows)
    # ∇ᵀp needs p of this row and the row above, projected.
    above = np.zeros(columns)
    ax = np.zeros(columns)
    ay = np.zeros(columns)
    for i in range(1, rows - 1):
        energy = 0.0
        gap = 0.0
        for j in range(1, columns - 1):
            a = px[i, j] * mx[j]
            b = py[i, j] * my[i]
            s = 1.0 / max(1.0, np.sqrt(a * a + b * b))
            ax[j] = a * s
            ay[j] = b * s
        for j in range(1, columns - 1):
            here = u[i, j]
            gx = mx[j] * (u[i, j + 1] - here)
            gy = my[i] * (u[i + 1, j] - here)
            t = np.sqrt(gx * gx + gy * gy)
            h = t * t / (2 * alpha) if t <= alpha and alpha > 0 else t - alpha / 2
            conjugate = alpha / 2 * (ax[j] * ax[j] + ay[j] * ay[j])
            w = ax[j - 1] - ax[j] + above[j] - ay[j]
            d = here - f[i, j]
            r = d + w / lam
            energy += h + lam / 2 * d * d
            gap += max(0.0, h + conjugate - gx * ax[j] - gy * ay[j]) + lam / 2 * r * r
        for j in range(1, columns - 1):
            above[j] = ay[j]
        energies[i] = energy
        gaps[i] = gap
    return np.sum(energies), np.sum(gaps)


@_compiled
def tv_l1_bounds(
    u: Array, px: Array, py: Array, f: Array, mx: Array, my: Array, low: float, high: float, lam: float
) -> Any:
    """Energy of TV-L1, and its two lower bounds from `p` projected on the unit ball: (energy, scaled, box).

    `low` and `high` are values between which a minimiser lies: the least and the greatest of the image.
    """
    rows, columns = u.shape
    energies = np.zeros(rows)
    products = np.zeros(rows)
    boxes = np.zeros(rows)
    largest = 0.0
    above = np.zeros(columns)
    ax = np.zeros(columns)
    ay = np.zeros(columns)
    for i in range(1, rows - 1):
        energy = 0.0
        product = 0.0
        box = 0.0
        for j in range(1, columns - 1):
            a = px[i, j] * mx[j]
            b = py[i, j] * my[i]
            s = 1.0 / max(1.0, np.sqrt(a * a + b * b))
            ax[j] = a * s
            ay[j] = b * s
        for j in range(1, columns - 1):
            here = u[i, j]
            g = f[i, j]
            gx = mx[j] * (u[i, j + 1] - here)
            gy = my[i] * (u[i + 1, j] - here)
            w = ax[j - 1] - ax[j] + above[j] - ay[j]
            energy += np.sqrt(gx * gx + gy * gy) + lam * abs(here - g)
            product += w * g
            box += w * g - max(0.0, -w - lam) * (high - g) - max(0.0, w - lam) * (g - low)
            largest = max(largest, abs(w))
        for j in range(1, columns - 1):
            above[j] = ay[j]
        energies[i] = energy
        products[i] = product
        boxes[i] = box
    scaled = np.sum(products) * min(1.0, lam / largest) if largest > 0 else 0.0
    return np.sum(energies), scaled, np.sum(boxes)


@_compiled
def tgv_l1_bounds(
    u: Array, v: Array, q: Array, f: Array, mx: Array, my: Array, ex: Array, ey: Array, mixed: float,
    lam: float, alpha1: float, alpha2: float,
) -> Any:  # fmt: skip
    """Energy of TGV-L1 and a lower bound: `q` projected on its ball, p = Eᵀq, both scaled to be feasible.

    E is the Jacobian where `q` has four components, the symmetrised gradient where it has three.
    """
    rows, columns = u.shape
    components = q.shape[0]
    energies = np.zeros(rows)
    products = np.zeros(rows)
    ball = np.zeros(q.shape)
    p = np.zeros((2, rows, columns))
    e = np.zeros((components, columns))
    largest_p = 0.0
    largest_w = 0.0
    for i in range(1, rows - 1):
        if components == 4:
            _jacobian_row(v[0, i], v[0, i + 1], v[1, i], v[1, i + 1], mx, my[i], e)
        else:
            _symmetrised_row(
                v[0, i], v[0, i - 1], v[1, i], v[1, i - 1], mx, ex, mixed * my[i - 1], mixed * my[i], ey[i], e
            )
        energy = 0.0
        for j in range(1, columns - 1):
            size = 0.0
            second = 0.0
            for k in range(components):
                size += q[k, i, j] * q[k, i, j]
                second += e[k, j] * e[k, j]
            s = 1.0 / max(1.0, np.sqrt(size) / alpha2)
            for k in range(components):
                ball[k, i, j] = q[k, i, j] * s
            gx = mx[j] * (u[i, j + 1] - u[i, j]) - v[0, i, j]
            gy = my[i] * (u[i + 1, j] - u[i, j]) - v[1, i, j]
            energy += alpha1 * np.sqrt(gx * gx + gy * gy) + alpha2 * np.sqrt(second)
            energy += lam * abs(u[i, j] - f[i, j])
        energies[i] = energy
    for i in range(1, rows - 1):
        if components == 4:
            _adjoint_jacobian_row(ball, mx, my, i, p[0, i], p[1, i])
        else:
            _adjoint_symmetrised_row(ball, mx, my, ex, ey, mixed, i, p[0, i], p[1, i])
        for j in range(1, columns - 1):
            largest_p = max(largest_p, np.sqrt(p[0, i, j] ** 2 + p[1, i, j] ** 2))
    for i in range(1, rows - 1):
        product = 0.0
        for j in range(1, columns - 1):
            w = (
                mx[j - 1] * p[0, i, j - 1]
                - mx[j] * p[0, i, j]
                + my[i - 1] * p[1, i - 1, j]
                - my[i] * p[1, i, j]
            )
            product += w * f[i, j]
            largest_w = max(largest_w, abs(w))
        products[i] = product
    scale = 1.0
    if largest_p > alpha1:
        scale = alpha1 / largest_p
    if largest_w * scale > lam:
        scale = lam / largest_w
    return np.sum(energies), scale * np.sum(products)
