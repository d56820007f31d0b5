from pathlib import Path

import numpy as np
import pytest

from tvtasks import TGVL1, TVL1, HuberROF, Published, solve
from tvtasks.errors import RecipeError

GOLDEN = Path(__file__).parent / "golden" / "aisurf_iterates.npz"
SIXTY = Published(rmse=0, max_iterations=60)
CASES = {
    "huber_rof__{}__lam0.5_alpha0.05__it60": (HuberROF(0.5, 0.05), SIXTY),
    "huber_rof__{}__lam0.5_alpha0.05__rmse5e-6": (HuberROF(0.5, 0.05), Published()),
    "tv_l1__{}__lam0.2__it60": (TVL1(0.2), SIXTY),
    "tv_l1__{}__lam1.0__rmse5e-6": (TVL1(1.0), Published()),
    "tgv_l1__{}__lam0.1_a1_1_a2_2__it60": (TGVL1(0.1, 1, 2, gradient="jacobian"), SIXTY),
    "tgv_l1__{}__lam1.5_a1_1_a2_2__rmse5e-6": (TGVL1(1.5, 1, 2, gradient="jacobian"), Published()),
}
STOPPED_AT = {  # iteration, counted from 0, that the published code stopped after
    "huber_rof": {"both": 500, "x": 500, "y": 500},
    "tv_l1": {"both": 400, "x": 100, "y": 200},
    "tgv_l1": {"both": 300, "x": 2300, "y": 3300},
}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.mark.parametrize("direction", ["both", "x", "y"])
@pytest.mark.parametrize("key", CASES)
def test_iterates_and_stop_are_those_of_the_published_code(golden, key, direction):
    model, rule = CASES[key]
    solution = solve(golden["image"], model, direction=direction, stop=rule)
    stacked = solution.u if solution.v is None else np.concatenate([solution.u[None], solution.v])
    np.testing.assert_allclose(stacked, golden[key.format(direction)], rtol=0, atol=1e-12)
    last = 60 if rule is SIXTY else STOPPED_AT[key.split("__")[0]][direction]
    assert solution.iterations == last + 1
    assert solution.converged == (rule is not SIXTY)
    assert solution.method == "published"
    assert 0 < solution.gap < np.inf


def test_every_golden_iterate_is_compared(golden):
    compared = {key.format(direction) for key in CASES for direction in ("both", "x", "y")}
    assert compared == set(golden) - {"image"}


def test_published_stop_far_from_the_minimum_is_seen_in_its_gap(golden):
    model = TVL1(0.2)
    published = solve(golden["image"], model, direction="x", stop=SIXTY)
    exact = solve(golden["image"], model, direction="x")
    assert published.energy > 1.05 * exact.energy
    assert published.energy <= (1 + published.gap) * exact.energy


def test_float32_image_is_worked_on_in_float64(golden):
    image = golden["image"].astype(np.float32)
    solution = solve(image, HuberROF(0.5), stop=SIXTY)
    assert solution.u.dtype == np.float64
    np.testing.assert_array_equal(solution.u, solve(image.astype(np.float64), HuberROF(0.5), stop=SIXTY).u)


def test_symmetrised_gradient_is_refused_because_the_published_code_has_none(golden):
    expected = r"full Jacobian\. With Published\(\), use TGVL1\(\.\.\., gradient='jacobian'\)"
    with pytest.raises(RecipeError, match=expected):
        solve(golden["image"], TGVL1(1.0), stop=Published())
