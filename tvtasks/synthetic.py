"""Synthetic scans whose components are known: lattice, terraces, background, streaks and noise.

Each component is a function of its own, with lengths in pixels and heights in the unit of the image; each
``*_scan`` puts components together at the amplitudes of one technique. The same seed gives the same scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

FloatImage = NDArray[np.float64]
Shape = tuple[int, int]
Seed = int | np.random.Generator


@dataclass(frozen=True, eq=False)
class Scan:
    """A synthetic scan as the sum of its components, all float64 with shape (rows, columns), in `units`.

    Attributes
    ----------
    lattice
        Atomic corrugation, or atomic columns.
    terraces
        Parts with sharp edges: terraces between steps, or particles.
    background
        What varies slowly: tilt, bow, thickness, illumination.
    streaks
        Faults along the fast-scan direction, which is along rows.
    noise
        What is random from pixel to pixel; for counts, the difference from the expected counts.
    pixel_size
        Side of the square pixels in m.
    units
        ``m`` or ``counts``.
    dtype
        The type in which the instrument stores the image.
    technique
        As in `Micrograph`.
    title
        One line on what is shown.
    """

    lattice: FloatImage
    terraces: FloatImage
    background: FloatImage
    streaks: FloatImage
    noise: FloatImage
    pixel_size: float
    units: str
    dtype: Literal["float32", "uint8", "uint16"]
    technique: str
    title: str

    @property
    def image(self) -> FloatImage:
        """The sum of the components."""
        return self.lattice + self.terraces + self.background + self.streaks + self.noise

    @property
    def recorded(self) -> NDArray[np.float32 | np.uint8 | np.uint16]:
        """The image in the type in which the instrument stores it."""
        # Counts are whole numbers again only up to the rounding of the sum.
        image = self.image if self.units == "m" else np.rint(self.image)
        return image.astype(self.dtype)


def stm_terrace_scan(seed: Seed, shape: Shape = (256, 256)) -> Scan:
    """Return an STM topography of Au(111): atoms on terraces, tilted, scratched and noisy.

    The hexagonal lattice (nearest neighbours 0.288 nm, corrugation 30 pm) lies on terraces that are one
    atomic step, 0.2355 nm, apart. A plane tilts the whole. Some lines jump and some carry scars, by about
    0.1 nm, where the tip changed; white Gaussian noise has a standard deviation of 8 pm.
    """
    rng = np.random.default_rng(seed)
    pixel_size = 0.04e-9
    return Scan(
        lattice=wave_lattice(
            shape,
            period=0.288e-9 / pixel_size,
            corrugation=30e-12,
            angle=rng.uniform(0, np.pi / 3),
            symmetry="hexagonal",
        ),
        terraces=step_terraces(
            shape, rng, steps=3, step_height=0.2355e-9, angle=rng.uniform(-0.6, 0.6), meander=6.0
        ),
        background=plane(shape, rise=(rng.uniform(-0.2e-9, 0.2e-9), rng.uniform(-0.3e-9, 0.3e-9))),
        streaks=line_jumps(shape, rng, share=0.03, height=0.06e-9)
        + line_scars(shape, rng, per_line=0.15, length=0.2 * shape[1], height=0.1e-9),
        noise=rng.normal(0.0, 8e-12, shape),
        pixel_size=pixel_size,
        units="m",
        dtype="float32",
        technique="STM",
        title="Au(111), terraces with atomic lattice",
    )


def afm_lattice_scan(seed: Seed, shape: Shape = (256, 256)) -> Scan:
    """Return an nc-AFM topography of NaCl(001): a faint lattice on a smooth, much larger background.

    One sort of ion shows: a square lattice of 0.399 nm with a corrugation of 40 pm. The background, thermal
    drift and the bow of the scanner, stays within ±1 nm; white Gaussian noise has a standard deviation
    of 8 pm.
    """
    rng = np.random.default_rng(seed)
    pixel_size = 0.04e-9
    return Scan(
        lattice=wave_lattice(
            shape,
            period=0.399e-9 / pixel_size,
            corrugation=40e-12,
            angle=rng.uniform(0, np.pi / 2),
            symmetry="square",
        ),
        terraces=np.zeros(shape),
        background=smooth_background(shape, rng, bound=1e-9),
        streaks=np.zeros(shape),
        noise=rng.normal(0.0, 8e-12, shape),
        pixel_size=pixel_size,
        units="m",
        dtype="float32",
        technique="AFM",
        title="NaCl(001), nc-AFM, lattice on a smooth background",
    )


def sem_charging_scan(
    seed: Seed, shape: Shape = (256, 256), *, dtype: Literal["uint8", "uint16"] = "uint8"
) -> Scan:
    """Return an SEM image of particles on a substrate that charges.

    Particles of 100 counts with bright rims lie on about 60 counts of substrate, unevenly lit by up to ±15.
    Charging raises or lowers parts of rows by about 35 counts. Counts are Poisson distributed, and
    cut off at the largest number that `dtype` holds.
    """
    rng = np.random.default_rng(seed)
    terraces = particles(shape, rng, per_pixel=4e-4, radius=15.0, height=100.0)
    background = 60.0 + smooth_background(shape, rng, bound=15.0)
    streaks = charging_streaks(shape, rng, per_line=0.15, length=0.25 * shape[1], height=35.0)
    return Scan(
        lattice=np.zeros(shape),
        terraces=terraces,
        background=background,
        streaks=streaks,
        noise=counting_noise(terraces + background + streaks, rng, largest=int(np.iinfo(dtype).max)),
        pixel_size=5e-9,
        units="counts",
        dtype=dtype,
        technique="SEM",
        title="Gold particles on a charging substrate",
    )


def stem_haadf_scan(seed: Seed, shape: Shape = (256, 256)) -> Scan:
    """Return a HAADF-STEM-like image of SrTiO3 [001] at a low dose.

    Strontium columns, 12 counts high, form a square lattice of 0.3905 nm with titanium columns, 5 counts
    high, at its centres; all are Gaussians with a standard deviation of 60 pm. The specimen's thickness
    gives a background of 3 ± 1.5 counts. Counts are Poisson distributed.
    """
    rng = np.random.default_rng(seed)
    pixel_size = 0.02e-9
    lattice = column_lattice(
        shape,
        period=0.3905e-9 / pixel_size,
        width=0.06e-9 / pixel_size,
        heights=(12.0, 5.0),
        angle=rng.uniform(0, np.pi / 2),
    )
    background = 3.0 + smooth_background(shape, rng, bound=1.5)
    return Scan(
        lattice=lattice,
        terraces=np.zeros(shape),
        background=background,
        streaks=np.zeros(shape),
        noise=counting_noise(lattice + background, rng, largest=int(np.iinfo(np.uint16).max)),
        pixel_size=pixel_size,
        units="counts",
        dtype="uint16",
        technique="STEM",
        title="SrTiO3 [001], HAADF, low dose",
    )


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
    y, x = _centred(shape)
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
    y, x = _centred(shape)
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


def step_terraces(
    shape: Shape, rng: np.random.Generator, *, steps: int, step_height: float, angle: float, meander: float
) -> FloatImage:
    """Return terraces, the lowest at 0, between steps about a pixel wide.

    The steps are about evenly spaced across the image, descend along one direction, turned by `angle`
    (radians) from the rows, and wander by about `meander` pixels along their way.
    """
    y, x = _centred(shape)
    across = x * np.cos(angle) + y * np.sin(angle)
    along = (y * np.cos(angle) - x * np.sin(angle)) / np.hypot(*shape)
    spacing = np.ptp(across) / (steps + 1)
    terraces = np.zeros(shape)
    for step in range(steps):
        edge = across.min() + spacing * (step + 1 + rng.uniform(-0.2, 0.2))
        for harmonic in range(1, 5):
            phase = rng.uniform(0, 2 * np.pi)
            edge = edge + meander / harmonic * np.sin(2 * np.pi * harmonic * along + phase)
        terraces += step_height * expit((edge - across) / 0.5)
    return terraces


def particles(
    shape: Shape, rng: np.random.Generator, *, per_pixel: float, radius: float, height: float
) -> FloatImage:
    """Return rounded flat particles with bright rims, at least one, on 0.

    The rims are 40 % brighter, as secondary electrons leave an edge more easily. Radii spread by a half
    about `radius`; a later particle covers an earlier one.
    """
    rows, columns = shape
    y, x = np.mgrid[:rows, :columns]
    image = np.zeros(shape)
    for _ in range(max(1, round(per_pixel * rows * columns))):
        dy, dx = y - rng.uniform(0, rows), x - rng.uniform(0, columns)
        outline = 1 + 0.12 * np.cos(2 * np.arctan2(dy, dx) + rng.uniform(0, 2 * np.pi))
        inside = radius * rng.uniform(0.5, 1.5) * outline - np.hypot(dy, dx)
        rim = 0.4 * np.exp(-0.5 * (inside / 2.0) ** 2)
        cover = expit(inside / 0.7)
        image = image * (1 - cover) + height * (1 + rim) * cover
    return image


def plane(shape: Shape, *, rise: tuple[float, float]) -> FloatImage:
    """Return a tilted plane of mean zero that rises by `rise` from top to bottom and from left to right."""
    y, x = _centred(shape)
    return np.asarray(rise[0] * y / shape[0] + rise[1] * x / shape[1])


def smooth_background(shape: Shape, rng: np.random.Generator, *, bound: float) -> FloatImage:
    """Return a random sum of cosines, at most one and a half periods across the image, within ±`bound`."""
    orders = np.arange(4)
    amplitudes = rng.normal(size=(4, 4)) / (1 + orders[:, np.newaxis] ** 2 + orders**2)
    amplitudes[0, 0] = 0.0
    in_y, in_x = (np.cos(np.pi * (np.arange(size)[:, np.newaxis] + 0.5) / size * orders) for size in shape)
    return np.asarray(bound / np.abs(amplitudes).sum() * (in_y @ amplitudes @ in_x.T))


def line_jumps(shape: Shape, rng: np.random.Generator, *, share: float, height: float) -> FloatImage:
    """Return single scan lines, a `share` of all, displaced as a whole by Gaussian offsets of `height`."""
    jumps = rng.normal(0.0, height, shape[0]) * (rng.random(shape[0]) < share)
    return np.repeat(jumps[:, np.newaxis], shape[1], axis=1)


def line_scars(
    shape: Shape, rng: np.random.Generator, *, per_line: float, length: float, height: float
) -> FloatImage:
    """Return scars: pieces of single scan lines, raised or lowered by 0.5 to 1.5 times `height`.

    Lengths are exponentially distributed about `length`; `per_line` scars are expected in a line.
    """
    rows, columns = shape
    scars = np.zeros(shape)
    for row in np.repeat(np.arange(rows), rng.poisson(per_line, rows)):
        start = int(rng.integers(columns))
        end = start + 1 + int(rng.exponential(length))
        scars[row, start:end] += rng.choice((-1.0, 1.0)) * rng.uniform(0.5, 1.5) * height
    return scars


def charging_streaks(
    shape: Shape, rng: np.random.Generator, *, per_line: float, length: float, height: float
) -> FloatImage:
    """Return streaks that begin sharply and decay exponentially along the row, brighter or darker.

    Charge that the beam left behind changes the signal by 0.5 to 1.5 times `height` and leaks away over
    `length` pixels. `per_line` streaks are expected in a line.
    """
    rows, columns = shape
    streaks = np.zeros(shape)
    for row in np.repeat(np.arange(rows), rng.poisson(per_line, rows)):
        start = int(rng.integers(columns))
        decay = np.exp(-np.arange(columns - start) / length)
        streaks[row, start:] += rng.choice((-1.0, 1.0)) * rng.uniform(0.5, 1.5) * height * decay
    return streaks


def counting_noise(expected: FloatImage, rng: np.random.Generator, *, largest: int) -> FloatImage:
    """Return Poisson counts, at most `largest`, less the counts expected; below 0 none are expected."""
    counts = rng.poisson(np.maximum(expected, 0.0))
    return np.asarray(np.minimum(counts, largest) - expected)


def _centred(shape: Shape) -> tuple[FloatImage, FloatImage]:
    """Return y (a column) and x (a row) of the pixels, from the middle of the image."""
    y, x = (np.arange(size, dtype=np.float64) - (size - 1) / 2 for size in shape)
    return y[:, np.newaxis], x[np.newaxis, :]
