"""The page with a slider over λ, as a user at the microscope sees it."""

import json
import tomllib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.browsing import greys
from tvtasks import Micrograph, Recipe, restore
from tvtasks.errors import ConfigurationError
from tvtasks.restoration import prepare
from tvtasks.solvers import Gap, solve
from tvtasks.synthetic import stm_terrace_scan
from tvtasks.tuning import html, tune
from tvtasks.tuning.layers import encode

ROWS = Recipe.model_validate(
    {"name": "rows", "background": {"model": "huber-rof", "lam": 0.1, "direction": "x"}}
)
HOSTILE = "</script><img src=x onerror=alert(1)>.npy"


def terraces(shape=(96, 128), step=2e-10):
    """Three terraces with a little noise, in metres."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = step * (np.floor(3 * x / shape[1])) + 1e-11 * np.random.default_rng(0).normal(size=shape)
    return Micrograph(image + 0 * y, units="m", quantity="height", pixel_size=(1e-9, 1e-9), pixel_unit="m")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    tuning = tune(terraces(), ROWS, models=["tv-l1"], directions=["both"], lams=5)
    target = tmp_path_factory.mktemp("tuned") / "page.html"
    target.write_text(html(tuning, "scan 1.sxm"), "utf-8")
    return target


@pytest.fixture
def page(visit, path):
    page = visit(path)
    page.wait_for_selector("html[data-ready]")
    return page


class TestPage:
    def test_it_asks_nobody_and_shows_pictures(self, page):
        assert {place.partition(":")[0] for place in page.asked} <= {"file", "data"}
        assert greys(page, "#stage") > 30
        assert greys(page, "#other") > 10

    def test_the_slider_changes_lambda_and_the_picture(self, page):
        looks, values = set(), []
        for n in range(5):
            page.evaluate("n => choose(n)", n)
            values.append(page.inner_text("#value"))
            looks.add(page.locator("#other").screenshot())
        assert len(looks) == 5
        assert values[2] == "λ 0.1"
        assert values[0] == "λ 0.003333"

    def test_use_this_gives_the_recipe_that_is_shown(self, page):
        page.keyboard.press("ArrowRight")
        lam = float(page.inner_text("#value").split()[1])
        page.click("#use")
        recipe = Recipe.model_validate(tomllib.loads(page.input_value("#toml")))
        assert recipe.background.lam == lam
        assert recipe.background.direction == "x"
        assert 'tvtasks restore "scan 1.sxm"' in page.inner_text("#command")
        assert page.get_attribute("#save", "href").startswith("data:application/toml")

    def test_model_and_direction_can_be_chosen(self, page):
        page.click("#use")
        page.select_option("select[data-name=model]", "TV-L1")
        page.select_option("select[data-name=direction]", "x and y")
        recipe = Recipe.model_validate(tomllib.loads(page.input_value("#toml")))
        assert (recipe.background.model, recipe.background.direction) == ("tv-l1", "both")

    def test_a_line_measures_step_and_noise(self, page):
        box = page.locator("#stage").bounding_box()
        y = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + box["width"] * 0.1, y)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.55, y, steps=3)
        page.mouse.up()
        # one step of 200 pm, noise of 10 pm
        words = page.inner_text("#measured dd:first-of-type").split()
        assert float(words[0]) == pytest.approx(200, rel=0.05)
        assert words[1] == "pm"
        noise = page.inner_text("#measured dd:last-of-type").split()
        assert float(noise[0]) == pytest.approx(10, rel=0.35)

    def test_what_it_shows_is_what_the_solver_finds(self, page):
        draft = prepare(terraces(), ROWS)
        exact = solve(draft.current, ROWS.background, direction="x", stop=Gap(1e-6)).u
        page.evaluate("choose(2)")
        shown = np.array(page.evaluate("Array.from(other)")).reshape(exact.shape)
        flat = np.array(page.evaluate("Array.from(after)")).reshape(exact.shape)
        assert np.abs(shown - exact).max() < 0.02
        np.testing.assert_allclose(flat + shown, draft.current, atol=0.01)

    def test_it_fits_a_phone(self, visit, path):
        page = visit(path, viewport={"width": 375, "height": 700})
        page.wait_for_selector("html[data-ready]")
        assert page.evaluate("document.documentElement.scrollWidth") <= 375

    def test_a_notebook_shows_it(self, browser):
        tuning = tune(terraces((40, 48)), ROWS, lams=3)
        page = browser.new_page()
        page.set_content(tuning._repr_html_())
        page.frame_locator("iframe").locator("html[data-ready]").wait_for()
        page.close()
        assert repr(tuning) == "Tuning of image: background, λ 0.003333 to 3"

    def test_a_hostile_name_does_nothing(self, visit, tmp_path):
        (tmp_path / "page.html").write_text(html(tune(terraces((32, 32)), ROWS, lams=3), HOSTILE), "utf-8")
        page = visit(tmp_path / "page.html")
        page.wait_for_selector("html[data-ready]")
        page.click("#use")
        assert HOSTILE in page.inner_text("#command")


class TestLarge:
    def test_a_noisy_image_of_512_pixels_stays_below_a_megabyte_and_draws_fast(self, visit, tmp_path):
        scan = stm_terrace_scan(3, shape=(512, 512))
        tuning = tune(Micrograph(np.asarray(scan.recorded)), ROWS, side=512)
        assert len(tuning.series[0].lams) >= 24
        (tmp_path / "page.html").write_text(html(tuning), "utf-8")
        assert (tmp_path / "page.html").stat().st_size < 1_000_000
        page = visit(tmp_path / "page.html")
        page.wait_for_selector("html[data-ready]")
        took = page.evaluate("Array.from({ length: 25 }, (_, n) => { at = n; return draw(); })")
        assert min(took) < 16  # ms; the least, since others use this computer, too


class TestSeries:
    def test_lambda_of_an_image_is_chosen_if_the_recipe_leaves_it_open(self):
        open_ = Recipe.model_validate({"background": {"model": "huber-rof", "lam": "auto"}})
        micrograph = terraces((64, 64))
        tuning = tune(micrograph, open_, lams=3)
        assert tuning.series[0].lams[1] == restore(micrograph, open_).steps[0].parameters["lam"]

    def test_the_steps_before_have_run_and_those_after_are_named(self):
        recipe = Recipe.load("sem-charging")
        tuning = tune(terraces((64, 64)), recipe, step="denoise", lams=3, side=48)
        assert tuning.input.shape == (48, 48)
        assert (tuning.part.top, tuning.part.left, tuning.after) == (8, 8, ())
        assert tune(terraces((64, 64)), recipe, lams=3, side=48).after == ("median", "denoise")

    def test_explore_takes_image_and_recipe_of_a_restoration(self):
        tuning = restore(terraces((32, 32)), ROWS).explore(lams=3)
        assert tuning.series[0].lams[1] == 0.1

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"step": "contrast"}, "has no step contrast"),
            ({"models": ["tv-l9"]}, "Use huber-rof"),
        ],
    )
    def test_what_cannot_be_is_refused(self, options, words):
        with pytest.raises(ConfigurationError, match=words):
            tune(terraces((32, 32)), ROWS, **options)


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_layers_add_up_to_the_image(seed, scale):
    rng = np.random.default_rng(seed)
    image = (scale * (np.linspace(0, 100, 30) + rng.normal(size=(20, 30)))).astype(np.float32)
    layers, seen = encode(image, np.zeros_like(image), 0.3 * scale, 85)
    assert 1 <= len(layers) <= 3
    assert np.sqrt(np.mean((seen - image) ** 2)) < 0.5 * scale
    json.dumps(layers, allow_nan=False)


class TestCommand:
    def test_it_writes_a_page_named_after_the_file(self, tvtasks, write_scan, tmp_path):
        code, out, _ = tvtasks("tune", write_scan("stm_1.npy"), "--recipe", "afm-background", "--side", "64")
        assert code == 0
        assert (tmp_path / "stm_1_tune.html").as_uri() in out

    def test_nonsense_is_refused(self, tvtasks, write_scan):
        scan = write_scan("stm_1.npy")
        assert tvtasks("tune", "nowhere.npy")[0] == 2
        assert tvtasks("tune", scan, "--output", "page.pdf")[0] == 2
        assert tvtasks("tune", scan, "--recipe", "afm-background", "--step", "contrast")[0] == 2


def test_a_recipe_without_lambda_is_tuned_in_its_denoising():
    tuning = tune(terraces((64, 64)), Recipe.load("auto"), lams=3, side=48)
    assert (tuning.step, tuning.after) == ("denoise", ())
    assert tuning.series[0].settings["model"] == "huber-rof"
    other = tune(
        terraces((64, 64)), Recipe.load("auto"), step="background", models=["tv-l1"], lams=3, side=48
    )
    assert other.series[0].settings["model"] == "tv-l1"
