import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tvtasks import TGVL1, TVL1, Gap, HuberROF, Published, solve
from tvtasks.errors import TvtasksError, UnusableImageError
from tvtasks.operators import gradient, gradient_adjoint, magnitude
from tvtasks.solvers import linear, lines, primal_dual, tgv, tgv_lines

DIRECTIONS = ("both", "x", "y")
JACOBIAN = "jacobian"
MODELS = [HuberROF(0.5, 0.05), HuberROF(2, 0.05), HuberROF(0.5, 0), TVL1(0.4), TGVL1(0.4), TGVL1(0.15)]
MODELS += [TGVL1(lam, gradient=JACOBIAN) for lam in (0.4, 0.15)]

every_direction = pytest.mark.parametrize("direction", DIRECTIONS)
every_model = pytest.mark.parametrize("model", MODELS, ids=str)
lambdas = st.floats(-6, 6).map(lambda exponent: 10.0**exponent)


def images(max_side=8):
    """Images of all shapes, of many grey levels or of few, so that there are ties."""
    values = st.one_of(st.integers(0, 1024).map(lambda level: level / 1024), st.sampled_from([0.0, 0.5, 1.0]))
    return hnp.arrays(
        np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=max_side), elements=values
    )


def scan(rows=20, columns=24):
    """Two terraces, a slope, noise and an outlier, in [0, 1]."""
    rng = np.random.default_rng(11)
    y, x = np.mgrid[:rows, :columns]
    image = 0.02 * x + 0.4 * (x > y) + 0.05 * rng.standard_normal((rows, columns))
    image[5, 7] += 1
    return (image - image.min()) / np.ptp(image)


def edge_cases():
    line = np.random.default_rng(0).random((1, 17))
    return {
        "one row": line,
        "one column": line.T,
        "two by two": np.array([[0.0, 0.3], [1.0, 0.3]]),
        "one pixel": np.ones((1, 1)),
        "step": np.kron([[0.0, 1.0]], np.ones((6, 4))),
        "single outlier": np.pad([[1.0]], 4),
        "contrast of 1e-12": 1 + 1e-12 * line.reshape(1, 17).repeat(3, axis=0),
    }


