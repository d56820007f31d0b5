"""Of several estimates of an image, at each pixel those of least expected error."""

from __future__ import annotations

import math
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
    own: Array
    noise: Array
    blur: Array | float = 0.0


def mixed(
    image: Array, variance: Array, estimates: list[Estimate], window: float
) -> tuple[Estimate, list[Array]]:
    """Average estimates with weights that fall exponentially with their expected error about a pixel.

    The error is estimated without bias by Stein's formula, (u − f)² + 2 V ∂u/∂f − V, averaged under a
    Gaussian of width `window`; a pixel's weights are those of Leung & Barron for the number of pixels that
    this is.

    Returns
    -------
    mixture
        Its derivative and noise are the averages of those of the estimates, an upper bound for the noise.
    shares
        Of each estimate, by pixel.
    """
    number = 4 * math.pi * window**2
    over = (1 / variance).astype(np.float32)
    risks = []
    for values, own, *_ in estimates:
        risk = values - image
        risk *= risk
        risk *= over
        risk += 2 * own
        risks.append(gaussian(risk, window))
    least = risks[0].copy()
    for risk in risks[1:]:
        np.minimum(least, risk, out=least)
    shares = risks  # in place
    total = np.zeros_like(least)
    for k in range(len(shares)):
        shares[k] -= least
        shares[k] *= np.float32(-number / _TEMPERATURE)
        np.exp(shares[k], out=shares[k])
        total += shares[k]
    for k in range(len(shares)):
        shares[k] /= total
    parts = [np.zeros_like(least) for _ in range(4)]
    for share, estimate in zip(shares, estimates, strict=True):
        for k, field in enumerate(estimate):
            parts[k] += share * field
    return Estimate(*parts), shares


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
    values = gaussian(f, width)
    one = np.ones_like(values)
    return Estimate(
        values, one * np.float32(shared.with_own(width)), one * np.float32(shared.smoothed(width))
    )


def of_wiener(mean: Mean, blur: float = BLUR_OF_BLOCKS) -> Estimate:
    """Describe what a Wiener filter made: its expected squared error is the variance times the derivative."""
    noise = 1 / mean.looks
    return Estimate(mean.values, mean.own, noise, np.float32(blur) * np.maximum(mean.own - noise, 0))


def variance_of(noise: Noise, expected: Array) -> Array:
    """Return the variance of pixels with these expected values, float32."""
    return np.asarray(noise.variance(expected), np.float32)
