"""Lattices of smooth waves and of atomic columns."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tvtasks.synthetic.coordinates import FloatImage, Shape, centred


def wave_lattice(
    shape: Shape,
    *,
    period: float,
    corrugation: float,
    angle: float,
    symmetry: Literal["hexagonal", "square"],
) -> FloatImage:
    """Return a lattice of smooth maxima with mean zero: three plane waves (hexagonal) or two (square).

    `period` is the distance between neighbouring maxima, `corrugation` the height from the deepest minimum to
    a maximum, and `angle` (radians) the angle between the first wave and the rows.
    """
    y, x = centred(shape)
    # Three waves at 60° range from -1.5 to 3, two at 90° from -2 to 2.
    if symmetry == "hexagonal":
        turns, wavelength, span = [0.0, np.pi / 3, 2 * np.pi / 3], period * np.sqrt(3) / 2, 4.5
    else:
        turns, wavelength, span = [0.0, np.pi / 2], period, 4.0
    lattice = np.zeros(shape)
    for turn in turns:
        distance = x * np.cos(angle + turn) + y * np.sin(angle + turn)
        lattice += corrugation / span * np.cos(2 * np.pi / wavelength * distance)
    return lattice


def column_lattice(
    shape: Shape, *, period: float, width: float, heights: tuple[float, float], angle: float
) -> FloatImage:
    """Return Gaussian columns on a square lattice and at the centres of its cells.

    `width` is the standard deviation of a column; `heights` are the heights at corners and centres.
    """
    y, x = centred(shape)
    reach = int(np.ceil(np.hypot(*shape) / 2 / period)) + 1
    along, across = (index.ravel() for index in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    lattice = np.zeros(shape)
    for shift, height in zip((0.0, 0.5), heights, strict=True):
        a, b = period * (along + shift), period * (across + shift)
        column_x = a * np.cos(angle) - b * np.sin(angle)
        column_y = a * np.sin(angle) + b * np.cos(angle)
        # A Gaussian is the product of one in y and one in x, so all columns are one matrix product.
        in_y = np.exp(-0.5 * ((y - column_y) / width) ** 2)
        in_x = np.exp(-0.5 * ((x.T - column_x) / width) ** 2)
        lattice += height * in_y @ in_x.T
    return lattice