class TestMethod:
    def test_huber_rof_is_linear_where_no_gradient_exceeds_alpha(self):
        solution = solve(scan(), HuberROF(0.05, 0.05))
        assert solution.method == "linear"
        assert solution.iterations == 0
        assert magnitude(gradient(solution.u)).max() <= 0.05

    @every_direction
    @given(image=images(), lam=lambdas, alpha=st.floats(1e-3, 1))
    def test_linear_solution_is_used_exactly_when_its_gradient_stays_within_alpha(
        self, direction, image, lam, alpha
    ):
        model = HuberROF(lam, alpha)
        largest = magnitude(
            gradient(linear.smooth(image, model.alpha * model.lam, direction), direction)
        ).max()
        assume(abs(largest / alpha - 1) > 1e-9)
        assert (linear.solve(image, model, direction)[0] is not None) == (largest <= alpha)

    @every_direction
    @pytest.mark.parametrize("shape", [(1, 5), (3, 7), (4, 2), (6, 1), (9, 4)])
    def test_linear_solution_solves_the_equation(self, direction, shape):
        image, model = np.random.default_rng(8).random(shape), HuberROF(0.7, 0.3)
        u = linear.smooth(image, model.alpha * model.lam, direction)
        left = u + gradient_adjoint(gradient(u, direction), direction) / (0.7 * 0.3)
        np.testing.assert_allclose(left, image, rtol=0, atol=1e-13)

    @every_direction
    def test_linear_solution_of_a_float32_image_is_as_exact_as_is_asked_for(self, direction):
        image = scan().astype(np.float32)
        exact = solve(image.astype(np.float64), HuberROF(0.05, 0.05), direction=direction)
        for rtol in (1e-3, 1e-9):
            solution = solve(image, HuberROF(0.05, 0.05), direction=direction, stop=Gap(rtol))
            assert (solution.method, solution.u.dtype) == ("linear", np.float32)
            assert solution.energy / exact.energy - 1 <= solution.gap + 1e-12
            assert solution.gap <= rtol
            np.testing.assert_allclose(solution.u, exact.u, rtol=0, atol=2e-6)

    @pytest.mark.parametrize("direction", ["x", "y"])
    @pytest.mark.parametrize("model", [HuberROF(5, 0.01), HuberROF(0.5, 0), TVL1(0.4)], ids=str)
    def test_one_direction_is_solved_line_by_line(self, model, direction):
        solution = solve(scan(), model, direction=direction)
        assert solution.method == "line-exact"
        assert solution.gap < 1e-12

    @pytest.mark.parametrize("model", [HuberROF(5, 0.01), HuberROF(5, 0), TVL1(0.7), TGVL1(0.7)], ids=str)
    def test_everything_else_is_iterated_until_the_gap_is_met(self, model):
        solution = solve(scan(), model, stop=Gap(1e-3))
        assert solution.method.startswith("primal-dual, float32")
        assert solution.converged
        assert 0 < solution.gap <= 1e-3
        assert solution.history[-1].iteration == solution.iterations

    @pytest.mark.parametrize("model", [TVL1(0.2), TGVL1(0.3), TGVL1(3, 4, 2, JACOBIAN)], ids=str)
    def test_least_energy_and_best_bound_of_all_looks_are_returned(self, model):
        solution = solve(scan(), model, stop=Gap(1e-5))
        assert solution.converged
        gaps = [look.gap for look in solution.history]
        assert gaps == sorted(gaps, reverse=True)
        assert solution.energy <= min(look.energy for look in solution.history) * (1 + 1e-6)

    def test_iteration_that_may_not_go_on_returns_its_true_gap(self):
        solution = solve(scan(), TVL1(0.2), stop=Gap(1e-6, max_iterations=30))
        assert not solution.converged
        assert solution.iterations == 30
        better = solve(scan(), TVL1(0.2), stop=Gap(1e-4))
        assert 1 < solution.energy / better.energy <= 1 + solution.gap

    @pytest.mark.parametrize("direction", ["x", "y"])
    @settings(max_examples=30)
    @given(image=images(), lam=st.floats(0.2, 20), alpha=st.sampled_from([0.0, 0.02, 0.3]))
    def test_line_solver_and_iteration_find_the_same_minimum(self, direction, image, lam, alpha):
        assume(gradient(image, direction).any())
        for model in (HuberROF(lam, alpha), TVL1(lam)):
            exact = lines.solve(image, model, direction)
            iterated = primal_dual.solve(image, model, direction, Gap(1e-3, max_iterations=20_000))
            assert exact.energy <= iterated.energy * (1 + 1e-9) + 1e-15
            assert iterated.energy <= exact.energy * (1 + iterated.gap + 1e-9) + 1e-15

    @pytest.mark.parametrize("gradient_kind", ["symmetrised", JACOBIAN])
    @pytest.mark.parametrize("lam", [0.2, 0.7])
    def test_all_methods_for_tgv_l1_find_the_same_minimum(self, lam, gradient_kind, monkeypatch):
        model, image = TGVL1(lam, gradient=gradient_kind), scan(40, 48)
        for direction in DIRECTIONS:
            found = []
            for up_to in (0, np.inf):  # first phase plain, preconditioned
                monkeypatch.setattr(tgv, "_PRECONDITIONED", up_to)
                found.append(primal_dual.solve(image, model, direction, Gap(1e-3)))
            if direction != "both":
                found.append(tgv_lines.solve(image, model, direction))
                assert found[-1].gap < 1e-7
            least = min(solution.energy for solution in found)
            assert all(solution.energy / (1 + solution.gap) <= least * (1 + 1e-9) for solution in found)

    def test_linear_solver_and_iteration_find_the_same_minimiser(self):
        model = HuberROF(0.05, 0.05)
        iterated = primal_dual.solve(scan(), model, "both", Gap(1e-12))
        np.testing.assert_allclose(solve(scan(), model).u, iterated.u, atol=1e-6)


