"""Linear filters of least expected error, in closed form from the power spectrum."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct, fftfreq, idct, irfft2, rfft2, rfftfreq
from scipy.ndimage import gaussian_filter

from tvtasks.choosing.correlation import WHITE, Correlation
from tvtasks.choosing.spectrum import power_of
from tvtasks.operators import Array

WIDTHS = np.geomspace(0.5, 5.0, 20)
"""Standard deviations of the Gaussian filters that are tried, in pixels."""
WIDE_WIDTHS = np.geomspace(0.5, 40.0, 38)
_WIDE = 1.5  # px from which on the cosine transform is faster
_PASSED = 5.5  # standard deviations of the Gaussian's spectrum that are kept: all but 3e-7
_BINS = 1200
_RINGS = 128  # of the spectrum, from zero to the corner
_STRIP = 64  # rows of a spectrum
_MARGIN = 32  # px, mirrored, around an image that is filtered


def gaussian(image: Array, width: float) -> Array:
    """Filter an image by a Gaussian of a standard deviation in pixels; at the border it sees it mirrored.

    The same as SciPy's with ``mode="reflect"``, but for a wide one in the few cosine modes that it passes.
    """
    if width < _WIDE:
        return np.asarray(gaussian_filter(image, width, mode="reflect"))
    kept = [min(size, int(size * _PASSED / (math.pi * width)) + 2) for size in image.shape]
    down, across = (
        np.exp(-((math.pi * np.arange(number) / size * width) ** 2) / 2).astype(image.dtype)
        for number, size in zip(kept, image.shape, strict=True)
    )
    modes = dct(dct(image, axis=1, norm="ortho")[:, : kept[1]], axis=0, norm="ortho")[: kept[0]]
    modes *= down[:, np.newaxis] * across
    lines = idct(modes, axis=0, n=image.shape[0], norm="ortho", overwrite_x=True)
    return np.asarray(idct(lines, axis=1, n=image.shape[1], norm="ortho"))


def best_width(image: Array, shared: Correlation = WHITE, widths: NDArray[np.float64] = WIDTHS) -> float:
    """Return the width of the Gaussian filter of least expected error for an image with noise of variance 1.

    By SURE (Stein 1981), which for a filter H is Σ (1 − H)² P + 2 ΣHN over the power P of the modes, that of
    the noise being N.
    """
    rows, columns = image.shape
    power = np.abs(rfft2(image - image.mean())) ** 2 / image.size
    k2 = (fftfreq(rows)[:, np.newaxis] ** 2 + rfftfreq(columns) ** 2) * (2 * np.pi) ** 2
    weights = _weights(columns)
    top = 2 * np.pi**2
    place = np.minimum((k2 * (_BINS / top)).astype(np.intp), _BINS - 1)
    number = np.bincount(
        place.ravel(), (np.broadcast_to(weights, place.shape) * shared.power(image.shape)).ravel(), _BINS
    )
    binned = np.bincount(place.ravel(), (power * weights).ravel(), _BINS)
    middle = (np.arange(_BINS) + 0.5) * (top / _BINS)
    passed = np.exp(-middle * widths[:, np.newaxis] ** 2 / 2)
    risk = (1 - passed) ** 2 @ binned + 2 * passed @ number
    return float(widths[int(np.argmin(risk))])


class Filtered(NamedTuple):
    """An image after a linear filter.

    Attributes
    ----------
    image
        Shape (M, N).
    own
        Covariance of a pixel's noise before and after it, over its variance.
    squares
        Variance of the noise after it, over that before.
    """

    image: Array
    own: float
    squares: float


def radial_wiener(image: Array, noise: float, shared: Correlation = WHITE) -> Filtered:
    """Filter an image by Wiener's filter, one factor for all directions that falls with the frequency.

    What a lens does not pass no atom has, so beyond some frequency there is noise alone.

    Parameters
    ----------
    image
        Shape (M, N).
    noise
        Variance of its noise.
    shared
        What neighbours share of it.
    """
    rows, columns = image.shape
    of_image, of_noise = power_of(np.asarray(image, np.float32)), shared.power(image.shape)
    rings = np.zeros((3, _RINGS + 1))
    weights = _weights(columns)
    for some in _strips(rows):
        place = _ring_of(fftfreq(rows)[some], columns).astype(np.intp).ravel()
        for k, powers in enumerate((np.ones((1, 1)), of_image[some], _rows(of_noise, some))):
            values = np.broadcast_to(weights * powers, (place.size // weights.size, weights.size))
            rings[k] += np.bincount(place, values.ravel(), _RINGS + 1)
    del of_image, of_noise
    number, total, spread = rings
    power = total / np.maximum(number, 1)
    level = noise * spread / np.maximum(number, 1)
    factor = _falling(np.clip(1 - level / np.maximum(power, 1e-30), 0, 1), number)
    margin = min(_MARGIN, rows, columns)
    padded = np.pad(np.asarray(image, np.float32), margin, mode="symmetric")
    n, m = padded.shape
    modes = rfft2(padded, overwrite_x=True)
    del padded
    several, of_noise = _weights(m), shared.power((n, m))
    own, squares = 0.0, 0.0
    for some in _strips(n):
        passed = np.interp(_ring_of(fftfreq(n)[some], m) - 0.5, np.arange(_RINGS + 1), factor)
        modes[some] *= passed.astype(np.float32)
        passed_noise = passed * (several * _rows(of_noise, some))
        own += float(passed_noise.sum())
        squares += float(np.vdot(passed, passed_noise))
    result = irfft2(modes, (n, m), overwrite_x=True)[margin : margin + rows, margin : margin + columns]
    return Filtered(np.ascontiguousarray(result, np.float32), own / (n * m), squares / (n * m))


def _strips(rows: int) -> Iterator[slice]:
    """Yield strips of a spectrum, which is worked on in little memory."""
    for top in range(0, rows, _STRIP):
        yield slice(top, min(top + _STRIP, rows))


def _rows(power: Array, some: slice) -> Array:
    """Return some rows of a power that may be the same everywhere."""
    return power[some] if len(power) > 1 else power


def _ring_of(fy: NDArray[np.float64], columns: int) -> NDArray[np.float64]:
    """Return the number of the ring of modes of some frequencies fy."""
    return np.asarray(np.hypot(fy[:, np.newaxis], rfftfreq(columns)) * (_RINGS / np.sqrt(0.5)))


def _weights(columns: int) -> NDArray[np.float64]:
    """How many modes of the full transform a column of the real one stands for."""
    weights = np.full(columns // 2 + 1, 2.0)
    weights[0] = 1.0
    if columns % 2 == 0:
        weights[-1] = 1.0
    return weights


def _falling(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the closest values that never rise (pool adjacent violators)."""
    level: list[float] = []
    weight: list[float] = []
    length: list[int] = []
    for value, w in zip(values.tolist(), np.maximum(weights, 1e-9).tolist(), strict=True):
        level.append(value)
        weight.append(w)
        length.append(1)
        while len(level) > 1 and level[-2] < level[-1]:
            both = weight[-2] + weight[-1]
            level[-2:] = [(level[-2] * weight[-2] + level[-1] * weight[-1]) / both]
            weight[-2:] = [both]
            length[-2:] = [length[-2] + length[-1]]
    return np.repeat(level, length)
