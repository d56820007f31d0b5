"""Lattices: smooth waves, columns, and peaks on any of the simple plane groups; vacancies and adsorbates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tvtasks.synthetic.grid import Coordinates, FloatImage, Shape, centred

Symmetry = Literal["oblique", "rectangular", "centred", "square", "hexagonal"]


def wave_lattice(
    shape: Shape,
    *,
    period: float,
    corrugation: float,
    angle: float,
    symmetry: Literal["hexagonal", "square"],
) -> FloatImage:
    """Return a lattice of smooth maxima: three plane waves (hexagonal) or two (square), of mean zero.

    `period` is the distance between neighbouring maxima, `corrugation` the height from the deepest
    minimum to a maximum, `angle` (radians) turns the first wave from the rows.
    """
    y, x = centred(shape)
    # Peak to peak, three waves at 60° go from 3 to -1.5, two at 90° from 2 to -2.
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

    `width` is the standard deviation of a column; `heights` are those of the corners and of the centres.
    """
    y, x = centred(shape)
    reach = int(np.ceil(np.hypot(*shape) / 2 / period)) + 1
    along, across = (index.ravel() for index in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    lattice = np.zeros(shape)
    for shift, height in zip((0.0, 0.5), heights, strict=True):
        a, b = period * (along + shift), period * (across + shift)
        column_x = a * np.cos(angle) - b * np.sin(angle)
        column_y = a * np.sin(angle) + b * np.cos(angle)
        # A Gaussian is a product of one in y and one in x, so all columns are one product of matrices.
        in_y = np.exp(-0.5 * ((y - column_y) / width) ** 2)
        in_x = np.exp(-0.5 * ((x.T - column_x) / width) ** 2)
        lattice += height * in_y @ in_x.T
    return lattice


@dataclass(frozen=True)
class Site:
    """One atom of the unit cell: a Gaussian peak.

    Attributes
    ----------
    position
        Fractions of the two lattice vectors.
    height
        Of the peak, in the unit of the image; negative for a depression.
    width
        Standard deviation, in pixels.
    """

    position: tuple[float, float]
    height: float
    width: float


def lattice_vectors(
    symmetry: Symmetry, *, period: float, ratio: float = 1.3, gamma: float = 1.3, angle: float = 0.0
) -> FloatImage:
    """Return the two primitive vectors of a plane lattice as the rows (y, x) of a 2 × 2 array, in pixels.

    The five Bravais lattices of the plane carry the plane groups: oblique (p1, p2), rectangular (pm, pmm …),
    centred rectangular (cm, cmm), square (p4, p4m …) and hexagonal (p3, p6m …). `period` is the length of the
    first vector, for the centred one of the first side of its rectangle; `ratio` the second length or side
    over the first (oblique, rectangular, centred); `gamma` the angle between the vectors in radians
    (oblique); `angle` turns the first vector, or side, from the rows.
    """
    turn = {"oblique": gamma, "hexagonal": 2 * np.pi / 3}.get(symmetry, np.pi / 2)
    length = 1.0 if symmetry in ("square", "hexagonal") else ratio
    first = period * np.array([np.sin(angle), np.cos(angle)])
    second = period * length * np.array([np.sin(angle + turn), np.cos(angle + turn)])
    return np.stack(
        [(first + second) / 2, (second - first) / 2] if symmetry == "centred" else [first, second]
    )


def peak_lattice(where: Coordinates, vectors: FloatImage, sites: Sequence[Site]) -> FloatImage:
    """Return Gaussian peaks at the sites of every unit cell: one sublattice for each site.

    `where` are the places on the sample, from `centred` or `drifted`; the lattice has a corner at (0, 0).
    Peaks should be narrower than half of the shorter vector: what lies further away than the
    neighbouring cells is not added.
    """
    y, x = np.broadcast_arrays(*where)
    across = np.linalg.inv(vectors)
    first, second = (y * across[0, k] + x * across[1, k] for k in range(2))
    lattice = np.zeros(y.shape)
    for site in sites:
        # Fractions of the way to the nearest such site; that one and its eight neighbours are summed.
        a, b = (f - s - np.rint(f - s) for f, s in zip((first, second), site.position, strict=True))
        for i in (-1, 0, 1):
            for j in (-1, 0, 1):
                dy, dx = ((a + i) * vectors[0, k] + (b + j) * vectors[1, k] for k in range(2))
                lattice += site.height * np.exp(-(dy * dy + dx * dx) / (2 * site.width**2))
    return lattice


def vacancies(
    where: Coordinates, vectors: FloatImage, site: Site, rng: np.random.Generator, *, share: float
) -> FloatImage:
    """Return what is missing where a `share` of the atoms of one sublattice is: its peaks, negative.

    Added to the `peak_lattice` of the same coordinates it takes whole peaks out of it.
    """
    y, x = np.broadcast_arrays(*where)
    corners = np.array(
        [[y.flat[0], x.flat[0]], [y.flat[-1], x.flat[-1]], [y[-1, 0], x[-1, 0]], [y[0, -1], x[0, -1]]]
    )
    fractions = corners @ np.linalg.inv(vectors)
    low, high = np.floor(fractions.min(axis=0)).astype(int), np.ceil(fractions.max(axis=0)).astype(int)
    cells = np.stack(
        np.meshgrid(*(np.arange(a, b + 1) for a, b in zip(low, high, strict=True)), indexing="ij"), -1
    )
    missing = cells[rng.random(cells.shape[:2]) < share] + np.array(site.position)
    return _peaks((y, x), missing @ vectors, np.full(len(missing), -site.height), site.width)


def adsorbates(
    where: Coordinates, rng: np.random.Generator, *, per_pixel: float, height: float, width: float
) -> FloatImage:
    """Return round Gaussian bumps at random places, 0.7 to 1.3 times `height` high, at least one.

    `width` is the standard deviation, in pixels.
    """
    y, x = np.broadcast_arrays(*where)
    number = max(1, round(per_pixel * y.size))
    places = np.stack([rng.uniform(axis.min(), axis.max(), number) for axis in (y, x)], axis=1)
    return _peaks((y, x), places, height * rng.uniform(0.7, 1.3, number), width)


def _peaks(where: Coordinates, places: FloatImage, heights: FloatImage, width: float) -> FloatImage:
    y, x = where
    total = np.zeros(y.shape)
    reach = 6 * width  # beyond, less than 2e-8 of the height
    for (py, px), height in zip(places, heights, strict=True):
        near = (np.abs(y - py) < reach) & (np.abs(x - px) < reach)
        dy, dx = y[near] - py, x[near] - px
        total[near] += height * np.exp(-(dy * dy + dx * dx) / (2 * width**2))
    return total
