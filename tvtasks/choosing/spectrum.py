"""Find the lattice of an image in its spectrum, and the power of everything else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import rfft2
from scipy.ndimage import uniform_filter

from tvtasks.operators import Array, Direction

LOG_MEAN = float(np.euler_gamma)
"""For an exponentially distributed power: log of the mean minus mean of the log."""
_ABOVE = 20.0
"""A peak exceeds its surroundings by this factor: one in a thousand images of noise has such a mode."""
_LEAST_SHARE = 0.01  # of the strongest peak's power; weaker peaks are not what a user calls the lattice
_ROUNDING = 1e-10  # of the image's variance; weaker waves come from rounding
_CROP = 256  # px
_LEAST_INDEX = 8  # waves with fewer periods in the image are background
_LEAST_BOX = 15  # px of the box whose mean is subtracted before peaks are searched; larger for large images
_MOST_PEAKS = 100
_LONGEST = 2.5  # a wave longer than this many times the next one belongs to the terraces, not to the cell
_REACH = 3  # bins over which a peak spreads: two from the window, and a little from drift


@dataclass(frozen=True)
class Peak:
    """A peak of the spectrum: a plane wave in the image.

    Attributes
    ----------
    fy, fx
        Frequency in cycles per pixel, fx ≥ 0.
    power
        Variance that the wave contributes, in squared units of the image.
    prominence
        Power of its strongest mode divided by that of its surroundings.
    """

    fy: float
    fx: float
    power: float
    prominence: float

    @property
    def frequency(self) -> float:
        """Cycles per pixel."""
        return float(np.hypot(self.fy, self.fx))


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Power of an image by frequency, and the peaks of its lattice.

    Attributes
    ----------
    power
        Power of each mode of a real Fourier transform with a Hann window, shape (rows, columns // 2 + 1);
        white noise of variance σ² has σ² everywhere.
    shape
        Shape of the image.
    peaks
        The peaks of the lattice, longest wave first; empty if there is none.
    rest
        `power` without the peaks: the mean of their surroundings replaces them.
    weights
        How many modes of the full transform each column of `power` stands for: 1 or 2.
    """

    power: Array
    shape: tuple[int, int]
    peaks: tuple[Peak, ...]
    rest: Array
    weights: Array


