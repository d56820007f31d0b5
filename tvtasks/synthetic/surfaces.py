"""Large structures under a lattice: terraces, particles, tilt, bow and uneven illumination."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from tvtasks.synthetic.coordinates import FloatImage, Shape, centred


def step_terraces(
    shape: Shape, rng: np.random.Generator, *, steps: int, step_height: float, angle: float, meander: float
) -> FloatImage:
    """Return terraces, the lowest at 0, between steps about one pixel wide.

    The steps are about evenly spaced across the image and descend along a direction at `angle` (radians) to
    the rows; each wanders by about `meander` pixels.
    """
    y, x = centred(shape)
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
    """Return rounded flat particles with bright rims, at least one, on a background of 0.

    The rims are 40 % brighter, because secondary electrons leave an edge more easily. Radii vary by a half
    around `radius`; a later particle covers an earlier one.
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
    """Return a tilted plane with mean zero that rises by `rise` from top to bottom and from left to right."""
    y, x = centred(shape)
    return np.asarray(rise[0] * y / shape[0] + rise[1] * x / shape[1])


def smooth_background(shape: Shape, rng: np.random.Generator, *, bound: float) -> FloatImage:
    """Return a random sum of cosines, at most one and a half periods across the image, within ±`bound`."""
    orders = np.arange(4)
    amplitudes = rng.normal(size=(4, 4)) / (1 + orders[:, np.newaxis] ** 2 + orders**2)
    amplitudes[0, 0] = 0.0
    in_y, in_x = (np.cos(np.pi * (np.arange(size)[:, np.newaxis] + 0.5) / size * orders) for size in shape)
    return np.asarray(bound / np.abs(amplitudes).sum() * (in_y @ amplitudes @ in_x.T))
