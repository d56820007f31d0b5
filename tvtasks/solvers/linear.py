"""Huber-ROF where no gradient exceeds α: a linear equation, solved by cosine transform or line by line."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.fft import dctn, idctn

from tvtasks.models import HuberROF
from tvtasks.operators import Array, Direction
from tvtasks.solvers import Solution, certificates, kernels
from tvtasks.solvers.certificates import Certificate
from tvtasks.solvers.grid import kept

# Cosine transforms take half the time in float32. The gap that is left is the square of the rounding times
# the condition of the equation: beyond this condition it need not be tried.
_CONDITION = 2000.0


def solve(
    image: Array, model: HuberROF, direction: Direction, *, rtol: float = 0.0, threads: int = 1
) -> Solution | None:
    """Return the exact minimiser if it is the linear one, else None.

    Where |∇u| ≤ α everywhere the Huber function is t²/2α and the minimiser solves (I + ∇ᵀ∇/c) u = f with
    c = αλ. The converse holds as well: if the solution of that equation keeps |∇u| ≤ α, then p = ∇u/α is
    dual feasible and proves it optimal.

    In both directions a float32 image is solved in float32 if the gap is then a quarter of `rtol` at the
    most; everything else in float64.
    """
    if model.alpha == 0:
        return None
    if image.dtype == np.float32 and direction == "both" and _CONDITION * model.alpha * model.lam > 8:
        u = smooth(image, model, direction, threads)
        certificate, excess = _certify(u, image, model, direction)
        if excess > 1e-3:  # not by rounding
            return None
        if excess <= 0 and certificate.gap <= rtol / 4:
            return certificates.solution(certificate, u, method="linear")
    u = smooth(image.astype(np.float64, copy=False), model, direction, threads)
    certificate, excess = _certify(u, image, model, direction)
    if excess > 0:
        return None
    if image.dtype == np.float32:
        lower, bound = certificate.lower, certificate.bound
        u = u.astype(np.float32)
        certificate = certificates.with_lower(_certify(u, image, model, direction)[0], lower, bound)
    return certificates.solution(certificate, u, method="linear")


def _certify(u: Array, image: Array, model: HuberROF, direction: Direction) -> tuple[Certificate, float]:
    """Certify `u` by p ≈ ∇u/α, and return how far the largest |∇u|²/α² is above 1.

    The certificate proves something if that is not positive.
    """
    energies, gaps, steepest = _quadratic_gap(u, image, model.lam, model.alpha, *kept(direction))
    energy, gap = float(energies.sum()), float(gaps.sum())
    certificate = Certificate(
        energy, energy - gap, certificates.relative_gap(energy, gap), "primal-dual gap"
    )  # fmt: skip
    return certificate, float(steepest.max()) / model.alpha**2 - 1


def smooth(f: Array, model: HuberROF, direction: Direction, threads: int = 1) -> Array:
    """Solve (I + ∇ᵀ∇/αλ) u = f in the dtype of `f`, float32 or float64."""
    c = model.alpha * model.lam
    if direction != "both":
        u = np.empty(f.shape, f.dtype)
        (_along_rows if direction == "x" else _down_columns)(np.ascontiguousarray(f), c, u)
        return u
    # Per cosine mode a factor c/(c + κ), κ = 4 sin²(kx/2) + 4 sin²(ky/2).
    rows, columns = (
        (4 * np.sin(np.pi * np.arange(size) / (2 * size)) ** 2 / c).astype(f.dtype) for size in f.shape
    )
    modes = dctn(f, norm="ortho", workers=threads)
    modes /= 1 + rows[:, None] + columns[None, :]
    return np.asarray(idctn(modes, norm="ortho", overwrite_x=True, workers=threads))


@kernels.compiled
def _inverse_pivots(n: int, c: float) -> Array:
    """1/pivot of the tridiagonal matrix c + ∇ᵀ∇ of a line, whose entries beside the diagonal are −1."""
    inverse = np.empty(n)
    before = 0.0
    for j in range(n):
        before = 1 / (c + (j > 0) + (j < n - 1) - before)
        inverse[j] = before
    return inverse


@kernels.compiled
def _along_rows(f: Array, c: float, u: Array) -> None:
    """Every row a tridiagonal equation (Thomas); four at a time, as each waits for its last result."""
    rows, n = f.shape
    inverse = _inverse_pivots(n, c).astype(f.dtype)
    weight, zero = f.dtype.type(c), f.dtype.type(0)
    for start in range(0, rows, 4):
        # Beyond the last row the last is solved again.
        i0, i1 = start, min(start + 1, rows - 1)
        i2, i3 = min(start + 2, rows - 1), min(start + 3, rows - 1)
        a0, a1, a2, a3 = zero, zero, zero, zero
        for j in range(n):
            a0 = (weight * f[i0, j] + a0) * inverse[j]
            a1 = (weight * f[i1, j] + a1) * inverse[j]
            a2 = (weight * f[i2, j] + a2) * inverse[j]
            a3 = (weight * f[i3, j] + a3) * inverse[j]
            u[i0, j], u[i1, j], u[i2, j], u[i3, j] = a0, a1, a2, a3
        a0, a1, a2, a3 = zero, zero, zero, zero
        for j in range(n - 1, -1, -1):
            a0 = u[i0, j] + inverse[j] * a0
            a1 = u[i1, j] + inverse[j] * a1
            a2 = u[i2, j] + inverse[j] * a2
            a3 = u[i3, j] + inverse[j] * a3
            u[i0, j], u[i1, j], u[i2, j], u[i3, j] = a0, a1, a2, a3


@kernels.compiled
def _down_columns(f: Array, c: float, u: Array) -> None:
    """Every column such an equation, all at once."""
    n, columns = f.shape
    inverse = _inverse_pivots(n, c).astype(f.dtype)
    weight = f.dtype.type(c)
    for j in range(columns):
        u[0, j] = weight * f[0, j] * inverse[0]
    for i in range(1, n):
        for j in range(columns):
            u[i, j] = (weight * f[i, j] + u[i - 1, j]) * inverse[i]
    for i in range(n - 2, -1, -1):
        for j in range(columns):
            u[i, j] += inverse[i] * u[i + 1, j]


@kernels.summed
def _quadratic_row(
    above: Array, here: Array, below: Array, f: Array, along_x: float, along_y: float, lam: float,
    alpha: float,
) -> Any:  # fmt: skip
    energy = 0.0
    gap = 0.0
    steepest = 0.0
    for j in range(f.size):
        value = here[j + 1]
        before, after = along_x * (value - here[j]), along_x * (here[j + 2] - value)
        up, down = along_y * (value - above[j + 1]), along_y * (below[j + 1] - value)
        squared = after * after + down * down
        d = value - np.float64(f[j])
        r = d + (before - after + up - down) / (alpha * lam)
        energy += squared / (2 * alpha) + lam / 2 * d * d
        gap += lam / 2 * r * r
        steepest = max(steepest, squared)
    return energy, gap, steepest


@kernels.summed
def _quadratic_gap(u: Array, f: Array, lam: float, alpha: float, along_x: float, along_y: float) -> Any:
    """Energy and gap where |∇u| ≤ α, for the dual p = ∇u/α, and the largest |∇u|²: three for each row.

    The gap is then λ/2 ‖u − f + ∇ᵀ∇u/αλ‖², the square of what is left of the equation.
    """
    rows, columns = u.shape
    sums = np.zeros((3, rows))
    lines = np.zeros((3, columns + 2))  # rows of u by number modulo 3; beyond the border the outermost
    for i in range(-1, rows):
        k = min(i + 1, rows - 1)
        below = lines[(i + 1) % 3]
        for j in range(columns):
            below[j + 1] = u[k, j]
        below[0], below[columns + 1] = below[1], below[columns]
        if i < 0:
            lines[2] = below
            continue
        sums[0, i], sums[1, i], sums[2, i] = _quadratic_row(
            lines[(i + 2) % 3], lines[i % 3], below, f[i], along_x, along_y, lam, alpha
        )
    return sums
