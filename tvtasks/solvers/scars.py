"""Scars, tip changes in mid-line, charging streaks: what lies along a few lines and stands out across."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tvtasks.operators import Array
from tvtasks.solvers.certificates import relative_gap
from tvtasks.solvers.kernels import compiled, summed

ITERATIONS = 300
"""The picture is final here: 41.56 dB on synthetic terraces, as after 3,000."""
_FAR = 12.0  # units: what a median of lines shows better than zero as a start
_REACH = 3  # lines on each side of that median
_BLOCK = 64  # rows that the certificate takes at a time
_STEP = 3.0  # ratio of the primal to the dual step, for differences in units of their median


@dataclass(frozen=True, eq=False)
class Scars:
    """The part of an image that lies along its lines.

    Attributes
    ----------
    values
        Shape (M, N), zero where there is no scar; in the image's unit.
    energy, gap
        Of the objective, in units of the median difference of neighbouring lines: it is at most a factor
        1 + gap above its minimum. Proven; infinite where the bound proves nothing or was not asked for.
    iterations
        Made.
    """

    values: Array
    energy: float
    gap: float
    iterations: int


def scars(
    image: Array,
    *,
    along: float = 2.0,
    size: float = 0.3,
    iterations: int = ITERATIONS,
    certify: bool = False,
) -> Scars:
    r"""Find what lies along the lines (rows) of an image and stands out from the lines above and below.

    Minimises

    .. math:: \|\partial_y (g - s)\|_1 + \mu \|\partial_x s\|_1 + \varepsilon \|s\|_1

    over s, with g the image in units of the median of \|∂y g\|: unidirectional total variation (Bouali &
    Ladjal 2011), with a price for size that keeps s zero where there is nothing. A long scar thicker than
    2/ε lines, a scar of length L thicker than 2/(ε + 2μ/L) lines, is left in the sample. The objective is
    convex; it is iterated by the primal-dual method of Chambolle & Pock (2011) in float32, and certified by
    the dual problem

    .. math::
        \max -\langle p, \partial_y g \rangle, \quad |p| \le 1,\ |q| \le \mu,\ |K^T(p, q)| \le \varepsilon

    where what Kᵀ(p, q) exceeds ε by is paid for with the range of the image, which no minimiser leaves.

    Parameters
    ----------
    image
        Shape (M, N), real and finite; tilt and offsets of lines should be taken away first.
    along, size
        μ and ε.
    iterations
        To make.
    certify
        Whether to prove how near the minimum is, in float64.

    Returns
    -------
    Scars

    References
    ----------
    M. Bouali and S. Ladjal, "Toward optimal destriping of MODIS data using a unidirectional variational
    model", IEEE Transactions on Geoscience and Remote Sensing 49 (2011) 2924-2935,
    doi:10.1109/TGRS.2011.2119399.

    A. Chambolle and T. Pock, "A first-order primal-dual algorithm for convex problems with applications to
    imaging", Journal of Mathematical Imaging and Vision 40 (2011) 120-145, doi:10.1007/s10851-010-0251-1.
    """
    f = np.asarray(image)
    rows, columns = f.shape
    unit = line_unit(f)
    if unit == 0.0 or rows < 3:
        return Scars(np.zeros(f.shape, np.float32), 0.0, 0.0, 0)
    g = np.ascontiguousarray((f - np.median(f)) / unit, np.float32)
    s = _start(g)
    ahead = s.copy()
    p = np.zeros((rows + 1, columns), np.float32)
    q = np.zeros((rows, columns + 1), np.float32)
    _iterate(g, s, ahead, p, q, along, size, _STEP, iterations)
    energy = gap = np.inf
    if certify:
        energy, gap = certificate(g, s, p, q, along, size)
    return Scars(s * np.float32(unit), energy, gap, iterations)


def line_unit(image: Array) -> float:
    """Median of the absolute differences of neighbouring lines; of all that are not 0 where half are."""
    steps = np.abs(np.diff(np.asarray(image), axis=0)).reshape(-1)
    if steps.size == 0:
        return 0.0
    middle = float(np.median(steps[:: max(1, steps.size // 100003)]))
    if middle == 0.0 and steps.any():
        middle = float(np.median(steps[steps > 0]))
    return middle


def certificate(g: Array, s: Array, p: Array, q: Array, along: float, size: float) -> tuple[float, float]:
    """Return the energy of s and a proven bound on its relative distance from the minimum.

    Parameters
    ----------
    g
        The image in its unit, shape (M, N).
    s
        A candidate.
    p, q
        Dual fields: shape (M + 1, N), zero in the first and last row, and (M, N + 1), zero in the first and
        last column. They are clipped to their bounds first.
    along, size
        μ and ε.
    """
    energy = value = over = largest = 0.0
    for top in range(0, len(g), _BLOCK):
        parts = _of_block(g, s, p, q, top, along, size)
        energy, value, over = energy + parts[0], value + parts[1], over + parts[2]
        largest = max(largest, parts[3])
    paid = value - over * float(np.ptp(g))
    scaled = value * min(1.0, size / max(largest, 1e-300))
    return energy, relative_gap(energy, energy - max(paid, scaled, 0.0))


def _of_block(
    g: Array, s: Array, p: Array, q: Array, top: int, along: float, size: float
) -> tuple[float, float, float, float]:
    """Of some rows: the energy, the dual value, the sum of what Kᵀ(p, q) exceeds ε by, and its largest."""
    end = min(top + _BLOCK, len(g))
    g, s = (np.asarray(a[max(top - 1, 0) : end], np.float64) for a in (g, s))
    p = np.clip(np.asarray(p[top : end + 1], np.float64), -1, 1)
    q = np.clip(np.asarray(q[top:end], np.float64), -along, along)
    here = s[-len(q) :]
    steps = np.diff(g, axis=0)
    back = np.abs(q[:, :-1] - q[:, 1:] + p[:-1] - p[1:])
    energy = (
        np.abs(steps - np.diff(s, axis=0)).sum()
        + along * np.abs(np.diff(here, axis=1)).sum()
        + size * np.abs(here).sum()
    )
    value = -(p[len(p) - 1 - len(steps) : -1] * steps).sum()
    return float(energy), float(value), float(np.maximum(back - size, 0).sum()), float(back.max())


def _start(g: Array) -> Array:
    """Where to begin: what stands far out of the lines around. A step of the iteration moves two units."""
    over = g - median_down(g)
    return np.where(np.abs(over) > _FAR, over, np.float32(0))


def median_down(g: Array) -> Array:
    """Median of the seven lines around, at the ends of the first or last seven."""
    rows = len(g)
    if rows < 2 * _REACH + 1:
        # Of an even number of lines the upper one of the two in the middle.
        return np.broadcast_to(np.sort(g, axis=0)[rows // 2], g.shape).copy()
    out = np.empty_like(g)
    _medians_of_seven(np.ascontiguousarray(g), out)
    out[:_REACH], out[-_REACH:] = out[_REACH], out[-_REACH - 1]
    return out


@summed
def _ordered(a: Any, b: Any) -> tuple[Any, Any]:
    return (a, b) if a < b else (b, a)


@summed
def _medians_of_seven(g: Array, out: Array) -> None:
    """Median of seven lines by a sorting network, which has no branches.

    N. Devillard, "Fast median search: an ANSI C implementation" (1998), http://ndevilla.free.fr/median.
    """
    for i in range(_REACH, len(g) - _REACH):
        for j in range(g.shape[1]):
            a, b, c, d = g[i - 3, j], g[i - 2, j], g[i - 1, j], g[i, j]
            e, f, h = g[i + 1, j], g[i + 2, j], g[i + 3, j]
            a, f = _ordered(a, f)
            a, d = _ordered(a, d)
            b, h = _ordered(b, h)
            c, e = _ordered(c, e)
            a, b = _ordered(a, b)
            d, f = _ordered(d, f)
            c, h = _ordered(c, h)
            c, d = _ordered(c, d)
            d, h = _ordered(d, h)
            e, f = _ordered(e, f)
            b, e = _ordered(b, e)
            b, d = _ordered(b, d)
            d, e = _ordered(d, e)
            out[i, j] = d


@compiled
def _across(g: Array, ahead: Array, p: Array, i: int, sigma: float) -> None:
    """Row i of p, the dual variable of ∂y(s − g): a step, bounded by 1."""
    one = p.dtype.type(1)
    step = p.dtype.type(sigma)
    for j in range(p.shape[1]):
        t = p[i, j] + step * ((ahead[i, j] - ahead[i - 1, j]) - (g[i, j] - g[i - 1, j]))
        p[i, j] = min(one, max(-one, t))


@compiled
def _along(ahead: Array, q: Array, i: int, sigma: float, bound: float) -> None:
    """Row i of q, the dual variable of ∂x s: a step, bounded by μ."""
    most = q.dtype.type(bound)
    step = q.dtype.type(sigma)
    for j in range(1, q.shape[1] - 1):
        t = q[i, j] + step * (ahead[i, j] - ahead[i, j - 1])
        q[i, j] = min(most, max(-most, t))


@compiled
def _primal(s: Array, ahead: Array, p: Array, q: Array, i: int, tau: float, shrink: float) -> None:
    """Row i of s: a step against Kᵀ(p, q), drawn towards 0; and where it is going."""
    step, least, two = s.dtype.type(tau), s.dtype.type(shrink), s.dtype.type(2)
    zero = s.dtype.type(0)
    for j in range(s.shape[1]):
        t = s[i, j] - step * (q[i, j] - q[i, j + 1] + p[i, j] - p[i + 1, j])
        new = max(zero, t - least) + min(zero, t + least)
        ahead[i, j] = two * new - s[i, j]
        s[i, j] = new


@compiled
def _iterate(
    g: Array,
    s: Array,
    ahead: Array,
    p: Array,
    q: Array,
    along: float,
    size: float,
    ratio: float,
    iterations: int,
) -> None:
    """Go through the image once an iteration; the primal step is one row behind the dual one."""
    rows = g.shape[0]
    sigma, tau = 0.5 / ratio, ratio / 4
    for _ in range(iterations):
        for i in range(rows + 1):
            if i < rows:
                if i > 0:
                    _across(g, ahead, p, i, sigma)
                _along(ahead, q, i, sigma, along)
            if i > 0:
                # Row i − 1 of `ahead` is overwritten here; p of row i has used it already.
                _primal(s, ahead, p, q, i - 1, tau, tau * size)
