import math
from pathlib import Path

import numpy as np
import pytest

from tvtasks import Micrograph, Recipe, archive, restore
from tvtasks.archive.lean import lean, rounding_for
from tvtasks.errors import ConfigurationError, RecipeError
from tvtasks.sweep.points import METRICS, build_points, line_jumps, records, residual, run, stem

RNG = np.random.default_rng(0)
IMAGE = Micrograph(RNG.normal(size=(24, 32)).cumsum(axis=1), units="V")
FLAT = Recipe.model_validate(
    {"name": "flat", "background": {"model": "huber-rof", "lam": 0.5, "alpha": 0.02}}
)


def labels(*args, **kwargs):
    return [point.label for point in build_points(*args, **kwargs)]


class TestGrid:
    def test_the_paper_compares_four_fidelities(self):
        points = build_points(None, {"huber-rof": []}, {"lam": [0.1, 0.5, 1.0, 10.0]})
        assert [point.label for point in points] == ["λ 0.1", "λ 0.5", "λ 1", "λ 10"]
        assert [point.recipe.background.lam for point in points] == [0.1, 0.5, 1.0, 10.0]

    def test_the_paper_compares_three_models_each_with_its_own_fidelity(self):
        models = {"huber-rof": [0.2], "tv-l1": [0.1], "tgv-l1": [0.5]}
        assert labels(None, models, {}) == ["Huber-ROF  λ 0.2", "TV-L1  λ 0.1", "TGV-L1  λ 0.5"]

    def test_every_combination_is_there_once(self):
        points = build_points(None, {"huber-rof": [], "tv-l1": []}, {"lam": [0.1, 1.0], "alpha": [0.05, 0.5]})
        assert [point.label for point in points] == [
            "Huber-ROF  λ 0.1  α 0.05",
            "Huber-ROF  λ 0.1  α 0.5",
            "Huber-ROF  λ 1  α 0.05",
            "Huber-ROF  λ 1  α 0.5",
            "TV-L1  λ 0.1",
            "TV-L1  λ 1",
        ]
        assert len({point.recipe.digest for point in points}) == 6

    def test_everything_else_is_as_in_the_recipe_to_begin_with(self):
        (point,) = build_points(FLAT, {}, {"lam": [2.0]})
        expected = FLAT.parameters | {"background": FLAT.parameters["background"] | {"lam": 2.0}}
        assert point.recipe.parameters == expected

    def test_a_number_replaces_a_lam_that_is_chosen_and_nothing_else_does(self):
        chosen = Recipe.model_validate({"background": {"model": "huber-rof", "feature_size": 20}})
        for axes in ({"lam": [2.0]}, {"background.lam": [2.0]}):
            (point,) = build_points(chosen, {}, axes)
            assert (point.recipe.background.lam, point.recipe.chooses) == (2.0, False)
        assert all(point.recipe.chooses for point in build_points(chosen, {}, {"alpha": [0.1, 0.2]}))
        auto, number = build_points(chosen, {}, {"lam": ["auto", 2.0]})
        assert (auto.recipe.chooses, number.recipe.chooses) == (True, False)

    def test_any_key_of_a_recipe_can_be_varied(self):
        axes = {"median.rows": [3, 5], "scale": ["range", 2.0], "stop.rtol": [1e-3]}
        points = build_points(FLAT, {}, axes)
        assert {(p.recipe.median.rows, p.recipe.scale, p.recipe.background.stop.rtol) for p in points} == {
            (rows, scale, 1e-3) for rows in (3, 5) for scale in ("range", 2.0)
        }

    def test_of_a_recipe_that_only_denoises_that_step_is_varied(self):
        (point,) = build_points(Recipe.load("stem-denoise"), {}, {"lam": [3.0]})
        assert point.recipe.denoise.lam == 3.0
        assert point.recipe.background is None

    @pytest.mark.parametrize(
        ("base", "models", "axes", "sentence"),
        [
            (None, {}, {"lam": [1.0]}, "Choose a model for the step background"),
            (None, {"tv": []}, {"lam": [1.0]}, "no model 'tv'"),
            (None, {"tv-l1": []}, {"lam": [1.0], "alpha": [0.1]}, "tv-l1 has no parameter alpha"),
            (None, {"tv-l1": []}, {"lam": [-1.0]}, "greater than 0"),
            (None, {"tv-l1": []}, {}, "lam is missing"),
            (FLAT, {}, {"median.rowz": [3]}, "median.rowz is an unknown key"),
            (FLAT, {}, {"lam": [0.01 * n for n in range(1, 300)]}, "more than 256 points"),
        ],
    )
    def test_what_makes_no_sense_is_refused_before_anything_is_done(self, base, models, axes, sentence):
        with pytest.raises((ConfigurationError, RecipeError), match=sentence):
            build_points(base, models, axes)


