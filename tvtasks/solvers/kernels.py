"""Compiled iterations of the primal–dual methods (numba; they release the interpreter's lock).

Every array is padded by one pixel on each side. A difference across the border must be zero: `same` repeats
the outermost pixels of a row, above the first row stands the first, below the last the last; dual arrays stay
zero where a difference is none. So there is no branch in an inner loop, and one kernel serves all three
directions. Iterates are float32 or float64; constants are converted to that dtype first (a float64 literal
would turn the whole loop into float64).

A row function is given whole arrays and the number of the row: a slice would cost as much as fifty pixels.
Its loops are small enough that the compiler can tell that no two arrays overlap, and vectorises them.

An iteration goes through the image once, a stage after the other, each stage a row behind the one that it
needs. Several iterations follow one another down the image (a wavefront), while the rows that they share are
in the cache; the numbers are the same as with one iteration after the other. A kernel is given the steps of
the wavefront to make, from `first` up to `last`: at step s, the first stage of iteration t is at row
s − lag · t. What passes from stage to stage lives in `rows` (iteration, variable, row modulo 4, column). The
caller is tvtasks.solvers.wavefront.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

# "nnan" and "ninf" stay out: a diverging iterate must be seen. error_model="numpy" drops the test for a
# division by zero, which keeps loops from being vectorised.
compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "arcp"})
# Sums and maxima may be taken in any order, which lets them be vectorised; a NaN still makes a sum NaN.
summed = njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "arcp", "reassoc", "nnan"}
)


@compiled
def same(a: Array, k: int) -> None:
    """Repeat the outermost pixels of row `k` beyond the border."""
    n = a.shape[1]
    a[k, 0] = a[k, 1]
    a[k, n - 1] = a[k, n - 2]


@compiled
def _ball_row(
    p: Array, i: int, z: Array, k: int, below: int, step_x: Any, step_y: Any, shrink: Any, rho: Any
) -> None:  # fmt: skip
    """Row of p: a step along ∇z, shrunk, projected on the unit ball, over-relaxed."""
    one = p.dtype.type(1)
    for j in range(1, p.shape[2] - 1):
        a = (p[0, i, j] + step_x * (z[k, j + 1] - z[k, j])) * shrink
        b = (p[1, i, j] + step_y * (z[below, j] - z[k, j])) * shrink
        s = one / np.sqrt(max(one, a * a + b * b))
        p[0, i, j] += rho * (a * s - p[0, i, j])
        p[1, i, j] += rho * (b * s - p[1, i, j])


@compiled
def _huber_rof_primal(
    u: Array, p: Array, f: Array, i: int, z: Array, k: int, tau: Any, pull: Any, shrink: Any, theta: Any
) -> None:  # fmt: skip
    for j in range(1, u.shape[1] - 1):
        w = p[0, i, j - 1] - p[0, i, j] + p[1, i - 1, j] - p[1, i, j]
        new = (u[i, j] - tau * w + pull * f[i, j]) * shrink
        z[k, j] = new + theta * (new - u[i, j])
        u[i, j] = new


@compiled
def huber_rof(
    u: Array, p: Array, f: Array, along_x: float, along_y: float, lam: float, alpha: float,
    tau: float, sigma: float, theta: float, iterations: int, rows: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Chambolle & Pock 2011, algorithm 3, for Huber-ROF with α > 0. Lag 2, two stages."""
    end = u.shape[0] - 1
    real = u.dtype.type
    for step in range(first, last):
        for t in range(iterations):
            i = step - 2 * t
            if i < 1 or i > end:
                continue
            z = rows[t, 0]
            if i < end:
                _huber_rof_primal(
                    u, p, f, i, z, i % 4, real(tau), real(tau * lam), real(1 / (1 + tau * lam)), real(theta)
                )
                same(z, i % 4)
            r = i - 1
            if r >= 1:
                _ball_row(
                    p, r, z, r % 4, min(i, end - 1) % 4, real(sigma * along_x), real(sigma * along_y),
                    real(1 / (1 + sigma * alpha)), real(1),
                )  # fmt: skip


