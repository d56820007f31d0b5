import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tvtasks import Micrograph, Recipe, restore
from tvtasks.figures import PANEL_WIDTH, Panel, caption, jpeg, panels, png, preview, scale_bar, with_prefix
from tvtasks.figures.panels import grey_range
from tvtasks.micrograph import Region
from tvtasks.recipe import HuberROFStep, Median

LAM = "background λ 0.5"
FLATTEN = Recipe(name="flatten", background=HuberROFStep(model="huber-rof", lam=0.5, direction="x"))
SMOOTH = Recipe(name="smooth", median=Median())


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def unrestored(image, **known):
    """A restoration whose result is the image itself, of any size at no cost."""
    result = restore(Micrograph(noise(4, 4), **known), SMOOTH)
    micrograph = replace(result.micrograph, data=image)
    whole = Region(0, image.shape[0], 0, image.shape[1])
    return replace(result, micrograph=micrograph, region=whole, arrays={"restored": image})


def grey(picture):
    return np.asarray(picture).astype(int)


def boxes(picture):
    """The grey values within each frame of a picture, from left to right."""
    values = grey(picture)
    bottom = np.flatnonzero((values != 255).any(axis=1))[-1]
    black = np.flatnonzero(values[bottom] == 0)
    found = []
    for frame in np.split(black, np.flatnonzero(np.diff(black) > 1) + 1):
        inside = values[:, frame[0] : frame[-1] + 1]
        top = np.flatnonzero((inside == 0).all(axis=1))[0]
        found.append(inside[top + 1 : bottom, 1:-1])
    return found


def header(picture):
    """The grey values above the frames."""
    return grey(picture)[: picture.height - boxes(picture)[0].shape[0] - 8]


class TestPanels:
    def test_raw_background_and_restored_stand_side_by_side(self):
        result = restore(noise(24, 32), FLATTEN)
        assert [panel.name for panel in panels(result)] == ["raw", "background", "restored"]
        assert len(boxes(preview(result))) == 3

    def test_without_a_background_there_are_two(self):
        result = restore(noise(24, 32), SMOOTH)
        assert [panel.name for panel in panels(result)] == ["raw", "restored"]
        assert len(boxes(preview(result))) == 2

    def test_each_shows_its_array_the_top_row_at_the_top(self):
        result = restore(noise(24, 32), FLATTEN)
        arrays = (result.micrograph.data, result.background, result.restored)
        for box, panel, array in zip(boxes(preview(result)), panels(result), arrays, strict=True):
            rows = ((np.arange(24) + 0.5) / 24 * box.shape[0]).astype(int)
            columns = ((np.arange(32) + 0.5) / 32 * box.shape[1]).astype(int)
            expected = np.clip((array - panel.low) / (panel.high - panel.low), 0, 1) * 255
            np.testing.assert_allclose(box[np.ix_(rows, columns)], expected, atol=2.01)

    def test_the_background_has_the_grey_values_of_the_raw_image(self):
        raw, background, restored = panels(restore(noise(24, 32), FLATTEN))
        assert (background.low, background.high) == (raw.low, raw.high) != (restored.low, restored.high)

    def test_one_spike_does_not_turn_the_rest_black(self):
        image = noise(24, 32)
        image[3, 4] = 1e6
        assert panels(restore(image, FLATTEN))[0].high < 10

    def test_grey_values_of_a_large_image_are_those_of_all_its_pixels(self):
        image = noise(1000, 1500) + np.arange(1000, dtype=np.float32)[:, None] % 2
        low, high = np.percentile(image, [0.5, 99.5])
        panel = panels(unrestored(image))[0]
        assert (panel.low, panel.high) == pytest.approx((low, high), abs=0.1)

    def test_a_lattice_finer_than_the_picture_is_grey_not_moire(self):
        lattice = np.add.outer(np.sin(2.2 * np.arange(2000)), np.sin(2.1 * np.arange(2100)))
        box = boxes(preview(unrestored(lattice.astype(np.float32))))[0]
        assert np.std(box) < 0.2 * 255 * np.std(lattice) / np.ptp(lattice)

    def test_a_few_large_pixels_are_squares(self):
        assert set(np.unique(boxes(preview(unrestored(np.eye(8))))[0])) == {0, 255}

    def test_pixels_that_are_no_squares_are_drawn_to_scale(self):
        box = boxes(preview(unrestored(noise(24, 48), pixel_size=(4e-9, 1e-9))))[0]
        assert box.shape[0] / box.shape[1] == pytest.approx(2, rel=0.01)