class TestRun:
    def test_each_point_is_the_restoration_by_its_recipe(self, tmp_path):
        points = build_points(None, {"huber-rof": [0.2], "tv-l1": [0.5]}, {})
        trials = dict(run(IMAGE, points, tmp_path))
        for number, point in enumerate(points):
            expected = restore(IMAGE, point.recipe)
            found = archive.load(trials[number].archive)
            stored, _ = lean(expected, rounding_for(expected))
            np.testing.assert_array_equal(found.restored, stored["restored"])
            assert trials[number].gap == expected.gap
            assert trials[number].metrics["residual"] == pytest.approx(residual(expected))

    def test_a_point_that_fails_does_not_stop_the_others(self, tmp_path):
        points = build_points(FLAT, {}, {"scale": ["range", "max"]})
        image = Micrograph(-1 - np.abs(IMAGE.data))  # the greatest value is negative
        trials = dict(run(image, points, tmp_path))
        assert trials[0].archive.exists()
        assert "scale = 'max' does not work" in trials[1].fault
        assert [row["fault"] == "" for row in records([trials[0], trials[1]])] == [True, False]

    def test_what_has_not_begun_when_it_is_stopped_is_left_out(self, tmp_path):
        points = build_points(FLAT, {}, {"lam": [1.0, 2.0, 3.0, 4.0]})
        stopped = iter([False, True, True, True])
        trials = dict(run(IMAGE, points, tmp_path, workers=1, is_stopped=lambda: next(stopped)))
        assert list(trials) == [0]

    def test_the_same_sweep_has_the_same_name(self):
        points = build_points(FLAT, {}, {"lam": [1.0, 2.0]})
        assert stem(IMAGE, points) == stem(IMAGE, build_points(FLAT, {}, {"lam": [1.0, 2.0]}))
        assert stem(IMAGE, points) != stem(IMAGE, points[:1])
        assert Path(stem(IMAGE, points)).name.startswith("image__")


class TestMetrics:
    def test_an_image_that_is_returned_as_it_is_has_no_residual(self):
        result = restore(IMAGE, Recipe.model_validate({"median": {"rows": 1, "columns": 1}}))
        assert residual(result) == pytest.approx(0, abs=1e-14)

    def test_offsets_of_lines_are_found_and_structure_is_not(self):
        rows, columns = np.mgrid[:64, :64]
        surface = np.sin(rows / 6) * np.sin(columns / 5)
        offsets = RNG.normal(size=(64, 1))
        same = Recipe.model_validate({"median": {"rows": 1, "columns": 1}})
        jumped, smooth = (line_jumps(restore(image, same)) for image in (surface + offsets, surface))
        assert jumped == pytest.approx(np.sqrt(np.mean(np.diff(offsets, axis=0) ** 2)), rel=0.05)
        assert smooth < 0.05 * jumped

    def test_one_row_has_no_jumps(self):
        result = restore(Micrograph(IMAGE.data[:1]), FLAT)
        assert all(math.isfinite(measure(result)) for measure in METRICS.values())
