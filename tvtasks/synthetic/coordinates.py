"""Types and pixel coordinates shared by the components of a synthetic scan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[np.float64]
Shape = tuple[int, int]
Coordinates = tuple[FloatImage, FloatImage]
"""y and x of the pixels, in pixels; the arrays broadcast to the shape of the image."""


def centred(shape: Shape) -> Coordinates:
    """Return y (a column) and x (a row) of the pixels, measured from the centre of the image."""
    y, x = (np.arange(size, dtype=np.float64) - (size - 1) / 2 for size in shape)
    return y[:, np.newaxis], x[np.newaxis, :]
