import io

import numpy as np
import pytest
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from PIL import Image

from tvtasks import Micrograph, Recipe, restore
from tvtasks.figures import preview, preview_jpeg, write_preview
from tvtasks.recipe import HuberROFStep, Median

FLATTEN = Recipe(name="flatten", background=HuberROFStep(model="huber-rof", lam=0.5, direction="x"))
SMOOTH = Recipe(name="smooth", median=Median())


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def scale_bars(figure):
    return [artist for axes in figure.axes for artist in axes.artists if isinstance(artist, AnchoredSizeBar)]


class TestPanels:
    def test_raw_background_and_restored_stand_side_by_side(self):
        figure = preview(restore(noise(24, 32), FLATTEN))
        assert titles(figure) == ["raw", "background", "restored"]

    def test_without_a_background_there_are_two(self):
        assert titles(preview(restore(noise(24, 32), SMOOTH))) == ["raw", "restored"]

    def test_each_shows_its_array_the_top_row_at_the_top(self):
        result = restore(noise(24, 32), FLATTEN)
        shown = [axes.images[0] for axes in preview(result).axes]
        for image, array in zip(
            shown, (result.micrograph.data, result.background, result.restored), strict=True
        ):
            np.testing.assert_array_equal(image.get_array(), array)
            left, right, bottom, top = image.get_extent()
            assert (left, top) == (0, 0) and right > 0 and bottom > 0

    def test_the_background_has_the_grey_values_of_the_raw_image(self):
        raw, background, restored = (axes.images[0] for axes in preview(restore(noise(24, 32), FLATTEN)).axes)
        assert background.get_clim() == raw.get_clim() != restored.get_clim()

    def test_one_spike_does_not_turn_the_rest_black(self):
        image = noise(24, 32)
        image[3, 4] = 1e6
        raw, *_ = (axes.images[0] for axes in preview(restore(image, FLATTEN)).axes)
        assert raw.get_clim()[1] < 10

    def test_the_caption_names_the_image_its_channel_the_recipe_and_the_gap(self):
        result = restore(Micrograph(noise(24, 32), channel="Z forward"), FLATTEN)
        caption = preview(result).get_suptitle()
        assert caption == f"image  ·  Z forward  ·  flatten  ·  gap {result.gap:.1e}"


class TestScaleBar:
    @pytest.mark.parametrize(
        ("pixel", "unit", "label"),
        [
            (1e-12, "m", "10 pm"),
            (2e-11, "m", "200 pm"),
            (1e-10, "m", "1 nm"),
            (5e-10, "m", "5 nm"),
            (1.3e-8, "m", "100 nm"),
            (1e-7, "m", "1 µm"),
            (1e-4, "m", "1 mm"),
            (0.1, "m", "1 m"),
            (0.25, "1/nm", "2 1/nm"),
            (1.0, "", "10"),
        ],
    )
    def test_it_is_1_2_or_5_of_a_readable_unit_and_about_a_quarter_of_the_width(self, pixel, unit, label):
        image = Micrograph(noise(24, 48), pixel_size=(pixel, pixel), pixel_unit=unit)
        (bar,) = scale_bars(preview(restore(image, SMOOTH)))
        assert bar.txt_label.get_text() == label
        length = bar.size_bar.get_children()[0].get_width()
        assert 0.1 < length / (48 * pixel) <= 0.25

    def test_without_a_calibration_there_is_none(self):
        assert not scale_bars(preview(restore(noise(24, 48), SMOOTH)))

    def test_pixels_that_are_no_squares_are_drawn_to_scale(self):
        image = Micrograph(noise(24, 48), pixel_size=(4e-9, 1e-9))
        assert preview(restore(image, SMOOTH)).axes[0].get_box_aspect() == pytest.approx(2)


class TestFiles:
    def test_the_png_is_as_wide_as_its_panels(self, tmp_path):
        three = Image.open(write_preview(restore(noise(24, 32), FLATTEN), tmp_path / "three.png"))
        two = Image.open(write_preview(restore(noise(24, 32), SMOOTH), tmp_path / "two.png"))
        assert three.format == two.format == "PNG"
        assert three.width / two.width == pytest.approx(3 / 2)

    @pytest.mark.parametrize("shape", [(64, 64), (512, 512), (1024, 1024), (1024, 64), (64, 1024)], ids=str)
    def test_the_jpeg_of_the_worst_image_keeps_to_its_limit(self, shape):
        content = preview_jpeg(restore(noise(*shape), FLATTEN), max_bytes=45_000)
        assert len(content) <= 45_000
        assert Image.open(io.BytesIO(content)).width >= 200

    def test_the_jpeg_is_as_large_as_the_limit_allows(self):
        result = restore(noise(64, 64), FLATTEN)
        small, large = (
            Image.open(io.BytesIO(preview_jpeg(result, max_bytes=limit))) for limit in (12_000, 10**6)
        )
        assert small.width < large.width


class TestOddImages:
    @pytest.mark.parametrize(
        "image",
        [
            pytest.param(noise(1, 50), id="one row"),
            pytest.param(noise(50, 1), id="one column"),
            pytest.param(np.array([[0, 1]], np.uint8), id="two pixels"),
            pytest.param(noise(5, 3000), id="a strip"),
            pytest.param(np.eye(24, dtype=bool), id="truth values"),
            pytest.param(np.pad(np.ones((1, 1)), 12), id="constant once restored"),
            pytest.param(1e-300 * noise(24, 32).astype(np.float64), id="tiny values"),
            pytest.param(1e300 * noise(24, 32).astype(np.float64), id="huge values"),
        ],
    )
    def test_it_is_drawn_without_a_warning(self, image, recwarn):
        content = preview_jpeg(restore(Micrograph(image, pixel_size=(1e-9, 1e-9)), SMOOTH))
        assert Image.open(io.BytesIO(content)).format == "JPEG"
        assert not recwarn.list

    def test_of_an_unfinished_scan_the_rows_that_were_restored_are_shown(self):
        image = noise(24, 32)
        image[15:] = np.nan
        figure = preview(restore(image, FLATTEN))
        assert {axes.images[0].get_array().shape for axes in figure.axes} == {(15, 32)}
        assert all(np.isfinite(axes.images[0].get_clim()).all() for axes in figure.axes)
