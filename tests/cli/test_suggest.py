import json

import numpy as np
import pytest
from typer.testing import CliRunner

from tvtasks import synthetic
from tvtasks.archive import load
from tvtasks.cli.app import app
from tvtasks.errors import ConfigurationError, RecipeError
from tvtasks.recipe import Recipe
from tvtasks.replay import ome_tiff


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    path = tmp_path_factory.mktemp("scans") / "afm.ome.tif"
    path.write_bytes(ome_tiff(synthetic.afm_lattice_scan(3, (96, 96))))
    return path


def suggest(*arguments):
    return CliRunner().invoke(app, ["suggest", *map(str, arguments)])


def test_recipe_and_picture_are_written_and_the_choice_is_printed(scan, tmp_path):
    recipe, picture = tmp_path / "mine.toml", tmp_path / "mine.png"
    done = suggest(scan, "--recipe", "afm-background", "--output", recipe, "--picture", picture)
    assert done.exit_code == 0
    assert "lattice-spectrum" in done.stdout
    assert Recipe.load(recipe).background.lam != 0.5
    assert picture.read_bytes().startswith(b"\x89PNG")
    again = suggest(scan, "--recipe", "afm-background", "--output", recipe)
    assert isinstance(again.exception, ConfigurationError)
    assert "--overwrite" in str(again.exception)


def test_json_has_the_curve_and_the_evidence(scan):
    done = suggest(scan, "--recipe", "afm-background", "--json")
    choice = json.loads(done.stdout)["choices"]["background"]
    assert choice["evidence"]["lattice_period_px"] == pytest.approx(10, rel=0.05)
    assert len(choice["curve"]["lams"]) == len(choice["curve"]["values"]) > 10


def test_another_model_direction_and_size_can_be_asked_for(scan):
    size = ("--feature-size", "1.2nm", "--json")
    done = suggest(scan, "--recipe", "afm-background", "--model", "tv-l1", "--direction", "x", *size)
    record = json.loads(done.stdout)
    assert record["recipe"]["background"]["model"] == "tv-l1"
    assert record["recipe"]["background"]["lam"] == pytest.approx(2 / 30, rel=1e-3)


def test_an_image_that_determines_nothing_needs_attention(tmp_path):
    path = tmp_path / "noise.npy"
    np.save(path, np.random.default_rng(0).normal(size=(64, 64)))
    done = suggest(path, "--recipe", "afm-background")
    assert done.exit_code == 1
    assert "λ stays 0.5" in done.stdout


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        (["nothing.tif"], ConfigurationError, "There is no file"),
        (
            ["SCAN", "--recipe", "stem-denoise", "--step", "background"],
            ConfigurationError,
            "no background step",
        ),
        (["SCAN", "--recipe", "afm-background", "--feature-size", "big"], RecipeError, "number of pixels"),
        (["SCAN", "--recipe", "afm-background", "--picture", "x.gif"], ConfigurationError, "neither a .png"),
    ],
)
def test_mistakes_are_sentences(scan, arguments, error, words):
    done = suggest(*(scan if word == "SCAN" else word for word in arguments))
    assert isinstance(done.exception, error)
    assert words in str(done.exception)


def test_a_recipe_with_auto_restores_as_suggested_and_is_reproduced(scan, tmp_path):
    recipe, archive = tmp_path / "auto-lam.toml", tmp_path / "archive"
    recipe.write_text(
        '[background]\nmodel = "huber-rof"\nlam = "auto"\n[denoise]\nmodel = "tv-l1"\nlam = "auto"\n', "utf-8"
    )
    run = CliRunner().invoke
    done = run(app, ["restore", str(scan), "--recipe", str(recipe), "--archive", str(archive), "--json"])
    assert done.exit_code == 0, done.output
    (file,) = archive.glob("*.nxs")
    shown = run(app, ["show", str(file)]).stdout
    for word in ("chosen by lattice-spectrum with", "chosen by sure with", "line jumps", "whiteness"):
        assert word in shown
    kept = load(file)
    proposed = json.loads(suggest(scan, "--recipe", recipe, "--json").stdout)
    for step in kept.record["steps"]:
        assert step["parameters"]["lam"] == proposed["recipe"][step["name"]]["lam"]
        assert step["choice"]["curve"] == proposed["choices"][step["name"]]["curve"]
    verified = run(app, ["verify", str(archive), "--recompute"])
    assert verified.exit_code == 0
    assert "reproduced bit for bit" in verified.stderr
