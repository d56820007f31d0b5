"""Lines of a scan that lie out of place along themselves: found against a mean of the crystal, and moved.

A scanning probe is not where it should be when a line begins, by parts of a pixel; so a lattice is ragged
(Jones & Nellist 2013). Against the mean over a crystal's translations, which averages that out, each line
tells its own offset.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft, rfftfreq

from tvtasks.operators import Array

_MARGIN = 32  # px at both ends of a line, mirrored
_STRIP = 64  # lines that are worked on at a time
_STEPS = 5
_MOST = 1.5  # px
_BORDER = 4  # px at the ends of a line that do not count
_FAR = 2.5  # standard deviations from which on a pixel counts less: defects have no say
_MEDIAN_SQUARE = 0.4549  # of a standard Gaussian


@dataclass(frozen=True, eq=False)
class Jitter:
    """How far each line lies out of place.

    Attributes
    ----------
    offsets
        Shape (M,), in pixels: line y of the image at x is the crystal at x + offset.
    errors
        Standard error of each.
    excess
        Variance of the difference of neighbouring lines' offsets over that of their errors: 1 where no line
        is out of place.
    """

    offsets: NDArray[np.float64]
    errors: NDArray[np.float64]
    excess: float

    def shrunk(self) -> Jitter:
        """Return them pulled to none as far as they may be errors (James & Stein)."""
        spread = max(self.excess - 1, 0.0) * float(np.median(self.errors**2))
        share = spread / (spread + self.errors**2)
        return Jitter(self.offsets * share, self.errors * np.sqrt(share), self.excess)


def line_jitter(
    image: Array, model: Array, variance: Array, start: NDArray[np.float64] | None = None
) -> Jitter:
    """Fit an offset to each line: least squares (Gauss–Newton) with weights that leave out what fits badly.

    Parameters
    ----------
    image
        Shape (M, N).
    model
        What it would be without noise if all lines were in place.
    variance
        Of the noise of each pixel.
    start
        Offsets to begin with.
    """
    offsets = np.zeros(len(image)) if start is None else start.copy()
    errors = np.ones(len(image))
    for top in range(0, len(image), _STRIP):  # takes little memory
        rows = slice(top, top + _STRIP)
        offsets[rows], errors[rows] = _fitted(image[rows], model[rows], variance[rows], offsets[rows])
    apart = np.diff(offsets) ** 2 / (errors[1:] ** 2 + errors[:-1] ** 2)
    return Jitter(offsets, errors, float(np.median(apart)) / _MEDIAN_SQUARE)


def _fitted(
    image: Array, model: Array, variance: Array, offsets: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the offset of each line, from where it is begun, and its error."""
    inner = np.s_[:, _BORDER:-_BORDER]
    information = np.ones(len(image))
    for _ in range(_STEPS):
        moved = moved_lines(model, offsets)
        slope = (np.roll(moved, -1, axis=1) - np.roll(moved, 1, axis=1))[inner] / 2
        residual = (image - moved)[inner]
        weight = 1 / variance[inner]
        weight = weight / (1 + residual**2 * weight / _FAR**2)
        weighted = slope * weight
        information = np.maximum(np.sum(weighted * slope, axis=1, dtype=np.float64), 1e-12)
        offsets = np.clip(
            offsets + np.sum(weighted * residual, axis=1, dtype=np.float64) / information, -_MOST, _MOST
        )
    return offsets, 1 / np.sqrt(information)


def moved_lines(image: Array, offsets: NDArray[np.float64]) -> Array:
    """Return the image with each line moved: pixel x then holds what was at x + offset. By Fourier."""
    columns = image.shape[1]
    margin = min(_MARGIN, columns)
    wave = rfftfreq(columns + 2 * margin)
    out = np.empty_like(image)
    for top in range(0, len(image), _STRIP):
        rows = slice(top, top + _STRIP)
        lines = rfft(np.pad(image[rows], ((0, 0), (margin, margin)), mode="symmetric"), axis=1)
        lines *= np.exp(2j * np.pi * wave * offsets[rows, np.newaxis]).astype(lines.dtype)
        out[rows] = irfft(lines, columns + 2 * margin, axis=1)[:, margin:-margin]
    return out