class TestExactMethods:
    @every_direction
    @given(image=images(), lam=lambdas, alpha=st.sampled_from([0.0, 1e-3, 0.05, 0.5]))
    @example(image=np.array([[0.0, 1.0, 0.0, 1.0, 1.0, 0.0]]), lam=0.5, alpha=0.0)
    def test_huber_rof_is_exact_for_every_lambda(self, direction, image, lam, alpha):
        assume(gradient(image, direction).any())
        model = HuberROF(lam, alpha)
        solution = linear.solve(image, model, direction)[0] if alpha else None
        if solution is None and direction != "both":
            solution = lines.solve(image, model, direction)
        assume(solution is not None)
        above_bound = solution.energy * solution.gap / (1 + solution.gap)
        assert above_bound < 1e-14  # what rounding u to float64 may cost

    @pytest.mark.parametrize("direction", ["x", "y"])
    @given(image=images(max_side=12), lam=lambdas)
    def test_tv_l1_lines_are_exact_for_every_lambda(self, direction, image, lam):
        assume(gradient(image, direction).any())
        solution = lines.solve(image, TVL1(lam), direction)
        assert solution.gap < 1e-9
        assert np.isin(solution.u, image).all()

    def test_tv_l1_lines_of_a_long_scan_are_exact(self):
        image = np.random.default_rng(3).integers(0, 4096, (3, 4001)).astype(float)
        for lam in (1e-4, 0.013, 0.3, 0.999):
            assert lines.solve(image, TVL1(lam), "x").gap < 1e-9

    @pytest.mark.parametrize("gradient_kind", ["symmetrised", JACOBIAN])
    @pytest.mark.parametrize("direction", ["x", "y"])
    @settings(max_examples=30)
    @given(image=images(max_side=12), exponent=st.floats(-2, 2), ratio=st.sampled_from([0.1, 2, 10]))
    @example(image=np.tile([0.0, 1.0, 3.0, 0.0, 0.0, 2.0], (2, 1)), exponent=0.0, ratio=2)
    def test_tgv_l1_lines_are_solved_to_rounding(self, direction, gradient_kind, image, exponent, ratio):
        assume(image.shape[direction == "x"] >= 4)
        assume(gradient(image, direction).any())
        model = TGVL1(10**exponent, 1, ratio, gradient=gradient_kind)
        solution = tgv_lines.solve(image, model, direction)
        assert solution.energy * solution.gap / (1 + solution.gap) < 1e-6

    @pytest.mark.parametrize("lam", [0.001, 0.01, 0.3])
    def test_tgv_l1_lines_of_counts_are_solved_although_many_solutions_are_as_good(self, lam):
        slope = np.linspace(3, 60, 250)
        counts = np.random.default_rng(2).poisson(np.tile(slope, (40, 1))).astype(np.float32)
        image = counts / counts.max()
        solution = solve(image, TGVL1(lam), direction="x", stop=Gap(1e-5))
        assert solution.method == "interior-point"
        assert solution.converged

    def test_tgv_l1_of_ramps_costs_nothing_along_lines(self):
        image = np.outer([1.0, 2.0, -3.0], np.arange(40.0))
        solution = tgv_lines.solve(image, TGVL1(1), "x")
        assert solution.energy < 1e-9
        np.testing.assert_allclose(solution.u, image, atol=1e-6)

    def test_tv_l1_of_a_line_that_is_short_for_lambda_is_its_median(self):
        image = np.array([[3.0, 9.0, 1.0, 2.0, 8.0]])
        np.testing.assert_array_equal(solve(image, TVL1(0.3), direction="x").u, np.full((1, 5), 3.0))

    def test_huber_rof_of_a_line_with_small_lambda_is_its_mean(self):
        image = scan()
        u = solve(image, HuberROF(1e-9, 0.005), direction="x").u
        np.testing.assert_allclose(u, np.broadcast_to(image.mean(axis=1)[:, None], u.shape), atol=1e-6)

    @pytest.mark.parametrize(
        ("direction", "model"),
        [("both", HuberROF(0.05, 0.05)), ("x", HuberROF(0.05, 0.05)), ("y", HuberROF(5, 0.005))],
    )
    def test_a_tolerance_beyond_float32_is_met_without_iterating(self, direction, model):
        image = scan().astype(np.float32)
        rough, fine = (solve(image, model, direction=direction, stop=Gap(rtol)) for rtol in (1e-4, 1e-13))
        assert (rough.u.dtype, fine.u.dtype) == (np.float32, np.float64)
        assert fine.gap <= 1e-13
        assert (fine.iterations, fine.method) == (0, rough.method)

    def test_large_lambda_keeps_the_image(self):
        for model in (HuberROF(1e9, 0.05), TVL1(20)):
            for direction in DIRECTIONS:
                solution = solve(scan(), model, direction=direction, stop=Gap(1e-6))
                np.testing.assert_allclose(solution.u, scan(), atol=1e-6)


