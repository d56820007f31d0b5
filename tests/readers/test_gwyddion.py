"""Gwyddion's files, written by the libraries gwyfile and gsffile."""

import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvtasks import readers
from tvtasks.errors import UnreadableFileError
from tvtasks.readers.directions import direction_of, undirected

SAMPLE = Path(__file__).parents[3] / "shared" / "samples" / "gwyddion_gwy" / "gwyfile_test.gwy"
SURFACE = np.arange(12, dtype=np.float64).reshape(3, 4) * 1e-10


def gwy(
    path: Path, *titles: str, surface: np.ndarray = SURFACE, meta: dict[str, str] | None = None, **field: Any
) -> Path:
    gwyfile = pytest.importorskip("gwyfile", reason="gwyfile is not installed")
    from gwyfile.objects import GwyContainer, GwyDataField

    settings = {"xreal": 4e-9, "yreal": 6e-9, "si_unit_xy": "m", "si_unit_z": "m"} | field
    container = GwyContainer()
    for number, title in enumerate(titles):
        container[f"/{number}/data/title"] = title
        container[f"/{number}/data"] = GwyDataField(surface + number, **settings)
        about = meta or {"Bias": "-0.05 V"}
        container[f"/{number}/meta"] = GwyContainer(data=about, typecodes=dict.fromkeys(about, "s"))
    assert gwyfile
    container.tofile(str(path))
    return path


class TestGwy:
    def test_every_field_is_an_image(self, tmp_path: Path) -> None:
        images = readers.read(gwy(tmp_path / "a.gwy", "Z (Forward)", "Z (Backward)", "Phase"))
        assert [(image.channel, image.direction) for image in images] == [
            ("Z (Forward)", "forward"),
            ("Z (Backward)", "backward"),
            ("Phase", None),
        ]
        for number, image in enumerate(images):
            np.testing.assert_array_equal(image.data, SURFACE + number)
        assert (images[0].quantity, images[0].units) == ("height", "m")
        assert images[0].pixel_size == pytest.approx((2e-9, 1e-9))
        assert images[0].vendor_metadata == {"Bias": "-0.05 V"}

    def test_without_calibration_there_is_no_pixel_size(self, tmp_path: Path) -> None:
        (image,) = readers.read(
            gwy(tmp_path / "a.gwy", "x", xreal=1.0, yreal=1.0, si_unit_xy="", si_unit_z="")
        )
        assert (image.pixel_size, image.units) == (None, "")

    def test_units_become_si(self, tmp_path: Path) -> None:
        (image,) = readers.read(gwy(tmp_path / "a.gwy", "Z", si_unit_z="nm", si_unit_xy="um"))
        np.testing.assert_allclose(image.data, SURFACE * 1e-9)
        assert image.units == "m"
        assert image.pixel_size == pytest.approx((2e-15, 1e-15))

    def test_metres_that_no_scanner_moves_are_not_believed(self, tmp_path: Path) -> None:
        path = gwy(tmp_path / "a.gwy", "ZSensor", surface=SURFACE * 1e10)  # looks like volts
        (image,) = readers.read(path)
        assert image.units == ""
        assert "span 11 m, more than any scanner can move" in image.notes[0]

    def test_fields_with_one_title_are_told_apart(self, tmp_path: Path) -> None:
        images = readers.read(gwy(tmp_path / "a.gwy", "Topography", "Topography"))
        assert [image.frame for image in images] == [0, 1]

    @pytest.mark.parametrize(
        ("damage", "what"),
        [
            (lambda content: content.replace(b"xres\0i\4", b"xres\0i\5"), "15 values|has 12 values"),
            (lambda content: content.replace(b"xres\0i", b"xres\0?"), "unknown type"),
            (lambda content: content.replace(b"data\0D\x0c", b"data\0D\xff"), "longer than its parent"),
        ],
    )
    def test_damage_is_refused(self, tmp_path: Path, damage: Any, what: str) -> None:
        path = gwy(tmp_path / "a.gwy", "Z")
        damaged = damage(path.read_bytes())
        assert damaged != path.read_bytes()
        path.write_bytes(damaged)
        with pytest.raises(UnreadableFileError, match=rf"a\.gwy .*({what})"):
            readers.read(path)

    def test_a_text_without_an_end_or_a_list_without_one_takes_no_time(self, tmp_path: Path) -> None:
        # On the first of these gwyfile 0.3 never returns.
        for component in (b"/0/data/title\0sTopography", b"/a\0S" + struct.pack("<I", 2**32 - 1)):
            content = b"GWYPGwyContainer\0" + struct.pack("<I", len(component)) + component
            (tmp_path / "a.gwy").write_bytes(content)
            started = time.process_time()
            with pytest.raises(UnreadableFileError, match="a text has no end"):
                readers.read(tmp_path / "a.gwy")
            assert time.process_time() - started < 1

    @pytest.mark.skipif(not SAMPLE.is_file(), reason="the folder of sample files is not here")
    def test_the_sample_is_read_as_gwyfile_reads_it(self) -> None:
        gwyfile = pytest.importorskip("gwyfile", reason="gwyfile is not installed")
        (image,) = readers.read(SAMPLE)
        field = gwyfile.load(str(SAMPLE))["/0/data"]
        np.testing.assert_array_equal(image.data, field.data)
        assert (image.data.shape, image.channel, image.pixel_size) == ((128, 128), "Test", None)


