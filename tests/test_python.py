"""tvtasks as a Python user sees it: what `restore` takes, what it shows, and what it says."""

import base64
import io
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tvtasks
from tvtasks import TVL1, HuberROF, Micrograph, Recipe, archive, read_images, restore
from tvtasks.errors import RecipeError, UnreadableFileError
from tvtasks.napari_reader import get_reader

FLAT = {"background": {"model": "huber-rof", "lam": 0.5}}


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(size=(24, 32)).cumsum(axis=1)


@pytest.fixture
def path(image, tmp_path):
    np.save(tmp_path / "scan.npy", image)
    return tmp_path / "scan.npy"


class TestRestore:
    def test_an_array_a_path_and_a_micrograph_give_the_same(self, image, path):
        results = [restore(one, FLAT) for one in (image, path, str(path), Micrograph(image), image.tolist())]
        for result in results:
            np.testing.assert_array_equal(result.restored, results[0].restored)

    def test_a_stack_and_a_list_give_a_list(self, image, path):
        stack = restore(np.stack([image, image + 1]), FLAT)
        assert [one.micrograph.frame for one in stack] == [0, 1]
        assert len(restore([image, path, Micrograph(image)], FLAT)) == 3

    @pytest.mark.parametrize(
        "recipe",
        [
            FLAT,
            Recipe.model_validate(FLAT),
        ],
        ids=["mapping", "recipe"],
    )
    def test_a_recipe_may_be_given_in_many_ways(self, image, recipe):
        assert restore(image, recipe).recipe.background.lam == 0.5

    def test_steps_set_and_replace_those_of_the_recipe(self, image):
        assert restore(image, denoise=TVL1(1.0)).recipe.steps == ("denoise",)
        result = restore(image, "afm-background", background=HuberROF(2.0), median=None)
        assert (result.recipe.steps, result.recipe.background.lam) == (("background",), 2.0)

    def test_without_a_recipe_it_is_auto(self, image):
        assert restore(image).recipe.name == "auto"

    @pytest.mark.parametrize(
        ("recipe", "steps", "words"),
        [
            ({"background": {"model": "huber-rof", "lam": -1}}, {}, "background.lam = -1 is not allowed"),
            ({"backgroud": {}}, {}, "Did you mean background?"),
            (None, {"denoise": {"model": "tv-l9", "lam": 1}}, "denoise.model = 'tv-l9' is not allowed"),
            ("afm-backgroud", {}, "Did you mean afm-background?"),
        ],
    )
    def test_a_mistake_is_a_sentence(self, image, recipe, steps, words):
        with pytest.raises(RecipeError) as caught:
            restore(image, recipe, **steps)
        assert words in str(caught.value)
        assert "pydantic" not in str(caught.value)

    def test_a_path_that_is_wrong_is_a_sentence(self):
        with pytest.raises(UnreadableFileError, match="nowhere"):
            restore("nowhere.sxm", FLAT)


class TestReadImages:
    def test_it_picks_what_the_command_line_picks(self, path):
        assert [one.name for one in read_images(path)] == ["scan.npy"]
        assert tvtasks.read_images is read_images


class TestWhatIsShown:
    def test_descriptions_are_short(self, image, tmp_path):
        micrograph = Micrograph(image, units="m", pixel_size=(1e-9, 2e-9), pixel_unit="m", technique="STM")
        result = restore(micrograph, FLAT)
        run = archive.load(archive.write(result, tmp_path))
        texts = [repr(one) for one in (micrograph, result, run, result.recipe)]
        assert all(len(text) < 150 and "\n" not in text for text in texts), texts
        assert texts[0] == "Micrograph image: STM, 24 × 32 float64 in m, pixel 2e-09 × 1e-09 m"
        assert "background huber-rof λ 0.5" in texts[3]

    def test_a_notebook_shows_the_picture(self, image, tmp_path):
        result = restore(image, FLAT)
        for one in (result, archive.load(archive.write(result, tmp_path))):
            html = one._repr_html_()
            picture = Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", html)[1])))
            assert picture.width > 300
            assert np.asarray(picture).std() > 20

    def test_plot_draws_the_panels_with_their_units(self, image):
        micrograph = Micrograph(1e-9 * image, units="m", pixel_size=(1e-9, 1e-9), pixel_unit="m")
        figure = restore(micrograph, FLAT).plot()
        titles = [axes.get_title() for axes in figure.axes]
        assert titles[:1] + titles[-2:-1] == ["raw", "restored"]
        assert {axes.get_xlabel() for axes in figure.axes} >= {"nm"}
        figure.savefig(buffer := io.BytesIO(), format="svg")
        assert b"restored" in buffer.getvalue() or len(buffer.getvalue()) > 10_000


class TestNapari:
    def test_a_result_opens_as_layers_with_their_scale(self, image, tmp_path):
        micrograph = Micrograph(image, units="m", pixel_size=(1e-9, 2e-9), pixel_unit="m")
        path = archive.write(restore(micrograph, FLAT), tmp_path)
        layers = get_reader(str(path))(str(path))
        names = [about["name"].split()[-1] for _, about, _ in layers]
        assert names == ["raw", "background", "flat", "restored"]
        for data, about, kind in layers:
            assert (data.shape, about["scale"], kind) == ((24, 32), (1e-9, 2e-9), "image")
        np.testing.assert_array_equal(layers[0][0], image)

    def test_napari_itself_opens_it(self, image, tmp_path):
        napari = pytest.importorskip("napari.components", reason="needs the extra napari")
        npe2 = pytest.importorskip("npe2")
        plugins = npe2.PluginManager.instance()
        if "tvtasks" not in plugins:  # tvtasks is not installed here, but imported from its folder
            plugins.register(npe2.PluginManifest.from_file(Path(tvtasks.__file__).with_name("napari.yaml")))
        micrograph = Micrograph(image, units="m", pixel_size=(1e-9, 2e-9), pixel_unit="m")
        path = archive.write(restore(micrograph, FLAT), tmp_path)
        viewer = napari.ViewerModel()  # all of the viewer but its window, which needs OpenGL
        viewer.open(str(path), plugin="tvtasks")
        layers = {layer.name.split()[-1]: layer for layer in viewer.layers}
        assert list(layers) == ["raw", "background", "flat", "restored"]
        assert [name for name, layer in layers.items() if layer.visible] == ["raw", "restored"]
        assert tuple(layers["restored"].scale) == (1e-9, 2e-9)
        assert [str(unit) for unit in layers["restored"].units] == ["meter", "meter"]
        np.testing.assert_array_equal(layers["raw"].data, image)

    def test_other_files_are_left_to_other_readers(self, tmp_path):
        (tmp_path / "other.nxs").write_bytes(b"no result")
        assert get_reader(str(tmp_path / "other.nxs")) is None

    def test_the_manifest_is_found_and_valid(self):
        folder = Path(tvtasks.__file__).parent
        project = tomllib.loads((folder.parent / "pyproject.toml").read_text("utf-8"))["project"]
        assert project["entry-points"]["napari.manifest"] == {"tvtasks": "tvtasks:napari.yaml"}
        npe2 = pytest.importorskip("npe2")
        (reader,) = npe2.PluginManifest.from_file(folder / "napari.yaml").contributions.readers
        assert reader.filename_patterns == ["*.nxs"]
