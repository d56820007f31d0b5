"""The iteration of TV-L1 for small λ, in which every wavelength of u takes its own step.

Where the image weighs little, features are 1/λ pixels large, and an iteration that looks at neighbours only
needs as many steps to cross one. Here a cosine transform inverts the equation of u, so that the number of
iterations does not depend on λ or on the size of the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tvtasks.models import TVL1
from tvtasks.operators import Array, gradient, gradient_adjoint, magnitude
from tvtasks.solvers import extremes, kernels, linear, tgv_kernels
from tvtasks.solvers.certificates import Iterates
from tvtasks.solvers.grid import crop, pad
from tvtasks.solvers.iteration import EPS, RELAXATION, Iteration
from tvtasks.solvers.wavefront import Threads, share_rows

# Up to this λ.
SMALL = 0.03
# Dual steps: of ∇u, kept between 1/2λ and 2/λ, because gradients are as large as λ; of u − f, in λ per mean
# distance.
_SIGMA, _OMEGA = 60.0, 1.0
_MEAN_ZERO = 20


def start(f: Array, model: TVL1, threads: Threads | None, state: Sequence[Array] | None) -> Iteration:
    """Start an iteration at the median, or continue from the `state` of another.

    Primal–dual with a dual variable s for the fidelity; u takes the step −(ω + σ∇ᵀ∇)⁻¹(s + ∇ᵀp). What is
    certified is p with a correction by the inverse Laplacian, such that ∇ᵀp = −s.

    References
    ----------
    K. Bredies, H. Sun, "Preconditioned Douglas–Rachford Algorithms for TV- and TGV-Regularized Variational
    Imaging Problems", Journal of Mathematical Imaging and Vision 52 (2015) 317–344,
    doi:10.1007/s10851-015-0564-1.
    """
    u, s, p = state or _from_the_median(f, model)
    median = float(np.median(crop(f)))
    omega = _OMEGA * model.lam / max(float(np.abs(crop(f) - median).mean(dtype=np.float64)), 1e-9)
    sigma = float(np.clip(_SIGMA, 0.5 / model.lam, 2 / model.lam))
    z = np.zeros_like(f)
    end = len(f) - 1

    def once() -> None:
        share_rows(threads, lambda first, last: kernels.residual(s, p, z, first, last), 1, end)
        move = linear.smooth(crop(z), omega / sigma, "both", threads.number if threads else 1)
        tgv_kernels.move(u, move, 1 / omega, RELAXATION, z)
        share_rows(
            threads,
            lambda first, last: kernels.tv_duals(
                s, p, z, f, 1.0, 1.0, model.lam, omega, sigma, RELAXATION, first, last
            ),
            1,
            end,
        )

    def advance(iterations: int) -> None:
        for _ in range(iterations):
            once()

    return Iteration(
        advance,
        (u, s, p),
        lambda of_mean: Iterates(u, None, _corrected(s, p, model.lam)),
        # Errors of p by rounding count against λ; found by trying.
        floor=lambda energy: 140 * EPS / model.lam,
    )


def _from_the_median(f: Array, model: TVL1) -> tuple[Array, Array, Array]:
    image = crop(f).astype(np.float64)
    s = -model.lam * np.sign(image - np.median(image))
    s = _mean_zero(s, model.lam)
    p = gradient(extremes.inverse_laplacian(-s))
    u = np.full_like(f, np.median(image))
    return u, pad(s, f.dtype), pad(p, f.dtype)


def _mean_zero(s: Array, bound: float) -> Array:
    """Shift s, clipped to ±bound, such that its mean is zero."""
    shift = 0.0
    for _ in range(_MEAN_ZERO):
        moved = s + shift
        inside = float(np.count_nonzero(np.abs(moved) <= bound * (1 + 1e-9)))
        excess = float(np.clip(moved, -bound, bound, out=moved).sum())
        if abs(excess) <= 1e-12 * bound * s.size:
            break
        shift -= excess / max(inside, 1e-3 * s.size)
    return np.asarray(moved - moved.mean())


def _corrected(s: Array, p: Array, lam: float) -> Array:
    """Return p, in float64, with a correction such that ∇ᵀp = −s."""
    dual = crop(p).astype(np.float64)
    dual /= np.maximum(1.0, magnitude(dual))
    target = _mean_zero(-crop(s).astype(np.float64), lam)
    dual += gradient(extremes.inverse_laplacian(target - gradient_adjoint(dual)))
    return pad(dual, np.float64)
