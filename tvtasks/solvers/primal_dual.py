"""Compiled first-order primal–dual iterations for everything that has no direct solution.

The image is scaled to [0, 1] first, which all three models allow (λ and α of Huber-ROF change with it), so
that one choice of steps fits the numbers of every instrument.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import numpy as np

from tvtasks.models import TGVL1, TVL1, HuberROF, Model
from tvtasks.operators import Array, Direction
from tvtasks.solvers import Solution, bounds, certificates, kernels, linear, spectral, tgv
from tvtasks.solvers.certificates import Certificate, Iterates, certify_padded
from tvtasks.solvers.gap_checks import LEAST_BLOCK, Best, phase_ends, rounding_matters, until_next_check
from tvtasks.solvers.grid import Grid, crop, kept, pad
from tvtasks.solvers.iteration import EPS, NORM, RELAXATION, Iteration, RecentMeans, Repair
from tvtasks.solvers.scratch import Scratch
from tvtasks.solvers.stopping import Check, Gap
from tvtasks.solvers.wavefront import Threads, Wavefront, duplicate, share_rows, zeros

_RELAXATION_HUBER = 1.8
# Dual steps of TV-L1 and of plain ROF, for both ∇u and u − f, for images in [0, 1]; they were tuned on the
# terraces, the lattice and the noisy image of tests.benchmarks.cases. There is one for each of three phases:
# the first brings the energy down, and the second the proof, because short dual and long primal steps press
# the dual field into its bounds. If that is not enough, the third brings both, to any tolerance.
_SIGMA = (100.0, 20.0, 30.0)
_SIGMA_ROF = 100.0
# After this many iterations the mean distance from the image gives a step that replaces the three phases:
# σ = _PACE / distance, more for a tight tolerance and
# less where u is almost the image. The distance is _ROUGHNESS times the mean difference from the four
# neighbours at least. Below _NOISY the phases are as fast, unless u is almost the image.
_MEASURED, _OWN, _FINISH, _AGAIN = 32, 3, 4, 5
_MEAN_COUNTS = 250
_PACE, _PACE_TIGHT, _TIGHT, _PACE_ALMOST = 0.5, 1.0, 5e-4, 0.25
_PACE_VERY_TIGHT, _PACE_NOISY = 1.2, 0.8
# From so many iterations on, a repair costs little beside those between two looks.
_LATE = 400
_ROUGHNESS, _NOISY, _ALMOST = 0.35, 0.0143, 0.5
_LEAST_PACE = 1e-3
# Below this tolerance TV-L1 takes longer dual steps, unless u is almost the image, and ten times as long ones
# at the end.
_VERY_TIGHT, _LONGER = 2e-5, 10.0
# The gap of Huber-ROF at which rounding to float32 stopped the iteration, for λ and α of all sizes.
_FLOOR_HUBER = 3e-8
_NO_MEANS = np.zeros((2, 2, 1, 1), np.float32)


def solve(
    image: Array,
    model: Model,
    direction: Direction,
    rule: Gap,
    threads: int = 1,
    start: Array | None = None,
    *,
    in_files: bool = False,
) -> Solution:
    """Iterate until the certified relative gap is at most ``rule.rtol``.

    Huber-ROF starts at the solution of its linear equation, which is `start` if the caller has it.

    The iteration starts in float32, which is twice as fast, and continues in float64 if rounding would keep
    it from the tolerance. The L1 models take steps that follow from the image, after some iterations, or run
    in phases: first with steps that bring the energy down until it hardly falls any more, then with steps
    that bring the proof. Working memory, in images of float64: 8 for Huber-ROF, 11 for TV-L1 (20 with a small
    λ), 16 for TGV-L1; half as much where float32 suffices, but 10 for TGV-L1 with a small λ. With `in_files`,
    that is in temporary files.
    """
    low, extent = float(image.min()), float(image.max()) - float(image.min())
    image = np.ascontiguousarray(image)
    in_range = HuberROF(model.lam * extent, model.alpha / extent) if isinstance(model, HuberROF) else model
    exact_grid = Grid.of(image.shape, direction, np.float64)
    best = Best()
    history: list[Check] = []
    done, began, phase = 0, 0, 0
    dtype: Any = np.float32
    with ThreadPoolExecutor(threads) if threads > 1 else nullcontext() as pool:
        team = Threads(pool, threads, Scratch() if in_files else None) if pool or in_files else None
        f = _scaled(image, low, extent, dtype, team)
        iteration = _start(
            f,
            in_range,
            direction,
            team,
            state=None if start is None else (_scaled(start, low, extent, dtype, team),),
        )
        pace = None

        def certified(at: Iterates, repair: Repair | None = None) -> Certificate:
            return certify_padded(in_range, at, image, low, extent, exact_grid, team, repair=repair)

        while True:
            approaching = phase == 0 and not iteration.last_phase
            at, now = _look(iteration, done - began, best, rule.rtol, certified, team)
            history.append(Check(done, now.energy * extent, best.gap))
            if best.gap <= rule.rtol or done >= rule.max_iterations:
                break
            blur = iteration.blur(now.energy / image.size) if dtype is np.float32 else 0.0
            turns = not iteration.last_phase and phase_ends(
                history, max(rule.rtol * iteration.enough, blur), began, approaching
            )
            if approaching:
                rounds = turns and iteration.refines and blur > rule.rtol / 2
                turns = turns and not rounds
            else:
                rounds = dtype is np.float32 and rounding_matters(
                    history, iteration.floor(now.energy / image.size), began
                )
            if history[-1].iteration == _MEASURED and phase == 0:
                pace = _pace(in_range, direction, iteration.state[0], f, rule.rtol, team)
                turns = turns or pace is not None
            other = _finishing(model, dtype, phase, done - began, best, rule.rtol)
            turns = turns or other is not None
            if turns or rounds:
                state, mean = list(iteration.state), iteration.mean
                if turns:
                    phase, began, mean = other or (_OWN if pace else phase + 1), done, None
                del iteration, at
                if rounds:
                    dtype = np.float64
                    _widen(state, team)
                    f = _scaled(image, low, extent, dtype, team)
                iteration = _start(f, in_range, direction, team, phase, state, mean, pace)
            due = min(
                done + _until_next(history, rule.rtol, began, approaching, phase, rounds), rule.max_iterations
            )
            iteration.advance(due - done)
            done = due
        dual = at.dual
        del iteration, at, f
        final, u, v = _in_unit_of_the_image(
            best, dual, model, image, low, extent, rule.rtol, exact_grid, team
        )
    method = "primal-dual, float32" if dtype is np.float32 else "primal-dual, float64 after float32"
    return certificates.solution(
        final, u, v, method=method, converged=final.gap <= rule.rtol, iterations=done, history=tuple(history)
    )


def _finishing(model: Model, dtype: Any, phase: int, age: int, best: Best, rtol: float) -> int | None:
    """Return the phase of TV-L1 that is due near a very tight tolerance, if it is another.

    What energy and bound still lack is in proportion to what they gained since the look before. Long dual
    steps take the energy three quarters of its way, and leave the bound, if that is enough.
    """
    if not isinstance(model, TVL1) or dtype is np.float32:
        return None
    if phase == _FINISH and best.fell < 0.25 * (best.gap - rtol) * best.lower:
        return _AGAIN
    if phase == _OWN and age >= 2 * LEAST_BLOCK and best.fell > 0:
        left = best.gap * (0.25 * best.fell + best.rose) / (best.fell + best.rose)
        return _FINISH if left <= rtol < best.gap else None
    return None


def _until_next(
    history: list[Check], rtol: float, began: int, approaching: bool, phase: int, rounds: bool
) -> int:
    """Return the iterations until the next look."""
    done = history[-1].iteration
    if done == 0:
        return _MEASURED
    if rounds:
        # Rounding blurs the proof, not the direction: after a few iterations in float64 the gap is checked
        # again.
        return LEAST_BLOCK
    if phase == _FINISH or (phase == _OWN and began == done):
        return 2 * LEAST_BLOCK  # nothing was ever proven sooner
    return until_next_check(history, rtol, began, approaching)


def _widen(state: list[Array], threads: Threads | None) -> None:
    """Convert arrays to float64, one by one to save memory."""
    for n, narrow in enumerate(state):
        state[n] = zeros(threads, narrow.shape, np.float64)
        state[n][...] = narrow


def _look(
    iteration: Iteration,
    age: int,
    best: Best,
    rtol: float,
    certified: Callable[..., Certificate],
    threads: Threads | None,
) -> tuple[Iterates, Certificate]:
    """Certify the iterates of an iteration that is `age` iterations old, and keep the best.

    If the dual field can be repaired, that is tried once the gap is near enough. Otherwise a mean proves more
    than the last field, but for the first few iterations.
    """
    at = iteration.iterates(iteration.repair is None and age >= LEAST_BLOCK)
    now = certified(at)
    best.begin()
    best.note(now, at, threads)
    if iteration.repair is None or best.gap <= rtol:
        return at, now
    proof, dual = now, at.dual
    if age >= _MEAN_COUNTS:
        of_mean = iteration.iterates(True)
        again = certified(of_mean)
        best.note(again, of_mean, threads)
        if again.lower > now.lower:
            proof, dual = again, of_mean.dual
    if rtol < best.gap and (proof.gap <= best.promising * rtol or age >= _LATE):
        better = certified(at._replace(dual=dual), iteration.repair)
        best.note(better, at, threads)
        best.promising = float(np.clip(0.9 * proof.gap / max(better.gap, 1e-300), 2.0, 20.0))
    return at, now


def _pace(
    model: Model, direction: Direction, u: Array, f: Array, rtol: float, threads: Threads | None
) -> float | None:
    """Return how far u is from the image, in the mean, if steps that follow from it win, otherwise None.

    Where u hardly differs from the image, its roughness counts instead. With little noise the three phases
    win.
    """
    if isinstance(model, HuberROF) or direction != "both" or model.lam <= spectral.SMALL:
        return None
    sums = np.zeros((2, len(f)))
    share_rows(threads, lambda first, last: bounds.distances(u, f, first, last, sums), 1, len(f) - 1)
    far, rough = (float(total) / crop(f).size for total in sums.sum(axis=1))
    pace = max(far, _ROUGHNESS * rough)
    if pace < _LEAST_PACE:
        return None
    if isinstance(model, TVL1):
        almost, noisy = far < _ALMOST * pace, far >= _NOISY
        if rtol < _VERY_TIGHT:
            return None if almost else pace / (_PACE_NOISY if noisy else _PACE_VERY_TIGHT)
        if almost or noisy:
            return pace / (_PACE_ALMOST if almost else _PACE if rtol >= _TIGHT else _PACE_TIGHT)
        return None
    strong = model.lam >= tgv.OWN_STEPS * model.alpha1
    return pace if strong and (pace >= _NOISY or model.lam >= tgv.OWN_ALWAYS * model.alpha1) else None


def _in_unit_of_the_image(
    best: Best,
    dual: Array,
    model: Model,
    image: Array,
    low: float,
    extent: float,
    rtol: float,
    grid: Grid,
    threads: Threads | None,
) -> tuple[Certificate, Array, Array | None]:
    """Return u and v in the image's unit, and its dtype if precise enough, certified as returned."""
    assert best.u is not None
    kinds: dict[Any, None] = dict.fromkeys((image.dtype.type, np.float64))
    for kind in kinds:
        result = Iterates(
            _rescaled(best.u[None], low, extent, kind, threads)[0],
            None if best.v is None else _rescaled(best.v, 0.0, extent, kind, threads),
            dual,
        )
        final = certify_padded(model, result, image, 0.0, 1.0, grid, threads, rounds=0)
        if best.lower * extent > final.lower:
            final = certificates.with_lower(final, best.lower * extent, best.bound)
        if final.gap <= (rtol if best.gap <= rtol else 1.1 * best.gap):
            break
    return final, crop(result.u).copy(), None if result.v is None else crop(result.v).copy()


