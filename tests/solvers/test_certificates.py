"""A certificate must hold for any pair of iterates: it may be useless, it may never be wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvtasks import TGVL1, TVL1, Gap, HuberROF, solve
from tvtasks.operators import gradient, magnitude
from tvtasks.solvers import certificates
from tvtasks.solvers.grid import pad
from tvtasks.solvers.iteration import Repair

DIRECTIONS = ("both", "x", "y")
IMAGE = np.random.default_rng(5).random((7, 8))
IMAGE[:, 4:] += 1
MODELS = [HuberROF(0.5, 0.05), HuberROF(3, 0), TVL1(0.6), TGVL1(0.8), TGVL1(0.8, gradient="jacobian")]


def certify(u, v, dual, model, direction):
    components = 2 if not isinstance(model, TGVL1) else 4 if model.gradient == "jacobian" else 3
    return certificates.certify(model, u, v, dual[:components], IMAGE, direction)


@pytest.fixture(scope="module")
def nearly_least():
    """For each model and direction a solution that is proven to be at most 1e-5 above the minimum."""
    rule = Gap(1e-5, max_iterations=200_000)
    found = {(m, d): solve(IMAGE, m, direction=d, stop=rule) for m in MODELS for d in DIRECTIONS}
    assert all(solution.converged for solution in found.values())
    return found


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("model", MODELS, ids=str)
class TestAnyDual:
    @settings(max_examples=60)
    @given(seed=st.integers(0, 2**32), size=st.sampled_from([0, 1e-3, 0.1, 1.0, 30.0]), noise=st.floats(0, 1))
    def test_lower_bound_is_below_the_minimum(self, nearly_least, *, model, direction, seed, size, noise):
        best = nearly_least[model, direction]
        energy = best.energy
        rng = np.random.default_rng(seed)
        u = best.u + noise * rng.standard_normal(IMAGE.shape)
        v = noise * rng.standard_normal((2, *IMAGE.shape))
        dual = size * rng.standard_normal((4, *IMAGE.shape))
        slope = gradient(best.u, direction)
        dual[:2] += slope / np.maximum(
            magnitude(slope), 0.05
        )  # near the best there is for Huber-ROF and TV-L1
        certificate = certify(u, v, dual, model, direction)
        assert certificate.lower <= energy * (1 + 1e-12)
        excess = certificate.energy / energy - 1
        assert certificate.gap >= 0
        assert certificate.gap >= excess - 1e-12 * (1 + excess)

    def test_energy_is_that_of_the_model(self, model, direction):
        rng = np.random.default_rng(0)
        u, v, dual = rng.random(IMAGE.shape), rng.random((2, *IMAGE.shape)), rng.random((4, *IMAGE.shape))
        own = (u, v) if isinstance(model, TGVL1) else (u,)
        expected = model.energy(*own, IMAGE, direction)
        assert certify(u, v, dual, model, direction).energy == pytest.approx(expected, rel=1e-12)

    def test_zero_dual_proves_nothing_and_says_so(self, model, direction):
        zero = np.zeros((4, *IMAGE.shape))
        assert certify(IMAGE, zero[:2], zero, model, direction).gap == np.inf


@pytest.mark.parametrize(
    ("energy", "gap", "expected"),
    [(1.5, 0.5, 0.5), (2, 0, 0), (2, -1e-17, 0), (1, 1, np.inf), (1, 3, np.inf)],
)
def test_relative_gap_is_relative_to_the_lower_bound(energy, gap, expected):
    assert certificates.relative_gap(energy, gap) == expected


def test_rows_are_repaired_as_in_the_whole_field():
    rng = np.random.default_rng(4)
    dual = pad(rng.uniform(-0.7, 0.7, (2, 90, 20)), np.float32)
    repair = Repair(0.3, "both")
    whole = repair.rows(dual, 1, 91)
    assert np.abs(whole - dual).max() > 0.1
    for first, last in [(1, 30), (30, 64), (64, 91)]:
        np.testing.assert_array_equal(repair.rows(dual, first, last), whole[:, first - 1 : last + 1])
