"""λ of denoising: the one with the lowest expected error, estimated without the truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn
from scipy.ndimage import median_filter as scipy_median

from tvtasks.choosing.choice import Choice, fallback, lowest, with_lam
from tvtasks.choosing.noise import FAR, OUTLIERS, Noise, estimate_noise
from tvtasks.choosing.spectrum import kappa_along
from tvtasks.medians import median_filter
from tvtasks.models import HuberROF, Model
from tvtasks.operators import Array, Direction
from tvtasks.solvers import Gap, solve

LEAST_SIDE = 16
_SMALL = 128  # px; smaller images are used completely, larger ones in pieces
_PIECES = 3  # pieces along each side, at least: nine tiles
_LENGTHS = 32, 64  # px; smallest and largest side of a tile
# side of a tile as a fraction of the image's, between the two: nine tiles cover a sixth of its area
_SHARE = 0.14
_SEAM = 4  # px next to a seam that are ignored
_STOP = Gap(1e-2)  # closer to the minimum the estimate changes by less than its own scatter
_PROBE = 0.5  # size of the probe for the divergence, in standard deviations of the noise
_CORRELATION = 0.25  # correlation of neighbouring pixels above which noise and sample cannot be separated
_MASKED = 3  # one pixel in 3 × 3 is left out at a time
_NEIGHBOURS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
_AT_MOST = 9  # evaluations of the risk, at most
_STEP = 1.6  # ratio of two successive λ
_CS = np.geomspace(1e-3, 100.0, 100)  # c = αλ
_KAPPAS = np.geomspace(1e-7, 8.5, 240)  # edges of bins

Estimator = Callable[[Array, float], Array]


def choose_denoise(
    image: Array, model: Model, *, direction: Direction = "both", median: tuple[int, int] | None = None
) -> Choice:
    """Choose λ for denoising one image.

    Monte-Carlo SURE estimates the risk ‖u − truth‖², with the variance of each pixel in the divergence, as
    counting noise requires, on tiles all over the image that cover a sixth of it or less. For Huber-ROF where
    it is linear, SURE is a sum over cosine modes. If there are isolated pixels (salt and pepper), left-out
    pixels are predicted instead (J-invariance).

    Parameters
    ----------
    image
        Shape (M, N), real and finite, scaled as the model will see it, but before a median filter.
    model
        Its λ is the fallback.
    direction
        As in `tvtasks.solvers.solve`.
    median
        Rows and columns of a median filter before the denoising. It becomes part of the estimator, because
        after it the noise is no longer white.

    Returns
    -------
    Choice

    References
    ----------
    S. Ramani, T. Blu, M. Unser, "Monte-Carlo SURE: A Black-Box Optimization of Regularization Parameters for
    General Denoising Algorithms", IEEE Transactions on Image Processing 17 (2008) 1540–1554,
    doi:10.1109/TIP.2008.2001404.

    J. Batson, L. Royer, "Noise2Self: Blind Denoising by Self-Supervision", Proceedings of Machine Learning
    Research 97 (ICML 2019) 524–533, doi:10.48550/arXiv.1901.11365.
    """
    f = np.asarray(image, np.float64)
    if min(f.shape) < LEAST_SIDE:
        return fallback(model, f"{f.shape[0]} × {f.shape[1]} pixels are too few to estimate the noise.")
    pieces = _Pieces.of(f)
    noise = estimate_noise(pieces.tiles)
    evidence = {
        "noise_sigma": noise.sigma,
        "noise_gain": noise.gain,
        "outliers": noise.outliers,
        "noise_correlation": noise.correlation,
    }
    if not noise.sigma > 1e-6 * float(np.ptp(f)):
        return fallback(model, "The image has no measurable noise.", evidence)
    spiked = noise.outliers > OUTLIERS
    if not spiked and abs(noise.correlation) > _CORRELATION:
        return fallback(
            model,
            "Neighbouring pixels share their noise, so noise and sample cannot be separated. Was the image "
            "interpolated, filtered or compressed?",
            evidence,
        )

    def denoised(seen: Array, lam: float) -> Array:
        if median:
            seen = median_filter(seen, *median)
        return solve(seen, with_lam(model, lam), direction=direction, stop=_STOP).u

    words = f"The noise has a standard deviation of {noise.sigma:.3g}; this λ has the lowest expected error."
    start = 1.2 if direction == "both" else 0.7  # start of the search: the usual result
    if isinstance(model, HuberROF):
        start = (1.3 if median else 0.7) / noise.sigma
    if spiked:
        words = "Some pixels are far off (salt and pepper?); this λ predicts left-out pixels best."
        return _chosen(*_walk(_left_out(pieces, noise, denoised), start), "j-invariant", words, evidence)
    if isinstance(model, HuberROF) and model.alpha > 0:
        linear = _Linear.of(pieces.tiles, noise, model, direction)
        if linear.holds and not median:
            return _chosen(linear.lams, linear.risks, "sure", words, evidence, linear.lam)
        start = linear.lam * (1.0 if median else 0.65)
    return _chosen(*_walk(_sure(pieces, noise, denoised), start), "sure", words, evidence)


def _chosen(
    lams: list[float],
    values: list[float],
    rule: Literal["sure", "j-invariant"],
    words: str,
    evidence: dict[str, float],
    lam: float | None = None,
) -> Choice:
    best = int(np.argmin(values))
    inside = 0 < best < len(lams) - 1
    least = math.exp(lowest(np.log(lams), np.asarray(values))) if lam is None else lam
    return Choice(
        least,
        rule,
        ("high" if rule == "sure" else "medium") if inside else "low",
        words if inside else f"{words} It is at the end of the range that was tried.",
        tuple(lams),
        tuple(values),
        evidence,
    )


def _walk(risk: Callable[[float], float], start: float) -> tuple[list[float], list[float]]:
    """Step downhill from the start by a constant factor until the lowest risk has two neighbours."""
    found = {0: risk(start)}
    while len(found) < _AT_MOST:
        best = min(found, key=found.__getitem__)
        missing = [k for k in (best + 1, best - 1) if k not in found]
        if not missing:
            break
        found[missing[0]] = risk(start * _STEP ** missing[0])
    places = sorted(found)
    return [start * _STEP**k for k in places], [found[k] for k in places]


class _Pieces(NamedTuple):
    """The part of an image that is used: tiles all over it, minus its mean, in float32.

    Attributes
    ----------
    tiles
        Shape (T, m, n).
    image
        The tiles side by side, which is solved much faster than each of them; each is brought to its own
        level, so that the seams are not steps.
    levels
        What was subtracted for that, per pixel.
    inside
        Pixels that are not close to a seam.
    """

    tiles: Array
    image: Array
    levels: Array
    inside: NDArray[np.bool_]

    @classmethod
    def of(cls, f: Array) -> _Pieces:
        (down, height), (across, width) = (_cut(size, max(f.shape)) for size in f.shape)
        tops = _starts(f.shape[0], height, down, across)
        lefts = _starts(f.shape[1], width, across, down).T
        tiles = np.stack(
            [f[y : y + height, x : x + width] for y, x in zip(tops.ravel(), lefts.ravel(), strict=True)]
        )
        tiles = (tiles - f.mean()).astype(np.float32)
        levels = np.broadcast_to(tiles.mean(axis=(1, 2), keepdims=True), tiles.shape)
        whole, level = (
            np.moveaxis(stack.reshape(down, across, height, width), 2, 1).reshape(down * height, -1)
            for stack in (tiles, levels)
        )
        inside = np.logical_and.outer(_off_seams(down, height), _off_seams(across, width))
        return cls(tiles, whole - level, level, inside)


def _cut(size: int, longest: int) -> tuple[int, int]:
    """Return the number of pieces along a side of an image, and their length."""
    if size < _SMALL:
        return 1, size

    def length(side: int) -> int:
        return min(max(round(_SHARE * side), _LENGTHS[0]), _LENGTHS[1])

    number = max(_PIECES, math.ceil(math.sqrt(longest / length(longest))))
    return min(number, size // _LENGTHS[0]), length(size)


def _starts(size: int, length: int, number: int, others: int) -> NDArray[np.intp]:
    """Return where the pieces start along a side, shape (number, others).

    Each of the `others` is shifted by a part of the distance, so that no step fits between all of them.
    """
    place = (np.arange(number)[:, np.newaxis] + (np.arange(others) + 0.5) / others) / number
    return np.clip(np.rint(place * size - length / 2), 0, size - length).astype(np.intp)


def _off_seams(number: int, length: int) -> NDArray[np.bool_]:
    """Return which positions of some pieces of a line, joined end to end, are not close to a seam."""
    off = np.ones((number, length), bool)
    off[1:, :_SEAM] = off[:-1, length - _SEAM :] = False
    return off.ravel()


def _sure(pieces: _Pieces, noise: Noise, denoised: Estimator) -> Callable[[float], float]:
    image, inside = pieces.image, pieces.inside
    shake = np.random.default_rng(0).choice(np.array([-1, 1], image.dtype), size=image.shape)
    size = image.dtype.type(_PROBE * noise.sigma)
    variance = noise.variance(image + pieces.levels) * inside
    shaken, weights = image + size * shake, 2 / size * variance * shake
    number = np.count_nonzero(inside)
    constant = float(np.sum(variance, dtype=np.float64)) / number

    def risk(lam: float) -> float:
        u = denoised(image, lam)
        left, moved = (u - image) * inside, denoised(shaken, lam) - u
        return float(np.vdot(left, left) + np.vdot(weights, moved)) / number - constant

    return risk


def _left_out(pieces: _Pieces, noise: Noise, denoised: Estimator) -> Callable[[float], float]:
    """Return the squared error of predicting pixels that the estimator did not see.

    An outlier says nothing about the truth, so none is predicted. But the estimator must not keep outliers
    either: they are compared with their neighbours.
    """
    image = pieces.image
    rng = np.random.default_rng(0)
    mask = np.zeros(image.shape, bool)
    y, x = (np.arange(0, size - _MASKED + 1, _MASKED) for size in image.shape)
    shift = rng.integers(_MASKED, size=(2, y.size, x.size))
    mask[y[:, np.newaxis] + shift[0], x + shift[1]] = True
    around = scipy_median(image, footprint=_NEIGHBOURS, mode="reflect")
    outlier = np.abs(image - around) > FAR * np.sqrt(noise.variance(around + pieces.levels))
    hidden = np.where(mask, around, image)
    predicted, kept = mask & ~outlier & pieces.inside, outlier & ~mask & pieces.inside
    share = float(outlier.mean())

    def risk(lam: float) -> float:
        u = denoised(hidden, lam)
        error = float(np.mean((u - image)[predicted] ** 2, dtype=np.float64))
        if not kept.any():
            return error
        return (1 - share) * error + share * float(np.mean((u - around)[kept] ** 2, dtype=np.float64))

    return risk


class _Linear(NamedTuple):
    """SURE of Huber-ROF as if it were linear, from the cosine transform; exact where it is linear."""

    lam: float
    lams: list[float]
    risks: list[float]
    holds: bool
    """Whether Huber-ROF is linear at `lam`."""

    @classmethod
    def of(cls, tiles: Array, noise: Noise, model: HuberROF, direction: Direction) -> _Linear:
        modes = dctn(tiles, norm="ortho", axes=(1, 2))
        fy, fx = (np.arange(size) / (2 * size) for size in tiles.shape[1:])
        kappas = kappa_along(fy, fx, direction)
        power = np.mean(modes * modes, axis=0, dtype=np.float64)
        place = np.searchsorted(_KAPPAS, kappas.ravel())
        number = np.bincount(place, minlength=_KAPPAS.size + 1)
        binned = np.bincount(place, power.ravel(), _KAPPAS.size + 1)
        middle = np.bincount(place, kappas.ravel(), _KAPPAS.size + 1) / np.maximum(number, 1)
        passed = _CS[:, np.newaxis] / (_CS[:, np.newaxis] + middle)
        variance = float(np.mean(noise.variance(tiles)))
        risk = ((1 - passed) ** 2 @ binned + 2 * variance * (passed @ number)) / power.size - variance
        c = math.exp(lowest(np.log(_CS), risk))
        u = idctn(modes * (c / (c + kappas)).astype(modes.dtype), norm="ortho", axes=(1, 2))
        along = {"both": (1, 2), "x": (2,), "y": (1,)}[direction]
        steepest = sum(float(np.max(np.diff(u, axis=axis) ** 2)) for axis in along)
        alpha = max(model.alpha, 0.05 * noise.sigma)
        return cls(c / alpha, (_CS / alpha).tolist(), risk.tolist(), steepest <= model.alpha**2)
