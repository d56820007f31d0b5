"""Find the data bar below an image, for microscopes that do not record where it begins."""

import numpy as np

from tvtasks.micrograph import Image

# Text drawn without smoothing has two grey values and its frame a third; programs that smooth it use a few
# more. A row of an image has so few values only if the detector is far beyond its range.
_MOST_VALUES = 16
_LEAST_OF_ONE_VALUE = 0.4
_LEAST_ROWS = 8
_LARGEST_PART = 0.25
_MARGIN = 3  # pixels of the image that may be visible around the bar


def databar_top(image: Image) -> int | None:
    """Return the first row of the data bar at the bottom of an image; None if there is none.

    A data bar is a block of rows, each mostly of one value. It has few different values, and two of them
    (background and text) differ by at least half of the image's range; so the black of a vacuum does not
    count.
    """
    rows, columns = image.shape
    if columns <= 4 * _MARGIN:
        return None
    inner = image[:, _MARGIN:-_MARGIN]
    highest = rows - int(_LARGEST_PART * rows)
    for bottom in range(rows, rows - _MARGIN - 1, -1):
        top = bottom
        while top > highest and _like_a_bar(inner[top - 1]):
            top -= 1
        if highest < top <= bottom - _LEAST_ROWS and _has_text(inner[top:bottom], inner):
            return top
    return None


def _like_a_bar(row: Image) -> bool:
    values, counts = np.unique(row, return_counts=True)
    return len(values) <= _MOST_VALUES and bool(counts.max() >= _LEAST_OF_ONE_VALUE * row.size)


def _has_text(bar: Image, image: Image) -> bool:
    values, counts = np.unique(bar, return_counts=True)
    paper = float(values[counts.argmax()])
    contrast = max(float(values[-1]) - paper, paper - float(values[0]))
    return len(values) <= _MOST_VALUES and contrast >= 0.5 * (float(image.max()) - float(image.min()))
