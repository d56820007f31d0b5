"""Huber-ROF and TV-L1 in one direction: every line is a small problem of its own, solved exactly."""

from __future__ import annotations

import numpy as np

from tvtasks.models import TVL1, HuberROF
from tvtasks.operators import Array, Direction, gradient_adjoint
from tvtasks.solvers import Solution, certificates, kernels

# Lines of every kind settled within 20 passes; one that has not by then is left to the iteration.
_PASSES = 200


def solve(image: Array, model: HuberROF | TVL1, direction: Direction) -> Solution | None:
    """Return the exact minimiser for direction ``x`` or ``y``, or None if a line did not settle."""
    f = np.ascontiguousarray(image if direction == "x" else image.T, np.float64)
    found = _huber_rof(f, model) if isinstance(model, HuberROF) else _tv_l1(f, model)
    if found is None:
        return None
    u, p = found
    if direction == "y":
        u, p = np.ascontiguousarray(u.T), p[::-1].transpose(0, 2, 1)
    result = u.astype(image.dtype, copy=False)
    if isinstance(model, HuberROF):
        certificate = certificates.huber_rof(result, p, image, model, direction)
    else:
        certificate = certificates.tv_l1(result, p, image, model, direction)
    return certificates.solution(certificate, result, method="line-exact")


def _huber_rof(f: Array, model: HuberROF) -> tuple[Array, Array] | None:
    """Rows of `f`: the dual (αI + DDᵀ/λ) p = D f in the box |p| ≤ 1, then u = f − Dᵀp/λ. α = 0 included.

    A tridiagonal quadratic programme a row, by a primal–dual active set (Hintermüller, Ito & Kunisch 2003).
    """
    p = np.zeros((2, *f.shape))
    if f.shape[1] > 1:
        inner = np.zeros((f.shape[0], f.shape[1] - 1))
        if kernels.lines_box(f, model.lam, model.alpha, inner, _PASSES) < 0:
            return None
        p[0, :, :-1] = np.clip(inner, -1, 1)
    return f - gradient_adjoint(p, "x") / model.lam, p


def _tv_l1(f: Array, model: TVL1) -> tuple[Array, Array]:
    """Rows of `f`, by dynamic programming; the minimiser's values are values of the row."""
    u, p = np.empty_like(f), np.zeros((2, *f.shape))
    kernels.tv_l1_lines(f, model.lam, u, p[0])
    return u, p
