"""Tilt and bow of a scanner, found on the terraces themselves: from differences of pixels a few apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tvtasks.operators import Array
from tvtasks.solvers.kernels import summed
from tvtasks.solvers.offsets import spread

NEAR, FAR, LONG = (1, 2, 3), (3, 5, 8), (13, 21)
"""Lags in pixels. The bias that edges cause falls as one over the lag; a true bow is the same at all."""
SURE = 4.0
"""Times the disagreement of near and far lags that a curvature must be, to be believed (see `bow`)."""
CERTAIN = 7.0
"""Standard errors that a curvature must be: hills of the sample differ from band to band, a bow does not."""
_BANDS = 6
_MEASURED = 3  # rounds between two looks at the spread, which takes longer than a round
_AGREE = 0.3  # of the distance from the plane that tilts at near and long lags may be apart
_EVERY = np.array([True, True, True])
_ROUNDS = 10  # of each loss
_WIDTH = 2.0  # of the redescending loss, in standard deviations of the differences
_LEVEL, _NARROWER = 0.3, 0.75
"""Part of a line that counts as level, and how much narrower its values must become when a bow is taken. True
bows leave .65 of the width at most; molecules in the middle of a flat image leave .94 and more (synthetic and
real scans)."""
_PIXELS = 60_000  # that are looked at; more do not help

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bow:
    """A surface of tilt and bow.

    Attributes
    ----------
    shape
        (M, N) of the image.
    coefficients
        Of x, x² and xy, where x and y go from −1 to 1 across the image; 0 for what is not believed.
    found
        The same before belief.
    doubt
        What near and far lags disagree by, for each of the three.
    scatter
        Standard error of each, from bands of lines.
    """

    shape: tuple[int, int]
    coefficients: Vector
    found: Vector
    doubt: Vector
    scatter: Vector

    @property
    def surface(self) -> Array:
        """Shape (M, N), in the image's unit; its mean is 0. Made anew each time."""
        return _surface(self.coefficients, self.shape)

    @property
    def bent(self) -> bool:
        """Whether a curvature was believed."""
        return bool(self.coefficients[1:].any())


