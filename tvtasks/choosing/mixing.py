"""Of several estimates of an image, at each pixel those of least expected error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from tvtasks.choosing.correlation import WHITE, Correlation
from tvtasks.choosing.noise import Noise
from tvtasks.choosing.smoothing import gaussian
from tvtasks.operators import Array
from tvtasks.solvers.lattice_mean import Mean

Method = Literal["lattice-mean", "non-local-means", "total-variation", "none"]

BLUR_OF_BLOCKS, BLUR_OF_GROUPS = 0.2, 0.9
"""Share of what a Wiener filter takes that gives 95 % of coverage on the tuned scenes 0–5."""
_ZERO = np.float32(0)
_STRIP, _HALO = 48, 3.0  # rows; windows beyond which a Gaussian counts no more
_TEMPERATURE = 4.0  # times the noise's variance: Leung & Barron 2006


class Estimate(NamedTuple):
    """An estimate of an image.

    Attributes
    ----------
    values
        Shape (M, N).
    own
        Derivative of each pixel by its own datum.
    noise
        Variance that the noise leaves in it, over that of a pixel.
    blur
        Expected square of what a Wiener filter takes of the sample, over the same.
    """

    values: Array
    own: Array | np.float32
    noise: Array | np.float32
    blur: Array | np.float32 = np.float32(0)

    def strip(self, rows: slice) -> Estimate:
        """Return some rows of it."""
        values, *others = (part[rows] if isinstance(part, np.ndarray) else part for part in self)
        return Estimate(np.asarray(values), *others)


def mixed(
    image: Array,
    variance: Array,
    estimates: Sequence[Estimate | Lazy],
    window: float,
    *,
    plainly: bool = False,
) -> tuple[Estimate, list[float]]:
    """Average estimates with weights that fall exponentially with their expected error about a pixel.

    The error is estimated without bias by Stein's formula, (u − f)² + 2 V ∂u/∂f − V, averaged under a
    Gaussian of width `window`; a pixel's weights are those of Leung & Barron for the number of pixels that
    this is.

    It is done in strips of the image, which take little memory.

    Parameters
    ----------
    image, variance
        Shape (M, N), and the variance of its noise.
    estimates
        Of it; or functions that return some rows of one.
    window
        In pixels.
    plainly
        Whether only the values of the mixture are wanted.

    Returns
    -------
    mixture
        Its derivative and noise are the averages of those of the estimates, an upper bound for the noise.
    shares
        Mean share of each estimate.
    """
    rows = len(image)
    halo = math.ceil(_HALO * window)
    height = max(_STRIP, halo)
    parts = [np.zeros(image.shape, np.float32) for _ in range(1 if plainly else 4)]
    shares = np.zeros(len(estimates))
    for top in range(0, rows, height):
        bottom = min(top + height, rows)
        wide = slice(max(top - halo, 0), min(bottom + halo, rows))
        some = [one(wide) if callable(one) else one.strip(wide) for one in estimates]
        inner = slice(top - wide.start, bottom - wide.start)
        weights = _weights(image[wide], variance[wide], some, window, inner)
        for k, (weight, estimate) in enumerate(zip(weights, some, strict=True)):
            shares[k] += float(weight.sum(dtype=np.float64)) / image.size
            for part, field in zip(parts, estimate.strip(inner), strict=False):
                part[top:bottom] += weight * field
    return Estimate(*parts) if not plainly else Estimate(parts[0], _ZERO, _ZERO), shares.tolist()


def _weights(
    image: Array, variance: Array, estimates: list[Estimate], window: float, inner: slice
) -> list[Array]:
    """Return the share of each estimate in some rows."""
    over = (1 / variance).astype(np.float32)
    risks = []
    for values, own, *_ in estimates:
        risk = values - image
        risk *= risk
        risk *= over
        risk += 2 * own
        risks.append(gaussian(risk, window)[inner])
    least = np.minimum.reduce(risks)
    number = 4 * math.pi * window**2
    total = np.zeros_like(least)
    for risk in risks:
        np.subtract(least, risk, out=risk)
        np.multiply(risk, np.float32(number / _TEMPERATURE), out=risk)
        np.exp(risk, out=risk)
        np.add(total, risk, out=total)
    return [risk / total for risk in risks]


Lazy = Callable[[slice], Estimate]
"""Returns some rows of an estimate, which as a whole would take more memory."""


@dataclass(frozen=True, eq=False)
class Found:
    """What came of one way, in units of the noise."""

    estimate: Estimate
    variance: Array
    error: Array
    """Expected squared error."""
    method: Method
    reason: str
    evidence: dict[str, Any]


def of_gaussian(f: Array, width: float, shared: Correlation = WHITE) -> Estimate:
    """Filter by a Gaussian of a standard deviation in pixels."""
    return Estimate(
        gaussian(f, width), np.float32(shared.with_own(width)), np.float32(shared.smoothed(width))
    )


def of_wiener(mean: Mean, blur: float = BLUR_OF_BLOCKS) -> Lazy:
    """Describe what a Wiener filter made: its expected squared error is the variance times the derivative."""

    def some(rows: slice) -> Estimate:
        own = mean.own[rows]
        noise = 1 / mean.looks[rows]
        return Estimate(mean.values[rows], own, noise, np.float32(blur) * np.maximum(own - noise, 0))

    return some


def variance_of(noise: Noise, expected: Array) -> Array:
    """Return the variance of pixels with these expected values, float32."""
    return np.asarray(noise.variance(expected), np.float32)
