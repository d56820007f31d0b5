"""What follows from the toy step and model, in a process that has made no recipe yet; see test_toy.py."""

from pathlib import Path

import numpy as np
import pytest

from tests import toy  # isort: skip - before anything makes recipes from the tables
from tvtasks import Micrograph, Recipe, archive, restore
from tvtasks.archive.catalogue import entry
from tvtasks.archive.conditions import chosen_by
from tvtasks.archive.verification import check, recompute
from tvtasks.dashboard.forms import OwnRecipe
from tvtasks.errors import RecipeError
from tvtasks.export import export, names
from tvtasks.figures import preview
from tvtasks.figures.curves import profile_figure
from tvtasks.figures.sheet import rendered
from tvtasks.profile import profile
from tvtasks.proposal import propose, toml
from tvtasks.sweep.points import build_points
from tvtasks.tasks import TASKS

TOML = """
name = "toy"
[denoise]
model = "box-mean"
side = 5
[levels]
[background]
model = "huber-rof"
lam = 0.05
"""
RNG = np.random.default_rng(0)
RAW = (RNG.normal(size=(24, 1)) + RNG.normal(size=(24, 32)).cumsum(axis=1)).astype(np.float32)


def load(text: str, folder: Path) -> Recipe:
    path = folder / "toy.toml"
    path.write_text(text)
    return Recipe.load(path)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return load(TOML, tmp_path_factory.mktemp("recipes"))


@pytest.fixture(scope="module")
def result(recipe):
    return restore(Micrograph(RAW, units="V", pixel_size=(1e-9, 1e-9)), recipe)


@pytest.fixture(scope="module")
def alone():
    return restore(RAW, Recipe.model_validate({"levels": {}}))


@pytest.fixture(scope="module")
def path(result, tmp_path_factory):
    return archive.write(result, tmp_path_factory.mktemp("archive"), storage=archive.Storage(exact=True))


def test_a_recipe_has_both_in_the_order_of_the_table(recipe):
    assert recipe.steps == ("levels", "background", "denoise")
    assert recipe.parameters["levels"] == {"strength": 1.0}
    assert recipe.parameters["denoise"] == {"model": "box-mean", "side": 5}
    made = ("offsets", "bright", "background", "flat", "surface", "restored_errors", "looks", "restored")
    assert recipe.arrays == made


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[levels]\nstrength = 2", "levels.strength = 2 is not allowed"),
        ("[denoise]\nmodel = 'box-mean'\nlam = 1", "denoise.lam is an unknown key"),
        ("[background]\nmodel = 'box-mean'", "it can be 'huber-rof', 'tv-l1', 'tgv-l1', 'tilt-bow-drift'."),
    ],
)
def test_mistakes_in_their_tables_are_sentences(text, sentence, tmp_path):
    with pytest.raises(RecipeError) as caught:
        load(text, tmp_path)
    assert sentence in str(caught.value)


def test_a_restoration_has_their_arrays_evidence_and_notes_and_no_gap_of_theirs(result, alone):
    made = ["background", "flat", "offsets", "bright", "surface", "restored_errors", "looks", "restored"]
    assert list(result.arrays) == made
    assert result.arrays["offsets"].shape == (24,)
    assert result.unitless == {"bright", "looks"}
    assert result.steps[0].evidence["spread"] > 0
    assert "24 lines were levelled." in result.notes
    assert result.gap == result.steps[1].convergence.gap
    assert (alone.gap, alone.converged) == (None, True)


def test_raw_is_background_plus_flat_whatever_is_subtracted(result, alone):
    for found in (result, alone):
        np.testing.assert_allclose(found.background + found.flat, RAW, atol=1e-5)
    np.testing.assert_allclose(alone.restored, alone.flat, atol=1e-5)
    assert np.ptp(alone.restored.mean(axis=1)) < 1e-5


def test_the_archive_gives_everything_back_verified_and_restored_again(path, result, recipe):
    run = archive.load(path)
    assert set(run.arrays) == set(result.arrays)
    for name, array in result.arrays.items():
        np.testing.assert_array_equal(run.arrays[name], array)
    assert run.unitless == result.unitless
    assert run.record["steps"][0]["outputs"] == ["offsets", "bright"]
    assert run.record["steps"][0]["evidence"] == result.steps[0].evidence
    assert run.recipe == recipe
    assert check(path) == []
    (found,) = recompute(path)
    assert "is reproduced bit for bit" in found.message


def test_the_tree_names_every_array_and_the_evidence_where_the_seal_is_broken(path, tmp_path):
    broken = tmp_path / path.name
    broken.write_bytes(path.read_bytes() + b" ")
    (found,) = check(broken)
    assert "all arrays, parameters and records are unchanged" in found.message


def test_the_catalogue_and_its_conditions_know_them(path):
    found = entry(path)
    assert found.steps == ("levels", "background", "denoise")
    assert chosen_by(["denoise.side=5", "levels.strength=1"])(found)


def test_the_form_has_their_buttons():
    schema = OwnRecipe.model_json_schema()
    assert list(schema["properties"]) == [
        "name",
        "levels",
        "lines",
        "background",
        "median",
        "contrast",
        "denoise",
    ]
    assert {"Levels", "Box mean"} <= {about["title"] for about in schema["$defs"].values()}
    assert schema["properties"]["levels"]["then"]["properties"]["strength"]["maximum"] == 1
    filled_in = {"levels": {"model": "levels"}, "denoise": {"model": "box-mean", "side": 5}}
    (own,) = OwnRecipe.model_validate(filled_in).recipes
    assert own.parameters["denoise"]["side"] == 5
    assert {"$ref": "#/$defs/BoxMean"} in Recipe.model_json_schema()["properties"]["denoise"]["anyOf"]


def test_a_sweep_varies_their_parameters(recipe):
    assert [point.label for point in build_points(recipe, {}, {"side": [3, 5]}, "denoise")] == ["s 3", "s 5"]
    labels = [point.label for point in build_points(recipe, {}, {"levels.strength": [0.5, 1.0]})]
    assert labels == ["strength 0.5", "strength 1"]


def test_a_proposal_leaves_a_model_without_a_lam_alone(result, recipe, tmp_path):
    proposal = propose(result.micrograph, recipe)
    assert list(proposal.choices) == ["background"]
    assert load(toml(proposal), tmp_path) == proposal.recipe


def test_pictures_profile_and_exports_show_what_can_be_shown(path, tmp_path):
    run = archive.load(path)
    found = profile(run, (0, 0, 20, 20))
    assert set(found.curves) == {"raw", "background", "flat", "surface", "restored_errors", "restored"}
    assert rendered(profile_figure(run, found), "png")
    assert preview(run).size[0] > 0
    everything = list(names("all"))
    assert {"offsets", "looks"} <= set(everything)
    assert len(export(run, "npz", tmp_path, arrays=everything)) == 1
    assert len(export(run, "tiff", tmp_path, arrays=everything)) == 8


def test_each_step_has_a_task():
    assert TASKS[toy.level_lines].name == "level lines"
