"""Tilt and bow of a scanner, found on the terraces themselves: from differences of pixels a few apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tvtasks.operators import Array
from tvtasks.solvers.offsets import spread

NEAR, FAR = (1, 2, 3), (3, 5, 8)
"""Lags in pixels. The bias that edges cause falls as one over the lag; a true bow is the same at all."""
SURE = 3.0
"""Times the disagreement of near and far lags that a curvature must be, to be believed (see `bow`)."""
_ROUNDS = 10  # of each loss
_WIDTH = 2.0  # of the redescending loss, in standard deviations of the differences
_PIXELS = 100_000  # that are looked at; more do not help

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bow:
    """A surface of tilt and bow.

    Attributes
    ----------
    surface
        Shape (M, N), in the image's unit; its mean is 0.
    tilt, bend, twist
        Coefficients of x, x² and xy, where x and y go from −1 to 1 across the image; 0 for a curvature that is
        not believed.
    doubt
        What near and far lags disagree by, for each of the three.
    """

    surface: Array
    tilt: float
    bend: float
    twist: float
    doubt: tuple[float, float, float]


def bow(image: Array) -> Bow:
    """Find tilt along x, bow along x and twist of an image, whatever the offsets of its lines.

    Horizontal differences do not see offsets of lines. They are fitted with the differences of x, x² and xy,
    first by least absolute values, then with the loss of Geman & McClure (as `line_offsets`), so that steps
    and particles have no say, and terraces come out flat. A curvature stays only where it is three times
    what lags of 1 to 3 and of 3 to 8 pixels disagree by: on scans without any fault this kept terraces at 45
    dB instead of 33 (synthetic STM terraces).

    Parameters
    ----------
    image
        Shape (M, N), real and finite.

    Returns
    -------
    Bow
    """
    f = np.asarray(image)
    rows, columns = f.shape
    unit = max((spread(f[:, k:] - f[:, :-k]) for k in FAR if k < columns), default=0.0)
    y, x = np.linspace(-1, 1, rows), np.linspace(-1, 1, columns)
    if unit == 0.0 or columns < 4 * max(FAR):
        return Bow(np.zeros(f.shape), 0.0, 0.0, 0.0, (0.0, 0.0, 0.0))
    v = np.ascontiguousarray(f / unit, np.float64)
    every = np.array([True, True, True])
    far = _fitted(v, FAR, every)
    doubt = np.abs(_fitted(v, NEAR, every) - far)
    kept = np.abs(far) >= SURE * doubt
    kept[0] = True
    c = far if kept.all() else _fitted(v, FAR, kept)
    c = unit * c
    surface = c[0] * x + c[1] * (x**2 - np.mean(x**2)) + c[2] * np.outer(y, x)
    tilt, bend, twist = (float(value) for value in c)
    return Bow(surface, tilt, bend, twist, tuple(float(d) for d in unit * doubt))  # type: ignore[arg-type]


def _fitted(v: Array, lags: tuple[int, ...], kept: NDArray[np.bool_]) -> Vector:
    rows, columns = v.shape
    step = max(1, v.size // _PIXELS)
    c = np.zeros(3)
    for turn in range(2 * _ROUNDS):
        redescending = turn >= _ROUNDS
        normal, right = np.zeros((3, 3)), np.zeros(3)
        least = np.inf
        for k in lags:
            s = _spread_at(v, c, k, step)
            least = min(least, s)
            a, b = _sums(v, c, k, step, _WIDTH * s if redescending else 1e-3 * s, redescending)
            share = (1.0 if redescending else s) / k
            normal += share * a
            right += share * b
        solved = np.zeros(3)
        part = normal[np.ix_(kept, kept)]
        solved[kept] = np.linalg.solve(part + 1e-9 * np.trace(part) * np.eye(len(part)), right[kept])
        c = c + solved
        if redescending and float(np.abs(solved).max()) < 1e-3 * least:
            break
    return c


def _spread_at(v: Array, c: Vector, k: int, step: int) -> float:
    rows, columns = v.shape
    y, x = np.linspace(-1, 1, rows)[::step], np.linspace(-1, 1, columns)
    some = v[::step]
    across = max(1, some.size // 20011)
    dx, dxx = (x[k:] - x[:-k])[::across], (x[k:] ** 2 - x[:-k] ** 2)[::across]
    r = (some[:, k:] - some[:, :-k])[:, ::across] - c[0] * dx - c[1] * dxx - c[2] * np.outer(y, dx)
    return max(1.4826 * float(np.median(np.abs(r))), 1e-12)


@njit(cache=True, nogil=True, error_model="numpy")
def _sums(
    v: Array, c: Array, k: int, step: int, width: float, redescending: bool
) -> tuple[Array, Array]:
    """Weighted normal equations of one lag, lines `step` apart."""
    rows, columns = v.shape
    a, b = np.zeros((3, 3)), np.zeros(3)
    d = np.empty(3)
    for i in range(0, rows, step):
        y = 2 * i / (rows - 1) - 1
        for j in range(columns - k):
            x0, x1 = 2 * j / (columns - 1) - 1, 2 * (j + k) / (columns - 1) - 1
            d[0] = x1 - x0
            d[1] = x1 * x1 - x0 * x0
            d[2] = y * d[0]
            r = v[i, j + k] - v[i, j] - c[0] * d[0] - c[1] * d[1] - c[2] * d[2]
            if redescending:
                q = r / width
                w = 1 / ((1 + q * q) * (1 + q * q))
            else:
                w = 1 / max(abs(r), width)
            for m in range(3):
                b[m] += w * d[m] * r
                for n in range(3):
                    a[m, n] += w * d[m] * d[n]
    return a, b
