"""What a crystal has only once: features of a residual that are beyond chance, found and put back.

A mean over translations shows what repeats. What does not (a vacancy, an atom between the others, a particle)
is left in the residual, under the noise of single pixels. Matched filters of several widths look for it; a
feature is taken where the response would come by chance, anywhere in the image and at any width, in one image
of twenty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.optimize import brentq
from scipy.special import ndtri

from tvtasks.operators import Array
from tvtasks.solvers.kernels import compiled

WIDTHS = tuple(0.8 * 2 ** (k / 2) for k in range(7))
"""Standard deviations of the matched filters in pixels; between two of them a response loses 3 %."""
FALSE_ALARMS = 0.05
"""Chance that noise makes a feature anywhere in an image."""
_ROUNDS = 6
_REACH = 4.0  # widths, beyond which a Gaussian is cut
_APART = 3.0  # widths, within which only the strongest is taken in one round
_LAGS = 3  # px over which noise may be shared by neighbours
_CLIP = 4.0  # standard deviations at which the residual is clipped to measure that


@dataclass(frozen=True, eq=False)
class Features:
    """Gaussians in a residual.

    Attributes
    ----------
    places
        Shape (k, 2), whole pixels.
    widths
        Standard deviations, in pixels.
    heights
        In the unit of the residual.
    """

    places: NDArray[np.intp]
    widths: NDArray[np.float64]
    heights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.widths)


def find_features(
    residual: Array, variance: Array, skewness: Array | float = 0.0, sites: NDArray[np.bool_] | None = None,
    *, false_alarms: float = FALSE_ALARMS,
) -> Features:  # fmt: skip
    """Find the Gaussians of a residual that noise would not make.

    The largest response of a matched filter over an image of noise exceeds τ with a chance of about the
    expected Euler characteristic, N τ exp(−τ²/2) / ((2π)^{3/2} 2s²) for N pixels and a width s (Adler 1981;
    Worsley et al. 1996), on each side of zero; half of `false_alarms` is shared among the widths, the other
    half among the sites of the lattice, where fewer tests allow a lower τ. Sums of few counts are skewed: the
    response is first turned into the signed root of the deviance of Poisson counts of the same variance and
    skewness (McCullagh & Nelder 1989), which is nearly Gaussian. What noise neighbours share is measured in
    the residual itself.

    Parameters
    ----------
    residual
        Image less what is expected, shape (M, N).
    variance
        Of each of its pixels.
    skewness
        Of each of its pixels; 1/√m for m counts.
    sites
        Where atoms are expected.
    false_alarms
        Chance of a false feature in an image of noise.
    """
    left = np.array(residual, np.float32)
    scale = (1 / np.sqrt(variance)).astype(np.float32)
    shared = _autocovariance(left * scale)
    deviations = [_deviation(shared, s) for s in WIDTHS]
    limits = _limits(left.shape, sites, false_alarms)
    skews = [_skewness_of_sum(skewness, s) for s in WIDTHS]
    found: list[tuple[int, int, int, float]] = []
    for _ in range(_ROUNDS):
        standard = left * scale
        best = np.full(left.shape, -np.inf, np.float32)
        which = np.zeros(left.shape, np.int8)
        strength = np.zeros(left.shape, np.float32)
        for k, s in enumerate(WIDTHS):
            z = np.abs(_unskewed(gaussian_filter(standard, s, mode="reflect") / deviations[k], skews[k]))
            excess = z - limits[k]
            better = excess > best
            best[better], which[better], strength[better] = excess[better], k, z[better]
        peaks = (best > 0) & (strength == maximum_filter(strength, 3))
        y, x = np.nonzero(peaks)
        if not y.size:
            break
        order = np.argsort(-strength[y, x], kind="stable")
        picked = np.stack([y, x, which[y, x]], axis=1)[order].astype(np.intp)
        heights = _take(left, picked, np.array(WIDTHS), _APART, _REACH)
        taken = ~np.isnan(heights)
        found += [(*place, height) for place, height in zip(picked[taken].tolist(), heights[taken].tolist(), strict=True)]
    places = np.array([entry[:2] for entry in found], np.intp).reshape(-1, 2)
    widths = np.array([WIDTHS[entry[2]] for entry in found])
    return Features(places, widths, np.array([entry[3] for entry in found]))


def fit_features(residual: Array, features: Features, *, sweeps: int = 2) -> tuple[Array, Array]:
    """Fit the heights of features anew to another residual, and draw them.

    Returns
    -------
    image
        Sum of the features.
    share
        Weight that a pixel of the residual has in its own fitted value; also the variance of the fit over that
        of a pixel.
    """
    left = np.array(residual, np.float32)
    drawn, share = np.zeros((2, *left.shape), np.float32)
    _fit(left, features.places, features.widths, _REACH, sweeps, drawn, share)
    return drawn, np.minimum(share, 1)


def _autocovariance(standard: Array) -> NDArray[np.float64]:
    """Autocovariance at lags of up to 3 pixels, shape (7, 7), of what is within four standard deviations."""
    r = np.clip(standard, -_CLIP, _CLIP)
    r = r - r.mean(dtype=np.float64).astype(r.dtype)
    rows, columns = r.shape
    out = np.zeros((2 * _LAGS + 1, 2 * _LAGS + 1))
    for dy in range(_LAGS + 1):
        for dx in range(-_LAGS, _LAGS + 1):
            a = r[dy:, max(dx, 0) : columns + min(dx, 0)]
            b = r[: rows - dy, max(-dx, 0) : columns + min(-dx, 0)]
            value = float(np.vdot(a, b)) / a.size
            out[_LAGS + dy, _LAGS + dx] = out[_LAGS - dy, _LAGS - dx] = value
    noise = 3 / math.sqrt(r.size)  # what white noise shows by chance
    small = np.abs(out) < noise
    small[_LAGS, _LAGS] = False
    out[small] = 0
    out[_LAGS, _LAGS] = max(out[_LAGS, _LAGS], 1.0)
    return out


def _deviation(shared: NDArray[np.float64], width: float) -> float:
    """Standard deviation of noise of an autocovariance after a Gaussian filter."""
    lag = np.arange(-_LAGS, _LAGS + 1)
    line = np.exp(-(lag**2) / (4 * width**2)) / math.sqrt(4 * math.pi) / width
    white = 1 / (4 * math.pi * width**2)
    return math.sqrt(max(float(line @ shared @ line), white))


def _limits(shape: tuple[int, ...], sites: NDArray[np.bool_] | None, false_alarms: float) -> list[Array]:
    """Threshold of each width, lower at the sites."""
    size = math.prod(shape)
    chance = false_alarms / len(WIDTHS) * (0.5 if sites is not None else 1.0)
    out = []
    for s in WIDTHS:
        fields = size / ((2 * math.pi) ** 1.5 * 2 * s**2)
        everywhere = brentq(lambda t, n=fields: 2 * n * t * math.exp(-t * t / 2) - chance, 1.5, 40)
        limit = np.full(shape, everywhere, np.float32)
        if sites is not None and sites.any():
            one = -float(ndtri(chance / 2 / int(sites.sum())))
            limit[maximum_filter(sites, 3)] = min(everywhere, one + 0.15)  # of nine pixels at a site the best counts
        out.append(limit)
    return out


def _skewness_of_sum(skewness: Array | float, width: float) -> Array | float:
    """Skewness of a weighted sum: that of its pixels times Σg³ / (Σg²)^{3/2} of a Gaussian."""
    factor = (2 / 3) / math.sqrt(math.pi) / width
    if isinstance(skewness, float):
        return factor * skewness
    return np.asarray(factor * gaussian_filter(skewness, width / math.sqrt(3), mode="reflect"), np.float32)


def _unskewed(z: Array, skewness: Array | float) -> Array:
    """Signed root of the deviance of Poisson counts that have this skewness: 1/√λ for λ counts."""
    if isinstance(skewness, float) and skewness < 1e-6:
        return z
    k = np.maximum(skewness, 1e-6)
    x = np.maximum(z * k, -1 + 1e-6)
    deviance = 2 * ((1 + x) * np.log1p(x) - x) / k**2
    # Where λ is large the difference of two nearly equal numbers is lost in float32.
    series = z * z * (1 - x / 3)
    return np.asarray(np.sign(z) * np.sqrt(np.maximum(np.where(np.abs(x) < 0.02, series, deviance), 0)), np.float32)


@compiled
def _take(left: Array, picked: Array, widths: Array, apart: float, reach: float) -> Array:
    """Fit and subtract Gaussians at places, the first first; one that lies in another's range is left out."""
    rows, columns = left.shape
    taken = np.zeros((rows, columns), np.bool_)
    heights = np.full(len(picked), np.nan)
    for k in range(len(picked)):
        y, x, s = picked[k, 0], picked[k, 1], widths[picked[k, 2]]
        if taken[y, x]:
            continue
        near = int(np.ceil(apart * s))
        taken[max(0, y - near) : y + near + 1, max(0, x - near) : x + near + 1] = True
        r = int(np.ceil(reach * s))
        top, bottom, first, last = max(0, y - r), min(rows, y + r + 1), max(0, x - r), min(columns, x + r + 1)
        total, norm = 0.0, 0.0
        for i in range(top, bottom):
            for j in range(first, last):
                g = np.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * s * s))
                total += g * left[i, j]
                norm += g * g
        heights[k] = total / norm
        for i in range(top, bottom):
            for j in range(first, last):
                left[i, j] -= heights[k] * np.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * s * s))
    return heights


@compiled
def _fit(
    left: Array, places: Array, widths: Array, reach: float, sweeps: int, drawn: Array, share: Array
) -> None:
    """Fit heights one after the other, `sweeps` times; draw them."""
    rows, columns = left.shape
    for sweep in range(sweeps):
        for k in range(len(widths)):
            y, x, s = places[k, 0], places[k, 1], widths[k]
            r = int(np.ceil(reach * s))
            top, bottom, first, last = max(0, y - r), min(rows, y + r + 1), max(0, x - r), min(columns, x + r + 1)
            total, norm = 0.0, 0.0
            for i in range(top, bottom):
                for j in range(first, last):
                    g = np.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * s * s))
                    total += g * left[i, j]
                    norm += g * g
            height = total / norm
            for i in range(top, bottom):
                for j in range(first, last):
                    g = np.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * s * s))
                    left[i, j] -= height * g
                    drawn[i, j] += height * g
                    if sweep == 0:
                        share[i, j] += g * g / norm
