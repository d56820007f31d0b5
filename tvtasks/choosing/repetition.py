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
    residual: Array, estimate: Estimate, variance: Array, shared: Correlation, window: float, period: float,
    once: Callable[[Array], Array],
) -> Array:  # fmt: skip
    """Return the expected squared error of each pixel of an estimate.

    It has three parts. What the noise makes is the variance of the estimate by its weights, times a factor
    that a simulated repetition of the measurement gives about each pixel: weights depend on the noise, too.
    What a Wiener filter takes of the sample is known on average. And where means over unlike places have left
    a misfit, the residual (see `residual_of`), smoothed a little, is larger than in the repetition.
    """
    # Few images are held at a time.
    width, reach = max(_MISFIT * period, 0.8), max(period, 10.0)

    noise = shared.drawn(np.random.default_rng(0), variance.shape)
    noise *= np.sqrt(variance)
    noise += estimate.values
    repeated = once(noise)
    of_repeated = residual_of(noise, repeated, variance)
    del noise
    misfit = gaussian(residual.astype(np.float32), width)
    misfit *= misfit
    unlike = gaussian(of_repeated.astype(np.float32), width)
    unlike *= unlike
    misfit -= unlike
    del unlike, of_repeated
    error = gaussian(misfit, reach)
    del misfit
    np.maximum(error, 0, out=error)
    error *= np.float32(_OF_MISFIT)
    error += estimate.blur
    repeated -= estimate.values
    repeated *= repeated
    factor = gaussian(repeated, window)
    del repeated
    factor /= gaussian(variance * estimate.noise, window)
    factor *= estimate.noise
    error += factor
    error *= variance
    return error


def residual_of(f: Array, values: Array, variance: Array) -> Array:
    """Return an image less an estimate, in standard deviations; float16, as it is kept for long."""
    return np.asarray((f - values) / np.sqrt(variance), np.float16)


def compact(estimate: Estimate) -> Estimate:
    """Return an estimate without its derivative, its variances in float16: four digits will do."""
    noise, blur = (np.asarray(part, np.float16) for part in (estimate.noise, estimate.blur))
    return estimate._replace(own=np.float32(0), noise=noise, blur=blur)
