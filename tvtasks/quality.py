"""How good a restoration is, judged without a truth to compare with.

All of it is cheap (see the tests), so that every image of a watch can have it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from tvtasks.choosing.spectrum import Spectrum, peak_box, power_of, spectrum, surroundings, transform
from tvtasks.operators import Array

_CROP = 256  # px; a lattice shows in the middle of a larger image as well
LEAST_SIDE = 32  # px; below, a spectrum says nothing


@dataclass(frozen=True)
class QualityScores:
    """What a restoration shows of its quality without a truth to compare with; None where it cannot be told.

    Attributes
    ----------
    whiteness
        1 where what denoising took away is structureless, as noise is; below 0.9 it took some of the sample.
    line_jumps_before, line_jumps_after
        RMS difference of the levels of neighbouring lines, in the image's unit: stripes, before and after.
    lattice_before, lattice_after
        How many times the strongest wave of the lattice stands above the noise around it in the spectrum.
    lattice_in_background
        Part of the lattice's amplitude that went into the background: above 0.2 λ is too large.
    saturated
        Part of the raw pixels at the least or the greatest value, where the detector saw no difference.
    """

    whiteness: float | None
    line_jumps_before: float | None
    line_jumps_after: float | None
    lattice_before: float | None
    lattice_after: float | None
    lattice_in_background: float | None
    saturated: float

    @property
    def record(self) -> dict[str, float | None]:
        """The same by name, safe for JSON."""
        return asdict(self)

    def facts(self, units: str) -> dict[str, str]:
        """Return the same in words, by what it is about; `units` are the image's."""
        before, after = self.line_jumps_before, self.line_jumps_after
        told = {}
        if before is not None and after is not None:
            told["line jumps"] = f"{before:.3g} before, {after:.3g} after{units and f' ({units})'}"
        if self.lattice_before is not None and self.lattice_after is not None:
            told["lattice"] = (
                f"{self.lattice_before:.3g} times above the noise of the spectrum before, "
                f"{self.lattice_after:.3g} after"
            )
        if self.lattice_in_background is not None:
            told["lattice in the background"] = f"{self.lattice_in_background:.1%} of its amplitude"
        if self.whiteness is not None:
            told["whiteness"] = f"{self.whiteness:.3f} of what was taken away (1: noise alone)"
        told["saturated"] = f"{self.saturated:.2%} of the raw pixels"
        return told


def assess(
    raw: Array, restored: Array, background: Array | None = None, flat: Array | None = None
) -> QualityScores:
    """Look at a restoration, arrays of shape (M, N) in one unit.

    Parameters
    ----------
    raw, restored
        What came from the microscope, and the result.
    background
        What was subtracted; None where nothing was.
    flat
        What was denoised: this less `restored` should be white. None without denoising.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # a score that overflows is None
        return _assess(raw, restored, background, flat)


def _assess(raw: Array, restored: Array, background: Array | None, flat: Array | None) -> QualityScores:
    before, after = np.asarray(raw, np.float64), np.asarray(restored, np.float64)
    found = spectrum(_middle(before)) if min(before.shape) >= LEAST_SIDE else None
    prominence = lost = None
    if found and found.peaks:
        prominence = _prominence(found.power, found)
        if background is not None:
            lost = amplitude(_middle(np.asarray(background, np.float64)), found, _middle(before))
    return QualityScores(
        whiteness=None if flat is None else _finite(whiteness(np.asarray(flat, np.float64) - after)),
        line_jumps_before=_finite(line_jumps(before)),
        line_jumps_after=_finite(line_jumps(after)),
        lattice_before=prominence,
        lattice_after=_prominence(power_of(_middle(after)), found) if found and found.peaks else None,
        lattice_in_background=lost,
        saturated=saturated(raw),
    )


def whiteness(residual: Array) -> float | None:
    """Flatness of the spectrum of what was taken away, 1 for white noise; None where nothing was.

    It is the geometric over the arithmetic mean of the power in neighbourhoods of 8 × 8 modes.
    """
    part = _middle(residual)
    power = power_of(part)
    rows, columns = (size // 8 * 8 for size in power.shape)
    if rows == 0 or columns == 0 or not power.any():
        return None
    blocks = power[:rows, :columns].reshape(rows // 8, 8, columns // 8, 8).mean(axis=(1, 3))
    return float(np.exp(np.mean(np.log(blocks + np.finfo(float).tiny))) / blocks.mean())


def line_jumps(image: Array) -> float:
    """RMS difference of the medians of neighbouring lines, in the image's unit; 0 for a single line."""
    if len(image) < 2:
        return 0.0
    # Every other column is enough for a median.
    levels = np.median(image[:, :: 1 + image.shape[1] // 256], axis=1)
    return float(np.sqrt(np.mean(np.diff(levels) ** 2)))


def saturated(raw: Array) -> float:
    """Part of the pixels that share the least or the greatest value, where more than one does."""
    counts = [int(np.count_nonzero(raw == value)) for value in (raw.min(), raw.max())]
    return sum(count for count in counts if count > 1) / raw.size


def amplitude(image: Array, lattice: Spectrum, reference: Array) -> float:
    """Return how much of the lattice waves of the reference an image of the same shape has, in phase."""
    ours, theirs = transform(image), transform(reference)
    boxes = [peak_box(peak, lattice.shape) for peak in lattice.peaks]
    shared = sum(float(np.sum(ours[box] * theirs[box].conj()).real) for box in boxes)
    return shared / sum(float(np.sum(np.abs(theirs[box]) ** 2)) for box in boxes)


def _prominence(power: Array, lattice: Spectrum) -> float:
    """Return how many times the strongest of the lattice's waves stands above what surrounds it."""
    return max(
        float(power[peak_box(peak, lattice.shape)].max() / surroundings(power, peak, lattice.shape))
        for peak in lattice.peaks
    )


def _finite(value: float | None) -> float | None:
    """Return None for what has overflowed: values near the greatest of their type do."""
    return value if value is not None and math.isfinite(value) else None


def _middle(image: Array) -> Array:
    top, left = (max((size - _CROP) // 2, 0) for size in image.shape)
    return image[top : top + _CROP, left : left + _CROP]
