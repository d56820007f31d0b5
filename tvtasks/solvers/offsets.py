"""Offsets of scan lines: what a whole line is too high or too low, from differences of lines a few apart.

Neighbouring lines of a scan show nearly the same sample, so most pixels of f[y + k] − f[y] agree on the
difference of the two offsets; those on an edge do not. Two stages follow each other: a convex one, which has
one minimum and a certificate, and a redescending one, which begins there and lets pixels on edges, scars and
particles have no say at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from tvtasks.operators import Array
from tvtasks.solvers.certificates import relative_gap
from tvtasks.solvers.compiling import kept
from tvtasks.solvers.kernels import compiled, median_of, summed

LAGS = (1, 2, 3, 5, 8)
"""Distances of the lines that are compared: lag 1 alone lets errors add up along y, lags to 64 see the sample
change (tuned on the terraces, islands and particles of tests/benchmarks)."""
_WIDTH = 2.0  # of the redescending loss, in standard deviations of the differences of a lag
_NEED = 0.25  # of the pixels of a pair of lines: when fewer agree, the pair is held where it is
_LEAST_BINS, _MOST_AVERAGED = 64, 4
_SAMPLE = 8009  # differences whose median is taken for the spread
_SWEEPS = 3
_NARROWER = (1.0, 0.5, 0.25)  # the widths in turn, of what they are; never below that of noise
_STEPS = 8
_TO_SIGMA = 1.4826
_SMALL = 1e-3  # of the spread: what counts as no difference between two iterates

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Offsets:
    """Offsets of the lines of an image, and how sure they are.

    Attributes
    ----------
    values
        One for each line, in the image's unit; their median is 0.
    start
        The minimiser of the convex stage.
    energy, gap
        Of the convex stage: the sum of absolute differences at `start`, which is at most a factor 1 + gap
        above the minimum. Proven.
    agreeing
        For each line but the first: the part of the pixels that agree with its difference from the line
        before, by the two lags that say most. Near 1 for a fault, less where the sample has an edge.
    iterations
        Of the redescending stage.
    """

    values: Vector
    start: Vector
    energy: float
    gap: float
    agreeing: Vector
    iterations: int


def line_offsets(image: Array, *, lags: tuple[int, ...] = LAGS, certify: bool = True) -> Offsets:
    r"""Find the offsets of the lines (rows) of an image.

    The convex stage minimises

    .. math:: E(o) = \sum_k \sum_{y,x} | f_{y+k,x} - f_{y,x} - (o_{y+k} - o_y) |

    over the offsets o of the lines: M unknowns, a banded problem. It is iterated by reweighted least squares
    (Holland & Welsch 1977) and by exact moves of all lines below one line together, which take a jump at
    once that reweighting would only creep to. Its dual has one flow for each pair of lines, at most as
    large as a line has pixels, with no divergence at any line; any such flow proves a lower bound.

    The second stage replaces the absolute value by the loss of Geman & McClure (1985), r²/(c² + r²), with c
    twice the spread of the differences of a lag. A step of it is a convex weighted least squares problem.
    It is not convex, so its result is a good stationary point and not a proven minimum.

    Parameters
    ----------
    image
        Shape (M, N), real and finite. Tilt along x and what repeats (a lattice) should be taken away first.
    lags
        Distances of the lines that are compared, in lines.
    certify
        Whether to prove how near the convex stage is to its minimum; else `gap` is infinite.

    Returns
    -------
    Offsets

    References
    ----------
    P. W. Holland and R. E. Welsch, "Robust regression using iteratively reweighted least-squares",
    Communications in Statistics: Theory and Methods 6 (1977) 813-827, doi:10.1080/03610927708827533.

    S. Geman and D. E. McClure, "Bayesian image analysis: an application to single photon emission
    tomography", Proceedings of the American Statistical Association, Statistical Computing Section (1985)
    12-18.
    """
    f = binned(np.asarray(image, np.float64))
    rows = f.shape[0]
    lags = tuple(k for k in lags if k < max(rows // 2, 2) and k < rows)
    if rows < 2 or not lags:
        zero = np.zeros(rows)
        return Offsets(zero, zero, 0.0, 0.0, np.ones(rows), 0)
    unit = max((spread(f[k:] - f[:-k]) for k in lags), default=0.0)
    if unit == 0.0:
        unit = float(np.ptp(f)) or 1.0
    v = (f / unit).astype(np.float32)
    o = np.concatenate([[0.0], np.cumsum(np.median(np.diff(v, axis=0), axis=1))])
    o = _convex(v, o, lags)
    start = o - np.median(o)
    energy = gap = np.inf
    if certify:
        energy, gap = certificate(v, start, lags)
        energy *= unit
    o, iterations = _redescended(v, o, lags)
    return Offsets(unit * (o - np.median(o)), unit * start, energy, gap, _agreement(v, o, lags), iterations)


def binned(f: Array) -> Array:
    """Average up to four neighbours along the lines: less noise, so that slopes of the sample show.

    Offsets came out as right or better on terraces, islands and molecules, and four times as fast.
    """
    width = min(max(f.shape[1] // _LEAST_BINS, 1), _MOST_AVERAGED)
    if width == 1:
        return np.ascontiguousarray(f)
    whole = f.shape[1] // width * width
    return np.ascontiguousarray(f[:, :whole].reshape(len(f), -1, width).mean(axis=2))


def spread(a: Array) -> float:
    """Return the standard deviation by the median of the absolute values, of at most 20,000 of them."""
    flat = np.asarray(a).reshape(-1)
    if flat.size == 0:
        return 0.0
    sizes = np.abs(flat[:: max(1, flat.size // 20011)])
    return _TO_SIGMA * median_of(sizes, np.empty(sizes.size + 1, sizes.dtype))


def roughness(offsets: Vector) -> float:
    """Typical change of slope from line to line, as a standard deviation."""
    bends = np.abs(np.diff(offsets, 2))
    return _TO_SIGMA * float(np.median(bends)) if bends.size else 0.0


def certificate(image: Array, offsets: Vector, lags: tuple[int, ...] = LAGS) -> tuple[float, float]:
    """Return the convex energy of some offsets, and a proven bound on its relative distance to the minimum.

    The flows that belong to the offsets (how many pixels of a pair lie above, less those below) are brought
    to no divergence by the nearest least-squares correction, and back within their bounds by shrinking.
    The conjugate of a sum of absolute values at a flow is read from the order statistics of the pair.
    """
    v = np.asarray(image, np.float64)
    rows, columns = v.shape
    slack = _SMALL * max(spread(np.diff(v, axis=0)), 1e-30)
    energy = 0.0
    flows, residuals = [], []
    divergence = np.zeros(rows)
    for k in lags:
        r = v[k:] - v[:-k] - (offsets[k:] - offsets[:-k])[:, np.newaxis]
        energy += float(np.abs(r).sum())
        flow = np.clip(r / slack, -1, 1).sum(axis=1)
        divergence[k:] += flow
        divergence[:-k] -= flow
        flows.append(flow)
        residuals.append(r)
    band = np.zeros((max(lags) + 1, rows))
    for k in lags:
        _couple(band, np.ones(rows - k), k)
    band[0] += 1e-12
    potential = solveh_banded(band, divergence, lower=True)
    corrected = [flow - (potential[k:] - potential[:-k]) for k, flow in zip(lags, flows, strict=True)]
    shrink = min(1.0, columns / (max(float(np.abs(flow).max()) for flow in corrected) + 1e-30))
    # min_o E = min over o of the sup over flows; a flow without divergence makes the offsets drop out.
    lower = sum(
        _conjugate(np.sort(r, axis=1), shrink * flow) for r, flow in zip(residuals, corrected, strict=True)
    )
    return energy, relative_gap(energy, energy - lower)


def _conjugate(r: Array, flow: Vector) -> float:
    """Least value of Σ|r − t| + flow·t over t, summed over pairs: −φ*(−flow); r sorted along its rows."""
    columns = r.shape[1]
    # The slope of Σ|r − t| in t is 2·(number below t) − N; the minimum is where it passes −flow.
    place = np.clip(np.ceil((columns - flow) / 2).astype(np.intp) - 1, 0, columns - 1)
    t = np.take_along_axis(r, place[:, np.newaxis], axis=1)
    return float(np.abs(r - t).sum() + flow @ t[:, 0])


def _convex(v: Array, o: Vector, lags: tuple[int, ...]) -> Vector:
    for _ in range(_SWEEPS):
        o = _jumps_by_median(v, o, np.asarray(lags))
        spreads = _spreads(v, o, lags)
        o, _ = _reweighted(v, o, lags, spreads, _SMALL * spreads, redescending=False)
    return o


def _redescended(v: Array, o: Vector, lags: tuple[int, ...]) -> tuple[Vector, int]:
    taken = 0
    noise = _noise(v)
    for narrow in _NARROWER:
        spreads = _spreads(v, o, lags)
        widths = _widths(spreads, narrow, noise).astype(np.float32)
        jumps = _jumps_by_mode(v, o, np.asarray(lags), widths)
        if jumps.any():
            o = o + np.cumsum(jumps)
            spreads = _spreads(v, o, lags)
        o, steps = _reweighted(v, o, lags, spreads, _widths(spreads, narrow, noise), redescending=True)
        taken += steps
    return o, taken


def _noise(v: Array) -> float:
    """Return the spread of differences of lines by noise alone, which planes and stripes do not have."""
    down = np.diff(v[:: max(1, len(v) // 256)], 2, axis=1) if len(v) > 3 else v
    cross = down[1:] - down[:-1] if len(down) > 1 else down
    return spread(cross) / float(np.sqrt(6))


def _widths(spreads: Vector, narrow: float, noise: float) -> Vector:
    return np.asarray(_WIDTH * np.maximum(narrow * spreads, noise))


def _reweighted(
    v: Array, o: Vector, lags: tuple[int, ...], spreads: Vector, widths: Vector, *, redescending: bool
) -> tuple[Vector, int]:
    """Return better offsets, and the steps made; `widths` are those of the loss at each lag."""
    o = o.copy()
    enough = _SMALL * float(spreads[-1])
    return o, int(_steps(v, o, np.asarray(lags), widths, redescending, enough))


def _couple(band: Vector, weight: Vector, k: int) -> None:
    """Add Σ weight·(o[y + k] − o[y])² to a banded matrix, lower form."""
    rows = band.shape[1]
    band[0, : rows - k] += weight
    band[0, k:] += weight
    band[k, : rows - k] -= weight


def _spreads(v: Array, o: Vector, lags: tuple[int, ...]) -> Vector:
    return np.array([max(_spread_at(v, o, k), 1e-12) for k in lags])


def _spread_at(v: Array, o: Vector, k: int) -> float:
    """Spread of the differences at lag k, of one row in a few."""
    rows, columns = v.shape
    step = max(1, (rows - k) * columns // _SAMPLE)
    across = min(step, max(columns // 64, 1))
    down = max(1, step // across)
    rows_at = np.arange(0, rows - k, down)
    change = (o[rows_at + k] - o[rows_at])[:, np.newaxis]
    return spread(v[rows_at + k, ::across] - v[rows_at, ::across] - change)


@summed
def _weights(v: Array, change: Array, k: int, width: float, redescending: bool) -> tuple[Array, Array, Array]:
    """Weights of the pairs of lines at lag k, weighted sums of their residuals, and how many are inside."""
    rows, columns = v.shape
    weight = np.zeros(rows - k, np.float32)
    pull = np.zeros(rows - k, np.float32)
    inside = np.zeros(rows - k, np.float32)
    one = np.float32(1)
    c = np.float32(width)
    for y in range(rows - k):
        w_sum = np.float32(0)
        g_sum = np.float32(0)
        count = np.float32(0)
        shift = change[y]
        if redescending:
            for x in range(columns):
                r = v[y + k, x] - v[y, x] - shift
                q = r / c
                q = q * q
                w = one / ((one + q) * (one + q))
                w_sum += w
                g_sum += w * r
                count += one if q < one else np.float32(0)
        else:
            for x in range(columns):
                r = v[y + k, x] - v[y, x] - shift
                w = one / max(abs(r), c)
                w_sum += w
                g_sum += w * r
        weight[y] = w_sum
        pull[y] = g_sum
        inside[y] = count
    return weight, pull, inside


@kept(nogil=True, error_model="numpy")
def _steps(v: Array, o: Vector, lags: Array, widths: Vector, redescending: bool, enough: float) -> int:
    """Make steps of reweighted least squares in place, until none moves an offset by more than `enough`."""
    rows, columns = v.shape
    reach = lags.max()
    steps = 0
    for _ in range(_STEPS):
        steps += 1
        band = np.zeros((rows, reach + 1))  # the matrix: element (y + k, y) is at [y, k]
        move = np.zeros(rows)  # the right side, then the solution
        for i in range(len(lags)):
            k = lags[i]
            change = (o[k:] - o[:-k]).astype(np.float32)
            weight, pull, inside = _weights(v, change, k, widths[i], redescending)
            for y in range(rows - k):
                w = np.float64(weight[y])
                if redescending:
                    w += columns * max(0.0, _NEED - inside[y] / columns) / _NEED
                band[y, 0] += w
                band[y + k, 0] += w
                band[y, k] -= w
                move[y + k] += pull[y]
                move[y] -= pull[y]
        band[:, 0] += 1e-6 * band[:, 0].mean()
        _solve(band, move)
        largest = 0.0
        for y in range(rows):
            o[y] += move[y]
            largest = max(largest, abs(move[y]))
        if largest < enough:
            break
    return steps


@kept(nogil=True, error_model="numpy")
def _solve(band: Array, x: Vector) -> None:
    """Solve a positive definite banded system in place, by Cholesky's method; `band` as in `_steps`."""
    rows, width = band.shape
    for y in range(rows):
        first = max(0, y - width + 1)
        for z in range(first, y):
            total = band[z, y - z]
            for w in range(first, z):
                total -= band[w, y - w] * band[w, z - w]
            total /= band[z, 0]
            band[z, y - z] = total
            x[y] -= total * x[z]
            band[y, 0] -= total * total
        band[y, 0] = np.sqrt(band[y, 0])
        x[y] /= band[y, 0]
    for y in range(rows - 1, -1, -1):
        for k in range(1, min(width, rows - y)):
            x[y] -= band[y, k] * x[y + k]
        x[y] /= band[y, 0]


