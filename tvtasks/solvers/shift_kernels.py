"""Compiled sums over shifted copies of an image, the heart of every non-local mean.

A shift is the same for a whole tile, so that patch distances are running sums of one difference image, not a
loop over patches (Darbon et al. 2008, Froment 2014). They vary no faster than the patch is wide; so they are
kept on a grid of every pixel or of every other, `step`, and only the sum of the values is made at every
pixel.

A tile belongs to one thread, and its shifts are added in their order: the result does not depend on how many
threads there are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvtasks.solvers.kernels import compiled, summed

Array = NDArray[Any]
FLOOR = 1e-6
"""Weight of a partner that is nothing like the pixel: where nothing is like it, all count alike."""


@compiled
def _along(a: Array, m: int, half: int, out: Array, i: int) -> None:
    """Add 2·half + 1 neighbours in a line; written out, so that each costs a load and an addition."""
    y = np.uintp(i)
    one, two, three, four = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
    five, six, seven, eight = np.uintp(5), np.uintp(6), np.uintp(7), np.uintp(8)
    if half == 1:
        for j in range(np.uintp(m)):
            out[y, j] = a[j] + a[j + one] + a[j + two]
    elif half == 2:
        for j in range(np.uintp(m)):
            out[y, j] = (a[j] + a[j + one]) + (a[j + two] + a[j + three]) + a[j + four]
    elif half == 3:
        for j in range(np.uintp(m)):
            first = (a[j] + a[j + one]) + (a[j + two] + a[j + three])
            out[y, j] = first + (a[j + four] + a[j + five]) + a[j + six]
    else:
        for j in range(np.uintp(m)):
            first = (a[j] + a[j + one]) + (a[j + two] + a[j + three])
            second = (a[j + four] + a[j + five]) + (a[j + six] + a[j + seven])
            out[y, j] = first + second + a[j + eight]


@compiled
def _down(a: Array, i: int, m: int, half: int, out: Array) -> None:
    """Sum of 2·half + 1 rows from row i on."""
    y = np.uintp(i)
    y1, y2, y3, y4 = y + np.uintp(1), y + np.uintp(2), y + np.uintp(3), y + np.uintp(4)
    y5, y6, y7, y8 = y + np.uintp(5), y + np.uintp(6), y + np.uintp(7), y + np.uintp(8)
    if half == 1:
        for j in range(np.uintp(m)):
            out[j] = a[y, j] + a[y1, j] + a[y2, j]
    elif half == 2:
        for j in range(np.uintp(m)):
            out[j] = (a[y, j] + a[y1, j]) + (a[y2, j] + a[y3, j]) + a[y4, j]
    elif half == 3:
        for j in range(np.uintp(m)):
            out[j] = (a[y, j] + a[y1, j]) + (a[y2, j] + a[y3, j]) + (a[y4, j] + a[y5, j]) + a[y6, j]
    else:
        for j in range(np.uintp(m)):
            first = (a[y, j] + a[y1, j]) + (a[y2, j] + a[y3, j])
            out[j] = first + (a[y4, j] + a[y5, j]) + (a[y6, j] + a[y7, j]) + a[y8, j]


@compiled
def _squared_difference(
    a: Array, i: int, j: int, b: Array, k: int, n: int, m: int, out: Array, x: int
) -> None:
    i_, j_, k_, l_, x_ = np.uintp(i), np.uintp(j), np.uintp(k), np.uintp(n), np.uintp(x)
    for c in range(np.uintp(m)):
        d = a[i_, j_ + c] - b[k_, l_ + c]
        out[x_ + c] = d * d


@compiled
def _likeness(
    distance: Array, m: int, down: Any, across: Array, noise: Any, sharp: Any, out: Array, x: int
) -> None:
    one, floor, zero = np.float32(1), np.float32(FLOOR), np.float32(0)
    x_ = np.uintp(x)
    for j in range(np.uintp(m)):
        d = (distance[j] * down * across[j] - noise) * sharp
        d = d if d > zero else zero
        d = one / (one + d * d)
        out[x_ + j] = d * d + floor


@compiled
def _add(
    w: Array, m: int, down: Any, across: Array, weights: Array, squares: Array, y: int, x: int, step: int,
    line: Array
) -> None:  # fmt: skip
    """Add a row of weights, and spread it over the pixels of each."""
    floor = np.float32(FLOOR)
    y_, x_, s = np.uintp(y), np.uintp(x), np.uintp(step)
    if step == 1:
        for j in range(np.uintp(m)):
            v = w[j] * down * across[j] + floor
            line[j] = v
            weights[y_, x_ + j] += v
            squares[y_, x_ + j] += v * v
    else:
        for j in range(np.uintp(m)):
            v = w[j] * down * across[j] + floor
            weights[y_, x_ + j] += v
            squares[y_, x_ + j] += v * v
            for c in range(s):
                line[s * j + c] = v


@compiled
def _add_same(same: Any, m: int, counts: Array, y: int, x: int) -> None:
    y_, x_, square = np.uintp(y), np.uintp(x), same * same
    for j in range(np.uintp(m)):
        counts[0, y_, x_ + j] += same
    for j in range(np.uintp(m)):
        counts[1, y_, x_ + j] += square


@compiled
def _add_values(line: Array, values: Array, y: int, x: int, m: int, sums: Array, i: int, j: int) -> None:
    i_, y_, x_, j_ = np.uintp(i), np.uintp(y), np.uintp(x), np.uintp(j)
    for c in range(np.uintp(m)):
        sums[i_, j_ + c] += line[c] * values[y_, x_ + c]


@compiled
def _add_plain(same: Any, values: Array, y: int, x: int, m: int, plain: Array, i: int, j: int) -> None:
    i_, y_, x_, j_ = np.uintp(i), np.uintp(y), np.uintp(x), np.uintp(j)
    for c in range(np.uintp(m)):
        plain[i_, j_ + c] += same * values[y_, x_ + c]


@compiled
def _counts(begin: int, end: int, low: int, high: int, half: int, out: Array) -> None:
    """1 / the number of places in [low, high) that a window about each place of [begin, end) holds."""
    for i in range(end - begin):
        first, last = begin + i - half, begin + i + half + 1
        first = max(first, low)
        last = min(last, high)
        out[i] = 1 / max(last - first, 1)


@compiled
def add_shifted(  # noqa: PLR0912, PLR0915 - one loop with its borders
    values: Array, pilot: Array, moved: Array, step: int, half: int, blocks: Array, of_block: Array,
    shifts: Array, expected: Array, alike: Array, sharp: Any, sums: Array, weights: Array, squares: Array,
    plain: Array, counts: Array,
) -> None:  # fmt: skip
    """Add the values at shifted places to the sums of their blocks, weighted by how alike the pilot is there.

    Parameters
    ----------
    values
        (M, N) float32, to be averaged, moved by the fraction of the shifts.
    pilot
        (M / step, N / step): the pilot at pixels step·I + step // 2.
    moved
        (step, step, M / step, N / step): the pilot moved by the same fraction, [a, b] being its pixels
        (step·I + a, step·J + b).
    half
        Of the side of a patch, on the grid of `pilot`; at most 4.
    blocks
        (b, 4) first and last row and column of each, on that grid.
    of_block
        (k,) which block a shift is for.
    shifts
        (k, 2) whole pixels.
    expected
        (k,) squared difference that the noise alone makes.
    alike
        (k,) weight of the whole block, for the plain mean.
    sharp
        1 / the squared difference at which the weight falls to a quarter.
    sums
        (M, N) sums of weight × value.
    weights, squares
        (M / step, N / step): sums of the weights and of their squares.
    plain
        (M, N) sums of `alike` × value.
    counts
        (2, M / step, N / step): sums of `alike` and of its square.
    """
    size = 0
    for k in range(blocks.shape[0]):
        size = max(size, blocks[k, 1] - blocks[k, 0], blocks[k, 3] - blocks[k, 2])
    size += 4 * half + 2
    # A row goes through all stages while it is in the cache: only sums along rows are kept.
    of_differences, of_likeness = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
    difference, likeness = np.zeros(size, np.float32), np.zeros(size, np.float32)
    distance, weight = np.zeros(size, np.float32), np.zeros(size, np.float32)
    line = np.zeros(step * size, np.float32)
    down, across = np.empty(size, np.float32), np.empty(size, np.float32)
    down_again, across_again = np.empty(size, np.float32), np.empty(size, np.float32)
    with_plain = plain.shape[0] > 0
    rows, columns = pilot.shape
    middle = step // 2
    for k in range(shifts.shape[0]):
        n = of_block[k]
        top, bottom, left, right = blocks[n, 0], blocks[n, 1], blocks[n, 2], blocks[n, 3]
        dy, dx = shifts[k, 0], shifts[k, 1]
        # Pieces of step × step pixels that lie in the image, here and at the shifted place.
        first_row, last_row = max(0, -(dy // step)), min(rows, (rows * step - dy) // step)
        first_column, last_column = max(0, -(dx // step)), min(columns, (columns * step - dx) // step)
        t, b = max(top, first_row), min(bottom, last_row)
        l, r = max(left, first_column), min(right, last_column)  # noqa: E741
        if t >= b or l >= r:
            continue
        # Likeness is needed `half` around them, differences twice that.
        lt, lb = max(t - half, first_row), min(b + half, last_row)
        ll, lr = max(l - half, first_column), min(r + half, last_column)
        a_y, a_x = (middle + dy) % step, (middle + dx) % step
        by_y, by_x = (middle + dy) // step, (middle + dx) // step
        other = moved[a_y, a_x]
        from_row, to_row = max(lt - half, first_row, -by_y), min(lb + half, last_row, rows - by_y)
        from_column, to_column = (
            max(ll - half, first_column, -by_x),
            min(lr + half, last_column, columns - by_x),
        )
        _counts(lt, lb, from_row, to_row, half, down)
        _counts(ll, lr, from_column, to_column, half, across)
        _counts(t, b, lt, lb, half, down_again)
        _counts(l, r, ll, lr, half, across_again)
        difference[:] = 0
        likeness[:] = 0
        for i in range(lt - half, lb + half):
            y = i - (lt - half)
            if from_row <= i < to_row:
                _squared_difference(
                    pilot, i, from_column, other, i + by_y, from_column + by_x, to_column - from_column,
                    difference, from_column - (ll - half),
                )  # fmt: skip
                _along(difference, lr - ll, half, of_differences, y)
            else:
                of_differences[y, : lr - ll] = 0
        same = alike[k]
        for i in range(t - half, b + half):
            y = i - (t - half)
            if lt <= i < lb:
                _down(of_differences, i - lt, lr - ll, half, distance)
                _likeness(
                    distance, lr - ll, down[i - lt], across, expected[k], sharp, likeness, ll - (l - half)
                )
                _along(likeness, r - l, half, of_likeness, y)
            else:
                of_likeness[y, : r - l] = 0
            if y < 2 * half:
                continue
            i -= half  # noqa: PLW2901 - the row whose likeness is complete
            _down(of_likeness, y - 2 * half, r - l, half, weight)
            _add(weight, r - l, down_again[i - t], across_again, weights, squares, i, l, step, line)
            for c in range(step):
                y, x = step * i + c, step * l
                _add_values(line, values, y + dy, x + dx, step * (r - l), sums, y, x)
                if with_plain:
                    _add_plain(same, values, y + dy, x + dx, step * (r - l), plain, y, x)
            if with_plain:
                _add_same(same, r - l, counts, i, l)


@summed
def differences_about(
    image: Array, top: int, bottom: int, left: int, right: int, shifts: Array, overlap: float, out: Array
) -> None:
    """Mean squared difference of a block with its partners at whole shifts, and a pixel about each of them.

    `out` has a row for each shift: there, above, below, left and right of it; infinite where less than the
    share `overlap` of the block has a partner in the image.
    """
    rows, columns = image.shape
    one = np.uintp(1)
    for k in range(shifts.shape[0]):
        dy, dx = shifts[k, 0], shifts[k, 1]
        t, b = max(top, 1 - dy), min(bottom, rows - 1 - dy)
        l, r = max(left, 1 - dx), min(right, columns - 1 - dx)  # noqa: E741
        if t >= b or l >= r or (b - t) * (r - l) < overlap * (bottom - top) * (right - left):
            out[k] = np.inf
            continue
        here, above, below, before, after = 0.0, 0.0, 0.0, 0.0, 0.0
        width, x, to = np.uintp(r - l), np.uintp(l), np.uintp(l + dx)
        for i in range(t, b):
            y, there = np.uintp(i), np.uintp(i + dy)
            h, a, u, e, f = np.float32(0), np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for j in range(width):
                v = image[y, x + j]
                d = v - image[there, to + j]
                h += d * d
                d = v - image[there - one, to + j]
                a += d * d
                d = v - image[there + one, to + j]
                u += d * d
                d = v - image[there, to + j - one]
                e += d * d
                d = v - image[there, to + j + one]
                f += d * d
            here += float(h)
            above += float(a)
            below += float(u)
            before += float(e)
            after += float(f)
        share = 1 / ((b - t) * (r - l))
        out[k, 0], out[k, 1], out[k, 2] = here * share, above * share, below * share
        out[k, 3], out[k, 4] = before * share, after * share


@summed
def differences_at(
    image: Array, top: int, bottom: int, left: int, right: int, shifts: Array, overlap: float, out: Array
) -> None:
    """Mean squared difference of a block with its partners at whole shifts, from every other line."""
    rows, columns = image.shape
    for k in range(shifts.shape[0]):
        dy, dx = shifts[k, 0], shifts[k, 1]
        t, b = max(top, 1 - dy), min(bottom, rows - 1 - dy)
        l, r = max(left, 1 - dx), min(right, columns - 1 - dx)  # noqa: E741
        if t >= b or l >= r or (b - t) * (r - l) < overlap * (bottom - top) * (right - left):
            out[k] = np.inf
            continue
        total, lines = 0.0, 0
        width, x, to = np.uintp(r - l), np.uintp(l), np.uintp(l + dx)
        for i in range(t, b, 2):
            y, there = np.uintp(i), np.uintp(i + dy)
            of_line = np.float32(0)
            for j in range(width):
                d = image[y, x + j] - image[there, to + j]
                of_line += d * d
            total += float(of_line)
            lines += 1
        out[k] = total / (lines * (r - l))
