"""Hot pixels: single pixels far beyond all others around them, by a cosmic ray or a fault of the detector.

A total variation keeps them, and they would set the scale: the rest of the image would lie within a few
millionths of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_ENDS = 1e-3
"""Part of the values at either end that does not count for the range of the others."""
_FAR = 10.0
"""How many times the range of all other values a hot pixel is beyond all its neighbours."""
_SMALLEST = 8
"""Rows and columns below which an image has no range of its own."""
_MOST = 1e-3
"""Part of an image above which such pixels are what it shows."""


def hot_pixels(values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the rows and columns of the hot pixels of an image, shape (count, 2).

    A hot pixel is beyond all its eight neighbours, and on the same side of the range of the image, by ten
    times that range, in which a thousandth of the values at either end does not count. What a microscope
    resolves is more than one pixel wide, and so never one.

    Parameters
    ----------
    values
        Shape (rows, columns), finite.

    Examples
    --------
    >>> image = np.tile([0.0, 1.0], (8, 4))
    >>> image[3, 2] = 1e9
    >>> hot_pixels(image).tolist()
    [[3, 2]]
    """
    none = np.empty((0, 2), np.intp)
    if min(values.shape) < _SMALLEST:
        return none
    left_out = max(2, round(_ENDS * values.size))
    ordered = np.partition(values, (left_out, values.size - 1 - left_out), axis=None)
    low, high = float(ordered[left_out]), float(ordered[-1 - left_out])
    far = _FAR * (high - low)
    if far <= 0.0:
        return none
    candidates = np.argwhere((values > high + far) | (values < low - far))
    if len(candidates) > max(1, _MOST * values.size):
        return none
    found = [place for place in candidates if _is_beyond_neighbours(values, place, far)]
    return np.array(found, np.intp).reshape(-1, 2)


def without(values: NDArray[Any], places: NDArray[np.intp]) -> NDArray[Any]:
    """Return an image, in its dtype, whose hot pixels have the median of their neighbours."""
    repaired = values.copy()
    for row, column in places:
        around = _around(values, (row, column))
        repaired[row, column] = np.median(around)
    return repaired


def sentence(values: NDArray[np.float64], places: NDArray[np.intp], corner: tuple[int, int]) -> str:
    """Return a note on hot pixels, with their places in the whole image, whose part begins at `corner`."""
    shown = ", ".join(
        f"row {row + corner[0]}, column {column + corner[1]} ({values[row, column]:.3g})"
        for row, column in places[:3]
    )
    more = f" and {len(places) - 3} more" if len(places) > 3 else ""
    return (
        f"Hot pixels, far beyond all their neighbours, were left out of scale and solution: {shown}{more}. "
        "They are unchanged in the raw image; in the result they have values of their surroundings."
    )


def _is_beyond_neighbours(values: NDArray[np.float64], place: NDArray[np.intp], far: float) -> bool:
    value = values[tuple(place)]
    around = _around(values, (int(place[0]), int(place[1])))
    return bool(value > around.max() + far or value < around.min() - far)


def _around(values: NDArray[Any], place: tuple[int, int]) -> NDArray[Any]:
    """Return the values of the neighbours of a pixel."""
    top, left = max(place[0] - 1, 0), max(place[1] - 1, 0)
    window = values[top : place[0] + 2, left : place[1] + 2]
    return np.delete(window.ravel(), (place[0] - top) * window.shape[1] + place[1] - left)
