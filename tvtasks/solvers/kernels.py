"""Compiled iterations and sums of the primal–dual methods (numba; they release the interpreter's lock).

Every array is padded by one pixel of zeros on each side, and borders and directions are masks: `mx[j]` is 1
where ∂x is a true difference, `my[i]` likewise for ∂y. So there is no branch in an inner loop, and one kernel
serves all three directions. Iterates are float32 or float64; constants are converted to that dtype first
(a float64 literal would turn the whole loop into float64). The sums behind certificates take float64 arrays
and add up row by row.
"""

# Kernels are long, because a call inside a loop can keep it from being vectorised.
# ruff: noqa: PLR0912, PLR0915

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

# "nnan" and "ninf" stay out: a diverging iterate must be seen. error_model="numpy" drops the test for
# division by zero, which keeps loops from being vectorised.
_compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "arcp"})


@_compiled
def _adjoint_gradient(px: Array, py: Array, mx: Array, my: Array, i: int, j: int) -> Any:
    """∇ᵀp at one pixel."""
    return mx[j - 1] * px[i, j - 1] - mx[j] * px[i, j] + my[i - 1] * py[i - 1, j] - my[i] * py[i, j]


@_compiled
def huber_rof(
    u: Array, ubar: Array, px: Array, py: Array, f: Array, mx: Array, my: Array,
    lam: float, alpha: float, tau: float, sigma: float, theta: float, iterations: int,
) -> None:  # fmt: skip
    """Chambolle & Pock 2011, algorithm 3 (or one step of algorithm 2), for Huber-ROF."""
    rows, columns = u.shape
    real = u.dtype.type
    one = real(1)
    tau_, sigma_, theta_ = real(tau), real(sigma), real(theta)
    pull = real(tau * lam)
    shrink_u = real(1 / (1 + tau * lam))
    shrink_p = real(1 / (1 + sigma * alpha))
    for _ in range(iterations):
        for i in range(1, rows - 1):
            for j in range(1, columns - 1):
                w = _adjoint_gradient(px, py, mx, my, i, j)
                new = (u[i, j] - tau_ * w + pull * f[i, j]) * shrink_u
                ubar[i, j] = new + theta_ * (new - u[i, j])
                u[i, j] = new
        for i in range(1, rows - 1):
            for j in range(1, columns - 1):
                a = (px[i, j] + sigma_ * mx[j] * (ubar[i, j + 1] - ubar[i, j])) * shrink_p
                b = (py[i, j] + sigma_ * my[i] * (ubar[i + 1, j] - ubar[i, j])) * shrink_p
                s = one / max(one, np.sqrt(a * a + b * b))
                px[i, j] = a * s
                py[i, j] = b * s


@_compiled
def tv_l1(
    u: Array, ubar: Array, px: Array, py: Array, f: Array, mx: Array, my: Array,
    lam: float, tau: float, sigma: float, rho: float, iterations: int,
) -> None:  # fmt: skip
    """Over-relaxed primal–dual iteration for TV-L1."""
    rows, columns = u.shape
    real = u.dtype.type
    one = real(1)
    tau_, sigma_, rho_, step = real(tau), real(sigma), real(rho), real(tau * lam)
    two = real(2)
    for _ in range(iterations):
        for i in range(1, rows - 1):
            for j in range(1, columns - 1):
                t = u[i, j] - tau_ * _adjoint_gradient(px, py, mx, my, i, j)
                new = t - min(max(t - f[i, j], -step), step)
                ubar[i, j] = two * new - u[i, j]
                u[i, j] += rho_ * (new - u[i, j])
        for i in range(1, rows - 1):
            for j in range(1, columns - 1):
                a = px[i, j] + sigma_ * mx[j] * (ubar[i, j + 1] - ubar[i, j])
                b = py[i, j] + sigma_ * my[i] * (ubar[i + 1, j] - ubar[i, j])
                s = one / max(one, np.sqrt(a * a + b * b))
                px[i, j] += rho_ * (a * s - px[i, j])
                py[i, j] += rho_ * (b * s - py[i, j])


