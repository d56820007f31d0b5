"""Wiener's filter in groups of similar blocks: the second half of BM3D, from any first estimate of the image.

Blocks that look alike in the first estimate are stacked, and the stack is transformed along all three axes
(cosine, cosine, Haar). A coefficient whose power in the first estimate is P keeps P / (P + noise). Counts are
filtered as they are, each group with the variance of its own noise.

K. Dabov, A. Foi, V. Katkovnik and K. Egiazarian, "Image denoising by sparse 3-D transform-domain
collaborative filtering", IEEE Transactions on Image Processing 16 (2007) 2080-2095,
doi:10.1109/TIP.2007.901238.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.fft import dct
from scipy.ndimage import uniform_filter

from tvtasks.operators import Array
from tvtasks.solvers.cosine_wiener import strip_of
from tvtasks.solvers.kernels import compiled, summed
from tvtasks.solvers.lattice_mean import Mean
from tvtasks.solvers.wavefront import mapping

_SIDE, _STEP = 8, 6  # px, of a block and from one to the next
_REACH = 16  # px in which alike blocks are looked for
_MOST = 64  # blocks of a group, a power of two
_ALIKE = 5.0  # of the noise's variance: mean squared difference of blocks of a group in the first estimate
_WINDOW = 2.0  # β of the Kaiser window by which a block counts
_LINES = 60  # px, of blocks that are worked on at a time
_ROOT = np.float32(math.sqrt(0.5))

TRANSFORM = dct(np.eye(_SIDE), axis=0, norm="ortho").astype(np.float32)
"""Cosine transform of the side of a block."""


def group_wiener(
    image: Array, first: Array, variance: Array, coloured: Array | None = None, *, threads: int = 1
) -> Mean:
    """Filter groups of similar blocks of an image by what a first estimate shows of them.

    Parameters
    ----------
    image
        Shape (M, N).
    first
        The first estimate.
    variance
        Of the noise of each pixel of the image.
    coloured
        Of each coefficient of `TRANSFORM` of blocks of noise, its variance over that of a pixel; 1 for noise
        that neighbours do not share.
    threads
        Cores to use; the result is the same bit for bit.
    """
    rows, columns = image.shape
    colours = np.ones((_SIDE, _SIDE), np.float32) if coloured is None else coloured
    after = [-size % _STEP for size in (rows, columns)]
    pad = [(_SIDE, _SIDE + more) for more in after]
    window = np.kaiser(_SIDE, _WINDOW).astype(np.float32)
    window = window[:, np.newaxis] * window
    height = rows + sum(pad[0])

    def some(top: int) -> tuple[int, Array]:
        """Filter the groups of the blocks that begin in rows [top, top + _LINES)."""
        first_row, last_row = max(top - _REACH, 0), min(top + _LINES + _REACH + _SIDE, height)
        f, u, levels = (strip_of(np.asarray(a), first_row, last_row, pad) for a in (image, first, variance))
        levels = uniform_filter(levels, _SIDE, mode="nearest")
        levels = np.ascontiguousarray(np.roll(levels, (-_SIDE // 2, -_SIDE // 2), (0, 1)))
        totals = np.zeros((4, *f.shape), np.float32)
        begin, end = top - first_row, min(top + _LINES, height) - first_row
        _filter_groups(f, u, levels, colours, TRANSFORM, window, begin, end, 0, totals)
        return first_row, totals

    sums = [np.zeros((rows, columns), np.float32) for _ in range(4)]
    with mapping(threads) as run:
        for first_row, totals in run(some, range(0, height - _SIDE + 1, _LINES)):
            top = max(first_row - _SIDE, 0)
            inner = totals[:, top + _SIDE - first_row : rows + _SIDE - first_row, _SIDE : _SIDE + columns]
            for total, more in zip(sums, inner, strict=True):
                total[top : top + len(more)] += more
    value, weight, own, squares = sums
    np.maximum(squares, 1e-12 * weight, out=squares)
    np.divide(value, weight, out=value)
    np.divide(own, weight, out=own)
    np.divide(weight, squares, out=squares)
    return Mean(value, squares, own)


@compiled
def _filter_groups(
    f: Array, u: Array, levels: Array, colours: Array, transform: Array, window: Array, top: int, bottom: int,
    first_row: int, totals: Array,
) -> None:  # fmt: skip
    """Add what the groups of the blocks that begin in rows [top, bottom) give; totals begin at `first_row`.

    Blocks of a group lie side by side, [row, column, block], so that every loop runs along the group.
    """
    height, width = f.shape
    places = np.zeros((_MOST, 2), np.intp)
    differences = np.zeros(_MOST, np.float32)
    line = np.zeros(2 * _REACH + 1, np.float32)
    kept, seen = np.zeros(_SIDE * _SIDE * _MOST, np.float32), np.zeros(_SIDE * _SIDE * _MOST, np.float32)
    room = np.zeros(_SIDE * _SIDE * _MOST, np.float32)
    turned = np.ascontiguousarray(transform.T)
    one = np.float32(1)
    for y in range(top, min(bottom, height - _SIDE + 1), _STEP):
        for x in range(0, width - _SIDE + 1, _STEP):
            limit = np.float32(_ALIKE * _SIDE * _SIDE / 2) * levels[y, x]
            found = _alike(u, y, x, limit, line, places, differences)
            n = 1
            while 2 * n <= found:
                n *= 2
            level = np.float32(0)
            for k in range(n):
                level += levels[places[k, 0], places[k, 1]]
            level /= np.float32(n)
            _gather(f, places, n, kept)
            _gather(u, places, n, seen)
            _turn(kept, transform, n, room)
            _turn(seen, transform, n, room)
            _haar(kept, n)
            _haar(seen, n)
            seen[0] = np.float32(1e18)  # the mean of a group stays
            own, squares = _shrink(kept, seen, level, colours, n)
            _haar_back(kept, n)
            _turn(kept, turned, n, room)
            weight = one / squares
            over = weight / np.float32(n * _SIDE * _SIDE)
            _scatter(kept, places, n, first_row, window, weight, over * own, over * squares, totals)


@compiled
def _alike(u: Array, y: int, x: int, limit: Any, line: Array, places: Array, differences: Array) -> int:
    """Find the blocks that are most like the one at (y, x), itself first; return their number."""
    height, width = u.shape
    left, right = max(x - _REACH, 0), min(x + _REACH, width - _SIDE) + 1
    places[0, 0], places[0, 1], differences[0] = y, x, np.float32(-1)
    found = 1
    n = np.uintp(right - left)
    for b in range(max(y - _REACH, 0), min(y + _REACH, height - _SIDE) + 1):
        for c in range(n):
            line[c] = np.float32(0)
        for i in range(0, _SIDE, 2):  # the estimate is smooth: every other row tells as much
            row = np.uintp(b + i)
            for j in range(_SIDE):
                here = u[y + i, x + j]
                start = np.uintp(left + j)
                for c in range(n):
                    d = u[row, start + c] - here
                    line[c] += d * d
        for c in range(n):
            d = line[c]
            if d > limit or (found == _MOST and d >= differences[_MOST - 1]):
                continue
            a = left + np.intp(c)
            if b == y and a == x:
                continue
            k = min(found, _MOST - 1)
            while k > 1 and differences[k - 1] > d:
                differences[k] = differences[k - 1]
                places[k, 0], places[k, 1] = places[k - 1, 0], places[k - 1, 1]
                k -= 1
            differences[k] = d
            places[k, 0], places[k, 1] = b, a
            found = min(found + 1, _MOST)
    return found


@compiled
def _gather(image: Array, places: Array, n: int, out: Array) -> None:
    for i in range(_SIDE):
        for j in range(_SIDE):
            start = np.uintp((i * _SIDE + j) * n)
            for k in range(n):
                out[start + np.uintp(k)] = image[np.uintp(places[k, 0] + i), np.uintp(places[k, 1] + j)]


@compiled
def _scatter(
    group: Array, places: Array, n: int, first_row: int, window: Array, weight: Any, own: Any, squares: Any,
    totals: Array,
) -> None:  # fmt: skip
    for k in range(n):
        for i in range(_SIDE):
            y, x = np.uintp(places[k, 0] - first_row + i), np.uintp(places[k, 1])
            start = np.uintp(i * _SIDE * n + k)
            for j in range(np.uintp(_SIDE)):
                totals[0, y, x + j] += weight * window[i, j] * group[start + j * np.uintp(n)]
            for j in range(np.uintp(_SIDE)):
                totals[1, y, x + j] += weight * window[i, j]
            for j in range(np.uintp(_SIDE)):
                totals[2, y, x + j] += own * window[i, j]
            for j in range(np.uintp(_SIDE)):
                totals[3, y, x + j] += squares * window[i, j]


@compiled
def _combine(a: Array, start: int, apart: int, factors: Array, row: int, out: Array, to: int, n: int) -> None:
    """Combine eight runs of n values, which lie `apart`, with a row of factors."""
    zero, d = np.uintp(start), np.uintp(apart)
    one, two, three, four = zero + d, zero + np.uintp(2) * d, zero + np.uintp(3) * d, zero + np.uintp(4) * d
    five, six, seven = zero + np.uintp(5) * d, zero + np.uintp(6) * d, zero + np.uintp(7) * d
    t0, t1, t2, t3 = factors[row, 0], factors[row, 1], factors[row, 2], factors[row, 3]
    t4, t5, t6, t7 = factors[row, 4], factors[row, 5], factors[row, 6], factors[row, 7]
    t = np.uintp(to)
    for k in range(np.uintp(n)):
        first = t0 * a[zero + k] + t1 * a[one + k] + t2 * a[two + k] + t3 * a[three + k]
        out[t + k] = first + (t4 * a[four + k] + t5 * a[five + k] + t6 * a[six + k] + t7 * a[seven + k])


@compiled
def _turn(group: Array, transform: Array, n: int, room: Array) -> None:
    """Transform the blocks of a group in place: T B Tᵀ; with the transposed T this is undone."""
    for a in range(_SIDE):
        _combine(group, 0, _SIDE * n, transform, a, room, a * _SIDE * n, _SIDE * n)
    for i in range(_SIDE):
        for a in range(_SIDE):
            _combine(room, i * _SIDE * n, n, transform, a, group, (i * _SIDE + a) * n, n)


@compiled
def _shrink(kept: Array, seen: Array, level: Any, colours: Array, n: int) -> tuple[Any, Any]:
    """Keep P / (P + noise) of each coefficient; return the sums of the shares and of their squares."""
    own, squares = np.float32(0), np.float32(0)
    for i in range(_SIDE):
        for j in range(_SIDE):
            colour = colours[i, j]
            noise = level * colour
            start = np.uintp((i * _SIDE + j) * n)
            for k in range(np.uintp(n)):
                power = seen[start + k] * seen[start + k]
                share = power / (power + noise)
                kept[start + k] *= share
                seen[start + k] = share
            one, two = _sums(seen, start, n)
            own += one * colour
            squares += two * colour
    return own, squares


@summed
def _sums(a: Array, start: Any, n: int) -> tuple[Any, Any]:
    one, two = np.float32(0), np.float32(0)
    for k in range(np.uintp(n)):
        v = a[start + k]
        one += v
        two += v * v
    return one, two


@compiled
def _haar(group: Array, n: int) -> None:
    """Haar's transform along the group in place: of two blocks the sum goes on, the difference stays."""
    half = n // 2
    while half > 0:
        h = np.uintp(half)
        for i in range(_SIDE * _SIDE):
            s = np.uintp(i * n)
            for k in range(h):
                a, b = group[s + k], group[s + h + k]
                group[s + k] = _ROOT * (a + b)
                group[s + h + k] = _ROOT * (a - b)
        half //= 2


@compiled
def _haar_back(group: Array, n: int) -> None:
    half = 1
    while half < n:
        h = np.uintp(half)
        for i in range(_SIDE * _SIDE):
            s = np.uintp(i * n)
            for k in range(h):
                a, b = group[s + k], group[s + h + k]
                group[s + k] = _ROOT * (a + b)
                group[s + h + k] = _ROOT * (a - b)
        half *= 2
