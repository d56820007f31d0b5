import numpy as np
import pytest

from tvtasks import Micrograph, Recipe, restore
from tvtasks import synthetic as syn
from tvtasks.errors import RecipeError
from tvtasks.figures.choices import proposal_figure
from tvtasks.figures.sheet import rendered
from tvtasks.proposal import propose, toml

SHAPE = (96, 96)


def micrograph(scan, calibrated=True):
    size = (scan.pixel_size,) * 2 if calibrated else None
    return Micrograph(scan.recorded, pixel_size=size, technique=scan.technique, units=scan.units)


@pytest.fixture(scope="module")
def afm():
    return micrograph(syn.afm_lattice_scan(3, SHAPE))


@pytest.fixture(scope="module")
def sem():
    recipe = Recipe.model_validate(
        {
            "background": {"model": "tv-l1", "lam": 0.5, "direction": "x"},
            "median": {},
            "denoise": {"model": "huber-rof", "lam": 3.0, "alpha": 0.0},
        }
    )
    return propose(micrograph(syn.sem_charging_scan(3, SHAPE)), recipe)


def test_every_step_with_a_lam_gets_one_and_the_rest_is_kept(sem):
    assert {name: choice.rule for name, choice in sem.choices.items()} == {
        "background": "line-coherence",
        "denoise": "sure",
    }
    assert sem.recipe.background.lam == pytest.approx(sem.choices["background"].lam, rel=1e-3)
    assert sem.recipe.background.direction == "x"
    assert sem.recipe.denoise.alpha == 0
    assert sem.recipe.background.lam != 0.5


def test_written_recipe_is_the_one_that_was_proposed_and_restores_the_same(sem, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(toml(sem), encoding="utf-8")
    loaded = Recipe.load(path)
    assert loaded.digest == sem.recipe.digest
    again = restore(sem.restoration.micrograph, loaded)
    np.testing.assert_array_equal(again.restored, sem.restoration.restored)


@pytest.mark.parametrize("preset", ["stm-terraces", "sem-charging", "afm-background", "stem-denoise"])
def test_presets_survive_being_written(afm, preset, tmp_path):
    proposal = propose(afm, Recipe.load(preset), steps=())
    path = tmp_path / "same.toml"
    path.write_text(toml(proposal), encoding="utf-8")
    assert Recipe.load(path) == Recipe.load(preset)


def test_contrast_gets_the_lam_of_the_background(afm):
    proposal = propose(afm, Recipe.load("stm-terraces"))
    assert proposal.recipe.contrast.lam == proposal.recipe.background.lam != 0.05


def test_only_the_step_that_is_asked_for_is_changed():
    image = micrograph(syn.sem_charging_scan(3, SHAPE))
    proposal = propose(image, Recipe.load("sem-charging"), steps=("background",))
    assert list(proposal.choices) == ["background"]
    assert proposal.recipe.denoise.lam == 1.5


def test_a_length_is_turned_into_pixels_by_the_calibration(afm):
    proposal = propose(afm, Recipe.load("afm-background"), feature_size="1.2 nm")
    choice = proposal.choices["background"]
    assert choice.rule == "feature-size"
    assert choice.lam == pytest.approx((2 * np.pi / 30) ** 2 / 0.05)
    with pytest.raises(RecipeError, match="not calibrated"):
        propose(Micrograph(afm.data), Recipe.load("afm-background"), feature_size="1.2 nm")


def test_noise_keeps_the_recipes_lam(tmp_path):
    image = Micrograph(np.random.default_rng(0).normal(size=SHAPE))
    proposal = propose(image, Recipe.load("afm-background"))
    assert proposal.choices["background"].fell_back
    assert proposal.recipe.background.lam == 0.5
    assert "# fallback" in toml(proposal)


def test_pictures_are_drawn_with_and_without_a_lattice(afm, sem):
    for proposal in (propose(afm, Recipe.load("afm-background")), sem):
        assert rendered(proposal_figure(proposal), "png").startswith(b"\x89PNG")


def test_a_picture_says_why_nothing_was_chosen(afm):
    scan = syn.stm_terrace_scan(3, (128, 128))
    waves = scan.terraces + 4e-12 * np.cos(2 * np.pi * np.arange(128) / 5.3) + 0.2 * scan.noise
    plain = Recipe.model_validate({"background": {"model": "huber-rof", "lam": 0.5, "alpha": 0.0}})
    for image, recipe in ((Micrograph(waves), Recipe.load("afm-background")), (afm, plain)):
        proposal = propose(image, recipe)
        choice = proposal.choices["background"]
        assert choice.fell_back
        assert "lattice_waves" in choice.evidence
        figure = proposal_figure(proposal)
        assert rendered(figure, "png").startswith(b"\x89PNG")
        words = [text.get_text().replace("\n", " ") for axes in figure.axes for text in axes.texts]
        assert choice.reason in words


def test_spectrum_is_drawn_the_right_way_round():
    # A wave that climbs to the right and down has its peaks in the lower right and the upper left.
    image = syn.wave_lattice(SHAPE, period=8, corrugation=1, angle=0.5, symmetry="square")
    proposal = propose(
        Micrograph(image + np.random.default_rng(0).normal(0, 0.05, SHAPE)), Recipe.load("afm-background")
    )
    figure = proposal_figure(proposal)
    axes = next(a for a in figure.axes if a.get_title().startswith("spectrum"))
    drawn = np.asarray(axes.images[0].get_array())
    left, right, bottom, top = axes.images[0].get_extent()
    for fy, fx in proposal.choices["background"].evidence["lattice_waves"]:
        row = round((fy - top) / (bottom - top) * drawn.shape[0])
        column = round((fx - left) / (right - left) * drawn.shape[1])
        near = drawn[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
        assert near.max() > np.percentile(drawn, 99)
