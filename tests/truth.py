"""How good a restoration is, where the truth is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tvtasks.choosing.spectrum import spectrum
from tvtasks.operators import Array
from tvtasks.quality import LEAST_SIDE, amplitude


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


def compare(found: Array, truth: Array) -> Agreement:
    """Compare a restored image with the truth, both of shape (M, N)."""
    found, truth = np.asarray(found, np.float64), np.asarray(truth, np.float64)
    # As a picture, the truth begins at 0.
    level, low = truth.mean() - found.mean(), truth.min()
    return Agreement(
        rmse=rmse(found, truth),
        psnr=psnr(found, truth),
        ssim=ssim(found + (level - low), truth - low),
        line_offset=line_offset(found, truth),
        lattice_kept=lattice_kept(found, truth),
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
    if min(truth.shape) < LEAST_SIDE:
        return None
    lattice = spectrum(truth)
    return amplitude(found, lattice, truth) if lattice.peaks else None
