"""Files made from what JEOL's and Hitachi's text files are known to hold; there is no sample of either."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tvtasks import readers
from tvtasks.micrograph import Region, file_sha256

IMAGE = np.random.default_rng(5).integers(0, 255, (104, 128), dtype=np.uint8)
JEOL = (
    "$CM_FORMAT JEOL/SEM\r\n$CM_VERSION 1.0\r\n$CM_INSTRUMENT JSM-7800F\r\n$CM_SIGNAL SEI\r\n"
    "$CM_MAG 20000\r\n$CM_DATE 2019/03/12\r\n$CM_TIME 10:21:55\r\n$CM_FULL_SIZE 128 96\r\n"
    "$$SM_MICRON_BAR 100\r\n$$SM_MICRON_MARKER 1um\r\n"
)
HITACHI = (
    "[SemImageFile]\r\nInstructName=S-4800\r\nImageName=a.tif\r\nDate=03/12/2019\r\nTime=10:21:55\r\n"
    "DataSize=128x96\r\nPixelSize=24.80469\r\nSignalName=SE(U)\r\n"
)


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    if path.suffix == ".tif":
        tifffile.imwrite(path, IMAGE)
    else:
        Image.fromarray(IMAGE).save(path)
    path.with_suffix(".txt").write_text(text, encoding=encoding, newline="")
    return path


@pytest.mark.parametrize("name", ["a.tif", "a.bmp", "a.png"])
@pytest.mark.parametrize(
    ("text", "side", "encoding"),
    [(JEOL, 1e-8, "utf-8"), (HITACHI, 24.80469e-9, "utf-8"), (HITACHI, 24.80469e-9, "utf-16")],
)
def test_scale_data_bar_and_time(*, tmp_path: Path, name: str, text: str, side: float, encoding: str) -> None:
    path = write(tmp_path / name, text, encoding)
    (micrograph,) = readers.read(path)
    np.testing.assert_array_equal(micrograph.data, IMAGE)
    assert micrograph.pixel_size == pytest.approx((side, side))
    assert micrograph.valid == Region(0, 96, 0, 128)
    assert (micrograph.technique, micrograph.acquired_at) == ("SEM", datetime(2019, 3, 12, 10, 21, 55))
    assert micrograph.source is not None
    assert micrograph.source.companions == {"a.txt": file_sha256(path.with_suffix(".txt"))}
    assert readers.companions(path) == (path.with_suffix(".txt"),)


@pytest.mark.parametrize("marker", ["100nm", "0.1um", "0.1\N{MICRO SIGN}m", "100 nm"])
def test_the_marker_of_jeol_in_other_units(tmp_path: Path, marker: str) -> None:
    path = write(tmp_path / "a.tif", JEOL.replace("1um", marker))
    assert readers.read(path)[0].pixel_size == pytest.approx((1e-9, 1e-9))


@pytest.mark.parametrize("text", [JEOL.replace("128 96", "1280 960"), HITACHI.replace("128x96", "1280x960")])
def test_an_image_that_was_saved_at_another_size_has_no_scale(tmp_path: Path, text: str) -> None:
    (micrograph,) = readers.read(write(tmp_path / "a.tif", text))
    assert micrograph.pixel_size is None
    assert micrograph.valid is None
    assert "describes 1280 columns" in micrograph.notes[0]


@pytest.mark.parametrize(
    "text", [JEOL.replace("BAR 100", "BAR 0"), JEOL.replace("1um", "big"), JEOL.replace("1um", "1..um")]
)
def test_a_scale_that_is_none(tmp_path: Path, text: str) -> None:
    assert readers.read(write(tmp_path / "a.tif", text))[0].pixel_size is None


def test_notes_of_the_operator_are_no_sidecar(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", "Tip changed at 14:03. It cost $20.\n")
    assert readers.companions(path) == ()
    assert readers.read(path)[0].technique is None
