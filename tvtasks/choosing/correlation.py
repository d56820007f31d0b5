"""Noise that neighbouring pixels share: what it does to filters, in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2

from tvtasks.operators import Array


@dataclass(frozen=True, eq=False)
class Correlation:
    """Correlation of the noise of pixels at small distances; none for white noise.

    Attributes
    ----------
    lags
        Shape (2k + 1, 2k + 1): by how many rows and columns two pixels lie apart, from −k to k; 1 in the
        middle.
    """

    lags: NDArray[np.float64]

    @property
    def white(self) -> bool:
        """Whether no two pixels share noise."""
        return self.lags.size == 1

    @property
    def strongest(self) -> float:
        """Largest correlation of two pixels."""
        apart = np.abs(self.lags)
        apart[tuple(side // 2 for side in apart.shape)] = 0
        return float(apart.max())

    def smoothed(self, width: float) -> float:
        """Variance of the noise after a Gaussian filter, over that before."""
        return self._under(math.sqrt(2) * width)

    def with_own(self, width: float) -> float:
        """Covariance of a pixel's noise before and after a Gaussian filter, over its variance before."""
        return self._under(width)

    def _under(self, width: float) -> float:
        k = self.lags.shape[0] // 2
        line = np.exp(-(np.arange(-k, k + 1) ** 2) / (2 * width**2)) / (math.sqrt(2 * math.pi) * width)
        return float(line @ self.lags @ line)

    def power(self, shape: tuple[int, ...]) -> Array:
        """Power of the noise in the modes of a real transform of an image; 1 on average."""
        if self.white:
            return np.ones((1, 1))
        k = self.lags.shape[0] // 2
        image = np.zeros(shape)
        places = np.arange(-k, k + 1)
        image[np.ix_(places % shape[0], places % shape[1])] = self.lags
        power = np.maximum(rfft2(image).real, 1e-3)
        return np.asarray(power / power.mean())

    def of_blocks(self, transform: Array) -> Array:
        """Variance of the coefficients of a separable transform of square blocks, over that of a pixel."""
        side = transform.shape[0]
        if self.white:
            return np.ones((side, side), np.float32)
        k = self.lags.shape[0] // 2
        lines = np.stack(
            [np.correlate(row, row, "full")[side - 1 - k : side + k] for row in transform.astype(np.float64)]
        )
        return np.asarray(np.maximum(lines @ self.lags @ lines.T, 1e-3), np.float32)

    def drawn(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Draw noise of variance 1."""
        noise = rng.standard_normal(shape, np.float32)
        if self.white:
            return noise
        root = np.sqrt(self.power(shape)).astype(np.float32)
        return np.asarray(irfft2(rfft2(noise) * root, shape))


WHITE = Correlation(np.ones((1, 1)))
