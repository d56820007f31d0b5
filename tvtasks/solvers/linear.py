"""Huber-ROF where no gradient exceeds α: one linear equation, solved by a cosine transform."""

from __future__ import annotations

import numpy as np
from scipy.fft import dctn, idctn

from tvtasks.models import HuberROF
from tvtasks.operators import Array, Direction, gradient
from tvtasks.solvers import Solution, certificates


def solve(image: Array, model: HuberROF, direction: Direction) -> Solution | None:
    """Return the exact minimiser if it is the linear one, else None.

    Where |∇u| ≤ α everywhere the Huber function is t²/2α and the minimiser solves (I + ∇ᵀ∇/c) u = f with
    c = αλ. The converse holds as well: if the solution of that equation keeps |∇u| ≤ α, then p = ∇u/α is
    dual feasible and proves it optimal.
    """
    if model.alpha == 0:
        return None
    u = smooth(image, model, direction)
    dual = gradient(u, direction)
    if np.einsum("kij,kij->ij", dual, dual).max() > model.alpha**2:
        return None
    dual /= model.alpha
    result = u.astype(image.dtype, copy=False)
    certificate = certificates.certify(model, result, None, dual, image, direction)
    return certificates.solution(certificate, result, method="linear")


def smooth(image: Array, model: HuberROF, direction: Direction) -> Array:
    """Solve (I + ∇ᵀ∇/αλ) u = f in float64: per cosine mode a factor c/(c + κ), κ = Σ 4 sin²(k/2)."""
    f = np.asarray(image, np.float64)
    axes = {"both": (0, 1), "x": (1,), "y": (0,)}[direction]
    kappa = np.zeros((1, 1))
    for axis in axes:
        size = f.shape[axis]
        eigenvalues = 4 * np.sin(np.pi * np.arange(size) / (2 * size)) ** 2
        kappa = kappa + (eigenvalues[:, None] if axis == 0 else eigenvalues[None, :])
    c = model.alpha * model.lam
    modes = dctn(f, axes=axes, norm="ortho")
    modes *= c
    modes /= kappa + c
    return np.asarray(idctn(modes, axes=axes, norm="ortho", overwrite_x=True))