@kept(nogil=True, error_model="numpy")
def _jumps_by_median(v: Array, o: Array, lags: Array) -> Array:
    """Move all lines from y on together, to where E is least by some of the pixels; for every y in turn."""
    rows, columns = v.shape
    o = o.copy()
    every = max(1, columns // 48)
    room = np.empty(lags.sum() * (columns // every + 1), np.float32)
    more = np.empty(len(room) + 1, np.float32)
    total = 0.0
    for y in range(1, rows):
        # o[y:] has been moved by `total` so far; lines before y are as they are now.
        o[y] += total
        number = 0
        for k in lags:
            for top in range(max(y - k, 0), min(y, rows - k)):
                low = top + k
                moved = o[low] if low == y else o[low] + total
                shift = np.float32(moved - o[top])
                for x in range(top % every, columns, every):
                    room[number] = v[low, x] - v[top, x] - shift
                    number += 1
        if number:
            move = median_of(room[:number], more)
            o[y] += move
            total += move
    return o


@kept(nogil=True, error_model="numpy")
def _jumps_by_mode(v: Array, o: Array, lags: Array, widths: Array) -> Array:
    """Jumps between lines y − 1 and y that make more pixels agree; 0 where the present one is as good.

    The differences of all pairs across y are counted in bins half a width wide; the jump with the most
    agreement within two widths is taken when it has a quarter more than the present one. Where four of nine
    pixels agree already no jump can have that, and no bin is counted.
    """
    rows, columns = v.shape
    jumps = np.zeros(rows)
    bins = 2001
    half = bins // 2
    counts = np.zeros(bins, np.float32)
    for y in range(1, rows):
        seen = 0
        agree = 0
        for i in range(len(lags)):
            k = lags[i]
            for top in range(max(y - k, 0), min(y, rows - k)):
                agree += _within(v, top, k, _shift(o, jumps, top, k, y), np.float32(0.7) * widths[0])
                seen += columns
        if 2.25 * agree > seen:
            continue
        counts[:] = 0
        for i in range(len(lags)):
            k = lags[i]
            for top in range(max(y - k, 0), min(y, rows - k)):
                shift = _shift(o, jumps, top, k, y)
                for x in range(columns):
                    place = int(np.rint((v[top + k, x] - v[top, x] - shift) / widths[0] * 2)) + half
                    if 0 <= place < bins:
                        counts[place] += 1
        best = half
        most = np.float32(0)
        here = np.float32(0)
        for b in range(2, bins - 2):
            near = counts[b] + counts[b - 1] + counts[b + 1] + (counts[b - 2] + counts[b + 2]) / 2
            if b == half:
                here = near
            if near > most:
                most = near
                best = b
        if abs(best - half) > 4 and most > 1.25 * here and most > 0.25 * seen:
            jumps[y] = (best - half) * widths[0] / 2
    return jumps


@compiled
def _shift(o: Array, jumps: Array, top: int, k: int, y: int) -> np.float32:
    """Difference of the offsets of two lines, with the jumps found between the upper one and line y."""
    shift = np.float32(o[top + k] - o[top])
    for j in range(top + 1, y):
        shift += np.float32(jumps[j])
    return shift


@compiled
def _within(v: Array, top: int, k: int, shift: np.float32, width: np.float32) -> int:
    """How many pixels of a pair of lines agree with a shift to a width."""
    number = 0
    for x in range(v.shape[1]):
        number += abs(v[top + k, x] - v[top, x] - shift) <= width
    return number


def _agreement(v: Array, o: Vector, lags: tuple[int, ...]) -> Vector:
    """For each line the part of its pixels that agree with the offsets, by the best of the shortest lags."""
    rows, columns = v.shape
    best = np.zeros(rows)
    for k in lags[:2]:
        width = _WIDTH * max(_spread_at(v, o, k), 1e-12)
        _, _, inside = _weights(v, (o[k:] - o[:-k]).astype(np.float32), k, width, True)
        part = inside.astype(np.float64) / columns
        for j in range(k):  # the pair (y, y + k) crosses the jumps before lines y + 1 … y + k
            best[j + 1 : j + 1 + len(part)] = np.maximum(best[j + 1 : j + 1 + len(part)], part)
    best[0] = 1.0
    return best
