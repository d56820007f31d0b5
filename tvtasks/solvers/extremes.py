"""Very small and very large λ, where the minimiser is known and only the proof must be found.

For a small λ the minimiser is the median of the image (TV-L1) or its best plane (TGV-L1, symmetrised), and
the sign of what is left, made to vanish in the mean, is λ⁻¹ times the derivative of a dual field that an
elliptic equation gives. For a large λ the minimiser of TV-L1 is the image, proven by its own gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.fft import dctn, idctn

from tvtasks.models import TGVL1, TVL1
from tvtasks.operators import (
    Array,
    Direction,
    gradient,
    gradient_adjoint,
    magnitude,
    symmetrised_gradient_adjoint,
)
from tvtasks.solvers import Solution, certificates, kernels
from tvtasks.solvers.certificates import Iterates
from tvtasks.solvers.grid import Grid, kept, pad
from tvtasks.solvers.kernels import summed

# The largest |∇ᵀp| of a field p of length 1.
_STEEPEST = {"both": 2 + 2**0.5, "x": 2.0, "y": 2.0}
# A constant was optimal up to λ = 3 … 10 per side of the image, a plane up to 40 α2 per side squared.
# Somewhat beyond that, the attempt costs less than what it may save.
_CONSTANT, _AFFINE = 16.0, 40.0
_PLANE_STEPS = 200
_FEW, _ROUGH = 64, 1e-2
# Below this tolerance a gradient of unit length in float32 proves too little.
_SINGLE = 1e-6


def solve(
    f: Array, model: TVL1 | TGVL1, direction: Direction, *, rtol: float, lean: bool = False
) -> Solution | None:
    """Return the minimiser if λ is so small or so large that it is known and proven; otherwise None.

    A small λ takes 13 images of float64, and is left out if it must be `lean`.
    """
    found = None
    if isinstance(model, TVL1):
        if model.lam >= _STEEPEST[direction]:
            found = _image_itself(f, model, direction, rtol)
        elif lean:
            found = None
        elif direction != "both":
            found = _median_of_lines(f, model, direction)
        elif model.lam * max(f.shape) <= _CONSTANT:
            found = _median(f, model)
    elif (
        direction == "both"
        and not lean
        and model.gradient == "symmetrised"
        and min(f.shape) > 2
        and model.lam * max(f.shape) ** 2 <= _AFFINE * model.alpha2
    ):
        found = _plane(f, model, rtol)
    return found if found is not None and found.gap <= rtol else None


def _image_itself(f: Array, model: TVL1, direction: Direction, rtol: float) -> Solution:
    dtype = f.dtype if rtol >= _SINGLE else np.dtype(np.float64)
    u = pad(f, dtype)
    p = np.zeros((2, *u.shape), dtype)
    kernels.huber_dual(u, float(np.finfo(dtype).tiny), *kept(direction), p)
    grid = Grid.of(f.shape, direction, np.float64)
    certificate = certificates.certify_padded(
        model, Iterates(u, None, p), np.ascontiguousarray(f), 0.0, 1.0, grid
    )
    return certificates.solution(certificate, f.copy(), method="image")


def _signs(f: Array, median: Array) -> Array:
    """Return the sign of f − median along axis 0; pixels at the median share what makes the sum zero.

    The median leaves at most half of the pixels on either side, so their share is within [−1, 1].
    """
    s = np.sign(f - median, dtype=np.float64)
    ties = np.count_nonzero(s == 0, axis=0)
    return np.asarray(np.where(s == 0, -s.sum(axis=0) / np.maximum(ties, 1), s))


def _median_of_lines(f: Array, model: TVL1, direction: Direction) -> Solution | None:
    """Half of a line pulls with λ per pixel: if that is at most 1, the line cannot break."""
    lines = f if direction == "y" else f.T
    if model.lam * (len(lines) // 2) > 1:
        return None
    middle = (len(lines) - 1) // 2
    median = np.partition(lines, middle, axis=0)[middle]
    along = -np.cumsum(model.lam * _signs(lines, median), axis=0)
    along[-1] = 0  # rounding
    p = np.zeros((2, *f.shape))
    p[1 if direction == "y" else 0] = along if direction == "y" else along.T
    u = np.ascontiguousarray(np.broadcast_to(median if direction == "y" else median[:, None], f.shape))
    return certificates.solution(
        certificates.certify(model, u, None, p, f, direction), u, method="median of each line"
    )


def _median(f: Array, model: TVL1) -> Solution:
    flat = f.ravel()
    middle = (flat.size - 1) // 2
    median = np.partition(flat, middle)[middle]
    s = _signs(flat, median).reshape(f.shape)
    p = gradient(inverse_laplacian(model.lam * s))
    p /= max(1.0, float(magnitude(p).max()))
    u = np.full_like(f, median)
    return certificates.solution(certificates.certify(model, u, None, p, f, "both"), u, method="median")


def inverse_laplacian(r: Array) -> Array:
    """Solve ∇ᵀ∇ φ = r for an image `r` of mean 0 by a cosine transform, in the dtype of `r`."""
    rows, columns = (eigenvalues(n).astype(r.dtype) for n in r.shape)
    modes = dctn(r, norm="ortho")
    modes[0, 0] = 0
    rows[0] = rows[0] if r.shape[1] > 1 else 1
    symbol = rows[:, None] + columns
    symbol[0, 0] = 1
    return np.asarray(idctn(modes / symbol, norm="ortho", overwrite_x=True))


def eigenvalues(n: int) -> Array:
    """Return those of the second difference ∇ᵀ∇ of a line of `n` pixels, by mode of the cosine transform."""
    return np.asarray(4 * np.sin(np.pi * np.arange(n) / (2 * n)) ** 2)


def _plane(f: Array, model: TGVL1, rtol: float) -> Solution | None:
    """Fit the plane with the least sum of distances, and prove it by a field with second derivative λ s."""
    low, extent = float(f.min()), float(np.ptp(f))
    rows, columns = f.shape
    y, x = _centred(rows), _centred(columns)
    scaled = (f.astype(np.float64) - low) / extent
    every = max(1, min(f.shape) // _FEW)  # some pixels first
    found = _least_distances(scaled[::every, ::every].copy(), x[::every], y[::every], _ROUGH)
    found = _least_distances(scaled, x, y, rtol / 4, found)
    if found is None:
        return None
    (level, slope_x, slope_y), epsilon = found
    fit = level + slope_x * x + slope_y * y[:, None]
    s = np.clip((scaled - fit) / epsilon, -1, 1)
    u = low + extent * fit
    v = np.zeros((2, rows, columns))
    v[0, :, :-1], v[1, :-1] = extent * slope_x * 2 / (columns - 1), extent * slope_y * 2 / (rows - 1)
    q = model.lam * second_order_field(s)
    steep = float(magnitude(symmetrised_gradient_adjoint(q)).max()) / model.alpha1
    q /= max(1.0, float(magnitude(q).max()) / model.alpha2, steep)
    certificate, u, v_in_dtype = certificates.certify_rounded(model, u, v, q, f, "both", rtol)
    return certificates.solution(certificate, u, v_in_dtype, method="plane")


def _centred(n: int) -> Array:
    return np.linspace(-1, 1, n)


def _least_distances(
    f: Array, x: Array, y: Array, tolerance: float, start: tuple[Array, float] | None = None
) -> tuple[Array, float] | None:
    """Return the coefficients of the plane with the least Σ|f − plane|, and the ε of its rounded sign.

    That sign, (f − plane)/ε within ±1, has no affine part. Newton's method minimises Huber's function, whose
    derivative the sign is; ε shrinks until what that costs is within the (relative) tolerance. Where Newton's
    step does not decrease the function, a step with reweighted squares does.

    References
    ----------
    K. Madsen, H. B. Nielsen, "A finite smoothing algorithm for linear l1 estimation", SIAM Journal on
    Optimization 3 (1993) 223–235, doi:10.1137/0803010.
    """
    ridge = 1e-9 * f.size * np.eye(3)
    if start is None:
        level = float(np.median(f))
        start = np.array([level, 0.0, 0.0]), float(np.abs(f - level).mean()) + 1e-15
    plane, epsilon = start
    sums = _plane_sums(f, x, y, plane, epsilon).sum(axis=1)
    for _ in range(_PLANE_STEPS):
        pull, newton, weights = sums[2:5], _symmetric(sums[5:11]), _symmetric(sums[11:17])
        if np.abs(pull).max() <= 1e-11 * f.size:
            if sums[1] <= tolerance * sums[17] or epsilon < 1e-13:
                return plane, epsilon
            epsilon /= 8
            sums = _plane_sums(f, x, y, plane, epsilon).sum(axis=1)
            continue
        for step in (np.linalg.solve(newton + ridge, pull), np.linalg.solve(weights, pull)):
            tried = _plane_sums(f, x, y, plane + epsilon * step, epsilon).sum(axis=1)
            if tried[0] <= sums[0] * (1 + 1e-15):
                break
        plane, sums = plane + epsilon * step, tried
    return None


def _symmetric(six: Array) -> Array:
    return six[[0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(3, 3)


@summed
def _plane_sums(f: Array, x: Array, y: Array, plane: Array, epsilon: float) -> Any:
    """Return, per row, eighteen sums over r = f − plane and its rounded sign s, in units of ε.

    Huber's function; |r| − r s; s times 1, x, y; products of those where |r| ≤ ε, and with weights
    1/max(|r|, ε); and |r|.
    """
    rows, columns = f.shape
    sums = np.zeros((18, rows))
    for i in range(rows):
        offset = plane[0] + plane[2] * y[i]
        b = y[i]
        huber, lost, pull, pull_x, count, count_x, count_xx = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        weight, weight_x, weight_xx, distance = 0.0, 0.0, 0.0, 0.0
        for j in range(columns):
            r = (f[i, j] - offset - plane[1] * x[j]) / epsilon
            far = abs(r)
            s = min(max(r, -1.0), 1.0)
            inside = 1.0 if far <= 1.0 else 0.0
            w = 1 / max(far, 1.0)
            huber += s * r - 0.5 * s * s
            lost += far - s * r
            pull += s
            pull_x += s * x[j]
            count += inside
            count_x += inside * x[j]
            count_xx += inside * x[j] * x[j]
            weight += w
            weight_x += w * x[j]
            weight_xx += w * x[j] * x[j]
            distance += far
        sums[0, i], sums[1, i], sums[17, i] = huber, lost, distance
        sums[2, i], sums[3, i], sums[4, i] = pull, pull_x, pull * b
        sums[5, i], sums[6, i], sums[7, i] = count, count_x, count * b
        sums[8, i], sums[9, i], sums[10, i] = count_xx, count_x * b, count * b * b
        sums[11, i], sums[12, i], sums[13, i] = weight, weight_x, weight * b
        sums[14, i], sums[15, i], sums[16, i] = weight_xx, weight_x * b, weight * b * b
    return sums


def second_order_field(r: Array) -> Array:
    """Return q (3, M, N) with ∇ᵀEᵀq = r, E the symmetrised gradient, for `r` without an affine part.

    A constant mixed component takes the part in xy. The rest is divided, mode by mode, between rows and
    columns such that q is short; each row, or column, has no affine part of its own, so q_xx, or q_yy, is its
    double sum. Every M, N ≥ 3.
    """
    rows, columns = r.shape
    q = np.zeros((3, rows, columns))
    q[2] = 1.0
    twist = gradient_adjoint(symmetrised_gradient_adjoint(q))
    mixed = np.outer(_centred(rows), _centred(columns))
    q[2] = float((r * mixed).sum() / (twist * mixed).sum())
    rest = r - q[2, 0, 0] * twist
    of_columns, rest = _affine_split(rest, 1)  # affine along each row
    of_rows, rest = _affine_split(rest, 0)
    along, down = eigenvalues(columns) ** 2, eigenvalues(rows)[:, None] ** 2
    down[0] += np.finfo(np.float64).tiny
    share = idctn(dctn(rest, norm="ortho") * (along / (along + down)), norm="ortho", overwrite_x=True)
    for axis in (0, 1):
        share = _affine_split(share, axis)[1]
    of_columns += rest - share
    of_rows += share
    q[0, :, 1:-1] = np.cumsum(np.cumsum(of_rows, axis=1), axis=1)[:, :-2]
    q[1, 1:-1] = np.cumsum(np.cumsum(of_columns, axis=0), axis=0)[:-2]
    return q


def _affine_split(a: Array, axis: int) -> tuple[Array, Array]:
    """Return the part of `a` that is affine along an axis, and the rest."""
    n = a.shape[axis]
    basis = np.stack([np.ones(n), _centred(n)])
    basis /= np.sqrt((basis**2).sum(axis=1, keepdims=True))
    affine = (a @ basis.T) @ basis if axis == 1 else basis.T @ (basis @ a)
    return affine, a - affine
