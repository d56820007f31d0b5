"""Types and pixel coordinates that the components of a synthetic scan share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[np.float64]
Shape = tuple[int, int]
Coordinates = tuple[FloatImage, FloatImage]
"""y and x of the pixels, in pixels; arrays that broadcast to the shape of the image."""


def centred(shape: Shape) -> Coordinates:
    """Return y (a column) and x (a row) of the pixels, from the middle of the image."""
    y, x = (np.arange(size, dtype=np.float64) - (size - 1) / 2 for size in shape)
    return y[:, np.newaxis], x[np.newaxis, :]


def drifted(
    shape: Shape, *, drift: tuple[float, float], creep: tuple[float, float] = (0.0, 0.0)
) -> Coordinates:
    """Return where on the sample the pixels of a drifting scan lie; y and x, from the middle, in pixels.

    The pixels are taken one after another, row by row, so time t runs from 0 to 1 over the frame. Thermal
    drift moves the sample by `drift` (y, x) at a constant speed, and the piezo creeps by `creep` (y, x)
    after the jump to the first row: ``d(t) = drift·t + creep·(1 − exp(−5t))``. A lattice is sheared and
    stretched by drift, and bent at the top of the image by creep.
    """
    y, x = centred(shape)
    rows, columns = shape
    t = (np.arange(rows)[:, np.newaxis] + np.arange(columns) / columns) / rows
    eased = 1 - np.exp(-5 * t)
    return y + drift[0] * t + creep[0] * eased, x + drift[1] * t + creep[1] * eased
