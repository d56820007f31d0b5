"""λ of denoising: the one with the least expected error, which can be estimated without the truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn
from scipy.ndimage import median_filter

from tvtasks.choosing.choice import Choice, fallback, lowest, with_lam
from tvtasks.choosing.noise import FAR, Noise, estimate_noise
from tvtasks.choosing.spectrum import kappa_along
from tvtasks.models import HuberROF, Model
from tvtasks.operators import Array, Direction
from tvtasks.solvers import Gap, solve

LEAST_SIDE = 16
_SMALL = 128  # px; a smaller image is looked at as a whole, a larger one on four tiles, a quarter of it
_STOP = Gap(1e-2)  # nearer the minimum the estimate moves by less than its own scatter
_PROBE = 0.5  # of the noise's standard deviation: how far the image is shaken for the divergence
_TAILS = 1e-3  # share of outliers above which noise is not called Gaussian or counting noise
_CORRELATION = 0.25  # between neighbouring pixels, above which noise cannot be told from the sample
_MASKED = 4  # one pixel in 4 × 4 is left out at a time
_NEIGHBOURS = np.array([[[1, 1, 1], [1, 0, 1], [1, 1, 1]]])
_AT_MOST = 9  # evaluations of the risk
_STEP = 1.6  # between two λ

Stack = NDArray[np.float64]


def choose_denoise(
    image: Array, model: Model, *, direction: Direction = "both", median: tuple[int, int] | None = None
) -> Choice:
    """Choose λ for denoising one image.

    The risk ‖u − truth‖² is estimated by Monte-Carlo SURE (Ramani, Blu & Unser 2008) with the variance of
    each pixel in the divergence, as counting noise asks for, on four tiles, a quarter of the image.
    For Huber-ROF where it is linear it is a sum over cosine modes. Where the noise has heavy tails (salt and
    pepper), pixels are left out and predicted instead (J-invariance, Batson & Royer 2019).

    Parameters
    ----------
    image
        Shape (M, N), real and finite, as the model will see it, but before the median filter if there is one.
    model
        Its λ is the fallback.
    direction
        As in `solve`.
    median
        Rows and columns of a median filter that comes before the denoising; it is made part of the estimator,
        because after it the noise is no longer white.

    Returns
    -------
    Choice
    """
    f = np.asarray(image, np.float64)
    if min(f.shape) < LEAST_SIDE:
        return fallback(
            model, f"{f.shape[0]} × {f.shape[1]} pixels are too few to find the noise of an image."
        )
    tiles = _tiles(f)
    noise = estimate_noise(tiles)
    evidence = {
        "noise_sigma": noise.sigma, "noise_gain": noise.gain, "outliers": noise.tails,
        "noise_correlation": noise.correlation,
    }  # fmt: skip
    if noise.sigma <= 1e-6 * float(np.ptp(f)):
        return fallback(model, "The image has no noise that could be measured.", evidence)

    def denoised(stack: Stack, lam: float) -> Stack:
        if median and median != (1, 1):
            stack = median_filter(stack, (1, *median), mode="reflect")
        return np.asarray(solve(stack, with_lam(model, lam), direction=direction, stop=_STOP).u)

    if noise.tails > _TAILS:
        start = _linear_start(tiles, noise, model, direction)[0] if isinstance(model, HuberROF) else 1.0
        lams, values = _walk(_left_out(tiles, noise, denoised), start)
        words = (
            "Some pixels are far off (salt and pepper?), so λ is the one that predicts left-out pixels best."
        )
        return _chosen(lams, values, "j-invariant", words, evidence)
    if abs(noise.correlation) > _CORRELATION:
        return fallback(
            model, "Neighbouring pixels share their noise (was the image interpolated, filtered or "
            "compressed?), so it cannot be told from the sample.", evidence,
        )  # fmt: skip
    words = f"The noise is {noise.sigma:.3g} (standard deviation); λ has the least expected error."
    start = 1.0
    if isinstance(model, HuberROF) and model.alpha > 0:
        start, lams, values = _linear_start(tiles, noise, model, direction)
        linear = solve(tiles[0], with_lam(model, start), direction=direction, stop=_STOP).method == "linear"
        if linear and not median:
            return _chosen(lams, values, "sure", words, evidence, start)
    elif isinstance(model, HuberROF):
        start = 0.5 / noise.sigma
    lams, values = _walk(_sure(tiles, noise, denoised), start)
    return _chosen(lams, values, "sure", words, evidence)


def _chosen(
    lams: list[float], values: list[float], rule: Literal["sure", "j-invariant"], words: str,
    evidence: dict[str, float], lam: float | None = None,
) -> Choice:  # fmt: skip
    best = int(np.argmin(values))
    inside = 0 < best < len(lams) - 1
    least = math.exp(lowest(np.log(lams), np.asarray(values))) if lam is None else lam
    return Choice(
        least, rule, ("high" if rule == "sure" else "medium") if inside else "low",
        words if inside else f"{words} It lies at the end of what was tried.",
        tuple(lams), tuple(values), evidence,
    )  # fmt: skip


def _walk(risk: Callable[[float], float], start: float) -> tuple[list[float], list[float]]:
    """Evaluate in steps of a constant factor, downhill from the start, until the least has two neighbours."""
    found = {0: risk(start)}
    while len(found) < _AT_MOST:
        best = min(found, key=found.__getitem__)
        missing = [k for k in (best + 1, best - 1) if k not in found]
        if not missing:
            break
        found[missing[0]] = risk(start * _STEP ** missing[0])
    places = sorted(found)
    return [start * _STEP**k for k in places], [found[k] for k in places]


def _sure(tiles: Stack, noise: Noise, denoised: Callable[[Stack, float], Stack]) -> Callable[[float], float]:
    shake = np.random.default_rng(0).choice((-1.0, 1.0), size=tiles.shape)
    size = _PROBE * noise.sigma
    variance = noise.variance(tiles)
    weights = variance * shake / size

    def risk(lam: float) -> float:
        u, shaken = denoised(tiles, lam), denoised(tiles + size * shake, lam)
        return float(np.mean((u - tiles) ** 2 - variance + 2 * weights * (shaken - u)))

    return risk


def _left_out(
    tiles: Stack, noise: Noise, denoised: Callable[[Stack, float], Stack]
) -> Callable[[float], float]:
    """Squared error of predicting pixels that the estimator did not see, and of outliers against neighbours.

    An outlier says nothing of the truth, so none is predicted; but the estimator must not keep it either.
    """
    rng = np.random.default_rng(0)
    frames, rows, columns = tiles.shape
    mask = np.zeros(tiles.shape, bool)
    y, x = (np.arange(0, size - _MASKED + 1, _MASKED) for size in (rows, columns))
    shift = rng.integers(_MASKED, size=(2, frames, y.size, x.size))
    frame = np.arange(frames)[:, np.newaxis, np.newaxis]
    mask[frame, y[:, np.newaxis] + shift[0], x + shift[1]] = True
    around = median_filter(tiles, footprint=_NEIGHBOURS, mode="reflect")
    outlier = np.abs(tiles - around) > FAR * np.sqrt(noise.variance(around))
    hidden = np.where(mask, around, tiles)
    share = float(outlier.mean())

    def risk(lam: float) -> float:
        predicted = float(np.mean((denoised(hidden, lam) - tiles)[mask & ~outlier] ** 2))
        if share == 0:
            return predicted
        return (1 - share) * predicted + share * float(np.mean((denoised(tiles, lam) - around)[outlier] ** 2))

    return risk


def _linear_start(
    tiles: Stack, noise: Noise, model: HuberROF, direction: Direction
) -> tuple[float, list[float], list[float]]:
    """SURE of Huber-ROF as if it were linear: exact, from the cosine transform."""
    power = np.mean(dctn(tiles - tiles.mean(), norm="ortho", axes=(1, 2)) ** 2, axis=0)
    fy, fx = (np.arange(size) / (2 * size) for size in power.shape)
    kappas = kappa_along(fy, fx, direction)
    edges = np.geomspace(1e-7, 8.5, 240)
    place = np.searchsorted(edges, kappas.ravel())
    number = np.bincount(place, minlength=edges.size + 1)
    binned = np.bincount(place, power.ravel(), edges.size + 1)
    middle = np.bincount(place, kappas.ravel(), edges.size + 1) / np.maximum(number, 1)
    cs = np.geomspace(1e-3, 100.0, 100)
    passed = cs[:, np.newaxis] / (cs[:, np.newaxis] + middle)
    variance = float(np.mean(noise.variance(tiles)))
    risk = ((1 - passed) ** 2 @ binned + 2 * variance * (passed @ number)) / power.size - variance
    alpha = max(model.alpha, 0.05 * noise.sigma)
    return math.exp(lowest(np.log(cs), risk)) / alpha, (cs / alpha).tolist(), risk.tolist()


def _tiles(f: Array) -> Stack:
    rows, columns = f.shape
    if min(rows, columns) < _SMALL:
        return f[np.newaxis]
    tops, lefts = ((size // 8, size // 8 + size // 2) for size in (rows, columns))
    return np.stack([f[y : y + rows // 4, x : x + columns // 4] for y in tops for x in lefts])
