"""The median filter of the workflow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter as scipy_median

Floats = NDArray[np.floating[Any]]


def median_filter(image: Floats, rows: int, columns: int) -> Floats:
    """Median-filter an image; at the border the window sees it mirrored, the border pixel included.

    The same as SciPy's with ``mode="reflect"``, and several times faster for three pixels in a line.
    """
    if (rows, columns) == (1, 3):
        return median_filter(image.T, 3, 1).T
    if (rows, columns) != (3, 1):
        return np.asarray(scipy_median(image, size=(rows, columns), mode="reflect"))
    filtered = image.copy()  # of the outermost pixel, itself again and the next one it is the middle
    above, here, below = image[:-2], image[1:-1], image[2:]
    inner = filtered[1:-1]
    np.minimum(np.maximum(above, here), below, out=inner)
    np.maximum(inner, np.minimum(above, here), out=inner)
    return filtered
