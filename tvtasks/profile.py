"""Raw, background, flat and restored image along a line, as in the paper's figures 5f and 6e."""

from __future__ import annotations

import csv
import io
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from tvtasks.errors import ConfigurationError
from tvtasks.micrograph import Image

if TYPE_CHECKING:
    from tvtasks.archive import ArchivedRun

Line = tuple[float, float, float, float]
"""x0, y0, x1, y1."""


_SHORTEST = 1e-3  # pixels; the direction of a shorter line cannot be computed


@dataclass(frozen=True, eq=False)
class Profile:
    """Values along a line.

    Attributes
    ----------
    distance
        Distance from the start of the line, shape (n,), float64.
    unit
        Unit of `distance`: ``nm``, ``um``, … or ``px``.
    curves
        The values of ``raw`` and of the arrays of the run, by name, each of shape (n,), float64, in
        `value_unit`.
    value_unit
        Unit of the image.
    pixels
        The ends of the line in pixels of the raw image: x0, y0, x1, y1.
    """

    distance: NDArray[np.float64]
    unit: str
    curves: dict[str, NDArray[np.float64]]
    value_unit: str
    pixels: Line


def profile(
    run: ArchivedRun, line: Line, *, width: float = 1.0, unit: Literal["image", "px"] = "image"
) -> Profile:
    """Interpolate the arrays of a run linearly along a line, about once per pixel.

    Parameters
    ----------
    run
        The archived run.
    line
        x0, y0, x1, y1, between centres of pixels: x from the first column to the right; y from the last row
        upwards, as the axes of a result have it, or in pixels from the first row downwards.
    width
        Pixels to average across the line.
    unit
        Unit of `line`: ``image`` for the axes of the file (nm or µm; pixels, but upwards, if not calibrated),
        or ``px`` for rows and columns.

    Returns
    -------
    Profile

    Raises
    ------
    ConfigurationError
        The line has no length, or leaves the restored part of the image.
    """
    from tvtasks.archive.layout import calibration  # noqa: PLC0415 - needs HDF5

    (dy, dx), length = calibration(run.micrograph)
    last = run.raw.shape[0] - 1
    if unit == "px":
        x0, y0, x1, y1 = line
    else:
        x0, y0, x1, y1 = line[0] / dx, last - line[1] / dy, line[2] / dx, last - line[3] / dy
    if not _SHORTEST <= math.hypot(x1 - x0, y1 - y0) < math.inf:
        raise ConfigurationError("The two ends of the line are the same. Give --line x0,y0,x1,y1.")
    if not 1 <= width < math.inf:
        raise ConfigurationError(f"The width cannot be {width:g} pixels. Give 1 or more.")
    region = run.region
    if not all(
        region.left - 0.5 <= x <= region.right - 0.5 and region.top - 0.5 <= y <= region.bottom - 0.5
        for x, y in ((x0, y0), (x1, y1))
    ):
        low, high = (
            (region.top, region.bottom - 1) if unit == "px" else (last + 1 - region.bottom, last - region.top)
        )
        by_x, by_y, named = (1.0, 1.0, "pixels") if unit == "px" else (dx, dy, length or "pixels")
        raise ConfigurationError(
            f"The line leaves the image. The image covers {region.left * by_x:.4g} to "
            f"{(region.right - 1) * by_x:.4g} {named} in x and {low * by_y:.4g} to "
            f"{high * by_y:.4g} {named} in y."
        )
    number = math.ceil(math.hypot(x1 - x0, y1 - y0)) + 1
    along = np.linspace(0.0, 1.0, number)
    # The width is at a right angle on the sample, even if pixels are not square; one step is one pixel.
    ux, uy = (x1 - x0) * dx, (y1 - y0) * dy
    nx, ny = -uy / dx, ux / dy
    norm = math.hypot(nx, ny)
    steps = max(round(width), 1)
    across = np.arange(steps) - (steps - 1) / 2
    xs = x0 + along[:, None] * (x1 - x0) + across * nx / norm - region.left
    ys = y0 + along[:, None] * (y1 - y0) + across * ny / norm - region.top
    images = {"raw": run.raw[region.slices]} | {
        name: image
        for name, image in run.arrays.items()
        if image.shape == region.shape and name not in run.unitless
    }
    return Profile(
        distance=along * math.hypot(ux, uy),
        unit=length or "px",
        curves={name: _sampled(image, ys, xs) for name, image in images.items()},
        value_unit=run.micrograph.units,
        pixels=(x0, y0, x1, y1),
    )


def table(found: Profile) -> str:
    """Return a profile as CSV: distance, then each curve, with units in the header."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    in_unit = f" ({found.value_unit})" if found.value_unit else ""
    writer.writerow([f"distance ({found.unit})", *(f"{name}{in_unit}" for name in found.curves)])
    for row in zip(found.distance, *found.curves.values(), strict=True):
        writer.writerow([repr(float(value)) for value in row])
    return text.getvalue()


def _sampled(image: Image, ys: NDArray[np.float64], xs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means across the width of the line, over the part inside the image."""
    rows, columns = image.shape
    inside = (ys >= -0.5) & (ys <= rows - 0.5) & (xs >= -0.5) & (xs <= columns - 0.5)
    values = map_coordinates(image.astype(np.float64), [ys, xs], order=1, mode="nearest")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        mean: NDArray[np.float64] = np.nanmean(np.where(inside, values, np.nan), axis=1)
    return mean
