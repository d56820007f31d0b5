"""Score a restoration without a truth to compare with.

All scores are cheap (see the tests), so every image of a watch gets them.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

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

LEAST_SIDE = 32  # px; a smaller image has no meaningful spectrum


@dataclass(frozen=True)
class QualityScores:
    """Scores of a restoration that need no truth; None where a score cannot be determined.

    Attributes
    ----------
    whiteness
        1 if what denoising removed is structureless, as noise is; below 0.9 it removed part of the sample.
    line_jumps_before, line_jumps_after
        RMS difference between the levels of neighbouring scan lines, in the unit of the image: stripes.
    lattice_before, lattice_after
        How many times the strongest wave of the lattice stands above the noise around it in the spectrum.
    lattice_in_background
        Fraction of the lattice's amplitude that went into the background: above 0.2, λ is too large.
    saturated
        Fraction of the raw pixels at the lowest or highest value, where the detector saw no difference.
    step_kept, lattice_kept, detail_kept
        Fraction that is left of the steps, of the lattice's amplitude, and, in an image without either, of
        what is finer than four pixels.
    """

    whiteness: float | None
    line_jumps_before: float | None
    line_jumps_after: float | None
    lattice_before: float | None
    lattice_after: float | None
    lattice_in_background: float | None
    saturated: float
    step_kept: float | None = None
    lattice_kept: float | None = None
    detail_kept: float | None = None

    @property
    def record(self) -> dict[str, float | None]:
        """The scores by name, safe for JSON."""
        return asdict(self)

    def facts(self, units: str) -> dict[str, str]:
        """Return the scores as text, by subject; `units` is the unit of the image."""
        before, after = self.line_jumps_before, self.line_jumps_after
        texts = {}
        if before is not None and after is not None:
            texts["line jumps"] = f"{before:.3g} before, {after:.3g} after{units and f' ({units})'}"
        if self.lattice_before is not None and self.lattice_after is not None:
            texts["lattice"] = (
                f"{self.lattice_before:.3g} times above the noise of the spectrum before, "
                f"{self.lattice_after:.3g} after"
            )
        if self.lattice_in_background is not None:
            texts["lattice in the background"] = f"{self.lattice_in_background:.1%} of its amplitude"
        kept = {"steps": self.step_kept, "lattice": self.lattice_kept, "fine detail": self.detail_kept}
        if parts := [f"{value:.0%} of the {name}" for name, value in kept.items() if value is not None]:
            texts["kept"] = ", ".join(parts)
        if self.whiteness is not None:
            texts["whiteness"] = f"{self.whiteness:.3f} for the removed part (1: pure noise)"
        texts["saturated"] = f"{self.saturated:.2%} of the raw pixels"
        return texts


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
        whiteness=None if flat is None else _finite(whiteness(np.asarray(flat, np.float64) - after)),
        line_jumps_before=_finite(line_jumps(before)),
        line_jumps_after=_finite(line_jumps(after)),
        lattice_before=prominence,
        lattice_after=_prominence(power_of(middle(after)), found) if found and found.peaks else None,
        lattice_in_background=lost,
        saturated=saturated(raw),
    )


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
