"""How noisy an image is, and whether its noise is of the kind that a risk estimate can rest on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import convolve, uniform_filter

from tvtasks.operators import Array

# Immerkær 1996: the difference of two Laplacians; a plane and any function of x or y alone give 0.
_MASK = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])
_TO_SIGMA = 1.4826  # median absolute deviation of a Gaussian → its standard deviation
_CLIP = 2.5
_CLIPPED = 0.97756  # of a standard Gaussian: mean of its square, cut off at _CLIP²
_BINS = 8
FAR = 4.0
"""Standard deviations beyond which a pixel is called an outlier; 6 of 100,000 are, of Gaussian noise."""


@dataclass(frozen=True)
class Noise:
    """Noise of an image, in its own unit.

    Attributes
    ----------
    sigma
        Standard deviation over the whole image.
    offset, gain
        Variance at an expected value m: ``offset + gain · m``. Counting gives a gain above 0, electronics 0.
    tails
        Share of the mask's responses beyond four standard deviations; 6e-5 for Gaussian noise.
    correlation
        What the noise of pixels up to three apart shares, where it is most; 0 for white noise.
    """

    sigma: float
    offset: float
    gain: float
    tails: float
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
    f = np.asarray(image, np.float64)
    f = f[np.newaxis] if f.ndim == 2 else f
    inner = np.s_[:, 1:-1, 1:-1]
    response = convolve(f, _MASK[np.newaxis], mode="reflect")[inner] / 6
    bright = uniform_filter(f, (1, 3, 3), mode="reflect")[inner]
    sigma = _spread(response)
    edges = np.quantile(bright, np.linspace(0, 1, _BINS + 1)[1:-1])
    kind = np.searchsorted(edges, bright.ravel())
    where, variance = [], []
    for k in range(_BINS):
        of_kind = response.ravel()[kind == k]
        if of_kind.size > 30:
            where.append(float(bright.ravel()[kind == k].mean()))
            variance.append(_spread(of_kind) ** 2)
    gain, offset = 0.0, sigma**2
    if len(where) > 2 and np.ptp(where) > 0:
        slope, intercept = np.polyfit(where, variance, 1)
        gain, offset = max(float(slope), 0.0), float(intercept) if slope > 0 else sigma**2
    total = float(np.mean(np.maximum(offset + gain * f, 0.0)))
    limit = FAR * np.sqrt(np.maximum(offset + gain * bright, 0.01 * sigma**2))
    return Noise(
        sigma=float(np.sqrt(total)),
        offset=offset,
        gain=gain,
        tails=float(np.mean(np.abs(response) > limit)),
        correlation=_correlation(response),
    )


def _spread(response: Array) -> float:
    """Return the standard deviation of what lies within 2.5 of it, found in three rounds.

    The median absolute deviation alone would jump from one whole number of counts to the next.
    """
    squares = response * response
    variance = _TO_SIGMA**2 * float(np.median(squares))
    if variance == 0:
        variance = float(squares.mean())
    for _ in range(3):
        variance = float(np.minimum(squares, _CLIP**2 * variance).mean()) / _CLIPPED
    return float(np.sqrt(variance))


def _correlation(response: Array) -> float:
    """Return the correlation of the response at short distances, beyond what white noise has.

    The rows and columns of the mask are (1, −2, 1): white noise has −2/3, 1/6 and 0 at lags of 1, 2 and 3.
    """
    limit = 3 * _spread(response)
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
