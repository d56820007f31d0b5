"""How long each program takes to come near the minimum, by the same clock and on the same image."""

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from tests.benchmarks.cases import Case
from tests.benchmarks.peers import today
from tests.benchmarks.watch import BEYOND, EnoughError, Watch
from tvtasks import Gap, Solution, solve
from tvtasks.operators import Array

TARGETS = (1e-3, 1e-4, 1e-6)  # objective above the minimum, as a part of it
_LONG = 10.0  # seconds; what takes longer is measured once instead of three times
OWN_STOP = 60.0  # seconds that the published code may take to its own stop


@dataclass(frozen=True)
class Row:
    """Seconds that one program takes to each of `TARGETS`, and what its own stop gives, if it has one.

    More than the budget means that the iterations were counted and not waited for.
    """

    solver: str
    seconds: tuple[float, ...]
    own_stop: tuple[float, float] | None = None  # seconds, relative excess


@dataclass(frozen=True)
class Result:
    """All programs on one case, ours first (first within, proven); `gap` bounds the reference's own error."""

    case: Case
    reference: float
    gap: float
    method: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Size:
    """Seconds for one number of pixels: ours to a proven 1e-4, today's code to its own stop."""

    pixels: int
    ours: float
    today: float


def compare(case: Case, side: int, peers: dict[str, ModuleType], budget: float) -> Result:
    """Run every program on one case, each for about `budget` seconds at the most."""
    image32 = case.image(side)
    image = image32.astype(np.float64)
    reference = _within_budget(image, case, 1e-7, 4 * budget)
    goals = [(1 + target) * reference.energy for target in TARGETS]

    single = [_proven(image32, case, target, budget) for target in TARGETS]
    first = [
        _first_within(image32, case, *proof, target, goal, budget)
        for proof, target, goal in zip(single, TARGETS, goals, strict=True)
    ]
    two = [_proven(image32, case, target, budget, threads=2) for target in TARGETS]
    rows = [
        Row("tvtasks, first within", tuple(first)),
        Row("tvtasks, proven", tuple(seconds for seconds, _ in single)),
        Row("tvtasks, proven, two threads", tuple(seconds for seconds, _ in two)),
    ]
    for name, peer in peers.items():
        if peer.refusal(case.model):
            continue

        def run(peer: ModuleType = peer) -> tuple[float, ...]:
            watch = Watch(case, image, goals[-1], budget)
            with contextlib.suppress(EnoughError):
                peer.run(image, case.model, case.direction, watch)
            return tuple(watch.seconds_to(goal) for goal in goals)

        own_stop, times = None, _medians(run)
        if peer is today:
            seconds, energy = _published_stop(image, case, max(budget, OWN_STOP))
            own_stop = seconds, energy / reference.energy - 1
            times = _counted(times, image, case, goals, budget)
        rows.append(Row(name, times, own_stop))
    return Result(case, reference.energy, reference.gap, reference.method, tuple(rows))


def _counted(
    times: tuple[float, ...], image: Array, case: Case, goals: list[float], budget: float
) -> tuple[float, ...]:
    """Seconds that the published iteration would take where the budget ended first.

    The iterations, counted by making them with compiled kernels, times the seconds that one takes.
    """
    if max(times) < BEYOND or not today.can_be_counted(case.model):
        return times
    few = Watch(case, image, -math.inf, 1.0)
    with contextlib.suppress(EnoughError):
        today.run(image, case.model, case.direction, few)
    counted = Watch(case, image, goals[-1], 5 * budget)
    with contextlib.suppress(EnoughError):
        today.count(image, case.model, case.direction, counted)
    each = few.looks[-1][0] / few.iterations
    return tuple(
        seconds if seconds < BEYOND else counted.iterations_to(goal) * each
        for seconds, goal in zip(times, goals, strict=True)
    )


def scaling(case: Case, sides: Sequence[int], budget: float) -> list[Size]:
    """Time ours and today's code on growing images; today's no further than its budget."""
    sizes: list[Size] = []
    for side in sides:
        image = case.image(side)
        published = BEYOND
        if not sizes or sizes[-1].today < BEYOND:
            published, _ = _published_stop(image.astype(np.float64), case, budget)
        ours, _ = _proven(image, case, 1e-4, budget)
        sizes.append(Size(side * side, ours, published))
    return sizes


