import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import median_filter

from tvtasks import TVL1, HuberROF, Micrograph, Recipe, quality, restore, solve, synthetic
from tvtasks.errors import RecipeError, UnusableImageError
from tvtasks.micrograph import Region, Source
from tvtasks.recipe import HuberROFStep, Median, TGVL1Step, TVL1Step
from tvtasks.restoration import finish, prepare
from tvtasks.steps import STEPS

BACKGROUND = HuberROFStep(model="huber-rof", lam=0.05)
LINES = TVL1Step(model="tv-l1", lam=0.3, direction="x")
MEDIAN = Recipe(median=Median())
FLATTEN = Recipe(background=BACKGROUND)
EVERYTHING = Recipe(
    background=BACKGROUND,
    median=Median(),
    contrast=HuberROFStep(model="huber-rof", lam=0.01),
    denoise=TVL1Step(model="tv-l1", lam=1.5, direction="y"),
)


def scan(rows=16, columns=20, low=-3e-9, high=7e-9):
    """Terraces, a slope and noise, as heights in metres."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:rows, :columns]
    image = 0.03 * x + (x > y) + 0.1 * rng.standard_normal((rows, columns))
    return low + (high - low) * (image - image.min()) / np.ptp(image)


def pictures(dtype):
    """Images of a dtype over much of its range."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        elements = st.floats(-1e6, 1e6, width=8 * kind.itemsize).map(lambda value: round(value, 2))
    else:
        elements = st.integers(np.iinfo(kind).min, np.iinfo(kind).max)
    return hnp.arrays(kind, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=elements)


class TestDatabar:
    """The recipe says how many rows at the bottom are no image."""

    def test_its_rows_are_left_out_whatever_the_file_says(self):
        image = Micrograph(scan(), valid=Region(0, 12, 2, 20))
        recipe = Recipe(background=BACKGROUND, databar=5)
        result = restore(image, recipe)
        assert result.region == Region(0, 11, 0, 20)
        np.testing.assert_array_equal(result.restored, restore(scan()[:11], FLATTEN).restored)
        assert restore(image, Recipe(background=BACKGROUND, databar=0)).region == Region(0, 16, 0, 20)

    def test_not_given_it_leaves_the_parameters_as_they_were(self):
        assert "databar" not in FLATTEN.parameters
        assert Recipe(background=BACKGROUND, databar=0).digest != FLATTEN.digest

    def test_a_bar_that_is_all_of_the_image_is_refused(self):
        with pytest.raises(UnusableImageError, match="databar = 16"):
            restore(scan(), Recipe(background=BACKGROUND, databar=16))


class TestUnit:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
    @settings(max_examples=25)
    @given(data=st.data(), scale=st.sampled_from(["range", 1000.0]))
    def test_raw_is_background_plus_flat_in_the_unit_of_the_image(self, dtype, data, scale):
        raw = data.draw(pictures(dtype))
        assume(raw.min() < raw.max())
        result = restore(raw, Recipe(scale=scale, background=LINES))
        assert result.background.dtype == result.flat.dtype == result.restored.dtype
        total = result.background.astype(np.float64) + result.flat
        rounding = np.finfo(result.flat.dtype).eps * np.abs(raw.astype(np.float64)).max()
        np.testing.assert_allclose(total, raw, rtol=0, atol=2 * rounding)
        # Without another step the flat image is the result, but for the rounding of its way through [0, 1].
        span = np.ptp(raw.astype(np.float64))
        np.testing.assert_allclose(result.restored, result.flat, rtol=0, atol=4 * rounding + 1e-6 * span)

    @pytest.mark.parametrize(
        ("dtype", "restored"),
        [
            *((dtype, np.float32) for dtype in (bool, np.uint8, np.int16, np.uint16, np.float16, np.float32)),
            *((dtype, np.float64) for dtype in (np.int32, np.uint32, np.int64, np.float64)),
            (">u2", np.float32),
            (">f4", np.float32),
            (">f8", np.float64),
        ],
        ids=str,
    )
    def test_small_numbers_are_restored_in_float32_and_large_ones_in_float64(self, dtype, restored):
        raw = scan(low=0, high=100) > 40 if dtype is bool else scan(low=0, high=100).astype(dtype)
        result = restore(raw, FLATTEN)
        for array in (result.background, result.flat, result.restored):
            assert array.dtype == restored
            assert array.dtype.isnative

    def test_model_sees_the_image_scaled_to_0_and_1(self):
        raw = scan()
        result = restore(raw, FLATTEN)
        u = solve((raw - raw.min()) / np.ptp(raw), HuberROF(0.05)).u
        np.testing.assert_allclose(result.background, raw.min() + np.ptp(raw) * u, rtol=0, atol=1e-22)
        assert (result.offset, result.factor) == (raw.min(), np.ptp(raw))

    def test_result_follows_a_change_of_unit(self):
        in_metres, in_nanometres = scan(), 1e9 * scan()
        results = (arrays(restore(raw, EVERYTHING)) for raw in (in_metres, in_nanometres))
        for one, other in zip(*results, strict=True):
            np.testing.assert_allclose(1e9 * one, other, rtol=0, atol=1e-6)


