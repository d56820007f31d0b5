"""Huber-ROF in one direction: every line is a small problem of its own, solved exactly."""

from __future__ import annotations

import numpy as np

from tvtasks.models import HuberROF
from tvtasks.operators import Array, Direction, gradient_adjoint
from tvtasks.solvers import Solution, certificates, kernels

# Lines of every kind settled within 20 passes; one that has not by then is left to the iteration.
_PASSES = 200


def solve(image: Array, model: HuberROF, direction: Direction) -> Solution | None:
    """Return the exact minimiser for ``x`` or ``y``, or None if a line did not settle.

    The dual of one line is (αI + DDᵀ/λ) p = D f with |p| ≤ 1, a tridiagonal quadratic programme in a box,
    solved by a primal–dual active set (Hintermüller, Ito & Kunisch 2003); then u = f − Dᵀp/λ. α = 0 included.
    """
    f = np.ascontiguousarray(image if direction == "x" else image.T, np.float64)
    p = np.zeros((2, *f.shape))
    if f.shape[1] > 1:
        inner = np.zeros((f.shape[0], f.shape[1] - 1))
        if kernels.lines_box(f, model.lam, model.alpha, inner, _PASSES) < 0:
            return None
        p[0, :, :-1] = np.clip(inner, -1, 1)
    u = f - gradient_adjoint(p, "x") / model.lam
    if direction == "y":
        u, p = np.ascontiguousarray(u.T), p[::-1].transpose(0, 2, 1)
    result = u.astype(image.dtype, copy=False)
    certificate = certificates.huber_rof(result, p, image, model, direction)
    return Solution(
        result, certificate.energy, certificate.gap, certificate.bound, 0, converged=True, method="line-exact"
    )
