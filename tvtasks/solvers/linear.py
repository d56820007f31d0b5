"""Huber-ROF where no gradient exceeds α: a linear equation, solved by a cosine transform or line by line."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.fft import dct, idct

from tvtasks.models import HuberROF
from tvtasks.operators import Array, Direction
from tvtasks.solvers import Solution, certificates, kernels
from tvtasks.solvers.certificates import Certificate
from tvtasks.solvers.grid import kept

# float32 takes half the time. The remaining gap is the square of the rounding times the condition of the
# equation: beyond this condition, or below this tolerance, float32 is not tried.
_CONDITION = 2000.0
_SINGLE = 1e-6
# Below this tolerance the result is not rounded to float32 either.
_ROUNDED = 1e-9


def solve(
    image: Array, model: HuberROF, direction: Direction, *, rtol: float = 0.0, threads: int = 1
) -> tuple[Solution | None, Array]:
    """Return the exact minimiser, None if it is not linear, and the solution of the linear equation.

    If |∇u| ≤ α everywhere, the Huber function is t²/2α and the minimiser solves (I + ∇ᵀ∇/c) u = f with c =
    αλ. The converse holds as well: if the solution of that equation keeps |∇u| ≤ α, then p = ∇u/α is dual
    feasible and proves it optimal.

    A float32 image is solved in float32 if the direction is ``both`` and the tolerance allows it, everything
    else in float64. The result is float32 for a float32 image, unless that would miss the tolerance.
    """
    single = image.dtype == np.float32
    if single and direction == "both" and rtol >= _SINGLE and _CONDITION * model.alpha * model.lam > 8:
        u = smooth(image, model.alpha * model.lam, direction, threads)
        certificate, excess = _certify(u, image, model, direction)
        if excess > 1e-3:  # more than rounding
            return None, u
        if excess <= 0 and certificate.gap <= rtol / 4:
            return certificates.solution(certificate, u, method="linear"), u
    u = smooth(image.astype(np.float64, copy=False), model.alpha * model.lam, direction, threads)
    certificate, excess = _certify(u, image, model, direction)
    if excess > 0:
        return None, u
    if single and rtol >= _ROUNDED:
        rounded = u.astype(np.float32)
        of_rounded = certificates.with_lower(
            _certify(rounded, image, model, direction)[0], certificate.lower, certificate.bound
        )
        if of_rounded.gap <= rtol:
            u, certificate = rounded, of_rounded
    return certificates.solution(certificate, u, method="linear"), u


def _certify(u: Array, image: Array, model: HuberROF, direction: Direction) -> tuple[Certificate, float]:
    """Certify `u` by p ≈ ∇u/α, and return by how much the largest |∇u|²/α² exceeds 1.

    The certificate proves something if that is not positive. The gap is then λ/2 ‖u − f + ∇ᵀ∇u/αλ‖², the
    squared residual of the equation.
    """
    sums, steepest = _quadratic_sums(u, image, 1 / (model.alpha * model.lam), *kept(direction))
    gradients, distances, residuals = (float(total) for total in sums.sum(axis=1))
    energy, gap = gradients / (2 * model.alpha) + model.lam / 2 * distances, model.lam / 2 * residuals
    certificate = Certificate(energy, energy - gap, certificates.relative_gap(energy, gap), "primal-dual gap")
    return certificate, float(steepest.max()) / model.alpha**2 - 1


def smooth(f: Array, c: float, direction: Direction, threads: int = 1) -> Array:
    """Solve (I + ∇ᵀ∇/c) u = f in the dtype of `f`, float32 or float64."""
    diagonal = np.full(f.shape[1], c, f.dtype)
    if direction != "both":
        u = np.array(f, order="C")
        if direction == "x":
            _along_rows(u, c)
        else:
            _down_columns(u, c, diagonal)
        return u
    # A cosine transform of the rows leaves an equation down each column, with the eigenvalue of its mode, 4
    # sin²(kx/2), added to its diagonal: half the work of a transform in both directions.
    diagonal += (4 * np.sin(np.pi * np.arange(diagonal.size) / (2 * diagonal.size)) ** 2).astype(f.dtype)
    modes = dct(f, norm="ortho", workers=threads)
    _down_columns(modes, c, diagonal)
    return np.asarray(idct(modes, norm="ortho", overwrite_x=True, workers=threads))


# The tridiagonal matrix of a line is c + ∇ᵀ∇; next to its diagonal there is −1. Its pivots are 1 + e with e_i
# = c + e_{i-1} / (1 + e_{i-1}); the last is e alone. So a small c is not lost beside the ones.


@kernels.compiled
def _inverse_pivots(n: int, c: float) -> Array:
    inverse = np.empty(n)
    carried = 0.0
    for j in range(n):
        e = c + carried
        inverse[j] = 1 / (e + (j < n - 1))
        carried = e * inverse[j]
    return inverse


@kernels.compiled
def _along_rows(u: Array, c: float) -> None:
    """Solve such an equation for every row of c · `u` in place (Thomas algorithm).

    Four rows at a time, because each waits for its last result.
    """
    rows, n = u.shape
    inverse = _inverse_pivots(n, c).astype(u.dtype)
    weight, zero = u.dtype.type(c), u.dtype.type(0)
    for start in range(0, rows - 3, 4):
        i0, i1, i2, i3 = start, start + 1, start + 2, start + 3
        a0, a1, a2, a3 = zero, zero, zero, zero
        for j in range(n):
            a0 = (weight * u[i0, j] + a0) * inverse[j]
            a1 = (weight * u[i1, j] + a1) * inverse[j]
            a2 = (weight * u[i2, j] + a2) * inverse[j]
            a3 = (weight * u[i3, j] + a3) * inverse[j]
            u[i0, j], u[i1, j], u[i2, j], u[i3, j] = a0, a1, a2, a3
        a0, a1, a2, a3 = zero, zero, zero, zero
        for j in range(n - 1, -1, -1):
            a0 = u[i0, j] + inverse[j] * a0
            a1 = u[i1, j] + inverse[j] * a1
            a2 = u[i2, j] + inverse[j] * a2
            a3 = u[i3, j] + inverse[j] * a3
            u[i0, j], u[i1, j], u[i2, j], u[i3, j] = a0, a1, a2, a3
    for i in range(rows - rows % 4, rows):
        a0 = zero
        for j in range(n):
            a0 = (weight * u[i, j] + a0) * inverse[j]
            u[i, j] = a0
        a0 = zero
        for j in range(n - 1, -1, -1):
            a0 = u[i, j] + inverse[j] * a0
            u[i, j] = a0


@kernels.compiled
def _down_columns(u: Array, weight: float, diagonal: Array) -> None:
    """Solve such an equation for every column of weight · `u` in place, each column with its own c."""
    n, columns = u.shape
    inverse = np.empty_like(u)
    share, one = u.dtype.type(weight), u.dtype.type(1)
    for j in range(columns):
        inverse[0, j] = one / (diagonal[j] + one) if n > 1 else one / diagonal[j]
        u[0, j] *= share * inverse[0, j]
    carried = diagonal * inverse[0]
    for i in range(1, n):
        open_end = u.dtype.type(i < n - 1)
        for j in range(columns):
            e = diagonal[j] + carried[j]
            inverse[i, j] = one / (e + open_end)
            carried[j] = e * inverse[i, j]
            u[i, j] = (share * u[i, j] + u[i - 1, j]) * inverse[i, j]
    for i in range(n - 2, -1, -1):
        for j in range(columns):
            u[i, j] += inverse[i, j] * u[i + 1, j]


@kernels.summed
def _quadratic_row(
    above: Array,
    here: Array,
    below: Array,
    f: Array,
    along_x: float,
    along_y: float,
    curvature: float,
    steepest: Array,
) -> Any:
    steep = 0.0
    far = 0.0
    left = 0.0
    for j in range(f.size):
        value = here[j + 1]
        before, after = along_x * (value - here[j]), along_x * (here[j + 2] - value)
        up, down = along_y * (value - above[j + 1]), along_y * (below[j + 1] - value)
        squared = after * after + down * down
        d = value - np.float64(f[j])
        r = d + curvature * (before - after + up - down)
        steep += squared
        far += d * d
        left += r * r
        steepest[j] = kernels.larger(squared, steepest[j])
    return steep, far, left


@kernels.summed
def _quadratic_sums(u: Array, f: Array, curvature: float, along_x: float, along_y: float) -> Any:
    """Return Σ|∇u|², Σ(u − f)² and Σ(u − f + curvature · ∇ᵀ∇u)² per row, and the largest |∇u|² per column."""
    rows, columns = u.shape
    sums = np.zeros((3, rows))
    steepest = np.zeros(columns)
    lines = np.zeros((3, columns + 2))  # rows of u by number modulo 3; the outermost repeat beyond the border
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
            lines[(i + 2) % 3], lines[i % 3], below, f[i], along_x, along_y, curvature, steepest
        )
    return sums, steepest