def arrays(result):
    return [result.background, result.flat, result.contrast, result.restored]


class TestScale:
    @pytest.mark.parametrize(
        ("scale", "offset", "factor"),
        [
            ("range", -3e-9, 10e-9),
            ("max", 0, 7e-9),
            (2e-9, -3e-9, 2e-9),
        ],
        ids=str,
    )
    def test_gives_offset_and_factor(self, scale, offset, factor):
        result = restore(scan(), Recipe(scale=scale, background=BACKGROUND))
        assert (result.offset, result.factor) == pytest.approx((offset, factor), rel=1e-12, abs=0)

    def test_percentile_does_not_see_a_spike(self):
        raw = scan(40, 50)
        raw[7, 7] = 1.0
        result = restore(raw, Recipe(scale="percentile", background=BACKGROUND))
        assert result.factor < 11e-9
        assert restore(raw, FLATTEN).factor < 11e-9, "a hot pixel is left out of every scale"

    @pytest.mark.parametrize(
        ("raw", "scale"),
        [(-np.eye(4) - 1, "max"), (np.pad([[1.0]], 40), "percentile")],
        ids=["max", "percentile"],
    )
    def test_that_does_not_fit_the_values_is_refused(self, raw, scale):
        with pytest.raises(
            UnusableImageError, match=f"scale = '{scale}' does not work .* Use scale = \"range\""
        ):
            restore(raw, Recipe(scale=scale, background=BACKGROUND))


