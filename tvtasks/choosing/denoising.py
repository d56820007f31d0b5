"""Denoising without a parameter: by what repeats where there is a lattice, by patches and blocks elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, median_filter, rank_filter

from tvtasks.choosing.correlation import WHITE, Correlation
from tvtasks.choosing.choice import with_lam
from tvtasks.choosing.mixing import Estimate, mixed
from tvtasks.choosing.noise import FAR, OUTLIERS, Noise, estimate_noise
from tvtasks.choosing.risk import choose_denoise
from tvtasks.choosing.smoothing import WIDE_WIDTHS, best_width, gaussian, radial_wiener
from tvtasks.choosing.spectrum import Peak, spectrum
from tvtasks.errors import UnusableImageError
from tvtasks.models import HuberROF
from tvtasks.operators import Array
from tvtasks.solvers import Gap, solve
from tvtasks.solvers.cosine_wiener import TRANSFORM, cosine_wiener
from tvtasks.solvers.features import Features, autocovariance, find_features, fit_features
from tvtasks.solvers.lattice_mean import Mean, shifted_means
from tvtasks.solvers.line_offsets import LineOffsets, line_offsets, moved_lines
from tvtasks.solvers.translations import NEAR, Translations, find_translations, near_translations

Method = Literal["lattice-mean", "non-local-means", "total-variation", "none"]

_LEAST_SIDE = 32
_SLOW = 1.6  # periods: a Gaussian of this width is taken off before the mean; 1.2 gave .04 dB less, .75 .08
_AGAIN, _LEAST_AGAIN = 0.75, 6.0  # periods, px: of the one that is put back, from an image without the lattice
_PATCH, _LEAST_PATCH, _MOST_PATCH = 0.6, 7, 15  # periods, px
_SAFE = 0.12  # periods that a pilot is smoothed where the noise is not known yet
_OUT_OF_PLACE = 1.4  # excess of the lines' offsets from which on they are moved; crystals in place have up to 1.1
_STRAIGHTENINGS = 2
_MISFIT = 0.15  # periods that the residual is smoothed to see what does not fit
_OF_MISFIT, _BLUR_OF_MEAN, _BLUR_OF_BLOCKS = 0.75, 0.5, 0.2  # shares that give 95 % of coverage, scenes 0–5
_LOCAL_PERIOD = 12.0  # px, in place of a period where there is no lattice
_NEAR_PATCH, _NEAR_SHARPNESS = 5, 0.8  # px; patches of 7 gave .3 dB less on SEM, a sharpness of .4 .6 dB (tuned 0–3)
_USUAL = HuberROF(4.0, 0.05)
"""Today's choice, for an image in [0, 1]."""
_AROUND = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
_DESPIKINGS = 3  # where there are many, some lie side by side
_FEW = 5.0  # counts
_TV = HuberROF(1.0, 0.3)  # α in standard deviations of the noise
_STOP = Gap(1e-2)
_SHAKEN = 0.3  # standard deviations of the noise
_RISK_WINDOW = 10.0  # px over which Stein's estimate of the error is averaged to be believed
_SMOOTH = 1.4  # px of the pilot's width from which every other pixel is looked at
_WINDOW, _LEAST_WINDOW, _LOCAL_WINDOW = 0.4, 2.0, 4.0  # periods, px, px: where errors are averaged
_LOCAL = 0.01  # share of a Gaussian filter in the mixture from which on blocks are filtered as well
_ANSCOMBE = 0.05  # of the variance that depends on the brightness, below which it is taken as constant


@dataclass(frozen=True, eq=False)
class Denoised:
    """An image without its noise, and how sure it is.

    Attributes
    ----------
    image
        Shape (M, N), in the unit of what was given.
    errors
        Standard error of each pixel, in that unit: an interval of 1.96 of them about `image` holds the expected
        value of 95 % of the pixels. NaN where nothing is known of them.
    looks
        How many independent pixels an average of the same precision would have.
    method
        ``lattice-mean``, ``non-local-means`` (with a Wiener filter), ``total-variation`` or ``none``.
    reason
        A sentence for the person at the microscope.
    evidence
        The numbers behind it, safe for JSON.
    """

    image: Array
    errors: Array
    looks: Array
    method: Method
    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)


