"""How close a restored scan is to the sample: each score says what a microscopist would ask."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion, label

from tests.benchmarks.scenes import Scene
from tests.truth import step_height_error
from tvtasks.operators import Array


@dataclass(frozen=True)
class Scores:
    """Scores of one restored scan; None where the scan has nothing to ask that of.

    Attributes
    ----------
    psnr
        Range of the sample over the RMS error, in dB; the error is freed of a plane (counts: of a constant).
    raw
        The same of the raw scan.
    step
        Height of the steps found again, relative: −0.03 is 3 % lost.
    lattice
        Amplitude of the lattice found again: 1 is all.
    position
        RMS distance of the lattice's columns from where they are, in pixels: bias, not scatter.
    halo
        Worst median error of the ring within five pixels of an island or a particle, over its height.
    """

    psnr: float
    raw: float
    step: float | None = None
    lattice: float | None = None
    position: float | None = None
    halo: float | None = None

    @property
    def gain(self) -> float:
        """Over the raw scan, in dB."""
        return self.psnr - self.raw


def psnr(found: Array, item: Scene) -> float:
    """Range of the sample over the RMS error, in dB."""
    error = freed(found - item.sample, plane=not item.counts)
    return float(20 * np.log10(np.ptp(item.sample) / max(float(np.sqrt(np.mean(error**2))), 1e-300)))


def freed(error: Array, *, plane: bool) -> Array:
    """The error without its plane, or without its mean."""
    error = error - error.mean()
    if plane:
        y, x = (np.linspace(-1, 1, size) for size in error.shape)
        error = error - np.outer(y, np.full(len(x), y @ error.sum(axis=1) / (y @ y) / len(x)))
        error = error - np.outer(np.ones(len(y)), x * (x @ error.sum(axis=0) / (x @ x) / len(y)))
    return error


def scores(found: Array, raw: Array, item: Scene) -> Scores:
    """Score a restored scan."""
    level = freed(np.asarray(found, np.float64) - item.sample, plane=not item.counts) + item.sample
    step = None if item.terraces is None else step_height_error(level / _unit(item), item.terraces)
    kept = shift = None
    if item.lattice.any():
        part = item.lattice - item.lattice.mean()
        rest = level - (item.sample - item.lattice)
        kept = float(np.vdot(part, rest - rest.mean()) / np.vdot(part, part))
        shift = position_bias(rest, item.lattice)
    return Scores(
        psnr(found, item),
        psnr(raw, item),
        step,
        kept,
        shift,
        halo(level, item) if item.family in ("STM islands", "AFM particles") else None,
    )


def _unit(item: Scene) -> float:
    """Height of a step of 1 in the image."""
    assert item.terraces is not None
    t = item.terraces - item.terraces.mean()
    return float(np.vdot(t, item.sample) / np.vdot(t, t))


def position_bias(found: Array, lattice: Array) -> float:
    """How far the lattice as a whole has moved, in pixels; first order in the displacement."""
    gy, gx = np.gradient(lattice)
    error = found - lattice
    error = error - error.mean()
    gram = np.array([[np.vdot(gy, gy), np.vdot(gy, gx)], [np.vdot(gy, gx), np.vdot(gx, gx)]])
    moved = np.linalg.solve(gram, [np.vdot(gy, error), np.vdot(gx, error)])
    return float(math.hypot(*moved))


def halo(level: Array, item: Scene) -> float:
    """Worst median error of a ring beside a bump, relative to the range of the sample."""
    spread = float(np.ptp(item.sample))
    high = item.sample - np.median(item.sample) > 0.3 * spread
    error = (level - item.sample) / spread
    error = error - np.median(error)
    labels, number = label(high)
    worst = 0.0
    for k in range(1, min(number, 60) + 1):
        inside = labels == k
        ring = binary_dilation(inside, iterations=6) & ~binary_dilation(high, iterations=1)
        if np.count_nonzero(ring) > 30 and binary_erosion(inside).any():
            worst = max(worst, abs(float(np.median(error[ring]))))
    return worst
