"""How far an estimate is from the truth, by a simulated repetition of the measurement."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tvtasks.choosing.correlation import Correlation
from tvtasks.choosing.mixing import Estimate
from tvtasks.choosing.smoothing import gaussian
from tvtasks.operators import Array

_MISFIT = 0.15  # periods that the residual is smoothed to see what does not fit
_OF_MISFIT = 0.75  # share that gives 95 % of coverage on the tuned scenes 0–5


def squared_error(
    f: Array, estimate: Estimate, variance: Array, shared: Correlation, window: float, period: float,
    once: Callable[[Array], Array],
) -> Array:  # fmt: skip
    """Return the expected squared error of each pixel of an estimate.

    It has three parts. What the noise makes is the variance of the estimate by its weights, times a factor
    that a simulated repetition of the measurement gives about each pixel: weights depend on the noise, too.
    What a Wiener filter takes of the sample is known on average. And where means over unlike places have left
    a misfit, the residual, smoothed a little, is larger than in the repetition.
    """
    rng = np.random.default_rng(0)
    again = estimate.values + shared.drawn(rng, variance.shape) * np.sqrt(variance)
    repeated = once(again)
    error = repeated - estimate.values
    factor = gaussian(error * error, window) / gaussian(variance * estimate.noise, window)
    deviation = np.sqrt(variance)
    width, reach = max(_MISFIT * period, 0.8), max(period, 10.0)
    misfit = gaussian((f - estimate.values) / deviation, width) ** 2
    misfit -= gaussian((again - repeated) / deviation, width) ** 2
    misfit = np.maximum(gaussian(misfit, reach), 0)
    return np.asarray(variance * (factor * estimate.noise + estimate.blur + np.float32(_OF_MISFIT) * misfit))
