"""Compiled first-order primal–dual iterations for everything that has no direct solution.

The image is moved to [0, 1] first, which all three models allow (λ and α of Huber-ROF change with it), so
that one choice of steps fits every instrument's numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np

from tvtasks.models import TGVL1, TVL1, HuberROF, Model
from tvtasks.operators import Array, Direction, gradient, magnitude
from tvtasks.solvers import Solution, certificates, kernels, linear
from tvtasks.solvers.certificates import Iterates, certify_padded
from tvtasks.solvers.grid import Grid, crop, pad
from tvtasks.solvers.stopping import Check, Gap
from tvtasks.solvers.wavefront import Block, Wavefront

# ‖∇‖² is at most this, by direction; so is ‖E‖² for both kinds of E.
_NORM = {"both": 8.0, "x": 4.0, "y": 4.0}
_RELAXATION = 1.9
# Primal steps for u, for images in [0, 1]; found by experiment.
_TAU_TV, _TAU_TGV = 0.01, 0.005
# Iterations between two samples of a mean.
_SAMPLE = 10
# Fewer iterations than this between two looks at the gap are not worth the look.
_LEAST_BLOCK = 25


class _Iteration(NamedTuple):
    """A model's iteration, ready to go: its padded state lives in the closures."""

    advance: Callable[[int], None]
    iterates: Callable[[], tuple[Iterates, ...]]  # one for each dual field that is worth a look


def solve(image: Array, model: Model, direction: Direction, rule: Gap, threads: int = 1) -> Solution:
    """Iterate until the certified relative gap is at most ``rule.rtol``.

    Working memory, in images of the dtype that is worked in: 8 for Huber-ROF and TV-L1, 16 for TGV-L1.
    """
    low, high = float(image.min()), float(image.max())
    extent = high - low
    reachable = _float32_floor(model, max(abs(low), abs(high)) / extent)
    dtype = np.float32 if image.dtype == np.float32 and rule.rtol >= reachable else np.float64
    image = np.ascontiguousarray(image, dtype)
    if isinstance(model, HuberROF):
        in_range: Model = HuberROF(model.lam * extent, model.alpha / extent)
    else:
        in_range = model
    f = pad((image - low) / extent, dtype)
    exact_grid = Grid.of(image.shape, direction, np.float64)
    history: list[Check] = []
    done = 0
    with ThreadPoolExecutor(threads) if threads > 1 else nullcontext() as pool:
        iteration = _start(f, in_range, direction, pool)
        while True:
            now, best = min(
                (
                    (certify_padded(in_range, at, image, low, extent, exact_grid), at)
                    for at in iteration.iterates()
                ),
                key=lambda pair: pair[0].gap,
            )
            history.append(Check(done, now.energy * extent, now.gap))
            if now.gap <= rule.rtol or done >= rule.max_iterations:
                break
            if dtype == np.float32 and _stalled(history):
                return solve(image.astype(np.float64), model, direction, rule, threads)
            block = min(_until_next_look(history, rule.rtol), rule.max_iterations - done)
            iteration.advance(block)
            done += block
    # Back in the image's unit, and certified as what is returned: rounding is paid for.
    for array, offset in ((best.u, low), (best.v, 0.0)):
        if array is not None:
            crop(array)[...] = offset + extent * crop(array)
    final = certify_padded(model, best, image, 0.0, 1.0, exact_grid)
    return certificates.solution(
        final, crop(best.u).copy(), None if best.v is None else crop(best.v).copy(),
        method=f"primal-dual, {np.dtype(dtype).name}", converged=final.gap <= rule.rtol,
        iterations=done, history=tuple(history),
    )  # fmt: skip