def denoise_auto(image: Array, *, noise: Noise | None = None, threads: int = 1) -> Denoised:
    """Denoise an image by what suits it: nothing is to be set.

    Where a lattice stands out of the spectrum, pixels are averaged with those a translation of the lattice away
    (`lattice-mean`), and what does not repeat is put back where it is beyond chance. Elsewhere, and where
    there is no lattice, similar patches nearby are averaged (Buades, Coll & Morel 2005), then blocks are
    filtered by Wiener's rule. Estimates are mixed by Stein's estimate of their error.

    Parameters
    ----------
    image
        Shape (M, N), real and finite, as the instrument recorded it or with its faults taken off: raw counts are
        best.
    noise
        Of the image, in its unit; estimated where it is not given.
    threads
        Cores to use; the result is the same bit for bit.

    Raises
    ------
    UnusableImageError
        If the image is not two-dimensional, or holds NaN or infinity.
    """
    f = np.asarray(image)
    if f.ndim != 2 or f.dtype.kind not in "biuf" or not np.isfinite(f).all():
        raise UnusableImageError("Only a two-dimensional image of finite real numbers can be denoised.")
    f = f.astype(np.float64)
    dtype = np.float64 if np.asarray(image).dtype != np.float32 else np.float32
    if min(f.shape) < _LEAST_SIDE:
        reason = f"{f.shape[0]} × {f.shape[1]} pixels are too few to denoise: it needs {_LEAST_SIDE} of each."
        return _untouched(f.astype(dtype), math.nan, reason)
    noise = estimate_noise(f) if noise is None else noise
    if not noise.sigma > 1e-6 * float(np.ptp(f)):
        return _untouched(f.astype(dtype), 0.0, "The image has no noise that could be measured.")
    level, unit = float(np.median(f)), noise.sigma
    scaled = ((f - level) / unit).astype(np.float32)
    known = replace(
        noise, sigma=1.0, offset=(noise.offset + noise.gain * level) / unit**2, gain=noise.gain / unit
    )
    scaled, spikes = _without_spikes(scaled, known)
    peaks = spectrum(stabilised(scaled, known)).peaks
    evidence = {
        "noise_sigma": noise.sigma, "noise_gain": noise.gain, "noise_correlation": noise.correlation,
        "spikes": spikes,
    }  # fmt: skip
    if not peaks and _is_shared(known):
        return _as_before(f, dtype, evidence, threads)
    found = _by_lattice(scaled, known, peaks, threads) if peaks else _locally(scaled, known, threads)
    errors = np.sqrt(found.error)
    looks = found.variance / np.maximum(found.error, 1e-9)
    return Denoised(
        (level + unit * found.estimate.values.astype(np.float64)).astype(dtype),
        (unit * errors).astype(dtype), looks.astype(np.float32), found.method, found.reason,
        evidence | found.evidence,
    )  # fmt: skip


def _untouched(image: Array, error: float, reason: str) -> Denoised:
    return Denoised(image, np.full_like(image, error), np.ones(image.shape, np.float32), "none", reason)


def _as_before(f: Array, dtype: type[np.floating[Any]], evidence: dict[str, Any], threads: int) -> Denoised:
    """Total variation at the strength that suits most images: of noise that neighbours share nothing is known."""
    low, unit = float(f.min()), float(np.ptp(f))
    choice = choose_denoise((f - low) / unit, _USUAL)
    solution = solve((f - low) / unit, with_lam(_USUAL, choice.lam), stop=Gap(1e-3), threads=threads)
    image = (low + unit * solution.u).astype(dtype)
    reason = (
        "Neighbouring pixels share their noise (was the image interpolated, filtered or compressed?) and there is "
        "no lattice to measure it by, so it cannot be told from the sample: total variation at its usual strength."
    )
    return Denoised(
        image, np.full_like(image, np.nan), np.full(f.shape, np.nan, np.float32), "total-variation", reason,
        evidence | {"lam": choice.lam},
    )  # fmt: skip


