"""Faults along scan lines, and counting noise."""

from __future__ import annotations

import numpy as np

from tvtasks.synthetic.coordinates import FloatImage, Shape


def line_jumps(shape: Shape, rng: np.random.Generator, *, share: float, height: float) -> FloatImage:
    """Return offsets of single scan lines, a `share` of all, with a standard deviation of `height`."""
    jumps = rng.normal(0.0, height, shape[0]) * (rng.random(shape[0]) < share)
    return np.repeat(jumps[:, np.newaxis], shape[1], axis=1)


def line_scars(
    shape: Shape, rng: np.random.Generator, *, per_line: float, length: float, height: float
) -> FloatImage:
    """Return scars: pieces of single scan lines, raised or lowered by 0.5 to 1.5 times `height`.

    Lengths are distributed exponentially with mean `length`; a line has `per_line` scars on average.
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

    Charge left by the beam changes the signal by 0.5 to 1.5 times `height` and decays over `length` pixels. A
    line has `per_line` streaks on average.
    """
    rows, columns = shape
    streaks = np.zeros(shape)
    for row in np.repeat(np.arange(rows), rng.poisson(per_line, rows)):
        start = int(rng.integers(columns))
        decay = np.exp(-np.arange(columns - start) / length)
        streaks[row, start:] += rng.choice((-1.0, 1.0)) * rng.uniform(0.5, 1.5) * height * decay
    return streaks


def counting_noise(expected: FloatImage, rng: np.random.Generator, *, largest: int) -> FloatImage:
    """Return Poisson counts, at most `largest`, minus the expected counts; negative ones count as 0."""
    counts = rng.poisson(np.maximum(expected, 0.0))
    return np.asarray(np.minimum(counts, largest) - expected)