@summed
def huber_dual(u: Array, alpha: float, along_x: float, along_y: float, p: Array) -> float:
    """Write p = ∇u / max(α, |∇u|), the dual that goes with u, and return the largest |∇u|²."""
    rows, columns = u.shape[0] - 2, u.shape[1] - 2
    largest = 0.0
    for i in range(1, rows + 1):
        down = along_y if i < rows else 0.0
        for j in range(1, columns + 1):
            x = (along_x if j < columns else 0.0) * (np.float64(u[i, j + 1]) - np.float64(u[i, j]))
            y = down * (np.float64(u[i + 1, j]) - np.float64(u[i, j]))
            squared = x * x + y * y
            largest = max(largest, squared)
            shrink = 1 / max(alpha, np.sqrt(squared))
            p[0, i, j] = x * shrink
            p[1, i, j] = y * shrink
    return largest


@compiled
def _residual_row(s: Array, p: Array, i: int, b: Array, k: int) -> None:
    """Row of s + ∇ᵀp, which is zero at a solution."""
    for j in range(1, b.shape[1] - 1):
        b[k, j] = s[i, j] + (p[0, i, j - 1] - p[0, i, j]) + (p[1, i - 1, j] - p[1, i, j])


@compiled
def _tv_primal(
    u: Array, i: int, b: Array, above: int, k: int, below: int, z: Array,
    centre: Any, side_x: Any, side_y: Any, rho: Any,
) -> None:  # fmt: skip
    """Row of u, moved against the smoothed residual and over-relaxed; of z, moved by twice as much."""
    two = u.dtype.type(2)
    for j in range(1, u.shape[1] - 1):
        move = centre * b[k, j] + side_x * (b[k, j - 1] + b[k, j + 1]) + side_y * (b[above, j] + b[below, j])
        z[k, j] = u[i, j] - two * move
        u[i, j] -= rho * move


@compiled
def _fidelity_row(
    s: Array, f: Array, i: int, z: Array, k: int, omega: Any, shrink: Any, bound: Any, rho: Any
) -> None:
    """Row of s, the dual variable of the fidelity: a step along z − f, shrunk, bounded, over-relaxed."""
    for j in range(1, s.shape[1] - 1):
        t = shrink * (s[i, j] + omega * (z[k, j] - f[i, j]))
        s[i, j] += rho * (min(max(t, -bound), bound) - s[i, j])


