"""Compiled first-order primal–dual iterations for everything that has no direct solution.

The image is moved to [0, 1] first, which all three models allow (λ and α of Huber-ROF change with it), so
that one choice of steps fits every instrument's numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from tvtasks.models import TGVL1, TVL1, HuberROF, Model
from tvtasks.operators import Array, Direction
from tvtasks.solvers import Solution, certificates, kernels, linear
from tvtasks.solvers.certificates import Iterates, certify_padded
from tvtasks.solvers.grid import Grid, crop, kept, pad
from tvtasks.solvers.stopping import Check, Gap
from tvtasks.solvers.wavefront import Block, Threads, Wavefront

# ‖∇‖² is at most this, by direction; so is ‖E‖² for both kinds of E.
_NORM = {"both": 8.0, "x": 4.0, "y": 4.0}
_RELAXATION = 1.9
# Steps for images in [0, 1], found by experiment: the dual ones of TV-L1 and of plain ROF, for ∇u and for
# u − f; the primal one of TGV-L1 for u.
_SIGMA, _OMEGA = 30.0, 30.0
_SIGMA_ROF, _OMEGA_ROF = 100.0, 100.0
_TAU = 0.005
_EPS = float(np.finfo(np.float32).eps)
# Iterations between two samples of a mean.
_SAMPLE = 20
# Fewer iterations than this between two looks at the gap are not worth the look.
_LEAST_BLOCK = 25


class _RecentMean:
    """The mean of a dual field over the recent half of the iterations, in float32.

    The bounds ask for a derivative of the dual field to be within ±λ at every pixel. The last iterate swings
    about that for long after u has settled; the mean gives a gap several times smaller.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.field = np.zeros(shape, np.float32)
        self._done, self._since, self._counted = 0, 0, 0

    def advance(self, front: Wavefront, iterate: Block, dual: Array, iterations: int) -> None:
        """Iterate, and take samples on the way."""
        if self._done >= 2 * self._since:
            self.field[:], self._since, self._counted = 0, self._done, 0
        end = self._done + iterations
        while self._done < end:
            block = min(_SAMPLE, end - self._done)
            front.run(iterate, block)
            self._done, self._counted = self._done + block, self._counted + 1
            kernels.add_to_mean(self.field, dual, 1 / self._counted)


class _Iteration(NamedTuple):
    """A model's iteration, ready to go; `state` are its padded arrays."""

    advance: Callable[[int], None]
    state: tuple[Array, ...]
    iterates: Callable[[], tuple[Iterates, ...]]  # one for each dual field that is worth a look
    mean: _RecentMean | None = None
    # gap, given the energy of a pixel, below which float32 may not get
    floor: Callable[[float], float] = lambda energy: 0.0


