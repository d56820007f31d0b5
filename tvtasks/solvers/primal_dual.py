"""Compiled first-order primal–dual iterations for everything that has no direct solution.

The image is moved to [0, 1] first, which all three models allow (λ and α of Huber-ROF change with it), so
that one choice of steps fits every instrument's numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tvtasks.models import TGVL1, TVL1, HuberROF, Model
from tvtasks.operators import Array, Direction, gradient
from tvtasks.solvers import Solution, certificates, kernels, linear
from tvtasks.solvers.certificates import Certificate
from tvtasks.solvers.grid import Grid, crop, pad
from tvtasks.solvers.stopping import Check, Gap

# ‖∇‖² is at most this, by direction; so is ‖E‖² for both kinds of E.
_NORM = {"both": 8.0, "x": 4.0, "y": 4.0}
_RELAXATION = 1.9
# Iterations between two samples of a mean.
_SAMPLE = 10


class _Iteration(NamedTuple):
    """A model's iteration, ready to go: its state lives in the closures."""

    advance: Callable[[int], None]
    state: Callable[[], tuple[Array, tuple[Array, ...], Array | None]]  # u, dual variables to try, v


def solve(image: Array, model: Model, direction: Direction, rule: Gap) -> Solution:
    """Iterate until the certified relative gap is at most ``rule.rtol``."""
    low, high = float(image.min()), float(image.max())
    extent = high - low
    # Rounding the result to float32 costs about this much of the contrast; where that would spoil the
    # tolerance, the work is done and the result returned in float64.
    rounding = float(np.finfo(np.float32).eps) * max(abs(low), abs(high)) / extent
    dtype = np.float32 if image.dtype == np.float32 and rule.rtol >= 100 * rounding else np.float64
    scaled = (np.asarray(image, np.float64) - low) / extent
    if isinstance(model, HuberROF):
        in_range: Model = HuberROF(model.lam * extent, model.alpha / extent)
    else:
        in_range = model
    iteration = _start(scaled, in_range, direction, dtype)

    def certify(u: Array, dual: Array, v: Array | None, f: Array, of: Model) -> Certificate:
        if isinstance(of, HuberROF):
            return certificates.huber_rof(u, dual, f, of, direction)
        if isinstance(of, TVL1):
            return certificates.tv_l1(u, dual, f, of, direction)
        assert v is not None
        return certificates.tgv_l1(u, v, dual, f, of, direction)

    history: list[Check] = []
    done = 0
    while True:
        u, duals, v = iteration.state()
        now, best = min(
            ((certify(u, dual, v, scaled, in_range), dual) for dual in duals), key=lambda pair: pair[0].gap
        )
        history.append(Check(done, now.energy * extent, now.gap))
        if now.gap <= rule.rtol or done >= rule.max_iterations:
            break
        if dtype == np.float32 and _stalled(history):
            return solve(image.astype(np.float64), model, direction, rule)
        # A look costs about as much as three iterations; this spacing keeps looks to a few per cent.
        block = min(max(25, done // 6), rule.max_iterations - done)
        iteration.advance(block)
        done += block
    u = (low + extent * u).astype(dtype)
    v = None if v is None else (extent * v).astype(dtype)
    final = certify(u, best, v, image, model)
    return certificates.solution(
        final, u, v, method=f"primal-dual, {np.dtype(dtype).name}", converged=final.gap <= rule.rtol,
        iterations=done, history=tuple(history),
    )  # fmt: skip


def _stalled(history: list[Check]) -> bool:
    """Whether rounding keeps a float32 iteration from its tolerance: no progress for half of the time."""
    last = history[-1]
    earlier = [check.gap for check in history if check.iteration <= last.iteration // 2]
    return last.iteration > 4000 and min(check.gap for check in history) > 0.8 * min(earlier)


def _start(f: Array, model: Model, direction: Direction, dtype: Any) -> _Iteration:
    if isinstance(model, HuberROF):
        return _huber_rof(f, model, direction, dtype)
    if isinstance(model, TVL1):
        return _tv_l1(f, model, direction, dtype)
    return _tgv_l1(f, model, direction, dtype)


def _huber_rof(f: Array, model: HuberROF, direction: Direction, dtype: Any) -> _Iteration:
    """Chambolle & Pock 2011: algorithm 3 for α > 0, algorithm 2 for α = 0, from the linear solution."""
    lam, alpha, norm = model.lam, model.alpha, _NORM[direction]
    grid, target = Grid.of(f.shape, direction, dtype), pad(f, dtype)
    p = np.zeros((2, *target.shape), dtype)
    if alpha > 0:
        u = pad(linear.smooth(f, model, direction), dtype)
        p += pad(gradient(crop(u), direction) / alpha, dtype)
        p /= np.maximum(1, np.sqrt(p[0] ** 2 + p[1] ** 2))
        mu = 2 * np.sqrt(lam * alpha / norm)
        tau, sigma, theta = mu / (2 * lam), mu / (2 * alpha), 1 / (1 + mu)
    else:
        u = target.copy()
        tau, sigma, theta = 1 / lam, lam / norm, 1.0

    def advance(iterations: int) -> None:
        nonlocal tau, sigma
        steps = np.empty((3, iterations))
        for n in range(iterations):
            shrink = theta if alpha > 0 else 1 / np.sqrt(1 + 2 * lam * tau)
            steps[:, n] = tau, sigma, shrink
            if alpha == 0:
                tau, sigma = tau * shrink, sigma / shrink
        kernels.huber_rof(u, p, target, grid.mx, grid.my, lam, alpha, *steps)

    return _Iteration(advance, lambda: (crop(u), (crop(p),), None))


def _tv_l1(f: Array, model: TVL1, direction: Direction, dtype: Any) -> _Iteration:
    """Over-relaxed primal–dual iteration (Condat 2013), from the image itself."""
    grid, target = Grid.of(f.shape, direction, dtype), pad(f, dtype)
    u, p = target.copy(), np.zeros((2, *target.shape), dtype)
    tau = 0.01
    sigma = 1 / (tau * _NORM[direction])

    def advance(iterations: int) -> None:
        kernels.tv_l1(u, p, target, grid.mx, grid.my, model.lam, tau, sigma, _RELAXATION, iterations)

    return _Iteration(advance, lambda: (crop(u), (crop(p),), None))


def _tgv_l1(f: Array, model: TGVL1, direction: Direction, dtype: Any) -> _Iteration:
    """Over-relaxed primal–dual iteration with separate steps for u and v, from the image and v = 0."""
    grid, target = Grid.of(f.shape, direction, dtype), pad(f, dtype)
    u = target.copy()
    v, p = np.zeros((2, 2, *target.shape), dtype)
    q = np.zeros((4 if model.gradient == "jacobian" else 3, *target.shape), dtype)
    tau_u = 0.005
    tau_v = 0.2 * tau_u
    sigma_p, sigma_q = _dual_steps(_NORM[direction], tau_u, tau_v)

    # The bound asks for ∇ᵀEᵀq within ±λ at every pixel. The last iterate swings about that for long after u
    # has settled; the mean over the recent half of the iterations gives a gap 3 to 10 times smaller.
    total, mean = np.zeros_like(q), np.zeros_like(q)
    done, since, counted = 0, 0, 0

    def advance(iterations: int) -> None:
        nonlocal done, since, counted
        if done >= 2 * since:
            total[:], since, counted = 0, done, 0
        end = done + iterations
        while done < end:
            block = min(_SAMPLE, end - done)
            kernels.tgv_l1(
                u, v, p, q, target, *grid, model.lam, model.alpha1, model.alpha2,
                tau_u, tau_v, sigma_p, sigma_q, _RELAXATION, block,
            )  # fmt: skip
            np.add(total, q, out=total)
            done, counted = done + block, counted + 1
        np.divide(total, counted, out=mean)

    return _Iteration(advance, lambda: (crop(u), (crop(q), crop(mean)), crop(v)))


def _dual_steps(norm: float, tau_u: float, tau_v: float) -> tuple[float, float]:
    """Dual steps for which the preconditioned operator [[∇, −1], [0, E]] has norm 1."""
    sigma_p, sigma_q = 1 / (norm * tau_u + tau_v), 1 / (norm * tau_v)
    bound = np.linalg.norm(
        [[(norm * sigma_p * tau_u) ** 0.5, (sigma_p * tau_v) ** 0.5], [0, (norm * sigma_q * tau_v) ** 0.5]], 2
    )
    return float(sigma_p / bound**2), float(sigma_q / bound**2)