def _until_next_look(history: list[Check], rtol: float) -> int:
    """Choose the iterations until the next look at the gap, which costs as much as one to five of them.

    The gap falls like a power of the number of iterations, for a while: that power, from the last two looks,
    says when it will be there. Going only most of the way, and not far at a time, allows for errors.
    """
    done, gap = history[-1].iteration, history[-1].gap
    step = max(_LEAST_BLOCK, done // 5)
    if len(history) < 2 or not 0 < gap < np.inf or not gap < history[-2].gap < np.inf or done == 0:
        return step
    before = history[-2]
    power = np.log(before.gap / gap) / np.log(done / max(before.iteration, 1))
    factor = np.exp(min(np.log(gap / rtol) / power, 1.0))
    return int(min(max(0.8 * (factor - 1) * done, step), max(0.6 * done, step)))


def _float32_floor(model: Model, offset: float) -> float:
    """Estimate the gap below which float32 does not get.

    `offset` is the largest value in units of the contrast: rounding the result costs about its last digit. In
    the L1 models the dual equation is met to a rounding of u over the step τ, and the gap measures that
    against λ (the factor was found by experiment).
    """
    eps = float(np.finfo(np.float32).eps)
    floor = 100 * eps * offset
    if isinstance(model, HuberROF):
        return floor
    return max(floor, 3 * eps / ((_TAU_TV if isinstance(model, TVL1) else _TAU_TGV) * model.lam))


def _stalled(history: list[Check]) -> bool:
    """Whether rounding keeps a float32 iteration from its tolerance: no progress since a quarter of it."""
    last = history[-1]
    earlier = [check.gap for check in history if check.iteration <= last.iteration // 4]
    return last.iteration > 4000 and min(check.gap for check in history) > 0.8 * min(earlier)


def _start(f: Array, model: Model, direction: Direction, pool: Executor | None = None) -> _Iteration:
    if isinstance(model, HuberROF):
        return _huber_rof(f, model, direction, pool)
    if isinstance(model, TVL1):
        return _tv_l1(f, model, direction, pool)
    return _tgv_l1(f, model, direction, pool)


def _huber_rof(f: Array, model: HuberROF, direction: Direction, pool: Executor | None = None) -> _Iteration:
    """Chambolle & Pock 2011: algorithm 3 for α > 0, algorithm 2 for α = 0, from the linear solution."""
    lam, alpha, norm = model.lam, model.alpha, _NORM[direction]
    grid = Grid.of(crop(f).shape, direction, f.dtype)
    front = Wavefront(f.shape, f.dtype, arrays=5, bars=1, pool=pool)
    u, p = f.copy(), np.zeros((2, *f.shape), f.dtype)
    if alpha > 0:
        crop(u)[...] = linear.smooth(crop(f), model, direction)
        crop(p)[...] = gradient(crop(u), direction)
        p /= np.maximum(magnitude(p), alpha)
        mu = 2 * np.sqrt(lam * alpha / norm)
        tau, sigma, theta = mu / (2 * lam), mu / (2 * alpha), 1 / (1 + mu)
    else:
        tau, sigma, theta = 1 / lam, lam / norm, 1.0

    def advance(iterations: int) -> None:
        nonlocal tau, sigma
        steps = np.empty((3, iterations))
        for n in range(iterations):
            shrink = theta if alpha > 0 else 1 / np.sqrt(1 + 2 * lam * tau)
            steps[:, n] = tau, sigma, shrink
            if alpha == 0:
                tau, sigma = tau * shrink, sigma / shrink
        front.run(
            lambda part, bars, first, last: kernels.huber_rof(
                u,
                p,
                f,
                grid.mx,
                grid.my,
                lam,
                alpha,
                steps[0, part],
                steps[1, part],
                steps[2, part],
                bars,
                first,
                last,
            ),
            iterations,
        )

    return _Iteration(advance, lambda: (Iterates(u, None, p),))


def _tv_l1(f: Array, model: TVL1, direction: Direction, pool: Executor | None = None) -> _Iteration:
    """Over-relaxed primal–dual iteration (Condat 2013), from the image itself."""
    grid = Grid.of(crop(f).shape, direction, f.dtype)
    front = Wavefront(f.shape, f.dtype, arrays=5, bars=1, pool=pool)
    u, p = f.copy(), np.zeros((2, *f.shape), f.dtype)
    tau = _TAU_TV
    sigma = 1 / (tau * _NORM[direction])

    def iterate(part: slice, bars: Array, first: int, last: int) -> None:
        kernels.tv_l1(
            u, p, f, grid.mx, grid.my, model.lam, tau, sigma, _RELAXATION, part.stop - part.start,
            bars, first, last,
        )  # fmt: skip

    advance, mean = _with_mean(front, iterate, p)
    return _Iteration(advance, lambda: (Iterates(u, None, mean), Iterates(u, None, p)))


def _tgv_l1(f: Array, model: TGVL1, direction: Direction, pool: Executor | None = None) -> _Iteration:
    """Over-relaxed primal–dual iteration with separate steps for u and v, from the image and v = 0."""
    grid = Grid.of(crop(f).shape, direction, f.dtype)
    front = Wavefront(f.shape, f.dtype, arrays=13, bars=3, pool=pool)
    u = f.copy()
    v, p = np.zeros((2, 2, *f.shape), f.dtype)
    q = np.zeros((4 if model.gradient == "jacobian" else 3, *f.shape), f.dtype)
    tau_u = _TAU_TGV
    tau_v = 0.2 * tau_u
    sigma_p, sigma_q = _dual_steps(_NORM[direction], tau_u, tau_v)

    def iterate(part: slice, bars: Array, first: int, last: int) -> None:
        kernels.tgv_l1(
            u, v, p, q, f, *grid, model.lam, model.alpha1, model.alpha2, tau_u, tau_v, sigma_p, sigma_q,
            _RELAXATION, part.stop - part.start, bars, first, last,
        )  # fmt: skip

    advance, mean = _with_mean(front, iterate, q)
    return _Iteration(advance, lambda: (Iterates(u, v, mean), Iterates(u, v, q)))


def _with_mean(front: Wavefront, iterate: Block, dual: Array) -> tuple[Callable[[int], None], Array]:
    """Advance an iteration, and keep the mean of a dual field over the recent half of the iterations.

    The bounds ask for a derivative of the dual field to be within ±λ at every pixel. The last iterate swings
    about that for long after u has settled; the mean gives a gap several times smaller.
    """
    mean = np.zeros_like(dual)
    done, since, counted = 0, 0, 0

    def advance(iterations: int) -> None:
        nonlocal done, since, counted
        if done >= 2 * since:
            mean[:], since, counted = 0, done, 0
        end = done + iterations
        while done < end:
            block = min(_SAMPLE, end - done)
            front.run(iterate, block)
            done, counted = done + block, counted + 1
            kernels.add_to_mean(mean, dual, 1 / counted)

    return advance, mean


def _dual_steps(norm: float, tau_u: float, tau_v: float) -> tuple[float, float]:
    """Dual steps for which the preconditioned operator [[∇, −1], [0, E]] has norm 1."""
    sigma_p, sigma_q = 1 / (norm * tau_u + tau_v), 1 / (norm * tau_v)
    bound = np.linalg.norm(
        [[(norm * sigma_p * tau_u) ** 0.5, (sigma_p * tau_v) ** 0.5], [0, (norm * sigma_q * tau_v) ** 0.5]], 2
    )
    return float(sigma_p / bound**2), float(sigma_q / bound**2)