def solve(image: Array, model: Model, direction: Direction, rule: Gap, threads: int = 1) -> Solution:
    """Iterate until the certified relative gap is at most ``rule.rtol``.

    The iteration begins in float32, which is twice as fast, and goes on in float64 where rounding would keep
    it from the tolerance. Working memory, in images of the dtype that is worked in at the end: 8 for
    Huber-ROF and TV-L1, 16 for TGV-L1.
    """
    low, high = float(image.min()), float(image.max())
    extent = high - low
    image = np.ascontiguousarray(image)
    if isinstance(model, HuberROF):
        in_range: Model = HuberROF(model.lam * extent, model.alpha / extent)
    else:
        in_range = model
    exact_grid = Grid.of(image.shape, direction, np.float64)
    history: list[Check] = []
    done = 0
    dtype: Any = np.float32
    with ThreadPoolExecutor(threads) if threads > 1 else nullcontext() as pool:
        team = Threads(pool, threads) if pool else None
        iteration = _start(_scaled(image, low, extent, dtype), in_range, direction, team)
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
            block = min(_until_next_look(history, rule.rtol), rule.max_iterations - done)
            iteration.advance(block)
            done += block
            if dtype is np.float32 and _rounding_matters(history, iteration.floor(now.energy / image.size)):
                # Rounding blurs the proof, not the way: the last iterations before the look are enough.
                dtype = np.float64
                state, mean = list(iteration.state), iteration.mean
                del iteration, best
                for n in range(len(state)):  # one by one, for the sake of memory
                    state[n] = state[n].astype(dtype)
                f = _scaled(image, low, extent, dtype)
                iteration = _start(f, in_range, direction, team, state, mean)
                block = min(_LEAST_BLOCK, rule.max_iterations - done)
                iteration.advance(block)
                done += block
    del iteration
    method = "primal-dual, float32" if dtype is np.float32 else "primal-dual, float64 after float32"
    # Back in the image's unit, in its dtype if that is precise enough, and certified as what is returned.
    u = low + extent * best.u.astype(np.float64)
    v = None if best.v is None else extent * best.v.astype(np.float64)
    kinds: dict[Any, None] = dict.fromkeys((image.dtype.type, np.float64))
    for kind in kinds:
        result = Iterates(u.astype(kind), None if v is None else v.astype(kind), best.dual)
        final = certify_padded(model, result, image, 0.0, 1.0, exact_grid)
        if final.gap <= max(rule.rtol, 1.1 * now.gap):
            break
    return certificates.solution(
        final, crop(result.u).copy(), None if result.v is None else crop(result.v).copy(),
        method=method, converged=final.gap <= rule.rtol, iterations=done, history=tuple(history),
    )  # fmt: skip


def _scaled(image: Array, low: float, extent: float, dtype: Any) -> Array:
    return pad((image.astype(np.result_type(image, dtype), copy=False) - low) / extent, dtype)


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


def _rounding_matters(history: list[Check], floor: float) -> bool:
    """Whether float32 may keep the gap from falling: it nears the `floor`, or has ceased to fall."""
    last = history[-1]
    return last.gap < floor or (last.iteration > 200 and last.gap > 0.9 * history[-2].gap)


def _start(
    f: Array, model: Model, direction: Direction, threads: Threads | None,
    state: Sequence[Array] | None = None, mean: _RecentMean | None = None,
) -> _Iteration:  # fmt: skip
    """Begin an iteration, or go on from the `state` of another."""
    if isinstance(model, TGVL1):
        return _tgv_l1(f, model, direction, threads, state, mean)
    if isinstance(model, TVL1):
        return _tv_l1(f, model, direction, threads, state, mean)
    if model.alpha > 0:
        return _huber_rof(f, model, direction, threads, state)
    return _rof(f, model, direction, threads, state)


def _huber_rof(
    f: Array, model: HuberROF, direction: Direction, threads: Threads | None, state: Sequence[Array] | None
) -> _Iteration:
    """Chambolle & Pock 2011, algorithm 3, from the linear solution."""
    lam, alpha = model.lam, model.alpha
    mu = 2 * np.sqrt(lam * alpha / _NORM[direction])
    front = Wavefront(f.shape, f.dtype, arrays=5, variables=1, lag=2, stages=2, threads=threads)
    if state is None:
        u, p = f.copy(), np.zeros((2, *f.shape), f.dtype)
        crop(u)[...] = linear.smooth(crop(f), model, direction)
        kernels.huber_dual(u, alpha, *kept(direction), p)
    else:
        u, p = state

    def iterate(iterations: int, rows: Array, first: int, last: int) -> None:
        kernels.huber_rof(
            u, p, f, *kept(direction), lam, alpha, mu / (2 * lam), mu / (2 * alpha), 1 / (1 + mu), iterations,
            rows, first, last,
        )  # fmt: skip

    return _Iteration(lambda n: front.run(iterate, n), (u, p), lambda: (Iterates(u, None, p),))