# TGV-L1. The dual of the second-order term, `q`, has four components: (xx, yy, √2·xy, unused) for the
# symmetrised gradient, (∂x vx, ∂y vx, ∂x vy, ∂y vy) for the Jacobian; see tvtasks.operators. A row is worked
# on in short loops over few arrays, through row buffers: the compiler vectorises a loop only while it can
# check at run time that its arrays do not overlap, and it gives up beyond a handful of them.


@_compiled
def _adjoint_second_row(
    q: Array, mx: Array, my: Array, ex: Array, ey: Array, mixed: Any, jacobian: bool, i: int,
    x: Array, y: Array,
) -> None:  # fmt: skip
    """Write row `i` of both components of Eᵀq to the row buffers `x` and `y`."""
    n = x.size - 1
    if jacobian:
        up, here = my[i - 1], my[i]
        for j in range(1, n):
            x[j] = mx[j - 1] * q[0, i, j - 1] - mx[j] * q[0, i, j] + up * q[1, i - 1, j] - here * q[1, i, j]
        for j in range(1, n):
            y[j] = mx[j - 1] * q[2, i, j - 1] - mx[j] * q[2, i, j] + up * q[3, i - 1, j] - here * q[3, i, j]
        return
    up, here = mixed * my[i - 1], mixed * my[i]
    for j in range(1, n):
        x[j] = ex[j] * q[0, i, j] - ex[j + 1] * q[0, i, j + 1]
    for j in range(1, n):
        x[j] += mx[j] * (up * q[2, i, j] - here * q[2, i + 1, j])
    up, down = ey[i], ey[i + 1]
    for j in range(1, n):
        y[j] = up * q[1, i, j] - down * q[1, i + 1, j]
    for j in range(1, n):
        y[j] += here * (mx[j - 1] * q[2, i, j] - mx[j] * q[2, i, j + 1])


@_compiled
def _second_row(
    v: Array, mx: Array, my: Array, ex: Array, ey: Array, mixed: Any, jacobian: bool, i: int, e: Array
) -> None:
    """Write row `i` of the components of E v to the row buffers `e`, (4, columns)."""
    n = e.shape[1] - 1
    if jacobian:
        here = my[i]
        for k in range(2):
            for j in range(1, n):
                e[2 * k, j] = mx[j] * (v[k, i, j + 1] - v[k, i, j])
            for j in range(1, n):
                e[2 * k + 1, j] = here * (v[k, i + 1, j] - v[k, i, j])
        return
    for j in range(1, n):
        e[0, j] = ex[j] * (v[0, i, j] - v[0, i, j - 1])
    middle = ey[i]
    for j in range(1, n):
        e[1, j] = middle * (v[1, i, j] - v[1, i - 1, j])
    up, here = mixed * my[i - 1], mixed * my[i]
    for j in range(1, n):
        e[2, j] = up * mx[j] * (v[0, i, j] - v[0, i - 1, j])
    for j in range(1, n):
        e[2, j] += here * mx[j - 1] * (v[1, i, j] - v[1, i, j - 1])


@_compiled
def _relax(x: Array, target: Array, scale: Array, rho: Any) -> None:
    """Move the row `x` by ρ towards ``target · scale``."""
    for j in range(1, x.size - 1):
        x[j] += rho * (target[j] * scale[j] - x[j])


