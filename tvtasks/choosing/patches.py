"""Denoising where nothing repeats: by similar patches nearby, blocks, and total variation."""

from __future__ import annotations

import math

import numpy as np

from tvtasks.choosing.choice import with_lam
from tvtasks.choosing.correlation import WHITE
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
from tvtasks.choosing.risk import choose_denoise
from tvtasks.choosing.smoothing import WIDE_WIDTHS, WIDTHS, best_width, gaussian
from tvtasks.models import HuberROF
from tvtasks.operators import Array
from tvtasks.solvers import Gap, solve
from tvtasks.solvers.cosine_wiener import cosine_wiener
from tvtasks.solvers.group_wiener import group_wiener
from tvtasks.solvers.lattice_mean import shifted_means
from tvtasks.solvers.translations import NEAR, near_translations

_PERIOD = 6.0  # px, in place of a period where there is no lattice
# Patches of 7 pixels gave .3 dB less on SEM, a sharpness of .4 .6 dB (tuned scenes 0–3).
_PATCH, _SHARPNESS = 5, 0.8
_TV = HuberROF(1.0, 0.3)  # α in standard deviations of the noise
_STOP = Gap(1e-2)
_SHAKEN = 0.3  # standard deviations of the noise
_RISK_WINDOW = 10.0  # px over which Stein's estimate of the error is averaged to be believed
_ONE = np.float32(1)
_WINDOW = 4.0  # px: where errors are averaged


def by_patches(f: Array, noise: Noise, threads: int) -> Found:
    """Denoise an image without a lattice; the variance of the noise is about 1."""
    width, wide = (best_width(stabilised(f, noise), widths=widths) for widths in (WIDTHS, WIDE_WIDTHS))
    variance = variance_of(noise, gaussian(f, width))
    near = near_translations(f.shape)
    choice = choose_denoise(f, _TV)

    def once(f: Array, *, plainly: bool = False) -> tuple[Estimate, dict[str, float]]:
        flat = _total_variation(f, choice.lam, threads)
        pilot = stabilised(gaussian(f, width), noise)
        mean, _ = shifted_means(
            f, pilot, near, noise=WHITE.smoothed(width), width=width, patch=_PATCH, sharpness=_SHARPNESS,
            plainly=False, threads=threads,
        )  # fmt: skip
        smooth = of_gaussian(f, wide)
        patches: list[Estimate | Lazy] = [Estimate(mean.values, mean.own, 1 / mean.looks)]
        del mean
        patches += [smooth, flat, Estimate(f, _ONE, _ONE)]
        pilot = mixed(f, variance, patches, _WINDOW, plainly=True)[0].values
        del patches
        blocks = of_wiener(cosine_wiener(f, pilot, variance, threads=threads))
        pilot = mixed(f, variance, [blocks, smooth, flat], 2 * _WINDOW, plainly=True)[0].values
        del blocks
        groups = of_wiener(group_wiener(f, pilot, variance, threads=threads), BLUR_OF_GROUPS)
        del pilot
        estimate, shares = mixed(f, variance, [groups, smooth, flat], 2 * _WINDOW, plainly=plainly)
        return estimate, dict(zip(("groups", "Gaussian", "total variation"), shares, strict=True))

    estimate, shares = once(f)
    risk = (estimate.values - f) ** 2
    risk /= variance
    risk += 2 * estimate.own
    risk = gaussian(risk, _RISK_WINDOW)
    risk -= 1 + math.sqrt(2 / (4 * math.pi)) / _RISK_WINDOW
    risk *= variance
    estimate = compact(estimate)
    residual = residual_of(f, estimate.values, variance)
    del f
    error = squared_error(
        residual,
        estimate,
        variance,
        WHITE,
        _WINDOW,
        _PERIOD,
        lambda again: once(again, plainly=True)[0].values,
    )
    np.maximum(error, risk, out=error)
    looks = float(np.median(variance / error))
    reason = (
        f"The image has no lattice, so similar patches within {NEAR} pixels were averaged: each pixel is "
        f"worth about {looks:.0f}."
    )
    return Found(estimate, variance, error, "non-local-means", reason, {"looks": looks, "shares": shares})


def _total_variation(f: Array, lam: float, threads: int) -> Estimate:
    """Minimise Huber-ROF; shaking the image shows the derivative by the datum (Ramani et al. 2008)."""
    model = with_lam(_TV, lam)
    shake = np.random.default_rng(1).choice(np.array([-1, 1], np.int8), size=f.shape)
    moved = solve(f + np.float32(_SHAKEN) * shake, model, stop=_STOP, threads=threads).u
    u = solve(f, model, stop=_STOP, threads=threads).u
    moved -= u
    moved /= np.float32(_SHAKEN) * shake
    own = np.clip(gaussian(moved, _RISK_WINDOW), 1e-4, 1).astype(np.float32)
    return Estimate(u.astype(np.float32, copy=False), own, own)