def _rof(
    f: Array, model: HuberROF, direction: Direction, threads: Threads | None, state: Sequence[Array] | None
) -> _Iteration:
    """Plain ROF, from the image itself."""
    front, (u, s, p) = _tv_start(f, threads, state)
    shrink = 1 / (1 + _OMEGA_ROF / model.lam)

    def iterate(iterations: int, rows: Array, first: int, last: int) -> None:
        kernels.tv(
            u, s, p, f, *kept(direction), _SIGMA_ROF, _OMEGA_ROF, shrink, np.inf, _RELAXATION, iterations,
            rows, first, last,
        )  # fmt: skip

    return _Iteration(lambda n: front.run(iterate, n), (u, s, p), lambda: (Iterates(u, None, p),))


def _tv_l1(
    f: Array, model: TVL1, direction: Direction, threads: Threads | None, state: Sequence[Array] | None,
    mean: _RecentMean | None,
) -> _Iteration:  # fmt: skip
    """TV-L1, from the image itself."""
    front, (u, s, p) = _tv_start(f, threads, state)
    recent = mean or _RecentMean(p.shape)

    def iterate(iterations: int, rows: Array, first: int, last: int) -> None:
        kernels.tv(
            u, s, p, f, *kept(direction), _SIGMA, _OMEGA, 1.0, model.lam, _RELAXATION, iterations,
            rows, first, last,
        )  # fmt: skip

    return _Iteration(
        lambda n: recent.advance(front, iterate, p, n),
        (u, s, p),
        lambda: (Iterates(u, None, recent.field), Iterates(u, None, p)),
        recent,
        # u is held to its rounding, which σ takes to p, and the bound pays for it in each pixel.
        lambda energy: _SIGMA * _EPS / energy,
    )


def _tv_start(
    f: Array, threads: Threads | None, state: Sequence[Array] | None
) -> tuple[Wavefront, Sequence[Array]]:
    front = Wavefront(f.shape, f.dtype, arrays=6, variables=2, lag=2, stages=3, threads=threads)
    return front, state or (f.copy(), np.zeros_like(f), np.zeros((2, *f.shape), f.dtype))


def _tgv_l1(
    f: Array, model: TGVL1, direction: Direction, threads: Threads | None, state: Sequence[Array] | None,
    mean: _RecentMean | None,
) -> _Iteration:  # fmt: skip
    """Over-relaxed primal–dual iteration with separate steps for u and v, from the image and v = 0."""
    grid = Grid.of(crop(f).shape, direction, f.dtype)
    front = Wavefront(f.shape, f.dtype, arrays=13, variables=3, lag=2, stages=2, threads=threads)
    if state is None:
        u = f.copy()
        v, p = np.zeros((2, 2, *f.shape), f.dtype)
        q = np.zeros((4 if model.gradient == "jacobian" else 3, *f.shape), f.dtype)
    else:
        u, v, p, q = state
    tau_v = 0.2 * _TAU
    sigma_p, sigma_q = _dual_steps(_NORM[direction], _TAU, tau_v)

    def iterate(iterations: int, rows: Array, first: int, last: int) -> None:
        kernels.tgv_l1(
            u, v, p, q, f, *grid, model.lam, model.alpha1, model.alpha2, _TAU, tau_v, sigma_p, sigma_q,
            _RELAXATION, iterations, rows, first, last,
        )  # fmt: skip

    recent = mean or _RecentMean(q.shape)
    return _Iteration(
        lambda n: recent.advance(front, iterate, q, n),
        (u, v, p, q),
        lambda: (Iterates(u, v, recent.field), Iterates(u, v, q)),
        recent,
        # The dual equation is met to the rounding of u over τ, and the gap measures that against λ.
        lambda energy: 10 * _EPS / (_TAU * model.lam),
    )


def _dual_steps(norm: float, tau_u: float, tau_v: float) -> tuple[float, float]:
    """Dual steps for which the preconditioned operator [[∇, −1], [0, E]] has norm 1."""
    sigma_p, sigma_q = 1 / (norm * tau_u + tau_v), 1 / (norm * tau_v)
    bound = np.linalg.norm(
        [[(norm * sigma_p * tau_u) ** 0.5, (sigma_p * tau_v) ** 0.5], [0, (norm * sigma_q * tau_v) ** 0.5]], 2
    )
    return float(sigma_p / bound**2), float(sigma_q / bound**2)
