"""How good a restoration is: against the truth where it is known, and by its own marks where it is not.

All of it is cheap (see the tests), so that every image of a watch can have it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tvtasks.choosing.spectrum import Spectrum, peak_box, power_of, spectrum, surroundings, transform
from tvtasks.operators import Array

_CROP = 256  # px; a lattice shows in the middle of a larger image as well
_LEAST_SIDE = 32  # px; below, a spectrum says nothing


@dataclass(frozen=True)
class Agreement:
    """A restored image against the truth, both in one unit; a constant between them does not count.

    Attributes
    ----------
    rmse
        Root of the mean squared difference, in the image's unit: the error of a typical pixel.
    psnr
        Range of the truth over `rmse`, in dB: 20 is rough, 40 hard to tell from the truth.
    ssim
        Structural similarity, at most 1: whether contrast and pattern agree in every neighbourhood.
    line_offset
        RMS of what whole lines are too high or too low, in the image's unit: stripes that are left.
    lattice_kept
        Amplitude of the truth's lattice that is found again: 1 is all, 0.8 is a fifth lost; None without one.
    """

    rmse: float
    psnr: float
    ssim: float
    line_offset: float
    lattice_kept: float | None


@dataclass(frozen=True)
class Marks:
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


def compare(found: Array, truth: Array) -> Agreement:
    """Compare a restored image with the truth, both of shape (M, N)."""
    found, truth = np.asarray(found, np.float64), np.asarray(truth, np.float64)
    # As a picture, the truth begins at 0.
    level, low = truth.mean() - found.mean(), truth.min()
    return Agreement(
        rmse=rmse(found, truth), psnr=psnr(found, truth), ssim=ssim(found + (level - low), truth - low),
        line_offset=line_offset(found, truth), lattice_kept=lattice_kept(found, truth),
    )  # fmt: skip


def assess(raw: Array, restored: Array, background: Array | None = None, flat: Array | None = None) -> Marks:
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
    before, after = np.asarray(raw, np.float64), np.asarray(restored, np.float64)
    found = spectrum(_middle(before)) if min(before.shape) >= _LEAST_SIDE else None
    prominence = lost = None
    if found and found.peaks:
        prominence = _prominence(found.power, found)
        if background is not None:
            lost = _amplitude(_middle(np.asarray(background, np.float64)), found, _middle(before))
    return Marks(
        whiteness=None if flat is None else _finite(whiteness(np.asarray(flat, np.float64) - after)),
        line_jumps_before=_finite(line_jumps(before)),
        line_jumps_after=_finite(line_jumps(after)),
        lattice_before=prominence,
        lattice_after=_prominence(power_of(_middle(after)), found) if found and found.peaks else None,
        lattice_in_background=lost,
        saturated=saturated(raw),
    )


def rmse(found: Array, truth: Array) -> float:
    """Root of the mean squared difference, up to a constant."""
    return float(np.std(found - truth))


def psnr(found: Array, truth: Array) -> float:
    """Range of the truth over the RMSE up to a constant, in dB; infinite where they agree."""
    error = rmse(found, truth)
    return math.inf if error == 0 else 20 * math.log10(float(np.ptp(truth)) / error)


def ssim(found: Array, truth: Array) -> float:
    """Structural similarity (Wang et al. 2004) under Gaussian windows of 1.5 pixels; at least 11 × 11 pixels.

    The dynamic range is that of the truth. K₁ = 0.01, K₂ = 0.03, as in the paper.
    """
    x, y = np.asarray(found, np.float64), np.asarray(truth, np.float64)
    spread = float(np.ptp(y))
    c1, c2 = (0.01 * spread) ** 2, (0.03 * spread) ** 2

    def mean(image: Array) -> NDArray[np.float64]:
        return np.asarray(gaussian_filter(image, 1.5, truncate=3.5, mode="reflect"))

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    index = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(index[5:-5, 5:-5].mean())


def line_offset(found: Array, truth: Array) -> float:
    """RMS of the medians of the lines of the difference, less their mean."""
    return float(np.std(np.median(found - truth, axis=1)))


def step_height_error(found: Array, terraces: Array) -> float:
    """Relative error of the height of the steps: −0.3 says that they have lost 30 %.

    `terraces` is the true component, 0 on the lowest; the image is fitted with it and a plane.
    """
    rows, columns = found.shape
    y, x = np.mgrid[:rows, :columns]
    basis = np.stack([terraces.ravel(), y.ravel() / rows, x.ravel() / columns, np.ones(found.size)], axis=1)
    return float(np.linalg.lstsq(basis, np.asarray(found, np.float64).ravel())[0][0] - 1)


def lattice_kept(found: Array, truth: Array) -> float | None:
    """Amplitude of the truth's lattice in an image, over that in the truth; None if the truth has no lattice.

    Only what is in phase with the truth counts.
    """
    if min(truth.shape) < _LEAST_SIDE:
        return None
    lattice = spectrum(truth)
    return _amplitude(found, lattice, truth) if lattice.peaks else None


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


def _amplitude(image: Array, lattice: Spectrum, reference: Array) -> float:
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
