"""Of several estimates of an image, at each pixel those of least expected error."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from tvtasks.choosing.smoothing import gaussian
from tvtasks.operators import Array

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


def mixed(image: Array, variance: Array, estimates: list[Estimate], window: float) -> tuple[Estimate, list[Array]]:
    """Average estimates with weights that fall exponentially with their expected error about a pixel.

    The error is estimated without bias by Stein's formula, (u − f)² + 2 V ∂u/∂f − V, averaged under a Gaussian
    of width `window`; a pixel's weights are those of Leung & Barron for the number of pixels that this is.

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
    for risk in risks:
        risk -= least
        risk *= np.float32(-number / _TEMPERATURE)
        np.exp(risk, out=risk)
    total = risks[0].copy()
    for risk in risks[1:]:
        total += risk
    for risk in risks:
        risk /= total
    parts = [np.zeros_like(least) for _ in range(4)]
    for share, estimate in zip(risks, estimates, strict=True):
        for part, field in zip(parts, estimate, strict=True):
            part += share * field
    return Estimate(*parts), risks
