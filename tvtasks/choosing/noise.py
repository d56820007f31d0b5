"""How noisy an image is, and whether a risk estimate can rely on its noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.fft import dctn

from tvtasks.operators import Array

_TO_SIGMA = 1.4826  # standard deviation of a Gaussian divided by its median absolute deviation
_CLIP = 2.5
_CLIPPED = 0.97756  # mean of the square of a standard Gaussian, clipped at _CLIP²
_BINS = 8
_APART = 2.5  # an outlier is this many gaps between its neighbours away from their middle
_GAP = 1.66  # median gap between the second highest and the second lowest of eight standard Gaussians
_CROWDED = 0.7  # below this ratio of the gaps' to the mask's estimate, outliers are everywhere
_MEDIAN_SQUARE = 0.4549  # median of the square of a standard Gaussian
_FINE = 0.75  # below this fraction of the mask's variance, the one of the fine waves is used
_NEARLY_EVEN = 0.05  # of the variance that depends on the brightness, below which it is taken as constant
FAR = 4.0
"""An outlier is this many standard deviations beyond its neighbours."""
OUTLIERS = 1e-3
"""Fraction of outliers above which noise counts as neither Gaussian nor counting noise."""


@dataclass(frozen=True)
class Noise:
    """Noise of an image, in the unit of the image.

    Attributes
    ----------
    sigma
        Standard deviation over the whole image.
    offset, gain
        Variance at an expected value m: ``offset + gain · m``. Counting noise has a gain above 0, electronic
        noise 0.
    outliers
        Fraction of isolated pixels, four standard deviations beyond their neighbours; 1e-5 in Gaussian noise.
    correlation
        The strongest correlation of the noise of pixels up to three apart; 0 for white noise.
    """

    sigma: float
    offset: float
    gain: float
    outliers: float
    correlation: float

    def variance(self, expected: Array) -> Array:
        """Return the variance of the noise of pixels with the given expected values."""
        floor = 0.01 * self.sigma**2
        return np.asarray(np.maximum(self.offset + self.gain * expected, floor))


def estimate_noise(image: Array) -> Noise:
    """Estimate the noise of an image (M, N), or of pieces of an image (T, M, N), of at least 8 × 8 pixels.

    The standard deviation is the spread, without outliers, of the response to Immerkær's mask, which sees
    neither planes nor stripes. The variance as a function of brightness comes from the same response in eight
    classes of brightness. Isolated pixels are counted, and replaced before the rest is measured.

    References
    ----------
    J. Immerkær, "Fast Noise Variance Estimation", Computer Vision and Image Understanding 64 (1996) 300–302,
    doi:10.1006/cviu.1996.0060.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.random.default_rng(0).normal(0, 0.1, (128, 128))
    >>> round(estimate_noise(image).sigma, 2)
    0.1
    """
    f = np.asarray(image)
    f = f if f.dtype == np.float32 else f.astype(np.float64)
    f = f[np.newaxis] if f.ndim == 2 else f
    inner = np.s_[:, 1:-1, 1:-1]
    high, low = _around(f)
    bright = (high + low) / 2
    response = _response(f)
    noise = _fitted(f, response, bright, high - low)
    limit = FAR * np.sqrt(noise.variance(bright))
    # The tops of sharp peaks exceed their neighbours as well, but there the mask responds little, and the
    # neighbours differ.
    alone = ((f[inner] > high + limit) | (f[inner] < low - limit)) & (np.abs(response) > limit)
    alone &= np.abs(f[inner] - bright) > _APART * (high - low)
    share = float(alone.mean())
    if share > OUTLIERS:
        f = f.copy()
        f[inner][alone] = bright[alone]
        response = _response(f)
        noise = _fitted(f, response, bright, high - low)
    noise = replace(noise, outliers=share, correlation=_correlation(response))
    part = _floor(f) / noise.sigma**2 if noise.sigma > 0 else 1.0
    if part > _FINE:
        return noise
    # The mask mistook a lattice of few pixels for noise.
    return replace(
        noise, sigma=math.sqrt(part) * noise.sigma, offset=part * noise.offset, gain=part * noise.gain
    )


def _fitted(f: Array, response: Array, bright: Array, gap: Array) -> Noise:
    """Fit the variance to the brightness; `gap` is that of a pixel's neighbours without extremes."""
    r, b, g = response.ravel(), bright.ravel(), gap.ravel()
    by_mask, by_gaps = _spread(r), _by_gaps(g)
    crowded = by_gaps < _CROWDED * by_mask
    sigma = by_gaps if crowded else by_mask
    places = [k * b.size // _BINS for k in range(1, _BINS)]
    kind = np.searchsorted(np.partition(b, places)[places], b)
    where, variance = [], []
    for k in range(_BINS):
        of_kind = kind == k
        if np.count_nonzero(of_kind) > 30:
            where.append(float(b[of_kind].mean(dtype=np.float64)))
            spread = _spread(r[of_kind])
            variance.append((min(_by_gaps(g[of_kind]), spread) if crowded else spread) ** 2)
    gain, offset = 0.0, sigma**2
    if len(where) > 2 and np.ptp(where) > 0:
        slope, intercept = np.polyfit(where, variance, 1)
        gain, offset = max(float(slope), 0.0), float(intercept) if slope > 0 else sigma**2
    total = float(np.mean(np.maximum(offset + gain * f, 0.0)))
    return Noise(math.sqrt(total), offset, gain, 0.0, 0.0)


def _around(f: Array) -> tuple[Array, Array]:
    """Return the second highest and the second lowest of the eight neighbours of the inner pixels.

    A pixel of an edge, a corner or a line has at least two neighbours like itself; a pixel of salt and pepper
    has at most one.
    """
    rows, columns = f.shape[1] - 2, f.shape[2] - 2
    around = [f[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    first, last = np.maximum(around[0], around[1]), np.minimum(around[0], around[1])
    high, low = last.copy(), first.copy()
    for neighbour in around[2:]:
        np.maximum(high, np.minimum(first, neighbour), out=high)
        np.maximum(first, neighbour, out=first)
        np.minimum(low, np.maximum(last, neighbour), out=low)
        np.minimum(last, neighbour, out=last)
    return high, low


def _by_gaps(gaps: Array) -> float:
    """Return the standard deviation from the gap between the second highest and second lowest neighbour.

    It uses the median gap, which is right to within a half even if a fifth of the pixels are outliers, when
    most positions of the mask contain one. Structure makes the estimate too large.
    """
    median = float(np.partition(gaps, gaps.size // 2)[gaps.size // 2])
    return median / _GAP if median > 0 else math.inf  # nearly no pixel has a count


def _floor(f: Array) -> float:
    """Return the variance of white noise in a stack: the median power of fine waves."""
    power = dctn(f, norm="ortho", axes=(1, 2))[:, f.shape[1] // 2 :, f.shape[2] // 2 :].ravel() ** 2
    return float(np.median(power)) / _MEDIAN_SQUARE


def _response(f: Array) -> Array:
    """Return the response to Immerkær's mask, shape (T, M − 2, N − 2), in units of the noise.

    The mask is the difference of two Laplacians, (1, −2, 1) along rows and along columns; it gives 0 for a
    plane and for any function of x or y alone.
    """
    down = f[:, :-2] - 2 * f[:, 1:-1] + f[:, 2:]
    return np.asarray((down[..., :-2] - 2 * down[..., 1:-1] + down[..., 2:]) / 6)


def _spread(response: Array) -> float:
    """Return the standard deviation of the part within 2.5 standard deviations, in three iterations.

    The median absolute deviation alone would jump from one whole count to the next.
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
    """Return the correlation of the response at short distances, beyond that of white noise.

    Rows and columns of the mask are (1, −2, 1): white noise gives −2/3, 1/6 and 0 at lags of 1, 2 and 3.
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


def stabilised(image: Array, noise: Noise) -> Array:
    """Turn noise of variance offset + gain · m into one of variance 1 (Anscombe's transform, generalised).

    Of what was smoothed before, the variance becomes that of the smoothing.
    """
    middle = float(noise.variance(np.asarray(image.mean())))
    if 2 * noise.gain * float(image.std()) < _NEARLY_EVEN * middle:
        return np.asarray(image / math.sqrt(middle), np.float32)
    inner = np.maximum(noise.gain * image + (0.375 * noise.gain**2 + noise.offset), 0)
    return np.asarray(2 / noise.gain * np.sqrt(inner), np.float32)