@_compiled
def tgv_l1(
    u: Array, ubar: Array, v: Array, vbar: Array, p: Array, q: Array, f: Array,
    mx: Array, my: Array, ex: Array, ey: Array, mixed: float, jacobian: bool,
    lam: float, alpha1: float, alpha2: float, tau_u: float, tau_v: float, sigma_p: float, sigma_q: float,
    rho: float, iterations: int,
) -> None:  # fmt: skip
    """Over-relaxed primal–dual iteration with separate steps for u, v, p and q, for TGV-L1."""
    rows, columns = u.shape
    n = columns - 1
    real = u.dtype.type
    one, two = real(1), real(2)
    tau_u_, tau_v_, rho_, step = real(tau_u), real(tau_v), real(rho), real(tau_u * lam)
    sigma_p_, sigma_q_, a1, a2, mixed_ = (
        real(sigma_p), real(sigma_q), real(1 / alpha1), real(1 / alpha2), real(mixed),
    )  # fmt: skip
    components = 4 if jacobian else 3
    row = np.zeros((4, columns), u.dtype)
    scale = np.zeros(columns, u.dtype)
    for _ in range(iterations):
        for i in range(1, rows - 1):
            for j in range(1, n):
                t = u[i, j] - tau_u_ * _adjoint_gradient(p[0], p[1], mx, my, i, j)
                new = t - min(max(t - f[i, j], -step), step)
                ubar[i, j] = two * new - u[i, j]
                u[i, j] += rho_ * (new - u[i, j])
            _adjoint_second_row(q, mx, my, ex, ey, mixed_, jacobian, i, row[0], row[1])
            for k in range(2):
                for j in range(1, n):
                    move = tau_v_ * (p[k, i, j] - row[k, j])
                    vbar[k, i, j] = v[k, i, j] + two * move
                    v[k, i, j] += rho_ * move
        for i in range(1, rows - 1):
            here = my[i]
            for j in range(1, n):
                row[0, j] = p[0, i, j] + sigma_p_ * (mx[j] * (ubar[i, j + 1] - ubar[i, j]) - vbar[0, i, j])
            for j in range(1, n):
                row[1, j] = p[1, i, j] + sigma_p_ * (here * (ubar[i + 1, j] - ubar[i, j]) - vbar[1, i, j])
            for j in range(1, n):
                scale[j] = one / max(one, a1 * np.sqrt(row[0, j] * row[0, j] + row[1, j] * row[1, j]))
            for k in range(2):
                _relax(p[k, i], row[k], scale, rho_)
            _second_row(vbar, mx, my, ex, ey, mixed_, jacobian, i, row)
            for j in range(1, n):
                scale[j] = real(0)
            for k in range(components):
                for j in range(1, n):
                    row[k, j] = q[k, i, j] + sigma_q_ * row[k, j]
                for j in range(1, n):
                    scale[j] += row[k, j] * row[k, j]
            for j in range(1, n):
                scale[j] = one / max(one, a2 * np.sqrt(scale[j]))
            for k in range(components):
                _relax(q[k, i], row[k], scale, rho_)


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
    jacobian: bool, lam: float, alpha1: float, alpha2: float,
) -> Any:  # fmt: skip
    """Energy of TGV-L1 and a lower bound: `q` projected on its ball, p = Eᵀq, both scaled to be feasible."""
    rows, columns = u.shape
    n = columns - 1
    energies = np.zeros(rows)
    products = np.zeros(rows)
    ball = np.zeros((4, rows, columns))
    p = np.zeros((2, rows, columns))
    row = np.zeros((4, columns))
    largest_p = 0.0
    largest_w = 0.0
    for i in range(1, rows - 1):
        _second_row(v, mx, my, ex, ey, mixed, jacobian, i, row)
        energy = 0.0
        for j in range(1, n):
            size = 0.0
            second = 0.0
            for k in range(4):
                size += q[k, i, j] * q[k, i, j]
                second += row[k, j] * row[k, j]
            s = 1.0 / max(1.0, np.sqrt(size) / alpha2)
            for k in range(4):
                ball[k, i, j] = q[k, i, j] * s
            gx = mx[j] * (u[i, j + 1] - u[i, j]) - v[0, i, j]
            gy = my[i] * (u[i + 1, j] - u[i, j]) - v[1, i, j]
            energy += alpha1 * np.sqrt(gx * gx + gy * gy) + alpha2 * np.sqrt(second)
            energy += lam * abs(u[i, j] - f[i, j])
        energies[i] = energy
    for i in range(1, rows - 1):
        _adjoint_second_row(ball, mx, my, ex, ey, mixed, jacobian, i, p[0, i], p[1, i])
        for j in range(1, n):
            largest_p = max(largest_p, np.sqrt(p[0, i, j] ** 2 + p[1, i, j] ** 2))
    for i in range(1, rows - 1):
        product = 0.0
        for j in range(1, n):
            w = _adjoint_gradient(p[0], p[1], mx, my, i, j)
            product += w * f[i, j]
            largest_w = max(largest_w, abs(w))
        products[i] = product
    scale = 1.0
    if largest_p > alpha1:
        scale = alpha1 / largest_p
    if largest_w * scale > lam:
        scale = lam / largest_w
    return np.sum(energies), scale * np.sum(products)
