"""Wiener's filter in cosine transforms of overlapping blocks, from a first estimate of the image.

What the second half of BM3D does to groups of blocks, done to single ones (Yaroslavsky 1996; Guleryuz 2007;
Dabov et al. 2007): a coefficient whose power in the first estimate is P keeps P / (P + noise).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.fft import dct
from scipy.ndimage import uniform_filter

from tvtasks.operators import Array
from tvtasks.solvers.kernels import compiled
from tvtasks.solvers.lattice_mean import Mean
from tvtasks.solvers.wavefront import mapping

_SIDE, _STEP = (
    12,
    3,
)  # px, of a block and from one to the next; side 8, step 2 gave .5 dB less (tuned SEM 0–3)
_ROWS = 96  # that are worked on at a time


TRANSFORM = dct(np.eye(_SIDE), axis=0, norm="ortho").astype(np.float32)
"""Cosine transform of the side of a block."""


def cosine_wiener(
    image: Array, first: Array, variance: Array, coloured: Array | None = None, *, threads: int = 1
) -> Mean:
    """Filter an image by what a first estimate shows of it.

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
    after = [-(size + 2 * _SIDE) % _STEP for size in (rows, columns)]
    pad = [(_SIDE, _SIDE + more) for more in after]
    levels = np.pad(np.asarray(variance, np.float32), pad, mode="symmetric")
    levels = uniform_filter(levels, _SIDE, mode="nearest")[_SIDE // 2 :: _STEP, _SIDE // 2 :: _STEP].copy()
    out = [np.empty((rows, columns), np.float32) for _ in range(3)]

    def some(top: int) -> None:
        """Filter rows [top, top + _ROWS): little more memory than the result takes."""
        bottom = min(top + _ROWS, rows)
        # Blocks begin at the same rows as if all were done at once.
        first_row, last_row = top, bottom + 2 * _SIDE
        f, u = (_phases(strip_of(np.asarray(a), first_row, last_row, pad)) for a in (image, first))
        totals = np.zeros((4, *f.shape), np.float32)
        begin, end = _SIDE, _SIDE + bottom - top
        _filter_rows(f, u, levels[first_row // _STEP :], colours, TRANSFORM, begin, end, _STEP, totals)
        value, weight, own, squares = (_whole(t[:, begin:end])[:, _SIDE : _SIDE + columns] for t in totals)
        out[0][top:bottom], out[2][top:bottom] = value / weight, own / weight
        out[1][top:bottom] = weight / np.maximum(squares, 1e-12 * weight)

    with mapping(threads) as run:
        list(run(some, range(0, rows, _ROWS)))
    return Mean(*out)


def strip_of(image: Array, top: int, bottom: int, pad: list[tuple[int, int]]) -> Array:
    """Return rows [top, bottom) of an image that is padded by its mirror image."""
    rows = np.arange(top - pad[0][0], bottom - pad[0][0]) % (2 * len(image))
    rows = np.minimum(rows, 2 * len(image) - 1 - rows)
    return np.pad(np.asarray(image[rows], np.float32), [(0, 0), pad[1]], mode="symmetric")


def _phases(image: Array) -> Array:
    """Columns k, k + step, k + 2 step … for each k, so that blocks a step apart lie side by side."""
    return np.stack([image[:, k::_STEP] for k in range(_STEP)])


def _whole(phases: Array) -> Array:
    return np.moveaxis(phases, 0, 2).reshape(phases.shape[1], -1)


@compiled
def _filter_rows(
    f: Array,
    u: Array,
    levels: Array,
    colours: Array,
    transform: Array,
    top: int,
    bottom: int,
    step: int,
    totals: Array,
) -> None:
    """Add what the blocks give to rows [top, bottom), in the order of the blocks."""
    side = transform.shape[0]
    height, width = f.shape[1], f.shape[2]
    number = width - (side - 1) // step - 1
    down_f = np.empty((step, side, width), np.float32)
    down_u = np.empty((step, side, width), np.float32)
    kept = np.empty((side, side, number), np.float32)
    part = np.empty((side, side, number), np.float32)
    weight, own, squares = (
        np.empty(number, np.float32),
        np.empty(number, np.float32),
        np.empty(number, np.float32),
    )
    seen = np.empty(number, np.float32)
    for y in range(0, height - side + 1, step):
        if y + side <= top or y >= bottom:
            continue
        _down(f, y, transform, down_f)
        _down(u, y, transform, down_u)
        own[:] = 0
        squares[:] = 0
        level = levels[y // step]
        for k in range(side):
            for m in range(side):
                _across(down_u, k, m, transform, step, seen)
                _across(down_f, k, m, transform, step, kept[k, m])
                _keep(seen, level, colours[k, m], k == 0 and m == 0, kept[k, m], own, squares)
        for b in range(number):
            weight[b] = 1 / squares[b]
            own[b] *= weight[b] / (side * side)
            squares[b] *= weight[b] / (side * side)
        _back_across(kept, transform, part)
        for i in range(max(top - y, 0), min(bottom - y, side)):
            for j in range(side):
                _add_back(part, i, j, transform, weight, totals[0, j % step, y + i], j // step)
                _add_line(weight, totals[1, j % step, y + i], j // step)
                _add_line(own, totals[2, j % step, y + i], j // step)
                _add_line(squares, totals[3, j % step, y + i], j // step)


@compiled
def _down(image: Array, y: int, transform: Array, out: Array) -> None:
    side = transform.shape[0]
    for c in range(image.shape[0]):
        for k in range(side):
            for x in range(image.shape[2]):
                out[c, k, x] = transform[k, 0] * image[c, y, x]
            for i in range(1, side):
                factor = transform[k, i]
                row = image[c, y + i]
                line = out[c, k]
                for x in range(row.size):
                    line[x] += factor * row[x]


@compiled
def _across(down: Array, k: int, m: int, transform: Array, step: int, out: Array) -> None:
    out[:] = 0
    for j in range(transform.shape[0]):
        factor = transform[m, j]
        row = down[j % step, k, j // step :]
        for b in range(out.size):
            out[b] += factor * row[b]


@compiled
def _keep(
    seen: Array, level: Array, colour: Any, mean: bool, kept: Array, own: Array, squares: Array
) -> None:
    one = np.float32(1)
    for b in range(kept.size):
        power = seen[b] * seen[b]
        share = one if mean else power / (power + level[b] * colour)
        kept[b] *= share
        own[b] += share * colour
        squares[b] += share * share * colour


@compiled
def _back_across(kept: Array, transform: Array, out: Array) -> None:
    """Invert the transform along rows: out[k, j] of kept[k, m]."""
    side = transform.shape[0]
    for k in range(side):
        for j in range(side):
            line = out[k, j]
            line[:] = 0
            for m in range(side):
                factor = transform[m, j]
                row = kept[k, m]
                for b in range(line.size):
                    line[b] += factor * row[b]


@compiled
def _add_back(part: Array, i: int, j: int, transform: Array, weight: Array, out: Array, shift: int) -> None:
    """Invert the transform along columns for one pixel of all blocks, and add it."""
    total = transform[0, i] * part[0, j]
    for k in range(1, transform.shape[0]):
        factor = transform[k, i]
        row = part[k, j]
        for b in range(total.size):
            total[b] += factor * row[b]
    line = out[shift:]
    for b in range(total.size):
        line[b] += weight[b] * total[b]


@compiled
def _add_line(values: Array, out: Array, shift: int) -> None:
    line = out[shift:]
    for b in range(values.size):
        line[b] += values[b]
