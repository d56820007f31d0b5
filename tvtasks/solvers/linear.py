"""Huber-ROF where no gradient exceeds α: a linear equation, solved by cosine transform or line by line."""

from __future__ import annotations

import numpy as np
from scipy.fft import dctn, idctn

from tvtasks.models import HuberROF
from tvtasks.operators import Array, Direction
from tvtasks.solvers import Solution, certificates, kernels
from tvtasks.solvers.certificates import Iterates, certify_padded
from tvtasks.solvers.grid import Grid, kept, pad


def solve(image: Array, model: HuberROF, direction: Direction) -> Solution | None:
    """Return the exact minimiser if it is the linear one, else None.

    Where |∇u| ≤ α everywhere the Huber function is t²/2α and the minimiser solves (I + ∇ᵀ∇/c) u = f with
    c = αλ. The converse holds as well: if the solution of that equation keeps |∇u| ≤ α, then p = ∇u/α is
    dual feasible and proves it optimal.
    """
    if model.alpha == 0:
        return None
    u = smooth(image.astype(np.float64, copy=False), model, direction)
    padded = pad(u, np.float64)
    dual = np.zeros((2, *padded.shape))
    if kernels.huber_dual(padded, model.alpha, *kept(direction), dual) > model.alpha**2:
        return None
    result = u.astype(image.dtype, copy=False)
    if result is not u:
        padded = pad(result, result.dtype)
    grid = Grid.of(image.shape, direction, np.float64)
    certificate = certify_padded(model, Iterates(padded, None, dual), image, 0.0, 1.0, grid)
    return certificates.solution(certificate, result, method="linear")


def smooth(f: Array, model: HuberROF, direction: Direction) -> Array:
    """Solve (I + ∇ᵀ∇/αλ) u = f in the dtype of `f`, float32 or float64."""
    c = model.alpha * model.lam
    if direction == "x":
        return _lines(f, c)
    if direction == "y":
        return np.ascontiguousarray(_lines(np.ascontiguousarray(f.T), c).T)
    # Per cosine mode a factor c/(c + κ), κ = 4 sin²(kx/2) + 4 sin²(ky/2).
    rows, columns = (4 * np.sin(np.pi * np.arange(size) / (2 * size)) ** 2 for size in f.shape)
    modes = dctn(f, norm="ortho")
    modes *= (c / (c + rows[:, None] + columns[None, :])).astype(f.dtype, copy=False)
    return np.asarray(idctn(modes, norm="ortho", overwrite_x=True))


def _lines(f: Array, c: float) -> Array:
    """Every row a tridiagonal equation with the same matrix, which is factorised once (Thomas)."""
    u = np.empty_like(f)
    _tridiagonal(np.ascontiguousarray(f), c, u)
    return u


@kernels.compiled
def _tridiagonal(f: Array, c: float, u: Array) -> None:
    rows, n = f.shape
    real = f.dtype.type
    inverse = np.empty(n, f.dtype)  # of the pivots; the entries beside the diagonal are −1
    before = 0.0
    for j in range(n):
        before = 1 / (c + (j > 0) + (j < n - 1) - before)
        inverse[j] = real(before)
    weight = real(c)
    for i in range(rows):
        carried = real(0)
        for j in range(n):
            carried = (weight * f[i, j] + carried) * inverse[j]
            u[i, j] = carried
        for j in range(n - 2, -1, -1):
            u[i, j] += inverse[j] * u[i, j + 1]
