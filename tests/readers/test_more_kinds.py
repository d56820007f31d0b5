"""What else real files held: of each kind, one made here after it."""

import doctest
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile

from tvtasks import readers
from tvtasks.channels import choose, other_direction
from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Micrograph
from tvtasks.readers import converter_channels, hdf5
from tvtasks.readers.converter_channels import curves, places, surf_kind
from tvtasks.recipe import Recipe

SURFACE = np.random.default_rng(0).normal(size=(12, 16)) * 1e-9


def only(path: Path) -> Micrograph:
    (image,) = readers.read(path)
    return image


def surf(path: Path, kind: int, *, rows: int = 4, columns: int = 4) -> Path:
    """Write the header of a Digital Surf file with one object, and values of a byte each."""
    header = bytearray(512)
    header[:12] = b"DIGITAL SURF"
    struct.pack_into("<3h", header, 14, 1, 1, kind)
    struct.pack_into("<h", header, 98, 8)
    struct.pack_into("<2i", header, 108, columns, rows)
    path.write_bytes(bytes(header) + bytes(rows * columns))
    return path


class Converted:
    """Hand over what the converter was seen to return for a file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gwyddionpy = pytest.importorskip("gwyddionpy", reason="the extra [gwyddion] is not installed")
        self.monkeypatch = monkeypatch

    def __call__(self, path: Path, module: str, **channels: dict[str, Any]) -> list[Micrograph]:
        plain = {"xreal": 16e-9, "yreal": 12e-9, "si_unit_xy": "m", "si_unit_z": "m", "meta": {}}
        found = {name: SimpleNamespace(**(plain | channel)) for name, channel in channels.items()}
        data = SimpleNamespace(channels=found, source_format=module, metadata={})
        self.monkeypatch.setattr(self.gwyddionpy, "load", lambda path, timeout: data)
        return readers.read(path)


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> Converted:
    return Converted(monkeypatch)


class TestConverter:
    def test_a_film_of_createc_has_frames_in_both_directions(
        self, tmp_path: Path, converted: Converted
    ) -> None:
        (tmp_path / "a.dat").write_bytes(b"[Paramco32]\r\nDAC-Type=20bit\r\n" + b"\0" * 50)
        names = ["Topography", *(f"Topography ({number})" for number in range(2, 7))]
        channels = {name: {"data": SURFACE + number * 1e-12} for number, name in enumerate(names)}
        images = converted(tmp_path / "a.dat", "createc", **channels)
        assert [(image.direction, image.frame) for image in images] == [
            (direction, frame) for frame in range(3) for direction in ("forward", "backward")
        ]
        assert other_direction(images[2], images) is images[3]
        chosen, _ = choose(images, Recipe.of("auto"))
        assert [image.frame for image in chosen] == [0, 1, 2]

    def test_a_lone_channel_of_createc_has_no_direction(self) -> None:
        assert [
            place.direction for place in places({"Topography": {}, "Current": {}}, "createc").values()
        ] == [
            None,
            None,
        ]

    def test_directions_and_technique_of_nt_mdt(self, tmp_path: Path, converted: Converted) -> None:
        (tmp_path / "a.mdt").write_bytes(b"\x01\xb0\x93\xff" + struct.pack("<I", 0) + bytes(25))
        channels = {"1F:Iprobe (2)": {"data": SURFACE}, "1B:Iprobe (3)": {"data": SURFACE + 1e-12}}
        images = converted(tmp_path / "a.mdt", "nt-mdt", **channels)
        assert [(image.channel, image.direction) for image in images] == [
            ("1F:Iprobe", "forward"),
            ("1B:Iprobe", "backward"),
        ]
        assert other_direction(images[0], images) is images[1]
        assert images[0].technique == "AFM"

    def test_curves_of_nanosurf_are_known_by_their_axes(self, tmp_path: Path) -> None:
        units = {"Spec": ("m", None), "Slope": ("Unit4", None), "Scan": ("m", "m")}
        lines = ["[DataSet]", *(f"Gr{number}-Ch0={name}" for number, name in enumerate(units))]
        for name, (x, y) in units.items():
            lines += [f"[{name}]", f"Dim0Unit={x}", *([f"Dim1Unit={y}"] if y else [])]
        (tmp_path / "a.nid").write_bytes("\r\n".join([*lines, "#!"]).encode("latin-1"))
        names = ["Deflection", "NameZ4", "Z-Axis forward"]
        assert curves(tmp_path / "a.nid", names, "ezdfile") == {"Deflection", "NameZ4"}
        assert curves(tmp_path / "a.nid", names, "createc") == set()
        assert curves(tmp_path / "a.nid", [*names, "Z spectroscopy"], "nid") == {"Z spectroscopy"}

    def test_curves_beside_a_scan_are_left_out_with_a_note(
        self, tmp_path: Path, converted: Converted
    ) -> None:
        (tmp_path / "a.nid").write_bytes(b"[DataSet]\r\n#!")
        channels = {"Spec forward": {"data": np.ones((4, 90))}, "Z forward": {"data": SURFACE}}
        (image,) = converted(tmp_path / "a.nid", "ezdfile", **channels)
        assert image.channel == "Z forward"
        assert image.notes == ("Left out, because they are curves: Spec forward.",)
        with pytest.raises(UnreadableFileError, match="may contain curves"):
            converted(tmp_path / "a.nid", "ezdfile", **{"Spec forward": {"data": np.ones((4, 90))}})

    @pytest.mark.parametrize(
        ("kind", "what"), [(1, "a profile"), (14, "a force curve"), (21, "a spectrum image")]
    )
    def test_spectra_and_curves_of_digital_surf_are_refused(
        self, tmp_path: Path, kind: int, what: str
    ) -> None:
        with pytest.raises(UnreadableFileError, match=rf"a\.sur contains {what}, which cannot be restored"):
            surf_kind(surf(tmp_path / "a.sur", kind))

    def test_a_picture_of_digital_surf_is_grey_and_the_dots_of_its_print_no_scale(
        self, tmp_path: Path, converted: Converted
    ) -> None:
        red = np.full((4, 4), 100.0)
        side = {"xreal": 4 * 0.0254 / 72, "yreal": 4 * 0.0254 / 72}
        channels = {
            name: {"data": red * weight} | side for name, weight in (("Z", 1), ("Z (2)", 0), ("Z (3)", 0))
        }
        (image,) = converted(surf(tmp_path / "a.sur", 12), "surffile", **channels)
        np.testing.assert_allclose(image.data, 29.9, rtol=1e-3)
        assert (image.quantity, image.units, image.pixel_size) == ("intensity", "", None)
        assert any("one for prints" in note for note in image.notes)

    def test_of_a_painted_surface_the_surface(self, tmp_path: Path, converted: Converted) -> None:
        channels = {name: {"data": SURFACE} for name in ("Z", "Z (2)", "Z (3)", "Z (4)")}
        (image,) = converted(surf(tmp_path / "a.sur", 13), "surffile", **channels)
        assert (image.channel, image.quantity) == ("Z", "height")
        assert "Left out: the colours with which the surface was painted." in image.notes


JEOL = """<?xml version="1.0"?><TemReporter><DateTime>2019-11-27T16:11:26.6205405+09:00</DateTime>
<Eos><EosMode>{mode}</EosMode></Eos><ImageFormingSystem><ModeString>MAG</ModeString>
<SelectorValue>{magnification}</SelectorValue></ImageFormingSystem></TemReporter>"""


class TestTiff:
    def write(self, path: Path, description: str) -> Path:
        image = np.arange(192, dtype=np.uint16).reshape(12, 16)
        tifffile.imwrite(
            path, image, description=description, resolution=(93, 93), resolutionunit="INCH", metadata=None
        )
        return path

    def test_a_tem_of_jeol_has_the_pixel_of_the_camera_over_the_magnification(self, tmp_path: Path) -> None:
        image = only(self.write(tmp_path / "a.tif", JEOL.format(mode="eosTEM", magnification=150000)))
        assert image.pixel_size == pytest.approx((1.8207885e-9,) * 2)  # as RosettaSciIO reads the real file
        assert image.acquired_at is not None
        assert image.acquired_at.isoformat() == "2019-11-27T16:11:26.620540+09:00"

    @pytest.mark.parametrize(
        ("mode", "magnification"), [("eosASID", "400000"), ("eosTEM", "0"), ("eosTEM", "?")]
    )
    def test_in_other_modes_of_jeol_there_is_no_scale(
        self, tmp_path: Path, mode: str, magnification: str
    ) -> None:
        image = only(self.write(tmp_path / "a.tif", JEOL.format(mode=mode, magnification=magnification)))
        assert image.pixel_size is None
        assert image.notes == (f"The file gives no pixel size for its mode, {mode} MAG.",)

    def test_an_image_of_time_and_wavelength_is_refused(self, tmp_path: Path) -> None:
        scaling = '[Scaling],ScalingXUnit="nm",ScalingYUnit="ps"'
        path = self.write(tmp_path / "a.tif", f'[Application],Software="HPD-TA"\r\n{scaling}')
        with pytest.raises(UnreadableFileError, match=r"streak camera \(its axes are in ps and nm\)"):
            readers.read(path)
        path = self.write(tmp_path / "b.tif", '[Application],Software="HPD-TA"\r\n[Scaling],ScalingXUnit=""')
        assert only(path).data.shape == (12, 16)

    def test_a_scan_of_park_is_its_values_and_not_its_picture(
        self, tmp_path: Path, converted: Converted
    ) -> None:
        path, picture = tmp_path / "a.tiff", np.zeros((12, 16), np.uint8)
        tifffile.imwrite(path, picture, extratags=[(50432, "I", 1, 0x0E031301, True)], metadata=None)
        (image,) = converted(
            path, "psia", Topography={"data": SURFACE, "meta": {"Line direction": "Left to right"}}
        )
        np.testing.assert_array_equal(image.data, SURFACE)
        assert (image.technique, image.direction) == ("AFM", "forward")


class TestHdf5:
    @pytest.mark.parametrize("place", ["Scan 1/EBSD/Data/patterns", "EMData/EBSD/EBSDPatterns"])
    def test_diffraction_patterns_are_refused_and_the_tables_beside_them_no_image(
        self, tmp_path: Path, place: str
    ) -> None:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file[place] = np.ones((9, 60, 60), np.uint8)
            file["EMData/EBSD/Tensor"] = np.eye(3)
        with pytest.raises(UnreadableFileError, match=rf"/{place} holds diffraction patterns \(EBSD\)"):
            readers.read(tmp_path / "a.h5")

    def test_patterns_of_angles_of_delmic_are_left_out(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for number, title in enumerate(("Secondary electrons survey", "Angle-resolved")):
                group = file.create_group(f"Acquisition{number}")
                group["ImageData/Image"] = np.ones((1, 1, 1, 12, 16), np.uint16)
                group["PhysicalData/Title"] = title
            file["Acquisition1/PhysicalData/PolePosition"] = np.ones((1, 2))
        image = only(tmp_path / "a.h5")
        assert (image.channel, image.technique) == ("Secondary electrons survey", "SEM")
        (note,) = [note for note in image.notes if "left out" in note]
        assert note.startswith("/Acquisition1/ImageData/Image was left out: it holds a pattern of angles")

    def hyperspy(self, path: Path, *units: str, navigate: int = 1) -> Path:
        with h5py.File(path, "w") as file:
            file.attrs.update(file_format="HyperSpy", file_format_version="3.3")
            group = file.create_group("Experiments/image")
            group["data"] = np.ones((3, 12, 16))
            for number, (unit, scale) in enumerate(zip(units, (1.0, 2.0, 0.5), strict=True)):
                axis = group.create_group(f"axis-{number}")
                axis.attrs.update(name="xyz"[number], units=unit, scale=scale, navigate=number < navigate)
        return path

    def test_the_axes_of_hyperspy_are_the_scale(self, tmp_path: Path) -> None:
        images = readers.read(self.hyperspy(tmp_path / "a.hdf5", "s", "nm", "µm"))
        assert [image.pixel_size for image in images] == [pytest.approx((2e-9, 0.5e-6))] * 3

    def test_axes_of_hyperspy_that_are_no_lengths(self, tmp_path: Path) -> None:
        image = readers.read(self.hyperspy(tmp_path / "a.hdf5", "s", "1/nm", "nm"))[0]
        assert image.pixel_size is None
        assert image.notes == ("The units of its axes are '1/nm' and 'nm'; the image has no pixel size.",)

    @pytest.mark.parametrize(
        ("units", "navigate", "what"),
        [("nm nm eV", 2, "spectrum image"), ("s nm nm", 2, "spectra or patterns")],
    )
    def test_spectra_of_hyperspy_are_refused(
        self, tmp_path: Path, units: str, navigate: int, what: str
    ) -> None:
        path = self.hyperspy(tmp_path / "a.hdf5", *units.split(), navigate=navigate)
        with pytest.raises(UnreadableFileError, match=what):
            readers.read(path)

    def test_another_compression_is_read_where_its_package_is(self, tmp_path: Path) -> None:
        hdf5plugin = pytest.importorskip("hdf5plugin", reason="the extra [fast] is not installed")
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("image", data=SURFACE, **hdf5plugin.Bitshuffle(cname="lz4"))
        np.testing.assert_array_equal(only(tmp_path / "a.h5").data, SURFACE)

    def test_another_compression_is_no_damage(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("image", data=SURFACE, compression="gzip")
        monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: False)
        with pytest.raises(UnreadableFileError, match=r"a\.h5 is compressed by a filter.*tvtasks\[fast\]"):
            hdf5.load(tmp_path / "a.h5")


def test_the_examples_in_the_docstrings() -> None:
    failures, tried = doctest.testmod(converter_channels)
    assert (failures, tried) == (0, 1)