def _rescaled(a: Array, low: float, extent: float, dtype: Any, threads: Threads | None) -> Array:
    """Return low + extent · a, computed in float64."""
    result = zeros(threads, a.shape, dtype)
    share_rows(
        threads, lambda first, last: bounds.rescale(a, low, extent, result, first, last), 0, a.shape[1]
    )
    return result


def _scaled(image: Array, low: float, extent: float, dtype: Any, threads: Threads | None) -> Array:
    """Return the image in [0, 1], padded."""
    padded = zeros(threads, (image.shape[0] + 2, image.shape[1] + 2), dtype)
    rows, wide = crop(padded), np.result_type(image, dtype)

    def some(first: int, last: int) -> None:
        rows[first:last] = (image[first:last].astype(wide, copy=False) - low) / extent

    share_rows(threads, some, 0, len(image))
    return padded


def _start(
    f: Array,
    model: Model,
    direction: Direction,
    threads: Threads | None,
    phase: int = 0,
    state: Sequence[Array] | None = None,
    mean: RecentMeans | None = None,
    pace: float | None = None,
) -> Iteration:
    """Start an iteration, or continue from the `state` of another."""
    if isinstance(model, TGVL1):
        return tgv.start(f, model, direction, threads, phase, state, mean, pace)
    if isinstance(model, TVL1) and model.lam <= spectral.SMALL and direction == "both":
        return spectral.start(f, model, threads, state)
    if isinstance(model, TVL1):
        return _tv_l1(f, model, direction, threads, phase, state, mean, pace)
    if model.alpha > 0:
        return _huber_rof(f, model, direction, threads, state)
    return _rof(f, model, direction, threads, state)


