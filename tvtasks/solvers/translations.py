"""Translations of a crystal: where, tile by tile, an image repeats itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import minimum_filter

from tvtasks.operators import Array

_LEAST_TILE, _TILE = 64, 4.0  # px, periods: enough atoms to tell where they repeat, few enough to follow drift
_GROWN = 1 / 3  # of a tile, by which it is grown for the comparison: neighbours agree better
_REACH = 10.0  # periods that a translation may have, within the next two, in pixels
_LEAST_REACH, _MOST_REACH = 48, 256
_NOISE_SHARE = 0.3  # of the limit below which a minimum counts; the rest is the median of all differences
_OVERLAP = 0.4  # of a tile that must still be in the image when it is moved
_APART = 0.2  # periods between two minima
MOST = 300
"""Translations of a tile that are used."""
_POOR = 4.0  # times the difference that noise makes, of the best eight, above which a tile does not fit itself
_BEST = slice(1, 9)


class Tile(NamedTuple):
    """First and last row and column of a tile, in pixels."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True, eq=False)
class Translations:
    """Where the tiles of an image repeat themselves.

    Attributes
    ----------
    tiles
        They cover the image.
    shifts
        For each tile, shape (k, 2): (dy, dx) in pixels and fractions of them; (0, 0) is not among them.
    local
        Tiles that repeat nowhere, or badly.
    """

    tiles: tuple[Tile, ...]
    shifts: tuple[NDArray[np.float64], ...]
    local: tuple[bool, ...]


def tiles_of(shape: tuple[int, int], side: int) -> tuple[Tile, ...]:
    """Cut an image into tiles of a side; those at the end are smaller."""
    rows, columns = shape
    return tuple(
        Tile(y, min(y + side, rows), x, min(x + side, columns))
        for y in range(0, rows, side)
        for x in range(0, columns, side)
    )


def find_translations(pilot: Array, period: float, noise: float, *, step: int = 1, most: int = MOST) -> Translations:
    """Find the translations of a crystal, tile by tile, from an image in which little noise is left.

    The mean squared difference between a tile and its surroundings has minima at the translations; they are
    found to a fraction of a pixel from the parabola through a minimum and its neighbours.

    Parameters
    ----------
    pilot
        Shape (M, N), smoothed.
    period
        Of the lattice, in pixels.
    noise
        Variance of the noise that is left in the pilot.
    step
        The pilot is looked at on every pixel, or every other, along both axes.
    most
        Translations to keep for each tile, those that fit best.
    """
    coarse = np.ascontiguousarray(pilot[step // 2 :: step, step // 2 :: step], np.float32)
    side = max(_LEAST_TILE, int(np.ceil(_TILE * period / step)) * step)
    reach = int(np.clip(_REACH * period, _LEAST_REACH, _MOST_REACH)) // step
    near = max(1, int(_APART * period / step))
    tiles = tiles_of((pilot.shape[0], pilot.shape[1]), side)
    integral = _integral(coarse)
    shifts, local = [], []
    for tile in tiles:
        inner = Tile(*(-(-edge // step) for edge in tile))
        found, fits = _of_tile(coarse, integral, inner, reach, int(side * _GROWN) // step, near, 4 * noise, most)
        shifts.append(found * step)
        local.append(len(found) < _BEST.stop or float(np.median(fits[_BEST])) > _POOR * 2 * noise)
    return Translations(tiles, tuple(shifts), tuple(local))


def _integral(image: Array) -> NDArray[np.float64]:
    """Sums of squares of all that is above and to the left of a pixel."""
    total = np.zeros((image.shape[0] + 1, image.shape[1] + 1))
    np.cumsum(np.cumsum(image.astype(np.float64) ** 2, axis=0), axis=1, out=total[1:, 1:])
    return total


def _of_tile(
    image: Array, integral: Array, tile: Tile, reach: int, grown: int, near: int, noise: float, most: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the translations of one tile, the best first, and the mean squared difference at each."""
    rows, columns = image.shape
    top, bottom = max(tile.top - grown, 0), min(tile.bottom + grown, rows)
    left, right = max(tile.left - grown, 0), min(tile.right + grown, columns)
    high, low = max(top - reach, 0), min(bottom + reach, rows)
    west, east = max(left - reach, 0), min(right + reach, columns)
    part, around = image[top:bottom, left:right], image[high:low, west:east]
    size = (next_fast_len(around.shape[0]), next_fast_len(around.shape[1], real=True))
    # Circular: an overhang of the tile over the edge of its surroundings is not looked at below.
    dy = np.arange(-min(reach, top - high + part.shape[0] // 2), min(reach, low - bottom + part.shape[0] // 2) + 1)
    dx = np.arange(-min(reach, left - west + part.shape[1] // 2), min(reach, east - right + part.shape[1] // 2) + 1)
    size = (next_fast_len(part.shape[0] // 2 * 2 + around.shape[0]), next_fast_len(part.shape[1] // 2 * 2 + around.shape[1], real=True))
    product = irfft2(np.conj(rfft2(part, size)) * rfft2(around, size), size)
    cross = product[np.ix_((dy + top - high) % size[0], (dx + left - west) % size[1])]

    def inside(d: NDArray[np.intp], first: int, last: int, length: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows of the tile whose partner at each shift lies in the image."""
        return np.clip(first, -d, None), np.clip(last, None, length - d)

    a, b = np.maximum(top, -dy), np.minimum(bottom, rows - dy)
    c, d = np.maximum(left, -dx), np.minimum(right, columns - dx)
    overlap = np.outer(b - a, d - c)

    def squares(a: Array, b: Array, c: Array, d: Array) -> Array:
        above, below = integral[a], integral[b]
        return np.asarray(below[:, d] - below[:, c] - above[:, d] + above[:, c])

    difference = squares(a, b, c, d) + squares(a + dy, b + dy, c + dx, d + dx) - 2 * cross
    difference /= overlap
    difference[overlap < _OVERLAP * part.size] = np.inf
    limit = max(noise, _NOISE_SHARE * noise + (1 - _NOISE_SHARE) * float(np.median(difference[np.isfinite(difference)])))
    least = (difference < limit) & (difference == minimum_filter(difference, 2 * near + 1, mode="nearest"))
    i, j = np.nonzero(least)
    best = np.argsort(difference[i, j], kind="stable")[: most + 1]
    i, j = i[best], j[best]
    found = np.stack([dy[i] + _vertex(difference, i, j, 0), dx[j] + _vertex(difference, i, j, 1)], axis=1)
    here = (dy[i] == 0) & (dx[j] == 0)
    return found[~here], difference[i, j]


def _vertex(values: Array, i: NDArray[np.intp], j: NDArray[np.intp], axis: int) -> NDArray[np.float64]:
    """Place, from a minimum, of the vertex of the parabola through it and its neighbours along an axis."""
    k, size = (i, values.shape[0]) if axis == 0 else (j, values.shape[1])
    before, after = np.maximum(k - 1, 0), np.minimum(k + 1, size - 1)
    low, high = (values[before, j], values[after, j]) if axis == 0 else (values[i, before], values[i, after])
    bend = low + high - 2 * values[i, j]
    usable = np.isfinite(bend) & (bend > 0) & (before < k) & (after > k)
    with np.errstate(invalid="ignore"):
        return np.where(usable, np.clip((low - high) / 2 / np.where(usable, bend, 1), -0.5, 0.5), 0.0)
