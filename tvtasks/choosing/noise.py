"""How noisy an image is, and whether its noise is of the kind that a risk estimate can rest on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.fft import dctn

from tvtasks.operators import Array

_TO_SIGMA = 1.4826  # median absolute deviation of a Gaussian → its standard deviation
_CLIP = 2.5
_CLIPPED = 0.97756  # of a standard Gaussian: mean of its square, cut off at _CLIP²
_BINS = 8
_APART = 2.5  # times the gap between its neighbours that an outlier is from their middle
_GAP = 1.66  # median, between the second highest and the second lowest of eight standard Gaussians
_CROWDED = 0.7  # times what the mask says: where the gaps say less than that, there are outliers everywhere
_MEDIAN_SQUARE = 0.4549  # of a standard Gaussian
_FINE = 0.75  # of the variance by the mask: below, fine waves say that it is less
FAR = 4.0
"""Standard deviations by which an outlier is beyond its neighbours."""
OUTLIERS = 1e-3
"""Share of outliers above which noise is called neither Gaussian nor counting noise."""


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
    of brightness. Pixels that stand alone are counted, and replaced before the rest is measured.
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
    # The tops of sharp peaks are above their neighbours too, but the mask gives little there, and the
    # neighbours differ among themselves.
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
    # The mask took a lattice of few pixels for noise.
    return replace(
        noise, sigma=math.sqrt(part) * noise.sigma, offset=part * noise.offset, gain=part * noise.gain
    )


def _fitted(f: Array, response: Array, bright: Array, gap: Array) -> Noise:
    """Fit the variance to the brightness; `gap` is between neighbours of a pixel, without the extremes."""
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
    """Return the second highest and the second lowest of the eight neighbours of pixels inside of the images.

    A pixel of an edge, of a corner or of a line has two neighbours or more that are like it; one of salt and
    pepper has at most another such pixel beside it.
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
    """Return the standard deviation by the gap between second highest and second lowest neighbour.

    From their median, which still holds within a half where a fifth of the pixels are outliers, of which most
    places of the mask then have one. Structure makes it too large.
    """
    median = float(np.partition(gaps, gaps.size // 2)[gaps.size // 2])
    return median / _GAP if median > 0 else math.inf  # where there is hardly a count anywhere


def _floor(f: Array) -> float:
    """Return the variance of white noise in a stack: the median power of fine waves; lattices have few."""
    power = dctn(f, norm="ortho", axes=(1, 2))[:, f.shape[1] // 2 :, f.shape[2] // 2 :].ravel() ** 2
    return float(np.median(power)) / _MEDIAN_SQUARE


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
