"""The comparison is fair: all programs minimise the same objective, and none is left out of the report."""

from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks import measure, peers, report
from tests.benchmarks.cases import Case
from tests.benchmarks.peers import today
from tests.benchmarks.watch import BEYOND, EnoughError, Watch
from tvtasks import TGVL1, TVL1, Gap, HuberROF, solve

GOLDEN = Path(__file__).parents[1] / "solvers" / "golden" / "aisurf_iterates.npz"
PUBLISHED = {
    "huber_rof__{}__lam0.5_alpha0.05__rmse5e-6": HuberROF(0.5, 0.05),
    "tv_l1__{}__lam1.0__rmse5e-6": TVL1(1.0),
    "tgv_l1__{}__lam1.5_a1_1_a2_2__rmse5e-6": TGVL1(1.5, gradient="jacobian"),
}
CASES = (
    Case(HuberROF(10, 0.005)),
    Case(HuberROF(8, 0)),
    Case(TVL1(1)),
    Case(TVL1(1), "x"),
    Case(TGVL1(1, gradient="jacobian")),
    Case(TGVL1(1, gradient="jacobian"), "x"),
)
INSTALLED, MISSING = peers.installed()


@pytest.mark.parametrize("direction", ["both", "x", "y"])
@pytest.mark.parametrize("key", PUBLISHED)
def test_todays_code_stops_where_the_published_code_does(key, direction):
    with np.load(GOLDEN) as golden:
        image, expected = golden["image"], golden[key.format(direction)]
    case = Case(PUBLISHED[key], direction)
    watch = Watch(case, image, goal=-np.inf, budget=np.inf)
    u, v = today.run(image, case.model, direction, watch, today.RMSE, today.LIMIT)()
    np.testing.assert_allclose(u if v is None else [u, *v], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "case", [CASES[0], Case(HuberROF(0.5, 0.05), "y"), CASES[-1]], ids=lambda case: case.title
)
def test_counting_todays_iterations_makes_the_same_ones(case):
    image = case.image(32).astype(np.float64)
    goal = 1.01 * solve(image, case.model, direction=case.direction, stop=Gap(1e-6)).energy
    watches = [Watch(case, image, goal, budget=np.inf) for _ in range(2)]
    for run, watch in zip((today.run, today.count), watches, strict=True):
        with pytest.raises(EnoughError):
            run(image, case.model, case.direction, watch)
    made, counted = watches
    assert made.iterations_to(goal) == counted.iterations_to(goal) == made.iterations
    np.testing.assert_allclose(
        [energy for _, energy in made.looks], [energy for _, energy in counted.looks], rtol=1e-9
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
@pytest.mark.parametrize("name", peers.NAMES.values())
def test_program_comes_near_our_minimum_and_never_below_it(name, case):
    if name in MISSING:
        pytest.skip(f"{name} is not installed: {MISSING[name]}")
    if reason := INSTALLED[name].refusal(case.model):
        pytest.skip(f"{name} {reason}")
    image = case.image(32).astype(np.float64)
    least = solve(image, case.model, direction=case.direction, stop=Gap(1e-6))
    goal = 1.01 * least.energy
    watch = Watch(case, image, goal, budget=20)
    with pytest.raises(EnoughError):
        INSTALLED[name].run(image, case.model, case.direction, watch)
    assert (1 - 1e-6) * least.energy <= watch.looks[-1][1] <= goal
    assert watch.seconds_to(goal) == watch.looks[-1][0]


def test_report_has_a_row_for_every_program_whether_or_not_it_arrived_in_time(tmp_path):
    results = [measure.compare(case, 32, INSTALLED, budget=0.02) for case in CASES]
    sizes = {CASES[0]: measure.scaling(CASES[0], [16, 32], budget=0.02)}
    text = report.markdown(results, sizes, "speed", ["a note"], 32, 0.02)
    for result in results:
        able = [name for name, peer in INSTALLED.items() if not peer.refusal(result.case.model)]
        assert [row.solver for row in result.rows][3:] == able
        for row in result.rows:
            assert f"| {row.solver} |" in text
            counted = row.solver == peers.NAMES["today"] and today.can_be_counted(result.case.model)
            assert all(0 < seconds <= 0.02 or seconds == BEYOND or counted for seconds in row.seconds)
        for row in result.rows[3:]:  # in one run, nobody is near the minimum before being less near
            assert list(row.seconds) == sorted(row.seconds)
    rows = [line for line in text.splitlines() if line.count("|") == 7]
    assert len(rows) == 2 + sum(len(result.rows) for result in results)
    report.plot(results, sizes, tmp_path / "times.png")
    assert (tmp_path / "times.png").read_bytes().startswith(b"\x89PNG")


def test_time_beyond_the_budget_is_a_lower_bound_in_the_table():
    row, slow = measure.Row("ours", (0.5, 1.0, BEYOND)), measure.Row("slow", (5.0, BEYOND, BEYOND))
    counted = measure.Row("counted", (5.0, 90.0, BEYOND))
    result = measure.Result(CASES[0], 1.0, 1e-8, "linear", (row, slow, counted))
    text = report.markdown([result], {}, "", [], 32, 60)
    assert "| ours | 0.5 s | 1 s | > 60 s | – |" in text
    assert "| slow | 5 s (10×) | > 60 s (> 60×) | > 60 s | – |" in text
    assert "| counted | 5 s (10×) | ≈ 90 s (≈ 90×) | > 60 s | – |" in text