@compiled
def tv(
    u: Array, s: Array, p: Array, f: Array, along_x: float, along_y: float, sigma: float, omega: float,
    shrink: float, bound: float, rho: float, iterations: int, rows: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Preconditioned primal–dual iteration (Bredies & Sun 2015), for TV-L1 and ROF. Lag 2, three stages.

    The fidelity has a dual variable s too, so u is free and would take the step −(ω + σ∇ᵀ∇)⁻¹(s + ∇ᵀp).
    Two Richardson steps, with the middle of the spectrum for their length, stand for the inverse: they leave
    of every mode a part in [0, 1), which keeps the iteration convergent for every σ and ω. Together they are
    a smoothing over the neighbours.
    """
    end = u.shape[0] - 1
    real = u.dtype.type
    theta = omega + 2 * sigma * (along_x + along_y)
    centre, side_x, side_y = (
        real(1 / theta),
        real(sigma * along_x / theta**2),
        real(sigma * along_y / theta**2),
    )
    for step in range(first, last):
        for t in range(iterations):
            i = step - 2 * t
            if i < 1 or i > end + 1:
                continue
            b, z = rows[t, 0], rows[t, 1]
            if i < end:
                _residual_row(s, p, i, b, i % 4)
                same(b, i % 4)
            r = i - 1
            if 1 <= r < end:
                _tv_primal(
                    u, r, b, max(r - 1, 1) % 4, r % 4, min(r + 1, end - 1) % 4, z, centre, side_x, side_y,
                    real(rho),
                )  # fmt: skip
                same(z, r % 4)
                _fidelity_row(s, f, r, z, r % 4, real(omega), real(shrink), real(bound), real(rho))
            r = i - 2
            if r >= 1:
                _ball_row(
                    p, r, z, r % 4, min(r + 1, end - 1) % 4, real(sigma * along_x), real(sigma * along_y),
                    real(1), real(rho),
                )  # fmt: skip


# TGV-L1. The dual of the second-order term, `q`, has three components (xx, yy, √2·xy) for the symmetrised
# gradient and four (∂x vx, ∂y vx, ∂x vy, ∂y vy) for the Jacobian; see tvtasks.operators. Both operators take
# their masks along: `mx[j]` is 1 where ∂x is a true forward difference, `ex[j]` where the backward difference
# on the diagonal of the symmetrised gradient is one; `my`, `ey` likewise, `mixed` is the factor of its
# off-diagonal. Rows are given by their number in an array (component, row, column).


@compiled
def adjoint_symmetrised_row(
    q: Array, i: int, below: int, mx: Array, ex: Array, mixed_above: Any, mixed_here: Any, middle: Any,
    under: Any, w: Array, k: int,
) -> None:  # fmt: skip
    """Write row `k` of both components of Eᵀq to `w`, for the symmetrised gradient; from rows i and below."""
    for j in range(1, w.shape[2] - 1):
        w[0, k, j] = (
            ex[j] * q[0, i, j] - ex[j + 1] * q[0, i, j + 1]
            + mx[j] * (mixed_above * q[2, i, j] - mixed_here * q[2, below, j])
        )  # fmt: skip
    for j in range(1, w.shape[2] - 1):
        w[1, k, j] = (
            middle * q[1, i, j] - under * q[1, below, j]
            + mixed_here * (mx[j - 1] * q[2, i, j] - mx[j] * q[2, i, j + 1])
        )  # fmt: skip


@compiled
def adjoint_jacobian_row(
    q: Array, above: int, i: int, mx: Array, my_above: Any, my_here: Any, w: Array, k: int
) -> None:
    """Write row `k` of both components of Eᵀq to `w`, for the Jacobian; q has rows above and i."""
    for c in range(2):
        x, y = 2 * c, 2 * c + 1
        for j in range(1, w.shape[2] - 1):
            w[c, k, j] = (
                mx[j - 1] * q[x, i, j - 1]
                - mx[j] * q[x, i, j]
                + my_above * q[y, above, j]
                - my_here * q[y, i, j]
            )


@compiled
def symmetrised_row(
    v: Array, c: int, above: int, i: int, mx: Array, ex: Array,
    mixed_above: Any, mixed_here: Any, middle: Any, e: Array, k: int,
) -> None:  # fmt: skip
    """Write row `k` of (E_xx, E_yy, √2·E_xy) to `e`, from components c and c + 1, rows above and i, of v."""
    for j in range(1, e.shape[2] - 1):
        e[0, k, j] = ex[j] * (v[c, i, j] - v[c, i, j - 1])
    for j in range(1, e.shape[2] - 1):
        e[1, k, j] = middle * (v[c + 1, i, j] - v[c + 1, above, j])
    for j in range(1, e.shape[2] - 1):
        e[2, k, j] = mixed_above * mx[j] * (v[c, i, j] - v[c, above, j]) + mixed_here * mx[j - 1] * (
            v[c + 1, i, j] - v[c + 1, i, j - 1]
        )


@compiled
def jacobian_row(v: Array, c: int, i: int, below: int, mx: Array, my_here: Any, e: Array, k: int) -> None:
    """Write row `k` of the Jacobian to `e`, from components c and c + 1, rows i and below, of v."""
    for n in range(2):
        x, y = 2 * n, 2 * n + 1
        for j in range(1, e.shape[2] - 1):
            e[x, k, j] = mx[j] * (v[c + n, i, j + 1] - v[c + n, i, j])
            e[y, k, j] = my_here * (v[c + n, below, j] - v[c + n, i, j])


@compiled
def _tgv_primal_u(
    u: Array, p: Array, f: Array, i: int, z: Array, k: int, mx: Array, above: Any, here: Any,
    tau: Any, step: Any, rho: Any,
) -> None:  # fmt: skip
    """Row of u for an L1 fidelity of weight step/τ, over-relaxed."""
    two = u.dtype.type(2)
    for j in range(1, u.shape[1] - 1):
        w = mx[j - 1] * p[0, i, j - 1] - mx[j] * p[0, i, j] + above * p[1, i - 1, j] - here * p[1, i, j]
        t = u[i, j] - tau * w
        move = t - min(max(t - f[i, j], -step), step) - u[i, j]
        z[0, k, j] = u[i, j] + two * move
        u[i, j] += rho * move


@compiled
def _tgv_primal_v(v: Array, p: Array, w: Array, i: int, z: Array, k: int, tau: Any, rho: Any) -> None:
    """Row of v, over-relaxed; `w` is Eᵀq."""
    two = v.dtype.type(2)
    for c in range(2):
        for j in range(1, v.shape[2] - 1):
            move = tau * (p[c, i, j] - w[c, 0, j])
            z[c + 1, k, j] = v[c, i, j] + two * move
            v[c, i, j] += rho * move


@compiled
def _coupling_row(z: Array, k: int, below: int, mx: Array, here: Any, g: Array) -> None:
    """Row of ∇u − v for z = (u, v)."""
    for j in range(1, g.shape[2] - 1):
        g[0, 0, j] = mx[j] * (z[0, k, j + 1] - z[0, k, j]) - z[1, k, j]
    for j in range(1, g.shape[2] - 1):
        g[1, 0, j] = here * (z[0, below, j] - z[0, k, j]) - z[2, k, j]


@compiled
def _project_row(p: Array, i: int, g: Array, norm: Array, step: Any, inverse: Any, rho: Any) -> None:
    """Row of a dual field: a step along `g`, projected on the ball of radius 1/inverse, over-relaxed."""
    one, zero = p.dtype.type(1), p.dtype.type(0)
    for j in range(1, norm.size - 1):
        norm[j] = zero
    for c in range(p.shape[0]):
        for j in range(1, norm.size - 1):
            g[c, 0, j] = p[c, i, j] + step * g[c, 0, j]
            norm[j] += g[c, 0, j] * g[c, 0, j]
    for j in range(1, norm.size - 1):
        norm[j] = one / np.sqrt(max(one, inverse * inverse * norm[j]))
    for c in range(p.shape[0]):
        for j in range(1, norm.size - 1):
            p[c, i, j] += rho * (g[c, 0, j] * norm[j] - p[c, i, j])


@compiled
def tgv_l1(
    u: Array, v: Array, p: Array, q: Array, f: Array,
    mx: Array, my: Array, ex: Array, ey: Array, mixed: float, lam: float, alpha1: float, alpha2: float,
    tau_u: float, tau_v: float, sigma_p: float, sigma_q: float, rho: float, iterations: int,
    rows: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Over-relaxed primal–dual iteration with separate steps for u, v, p and q. Lag 2, two stages.

    E is the Jacobian where `q` has four components, the symmetrised gradient where it has three.
    """
    end, columns = u.shape[0] - 1, u.shape[1]
    jacobian = q.shape[0] == 4
    real = u.dtype.type
    half = real(mixed)
    w = np.zeros((2, 1, columns), u.dtype)
    g = np.zeros((2, 1, columns), u.dtype)
    e = np.zeros((q.shape[0], 1, columns), u.dtype)
    norm = np.zeros(columns, u.dtype)
    for step in range(first, last):
        for t in range(iterations):
            i = step - 2 * t
            if i < 1 or i > end:
                continue
            z = rows[t]
            if i < end:
                _tgv_primal_u(
                    u, p, f, i, z, i % 4, mx, my[i - 1], my[i], real(tau_u), real(tau_u * lam), real(rho)
                )
                if jacobian:
                    adjoint_jacobian_row(q, i - 1, i, mx, my[i - 1], my[i], w, 0)
                else:
                    adjoint_symmetrised_row(
                        q, i, i + 1, mx, ex, half * my[i - 1], half * my[i], ey[i], ey[i + 1], w, 0
                    )
                _tgv_primal_v(v, p, w, i, z, i % 4, real(tau_v), real(rho))
            r = i - 1
            if r < 1:
                continue
            above, here, below = (r - 1) % 4, r % 4, (r + 1) % 4
            _coupling_row(z, here, below, mx, my[r], g)
            _project_row(p, r, g, norm, real(sigma_p), real(1 / alpha1), real(rho))
            if jacobian:
                jacobian_row(z, 1, here, below, mx, my[r], e, 0)
            else:
                symmetrised_row(z, 1, above, here, mx, ex, half * my[r - 1], half * my[r], ey[r], e, 0)
            _project_row(q, r, e, norm, real(sigma_q), real(1 / alpha2), real(rho))


@compiled
def add_to_mean(mean: Array, sample: Array, share: float) -> None:
    """Move a running mean towards a sample by its share."""
    weight = mean.dtype.type(share)
    there, here = mean.ravel(), sample.ravel()
    for j in range(there.size):
        there[j] += weight * (here[j] - there[j])
