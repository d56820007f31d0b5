"""Find the part of an image that holds data, and the scale to which λ and α refer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tvtasks.errors import UnusableImageError
from tvtasks.micrograph import Micrograph, Region
from tvtasks.recipe import Recipe


def usable(micrograph: Micrograph, databar: int | None) -> tuple[Region, tuple[str, ...]]:
    """Return the part above the data bar, cut to its longest run of rows without NaN or infinity, and notes.

    Parameters
    ----------
    micrograph
        The image.
    databar
        Rows at the bottom that hold a data bar; None where the file knows.

    Raises
    ------
    UnusableImageError
        Nothing is left of the image.
    """
    rows, columns = micrograph.data.shape
    valid = micrograph.valid or Region(0, rows, 0, columns)
    if databar is not None:
        if databar >= rows:
            raise UnusableImageError(
                f"{micrograph.name}: databar = {databar} in the recipe leaves none of the {rows} rows. "
                "Set databar to the height of the bar, or leave it out."
            )
        valid = Region(0, rows - databar, 0, columns)
    if not (0 <= valid.top < valid.bottom <= rows and 0 <= valid.left < valid.right <= columns):
        raise UnusableImageError(
            f"{micrograph.name}: the file places its data in rows {valid.top}:{valid.bottom} and columns "
            f"{valid.left}:{valid.right}, outside the {rows} × {columns} pixels of the image. "
            "Check that the file is complete."
        )
    complete = np.isfinite(micrograph.data[valid.slices]).all(axis=1)
    if complete.all():
        return valid, ()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], complete, [False]])))
    if edges.size == 0:
        raise UnusableImageError(
            f"{micrograph.name}: every row holds NaN or infinite values. "
            "Check that the scan was saved and that this is the right channel."
        )
    starts, stops = edges[::2], edges[1::2]
    longest = int(np.argmax(stops - starts))
    region = valid._replace(top=valid.top + int(starts[longest]), bottom=valid.top + int(stops[longest]))
    left_out = valid.shape[0] - region.shape[0]
    return region, (
        f"Only rows {region.top} to {region.bottom - 1} were restored; {left_out} of {valid.shape[0]} rows "
        "were left out because of NaN or infinite values (an unfinished scan?).",
    )


def scaling(values: NDArray[np.float64], recipe: Recipe, name: str) -> tuple[float, float]:
    """Return the offset and the factor that bring the values to [0, 1] as the recipe asks.

    Raises
    ------
    UnusableImageError
        The values are constant, or do not fit the recipe's scale.
    """
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise UnusableImageError(
            f"{name}: every pixel has the value {low:g}, so there is nothing to restore. "
            "Check the channel and whether the instrument was measuring."
        )
    if recipe.scale == "range":
        offset, factor = low, high - low
    elif recipe.scale == "max":
        offset, factor = 0.0, high
    elif recipe.scale == "percentile":
        offset, top = (float(value) for value in np.percentile(values, [0.1, 99.9]))
        factor = top - offset
    else:
        offset, factor = low, float(recipe.scale)
    if not np.isfinite(factor) or factor <= 0:
        raise UnusableImageError(
            f"{name}: scale = {recipe.scale!r} does not work for values from {low:g} to {high:g}. "
            'Use scale = "range", or a number in the unit of the image.'
        )
    return offset, factor