def _huber_rof(
    f: Array, model: HuberROF, direction: Direction, threads: Threads | None, state: Sequence[Array] | None
) -> Iteration:
    """Iterate Huber-ROF from the linear solution, with the steps of Chambolle & Pock's algorithm 3.

    Over-relaxed instead of extrapolated by that algorithm's θ, it needs half as many iterations.
    """
    lam, alpha = model.lam, model.alpha
    mu = 2 * np.sqrt(lam * alpha / NORM[direction])
    front = Wavefront(f.shape, f.dtype, arrays=5, variables=1, lag=2, stages=2, threads=threads)
    if state is None:
        state = (pad(linear.smooth(crop(f), lam * alpha, direction), f.dtype),)
    if len(state) == 1:
        state = (*state, zeros(threads, (2, *f.shape), f.dtype))
        kernels.huber_dual(state[0], alpha, *kept(direction), state[1])
    u, p = state

    def iterate(start: int, iterations: int, rows: Array, first: int, last: int) -> None:
        kernels.huber_rof(
            u,
            p,
            f,
            *kept(direction),
            lam,
            alpha,
            mu / (2 * lam),
            mu / (2 * alpha),
            _RELAXATION_HUBER,
            iterations,
            rows,
            first,
            last,
        )

    return Iteration(
        lambda n: front.run(iterate, n),
        (u, p),
        lambda of_mean: Iterates(u, None, p),
        floor=lambda energy: _FLOOR_HUBER,
    )


