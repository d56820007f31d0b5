"""How noisy an image is, and whether its noise is of the kind that a risk estimate can rest on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn
from scipy.ndimage import uniform_filter

from tvtasks.operators import Array

_TO_SIGMA = 1.4826  # median absolute deviation of a Gaussian → its standard deviation
_CLIP = 2.5
_CLIPPED = 0.97756  # of a standard Gaussian: mean of its square, cut off at _CLIP²
_BINS = 8
_MEDIAN_SQUARE = 0.4549  # of a standard Gaussian
_FINE = 0.75
FAR = 4.0
"""Standard deviations by which an outlier is beyond its neighbours."""


@dataclass(frozen=True)
class Noise:
    """Noise of an image, in its own unit.

    Attributes
    ----------
    sigma
        Standard deviation over the whole image.
    offset, gain
        Variance at an expected value m: ``offset + gain · m``. Counting gives a gain above 0, electronics 0.
    outliers
        Share of pixels that stand alone, four standard deviations beyond their neighbours; 1e-5 in Gaussian
        noise.
    correlation
        What the noise of pixels up to three apart shares, where it is most; 0 for white noise.
    """

    sigma: float
    offset: float
    gain: float
    outliers: float
    correlation: float

    def variance(self, expected: Array) -> Array:
        """Variance of the noise of pixels whose expected values are given."""
        floor = 0.01 * self.sigma**2
        return np.asarray(np.maximum(self.offset + self.gain * expected, floor))


def estimate_noise(image: Array) -> Noise:
    """Estimate the noise of an image, shape (M, N), or of pieces of one, shape (T, M, N); at least 8 × 8.

    The standard deviation is the spread, without outliers, of the response to Immerkær's mask, which sees
    neither planes nor stripes; the variance against brightness comes from the same response in eight classes
    of brightness.
    """
    f = np.asarray(image)
    f = f if f.dtype == np.float32 else f.astype(np.float64)
    f = f[np.newaxis] if f.ndim == 2 else f
    response = _response(f)
    bright = uniform_filter(f, (1, 3, 3), mode="reflect")[:, 1:-1, 1:-1].ravel()
    sigma = _spread(response.ravel())
    places = [k * bright.size // _BINS for k in range(1, _BINS)]
    kind = np.searchsorted(np.partition(bright, places)[places], bright)
    where, variance = [], []
    for k in range(_BINS):
        of_kind = kind == k
        responses = response.ravel()[of_kind]
        if responses.size > 30:
            where.append(float(bright[of_kind].mean(dtype=np.float64)))
            variance.append(_spread(responses) ** 2)
    gain, offset = 0.0, sigma**2
    if len(where) > 2 and np.ptp(where) > 0:
        slope, intercept = np.polyfit(where, variance, 1)
        gain, offset = max(float(slope), 0.0), float(intercept) if slope > 0 else sigma**2
    floor = _floor(f)
    if floor < _FINE * sigma**2:  # the mask took a lattice of few pixels for noise
        part = floor / sigma**2
        gain, offset = part * gain, part * offset
    total = float(np.mean(np.maximum(offset + gain * f, 0.0)))
    noise = Noise(math.sqrt(total), offset, gain, 0.0, _correlation(response))
    return replace(noise, outliers=float(outliers(f, noise)[:, 1:-1, 1:-1].mean()))


def _floor(f: Array) -> float:
    """Return the variance of white noise in a stack, from the median power of fine waves: lattices have few."""
    power = dctn(f, norm="ortho", axes=(1, 2))[:, f.shape[1] // 2 :, f.shape[2] // 2 :].ravel() ** 2
    return float(np.median(power)) / _MEDIAN_SQUARE


def outliers(image: Array, noise: Noise) -> NDArray[np.bool_]:
    """Return which pixels of a stack, shape (T, M, N), are far beyond all of their neighbours but one.

    A pixel of an edge, of a corner or of a line has two neighbours or more that are like it; one of salt and
    pepper has at most another such pixel beside it.
    """
    f = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="reflect")
    rows, columns = image.shape[1:]
    around = [
        f[:, 1 + i : 1 + i + rows, 1 + j : 1 + j + columns] for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j
    ]
    high, low = np.maximum(around[0], around[1]), np.minimum(around[0], around[1])
    next_high, next_low = low.copy(), high.copy()
    total = around[0] + around[1]
    for neighbour in around[2:]:
        np.maximum(next_high, np.minimum(high, neighbour), out=next_high)
        np.maximum(high, neighbour, out=high)
        np.minimum(next_low, np.maximum(low, neighbour), out=next_low)
        np.minimum(low, neighbour, out=low)
        total += neighbour
    limit = FAR * np.sqrt(noise.variance(total / 8))
    return np.asarray((image > next_high + limit) | (image < next_low - limit))


def _response(f: Array) -> Array:
    """Return the response to Immerkær's mask (1996), shape (T, M − 2, N − 2), in units of the noise.

    It is the difference of two Laplacians, (1, −2, 1) along rows and along columns: a plane and any function
    of x or y alone give 0.
    """
    down = f[:, :-2] - 2 * f[:, 1:-1] + f[:, 2:]
    return np.asarray((down[..., :-2] - 2 * down[..., 1:-1] + down[..., 2:]) / 6)


def _spread(response: Array) -> float:
    """Return the standard deviation of what lies within 2.5 of it, found in three rounds.

    The median absolute deviation alone would jump from one whole number of counts to the next.
    """
    squares = response * response
    middle = squares.size // 2
    variance = _TO_SIGMA**2 * float(np.partition(squares, middle)[middle])
    if variance == 0:
        variance = float(squares.mean(dtype=np.float64))
    for _ in range(3):
        variance = float(np.minimum(squares, _CLIP**2 * variance).mean(dtype=np.float64)) / _CLIPPED
    return math.sqrt(variance)


def _correlation(response: Array) -> float:
    """Return the correlation of the response at short distances, beyond what white noise has.

    The rows and columns of the mask are (1, −2, 1): white noise has −2/3, 1/6 and 0 at lags of 1, 2 and 3.
    """
    limit = 3 * _spread(response.ravel())
    r = np.clip(response, -limit, limit)
    power = float(np.mean(r * r))
    if power == 0:
        return 0.0
    beyond = [
        float(np.mean(a * b)) / power - expected
        for lag, expected in ((1, -2 / 3), (2, 1 / 6), (3, 0.0))
        for a, b in ((r[:, lag:], r[:, :-lag]), (r[..., lag:], r[..., :-lag]))
    ]
    return max(beyond, key=abs)
