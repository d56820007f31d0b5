"""Very small and very large λ: what the minimiser is, and that it is proven."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.solvers.test_oracle import minimum
from tvtasks import TGVL1, TVL1, Gap, solve
from tvtasks.errors import RecipeError
from tvtasks.operators import gradient, gradient_adjoint, symmetrised_gradient_adjoint
from tvtasks.solvers import extremes

IMAGE = np.random.default_rng(3).random((24, 31))
FEW_LEVELS = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)


def without_affine_part(r):
    y, x = (a.ravel() for a in np.mgrid[: r.shape[0], : r.shape[1]])
    basis = np.stack([np.ones(r.size), x, y]).T
    return r - (basis @ np.linalg.lstsq(basis, r.ravel(), rcond=None)[0]).reshape(r.shape)


class TestSmallLambda:
    @pytest.mark.parametrize("direction", ["both", "x", "y"])
    @given(image=FEW_LEVELS)
    def test_tv_l1_is_the_median_also_of_images_with_many_equal_pixels(self, direction, image):
        assume(gradient(image, direction).any())
        axis = {"both": None, "x": 1, "y": 0}[direction]
        solution = solve(image, TVL1(1e-3), direction=direction, stop=Gap(1e-9))
        assert solution.method == ("median" if direction == "both" else "median of each line")
        assert solution.converged
        least = np.abs(image - np.median(image, axis=axis, keepdims=True)).sum()
        assert np.abs(image - solution.u).sum() == pytest.approx(least, rel=1e-12)

    def test_tv_l1_just_below_and_above_the_threshold_agrees_with_a_general_solver(self):
        image = IMAGE[:9, :11]
        found = {}
        for lam in (0.02, 0.4, 0.6, 0.8, 1.1):
            solution = solve(image, TVL1(lam), stop=Gap(1e-6))
            assert solution.converged
            assert solution.energy == pytest.approx(minimum(image, TVL1(lam), "both")[0], rel=2e-6)
            found[lam] = solution.method
        assert (found[0.02], found[1.1]) == ("median", "primal-dual, float64 after float32")

    def test_tgv_l1_is_the_plane_of_least_distances(self):
        y, x = np.mgrid[:24, :31]
        image = 0.3 * x - 0.2 * y + (IMAGE > 0.9) * 5 + 0.1 * IMAGE
        solution = solve(image, TGVL1(1e-4), stop=Gap(1e-6))
        assert (solution.method, solution.converged) == ("plane", True)
        np.testing.assert_allclose(without_affine_part(solution.u), 0, atol=1e-9)
        np.testing.assert_allclose(solution.u, 0.3 * x - 0.2 * y + 0.05, atol=0.05)
        small = image[:9, :11]
        assert solve(small, TGVL1(1e-3), stop=Gap(1e-6)).energy == pytest.approx(
            minimum(small, TGVL1(1e-3), "both")[0], rel=1e-5
        )

    @given(
        image=hnp.arrays(np.float64, (6, 7), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])),
        exponent=st.floats(-9, -3),
    )
    def test_planes_of_few_levels_are_never_proven_wrongly(self, image, exponent):
        assume(np.abs(without_affine_part(image)).max() > 1e-9)
        solution = extremes.solve(image, TGVL1(10**exponent), "both", rtol=1e-3)
        if solution is not None:
            y, x = np.mgrid[:6, :7]
            for candidate in (image.mean(), np.median(image), 0.1 * x + 0.2, image.mean() - 0.02 * y):
                assert solution.energy <= (1 + 1e-3) * 10**exponent * np.abs(image - candidate).sum()

    @pytest.mark.parametrize("shape", [(3, 3), (4, 9), (40, 25)], ids=str)
    def test_second_order_field_has_the_second_derivative_that_is_asked_for(self, shape):
        r = without_affine_part(np.random.default_rng(0).standard_normal(shape))
        q = extremes.second_order_field(r)
        np.testing.assert_allclose(gradient_adjoint(symmetrised_gradient_adjoint(q)), r, rtol=0, atol=1e-11)

    @pytest.mark.parametrize("shape", [(1, 5), (6, 1), (7, 8)], ids=str)
    def test_inverse_laplacian(self, shape):
        r = np.random.default_rng(1).standard_normal(shape)
        r -= r.mean()
        phi = extremes.inverse_laplacian(r)
        np.testing.assert_allclose(gradient_adjoint(gradient(phi)), r, rtol=0, atol=1e-12)


class TestLargeLambda:
    @pytest.mark.parametrize("direction", ["both", "x", "y"])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("rtol", [1e-3, 1e-9])
    def test_tv_l1_keeps_the_image(self, direction, dtype, rtol):
        image = IMAGE.astype(dtype)
        for lam in (3.5, 1e6, 1e90):
            solution = solve(image, TVL1(lam), direction=direction, stop=Gap(rtol))
            assert (solution.method, solution.converged) == ("image", True)
            np.testing.assert_array_equal(solution.u, image)

    def test_tgv_l1_keeps_the_image_up_to_rounding(self):
        solution = solve(IMAGE, TGVL1(1e6), stop=Gap(1e-3))
        assert solution.converged
        np.testing.assert_allclose(solution.u, IMAGE, atol=1e-6)


@pytest.mark.parametrize("lam", [5e-324, 1e-101, 1e101, 1.7e308])
@pytest.mark.parametrize("model", [TVL1, TGVL1])
def test_weights_beyond_floating_point_numbers_are_refused_with_a_sentence(model, lam):
    with pytest.raises(RecipeError, match=r"lam = .* is too .* for floating-point numbers\. Use a value"):
        solve(IMAGE, model(lam))


def test_directions_and_threads_that_do_not_exist_are_refused_with_a_sentence():
    for image in (IMAGE, IMAGE[None]):
        with pytest.raises(RecipeError, match=r"There is no direction 'z'\. Use 'both', 'x' or 'y'\."):
            solve(image, TVL1(1), direction="z")
        with pytest.raises(RecipeError, match=r"threads = 0 cannot compute anything\. Use a whole number"):
            solve(image, TVL1(1), threads=0)