def _rof(
    f: Array, model: HuberROF, direction: Direction, threads: Threads | None, state: Sequence[Array] | None
) -> Iteration:
    """Iterate plain ROF, starting at the image."""
    front, (u, s, p) = _tv_start(f, threads, state)
    shrink = 1 / (1 + _SIGMA_ROF / model.lam)

    def iterate(start: int, iterations: int, rows: Array, first: int, last: int) -> None:
        kernels.tv(
            u,
            s,
            p,
            f,
            *kept(direction),
            _SIGMA_ROF,
            _SIGMA_ROF,
            shrink,
            np.inf,
            RELAXATION,
            _NO_MEANS,
            np.zeros((iterations, 2)),
            iterations,
            rows,
            first,
            last,
        )

    return Iteration(lambda n: front.run(iterate, n), (u, s, p), lambda of_mean: Iterates(u, None, p))


def _tv_l1(
    f: Array,
    model: TVL1,
    direction: Direction,
    threads: Threads | None,
    phase: int,
    state: Sequence[Array] | None,
    mean: RecentMeans | None,
    pace: float | None,
) -> Iteration:
    """Iterate TV-L1, starting at the image."""
    front, (u, s, p) = _tv_start(f, threads, state)
    recent = mean or RecentMeans(p.shape, threads, _MEAN_COUNTS // 2)
    sigma = _SIGMA[phase] if pace is None else 1 / pace
    if phase == _FINISH:
        sigma *= _LONGER
    shares = np.zeros((0, 2))

    def iterate(start: int, iterations: int, rows: Array, first: int, last: int) -> None:
        kernels.tv(
            u,
            s,
            p,
            f,
            *kept(direction),
            sigma,
            sigma,
            1.0,
            model.lam,
            RELAXATION,
            recent.fields,
            shares[start : start + iterations],
            iterations,
            rows,
            first,
            last,
        )

    def advance(iterations: int) -> None:
        nonlocal shares
        shares = recent.shares(iterations)
        front.run(iterate, iterations)

    return Iteration(
        advance,
        (u, s, p),
        lambda of_mean: Iterates(u, None, recent.field if of_mean else p),
        recent,
        # u is held to its rounding, which σ passes on to p, and the bound pays for it in each pixel. A repair
        # removes most of that.
        lambda energy: (1.0 if pace is None else 0.2) * sigma * EPS / energy,
        last_phase=phase >= 2,
        repair=Repair(model.lam, direction),
    )


def _tv_start(
    f: Array, threads: Threads | None, state: Sequence[Array] | None
) -> tuple[Wavefront, Sequence[Array]]:
    front = Wavefront(f.shape, f.dtype, arrays=6, variables=2, lag=2, stages=3, threads=threads)
    if state is None:
        state = (
            duplicate(f, threads),
            zeros(threads, f.shape, f.dtype),
            zeros(threads, (2, *f.shape), f.dtype),
        )
    return front, state