def middle(image: Array, side: int = _CROP) -> Array:
    """Return the middle of a large image, which shows its lattice as well; of a small one all."""
    top, left = (max((size - side) // 2, 0) for size in image.shape)
    return image[top : top + side, left : left + side]


def kappa(frequency: Array | float) -> Array:
    """Return κ = 4 sin²(π f), by which ∇ᵀ∇ along one axis multiplies a wave of f cycles per pixel."""
    return np.asarray(4 * np.sin(np.pi * np.asarray(frequency)) ** 2)


def kappa_along(fy: Array, fx: Array, direction: Direction) -> Array:
    """Return κ of frequencies, shape (len(fy), len(fx)), for the directions that are kept."""
    y = kappa(fy) if direction != "x" else np.zeros_like(fy)
    x = kappa(fx) if direction != "y" else np.zeros_like(fx)
    return np.asarray(y[:, np.newaxis] + x)


def spectrum(image: Array) -> Spectrum:
    """Find the lattice of an image (M, N) in its spectrum.

    A mode belongs to a lattice if it exceeds, 20 times, the modes at its distance from the origin, those in
    its row and column of the spectrum (a step or a streak fills a line through them), and those along its own
    ray (straight steps fill a ray).
    """
    rows, columns = image.shape
    levelled = without_plane(image)
    power, sharp = power_of(levelled), power_of(_clipped(levelled)).astype(np.float64)
    fy, fx = np.fft.fftfreq(rows)[:, np.newaxis], np.fft.rfftfreq(columns)[np.newaxis, :]
    side = max(rows, columns)
    rings = np.rint(np.hypot(fy, fx) * side).astype(np.intp)
    logs = np.log(np.maximum(sharp, sharp.max() * 1e-30 + np.finfo(float).tiny))
    ring = np.bincount(rings.ravel(), logs.ravel()) / np.bincount(rings.ravel())
    around = np.maximum(ring[rings], np.maximum(logs.mean(axis=0), logs.mean(axis=1)[:, np.newaxis]))
    around += LOG_MEAN
    places = np.argwhere((logs > around + np.log(_ABOVE)) & (rings >= _LEAST_INDEX))
    places = places[np.argsort(-sharp[places[:, 0], places[:, 1]])]
    places = places[_highest_around(sharp, places)]
    weights = np.full(power.shape[1], 2.0)  # modes of the full transform per column
    weights[0] = 1.0
    if columns % 2 == 0:
        weights[-1] = 1.0
    rest = power.copy()
    found = []
    for i, j in places[:_MOST_PEAKS]:
        level = max(around[i, j], _along_ray(logs, i if i < rows / 2 else i - rows, j) + LOG_MEAN)
        if logs[i, j] < level + np.log(_ABOVE):
            continue
        near = _box(i, j, power.shape)
        # The level next to the peak, in the unmodified image.
        beside = _level(power[_ring(i, j, power.shape)])
        excess = np.maximum(power[near] - beside, 0.0).sum(axis=0)
        rest[near] = np.minimum(rest[near], beside)
        share = float(excess @ weights[near[1][0]]) / image.size
        found.append(Peak(float(fy[i, 0]), float(fx[0, j]), share, float(np.exp(logs[i, j] - level))))
    strongest = max((peak.power for peak in found), default=0.0)
    least = max(_LEAST_SHARE * strongest, _ROUNDING * float(np.vdot(levelled, levelled)) / image.size)
    peaks = sorted((p for p in found if p.power > least), key=lambda p: p.frequency)
    while len(peaks) > 2 and peaks[1].frequency > _LONGEST * peaks[0].frequency:
        alone = peak_box(peaks.pop(0), (rows, columns))
        rest[alone] = power[alone]
    return Spectrum(power, (rows, columns), tuple(peaks), rest, weights)


def transform(image: Array) -> NDArray[np.complex128]:
    """Return the real Fourier transform of an image, minus its mean, with a Hann window.

    White noise of variance σ² has an expected squared modulus of σ² in every mode.
    """
    # In place where possible: new memory costs as much as the arithmetic.
    dtype = np.result_type(image, np.float32)
    y, x = (np.hanning(size + 2)[1:-1].astype(dtype) for size in image.shape)
    work = image - y @ image @ x / (y.sum() * x.sum())
    work *= (y / np.linalg.norm(y))[:, np.newaxis]
    work *= x / np.linalg.norm(x)
    return np.asarray(rfft2(work, overwrite_x=True))


def power_of(image: Array) -> Array:
    """Return the squared modulus of `transform`."""
    modes = transform(image)
    power = modes.real**2
    power += modes.imag**2
    return np.asarray(power)


def peak_box(peak: Peak, shape: tuple[int, int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the modes over which a peak spreads, as an index into the transform of such an image."""
    rows, columns = shape
    return _box(round(peak.fy * rows) % rows, round(peak.fx * columns), (rows, columns // 2 + 1))


def surroundings(power: Array, peak: Peak, shape: tuple[int, int]) -> float:
    """Return the level of the power around a peak, outside its box; `shape` is that of the image."""
    rows, columns = shape
    return _level(power[_ring(round(peak.fy * rows) % rows, round(peak.fx * columns), power.shape)])


def _level(powers: Array) -> float:
    return float(np.exp(np.log(powers + np.finfo(float).tiny).mean() + LOG_MEAN))


def without_plane(image: Array) -> Array:
    """Subtract the best-fitting plane, in float64."""
    f = np.asarray(image, np.float64)
    f = f - f.mean()
    y, x = (np.arange(size) - (size - 1) / 2 for size in f.shape)
    for axis, along in ((0, y), (1, x)):
        if along.size > 1:
            slope = np.tensordot(along, f, (0, axis)).mean() / (along @ along)
            f -= slope * (along[:, np.newaxis] if axis == 0 else along)
    return np.asarray(f)


def _clipped(image: Array) -> Array:
    """Remove slow variations, then clip, so that steps, scars and spikes no longer hide the lattice.

    The result is in units of the image's standard deviation and in float32, which is precise enough.
    """
    box = max(_LEAST_BOX, max(image.shape) // 16 | 1)
    high = (image / (image.std() or 1.0)).astype(np.float32)
    high -= uniform_filter(high, box, mode="reflect")
    middle = high.shape[1] // 2
    high -= np.partition(high, middle, axis=1)[:, middle : middle + 1]
    limit = 3 * np.median(np.abs(high[::3, ::3]))
    return np.asarray(np.clip(high, -limit, limit, out=high))


def _highest_around(power: Array, places: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return which modes are the strongest within their reach; rows wrap around."""
    step = np.arange(1 - _REACH, _REACH)
    rows = (places[:, :1] + step)[:, :, np.newaxis] % power.shape[0]
    columns = np.clip(places[:, 1:] + step, 0, power.shape[1] - 1)[:, np.newaxis, :]
    return np.asarray(power[rows, columns].max(axis=(1, 2)) == power[places[:, 0], places[:, 1]])


def _ring(i: int, j: int, shape: tuple[int, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the modes around a peak, outside its reach."""
    y, x = np.mgrid[-2 * _REACH : 2 * _REACH + 1, -2 * _REACH : 2 * _REACH + 1]
    outside = np.maximum(np.abs(y), np.abs(x)) > _REACH
    rows, columns = (i + y[outside]) % shape[0], j + x[outside]
    inside = (columns >= 0) & (columns < shape[1])
    return rows[inside], columns[inside]


def _along_ray(logs: NDArray[np.float64], i: int, j: int) -> float:
    """Return the mean log power along the ray from the origin, on both sides of a mode at signed indices."""
    rows, columns = logs.shape
    length = np.hypot(i, j)
    steps = np.array([-8, -7, -6, -5, 5, 6, 7, 8])
    steps = steps[np.abs(steps) < length] / length
    y, x = np.rint(i * (1 + steps)).astype(int), np.rint(j * (1 + steps)).astype(int)
    inside = (np.abs(y) <= rows // 2) & (x < columns)
    return float(logs[y[inside] % rows, x[inside]].mean()) if inside.any() else -np.inf


def _box(i: int, j: int, shape: tuple[int, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    rows = np.arange(i - _REACH, i + _REACH + 1) % shape[0]
    columns = np.arange(max(j - _REACH, 0), min(j + _REACH + 1, shape[1]))
    return rows[:, np.newaxis], columns[np.newaxis, :]