def bow(image: Array) -> Bow:
    """Find tilt along x, bow along x and twist of an image, whatever the offsets of its lines.

    Horizontal differences do not see offsets of lines. They are fitted with the differences of x, x² and xy,
    first by least absolute values, then with the loss of Geman & McClure (as `line_offsets`), so that steps
    and particles have no say, and terraces come out flat. A curvature stays only where it is three times
    what lags of 1 to 3 and of 3 to 8 pixels disagree by: on scans without any fault this kept terraces at 45
    dB instead of 33 (synthetic STM terraces). It must also make the most level part of the lines narrower;
    else it bends the flat ground beside molecules.

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
    if unit == 0.0 or columns < 4 * max(FAR):
        zero = np.zeros(3)
        return Bow((rows, columns), zero, zero, zero, zero)
    step = max(1, f.size // _PIXELS)
    v = np.ascontiguousarray(f[::step] / unit, np.float64)
    far, scatter = _fitted(v, FAR, _EVERY)
    near, _ = _fitted(v, NEAR, _EVERY, far)
    doubt = np.abs(near - far)
    kept = (np.abs(far) >= SURE * doubt) & (np.abs(far) >= CERTAIN * scatter)
    kept[0] = True
    c = far if kept.all() else _fitted(v, FAR, kept)[0]
    if kept[1:].any():
        slope = _fitted(v, FAR, np.array([True, False, False]))[0]
        if _width(v - _surface(c, v.shape)) > _NARROWER * _width(v - _surface(slope, v.shape)):
            c = slope
    c = unit * c
    return Bow((rows, columns), c, unit * far, unit * doubt, unit * scatter)


def _surface(coefficients: Vector, shape: tuple[int, ...]) -> Array:
    y, x = (np.linspace(-1, 1, size) for size in shape)
    slope, bend, twist = coefficients
    return np.asarray((slope * x + bend * (x**2 - np.mean(x**2))) + twist * np.outer(y, x))


def _width(v: Array) -> float:
    """Return the range of the most level part of a line, the median over the lines."""
    ordered = np.sort(v, axis=1)
    number = max(int(_LEVEL * v.shape[1]), 2)
    return float(np.median((ordered[:, number:] - ordered[:, :-number]).min(axis=1)))


def _fitted(
    v: Array, lags: tuple[int, ...], kept: NDArray[np.bool_], start: Vector | None = None
) -> tuple[Vector, Vector]:
    """Coefficients of what is kept, and their standard errors."""
    c = np.zeros(3) if start is None else start.copy()
    bands = min(_BANDS, len(v))
    spreads: dict[int, float] = {}
    for turn in range(0 if start is None else _ROUNDS, 2 * _ROUNDS):
        redescending = turn >= _ROUNDS
        normal, right = np.zeros((bands, 3, 3)), np.zeros((bands, 3))
        least = np.inf
        if turn % _MEASURED == 0 or not spreads:
            spreads = {k: _spread_at(v, c, k) for k in lags}
        for k in lags:
            s = spreads[k]
            least = min(least, s)
            a, b = _sums(v, c, k, bands, _WIDTH * s if redescending else 1e-3 * s, redescending)
            share = (1.0 if redescending else s) / k
            normal += share * a
            right += share * b
        move = _solved(normal.sum(axis=0), right.sum(axis=0), kept)
        c = c + move
        if redescending and float(np.abs(move).max()) < 1e-3 * least:
            break
    if bands < 2:
        return c, np.zeros(3)
    # The jackknife: how far the coefficients would move without each of the bands.
    whole, both = normal.sum(axis=0), right.sum(axis=0)
    without = np.array([_solved(whole - a, both - b, kept) for a, b in zip(normal, right, strict=True)])
    squares = np.sum((without - without.mean(axis=0)) ** 2, axis=0)
    return c, np.sqrt((bands - 1) / bands * squares)


def _solved(normal: Vector, right: Vector, kept: NDArray[np.bool_]) -> Vector:
    out = np.zeros(3)
    part = normal[np.ix_(kept, kept)]
    out[kept] = np.linalg.solve(part + 1e-6 * np.trace(part) * np.eye(len(part)), right[kept])
    return out


def _spread_at(v: Array, c: Vector, k: int) -> float:
    rows, columns = v.shape
    y, x = np.linspace(-1, 1, rows), np.linspace(-1, 1, columns)
    across = max(1, v.size // 8009)
    dx, dxx = (x[k:] - x[:-k])[::across], (x[k:] ** 2 - x[:-k] ** 2)[::across]
    r = v[:, k::across] - v[:, :-k:across] - c[0] * dx - c[1] * dxx - c[2] * np.outer(y, dx)
    return max(spread(r), 1e-12)


@summed
def _sums(v: Array, c: Array, k: int, bands: int, width: float, redescending: bool) -> tuple[Array, Array]:
    """Weighted normal equations of one lag, for each band of lines.

    The differences of x, x² and xy are d, d·t and d·y, with t = x₀ + x₁: five sums over a line are enough.
    """
    rows, columns = v.shape
    a, b = np.zeros((bands, 3, 3)), np.zeros((bands, 3))
    d = 2 * k / (columns - 1)
    for i in range(rows):
        y = 2 * i / max(rows - 1, 1) - 1
        s0, s1, s2, r0, r1 = 0.0, 0.0, 0.0, 0.0, 0.0
        level, slope = d * (c[0] + c[2] * y), d * c[1]
        for j in range(columns - k):
            t = (4 * j + 2 * k) / (columns - 1) - 2
            r = v[i, j + k] - v[i, j] - level - slope * t
            if redescending:
                q = r / width
                w = 1 / ((1 + q * q) * (1 + q * q))
            else:
                w = 1 / max(abs(r), width)
            s0 += w
            s1 += w * t
            s2 += w * t * t
            r0 += w * r
            r1 += w * r * t
        m = i * bands // rows
        a[m, 0, 0] += d * d * s0
        a[m, 0, 1] += d * d * s1
        a[m, 1, 1] += d * d * s2
        a[m, 0, 2] += d * d * y * s0
        a[m, 1, 2] += d * d * y * s1
        a[m, 2, 2] += d * d * y * y * s0
        b[m, 0] += d * r0
        b[m, 1] += d * r1
        b[m, 2] += d * y * r0
    for m in range(bands):
        a[m, 1, 0], a[m, 2, 0], a[m, 2, 1] = a[m, 0, 1], a[m, 0, 2], a[m, 1, 2]
    return a, b


def level(image: Array) -> tuple[float, float]:
    """Return the tilt of an image: coefficients of y and x, which go from −1 to 1 across it.

    On terraces most pixels agree on the tilt, and robust differences find it exactly, at lags of 3 to 8
    pixels as at 13 and 21; a least-squares plane would tilt them. Where the sample rolls or repeats, near and
    long lags find different tilts, none is the right one, and the plane that fits best is taken.
    """
    f = np.asarray(image, np.float64)
    tilts = []
    for a in (f.T, f):
        x = np.linspace(-1, 1, a.shape[1])
        plane = float(x @ (a.mean(axis=0) - a.mean()) / (x @ x))
        unit = max((spread(a[:, k:] - a[:, :-k]) for k in FAR if k < a.shape[1]), default=0.0)
        if unit == 0.0 or a.shape[1] < 4 * max(LONG):
            tilts.append(plane)
            continue
        v = np.ascontiguousarray(a[:: max(1, a.size // _PIXELS)] / unit, np.float64)
        alone = np.array([True, False, False])
        near = unit * float(_fitted(v, FAR, alone)[0][0])
        far = unit * float(_fitted(v, LONG, alone)[0][0])
        tilts.append(near if abs(far - near) < _AGREE * abs(plane - near) else plane)
    return tilts[0], tilts[1]