def _without_spikes(f: Array, noise: Noise) -> tuple[Array, int]:
    """Give pixels that stand alone, if there are too many for chance, the median of those around; count them.

    Among few counts any count stands alone.
    """
    if noise.outliers <= OUTLIERS or noise.gain > 0 and 1 < _FEW * noise.gain**2:
        return f, 0
    total = 0
    for _ in range(_DESPIKINGS):
        around = median_filter(f, footprint=_AROUND, mode="reflect")
        high, low = (rank_filter(f, rank, footprint=_AROUND, mode="reflect") for rank in (-2, 1))
        limit = FAR * np.sqrt(_variance(noise, around))
        alone = (f > high + limit) | (f < low - limit)
        number = int(np.count_nonzero(alone))
        f, total = np.where(alone, around, f), total + number
        if number < OUTLIERS * f.size:
            break
    return f, total


@dataclass(frozen=True, eq=False)
class _Found:
    """What came of one way, in units of the noise."""

    estimate: Estimate
    variance: Array
    error: Array
    """Expected squared error."""
    method: Method
    reason: str
    evidence: dict[str, Any]


def stabilised(image: Array, noise: Noise) -> Array:
    """Turn noise of variance offset + gain · m into one of variance 1 (Anscombe's transform, generalised).

    Of what was smoothed before, the variance becomes that of the smoothing.
    """
    middle = float(noise.variance(np.asarray(image.mean())))
    if 2 * noise.gain * float(image.std()) < _ANSCOMBE * middle:
        return np.asarray(image / math.sqrt(middle), np.float32)
    inner = np.maximum(noise.gain * image + (0.375 * noise.gain**2 + noise.offset), 0)
    return np.asarray(2 / noise.gain * np.sqrt(inner), np.float32)


# --- crystals --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Crystal:
    """What is settled once for a crystal; a repetition of the measurement has the same."""

    noise: Noise
    shared: Correlation
    width: float
    period: float
    patch: int
    step: int
    translations: Translations
    features: Features | None = None

    @classmethod
    def of(cls, f: Array, noise: Noise, shared: Correlation, width: float, period: float, threads: int) -> _Crystal:
        """Find the translations, at a width of the pilot."""
        patch = int(np.clip(_PATCH * period, _LEAST_PATCH, _MOST_PATCH)) | 1
        step = 2 if width >= _SMOOTH or patch >= 11 else 1
        pilot = _pilot(f, noise, width, period)
        found = find_translations(pilot, period, shared.smoothed(width), step=step, threads=threads)
        return cls(noise, shared, width, period, patch, step, found)

    @property
    def remaining(self) -> float:
        """Variance of the noise in the pilot."""
        return self.shared.smoothed(self.width)

    @property
    def window(self) -> float:
        return max(_LEAST_WINDOW, _WINDOW * self.period)


def _pilot(f: Array, noise: Noise, width: float, period: float) -> Array:
    """What is compared: smoothed, with noise of the same variance everywhere, without what is slow."""
    pilot = stabilised(gaussian(f, width), noise)
    return np.asarray(pilot - gaussian(pilot, _SLOW * period))


def _by_lattice(f: Array, noise: Noise, peaks: tuple[Peak, ...], threads: int) -> _Found:
    period = 1 / peaks[0].frequency
    shared = WHITE
    if _is_shared(noise):
        noise, shared = _seen_in_residual(f, noise, period, threads)
    width = best_width(stabilised(f, noise), shared)
    crystal = _Crystal.of(f, noise, shared, width, period, threads)
    adapted, plain = _means(f, crystal, threads)
    recorded, lines = f, None
    seen = line_offsets(f, adapted.values, _variance(noise, adapted.values))
    if seen.excess > _OUT_OF_PLACE:
        for _ in range(_STRAIGHTENINGS):
            lines = seen.shrunk()
            f = moved_lines(recorded, -lines.offsets)
            crystal = _Crystal.of(f, noise, shared, width, period, threads)
            adapted, plain = _means(f, crystal, threads)
            variance = _variance(noise, adapted.values)
            seen = line_offsets(recorded, adapted.values, variance, lines.offsets)
    assert plain is not None
    noise = noise_of_residual(f - adapted.values, adapted, noise)
    variance = _variance(noise, plain.values)
    features = find_features(
        f - plain.values, variance * (1 + 1 / plain.looks), _skewness(noise, variance), _sites(plain.values, period)
    )
    del plain
    crystal = replace(crystal, noise=noise, features=features)
    estimate, shares = _estimate(f, adapted, variance, crystal, threads)
    del adapted
    error = _squared_error(
        f, estimate, variance, shared, crystal.window, period, lambda again: _once(again, variance, crystal, threads)
    )
    if lines is not None:
        estimate, error = _put_back(estimate, error, lines)
    looks = float(np.median(1 / estimate.noise))
    evidence = {
        "lattice_period_px": period, "lattice_waves": [[p.fy, p.fx] for p in peaks], "features": len(features),
        "looks": looks, "shares": shares, "translations": float(np.mean([len(s) for s in crystal.translations.shifts])),
        "line_offsets_rms_px": 0.0 if lines is None else float(np.std(lines.offsets)), "line_excess": seen.excess,
        "noise_shared": shared.strongest,
    }  # fmt: skip
    reason = (
        f"A lattice stands out of the spectrum (longest wave {period:.3g} pixels), so each pixel is the mean of "
        f"about {looks:.0f} that are a translation of it away; {len(features)} features that do not repeat were "
        "beyond chance and put back."
    )
    return _Found(estimate, variance, error, "lattice-mean", reason, evidence)


