"""Denoising without a parameter: by what repeats, and where nothing does by patches and blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.ndimage import median_filter, rank_filter

from tvtasks.choosing.choice import with_lam
from tvtasks.choosing.crystal import by_translations, is_shared
from tvtasks.choosing.mixing import Method, variance_of
from tvtasks.choosing.noise import FAR, OUTLIERS, Noise, estimate_noise, stabilised
from tvtasks.choosing.patches import by_patches
from tvtasks.choosing.risk import choose_denoise
from tvtasks.choosing.spectrum import spectrum
from tvtasks.errors import UnusableImageError
from tvtasks.models import HuberROF
from tvtasks.operators import Array
from tvtasks.solvers import Gap, solve

_LEAST_SIDE = 32
_USUAL = HuberROF(4.0, 0.05)
"""Today's choice, for an image in [0, 1]."""
_AROUND = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
_DESPIKINGS = 3  # where there are many, some lie side by side
_FEW = 5.0  # counts
_SHARED = "The noise was left: neighbouring pixels share it, and averaging would mostly blur."


@dataclass(frozen=True, eq=False)
class Denoised:
    """An image without its noise, and how sure it is.

    Attributes
    ----------
    image
        Shape (M, N), in the unit of what was given.
    errors
        Standard error of each pixel, in that unit: an interval of 1.96 of them about `image` holds the
        expected value of 95 % of the pixels. NaN where nothing is known of them.
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


def denoise_auto(
    image: Array,
    *,
    noise: Noise | None = None,
    lattice: bool = True,
    patches: bool = True,
    total_variation: bool = True,
    threads: int = 1,
) -> Denoised:
    """Denoise an image by what suits it: nothing is to be set.

    Where a lattice stands out of the spectrum, pixels are averaged with those a translation of the lattice
    away (`lattice-mean`), and what does not repeat is put back where it is beyond chance. Elsewhere, and
    where there is no lattice, similar patches nearby are averaged (Buades, Coll & Morel 2005), then blocks
    are filtered by Wiener's rule. Estimates are mixed by Stein's estimate of their error.

    Parameters
    ----------
    image
        Shape (M, N), real and finite, as the instrument recorded it or with its faults taken off: raw counts
        are best.
    noise
        Of the image, in its unit; estimated where it is not given.
    lattice
        Whether the image may have a lattice.
    patches
        Whether similar patches may be averaged where there is no lattice.
    total_variation
        Whether to take total variation where nothing can be averaged; else the image stays as it is.
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
    dtype = np.float64 if f.dtype != np.float32 else np.float32
    if min(f.shape) < _LEAST_SIDE:
        reason = f"{f.shape[0]} × {f.shape[1]} pixels are too few to denoise: it needs {_LEAST_SIDE} of each."
        return _untouched(f.astype(dtype), math.nan, reason)
    level, spread = float(np.median(f)), float(f.max()) - float(f.min())
    if noise is None and spread > 0:
        # In float32, and so about the median: half the memory.
        noise = _in_unit(estimate_noise(_scaled(f, level, spread)), -level / spread, 1 / spread)
    if noise is None or not noise.sigma > 1e-6 * spread:
        return _untouched(f.astype(dtype), 0.0, "The image has no noise that could be measured.")
    unit = noise.sigma
    scaled = _scaled(f, level, unit)
    known = _in_unit(noise, level, unit)
    scaled, spikes = _without_spikes(scaled, known)
    peaks = spectrum(stabilised(scaled, known)).peaks if lattice else ()
    evidence = {
        "noise_sigma": noise.sigma, "noise_gain": noise.gain, "noise_correlation": noise.correlation,
        "spikes": spikes,
    }  # fmt: skip
    found, held = None, [scaled]  # that who takes it may let it go
    del scaled
    if peaks:
        found = by_translations(held.pop(), known, peaks, threads)
    elif patches and not is_shared(known):
        found = by_patches(held.pop(), known, threads)
    if found is None and total_variation:
        return _as_before(f, dtype, evidence, threads)
    if found is None:
        return replace(_untouched(f.astype(dtype), math.nan, _SHARED), evidence=evidence)
    looks = found.variance
    looks /= np.maximum(found.error, 1e-9)
    np.sqrt(found.error, out=found.error)
    restored = found.estimate.values.astype(np.float64)
    restored *= unit
    restored += level
    return Denoised(
        restored.astype(dtype, copy=False), (unit * found.error).astype(dtype), looks, found.method,
        found.reason, evidence | found.evidence,
    )  # fmt: skip


def _scaled(image: Array, level: float, unit: float) -> Array:
    """Return (image - level) / unit in float32; the difference is made in float64."""
    out = np.empty(image.shape, np.float32)
    for line, row in zip(out, image, strict=True):
        line[:] = (row.astype(np.float64) - level) / unit
    return out


def _in_unit(noise: Noise, level: float, unit: float) -> Noise:
    """Return the noise of (image - level) / unit."""
    return replace(
        noise,
        sigma=noise.sigma / unit,
        offset=(noise.offset + noise.gain * level) / unit**2,
        gain=noise.gain / unit,
    )


def _untouched(image: Array, error: float, reason: str) -> Denoised:
    return Denoised(image, np.full_like(image, error), np.ones(image.shape, np.float32), "none", reason)


def _as_before(
    image: Array, dtype: type[np.floating[Any]], evidence: dict[str, Any], threads: int
) -> Denoised:
    """Restore by total variation of the usual strength, as nothing is known of the noise."""
    f = image.astype(np.float64)
    low, unit = float(f.min()), float(np.ptp(f))
    choice = choose_denoise((f - low) / unit, _USUAL)
    solution = solve((f - low) / unit, with_lam(_USUAL, choice.lam), stop=Gap(1e-3), threads=threads)
    restored = (low + unit * solution.u).astype(dtype)
    reason = (
        "Neighbouring pixels share their noise (was the image interpolated, filtered or compressed?), so it "
        "cannot be told from the sample, and total variation of the usual strength was taken."
    )
    return Denoised(
        restored, np.full_like(restored, np.nan), np.full(f.shape, np.nan, np.float32), "total-variation",
        reason, evidence | {"lam": choice.lam},
    )  # fmt: skip


def _without_spikes(f: Array, noise: Noise) -> tuple[Array, int]:
    """Give pixels that stand alone, if there are too many for chance, the median of those around; count them.

    Among few counts any count stands alone.
    """
    if noise.outliers <= OUTLIERS or (noise.gain > 0 and _FEW * noise.gain**2 > 1):
        return f, 0
    total = 0
    for _ in range(_DESPIKINGS):
        around = median_filter(f, footprint=_AROUND, mode="reflect")
        high, low = (rank_filter(f, rank, footprint=_AROUND, mode="reflect") for rank in (-2, 1))
        limit = FAR * np.sqrt(variance_of(noise, around))
        alone = (f > high + limit) | (f < low - limit)
        number = int(np.count_nonzero(alone))
        f, total = np.where(alone, around, f), total + number
        if number < OUTLIERS * f.size:
            break
    return f, total
