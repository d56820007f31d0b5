"""What came in practice, after public reports: each of a kind, with what is right.

Real files have their own licences and lie outside the repository; the others are made here.
"""

import shutil
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile

from tests.readers.test_gwyddion import gwy
from tests.readers.test_nanonis import sxm
from tvtasks import readers
from tvtasks.channels import choose
from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Micrograph, Region
from tvtasks.recipe import Recipe

SHARED = Path(__file__).parents[3] / "shared"
RNG = np.random.default_rng(0)


def scene(rows: int = 48, columns: int = 64) -> np.ndarray:
    """Return a surface that no mirror leaves as it is."""
    y, x = np.mgrid[:rows, :columns]
    surface = 0.1 + 0.001 * x
    surface[(x - 15) ** 2 + (y - 12) ** 2 < 50] = 1
    surface[30:40, 38:58] = 0.6
    return surface


def real(name: str, extra: str = "") -> Path:
    """Return a real file, or skip the test where it, or the package that reads it, is missing."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip("the folder of sample files is not on this machine")
    if extra:
        pytest.importorskip(extra, reason=f"{extra} is not installed")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UnreadableFileError) as caught:
        readers.read(path)
    return str(caught.value)


def only(path: Path) -> Micrograph:
    (micrograph,) = readers.read(path)
    return micrograph


class TestNoImages:
    def test_a_spectrum_image_of_digital_micrograph(self) -> None:
        sentence = refusal(real("cases/files/EELS_SI.dm4", "rsciio"))
        assert "contains a spectrum image (its axis Energy loss in eV)" in sentence

    def test_a_spectrum_image_that_digital_micrograph_saved_as_tiff(self, tmp_path: Path) -> None:
        tags: list[Any] = [
            (code, "s", 3, unit, False) for code, unit in ((65003, "nm"), (65004, "nm"), (65005, "eV"))
        ]
        tags += [(code, "d", 1, scale, False) for code, scale in ((65009, 2.0), (65010, 2.0), (65011, 0.5))]
        tifffile.imwrite(tmp_path / "si.tif", RNG.poisson(50, (64, 28, 30)).astype("f4"), extratags=tags)
        assert "spectrum image" in refusal(tmp_path / "si.tif")

    @pytest.mark.parametrize("kind", ["units", "interpretation"])
    def test_a_spectrum_image_in_nexus(self, tmp_path: Path, kind: str) -> None:
        path = nexus(tmp_path / "si.nxs", RNG.poisson(5, (20, 24, 100)).astype("f4"), ["y", "x", "energy"])
        with h5py.File(path, "a") as file:
            if kind == "units":
                file["entry/data/energy"].attrs["units"] = "eV"
            else:
                file["entry/data"].attrs["axes"] = [".", ".", "."]
                file["entry/data/data"].attrs["interpretation"] = "spectrum"
        assert "spectrum image" in refusal(path)

    def test_patterns_of_a_4d_scan(self, tmp_path: Path) -> None:
        assert "4 dimensions" in refusal(nexus(tmp_path / "a.nxs", np.ones((6, 6, 16, 16), "f4"), []))

    def test_force_curves_of_igor(self) -> None:
        assert "curves (Raw, Defl, ZSnsr)" in refusal(
            real("cases/files/fmt-igor-fd_SiN_FD_plot.ibw", "igor2")
        )

    def test_spectra_beside_the_images_of_velox_are_named(self) -> None:
        image = only(real("cases/files/EMDReader_SpectrumImage_Si.emd", "sparse"))
        assert (image.channel, image.data.shape) == ("HAADF", (16, 16))
        assert "Left out: a spectrum image and a spectrum stream" in image.notes[0]

    def test_complex_data_beside_an_image_are_named(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["amplitude"] = scene()
            file["wave"] = scene() * 1j
        image = only(tmp_path / "a.h5")
        assert image.channel == "amplitude"
        assert "/wave was left out: it holds complex numbers" in image.notes[-1]


class TestColour:
    def test_of_an_hdf5_file_becomes_one_grey_image(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "photo.h5", "w") as file:
            file["photo"] = np.dstack([(scene() * 255).astype("u1")] * 3)
        np.testing.assert_array_equal(only(tmp_path / "photo.h5").data, (scene() * 255).astype("u1"))

    def test_a_page_to_look_at_is_left_out_beside_the_data(self, tmp_path: Path) -> None:
        grey = (20000 * scene()).astype("u2")
        with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
            tiff.write(np.dstack([(grey / 256).astype("u1")] * 3), photometric="rgb")
            tiff.write(grey, photometric="minisblack")
        image = only(tmp_path / "a.tif")
        np.testing.assert_array_equal(image.data, grey)
        assert "colour page" in image.notes[0]

    def test_the_survey_of_delmic_and_not_its_preview(self) -> None:
        image = only(real("cases/files/sparc-intensity.h5"))
        assert (image.channel, image.data.shape) == ("Secondary electrons survey", (256, 256))
        assert image.pixel_size == pytest.approx((1.7578125e-9,) * 2)
        assert image.technique == "SEM"
        assert "/Preview/Image" in image.notes[-1]


class TestScale:
    @pytest.mark.parametrize(
        ("name", "metres"), [("TVIPS_bin4.tif", 1.4208e-9), ("olympus_SIS.tif", 2.39e-11)]
    )
    def test_of_cameras(self, name: str, metres: float) -> None:
        assert only(real(f"cases/files/{name}")).pixel_size == pytest.approx((metres, metres), rel=2e-3)

    def test_imagej_in_centimetres(self, tmp_path: Path) -> None:
        about = "ImageJ=1.53t\nunit=cm\n"
        tifffile.imwrite(
            tmp_path / "a.tif",
            scene(),
            description=about,
            resolution=(10, 5),
            resolutionunit=1,
            metadata=None,
        )
        assert only(tmp_path / "a.tif").pixel_size == pytest.approx((2e-3, 1e-3))

    def test_gwyddion_with_a_micro_sign_of_windows(self, tmp_path: Path) -> None:
        path = gwy(tmp_path / "a.gwy", "Z", xreal=4.0, yreal=6.0, si_unit_xy="um")
        utf8 = path.read_bytes()
        latin = utf8.replace(b"um\0", b"\xb5m\0")
        assert latin != utf8
        path.write_bytes(latin)
        assert only(path).pixel_size == pytest.approx((2e-6, 1e-6))

    def test_a_page_of_another_size_has_no_scale_and_says_so(self, tmp_path: Path) -> None:
        ini = "[Scan]\r\nPixelWidth=1e-008\r\nPixelHeight=1e-008\r\n"
        image = (scene() * 200).astype("u1")
        with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
            tiff.write(image, extratags=[(34682, "s", 0, ini, True)], metadata=None)
            tiff.write(image[::2, ::2], metadata=None)
        first, second = readers.read(tmp_path / "a.tif")
        assert first.pixel_size == pytest.approx((1e-8, 1e-8))
        assert second.pixel_size is None
        assert "pixel size is unknown" in second.notes[0]

    def test_a_photograph_of_the_stage_is_no_image_of_electrons(self, tmp_path: Path) -> None:
        ini = "[Detectors]\r\nNumber=1\r\nName=Nav-Cam\r\n[Scan]\r\nPixelWidth=1e-5\r\nPixelHeight=1e-5\r\n"
        tifffile.imwrite(
            tmp_path / "a.tif", (scene() * 200).astype("u1"), extratags=[(34682, "s", 0, ini, True)]
        )
        assert only(tmp_path / "a.tif").technique is None

    def test_an_instrument_that_gives_none_leaves_a_note(self, tmp_path: Path) -> None:
        ini = "[Beam]\r\nHV=5000\r\n"
        tifffile.imwrite(
            tmp_path / "a.tif", (scene() * 200).astype("u1"), extratags=[(34682, "s", 0, ini, True)]
        )
        assert "no pixel size" in only(tmp_path / "a.tif").notes[-1]


class TestTechnique:
    def test_nanosurf_is_afm_so_auto_works(self) -> None:
        images = readers.read(real("cases/files/circles.nid", "gwyddionpy"))
        assert {image.technique for image in images} == {"AFM"}
        (chosen,), _ = choose(images, Recipe.load("auto"))
        assert (chosen.channel, chosen.quantity) == ("Topography forward", "height")
        assert np.ptp(chosen.data) > 495e-9

    def test_the_settings_of_a_gwyddion_file(self, tmp_path: Path) -> None:
        assert only(gwy(tmp_path / "a.gwy", "Z", meta={"Head type": "AFM"})).technique == "AFM"
        assert only(gwy(tmp_path / "b.gwy", "Z", meta={"Experiment": "STM, 4 K"})).technique == "STM"
        assert only(gwy(tmp_path / "c.gwy", "Z")).technique is None


class TestChannels:
    def test_of_pynxtools_are_those_of_the_microscope(self) -> None:
        images = readers.read(real("cases/files/stm_5_with_default_config.nxs"))
        assert [(image.channel, image.direction, image.quantity, image.units) for image in images] == [
            ("current_backward", "backward", "current", "A"),
            ("current_forward", "forward", "current", "A"),
            ("z_backward", "backward", "height", "m"),
            ("z_forward", "forward", "height", "m"),
        ]
        assert {image.technique for image in images} == {"STM"}
        with h5py.File(real("cases/files/stm_5_with_default_config.nxs")) as file:
            np.testing.assert_array_equal(images[3].data, file["entry/z_forward/z"])
            y = file["entry/z_forward/y"][()]
        np.testing.assert_allclose(images[3].coordinates(0, np.arange(256)), y)

    def test_of_jpk_under_their_own_ending(self) -> None:
        images = readers.read(real("cases/files/sample_0.jpk-qi-image", "gwyddionpy"))
        assert readers.is_candidate(Path("scan.jpk-qi-image"))
        assert len(images) == 6
        for image in images:
            assert image.pixel_size == pytest.approx((5e-9, 5e-9))
            assert (image.technique, image.data.shape) == ("AFM", (100, 100))
        assert images[0].quantity == "height"

    def test_a_comment_may_contain_anything(self, tmp_path: Path) -> None:
        comment = ":COMMENT:\nday 2\n::\n:DATA_INFO:\n:SCAN_PIXELS:\nchanged tip\n:Bias>Bias (V):\n1"
        plain = only(sxm(tmp_path / "plain.sxm", channels=(("Z", "m", "forward"),)))
        path = sxm(tmp_path / "a.sxm", channels=(("Z", "m", "forward"),), extra=comment)
        assert readers.unfinished(path) is None
        np.testing.assert_array_equal(only(path).data, plain.data)


class TestStopped:
    @pytest.mark.parametrize(("name", "rows"), [("A250407.141806.dat", 9), ("A250320.191933.dat", 60)])
    def test_rows_of_createc_that_were_not_scanned_are_no_data(self, name: str, rows: int) -> None:
        images = readers.read(real(f"cases/files/{name}", "gwyddionpy"))
        for image in images:
            assert image.valid == Region(0, rows, 0, image.data.shape[1])
            assert "not scanned" in image.notes[-1]

    @pytest.mark.parametrize("scan", ["up", "down"])
    def test_nor_are_those_of_nanonis(self, tmp_path: Path, scan: str) -> None:
        surface = scene().astype(np.float32) * 1e-9
        surface[slice(0, 18) if scan == "up" else slice(30, 48)] = 0
        image = readers.read(sxm(tmp_path / "a.sxm", surface, scan=scan))[0]
        assert image.valid == (Region(18, 48, 0, 64) if scan == "up" else Region(0, 30, 0, 64))
        assert "18 of 48 rows" in image.notes[-1]

    def test_black_rows_of_an_electron_microscope_are_noted_and_kept(self, tmp_path: Path) -> None:
        image = (scene() * 200).astype("u1")
        image[40:] = 0
        tifffile.imwrite(tmp_path / "a.tif", image)
        micrograph = only(tmp_path / "a.tif")
        assert micrograph.valid is None
        assert "8 of 48 rows" in micrograph.notes[-1]

    def test_a_series_gives_the_images_that_there_are(self, tmp_path: Path) -> None:
        pytest.importorskip("rsciio", reason="the extra [em] is not installed")
        path = tmp_path / "a_1.ser"
        path.write_bytes(series(5, recorded=3))
        images = readers.read(path)
        assert [image.data[0, 0] for image in images] == [0, 1, 2]
        assert "3 of the 5 images" in images[0].notes[-1]
        assert "3 of the 5 images" in str(readers.doubtful(path))

    def test_a_sibling_that_is_being_written_does_not_matter(self, tmp_path: Path) -> None:
        for name in ("acquire.emi", "acquire_1.ser", "acquire_2.ser"):
            shutil.copy(real(f"cases/files/16x16_STEM_BF_DF_{name}", "rsciio"), tmp_path)
        sibling = tmp_path / "16x16_STEM_BF_DF_acquire_2.ser"
        sibling.write_bytes(sibling.read_bytes()[:300])
        path = tmp_path / "16x16_STEM_BF_DF_acquire_1.ser"
        assert readers.incomplete(path) is None
        image = only(path)
        assert (image.data.shape, image.technique) == ((16, 16), "STEM")
        assert image.pixel_size is not None


class TestWhole:
    @pytest.mark.parametrize(
        "name",
        [
            "samples/wsxm_stp/sample_1_um_scale.stp",
            "samples/wsxm_stp/sample_0.top",
            "samples/digitalsurf/test_surface.sur",
            "samples/jpk/sample_0.jpk",
            "samples/createc_dat/createc_terrace.dat",
            "cases/files/circles.nid",
            "cases/files/sample_0.jpk-qi-image",
            "cases/files/A250407.141806.dat",
        ],
    )
    @pytest.mark.parametrize("part", [0.5, 0.9, 0.99])
    def test_what_is_cut_is_incomplete(self, tmp_path: Path, name: str, part: float) -> None:
        source = real(name)
        assert readers.unfinished(source) is None
        assert readers.doubtful(source) is None
        content = source.read_bytes()
        path = tmp_path / source.name
        path.write_bytes(content[: int(part * len(content))])
        assert readers.unfinished(path)
        assert "is incomplete" in refusal(path)

    def test_the_header_of_createc_may_be_short(self, tmp_path: Path) -> None:
        source = real("samples/createc_dat/createc_terrace.dat", "gwyddionpy")
        content = source.read_bytes()
        data = content.index(b"DATA")
        path = tmp_path / "short.dat"
        path.write_bytes(content[:data].rstrip(b"\0 \r\n") + b"\r\n" + content[data:])
        assert len(path.read_bytes()) < len(content)
        for one, other in zip(readers.read(path), readers.read(source), strict=True):
            np.testing.assert_array_equal(one.data, other.data)
            assert (one.channel, one.pixel_size) == (other.channel, other.pixel_size)

    def test_values_beyond_reason_are_damage(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", np.where(scene() > 0.5, 10.0 ** RNG.uniform(200, 299, (48, 64)), 0.0))
        assert "which no instrument measures" in refusal(tmp_path / "a.npy")

    def test_one_such_value_stands_for_no_data(self, tmp_path: Path) -> None:
        surface = np.where(scene() > 0.9, np.finfo(np.float32).max, scene()).astype(np.float32)
        np.save(tmp_path / "a.npy", surface)
        image = only(tmp_path / "a.npy")
        np.testing.assert_array_equal(np.isnan(image.data), scene() > 0.9)
        assert "stands for no data" in image.notes[0]

    def test_heights_beyond_reason_leave_a_note(self, tmp_path: Path) -> None:
        image = readers.read(sxm(tmp_path / "a.sxm", scene().astype(np.float32) * 5))[0]
        assert "which no scanner does" in image.notes[-1]


class TestParts:
    """Virtual datasets, links and raw files: pixels in other files."""

    def virtual(self, folder: Path, *, absolute: bool = False) -> Path:
        folder.mkdir(exist_ok=True)
        layout = h5py.VirtualLayout((48, 64), "f4")
        for number in (0, 1):
            name = f"part_{number}.h5"
            source = h5py.VirtualSource(str(folder / name) if absolute else name, "data", (24, 64))
            layout[24 * number : 24 * number + 24] = source
        with h5py.File(folder / "master.h5", "w") as file:
            file.create_virtual_dataset("data", layout, fillvalue=0)
        return folder / "master.h5"

    def part(self, folder: Path, number: int, factor: float = 1.0) -> None:
        with h5py.File(folder / f"part_{number}.h5", "w") as file:
            file["data"] = (factor * scene()[24 * number : 24 * number + 24]).astype("f4")

    @pytest.mark.parametrize("absolute", [False, True])
    def test_a_master_waits_for_its_parts(self, tmp_path: Path, absolute: bool) -> None:
        path = self.virtual(tmp_path, absolute=absolute)
        self.part(tmp_path, 0)
        assert readers.companions(path) == (tmp_path / "part_0.h5", tmp_path / "part_1.h5")
        assert "part_1.h5, which belongs to it, does not exist yet" in str(readers.incomplete(path))
        assert "part_1.h5, which does not exist" in refusal(path)
        self.part(tmp_path, 1)
        assert readers.incomplete(path) is None
        np.testing.assert_array_equal(only(path).data, scene().astype("f4"))

    def test_parts_count_as_content(self, tmp_path: Path) -> None:
        masters = [self.virtual(tmp_path / name) for name in ("one", "two")]
        for path, factor in zip(masters, (1, 2), strict=True):
            self.part(path.parent, 0, factor)
            self.part(path.parent, 1, factor)
        assert masters[0].read_bytes() == masters[1].read_bytes()
        first, second = (only(path) for path in masters)
        assert first.source is not None
        assert second.source is not None
        assert first.source.sha256 != second.source.sha256
        assert first.source.sha256 == readers.content_sha256(masters[0])

    def test_a_part_elsewhere_is_refused(self, tmp_path: Path) -> None:
        inside = tmp_path / "watched"
        inside.mkdir()
        self.part(tmp_path, 0)
        layout = h5py.VirtualLayout((24, 64), "f4")
        layout[:] = h5py.VirtualSource("../part_0.h5", "data", (24, 64))
        with h5py.File(inside / "master.h5", "w") as file:
            file.create_virtual_dataset("data", layout)
        assert readers.companions(inside / "master.h5") == ()
        assert "outside its own folder" in refusal(inside / "master.h5")

    def test_raw_files_and_links_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "secret.bin").write_bytes(bytes(range(256)) * 12)
        with h5py.File(tmp_path / "raw.h5", "w") as file:
            file.create_dataset("data", (48, 64), "u1", external=[(str(tmp_path / "secret.bin"), 0, 48 * 64)])
        assert "secret.bin" in refusal(tmp_path / "raw.h5")
        self.part(tmp_path, 0)
        with h5py.File(tmp_path / "link.h5", "w") as file:
            file["data"] = h5py.ExternalLink("part_0.h5", "data")
            file.attrs.update(signal="data", axes=["y", "x"])
        assert "link to another file, part_0.h5" in refusal(tmp_path / "link.h5")


def nexus(path: Path, data: np.ndarray, axes: list[str]) -> Path:
    with h5py.File(path, "w") as file:
        group = file.create_group("entry/data")
        group.attrs.update(NX_class="NXdata", signal="data")
        group["data"] = data
        if axes:
            group.attrs["axes"] = axes
        for name, size in zip(axes, data.shape, strict=False):
            group[name] = np.arange(float(size))
            group[name].attrs["units"] = "nm" if name in "xy" else ""
        file.attrs["default"] = "entry"
        file["entry"].attrs["default"] = "data"
    return path


def series(images: int, *, recorded: int, side: int = 16) -> bytes:
    """Return a TIA series of `images` images, of which some are recorded; each holds its number."""
    header = struct.pack("<HHHIIIII", 0x4949, 0x0197, 0x0210, 0x4122, 0x4152, images, recorded, 0)
    table = len(header) + 4
    header = struct.pack("<HHHIIIIII", 0x4949, 0x0197, 0x0210, 0x4122, 0x4152, images, recorded, 0, 1)
    dimension = struct.pack("<Iddi", images, 0.0, 1.0, 0) + struct.pack("<I", 6) + b"Number"
    dimension += struct.pack("<I", 6) + b"meters"
    table = len(header) + len(dimension)
    header = struct.pack("<HHHIIIIII", 0x4949, 0x0197, 0x0210, 0x4122, 0x4152, images, recorded, table, 1)
    size = 50 + 2 * side * side
    start = table + 8 * images
    offsets = [start + number * size for number in range(images)]
    tags = [start + recorded * size + number * 8 for number in range(images)]
    content = header + dimension + struct.pack(f"<{2 * images}I", *offsets, *tags)
    for number in range(recorded):
        content += struct.pack("<ddiddiHII", 0.0, 1e-9, 0, 0.0, 1e-9, 0, 2, side, side)
        content += np.full((side, side), number, "<u2").tobytes()
    return content + b"".join(struct.pack("<HHI", 0x4152, 0, number) for number in range(recorded))
