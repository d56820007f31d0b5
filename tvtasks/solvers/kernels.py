"""Compiled iterations and sums of the primal–dual methods (numba; they release the interpreter's lock).

Every array is padded by one pixel of zeros on each side, and borders and directions are masks: `mx[j]` is 1
where ∂x is a true difference, `my[i]` likewise for ∂y. So there is no branch in an inner loop, and one kernel
serves all three directions. Iterates are float32 or float64; constants are converted to that dtype first
(a float64 literal would turn the whole loop into float64).

An iteration goes through the image once: a primal row, then the dual row above it, for which all is there by
then. Several iterations follow one another down the image, two rows apart (a wavefront), while the rows that
they share are in the cache; the numbers are the same as with one iteration after the other. A kernel is given
the steps of the wavefront to make, from `first` up to `last`: at step s, iteration t is at row s − 2t. The
extrapolated variables live in `bars` (iteration, variable, row modulo 4, column). The caller is
tvtasks.solvers.wavefront.
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
def _huber_rof_primal(
    u: Array, ubar: Array, f: Array, px: Array, py: Array, py_above: Array, mx: Array, above: Any, here: Any,
    tau: Any, pull: Any, shrink: Any, theta: Any,
) -> None:  # fmt: skip
    for j in range(1, u.size - 1):
        w = mx[j - 1] * px[j - 1] - mx[j] * px[j] + above * py_above[j] - here * py[j]
        new = (u[j] - tau * w + pull * f[j]) * shrink
        ubar[j] = new + theta * (new - u[j])
        u[j] = new


@compiled
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


@compiled
def huber_rof(
    u: Array, p: Array, f: Array, mx: Array, my: Array, lam: float, alpha: float,
    tau: Array, sigma: Array, theta: Array, bars: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Chambolle & Pock 2011, algorithms 2 and 3, for Huber-ROF: one iteration for each entry of the steps."""
    rows = u.shape[0]
    real = u.dtype.type
    for step in range(first, last):
        for t in range(tau.size):
            i = step - 2 * t
            if i < 1 or i > rows - 1:
                continue
            if i < rows - 1:
                _huber_rof_primal(
                    u[i], bars[t, 0, i % 4], f[i], p[0, i], p[1, i], p[1, i - 1], mx, my[i - 1], my[i],
                    real(tau[t]), real(tau[t] * lam), real(1 / (1 + tau[t] * lam)), real(theta[t]),
                )  # fmt: skip
            if i > 1:
                _huber_rof_dual(
                    p[0, i - 1], p[1, i - 1], bars[t, 0, (i - 1) % 4], bars[t, 0, i % 4], mx, my[i - 1],
                    real(sigma[t]), real(1 / (1 + sigma[t] * alpha)),
                )  # fmt: skip


@compiled
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


@compiled
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


