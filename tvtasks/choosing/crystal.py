"""Denoising a crystal by its translations, with what does not repeat put back."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from tvtasks.choosing.correlation import WHITE, Correlation
from tvtasks.choosing.mixing import (
    BLUR_OF_GROUPS,
    Estimate,
    Found,
    Lazy,
    mixed,
    of_gaussian,
    of_wiener,
    variance_of,
)
from tvtasks.choosing.noise import Noise, stabilised
from tvtasks.choosing.repetition import compact, residual_of, squared_error
from tvtasks.choosing.smoothing import best_width, gaussian, radial_wiener
from tvtasks.choosing.spectrum import Peak
from tvtasks.operators import Array
from tvtasks.solvers.features import Features, add_features, autocovariance, find_features
from tvtasks.solvers.group_wiener import TRANSFORM, group_wiener
from tvtasks.solvers.jitter import Jitter, line_jitter, moved_lines
from tvtasks.solvers.lattice_mean import Mean, shifted_means
from tvtasks.solvers.translations import Translations, find_translations

_SLOW = 1.6  # periods: a Gaussian of this width is taken off before the mean; 1.2 gave .04 dB less, .75 .08
# Periods and pixels, of the one that is put back, from an image without the lattice.
_AGAIN, _LEAST_AGAIN = 0.75, 6.0
_PATCH, _LEAST_PATCH, _MOST_PATCH = 0.6, 7, 15  # periods, px
_SAFE = 0.12  # periods that a pilot is smoothed where the noise is not known yet
_OUT_OF_PLACE = 1.4  # excess of the jitter from which on lines are moved; crystals in place have up to 1.1
_STRAIGHTENINGS = 2
# Times the noise of the fine waves: of noise blurred by a pixel they hold 1/86; more than this is the sample.
_MOST_SHARED = 150.0
_BLUR_OF_MEAN = 0.5  # share that gives 95 % of coverage on the tuned scenes 0–5
_SMOOTH = 1.4  # px of the pilot's width from which every other pixel is looked at
_WINDOW, _LEAST_WINDOW = 0.4, 2.0  # periods, px: where errors are averaged
_MISFIT = 1.06
"""Growth of the noise beyond which what a mean leaves is misfit. It grew by less on 60 synthetic crystals,
and by a tenth on a scan of SrTiO₃ with torn lines."""
_STRIP = 64  # rows that are worked on at a time
_LOCAL = 0.01  # share of a Gaussian filter in the mixture from which on blocks are filtered as well


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
    def of(
        cls, f: Array, noise: Noise, shared: Correlation, width: float, period: float, threads: int
    ) -> _Crystal:
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
    """Return what is compared: smoothed, noise of the same variance everywhere, without what is slow."""
    pilot = stabilised(gaussian(f, width), noise)
    return np.asarray(pilot - gaussian(pilot, _SLOW * period))


def by_translations(f: Array, noise: Noise, peaks: tuple[Peak, ...], threads: int) -> Found | None:
    """Denoise a crystal in whose spectrum these peaks are; the variance of the noise is about 1.

    None where neighbours share so much of the noise that it cannot be told from the sample.
    """
    period = 1 / peaks[0].frequency
    shared = WHITE
    if is_shared(noise):
        noise, shared = _seen_in_residual(f, noise, period, threads)
        if noise.sigma > _MOST_SHARED:
            return None
    width = best_width(stabilised(f, noise), shared)
    crystal = _Crystal.of(f, noise, shared, width, period, threads)
    adapted, plain = _means(f, crystal, threads)
    recorded, lines = f, None
    seen = line_jitter(f, adapted.values, variance_of(noise, adapted.values))
    if seen.excess > _OUT_OF_PLACE:
        for again in range(_STRAIGHTENINGS):
            lines = seen.shrunk()
            f = moved_lines(recorded, -lines.offsets)
            del adapted, plain
            if not again:  # the translations of lines that are nearly in place will do
                crystal = _Crystal.of(f, noise, shared, width, period, threads)
            adapted, plain = _means(f, crystal, threads)
            seen = line_jitter(recorded, adapted.values, variance_of(noise, adapted.values), lines.offsets)
    assert plain is not None
    noise = noise_of_residual(f, adapted, noise)
    variance = variance_of(noise, plain.values)
    residual = f - plain.values
    sites = _sites(plain.values, period)
    tested = [variance * (1 + 1 / plain.looks)]  # popped, so that nobody keeps it
    del plain
    features = find_features(residual, tested.pop(), _skewness(noise, variance), sites)
    del residual, sites
    crystal = replace(crystal, noise=noise, features=features)
    estimate, shares = _estimate(f, adapted, variance, crystal, threads)
    del adapted
    looks = float(np.median(1 / estimate.noise))
    estimate = compact(estimate)
    residual = residual_of(f, estimate.values, variance)
    del f, recorded  # unlike `residual` they take memory that the repetition needs
    error = squared_error(
        residual,
        estimate,
        variance,
        shared,
        crystal.window,
        period,
        lambda again: _once(again, variance, crystal, threads),
    )
    if lines is not None:
        estimate, error = _put_back(estimate, error, lines)
    evidence = {
        "lattice_period_px": period, "lattice_waves": [[p.fy, p.fx] for p in peaks],
        "features": len(features),
        "looks": looks, "shares": shares,
        "translations": float(np.mean([len(s) for s in crystal.translations.shifts])),
        "jitter_rms_px": 0.0 if lines is None else float(np.std(lines.offsets)),
        "jitter_excess": seen.excess, "noise_shared": shared.strongest,
    }  # fmt: skip
    kept = {0: "", 1: " One feature that does not repeat was kept."}.get(
        len(features), f" {len(features)} features that do not repeat were kept."
    )
    reason = (
        f"The image has a lattice (longest period {period:.3g} pixels), so each pixel is the mean of about "
        f"{looks:.0f} equivalent pixels.{kept}"
    )
    return Found(estimate, variance, error, "lattice-mean", reason, evidence)


def _put_back(estimate: Estimate, error: Array, lines: Jitter) -> tuple[Estimate, Array]:
    """Move lines to where they were recorded; that this is not known exactly is an error of its own."""
    values = moved_lines(estimate.values, lines.offsets)
    slope = np.gradient(values, axis=1)
    more = slope**2 * (lines.errors[:, np.newaxis] ** 2).astype(np.float32)
    return estimate._replace(values=values), error + more


def is_shared(noise: Noise) -> bool:
    """Whether neighbouring pixels seem to share their noise.

    Immerkær's mask sees fine waves only, of which such noise has few: it reads −.05 for noise blurred by .4
    pixels, −.15 for .5 and −.33 for .6; white noise on the crystals of the tuned scenes reads −.06 to .13.
    """
    return not -0.08 < noise.correlation < 0.2


def _seen_in_residual(f: Array, noise: Noise, period: float, threads: int) -> tuple[Noise, Correlation]:
    """Measure noise that neighbours share where the crystal is known: in what the plain mean leaves."""
    width = max(best_width(stabilised(f, noise)), _SAFE * period)
    crystal = _Crystal.of(f, noise, WHITE, width, period, threads)
    plain = _means(f, crystal, threads)[1]
    assert plain is not None
    residual = f - plain.values
    power = float(np.mean(np.minimum(residual**2, 9 * float(np.median(residual**2)) / 0.455)))
    noise = replace(noise, sigma=math.sqrt(power), offset=power, gain=0.0 if noise.gain == 0 else 1e-9)
    noise = noise_of_residual(f, plain, noise)
    residual /= np.sqrt(variance_of(noise, plain.values))
    lags = autocovariance(residual)
    middle = lags[lags.shape[0] // 2, lags.shape[1] // 2]
    return noise, Correlation(lags / middle)


def _means(f: Array, crystal: _Crystal, threads: int, *, plainly: bool = True) -> tuple[Mean, Mean | None]:
    """Return the means over translations; what is slow is not averaged, but put back."""
    slow = _SLOW * crystal.period
    pilot = _pilot(f, crystal.noise, crystal.width, crystal.period)
    fast = f - gaussian(f, slow)
    adapted, plain = shifted_means(
        fast, pilot, crystal.translations, noise=crystal.remaining, width=crystal.width,
        patch=crystal.patch, step=crystal.step, plainly=plainly, threads=threads,
    )  # fmt: skip

    def whole(mean: Mean) -> Mean:
        # At the border a lattice leaks into what is slow; so that is found again, with the lattice taken off.
        values = mean.values
        values += gaussian(f - values, max(_AGAIN * crystal.period, _LEAST_AGAIN))
        return mean

    return whole(adapted), None if plain is None else whole(plain)


def _once(f: Array, variance: Array, crystal: _Crystal, threads: int) -> Array:
    """Denoise a repetition of the measurement."""
    adapted, _ = _means(f, crystal, threads, plainly=False)
    return _estimate(f, adapted, variance, crystal, threads, plainly=True)[0].values


def _estimate(
    f: Array, adapted: Mean, variance: Array, crystal: _Crystal, threads: int, *, plainly: bool = False
) -> tuple[Estimate, dict[str, float]]:
    """Mix the mean, the mean without what no lens passes, and a local estimate, all with their features.

    The values of the mean are used up.
    """
    filtered = radial_wiener(adapted.values, float(np.mean(variance / adapted.looks)), crystal.shared)
    mean, sharp = adapted.values, filtered.image
    share: Array = np.zeros((1, 1), np.float32)
    if crystal.features is not None and len(crystal.features):
        for values in (mean, sharp):
            share = add_features(values, f - values, crystal.features)
    share = np.broadcast_to(share, f.shape)

    def of_mean(rows: slice) -> Estimate:
        own = share[rows]
        return Estimate(mean[rows], adapted.own[rows] + own, 1 / adapted.looks[rows] + own)

    def of_filtered(rows: slice) -> Estimate:
        own, noise = share[rows], 1 / adapted.looks[rows]
        return Estimate(
            sharp[rows],
            adapted.own[rows] * np.float32(filtered.own) + own,
            np.float32(filtered.squares) * noise + own,
            np.float32(_BLUR_OF_MEAN * (filtered.own - filtered.squares)) * noise,
        )

    candidates: dict[str, Estimate | Lazy] = {
        "mean": of_mean, "filtered mean": of_filtered,
        "Gaussian": of_gaussian(f, crystal.width, crystal.shared),
    }  # fmt: skip
    estimate, shares = mixed(f, variance, list(candidates.values()), crystal.window, plainly=plainly)
    if shares[-1] > _LOCAL:
        colours = crystal.shared.of_blocks(TRANSFORM)
        first = estimate.values
        del estimate
        groups = group_wiener(f, first, variance, colours, threads=threads)
        del first
        candidates["groups"] = of_wiener(groups, BLUR_OF_GROUPS)
        estimate, shares = mixed(f, variance, list(candidates.values()), crystal.window, plainly=plainly)
    return estimate, dict(zip(candidates, shares, strict=True))


def _sites(image: Array, period: float) -> NDArray[np.bool_]:
    """Maxima of a lattice."""
    side = int(period / 2) | 1
    return np.asarray((image == maximum_filter(image, side)) & (image > gaussian(image, period)))


def _skewness(noise: Noise, variance: Array) -> Array | float:
    """Skewness of each pixel, if what depends on the brightness is counts."""
    if noise.gain <= 0:
        return 0.0
    share = np.clip(1 - max(noise.offset, 0.0) / variance, 0, 1)
    share /= np.sqrt(variance)
    share *= noise.gain
    return share


def noise_of_residual(f: Array, mean: Mean, before: Noise) -> Noise:
    """Fit the noise anew to what a mean leaves of an image, by classes of brightness."""
    typical = float(np.median(mean.looks))
    usable = mean.looks > 0.3 * typical
    if np.count_nonzero(usable) < 1000 or typical < 5:
        return before
    edges = np.quantile(mean.values[usable], np.linspace(0, 1, 17)[1:-1]).astype(np.float32)
    number, where, level = np.zeros((3, 16))
    for top in range(0, len(f), _STRIP):
        rows = slice(top, top + _STRIP)
        use = usable[rows]
        b, looks = mean.values[rows][use], mean.looks[rows][use]
        squares = (f[rows][use] - b) ** 2 / np.maximum(1 - 2 * mean.own[rows][use] + 1 / looks, 0.05)
        kind = np.searchsorted(edges, b)
        number += np.bincount(kind, minlength=16)
        where += np.bincount(kind, b, 16)
        level += np.bincount(kind, np.minimum(squares, 25 * variance_of(before, b)), 16)
    where /= np.maximum(number, 1)
    level /= np.maximum(number, 1)
    gain, offset = np.polyfit(where, level, 1, w=np.sqrt(number) / np.maximum(level, 1e-12))
    if gain <= 0 or before.gain == 0:
        gain, offset = 0.0, float(np.average(level, weights=number))
    total = float(np.average(np.maximum(offset + gain * where, 0), weights=number))
    if total > (_MISFIT * before.sigma) ** 2:
        return before
    return replace(before, gain=float(gain), offset=float(offset), sigma=math.sqrt(total))