@every_model
@every_direction
class TestEveryModel:
    def test_a_constant_is_a_fixed_point(self, model, direction):
        image = np.full((5, 7), -3.25)
        solution = solve(image, model, direction=direction)
        np.testing.assert_array_equal(solution.u, image)
        assert (solution.energy, solution.gap, solution.converged) == (0, 0, True)

    @settings(max_examples=15)
    @given(image=images(), lam=lambdas)
    def test_result_is_honest_for_every_lambda(self, model, direction, image, lam):
        changed = {"lam": lam} | {k: getattr(model, k) for k in ("alpha", "gradient") if hasattr(model, k)}
        model = type(model)(**changed)
        solution = solve(image, model, direction=direction, stop=Gap(1e-3, max_iterations=300))
        assert solution.u.shape == image.shape
        assert np.isfinite(solution.u).all()
        assert solution.gap >= 0
        assert solution.converged == (solution.gap <= 1e-3)
        own = (solution.u,) if solution.v is None else (solution.u, solution.v)
        assert solution.energy == pytest.approx(model.energy(*own, image, direction), rel=1e-9, abs=1e-300)
        # The image itself is a candidate: its energy is not below the proven bound on the minimum.
        itself = (image,) if solution.v is None else (image, np.zeros((2, *image.shape)))
        assert solution.energy <= model.energy(*itself, image, direction) * (1 + solution.gap) * (1 + 1e-12)

    @pytest.mark.parametrize("case", edge_cases())
    def test_edge_cases_are_honest(self, model, direction, case):
        image = edge_cases()[case]
        solution = solve(image, model, direction=direction, stop=Gap(1e-3, max_iterations=2000))
        assert solution.u.shape == image.shape
        assert solution.converged == (solution.gap <= 1e-3)
        if not isinstance(model, TGVL1):  # continues slopes, beyond the image's range if need be
            contrast = np.ptp(image)
            assert solution.u.min() >= image.min() - 0.1 * contrast
            assert solution.u.max() <= image.max() + 0.1 * contrast

    def test_direction_x_is_direction_y_of_the_transpose(self, model, direction):
        turned = {"both": "both", "x": "y", "y": "x"}[direction]
        first = solve(scan(), model, direction=direction, stop=Gap(1e-3))
        second = solve(scan().T, model, direction=turned, stop=Gap(1e-3))
        assert first.energy == pytest.approx(second.energy, rel=first.gap + second.gap + 1e-12)

    def test_float32_and_float64_agree_within_their_gaps(self, model, direction):
        image = scan().astype(np.float32)
        single = solve(image, model, direction=direction, stop=Gap(1e-3))
        double = solve(image.astype(np.float64), model, direction=direction, stop=Gap(1e-3))
        assert (single.u.dtype, double.u.dtype) == (np.float32, np.float64)
        assert single.converged
        assert double.converged
        assert single.energy == pytest.approx(double.energy, rel=max(single.gap, double.gap) + 1e-6)

    def test_image_is_not_changed(self, model, direction):
        image = scan()
        solve(image, model, direction=direction, stop=Gap(1e-2))
        np.testing.assert_array_equal(image, scan())

    def test_same_image_gives_the_same_bits(self, model, direction):
        first, second = (solve(scan(), model, direction=direction, stop=Gap(1e-2)) for _ in range(2))
        assert first.u.tobytes() == second.u.tobytes()


@every_direction
@settings(max_examples=20)
@given(factor=st.sampled_from([1e-9, 0.5, 3.0, 4096.0]), offset=st.sampled_from([0.0, -2.0, 100.0]))
def test_tv_l1_is_contrast_invariant(direction, factor, offset):
    image, model, rule = scan(8, 9), TVL1(0.6), Gap(1e-3)
    plain = solve(image, model, direction=direction, stop=rule)
    other = solve(factor * (image + offset), model, direction=direction, stop=rule)
    back = model.energy(other.u / factor - offset, image, direction)
    assert back == pytest.approx(plain.energy, rel=plain.gap + other.gap + 1e-6)
    assert other.energy == pytest.approx(factor * plain.energy, rel=plain.gap + other.gap + 1e-6)


@every_direction
@pytest.mark.parametrize("alpha", [0.0, 0.01])
def test_huber_rof_follows_a_change_of_unit(direction, alpha):
    image, rule = scan(), Gap(1e-6)
    plain = solve(image, HuberROF(5, alpha), direction=direction, stop=rule)
    other = solve(4096 * image - 300, HuberROF(5 / 4096, 4096 * alpha), direction=direction, stop=rule)
    assert plain.method != "linear"
    assert other.converged
    np.testing.assert_allclose((other.u + 300) / 4096, plain.u, rtol=0, atol=2e-3)
    assert other.energy == pytest.approx(4096 * plain.energy, rel=2e-6)


def test_float32_tolerance_beyond_rounding_is_met_in_float64():
    image = (1000 + 1e-2 * scan()).astype(np.float32)
    solution = solve(image, TVL1(0.8), stop=Gap(1e-4))
    assert solution.u.dtype == np.float64
    assert solution.converged


