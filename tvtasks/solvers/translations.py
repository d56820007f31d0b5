"""Translations of a crystal: where, part by part, an image repeats itself."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import minimum_filter

from tvtasks.operators import Array
from tvtasks.solvers.shift_kernels import differences_about, differences_at
from tvtasks.solvers.wavefront import mapping

_LEAST_TILE, _TILE = 64, 4.0  # px, periods: a tile has enough atoms to tell where they repeat
_GROWN = 1 / 3  # of a tile, by which it is grown for the comparison: neighbours agree better
_LEAST_BLOCK, _BLOCK = (
    40,
    2.5,
)  # px, periods: small enough to follow drift and strain, and to lie in one grain
_BLOCK_GROWN = 0.25
_REACH = 10.0  # periods that a translation may have, within the next two, in pixels
_LEAST_REACH, _MOST_REACH = 48, 256
_COARSE = 8.0  # px of a period from which on every other pixel will do for a first look
_NOISE_SHARE = 0.3  # of the limit below which a minimum counts; the rest is how unlike any two places are
_OVERLAP = 0.4  # of a tile that must still be in the image when it is moved
_APART = 0.2  # periods between two minima
MOST = 150
"""Translations of a block that are used: twice as many gave .1 dB more (tuned scenes 0–3)."""
NEAR = 7
"""Pixels to which non-local means look where there is no lattice."""
_FIRST_LOOK = 300
_POOR = (
    4.0  # times the difference that noise makes, of the best eight, above which a block does not fit itself
)
_LEAST = 9


class Tile(NamedTuple):
    """First and last row and column of a part of an image, in pixels."""

    top: int
    bottom: int
    left: int
    right: int

    def grown(self, by: int, rows: int, columns: int) -> Tile:
        """Return it with a margin, within the image."""
        top, left = max(self.top - by, 0), max(self.left - by, 0)
        return Tile(top, min(self.bottom + by, rows), left, min(self.right + by, columns))


@dataclass(frozen=True, eq=False)
class Translations:
    """Where the blocks of an image repeat themselves.

    Attributes
    ----------
    blocks
        They cover the image.
    shifts
        For each block, shape (k, 2): (dy, dx) in pixels and fractions of them; (0, 0) is not among them.
    differences
        For each block, shape (k,): mean squared difference of the pilot with itself at those.
    local
        Whether a block repeats nowhere, or badly.
    """

    blocks: tuple[Tile, ...]
    shifts: tuple[NDArray[np.float64], ...]
    differences: tuple[NDArray[np.float64], ...]
    local: tuple[bool, ...]


def tiles_of(shape: tuple[int, ...], side: int) -> list[list[Tile]]:
    """Cut an image into rows of tiles, all about `side` pixels high and wide, at even pixels."""
    edges = []
    for size in shape:
        number = max(1, round(size / side))
        places = 2 * np.rint(np.linspace(0, size, number + 1) / 2).astype(int)
        places[-1] = size
        edges.append([int(place) for place in places])
    (down, across) = edges
    return [
        [Tile(top, bottom, left, right) for left, right in itertools.pairwise(across)]
        for top, bottom in itertools.pairwise(down)
    ]


def find_translations(
    pilot: Array, period: float, noise: float, *, step: int = 1, most: int = MOST, threads: int = 1
) -> Translations:
    """Find the translations of a crystal, block by block, from an image in which little noise is left.

    The mean squared difference between a tile and its surroundings has minima at the translations. They are
    looked for on large tiles; each block then takes, of its tile's and the neighbouring tiles', those that
    fit it best, to a fraction of a pixel from the parabola through a minimum and its neighbours. So a block
    beside an interface takes those of its own side, and strain and drift are followed from block to block.

    Parameters
    ----------
    pilot
        Shape (M, N), smoothed, of mean about 0 over a few periods.
    period
        Of the lattice, in pixels.
    noise
        Variance of the noise that is left in the pilot.
    step
        Blocks are compared on every pixel, or every other, along both axes.
    most
        Translations to keep for each block.
    threads
        Cores to use; the result is the same bit for bit.
    """
    rows, columns = pilot.shape
    pilot = np.ascontiguousarray(pilot, np.float32)
    first = 2 if period >= _COARSE else 1
    coarse = np.ascontiguousarray(pilot[first // 2 :: first, first // 2 :: first])
    fine = coarse if step == first else np.ascontiguousarray(pilot[step // 2 :: step, step // 2 :: step])
    integral = _integral(coarse)
    side = max(_LEAST_TILE, int(np.ceil(_TILE * period)))
    reach = int(np.clip(_REACH * period, _LEAST_REACH, _MOST_REACH)) // first
    near = max(1, int(_APART * period / first))
    tiles = tiles_of((rows, columns), side)
    side_of_block = int(max(_LEAST_BLOCK, np.ceil(_BLOCK * period)))

    def look(tile: Tile) -> NDArray[np.float64]:
        part = Tile(*(-(-edge // first) for edge in tile)).grown(int(side * _GROWN) // first, *coarse.shape)
        return first * _of_tile(coarse, integral, part, reach, near, 4 * noise)

    def refine(at: tuple[int, int]) -> list[tuple[Tile, NDArray[np.float64], NDArray[np.float64], bool]]:
        i, j = at
        tile = tiles[i][j]
        around = [found[n] / step for n in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)) if n in found]
        out = []
        for row in tiles_of((tile.bottom - tile.top, tile.right - tile.left), side_of_block):
            for top, bottom, left, right in row:
                block = Tile(top + tile.top, bottom + tile.top, left + tile.left, right + tile.left)
                inner = Tile(*(-(-edge // step) for edge in block))
                inner = inner.grown(int(side_of_block * _BLOCK_GROWN) // step, *fine.shape)
                shifts, differences = _of_block(fine, inner, found[at] / step, around, noise, most)
                poor = len(shifts) < _LEAST or float(np.median(differences[: _LEAST - 1])) > _POOR * 2 * noise
                out.append((block, shifts * step, differences, poor))
        return out

    places = [(i, j) for i, row in enumerate(tiles) for j in range(len(row))]
    with mapping(threads) as run:
        found = dict(zip(places, run(look, [tiles[i][j] for i, j in places]), strict=True))
        blocks = [block for several in run(refine, places) for block in several]
    return Translations(*(tuple(column) for column in zip(*blocks, strict=True)))


def near_translations(shape: tuple[int, ...], radius: int = NEAR) -> Translations:
    """Return all whole shifts of up to a radius, for every block: those of ordinary non-local means."""
    step = np.arange(-radius, radius + 1)
    dy, dx = (grid.ravel() for grid in np.meshgrid(step, step, indexing="ij"))
    inside = (dy**2 + dx**2 <= radius**2 + 1) & ((dy != 0) | (dx != 0))
    shifts = np.stack([dy, dx], axis=1)[inside].astype(np.float64)
    blocks = tuple(tile for row in tiles_of(shape, _LEAST_TILE) for tile in row)
    several = len(blocks)
    return Translations(blocks, (shifts,) * several, (np.zeros(len(shifts)),) * several, (True,) * several)


def _integral(image: Array) -> NDArray[np.float64]:
    """Return sums of squares of all that is above and to the left of a pixel."""
    total = np.zeros((image.shape[0] + 1, image.shape[1] + 1))
    np.cumsum(np.cumsum(image.astype(np.float64) ** 2, axis=0), axis=1, out=total[1:, 1:])
    return total


def _of_tile(
    image: Array, integral: Array, tile: Tile, reach: int, near: int, noise: float
) -> NDArray[np.float64]:
    """Return the translations of one tile, the best first, to a fraction of a pixel."""
    rows, columns = image.shape
    top, bottom, left, right = tile
    part = image[top:bottom, left:right]
    around = tile.grown(reach, rows, columns)
    size = (
        next_fast_len(around.bottom - around.top + part.shape[0]),
        next_fast_len(around.right - around.left + part.shape[1], real=True),
    )
    whole = image[around.top : around.bottom, around.left : around.right]
    product = irfft2(np.conj(rfft2(part, size)) * rfft2(whole, size), size)
    # A tile may hang over the edge of the image by a half.
    dy = np.arange(-min(reach, top + part.shape[0] // 2), min(reach, rows - bottom + part.shape[0] // 2) + 1)
    dx = np.arange(
        -min(reach, left + part.shape[1] // 2), min(reach, columns - right + part.shape[1] // 2) + 1
    )
    cross = product[np.ix_((dy + top - around.top) % size[0], (dx + left - around.left) % size[1])]
    a, b = np.maximum(top, -dy), np.minimum(bottom, rows - dy)
    c, d = np.maximum(left, -dx), np.minimum(right, columns - dx)
    overlap = np.outer(b - a, d - c)

    def squares(a: Array, b: Array, c: Array, d: Array) -> Array:
        above, below = integral[a], integral[b]
        return np.asarray(below[:, d] - below[:, c] - above[:, d] + above[:, c])

    difference = squares(a, b, c, d) + squares(a + dy, b + dy, c + dx, d + dx) - 2 * cross
    difference /= overlap
    difference[overlap < _OVERLAP * part.size] = np.inf
    unlike = float(np.median(difference[np.isfinite(difference)]))
    limit = max(noise, _NOISE_SHARE * noise + (1 - _NOISE_SHARE) * unlike)
    least = (difference < limit) & (difference == minimum_filter(difference, 2 * near + 1, mode="nearest"))
    i, j = np.nonzero(least)
    best = np.argsort(difference[i, j], kind="stable")[: _FIRST_LOOK + 1]
    i, j = i[best], j[best]
    found = np.stack([dy[i] + _vertex(difference, i, j, 0), dx[j] + _vertex(difference, i, j, 1)], axis=1)
    return np.asarray(found[(dy[i] != 0) | (dx[j] != 0)])


def _vertex(values: Array, i: NDArray[np.intp], j: NDArray[np.intp], axis: int) -> NDArray[np.float64]:
    """Place, from a minimum, of the vertex of the parabola through it and its neighbours along an axis."""
    k, size = (i, values.shape[0]) if axis == 0 else (j, values.shape[1])
    before, after = np.maximum(k - 1, 0), np.minimum(k + 1, size - 1)
    low, high = (values[before, j], values[after, j]) if axis == 0 else (values[i, before], values[i, after])
    return _parabola(low, values[i, j], high)


def _parabola(low: Array, middle: Array, high: Array) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        bend = low + high - 2 * middle
        usable = np.isfinite(bend) & (bend > 0)
        return np.where(usable, np.clip((low - high) / 2 / np.where(usable, bend, 1), -0.5, 0.5), 0.0)


def _of_block(
    image: Array,
    block: Tile,
    candidates: NDArray[np.float64],
    more: list[NDArray[np.float64]],
    noise: float,
    most: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return those of the candidates that fit a block best, moved to where they do, and the difference there.

    `more` are looked at only where the candidates fit too rarely.
    """
    part = image[block.top : block.bottom, block.left : block.right]
    unlike = 2 * float(np.mean(part * part))
    limit = max(4 * noise, _NOISE_SHARE * 4 * noise + (1 - _NOISE_SHARE) * unlike)
    whole = np.rint(candidates).astype(np.intp)
    fits = _differences(image, block, whole)
    good = fits < limit
    if np.count_nonzero(good) < min(most, len(whole)) / 2:
        whole = np.concatenate([whole, *(np.rint(other).astype(np.intp) for other in more)])
        whole = whole[_once(whole)]
        fits = _differences(image, block, whole)
        good = fits < limit
    best = np.flatnonzero(good)[np.argsort(fits[good], kind="stable")[:most]]
    whole = whole[best]
    about = np.empty((len(whole), 5))
    differences_about(image, block.top, block.bottom, block.left, block.right, whole, _OVERLAP, about)
    middle, above, below, before, after = about.T
    down, across = _parabola(above, middle, below), _parabola(before, middle, after)
    moved = whole + np.stack([down, across], axis=1)
    least = middle - ((below - above) * down + (after - before) * across) / -4
    once = _once(np.rint(4 * moved).astype(np.intp))
    once = once[np.argsort(middle[once], kind="stable")]
    return np.asarray(moved[once], np.float64), np.where(
        np.isfinite(least), np.minimum(least, middle), middle
    )[once]


def _once(pairs: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return where each pair of numbers stands first."""
    return np.asarray(np.unique(pairs[:, 0] * 2**16 + pairs[:, 1], return_index=True)[1])


def _differences(image: Array, block: Tile, shifts: NDArray[np.intp]) -> NDArray[np.float64]:
    out = np.empty(len(shifts))
    differences_at(image, block.top, block.bottom, block.left, block.right, shifts, _OVERLAP, out)
    return out
