"""Further components of synthetic scans, for tests and benchmarks: any plane lattice, drift, further noise.

They are like those of `tvtasks.synthetic`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tvtasks.synthetic import Coordinates, FloatImage, Shape, centred

Symmetry = Literal["oblique", "rectangular", "centred", "square", "hexagonal"]


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


def gaussian_noise(shape: Shape, rng: np.random.Generator, *, sigma: float) -> FloatImage:
    """Return white Gaussian noise of standard deviation `sigma`: electronics, many counts."""
    return rng.normal(0.0, sigma, shape)


def pink_noise(shape: Shape, rng: np.random.Generator, *, sigma: float, exponent: float = 1.0) -> FloatImage:
    """Return noise whose power falls as 1/frequency**`exponent` in time, with standard deviation `sigma`.

    It is one series in the order in which the pixels are scanned, row after row, so it lifts and lowers whole
    lines: the flicker of preamplifiers and tips. Its slowest period is the time of the frame.
    """
    samples = shape[0] * shape[1]
    frequencies = np.fft.rfftfreq(samples)
    weights = np.zeros(frequencies.size)
    weights[1:] = frequencies[1:] ** (-exponent / 2)
    series = np.fft.irfft(weights * np.fft.rfft(rng.normal(size=samples)), samples)
    spread = series.std()
    return np.asarray(series * (sigma / spread if spread > 0 else 0.0)).reshape(shape)


def salt_and_pepper(
    image: FloatImage, rng: np.random.Generator, *, share: float, low: float, high: float
) -> FloatImage:
    """Return what turns a `share` of the pixels of `image` into `low` or `high`, each as often."""
    drawn = rng.random(image.shape)
    noise = np.zeros(image.shape)
    noise[drawn < share / 2] = low - image[drawn < share / 2]
    salt = (drawn >= share / 2) & (drawn < share)
    noise[salt] = high - image[salt]
    return noise


def _peaks(where: Coordinates, places: FloatImage, heights: FloatImage, width: float) -> FloatImage:
    y, x = where
    total = np.zeros(y.shape)
    reach = 6 * width  # beyond, less than 2e-8 of the height
    for (py, px), height in zip(places, heights, strict=True):
        near = (np.abs(y - py) < reach) & (np.abs(x - px) < reach)
        dy, dx = y[near] - py, x[near] - px
        total[near] += height * np.exp(-(dy * dy + dx * dx) / (2 * width**2))
    return total