@compiled
def tv_l1(
    u: Array, p: Array, f: Array, mx: Array, my: Array,
    lam: float, tau: float, sigma: float, rho: float, iterations: int, bars: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Over-relaxed primal–dual iteration for TV-L1."""
    rows = u.shape[0]
    real = u.dtype.type
    for step in range(first, last):
        for t in range(iterations):
            i = step - 2 * t
            if i < 1 or i > rows - 1:
                continue
            if i < rows - 1:
                _l1_primal(
                    u[i], bars[t, 0, i % 4], f[i], p[0, i], p[1, i], p[1, i - 1], mx, my[i - 1], my[i],
                    real(tau), real(tau * lam), real(rho),
                )  # fmt: skip
            if i > 1:
                _tv_l1_dual(
                    p[0, i - 1], p[1, i - 1], bars[t, 0, (i - 1) % 4], bars[t, 0, i % 4], mx, my[i - 1],
                    real(sigma), real(rho),
                )  # fmt: skip


# TGV-L1. The dual of the second-order term, `q`, has three components (xx, yy, √2·xy) for the symmetrised
# gradient and four (∂x vx, ∂y vx, ∂x vy, ∂y vy) for the Jacobian; see tvtasks.operators.


@compiled
def adjoint_symmetrised_row(
    xx: Array, yy: Array, yy_below: Array, xy: Array, xy_below: Array, mx: Array, ex: Array,
    mixed_above: Any, mixed_here: Any, middle: Any, below: Any, x: Array, y: Array,
) -> None:  # fmt: skip
    """Write a row of both components of Eᵀq to `x` and `y`, for the symmetrised gradient."""
    for j in range(1, x.size - 1):
        x[j] = (
            ex[j] * xx[j] - ex[j + 1] * xx[j + 1] + mx[j] * (mixed_above * xy[j] - mixed_here * xy_below[j])
        )
        y[j] = middle * yy[j] - below * yy_below[j] + mixed_here * (mx[j - 1] * xy[j] - mx[j] * xy[j + 1])


@compiled
def adjoint_jacobian_row(
    a: Array, b: Array, b_above: Array, c: Array, d: Array, d_above: Array, mx: Array, above: Any, here: Any,
    x: Array, y: Array,
) -> None:  # fmt: skip
    """Write a row of both components of Eᵀq to `x` and `y`, for the Jacobian."""
    for j in range(1, x.size - 1):
        x[j] = mx[j - 1] * a[j - 1] - mx[j] * a[j] + above * b_above[j] - here * b[j]
        y[j] = mx[j - 1] * c[j - 1] - mx[j] * c[j] + above * d_above[j] - here * d[j]


@compiled
def symmetrised_row(
    vx: Array, vx_above: Array, vy: Array, vy_above: Array, mx: Array, ex: Array, mixed_above: Any,
    mixed_here: Any, middle: Any, e: Array,
) -> None:  # fmt: skip
    """Write a row of (E_xx, E_yy, √2·E_xy) of v to the rows of `e`."""
    for j in range(1, vx.size - 1):
        e[0, j] = ex[j] * (vx[j] - vx[j - 1])
        e[1, j] = middle * (vy[j] - vy_above[j])
        e[2, j] = mixed_above * mx[j] * (vx[j] - vx_above[j]) + mixed_here * mx[j - 1] * (vy[j] - vy[j - 1])


@compiled
def jacobian_row(
    vx: Array, vx_below: Array, vy: Array, vy_below: Array, mx: Array, here: Any, e: Array
) -> None:
    """Write a row of the Jacobian of v to the rows of `e`."""
    for j in range(1, vx.size - 1):
        e[0, j] = mx[j] * (vx[j + 1] - vx[j])
        e[1, j] = here * (vx_below[j] - vx[j])
        e[2, j] = mx[j] * (vy[j + 1] - vy[j])
        e[3, j] = here * (vy_below[j] - vy[j])


@compiled
def _move(v: Array, vbar: Array, p: Array, w: Array, tau: Any, rho: Any) -> None:
    """Row of a component of v, over-relaxed; `w` is Eᵀq."""
    two = v.dtype.type(2)
    for j in range(1, v.size - 1):
        move = tau * (p[j] - w[j])
        vbar[j] = v[j] + two * move
        v[j] += rho * move


@compiled
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


@compiled
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


@compiled
def tgv_l1(
    u: Array, v: Array, p: Array, q: Array, f: Array,
    mx: Array, my: Array, ex: Array, ey: Array, mixed: float, lam: float, alpha1: float, alpha2: float,
    tau_u: float, tau_v: float, sigma_p: float, sigma_q: float, rho: float, iterations: int,
    bars: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Over-relaxed primal–dual iteration with separate steps for u, v, p and q, for TGV-L1.

    E is the Jacobian where `q` has four components, the symmetrised gradient where it has three.
    """
    rows, columns = u.shape
    jacobian = q.shape[0] == 4
    real = u.dtype.type
    w = np.zeros((2, columns), u.dtype)
    e = np.zeros((q.shape[0], columns), u.dtype)
    scale = np.zeros(columns, u.dtype)
    for step in range(first, last):
        for t in range(iterations):
            i = step - 2 * t
            if i < 1 or i > rows - 1:
                continue
            ubar, vxbar, vybar = bars[t, 0], bars[t, 1], bars[t, 2]
            now = i % 4
            if i < rows - 1:
                _l1_primal(
                    u[i], ubar[now], f[i], p[0, i], p[1, i], p[1, i - 1], mx, my[i - 1], my[i],
                    real(tau_u), real(tau_u * lam), real(rho),
                )  # fmt: skip
                if jacobian:
                    adjoint_jacobian_row(
                        q[0, i], q[1, i], q[1, i - 1], q[2, i], q[3, i], q[3, i - 1], mx, my[i - 1], my[i],
                        w[0], w[1],
                    )  # fmt: skip
                else:
                    adjoint_symmetrised_row(
                        q[0, i], q[1, i], q[1, i + 1], q[2, i], q[2, i + 1], mx, ex,
                        real(mixed) * my[i - 1], real(mixed) * my[i], ey[i], ey[i + 1], w[0], w[1],
                    )  # fmt: skip
                _move(v[0, i], vxbar[now], p[0, i], w[0], real(tau_v), real(rho))
                _move(v[1, i], vybar[now], p[1, i], w[1], real(tau_v), real(rho))
            r, before, earlier = i - 1, (i - 1) % 4, (i - 2) % 4
            if r < 1:
                continue
            _tgv_l1_dual(
                p[0, r], p[1, r], ubar[before], ubar[now], vxbar[before], vybar[before],
                mx, my[r], real(sigma_p), real(1 / alpha1), real(rho),
            )  # fmt: skip
            if jacobian:
                jacobian_row(
                    vxbar[before], vxbar[now], vybar[before], vybar[now], mx, my[r], e
                )  # fmt: skip
            else:
                symmetrised_row(
                    vxbar[before], vxbar[earlier], vybar[before], vybar[earlier], mx, ex,
                    real(mixed) * my[r - 1], real(mixed) * my[r], ey[r], e,
                )  # fmt: skip
            _second_dual(q, r, e, scale, real(sigma_q), real(1 / alpha2), real(rho))


@compiled
def add_to_mean(mean: Array, sample: Array, share: float) -> None:
    """Move a running mean towards a sample by its share."""
    weight = mean.dtype.type(share)
    there, here = mean.ravel(), sample.ravel()
    for j in range(there.size):
        there[j] += weight * (here[j] - there[j])