def seconds_per_iteration(case: Case, side: int) -> tuple[float, Solution]:
    """The difference of a solve of 110 iterations and one of 10, so that setting up does not count."""
    image = case.image(side)
    (few, short), (many, long) = (_timed(image, case, 1e-4, iterations) for iterations in (10, 110))
    return (many - few) / (long.iterations - short.iterations), long


def copy_bandwidth(threads: int, megabytes: int) -> float:
    """Bytes per second, read and written, of `np.copyto` between float32 arrays of this size."""
    source = np.ones(megabytes * 2**20 // 4, np.float32)
    target = np.zeros_like(source)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:

        def run() -> tuple[float]:
            began = time.perf_counter()
            list(pool.map(lambda part: np.copyto(*part), parts))
            return (time.perf_counter() - began,)

        return 2 * source.nbytes / _medians(run)[0]


def cores_used(case: Case, side: int) -> float:
    """Processor time of our solver over its time."""
    image = case.image(side)
    began, busy = time.perf_counter(), time.process_time()
    solve(image, case.model, direction=case.direction)
    return (time.process_time() - busy) / (time.perf_counter() - began)


def _timed(
    image: Array, case: Case, rtol: float, iterations: int, threads: int = 1
) -> tuple[float, Solution]:
    solutions = []
    stop = Gap(rtol, max_iterations=max(1, iterations))

    def run() -> tuple[float]:
        began = time.perf_counter()
        solutions.append(solve(image, case.model, direction=case.direction, stop=stop, threads=threads))
        return (time.perf_counter() - began,)

    return _medians(run)[0], solutions[-1]


def _affordable(image: Array, case: Case, rtol: float, budget: float) -> int:
    """Iterations that take about `budget` seconds, rather less."""
    began = time.perf_counter()
    solve(image, case.model, direction=case.direction, stop=Gap(rtol, max_iterations=100))
    return min(10**7, int(100 * budget / (time.perf_counter() - began)))


def _within_budget(image: Array, case: Case, rtol: float, budget: float) -> Solution:
    stop = Gap(rtol, max_iterations=max(1, _affordable(image, case, rtol, budget)))
    return solve(image, case.model, direction=case.direction, stop=stop)


def _proven(
    image: Array, case: Case, target: float, budget: float, threads: int = 1
) -> tuple[float, Solution]:
    """Seconds of a call of `solve`, which proves how near it is; the proof counts."""
    seconds, solution = _timed(image, case, target, _affordable(image, case, target, budget), threads)
    return seconds if solution.converged and seconds <= budget else BEYOND, solution


def _first_within(
    image: Array, case: Case, proven: float, solution: Solution, target: float, goal: float, budget: float
) -> float:
    """Seconds to the first iteration at which the objective is within the target, tried in steps of 5 %."""
    within = [look.iteration for look in solution.history if look.energy <= goal]
    if not within:
        return proven
    tried = max((look.iteration for look in solution.history if look.iteration < within[0]), default=0)
    while tried < within[0]:
        tried = min(within[0], max(tried + 1, tried * 21 // 20))
        stop = Gap(target, max_iterations=max(1, tried))
        if solve(image, case.model, direction=case.direction, stop=stop).energy <= goal:
            break
    seconds, _ = _timed(image, case, target, tried)
    return min(proven, seconds if seconds <= budget else BEYOND)


def _published_stop(image: Array, case: Case, budget: float) -> tuple[float, float]:
    """Seconds to the stop of the published code, or `BEYOND`, and the energy there."""

    def run() -> tuple[float, float]:
        watch = Watch(case, image, -math.inf, budget)
        try:
            state = today.run(image, case.model, case.direction, watch, today.RMSE, today.LIMIT)
        except EnoughError:
            return BEYOND, watch.looks[-1][1]
        return watch.seconds, case.energy(*state(), image)

    return _medians(run)


def _medians(measure: Callable[[], tuple[float, ...]]) -> tuple[float, ...]:
    began = time.perf_counter()
    runs = [measure()]
    if time.perf_counter() - began < _LONG:
        runs += [measure(), measure()]
    return tuple(statistics.median(column) for column in zip(*runs, strict=True))