def _put_back(estimate: Estimate, error: Array, lines: LineOffsets) -> tuple[Estimate, Array]:
    """Move lines to where they were recorded; that this is not known exactly is an error of its own."""
    values = moved_lines(estimate.values, lines.offsets)
    slope = np.gradient(values, axis=1)
    more = slope**2 * (lines.errors[:, np.newaxis] ** 2).astype(np.float32)
    return estimate._replace(values=values), error + more


def _is_shared(noise: Noise) -> bool:
    """Whether neighbouring pixels seem to share their noise.

    Immerkær's mask sees fine waves only, of which such noise has few: it reads −.05 for noise blurred by .4
    pixels, −.15 for .5 and −.33 for .6; white noise on the crystals of the tuned scenes reads −.06 to .13.
    """
    return not -0.08 < noise.correlation < 0.2


def _seen_in_residual(f: Array, noise: Noise, period: float, threads: int) -> tuple[Noise, Correlation]:
    """Measure noise that neighbours share where the crystal is known: in what the plain mean leaves."""
    width = max(best_width(stabilised(f, noise)), _SAFE * period)
    crystal = _Crystal.of(f, noise, WHITE, width, period, threads)
    _, plain = _means(f, crystal, threads)
    assert plain is not None
    residual = f - plain.values
    power = float(np.mean(np.minimum(residual**2, 9 * float(np.median(residual**2)) / 0.455)))
    noise = replace(noise, sigma=math.sqrt(power), offset=power, gain=0.0 if noise.gain == 0 else 1e-9)
    noise = noise_of_residual(residual, plain, noise)
    lags = autocovariance(residual / np.sqrt(_variance(noise, plain.values)))
    middle = lags[lags.shape[0] // 2, lags.shape[1] // 2]
    return noise, Correlation(lags / middle)


def _means(f: Array, crystal: _Crystal, threads: int, *, plainly: bool = True) -> tuple[Mean, Mean | None]:
    """Return the means over translations; what is slow is not averaged, but put back."""
    slow = _SLOW * crystal.period
    pilot = _pilot(f, crystal.noise, crystal.width, crystal.period)
    adapted, plain = shifted_means(
        f - gaussian(f, slow), pilot, crystal.translations, noise=crystal.remaining, width=crystal.width,
        patch=crystal.patch, step=crystal.step, plainly=plainly, threads=threads,
    )  # fmt: skip

    def whole(mean: Mean) -> Mean:
        # At the border a lattice leaks into what is slow; so that is found again, with the lattice taken off.
        return replace(mean, values=mean.values + gaussian(f - mean.values, max(_AGAIN * crystal.period, _LEAST_AGAIN)))

    return whole(adapted), None if plain is None else whole(plain)


def _once(f: Array, variance: Array, crystal: _Crystal, threads: int) -> Array:
    """Denoise a repetition of the measurement."""
    adapted, _ = _means(f, crystal, threads, plainly=False)
    return _estimate(f, adapted, variance, crystal, threads)[0].values


def _estimate(
    f: Array, adapted: Mean, variance: Array, crystal: _Crystal, threads: int
) -> tuple[Estimate, dict[str, float]]:
    """Mix the mean, the mean without what no lens passes, and a local estimate, all with their features."""
    filtered = radial_wiener(adapted.values, float(np.mean(variance / adapted.looks)), crystal.shared)
    candidates = {
        "mean": Estimate(adapted.values, adapted.own, 1 / adapted.looks),
        "filtered mean": Estimate(
            filtered.image, adapted.own * np.float32(filtered.own), np.float32(filtered.squares) / adapted.looks,
            np.float32(_BLUR_OF_MEAN * (filtered.own - filtered.squares)) / adapted.looks,
        ),
    }
    if crystal.features is not None:
        candidates = {name: _with_features(f, one, crystal.features) for name, one in candidates.items()}
    candidates["Gaussian"] = _gaussian(f, crystal.width, crystal.shared)
    estimate, shares = mixed(f, variance, list(candidates.values()), crystal.window)
    if float(shares[-1].mean()) > _LOCAL:
        colours = crystal.shared.of_blocks(TRANSFORM)
        blocks = cosine_wiener(f, estimate.values, variance, colours, threads=threads)
        candidates["blocks"] = _wiener(blocks)
        estimate, shares = mixed(f, variance, list(candidates.values()), crystal.window)
    return estimate, {name: float(share.mean()) for name, share in zip(candidates, shares, strict=True)}


def _with_features(f: Array, estimate: Estimate, features: Features) -> Estimate:
    drawn, share = fit_features(f - estimate.values, features)
    return estimate._replace(values=estimate.values + drawn, own=estimate.own + share, noise=estimate.noise + share)


def _wiener(mean: Mean) -> Estimate:
    """Of a Wiener filter the expected squared error is the variance times the derivative: noise and blur."""
    noise = 1 / mean.looks
    return Estimate(mean.values, mean.own, noise, np.float32(_BLUR_OF_BLOCKS) * np.maximum(mean.own - noise, 0))


def _gaussian(f: Array, width: float, shared: Correlation = WHITE) -> Estimate:
    values = gaussian(f, width)
    one = np.ones_like(values)
    return Estimate(values, one * np.float32(shared.with_own(width)), one * np.float32(shared.smoothed(width)))


def _sites(image: Array, period: float) -> NDArray[np.bool_]:
    """Maxima of a lattice."""
    side = int(period / 2) | 1
    return np.asarray((image == maximum_filter(image, side)) & (image > gaussian(image, period)))


def _variance(noise: Noise, expected: Array) -> Array:
    return np.asarray(noise.variance(expected), np.float32)


def _skewness(noise: Noise, variance: Array) -> Array | float:
    """Skewness of each pixel, if what depends on the brightness is counts."""
    if noise.gain <= 0:
        return 0.0
    share = np.clip(1 - max(noise.offset, 0.0) / variance, 0, 1)
    return np.asarray(noise.gain * share / np.sqrt(variance), np.float32)


def noise_of_residual(residual: Array, mean: Mean, before: Noise) -> Noise:
    """Fit the noise anew to what a mean leaves, by classes of brightness."""
    shrunk = 1 - 2 * mean.own + 1 / mean.looks
    squares = residual**2 / np.maximum(shrunk, 0.05)
    usable = mean.looks > 0.3 * float(np.median(mean.looks))
    b, s = mean.values[usable], squares[usable]
    if b.size < 1000 or float(np.median(mean.looks)) < 5:
        return before
    edges = np.quantile(b, np.linspace(0, 1, 17)[1:-1])
    kind = np.searchsorted(edges, b)
    limit = (25 * _variance(before, b)).astype(np.float32)
    number = np.bincount(kind, minlength=16)
    where = np.bincount(kind, b, 16) / np.maximum(number, 1)
    level = np.bincount(kind, np.minimum(s, limit), 16) / np.maximum(number, 1)
    gain, offset = np.polyfit(where, level, 1, w=np.sqrt(number) / np.maximum(level, 1e-12))
    if gain <= 0 or before.gain == 0:
        total = float(np.average(level, weights=number))
        return replace(before, gain=0.0, offset=total, sigma=math.sqrt(total))
    total = float(np.average(np.maximum(offset + gain * where, 0), weights=number))
    return replace(before, gain=float(gain), offset=float(offset), sigma=math.sqrt(total))


def _squared_error(
    f: Array, estimate: Estimate, variance: Array, shared: Correlation, window: float, period: float,
    once: Callable[[Array], Array],
) -> Array:  # fmt: skip
    """Expected squared error of each pixel of an estimate.

    It has three parts. What the noise makes is the variance of the estimate by its weights, times a factor that a
    simulated repetition of the measurement gives about each pixel: weights depend on the noise, too. What a
    Wiener filter takes of the sample is known on average. And where means over unlike places have left a
    misfit, the residual, smoothed a little, is larger than in the repetition.
    """
    rng = np.random.default_rng(0)
    again = estimate.values + shared.drawn(rng, variance.shape) * np.sqrt(variance)
    repeated = once(again)
    error = repeated - estimate.values
    factor = gaussian(error * error, window) / gaussian(variance * estimate.noise, window)
    deviation = np.sqrt(variance)
    width, reach = max(_MISFIT * period, 0.8), max(period, 10.0)
    misfit = gaussian((f - estimate.values) / deviation, width) ** 2
    misfit -= gaussian((again - repeated) / deviation, width) ** 2
    misfit = np.maximum(gaussian(misfit, reach), 0)
    return np.asarray(variance * (factor * estimate.noise + estimate.blur + np.float32(_OF_MISFIT) * misfit))


# --- no lattice ------------------------------------------------------------------------------------------------


def _locally(f: Array, noise: Noise, threads: int) -> _Found:
    z = stabilised(f, noise)
    width, wide = best_width(z), best_width(z, widths=WIDE_WIDTHS)
    variance = _variance(noise, gaussian(f, width))
    near = near_translations(f.shape)
    one = np.ones_like(f)

    choice = choose_denoise(f, _TV)

    def once(f: Array) -> tuple[Estimate, dict[str, float]]:
        pilot = stabilised(gaussian(f, width), noise)
        mean, _ = shifted_means(
            f, pilot, near, noise=WHITE.smoothed(width), width=width, patch=_NEAR_PATCH, sharpness=_NEAR_SHARPNESS,
            plainly=False, threads=threads,
        )  # fmt: skip
        smooth, flat = _gaussian(f, wide), _total_variation(f, choice.lam, threads)
        patches = Estimate(mean.values, mean.own, 1 / mean.looks)
        first, _ = mixed(f, variance, [patches, smooth, flat, Estimate(f, one, one)], _LOCAL_WINDOW)
        blocks = _wiener(cosine_wiener(f, first.values, variance, threads=threads))
        estimate, shares = mixed(f, variance, [blocks, smooth, flat], 2 * _LOCAL_WINDOW)
        names = ("blocks", "Gaussian", "total variation")
        return estimate, {name: float(share.mean()) for name, share in zip(names, shares, strict=True)}

    estimate, shares = once(f)
    error = _squared_error(
        f, estimate, variance, WHITE, _LOCAL_WINDOW, _LOCAL_PERIOD, lambda again: once(again)[0].values
    )
    risk = gaussian((estimate.values - f) ** 2 / variance + 2 * estimate.own - 1, _RISK_WINDOW)
    error = np.maximum(error, variance * (risk - math.sqrt(2 / (4 * math.pi)) / _RISK_WINDOW))
    looks = float(np.median(variance / error))
    reason = (
        "No lattice stands out of the spectrum, so similar patches within "
        f"{NEAR} pixels were averaged and blocks of the image filtered; that is worth about {looks:.0f} images."
    )
    return _Found(estimate, variance, error, "non-local-means", reason, {"looks": looks, "shares": shares})


def _total_variation(f: Array, lam: float, threads: int) -> Estimate:
    """Minimise Huber-ROF; the derivative by the datum is estimated by shaking the image (Ramani et al. 2008)."""
    model = with_lam(_TV, lam)
    shake = np.random.default_rng(1).choice(np.array([-_SHAKEN, _SHAKEN], np.float32), size=f.shape)
    u, moved = (solve(image, model, stop=_STOP, threads=threads).u for image in (f, f + shake))
    own = np.clip(gaussian((moved - u) / shake, _RISK_WINDOW), 1e-4, 1).astype(np.float32)
    return Estimate(u.astype(np.float32), own, own)
