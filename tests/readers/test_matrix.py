"""Scienta Omicron MATRIX, made here from what access2theMatrix looks for in such files."""

import struct
from pathlib import Path

import numpy as np
import pytest

from tvtasks import readers
from tvtasks.errors import UnreadableFileError
from tvtasks.readers import reader

MAGIC = b"ONTMATRX0101"
SURFACE = np.arange(12).reshape(3, 4)
IMAGE, PARAMETERS = "default--1_1.Z_mtrx", "default_0001.mtrx"


def text(words: str) -> bytes:
    return struct.pack("<I", len(words)) + words.encode("utf-16-le")


def value(given: object) -> bytes:
    if isinstance(given, bool):
        return b"LOOB" + struct.pack("<I", given)
    if isinstance(given, int):
        return b"GNOL" + struct.pack("<i", given)
    return b"BUOD" + struct.pack("<d", given)


def block(kind: bytes, content: bytes, *, dated: bool = True) -> bytes:
    return kind + struct.pack("<I", len(content)) + (bytes(8) if dated else b"") + content


def parameters(name: str, *, down: bool = True, x: float = 0.0, y: float = 0.0, angle: int = 0) -> bytes:
    """Return the parameters of a session in which `name` was scanned: 4 × 3 pixels, 4 nm × 6 nm."""
    rows, columns = SURFACE.shape
    scanner = {
        "X_Retrace": (True, ""),
        "Y_Retrace": (down, ""),
        "Points": (columns, ""),
        "Lines": (rows, ""),
        "Width": (4e-9, "Meter"),
        "Height": (6e-9, "Meter"),
        "X_Offset": (x, "Meter"),
        "Y_Offset": (y, "Meter"),
        "Angle": (angle, "Degree"),
    }
    listed = b"".join(
        text(key) + text(unit) + bytes(4) + value(given) for key, (given, unit) in scanner.items()
    )
    elements = bytes(4) + struct.pack("<I", 1) + text("XYScanner") + struct.pack("<I", len(scanner)) + listed
    channels = bytes(8) + struct.pack("<I", 0)
    channels += struct.pack("<I", 1) + bytes(4) + struct.pack("<I", 7) + bytes(8) + text("Z") + text("m")
    channels += struct.pack("<I", 0)
    transfer = bytes(4) + struct.pack("<I", 7) + text("TFF_Linear1D") + text("m") + struct.pack("<I", 2)
    transfer += text("Factor") + value(1e12) + text("Offset") + value(0.0)
    inner = block(b"TCID", channels, dated=False) + block(b"REFX", transfer, dated=False)
    return (
        MAGIC
        + block(b"APEE", elements)
        + block(b"YSCC", bytes(4) + inner)
        + block(b"FERB", bytes(4) + text(name))
    )


def scan(*, lines: int = 12) -> bytes:
    """Return the values in the order of time: forward and backward, line by line, up and then down."""
    up = [line for row in SURFACE[::-1] for line in (row, row[::-1] + 100)]
    down = [line for row in SURFACE for line in (row + 200, row[::-1] + 300)]
    values = np.concatenate([up, down])[:lines].astype("<i4")
    described = block(b"CSED", bytes(20) + struct.pack("<ii", 48, values.size), dated=False)
    content = bytes(12) + described + block(b"ATAD", values.tobytes(), dated=False)
    return MAGIC + b"TLKB" + struct.pack("<I", len(content) - 8) + content


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / PARAMETERS).write_bytes(parameters(IMAGE))
    (tmp_path / IMAGE).write_bytes(scan())
    return tmp_path / IMAGE


class TestRead:
    @pytest.fixture(autouse=True)
    def _needs_the_extra(self) -> None:
        pytest.importorskip("access2thematrix", reason="the extra [spm] is not installed")

    def test_all_four_scans_show_the_surface(self, path: Path) -> None:
        images = readers.read(path)
        assert [(image.direction, image.frame) for image in images] == [
            ("forward", 0),
            ("backward", 0),
            ("forward", 1),
            ("backward", 1),
        ]
        for number, image in enumerate(images):
            np.testing.assert_allclose(image.data, (SURFACE + 100 * number) * 1e-12, rtol=1e-12)
            assert (image.channel, image.quantity, image.units) == ("Z", "height", "m")
            assert image.pixel_size == pytest.approx((2e-9, 1e-9))
            assert image.technique == "STM"
            assert image.source is not None
            assert set(image.source.companions) == {PARAMETERS}

    def test_a_scan_that_was_stopped_has_the_lines_that_there_are(self, path: Path) -> None:
        path.write_bytes(scan(lines=4))
        images = readers.read(path)
        assert [(image.direction, image.frame) for image in images] == [("forward", 0), ("backward", 0)]
        np.testing.assert_allclose(images[0].data, SURFACE[1:] * 1e-12)
        assert images[0].pixel_size == pytest.approx((2e-9, 1e-9))

    @pytest.mark.parametrize("keep", [13, 60, 150])
    def test_one_that_is_cut_is_refused(self, path: Path, keep: int) -> None:
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(UnreadableFileError, match="contains no readable image"):
            readers.read(path)

    def test_the_parameters_alone_are_no_image(self, path: Path) -> None:
        with pytest.raises(
            UnreadableFileError, match="contains the parameters of a MATRIX session, not an image"
        ):
            readers.read(path.with_name(PARAMETERS))


def test_the_monitor_waits_for_the_parameters(path: Path) -> None:
    assert readers.is_candidate(path)
    assert not readers.is_candidate(path.with_name(PARAMETERS))
    assert readers.is_companion(path.with_name(PARAMETERS))
    assert readers.incomplete(path) is None
    path.with_name(PARAMETERS).unlink()
    assert readers.incomplete(path) == f"{PARAMETERS}, which belongs to it, does not exist yet"
    with pytest.raises(UnreadableFileError, match=rf"cannot be read without {PARAMETERS}"):
        readers.read(path)


def test_without_the_extra_the_sentence_says_how_to_install_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "find_spec", lambda name: None)
    with pytest.raises(UnreadableFileError, match=r"Z_mtrx .*pip install 'tvtasks\[spm\]'"):
        readers.read(path)
