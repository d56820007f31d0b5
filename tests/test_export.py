import json
from pathlib import Path

import gsffile
import gwyfile
import numpy as np
import pytest
import tifffile
from PIL import Image

from tvtasks import Micrograph, Recipe, archive, readers, restore, synthetic
from tvtasks.archive.collect import collect
from tvtasks.errors import ConfigurationError
from tvtasks.export import export, export_figure, known_arrays, names
from tvtasks.figures import limits
from tvtasks.micrograph import Region

RECIPE = Recipe.model_validate({"name": "flatten", "background": {"model": "huber-rof", "lam": 0.5}})
SCAN = (1e-9 * np.random.default_rng(0).normal(size=(24, 36)).cumsum(axis=1)).astype(np.float32)
KNOWN = {"units": "m", "quantity": "height", "channel": "Z\nforward", "pixel_size": (2e-10, 1e-10)}


def archived(folder, data=SCAN, **known):
    path = archive.write(restore(Micrograph(data, **(KNOWN | known)), RECIPE), folder)
    return archive.load(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A calibrated height image, of which two rows are not valid."""
    return archived(tmp_path_factory.mktemp("archive"), valid=Region(2, 24, 0, 36))


class TestTiff:
    def test_tifffile_and_pillow_read_every_value_and_the_scale(self, run, tmp_path):
        (path,) = export(run, "tiff", tmp_path)
        assert path.name == f"{run.path.stem}__restored.tif"
        with tifffile.TiffFile(path) as file:
            np.testing.assert_array_equal(file.asarray(), run.restored)
            assert file.imagej_metadata["unit"] == "nm"
            assert json.loads(file.imagej_metadata["Info"])["run_id"] == run.record["run_id"]
            across, down = (file.pages[0].tags[name].value for name in ("XResolution", "YResolution"))
        assert (across[0] / across[1], down[0] / down[1]) == pytest.approx((10, 5))  # pixels in a nm
        np.testing.assert_array_equal(np.asarray(Image.open(path)), run.restored)

    @pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "i4", "u4", "f4", "f8", "?", ">u2", ">f8"])
    def test_the_raw_image_keeps_its_values_and_its_pixel_size(self, dtype, tmp_path):
        values = (np.arange(24 * 36).reshape(24, 36) % 97).astype(dtype)
        (path,) = export(archived(tmp_path, values), "tiff", tmp_path, arrays=["raw"])
        read = tifffile.imread(path)
        assert read.dtype == (np.uint8 if dtype == "?" else np.dtype(dtype).newbyteorder("="))
        np.testing.assert_array_equal(read, values)
        assert readers.read(path)[0].pixel_size == pytest.approx((2e-10, 1e-10))

    def test_imagej_opens_any_values_with_scale_and_contrast(self, tmp_path):
        run = archived(tmp_path, SCAN.astype("f8"))
        (path,) = export(run, "imagej", tmp_path, arrays=["raw"])
        with tifffile.TiffFile(path) as file:
            about = file.imagej_metadata
            np.testing.assert_array_equal(file.asarray(), SCAN)
        assert about["unit"] == "nm"
        assert (about["min"], about["max"]) == pytest.approx(limits(SCAN))

    @pytest.mark.parametrize("dtype", ["i8", "u8", "f2"])
    def test_what_neither_imagej_nor_ome_can_hold_is_a_plain_tiff(self, dtype, tmp_path):
        values = (np.arange(24 * 36).reshape(24, 36) % 97).astype(dtype)
        (path,) = export(archived(tmp_path, values), "tiff", tmp_path, arrays=["raw"])
        with tifffile.TiffFile(path) as file:
            np.testing.assert_array_equal(file.asarray(), values)
            page = file.pages[0]
            assert page.resolutionunit == tifffile.RESUNIT.CENTIMETER
            assert page.resolution == pytest.approx((1e8, 5e7))

    def test_an_ome_tiff_says_its_physical_size(self, tmp_path):
        (path,) = export(
            archived(tmp_path, SCAN.astype(np.float64), pixel_size=(3e-6, 2e-6)), "tiff", tmp_path
        )
        with tifffile.TiffFile(path) as file:
            pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeY"]) == pytest.approx((2, 3))
        assert (pixels["PhysicalSizeXUnit"], pixels["PhysicalSizeYUnit"]) == ("µm", "µm")

    def test_without_a_calibration_it_claims_none(self, tmp_path):
        (path,) = export(archived(tmp_path, pixel_size=None), "tiff", tmp_path)
        assert readers.read(path)[0].pixel_size is None


class TestGwyddion:
    def test_gwyfile_reads_all_channels_with_units(self, run, tmp_path):
        (path,) = export(run, "gwy", tmp_path, arrays=known_arrays())
        assert path.name == f"{run.path.stem}.gwy"
        fields = gwyfile.util.get_datafields(gwyfile.load(str(path)))
        assert list(fields) == [
            "Z forward",
            *(f"Z forward, {name}" for name in ("background", "flat", "restored")),
        ]
        for field, array in zip(
            fields.values(), (run.raw, run.background, run.flat, run.restored), strict=True
        ):
            np.testing.assert_array_equal(field.data, array)
            assert (field["si_unit_xy"]["unitstr"], field["si_unit_z"]["unitstr"]) == ("m", "m")
            assert (field.xreal, field.yreal) == pytest.approx((36e-10, array.shape[0] * 2e-10))
        assert [field.yoff for field in fields.values()] == pytest.approx([0, *[4e-10] * 3])

    def test_gsffile_reads_values_and_scale(self, run, tmp_path):
        (path,) = export(run, "gsf", tmp_path)
        values, header = gsffile.read_gsf(path)
        np.testing.assert_array_equal(values, run.restored)
        assert (header["XReal"], header["YReal"], header["YOffset"]) == pytest.approx((36e-10, 44e-10, 4e-10))
        assert (header["XYUnits"], header["ZUnits"], header["Title"]) == ("m", "m", "Z forward, restored")

    @pytest.mark.parametrize("length", range(4))
    def test_the_zeros_of_gsf_are_one_to_four_whatever_the_header(self, length, tmp_path):
        run = archived(tmp_path, channel="Z" * (1 + length))
        values, _ = gsffile.read_gsf(export(run, "gsf", tmp_path)[0])
        np.testing.assert_array_equal(values, run.restored)

    @pytest.mark.parametrize("form", ["gwy", "gsf"])
    def test_our_own_readers_get_the_image_back(self, form, run, tmp_path):
        (path,) = export(run, form, tmp_path, arrays=["flat"])
        (read,) = readers.read(path)
        np.testing.assert_array_equal(read.data, run.flat)
        assert (read.units, read.pixel_unit) == ("m", "m")
        assert read.pixel_size == pytest.approx((2e-10, 1e-10))


class TestPng:
    def test_8_bits_have_the_grey_values_of_the_preview(self, run, tmp_path):
        raw, background, restored = (
            export(run, "png", tmp_path, arrays=[name])[0] for name in ("raw", "background", "restored")
        )
        low, high = limits(run.restored)
        grey = np.asarray(Image.open(restored)).astype(int)
        np.testing.assert_allclose(
            grey, np.clip((run.restored - low) / (high - low) * 255, 0, 255), atol=1.01
        )
        assert Image.open(restored).text["black"] == repr(low)
        assert Image.open(raw).text["white"] == Image.open(background).text["white"]

    def test_16_bits_give_the_values_back(self, run, tmp_path):
        (path,) = export(run, "png", tmp_path, bits=16)
        picture = Image.open(path)
        low, high = float(picture.text["black"]), float(picture.text["white"])
        values = low + np.asarray(picture).astype(float) / 65535 * (high - low)
        np.testing.assert_allclose(values, run.restored, atol=0.51 * (high - low) / 65535)

    @pytest.mark.parametrize("bits", [8, 16])
    def test_an_unfinished_scan_is_drawn(self, bits, tmp_path):
        data = SCAN.copy()
        data[15:] = np.nan
        (path,) = export(archived(tmp_path, data), "png", tmp_path, arrays=["raw"], bits=bits)
        assert (np.asarray(Image.open(path))[15:] == 0).all()


class TestNpz:
    def test_numpy_reads_it_without_pickle(self, run, tmp_path):
        (path,) = export(run, "npz", tmp_path, arrays=known_arrays())
        with np.load(path, allow_pickle=False) as content:
            np.testing.assert_array_equal(content["raw"], run.raw)
            np.testing.assert_array_equal(content["restored"], run.restored)
            np.testing.assert_array_equal(content["pixel_size"], [2e-10, 1e-10])
            assert json.loads(str(content["record"])) == run.record


class TestFiles:
    def test_nothing_is_overwritten_and_nothing_half_done(self, run, tmp_path):
        taken = tmp_path / f"{run.path.stem}__restored.tif"
        taken.write_bytes(b"precious")
        with pytest.raises(ConfigurationError, match=r"exists already.*--overwrite"):
            export(run, "tiff", tmp_path, arrays=known_arrays())
        assert list(tmp_path.iterdir()) == [taken]
        assert taken.read_bytes() == b"precious"
        assert len(export(run, "tiff", tmp_path, arrays=known_arrays(), overwrite=True)) == 4
        assert tifffile.imread(taken).shape == run.restored.shape

    def test_a_run_of_a_collected_file_has_the_name_it_had(self, run, tmp_path):
        target = tmp_path / "all.nxs"
        (name,) = collect([run.path], target)
        (path,) = export(archive.load(target, run=name), "gsf", tmp_path)
        assert path.name == f"{run.path.stem}__restored.gsf"

    def test_an_image_that_the_recipe_did_not_make_is_named(self, run, tmp_path):
        with pytest.raises(
            ConfigurationError, match=r"no contrast\. It has: raw, background, flat, restored"
        ):
            export(run, "png", Path(tmp_path), arrays=["contrast"])

    def test_images_are_chosen_by_name(self):
        assert list(names("raw, restored")) == ["raw", "restored"]
        assert tuple(names("all")) == known_arrays()
        with pytest.raises(ConfigurationError, match="no array 'rwa'"):
            list(names("rwa"))


class TestFigure:
    def test_a_vector_figure_has_scale_bar_colours_and_values_and_is_the_same_each_time(self, run, tmp_path):
        path = export_figure(run, "svg", tmp_path, colour_map="afmhot")
        assert path.name == f"{run.path.stem}__restored.svg"
        text = path.read_text("utf-8")
        assert "<!-- height (nm) -->" in text
        assert "<!-- 500 pm -->" in text  # of 3.6 nm
        again = export_figure(run, "svg", tmp_path / "again", colour_map="afmhot")
        assert again.read_text("utf-8") == text

    def test_a_picture_is_in_the_colours_that_were_asked_for(self, run, tmp_path):
        path = export_figure(run, "png", tmp_path, arrays=["raw", "restored"], colour_map="viridis")
        assert path.name == f"{run.path.stem}__figure.png"
        with Image.open(path) as picture:
            assert picture.width > 1800
            red, green, blue = np.asarray(picture.convert("RGB"), int).reshape(-1, 3).T
        assert np.count_nonzero((green > red + 60) & (green > blue + 20)) > 10_000

    def test_errors_and_disagreement_are_drawn_with_what_they_count(self, tmp_path):
        rng = np.random.default_rng(0)
        lattice = synthetic.wave_lattice(
            (64, 64), period=8.0, corrugation=1e-10, angle=0.2, symmetry="square"
        )
        scans = [lattice + rng.normal(0, 2e-11, lattice.shape) for _ in range(2)]
        micrograph = Micrograph(scans[0], opposite_scan=scans[1], **(KNOWN | {"pixel_size": (1e-10, 1e-10)}))
        run = archive.load(archive.write(restore(micrograph), tmp_path))
        names = ["restored", "disagreement", "restored_errors"]
        text = export_figure(run, "svg", tmp_path, arrays=names).read_text("utf-8")
        for words in ("disagreement", "standard deviations", "restored_errors", "standard error (pm)"):
            assert f"<!-- {words} -->" in text

    def test_a_pdf_is_one(self, run, tmp_path):
        assert export_figure(run, "pdf", tmp_path).read_bytes().startswith(b"%PDF")

    def test_mistakes_are_sentences(self, run, tmp_path):
        with pytest.raises(ConfigurationError, match=r"no colour map 'virids'\. Did you mean viridis\?"):
            export_figure(run, "svg", tmp_path, colour_map="virids")
        with pytest.raises(ConfigurationError, match=r"has no disagreement\. It has: raw, background"):
            export_figure(run, "svg", tmp_path, arrays=["disagreement"])
        assert list(tmp_path.iterdir()) == []