class TestCaption:
    def test_it_names_the_image_its_channel_the_recipe_and_the_gap(self):
        result = restore(Micrograph(noise(24, 32), channel="Z forward"), FLATTEN)
        assert caption(result) == f"image  ·  Z forward  ·  flatten  ·  {LAM}  ·  gap {result.gap:.1e}"

    def test_it_stands_above_the_frames(self):
        plain, named = preview(unrestored(noise(8, 8))), preview(unrestored(noise(8, 8), channel="Zµ"))
        assert plain.size == named.size
        assert (header(plain) != header(named)).any()
        np.testing.assert_array_equal(boxes(plain)[0], boxes(named)[0])

    @pytest.mark.parametrize("channel", ["long " * 100, "W" * 9], ids=["too long", "fits"])
    def test_it_keeps_a_white_margin(self, channel):
        above = header(preview(unrestored(noise(8, 8), channel=channel)))
        assert (above[:, [0, 1, -2, -1]] == 255).all()
        assert (above[:3] == 255).all()

    def test_what_cannot_be_written_is_left_white(self):
        odd, spaces = (unrestored(noise(8, 8), channel=text) for text in ("a\n\0\ud800b", "a   b"))
        np.testing.assert_array_equal(grey(preview(odd)), grey(preview(spaces)))


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
        bar = scale_bar(Micrograph(noise(24, 48), pixel_size=(pixel, pixel), pixel_unit=unit), 48)
        assert bar.label == label
        assert 0.1 < bar.part <= 0.25

    def test_it_is_drawn_to_scale_in_every_image(self):
        image = noise(48, 48)
        with_bar = boxes(preview(unrestored(image, pixel_size=(1e-9, 1e-9))))
        without = boxes(preview(unrestored(image)))
        for with_one, without_one in zip(with_bar, without, strict=True):
            assert (with_one != without_one)[-60:].any()
        changed = with_bar[0] != without[0]
        assert not changed[: -PANEL_WIDTH // 4].any()
        rows = with_bar[0][-60:, -PANEL_WIDTH // 2 :]
        black = ("".join("#" if value == 0 else " " for value in row).split() for row in rows)
        longest = max(len(run) for row in black for run in row)
        assert longest == pytest.approx(10 / 48 * PANEL_WIDTH, abs=2)

    def test_its_label_keeps_to_the_image_however_long_the_unit_is(self):
        picture = preview(unrestored(noise(48, 48), pixel_size=(1.0, 1.0), pixel_unit="parsec " * 30))
        plain = preview(unrestored(noise(48, 48)))
        np.testing.assert_array_equal(header(picture), header(plain))
        np.testing.assert_array_equal(boxes(picture)[1][:-60], boxes(plain)[1][:-60])

    def test_the_range_of_greys_is_over_each_image(self):
        image = np.array([[0.0, 2e-9], [1e-9, 2e-9]])
        panel = panels(unrestored(image))[0]
        assert grey_range(replace(panel, unit="m")).endswith("nm")
        assert grey_range(Panel("raw", image, -5.0, 240.0, "counts")) == "-5 to 240 counts"

    def test_without_a_calibration_there_is_none(self):
        assert scale_bar(Micrograph(noise(24, 48)), 48) is None


class TestPrefix:
    @pytest.mark.parametrize(
        ("value", "unit", "text"),
        [
            (-2.5e-10, "m", "-250 pm"),
            (3e-14, "A", "30 fA"),
            (0.0, "V", "0 V"),
            (12.3456, "V", "12.3 V"),
            (1e-18, "m", "1e-18 m"),
            (0.02, "counts", "0.02 counts"),
            (1e-9, "", "1e-09"),
        ],
    )
    def test_values_have_the_prefix_that_makes_them_short(self, value, unit, text):
        assert with_prefix(value, unit) == text


class TestFiles:
    def test_the_png_is_the_picture_pixel_by_pixel(self):
        picture = preview(restore(noise(24, 32), FLATTEN))
        read = Image.open(io.BytesIO(png(picture)))
        assert read.format == "PNG"
        np.testing.assert_array_equal(grey(read), grey(picture))

    def test_a_picture_is_as_wide_as_its_panels(self):
        three, two = (preview(restore(noise(24, 32), recipe)) for recipe in (FLATTEN, SMOOTH))
        assert three.width / two.width == pytest.approx(3 / 2, rel=0.01)

    @pytest.mark.parametrize("shape", [(64, 64), (512, 512), (1024, 1024), (1024, 64), (64, 1024)], ids=str)
    def test_the_jpeg_of_the_worst_image_keeps_to_its_limit(self, shape):
        content = jpeg(preview(unrestored(noise(*shape))), max_bytes=45_000)
        assert len(content) <= 45_000
        assert Image.open(io.BytesIO(content)).width >= 200

    def test_the_jpeg_is_as_large_as_the_limit_allows(self):
        picture = preview(restore(noise(64, 64), FLATTEN))
        small, large = (Image.open(io.BytesIO(jpeg(picture, max_bytes=limit))) for limit in (12_000, 10**6))
        assert small.width < large.width < picture.width

    def test_drawing_does_not_import_matplotlib(self):
        script = (
            "import sys, numpy as np, tvtasks\n"
            "from tvtasks.figures import preview\n"
            "preview(tvtasks.restore(np.eye(8), tvtasks.Recipe.model_validate({'median': {}})))\n"
            "assert 'matplotlib' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", script], check=True)


class TestOddImages:
    @pytest.mark.parametrize(
        "image",
        [
            pytest.param(noise(1, 50), id="one row"),
            pytest.param(noise(50, 1), id="one column"),
            pytest.param(np.array([[0, 1]], np.uint8), id="two pixels"),
            pytest.param(noise(5, 3000), id="a strip"),
            pytest.param(noise(3000, 5), id="an upright strip"),
            pytest.param(np.eye(24, dtype=bool), id="truth values"),
            pytest.param(np.eye(24, dtype=np.float16), id="half precision"),
            pytest.param(noise(24, 32).astype(">f4"), id="big-endian"),
            pytest.param(2**63 + np.arange(2000 * 2, dtype=np.uint64).reshape(2000, 2), id="large integers"),
            pytest.param(np.pad(np.ones((1, 1)), 12), id="constant once restored"),
            pytest.param(1e-300 * noise(24, 32).astype(np.float64), id="tiny values"),
            pytest.param(1e-40 * noise(24, 32), id="values below the normal ones of their type"),
            pytest.param(1e300 * noise(24, 32).astype(np.float64), id="huge values"),
            pytest.param(3e38 * np.sign(noise(2000, 4)), id="the largest values of their type"),
        ],
    )
    def test_it_is_drawn_without_a_warning(self, image, recwarn):
        picture = preview(restore(Micrograph(image, pixel_size=(1e-9, 1e-9)), SMOOTH))
        assert Image.open(io.BytesIO(jpeg(picture))).format == "JPEG"
        assert not recwarn.list

    def test_of_an_unfinished_scan_the_rows_that_were_restored_are_shown(self):
        image = noise(24, 32)
        image[15:] = np.nan
        shown = panels(restore(image, FLATTEN))
        assert {panel.image.shape for panel in shown} == {(15, 32)}
        assert all(np.isfinite((panel.low, panel.high)).all() for panel in shown)