class TestSteps:
    def test_are_recorded_in_order_with_all_their_parameters(self):
        before = datetime.now(UTC)
        result = restore(scan(), EVERYTHING)
        assert [step.name for step in result.steps] == ["background", "median", "contrast", "denoise"]
        background, median, contrast, denoise = (step.parameters for step in result.steps)
        stop = {"rtol": 1e-4, "max_iterations": 50_000, "rule": "gap"}
        smooth = {"model": "huber-rof", "alpha": 0.05, "direction": "both", "stop": stop}
        assert background == smooth | {"lam": 0.05}
        assert median == {"rows": 3, "columns": 1}
        assert contrast == smooth | {"lam": 0.01}
        assert denoise == {"model": "tv-l1", "lam": 1.5, "direction": "y", "stop": stop}
        json.dumps([step.parameters for step in result.steps])
        assert all(before <= step.started_at <= datetime.now(UTC) for step in result.steps)
        assert all(step.seconds >= 0 for step in result.steps)
        assert result.seconds == sum(step.seconds for step in result.steps)

    def test_gap_and_convergence_are_the_worst_of_any_step(self):
        result = restore(scan(), EVERYTHING)
        gaps = [step.convergence.gap for step in result.steps if step.convergence]
        assert len(gaps) == 3
        assert result.gap == max(gaps)
        assert result.converged
        short = TVL1Step(model="tv-l1", lam=0.2, stop={"max_iterations": 3})
        assert not restore(scan(), Recipe(background=BACKGROUND, denoise=short)).converged
        median = restore(scan(), MEDIAN)
        assert median.gap is None
        assert median.converged

    def test_left_out_leave_nothing_behind(self):
        result = restore(scan(), MEDIAN)
        assert [result.background, result.flat, result.contrast] == [None, None, None]
        assert restore(scan(), FLATTEN).contrast is None

    @pytest.mark.parametrize(("rows", "columns"), [(3, 1), (1, 5), (3, 3)])
    def test_median_is_that_of_scipy(self, rows, columns):
        raw = scan(low=0, high=1)
        result = restore(raw, Recipe(median=Median(rows, columns)))
        expected = median_filter(raw, size=(rows, columns), mode="reflect")
        np.testing.assert_allclose(result.restored, expected, rtol=0, atol=1e-15)

    def test_median_takes_out_a_scratch_that_is_one_row_thin(self):
        raw = np.tile(np.linspace(0, 1, 9), (7, 1))
        scratched = raw.copy()
        scratched[3] = 5
        np.testing.assert_allclose(restore(scratched, MEDIAN).restored, raw, rtol=0, atol=1e-15)

    def test_contrast_adds_the_smoothed_background(self):
        contrast = HuberROFStep(model="huber-rof", lam=0.01)
        without, with_it = (
            restore(scan(), Recipe(background=BACKGROUND, contrast=c)) for c in (None, contrast)
        )
        np.testing.assert_array_equal(with_it.background, without.background)
        scaled = (with_it.background - with_it.offset) / with_it.factor
        smooth = with_it.offset + with_it.factor * solve(scaled, HuberROF(0.01)).u
        np.testing.assert_allclose(with_it.contrast, smooth, rtol=0, atol=1e-20)
        np.testing.assert_allclose(with_it.restored, without.restored + with_it.contrast, rtol=0, atol=1e-20)

    def test_denoising_alone_is_the_model_applied_to_the_image(self):
        raw = scan(low=0, high=1)
        result = restore(raw, Recipe(denoise=TVL1Step(model="tv-l1", lam=0.7, direction="x")))
        np.testing.assert_array_equal(result.restored, solve(raw, TVL1(0.7), direction="x").u)

    def test_can_be_run_one_by_one(self):
        draft = prepare(Micrograph(scan()), EVERYTHING)
        for name in EVERYTHING.steps:
            draft = STEPS[name].run(draft)
        for one, other in zip(arrays(finish(draft)), arrays(restore(scan(), EVERYTHING)), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_same_image_gives_the_same_bits(self):
        first, second = restore(scan(), EVERYTHING), restore(scan(), EVERYTHING)
        for one, other in zip(arrays(first), arrays(second), strict=True):
            assert one.tobytes() == other.tobytes()

    def test_tgv_is_a_step_like_the_others(self):
        step = TGVL1Step(model="tgv-l1", lam=1.5, stop={"rtol": 1e-2})
        result = restore(scan(), Recipe(denoise=step))
        assert result.gap <= 1e-2
        assert result.steps[0].parameters["gradient"] == "symmetrised"


class TestRecipeArgument:
    def test_is_a_name_a_path_or_a_recipe(self, tmp_path):
        path = tmp_path / "mine.toml"
        path.write_text('[background]\nmodel = "huber-rof"\nlam = 0.05\n')
        results = [restore(scan(), given) for given in (path, str(path), FLATTEN)]
        assert all(result.restored.tobytes() == results[0].restored.tobytes() for result in results)
        assert restore(scan(), "stm-terraces").recipe.name == "stm-terraces"

    def test_that_does_not_exist_is_refused(self):
        with pytest.raises(RecipeError, match="neither as a file nor as a preset"):
            restore(scan(), "mica")


class TestRegion:
    @pytest.mark.parametrize(
        ("missing", "top", "bottom"),
        [(slice(0, 3), 3, 16), (slice(10, 16), 0, 10), (slice(5, 7), 7, 16), (slice(12, 13), 0, 12)],
        ids=["top", "bottom", "above the middle", "below the middle"],
    )
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_longest_run_of_complete_rows_is_restored(self, missing, top, bottom, value):
        raw = scan()
        raw[missing, 4:] = value
        result = restore(raw, EVERYTHING)
        assert result.region == Region(top, bottom, 0, 20)
        assert result.restored.shape == result.region.shape
        assert np.isfinite(arrays(result)).all()
        expected = restore(scan()[top:bottom], EVERYTHING)
        np.testing.assert_array_equal(result.restored, expected.restored)
        assert f"{16 - (bottom - top)} of 16 rows were left out" in result.notes[0]
        assert f"rows {top} to {bottom - 1} were restored" in result.notes[0]

    def test_valid_part_alone_is_restored(self):
        raw = scan()
        raw[12:] = 1.0  # a data bar
        result = restore(Micrograph(raw, valid=Region(0, 12, 2, 20)), EVERYTHING)
        assert result.region == Region(0, 12, 2, 20)
        np.testing.assert_array_equal(result.restored, restore(raw[:12, 2:], EVERYTHING).restored)

    def test_nan_outside_the_valid_part_does_not_matter(self):
        raw = scan()
        raw[12:] = np.nan
        assert restore(Micrograph(raw, valid=Region(0, 12, 0, 20)), FLATTEN).notes == ()

    def test_nan_inside_the_valid_part_is_counted_from_the_top_of_the_image(self):
        raw = scan()
        raw[4] = np.nan
        result = restore(Micrograph(raw, valid=Region(2, 14, 0, 20)), FLATTEN)
        assert result.region == Region(5, 14, 0, 20)
        assert "3 of 12 rows" in result.notes[0]

    @pytest.mark.parametrize(
        "valid", [(0, 17, 0, 20), (3, 3, 0, 20), (5, 3, 0, 20), (-2, 4, 0, 20), (0, 4, 0, 21)]
    )
    def test_valid_part_outside_the_image_is_refused(self, valid):
        with pytest.raises(UnusableImageError, match="outside the 16 × 20 pixels of the image"):
            restore(Micrograph(scan(), valid=Region(*valid)), FLATTEN)

    def test_notes_of_the_reader_come_first(self):
        raw = scan()
        raw[0] = np.nan
        result = restore(Micrograph(raw, notes=("Grey of a colour image.",)), FLATTEN)
        assert result.notes[0] == "Grey of a colour image."
        assert len(result.notes) == 2

    def test_micrograph_is_handed_on_as_it_was(self):
        micrograph = Micrograph(scan())
        result = restore(micrograph, EVERYTHING)
        assert result.micrograph is micrograph
        np.testing.assert_array_equal(micrograph.data, scan())


class TestExtremeNumbers:
    @pytest.mark.parametrize("size", [1e300, 1e-300, 1e-30])
    def test_results_scale_with_the_image(self, size):
        plain, extreme = (restore(size_ * scan(low=0, high=1), EVERYTHING) for size_ in (1, size))
        assert extreme.converged
        for one, other in zip(arrays(plain), arrays(extreme), strict=True):
            np.testing.assert_allclose(other / size, one, rtol=0, atol=1e-3)

    def test_contrast_of_1e_12_is_restored(self):
        raw = 1 + 1e-12 * scan(low=0, high=1)
        result = restore(raw, EVERYTHING)
        assert result.converged
        plain = restore(scan(low=0, high=1), FLATTEN).flat
        # float64 has 1e-4 of this contrast.
        np.testing.assert_allclose(restore(raw, FLATTEN).flat / 1e-12, plain, rtol=0, atol=1e-3)

    def test_integers_beyond_2_to_the_53_are_noted(self):
        raw = (9e18 * scan(low=0, high=1)).astype(np.int64)
        assert "Values beyond 2^53 are restored with 16 digits" in restore(raw, FLATTEN).notes[0]
        assert restore(raw // 2**20, FLATTEN).notes == ()


@dataclasses.dataclass(frozen=True)
class Unusable:
    data: np.ndarray
    sentence: str


UNUSABLE = {
    "constant": Unusable(
        np.full((3, 4), 7.5), "every pixel has the value 7.5, so there is nothing to restore"
    ),
    "all NaN": Unusable(np.full((3, 4), np.nan), "every row holds NaN or infinite values"),
    "NaN in every row": Unusable(np.where(np.eye(3), np.nan, 1.0), "every row holds NaN"),
    "empty": Unusable(
        np.zeros((0, 4)), r"rows and columns can be restored, and this is float64 of shape \(0, 4\)"
    ),
    "one dimension": Unusable(np.arange(4.0), r"float64 of shape \(4,\)"),
    "three dimensions": Unusable(np.zeros((2, 3, 4)), r"float64 of shape \(2, 3, 4\)"),
    "complex": Unusable(np.eye(3, dtype=complex), "image of real numbers .* this is complex128"),
    "object": Unusable(np.array([[1, None]]), "image of real numbers .* this is object"),
    "text": Unusable(np.array([["a"]]), "image of real numbers"),
    "constant but for NaN": Unusable(np.array([[1.0, 1.0], [2.0, np.nan]]), "every pixel has the value 1,"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_unusable_image_is_refused_with_the_name_of_its_file(case):
    source = Source(Path("folder/mica.tif"), 0, datetime.now(UTC), "")
    with pytest.raises(UnusableImageError, match=r"^mica\.tif: .*" + UNUSABLE[case].sentence) as caught:
        restore(Micrograph(UNUSABLE[case].data, source=source), EVERYTHING)
    assert str(caught.value).endswith(".")


class TestAuto:
    AUTO = Recipe.model_validate(
        {
            "background": {"model": "huber-rof", "lam": "auto"},
            "median": {},
            "contrast": {"model": "huber-rof", "lam": "auto"},
            "denoise": {"model": "tv-l1", "lam": "auto"},
        }
    )

    def test_each_step_has_its_own_and_says_why(self):
        result = restore(Micrograph(synthetic.afm_lattice_scan(3, (96, 96)).recorded), self.AUTO)
        assert {name: choice.rule for name, choice in result.choices.items()} == {
            "background": "lattice-spectrum",
            "contrast": "as-background",
            "denoise": "sure",
        }
        used = {step.name: step.parameters["lam"] for step in result.steps if step.choice}
        assert used["contrast"] == used["background"] != 0.5
        for name, lam in used.items():
            assert lam == pytest.approx(result.choices[name].lam, rel=1e-3)
        numbers = {name: {"model": getattr(self.AUTO, name).model, "lam": lam} for name, lam in used.items()}
        again = restore(result.micrograph, Recipe.model_validate({"median": {}, **numbers}))
        np.testing.assert_array_equal(again.restored, result.restored)
        assert not again.choices

    def test_a_choice_to_be_looked_at_is_noted(self):
        y, x = np.mgrid[-1:1:96j, -1:1:96j]
        noise = np.random.default_rng(0).normal(0, 0.005, x.shape)
        along = dataclasses.replace(BACKGROUND, direction="x", choose="auto")
        result = restore(np.exp(-12 * (x**2 + 4 * y**2)) + noise, Recipe(background=along))
        assert result.choices["background"].confidence == "low"
        assert "leave the step out" in result.notes[-1]

    def test_noise_keeps_what_was_given_and_says_so(self):
        noise = Micrograph(np.random.default_rng(0).normal(size=(64, 64)))
        result = restore(noise, Recipe(background=dataclasses.replace(BACKGROUND, choose="auto")))
        assert result.steps[0].parameters["lam"] == 0.05
        assert result.choices["background"].fell_back
        assert "no lattice" in result.notes[0]
        assert result.notes[0].endswith("λ stays 0.05.")

    def test_a_length_goes_by_the_calibration(self):
        image = synthetic.afm_lattice_scan(3, (48, 48))
        size = Recipe.model_validate({"background": {"model": "tv-l1", "feature_size": "0.8 nm"}})
        result = restore(Micrograph(image.recorded, pixel_size=(4e-11, 4e-11)), size)
        assert result.steps[0].parameters["lam"] == pytest.approx(4 / 20)
        with pytest.raises(RecipeError, match="not calibrated"):
            restore(Micrograph(image.recorded), size)

    def test_contrast_is_that_of_a_background_that_was_given(self):
        recipe = Recipe(background=BACKGROUND, contrast=dataclasses.replace(BACKGROUND, lam=3, choose="auto"))
        assert restore(scan(), recipe).steps[1].parameters["lam"] == 0.05


def test_quality_is_that_of_the_part_that_was_restored():
    image = scan(64, 64)
    image[:8] = np.nan
    result = restore(image, EVERYTHING)
    marks = result.quality
    assert marks.line_jumps_before == pytest.approx(quality.line_jumps(image[8:]))
    assert marks.whiteness == pytest.approx(
        quality.whiteness(result.flat.astype(float) + result.contrast - result.restored)
    )
