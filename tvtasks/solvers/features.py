"""What a crystal has only once: features of a residual that are beyond chance, found and put back.

A mean over translations shows what repeats. What does not (a vacancy, an atom between the others, a particle)
is left in the residual, under the noise of single pixels. Matched filters of several widths look for it; a
feature is taken where the response would come by chance, anywhere in the image and at any width, in one image
of twenty.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d, maximum_filter
from scipy.optimize import brentq
from scipy.special import ndtri

from tvtasks.operators import Array
from tvtasks.solvers.kernels import compiled

WIDTHS = tuple(0.8 * 2 ** (k / 2) for k in range(7))
"""Standard deviations of the matched filters in pixels; between two of them a response loses 3 %."""
FALSE_ALARMS = 0.05
"""Chance that noise makes a feature anywhere in an image."""
_COARSER = (3, 5)  # widths from which on every other pixel of the one before will do
_SUSPICIOUS = 2.5  # standard deviations from which on a response is looked at more closely
_ROUNDS = 6
_REACH = 4.0  # widths, beyond which a Gaussian is cut
_APART = 3.0  # widths, within which only the strongest is taken in one round
_STRIP = 64  # rows that are worked on at a time
_LAGS = 4  # px over which noise may be shared by neighbours
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
        Image less what is expected, shape (M, N); an array of float32 is used up.
    variance
        Of each of its pixels.
    skewness
        Of each of its pixels; 1/√m for m counts.
    sites
        Where atoms are expected.
    false_alarms
        Chance of a false feature in an image of noise.
    """
    skews = None
    if not isinstance(skewness, float):  # it is smooth
        skews = [
            gaussian_filter(skewness, s / math.sqrt(3), mode="reflect")[::2, ::2].copy()
            for s in (WIDTHS[1], WIDTHS[5])
        ]
    del skewness
    left = np.asarray(residual, np.float32)
    scale = np.sqrt(variance, dtype=np.float32)
    np.reciprocal(scale, out=scale)
    del variance
    shared = autocovariance(left * scale)
    shared[_LAGS, _LAGS] = max(shared[_LAGS, _LAGS], 1.0)
    deviations = [_deviation(shared, s) for s in WIDTHS]
    everywhere, at_sites = _limits(left.size, sites, false_alarms)
    near_site = None if sites is None else maximum_filter(sites, 3)
    found: list[NDArray[np.float64]] = []
    for _ in range(_ROUNDS):
        beyond = []
        for k, z, grid in _responses(left * scale, deviations):
            low = at_sites[k] if near_site is not None else everywhere[k]
            size = np.abs(z)
            y, x = np.nonzero((size > min(low, _SUSPICIOUS)) & (size == maximum_filter(size, 3)))
            del size
            strength, y, x = z[y, x].astype(np.float64), y * grid, x * grid
            if skews is not None:
                strength = _unskewed(
                    strength, skews[int(k > 3)][y // 2, x // 2] * (2 / 3 / math.sqrt(math.pi) / WIDTHS[k])
                )
            limit = np.full(y.shape, everywhere[k])
            if near_site is not None:
                limit[near_site[y, x]] = at_sites[k]
            chosen = np.abs(strength) > limit
            beyond.append(np.stack([y, x, np.full(y.shape, k), np.abs(strength)], axis=1)[chosen])
        picked = np.concatenate(beyond)
        if not len(picked):
            break
        picked = picked[np.lexsort((picked[:, 2], -picked[:, 3]))]
        taken = _take(left, picked[:, :3].astype(np.intp), np.array(WIDTHS), _APART, _REACH)
        found.append(taken[~np.isnan(taken[:, 2])])
    all_found = np.concatenate(found) if found else np.empty((0, 4))
    return Features(all_found[:, :2].astype(np.intp), all_found[:, 3], all_found[:, 2])


def _responses(standard: Array, deviations: list[float]) -> Iterator[tuple[int, Array, int]]:
    """Yield the number of a width, the response in standard deviations, and the grid on which it is given.

    What was smoothed needs fewer pixels: wide filters work on every other, or fourth, of a narrower one.
    """
    base, last, had, grid = standard, standard, 0.0, 1
    for k, s in enumerate(WIDTHS):
        if k in _COARSER:
            had = WIDTHS[k - 1]
            base, grid = np.ascontiguousarray(last[::2, ::2]), 2 * grid
        last = gaussian_filter(base, math.sqrt(s**2 - had**2) / grid, mode="reflect")
        down, across = (_at_border(size, s / grid) for size in base.shape)
        z = last / across
        z /= np.float32(deviations[k]) * down[:, np.newaxis]
        yield k, z, grid
        del z


def _at_border(size: int, width: float) -> Array:
    """Deviation of filtered noise along a line over that far from its ends: what is mirrored counts twice."""
    some = min(size, 2 * math.ceil(_REACH * width) + 1)
    kernels = gaussian_filter1d(np.eye(some), width, axis=0, mode="reflect")
    norm = np.sqrt(np.sum(kernels**2, axis=1) * 2 * math.sqrt(math.pi) * width)
    half = (some + 1) // 2
    out = np.ones(size, np.float32)
    out[:half] = norm[:half]
    out[size - half :] = norm[some - half :]
    return out


def add_features(image: Array, residual: Array, features: Features, *, sweeps: int = 2) -> Array:
    """Fit the heights of features anew to another residual, and add them to an image, both of float32.

    The residual is used up.

    Returns
    -------
    share
        Weight that a pixel of the residual has in its own fitted value; also the variance of the fit over
        that of a pixel.
    """
    share = np.zeros(image.shape, np.float32)
    _fit(residual, features.places, features.widths, _REACH, sweeps, image, share)
    return np.minimum(share, 1, out=share)


def autocovariance(standard: Array) -> NDArray[np.float64]:
    """Autocovariance at lags of up to 4 pixels, shape (9, 9), of what is within four standard deviations."""
    r = np.clip(standard, -_CLIP, _CLIP)
    del standard
    r -= r.mean(dtype=np.float64).astype(r.dtype)
    rows, columns = r.shape
    out = np.zeros((2 * _LAGS + 1, 2 * _LAGS + 1))
    for dy in range(_LAGS + 1):
        for dx in range(-_LAGS, _LAGS + 1):
            a = r[dy:, max(dx, 0) : columns + min(dx, 0)]
            b = r[: rows - dy, max(-dx, 0) : columns + min(-dx, 0)]
            total = sum(
                float(np.vdot(a[i : i + _STRIP], b[i : i + _STRIP])) for i in range(0, len(a), _STRIP)
            )
            value = total / a.size
            out[_LAGS + dy, _LAGS + dx] = out[_LAGS - dy, _LAGS - dx] = value
    noise = 3 / math.sqrt(r.size)  # what white noise shows by chance
    small = np.abs(out) < noise
    small[_LAGS, _LAGS] = False
    out[small] = 0
    return out


def _deviation(shared: NDArray[np.float64], width: float) -> float:
    """Return the standard deviation of noise of an autocovariance after a Gaussian filter."""
    lag = np.arange(-_LAGS, _LAGS + 1)
    line = np.exp(-(lag**2) / (4 * width**2)) / math.sqrt(4 * math.pi) / width
    white = 1 / (4 * math.pi * width**2)
    return math.sqrt(max(float(line @ shared @ line), white))


def _limits(
    size: int, sites: NDArray[np.bool_] | None, false_alarms: float
) -> tuple[list[float], list[float]]:
    """Threshold of each width, everywhere and at the sites."""
    chance = false_alarms / len(WIDTHS) * (0.5 if sites is not None else 1.0)
    everywhere = []
    for s in WIDTHS:
        fields = size / ((2 * math.pi) ** 1.5 * 2 * s**2)
        everywhere.append(brentq(lambda t, n=fields: 2 * n * t * math.exp(-t * t / 2) - chance, 1.5, 40))
    if sites is None or not sites.any():
        return everywhere, everywhere
    # Of nine pixels at a site the best counts; the narrower the filter, the more they differ.
    one = [-float(ndtri(chance / 2 / int(sites.sum()))) + 0.2 / max(s, 1.0) for s in WIDTHS]
    return everywhere, [min(pair) for pair in zip(everywhere, one, strict=True)]


def _unskewed(z: NDArray[np.float64], skewness: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signed root of the deviance of Poisson counts that have this skewness: 1/√λ for λ counts."""
    k = np.maximum(skewness, 1e-6)
    x = np.maximum(z * k, -1 + 1e-9)
    # For many counts the deviance is the difference of two nearly equal numbers.
    deviance = np.where(np.abs(x) < 1e-3, z * z * (1 - x / 3), 2 * ((1 + x) * np.log1p(x) - x) / k**2)
    return np.asarray(np.sign(z) * np.sqrt(np.maximum(deviance, 0)))


@compiled
def _projection(left: Array, y: int, x: int, s: float, reach: float) -> tuple[float, float]:
    """Return Σ g r and Σ g² for a Gaussian g at a place."""
    rows, columns = left.shape
    r = int(np.ceil(reach * s))
    total, norm = 0.0, 0.0
    for i in range(max(0, y - r), min(rows, y + r + 1)):
        for j in range(max(0, x - r), min(columns, x + r + 1)):
            g = np.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * s * s))
            total += g * left[i, j]
            norm += g * g
    return total, norm


@compiled
def _take(left: Array, picked: Array, widths: Array, apart: float, reach: float) -> Array:
    """Fit and subtract Gaussians, the first first; one that lies in another's range is left out.

    Returns rows of y, x, height, width; the height is NaN for one that is left out.
    """
    rows, columns = left.shape
    taken = np.zeros((rows, columns), np.bool_)
    out = np.full((len(picked), 4), np.nan)
    for k in range(len(picked)):
        y, x, s = picked[k, 0], picked[k, 1], widths[picked[k, 2]]
        if taken[y, x]:
            continue
        near = int(np.ceil(apart * s))
        taken[max(0, y - near) : y + near + 1, max(0, x - near) : x + near + 1] = True
        total, norm = _projection(left, y, x, s, reach)
        for _ in range(4):  # wide filters know their place to within a pixel or two
            moved = False
            for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                if 0 <= y + dy < rows and 0 <= x + dx < columns:
                    other, of_other = _projection(left, y + dy, x + dx, s, reach)
                    if abs(other) / np.sqrt(of_other) > abs(total) / np.sqrt(norm):
                        y, x, total, norm, moved = y + dy, x + dx, other, of_other, True
            if not moved:
                break
        height = total / norm
        out[k, 0], out[k, 1], out[k, 2], out[k, 3] = y, x, height, s
        r = int(np.ceil(reach * s))
        for i in range(max(0, y - r), min(rows, y + r + 1)):
            for j in range(max(0, x - r), min(columns, x + r + 1)):
                left[i, j] -= height * np.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * s * s))
    return out


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
            top, bottom, first, last = (
                max(0, y - r),
                min(rows, y + r + 1),
                max(0, x - r),
                min(columns, x + r + 1),
            )
            total, norm = _projection(left, y, x, s, reach)
            height = total / norm
            for i in range(top, bottom):
                for j in range(first, last):
                    g = np.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * s * s))
                    left[i, j] -= height * g
                    drawn[i, j] += height * g
                    if sweep == 0:
                        share[i, j] += g * g / norm