class TestGsf:
    def write(self, path: Path, **metadata: object) -> Path:
        gsffile = pytest.importorskip("gsffile", reason="gsffile is not installed")
        gsffile.write_gsf(path, SURFACE.astype(np.float32), metadata)
        return path

    def test_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        metadata = {
            "XReal": 4e-9,
            "YReal": 6e-9,
            "XYUnits": "m",
            "ZUnits": "m",
            "Title": "Z retrace",
            "Own": "1",
        }
        (image,) = readers.read(self.write(tmp_path / "a.gsf", **metadata))
        np.testing.assert_array_equal(image.data, SURFACE.astype(np.float32))
        assert (image.units, image.quantity, image.channel) == ("m", "height", "Z retrace")
        assert image.direction == "backward"
        assert image.pixel_size == pytest.approx((2e-9, 1e-9))
        assert image.vendor_metadata["Own"] == "1"

    def test_without_calibration_there_is_no_pixel_size(self, tmp_path: Path) -> None:
        (image,) = readers.read(self.write(tmp_path / "a.gsf"))
        assert (image.pixel_size, image.units, image.quantity) == (None, "", None)

    @pytest.mark.parametrize("old", [b"XRes", b"YRes = 3"])
    def test_without_its_size_it_is_refused(self, tmp_path: Path, old: bytes) -> None:
        path = self.write(tmp_path / "a.gsf")
        path.write_bytes(path.read_bytes().replace(old, b"Z" * len(old)))
        with pytest.raises(UnreadableFileError, match=r"a\.gsf does not give its number of pixels"):
            readers.read(path)


@pytest.mark.parametrize(
    ("title", "direction", "channel"),
    [
        ("Z (Forward)", "forward", "Z"),
        ("[P1]_Z (Backward)", "backward", "[P1]_Z"),
        ("HeightTrace", "forward", "Height"),
        ("HeightRetrace", "backward", "Height"),
        ("Height (measured) (retrace)", "backward", "Height (measured)"),
        ("Topography backward", "backward", "Topography"),
        ("Current bwd", "backward", "Current"),
        ("Z_Fwd", "forward", "Z"),
        ("Topography ->", "forward", "Topography"),
        ("Topography", None, "Topography"),
    ],
)
def test_directions_in_titles(title: str, direction: str | None, channel: str) -> None:
    assert direction_of(title) == direction
    assert undirected(title) == channel
