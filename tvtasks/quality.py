"""Score a restoration without a truth to compare with.

All scores are cheap (see the tests), so every image of a watch gets them.
"""

from __future__ import annotations

import math

import numpy as np

from tvtasks.choosing.spectrum import (
    Spectrum,
    middle,
    peak_box,
    power_of,
    spectrum,
    surroundings,
    transform,
)
from tvtasks.operators import Array
from tvtasks.scores import QualityScores

LEAST_SIDE = 32  # px; a smaller image has no meaningful spectrum

_ROUNDING = 1e-6  # of the range of the values: some units in the last place of float32


def assess(
    raw: Array, restored: Array, background: Array | None = None, flat: Array | None = None
) -> QualityScores:
    """Score a restoration; all arrays have shape (M, N) and one unit.

    Parameters
    ----------
    raw, restored
        The image as acquired, and the result.
    background
        What was subtracted; None if nothing was.
    flat
        What was denoised: `flat` − `restored` should be white. None without denoising.

    Returns
    -------
    QualityScores

    Examples
    --------
    >>> import numpy as np
    >>> raw = np.array([[0.0, 2.0], [1.0, 3.0]])
    >>> assess(raw, raw).line_jumps_before
    1.0
    """
    with np.errstate(over="ignore", invalid="ignore"):  # a score that overflows is None
        return _assess(raw, restored, background, flat)


def _assess(raw: Array, restored: Array, background: Array | None, flat: Array | None) -> QualityScores:
    before, after = np.asarray(raw, np.float64), np.asarray(restored, np.float64)
    found = spectrum(middle(before)) if min(before.shape) >= LEAST_SIDE else None
    prominence = lost = None
    if found and found.peaks:
        prominence = _prominence(found.power, found)
        if background is not None:
            lost = amplitude(middle(np.asarray(background, np.float64)), found, middle(before))
    return QualityScores(
        whiteness=None if flat is None else _whiteness(np.asarray(flat, np.float64), after),
        line_jumps_before=_finite(line_jumps(before)),
        line_jumps_after=_finite(line_jumps(after)),
        lattice_before=prominence,
        lattice_after=_prominence(power_of(middle(after)), found) if found and found.peaks else None,
        lattice_in_background=lost,
        saturated=saturated(raw),
    )


def _whiteness(flat: Array, restored: Array) -> float | None:
    """Return the whiteness of what denoising removed; None if that was no more than rounding."""
    removed = flat - restored
    if float(np.abs(removed).max()) <= _ROUNDING * float(np.ptp(flat)):
        return None
    return _finite(whiteness(removed))


def whiteness(residual: Array) -> float | None:
    """Return the flatness of a residual's spectrum: 1 for white noise; None if the residual is zero.

    It is the ratio of the geometric to the arithmetic mean of the power in blocks of 8 × 8 modes. The
    residual has shape (M, N).
    """
    part = middle(residual)
    power = power_of(part)
    rows, columns = (size // 8 * 8 for size in power.shape)
    if rows == 0 or columns == 0 or not power.any():
        return None
    blocks = power[:rows, :columns].reshape(rows // 8, 8, columns // 8, 8).mean(axis=(1, 3))
    return float(np.exp(np.mean(np.log(blocks + np.finfo(float).tiny))) / blocks.mean())


def line_jumps(image: Array) -> float:
    """Return the RMS difference between the medians of neighbouring lines, in the unit of the image."""
    if len(image) < 2:
        return 0.0
    # Every other column suffices for a median.
    levels = np.median(image[:, :: 1 + image.shape[1] // 256], axis=1)
    return float(np.sqrt(np.mean(np.diff(levels) ** 2)))


def saturated(raw: Array) -> float:
    """Return the fraction of pixels at the lowest or highest value, if several share it."""
    counts = [int(np.count_nonzero(raw == value)) for value in (raw.min(), raw.max())]
    return sum(count for count in counts if count > 1) / raw.size


def amplitude(image: Array, lattice: Spectrum, reference: Array) -> float:
    """Return how much of the reference's lattice an image of the same shape contains, in phase with it."""
    ours, theirs = transform(image), transform(reference)
    boxes = [peak_box(peak, lattice.shape) for peak in lattice.peaks]
    shared = sum(float(np.sum(ours[box] * theirs[box].conj()).real) for box in boxes)
    return shared / sum(float(np.sum(np.abs(theirs[box]) ** 2)) for box in boxes)


def _prominence(power: Array, lattice: Spectrum) -> float:
    """Return how many times the strongest lattice wave stands above its surroundings."""
    return max(
        float(power[peak_box(peak, lattice.shape)].max() / surroundings(power, peak, lattice.shape))
        for peak in lattice.peaks
    )


def _finite(value: float | None) -> float | None:
    """Return None for a value that has overflowed, as happens near the largest number of a dtype."""
    return value if value is not None and math.isfinite(value) else None
