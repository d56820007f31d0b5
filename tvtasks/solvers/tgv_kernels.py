"""The compiled iteration of TGV-L1; tvtasks.solvers.kernels explains how its rows run.

The dual of the second-order term, `q`, has three components (xx, yy, √2·xy) for the symmetrised gradient and
four (∂x vx, ∂y vx, ∂x vy, ∂y vy) for the Jacobian; see tvtasks.operators. Both operators receive masks:
`mx[j]` is 1 where ∂x is a true forward difference, `ex[j]` where the backward difference on the diagonal of
the symmetrised gradient is one; `my` and `ey` likewise, and `mixed` is the factor of its off-diagonal.

The operators are written for one pixel and become part of the loop that uses them. Half of the time of an
iteration is spent moving numbers between cache and processor, so no row is written only to be read again by
the next loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tvtasks.operators import Array
from tvtasks.solvers.kernels import compiled, fidelity_row, mean_row

pixel = njit(inline="always")


@pixel
def adjoint_jacobian(
    q: Array, c: int, above: int, i: int, j: int, mx: Array, my_above: Any, my_here: Any
) -> Any:
    """Return component c of Eᵀq at (i, j) for the Jacobian; q has the rows above and i."""
    x, y = 2 * c, 2 * c + 1
    return mx[j - 1] * q[x, i, j - 1] - mx[j] * q[x, i, j] + my_above * q[y, above, j] - my_here * q[y, i, j]


@pixel
def jacobian(v: Array, c: int, i: int, below: int, j: int, mx: Array, my_here: Any) -> Any:
    """Return (∂x, ∂y) of component c of v at (i, j)."""
    return mx[j] * (v[c, i, j + 1] - v[c, i, j]), my_here * (v[c, below, j] - v[c, i, j])


@pixel
def adjoint_symmetrised(
    q: Array,
    i: int,
    below: int,
    j: int,
    mx: Array,
    ex: Array,
    mixed_above: Any,
    mixed_here: Any,
    middle: Any,
    under: Any,
) -> Any:
    """Return both components of Eᵀq at (i, j) for the symmetrised gradient; q has the rows i and below."""
    return (
        ex[j] * q[0, i, j]
        - ex[j + 1] * q[0, i, j + 1]
        + mx[j] * (mixed_above * q[2, i, j] - mixed_here * q[2, below, j]),
        middle * q[1, i, j]
        - under * q[1, below, j]
        + mixed_here * (mx[j - 1] * q[2, i, j] - mx[j] * q[2, i, j + 1]),
    )


@pixel
def symmetrised(
    v: Array,
    c: int,
    above: int,
    i: int,
    j: int,
    mx: Array,
    ex: Array,
    mixed_above: Any,
    mixed_here: Any,
    middle: Any,
) -> Any:
    """Return (E_xx, E_yy, √2·E_xy) at (i, j) of components c and c + 1 of v, with the rows above and i."""
    return (
        ex[j] * (v[c, i, j] - v[c, i, j - 1]),
        middle * (v[c + 1, i, j] - v[c + 1, above, j]),
        mixed_above * mx[j] * (v[c, i, j] - v[c, above, j])
        + mixed_here * mx[j - 1] * (v[c + 1, i, j] - v[c + 1, i, j - 1]),
    )


@compiled
def _primal_u(
    u: Array,
    p: Array,
    f: Array,
    i: int,
    z: Array,
    k: int,
    mx: Array,
    above: Any,
    here: Any,
    tau: Any,
    step: Any,
    rho: Any,
) -> None:
    """Row of u for an L1 fidelity of weight step/τ, over-relaxed."""
    two = u.dtype.type(2)
    for j in range(1, u.shape[1] - 1):
        w = mx[j - 1] * p[0, i, j - 1] - mx[j] * p[0, i, j] + above * p[1, i - 1, j] - here * p[1, i, j]
        t = u[i, j] - tau * w
        move = t - min(max(t - f[i, j], -step), step) - u[i, j]
        z[0, k, j] = u[i, j] + two * move
        u[i, j] += rho * move


@compiled
def _primal_v_jacobian(
    v: Array,
    p: Array,
    q: Array,
    i: int,
    z: Array,
    k: int,
    mx: Array,
    above: Any,
    here: Any,
    tau: Any,
    rho: Any,
) -> None:
    """Row of v, over-relaxed."""
    two = v.dtype.type(2)
    for j in range(1, v.shape[2] - 1):
        x = tau * (p[0, i, j] - adjoint_jacobian(q, 0, i - 1, i, j, mx, above, here))
        y = tau * (p[1, i, j] - adjoint_jacobian(q, 1, i - 1, i, j, mx, above, here))
        z[1, k, j] = v[0, i, j] + two * x
        z[2, k, j] = v[1, i, j] + two * y
        v[0, i, j] += rho * x
        v[1, i, j] += rho * y


@compiled
def _primal_v_symmetrised(
    v: Array,
    p: Array,
    q: Array,
    i: int,
    z: Array,
    k: int,
    mx: Array,
    ex: Array,
    mixed_above: Any,
    mixed_here: Any,
    middle: Any,
    under: Any,
    tau: Any,
    rho: Any,
) -> None:
    """Row of v, over-relaxed."""
    two = v.dtype.type(2)
    for j in range(1, v.shape[2] - 1):
        wx, wy = adjoint_symmetrised(q, i, i + 1, j, mx, ex, mixed_above, mixed_here, middle, under)
        x = tau * (p[0, i, j] - wx)
        y = tau * (p[1, i, j] - wy)
        z[1, k, j] = v[0, i, j] + two * x
        z[2, k, j] = v[1, i, j] + two * y
        v[0, i, j] += rho * x
        v[1, i, j] += rho * y


@compiled
def _dual_p(
    p: Array, i: int, z: Array, k: int, below: int, mx: Array, here: Any, step: Any, tight: Any, rho: Any
) -> None:
    """Row of p: a step along ∇u − v for z = (u, v), projected onto the ball |p|² ≤ 1/tight, over-relaxed."""
    one = p.dtype.type(1)
    for j in range(1, p.shape[2] - 1):
        a = p[0, i, j] + step * (mx[j] * (z[0, k, j + 1] - z[0, k, j]) - z[1, k, j])
        b = p[1, i, j] + step * (here * (z[0, below, j] - z[0, k, j]) - z[2, k, j])
        s = one / np.sqrt(max(one, tight * (a * a + b * b)))
        p[0, i, j] += rho * (a * s - p[0, i, j])
        p[1, i, j] += rho * (b * s - p[1, i, j])


@compiled
def _dual_q_jacobian(
    q: Array, i: int, z: Array, k: int, below: int, mx: Array, here: Any, step: Any, tight: Any, rho: Any
) -> None:
    """Row of q: a step along E v, projected onto the ball |q|² ≤ 1/tight, over-relaxed."""
    one = q.dtype.type(1)
    for j in range(1, q.shape[2] - 1):
        xx, xy = jacobian(z, 1, k, below, j, mx, here)
        yx, yy = jacobian(z, 2, k, below, j, mx, here)
        a, b = q[0, i, j] + step * xx, q[1, i, j] + step * xy
        c, d = q[2, i, j] + step * yx, q[3, i, j] + step * yy
        s = one / np.sqrt(max(one, tight * (a * a + b * b + c * c + d * d)))
        q[0, i, j] += rho * (a * s - q[0, i, j])
        q[1, i, j] += rho * (b * s - q[1, i, j])
        q[2, i, j] += rho * (c * s - q[2, i, j])
        q[3, i, j] += rho * (d * s - q[3, i, j])


@compiled
def _dual_q_symmetrised(
    q: Array,
    i: int,
    z: Array,
    above: int,
    k: int,
    mx: Array,
    ex: Array,
    mixed_above: Any,
    mixed_here: Any,
    middle: Any,
    step: Any,
    tight: Any,
    rho: Any,
) -> None:
    """Row of q: a step along E v, projected onto the ball |q|² ≤ 1/tight, over-relaxed."""
    one = q.dtype.type(1)
    for j in range(1, q.shape[2] - 1):
        xx, yy, xy = symmetrised(z, 1, above, k, j, mx, ex, mixed_above, mixed_here, middle)
        a, b, c = q[0, i, j] + step * xx, q[1, i, j] + step * yy, q[2, i, j] + step * xy
        s = one / np.sqrt(max(one, tight * (a * a + b * b + c * c)))
        q[0, i, j] += rho * (a * s - q[0, i, j])
        q[1, i, j] += rho * (b * s - q[1, i, j])
        q[2, i, j] += rho * (c * s - q[2, i, j])


@compiled
def tgv_l1(
    u: Array,
    v: Array,
    p: Array,
    q: Array,
    f: Array,
    mx: Array,
    my: Array,
    ex: Array,
    ey: Array,
    mixed: float,
    lam: float,
    alpha1: float,
    alpha2: float,
    tau_u: float,
    tau_v: float,
    sigma_p: float,
    sigma_q: float,
    rho: float,
    means: Array,
    shares: Array,
    iterations: int,
    rows: Array,
    first: int,
    last: int,
) -> None:
    """Run the over-relaxed primal–dual iteration with separate steps for u, v, p and q. Lag 2, two stages.

    Iteration t adds q to the two `means`, with the weights shares[t]. E is the Jacobian if `q` has four
    components, and the symmetrised gradient if it has three.
    """
    end = u.shape[0] - 1
    full = q.shape[0] == 4
    real = u.dtype.type
    half, relax = real(mixed), real(rho)
    step_p, step_q = real(sigma_p), real(sigma_q)
    tight_p, tight_q = real(1 / alpha1**2), real(1 / alpha2**2)
    for step in range(first, last):
        for t in range(iterations):
            i = step - 2 * t
            if i < 1 or i > end:
                continue
            z = rows[t]
            if i < end:
                k = i % 4
                _primal_u(u, p, f, i, z, k, mx, my[i - 1], my[i], real(tau_u), real(tau_u * lam), relax)
                if full:
                    _primal_v_jacobian(v, p, q, i, z, k, mx, my[i - 1], my[i], real(tau_v), relax)
                else:
                    _primal_v_symmetrised(
                        v,
                        p,
                        q,
                        i,
                        z,
                        k,
                        mx,
                        ex,
                        half * my[i - 1],
                        half * my[i],
                        ey[i],
                        ey[i + 1],
                        real(tau_v),
                        relax,
                    )
            r = i - 1
            if r < 1:
                continue
            above, here, below = (r - 1) % 4, r % 4, (r + 1) % 4
            _dual_p(p, r, z, here, below, mx, my[r], step_p, tight_p, relax)
            if full:
                _dual_q_jacobian(q, r, z, here, below, mx, my[r], step_q, tight_q, relax)
            else:
                _dual_q_symmetrised(
                    q,
                    r,
                    z,
                    above,
                    here,
                    mx,
                    ex,
                    half * my[r - 1],
                    half * my[r],
                    ey[r],
                    step_q,
                    tight_q,
                    relax,
                )
            for k in range(2):
                if shares[t, k] > 0:
                    mean_row(means[k], q, r, shares[t, k])


@compiled
def _residual_u(s: Array, p: Array, i: int, b: Array, mx: Array, above: Any, here: Any) -> None:
    """Row of s + ∇ᵀp, which is zero at a solution."""
    for j in range(1, b.shape[2] - 1):
        w = mx[j - 1] * p[0, i, j - 1] - mx[j] * p[0, i, j] + above * p[1, i - 1, j] - here * p[1, i, j]
        b[0, i, j] = s[i, j] + w


@compiled
def _residual_v_jacobian(p: Array, q: Array, i: int, b: Array, mx: Array, above: Any, here: Any) -> None:
    """Row of Eᵀq − p, which is zero at a solution."""
    for j in range(1, b.shape[2] - 1):
        b[1, i, j] = adjoint_jacobian(q, 0, i - 1, i, j, mx, above, here) - p[0, i, j]
        b[2, i, j] = adjoint_jacobian(q, 1, i - 1, i, j, mx, above, here) - p[1, i, j]


@compiled
def _residual_v_symmetrised(
    p: Array,
    q: Array,
    i: int,
    b: Array,
    mx: Array,
    ex: Array,
    mixed_above: Any,
    mixed_here: Any,
    middle: Any,
    under: Any,
) -> None:
    """Row of Eᵀq − p, which is zero at a solution."""
    for j in range(1, b.shape[2] - 1):
        wx, wy = adjoint_symmetrised(q, i, i + 1, j, mx, ex, mixed_above, mixed_here, middle, under)
        b[1, i, j] = wx - p[0, i, j]
        b[2, i, j] = wy - p[1, i, j]


@compiled
def residuals(
    s: Array, p: Array, q: Array, mx: Array, my: Array, ex: Array, ey: Array, mixed: float, b: Array
) -> None:
    """Write what u and v move against, s + ∇ᵀp and Eᵀq − p, to the three arrays of `b`."""
    half = b.dtype.type(mixed)
    for i in range(1, b.shape[1] - 1):
        _residual_u(s, p, i, b, mx, my[i - 1], my[i])
        if q.shape[0] == 4:
            _residual_v_jacobian(p, q, i, b, mx, my[i - 1], my[i])
        else:
            _residual_v_symmetrised(p, q, i, b, mx, ex, half * my[i - 1], half * my[i], ey[i], ey[i + 1])


@compiled
def move(x: Array, d: Array, scale: float, rho: float, z: Array) -> None:
    """Move x against `scale` · d, over-relaxed; write its value after twice the move to z."""
    once, twice = x.dtype.type(rho * scale), x.dtype.type(2 * scale)
    for i in range(d.shape[0]):
        for j in range(d.shape[1]):
            z[i + 1, j + 1] = x[i + 1, j + 1] - twice * d[i, j]
            x[i + 1, j + 1] -= once * d[i, j]


@compiled
def duals(
    s: Array,
    p: Array,
    q: Array,
    z: Array,
    f: Array,
    mx: Array,
    my: Array,
    ex: Array,
    ey: Array,
    mixed: float,
    lam: float,
    alpha1: float,
    alpha2: float,
    omega: float,
    sigma_p: float,
    sigma_q: float,
    rho: float,
) -> None:
    """Move s, p and q along z = (u, v), each projected onto its ball, over-relaxed."""
    real = s.dtype.type
    half, relax = real(mixed), real(rho)
    step_p, step_q = real(sigma_p), real(sigma_q)
    tight_p, tight_q = real(1 / alpha1**2), real(1 / alpha2**2)
    for i in range(1, f.shape[0] - 1):
        fidelity_row(s, f, i, z[0], i, real(omega), real(1), real(lam), relax)
        _dual_p(p, i, z, i, i + 1, mx, my[i], step_p, tight_p, relax)
        if q.shape[0] == 4:
            _dual_q_jacobian(q, i, z, i, i + 1, mx, my[i], step_q, tight_q, relax)
        else:
            _dual_q_symmetrised(
                q, i, z, i - 1, i, mx, ex, half * my[i - 1], half * my[i], ey[i], step_q, tight_q, relax
            )