class TestUnusableImages:
    @pytest.mark.parametrize(
        ("image", "sentence"),
        [
            (np.zeros(5), r"has two dimensions, .* this array has 1 \(shape \(5,\)\)\."),
            (np.zeros((2, 2, 3, 4)), "has two dimensions, and a stack of frames has three; this array has 4"),
            (np.zeros((0, 3, 4)), r"The image is empty \(shape \(0, 3, 4\)\)"),
            (np.float64(1), "this array has 0"),
            (np.zeros((0, 4)), r"The image is empty \(shape \(0, 4\)\)"),
            (np.full((2, 2), np.nan), "4 of 4 pixels are NaN or infinite. Crop the image"),
            (np.array([[1.0, np.inf]]), "1 of 2 pixels are NaN or infinite"),
            (np.ones((2, 2), complex), "complex128 values; only real numbers .* magnitude or the phase"),
            (np.array([[1, None]]), "object values; only real numbers"),
            (np.array([["a", "b"]]), "only real numbers can be restored"),
            (np.array([[0.0, 1e300]]), "from 0 to 1e\\+300, are too far apart"),
            (np.array([[-1.7e308, 1.7e308]]), "too far apart"),
            (np.array([[0.0, 1e-320]]), "too close .* Scale them to about"),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("stop", [Gap(), Published()], ids=["gap", "published"])
    def test_are_refused_with_a_sentence(self, image, sentence, stop):
        with pytest.raises(UnusableImageError, match=sentence) as caught:
            solve(image, HuberROF(1), stop=stop)
        assert isinstance(caught.value, TvtasksError)
        assert str(caught.value).endswith(".")

    @pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float16, ">f4", ">i2"])
    def test_other_real_numbers_are_worked_on_in_float64(self, dtype):
        image = (100 * scan() > 40).astype(dtype)
        solution = solve(image, TVL1(0.4), direction="x")
        assert solution.u.dtype == np.float64
        assert solution.u.dtype.isnative
        np.testing.assert_array_equal(solution.u, solve(image.astype(float), TVL1(0.4), direction="x").u)


class TestThreadsAndStacks:
    @pytest.mark.parametrize(
        ("model", "direction"),
        [
            (HuberROF(0.5, 2), "both"),
            (HuberROF(8, 0.005), "both"),
            (HuberROF(8, 0), "both"),
            (TVL1(1), "both"),
            (TVL1(0.025), "both"),
            (TVL1(1), "y"),
            (TGVL1(1), "both"),
            (TGVL1(0.1), "both"),
            (TGVL1(1), "x"),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("shape", [(300, 40), (265, 270)])
    def test_result_does_not_depend_on_the_number_of_threads(self, model, direction, shape):
        image = np.random.default_rng(3).random(shape).astype(np.float32)
        rule = Gap(1e-12, max_iterations=400)  # blocks of iterations outnumber the row buffers
        alone, shared = (
            solve(image, model, direction=direction, stop=rule, threads=threads) for threads in (1, 3)
        )
        np.testing.assert_array_equal(alone.u, shared.u)
        assert alone.gap == shared.gap

    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize("model", [HuberROF(0.5), TVL1(1), TGVL1(1.5)], ids=str)
    def test_stack_is_solved_frame_by_frame(self, model, threads):
        stack = np.random.default_rng(4).random((3, 12, 10))
        whole = solve(stack, model, threads=threads)
        frames = [solve(frame, model) for frame in stack]
        np.testing.assert_array_equal(whole.u, [frame.u for frame in frames])
        assert whole.energy == pytest.approx(sum(frame.energy for frame in frames))
        assert whole.gap == max(frame.gap for frame in frames)
        assert [frame.gap for frame in whole.frames] == [frame.gap for frame in frames]
        assert whole.converged
        if isinstance(model, TGVL1):
            assert whole.v.shape == (3, 2, 12, 10)

    def test_working_memory_stays_within_what_is_documented(self):
        image = np.random.default_rng(5).random((400, 400))
        for model, images in ((HuberROF(8, 0.005), 8), (TVL1(1), 8), (TGVL1(1.5), 16), (TGVL1(0.1), 16)):
            rule = Gap(1e-12, max_iterations=20)
            solve(image, model, stop=rule)
            tracemalloc.start()
            solve(image, model, stop=rule)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            # The row buffers of the wavefront come on top.
            assert peak < images * image.nbytes + 2e6, (model, peak / image.nbytes)
