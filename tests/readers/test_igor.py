"""Igor binary waves, made here from Igor's technical note 3; two libraries read them beside ours."""

import struct
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from tvtasks import readers
from tvtasks.errors import UnreadableFileError
from tvtasks.readers import reader

SURFACE = np.arange(12, dtype=np.float32).reshape(3, 4) * 1e-10
NOTE = "ImagingMode: AC Mode\rDate: 2024-05-01\rTime: 2:56:16 PM\rSpringConstant: 0.1\r"


def ibw(
    path: Path,
    *channels: str,
    order: str = "<",
    surface: np.ndarray = SURFACE,
    note: str = NOTE,
    scale: float = 1.0,
    unit: bytes = b"",
) -> Path:
    """Write a wave whose every channel shows `surface`, stored as columns, the lowest line first."""
    rows, columns = surface.shape
    values = np.stack([surface[::-1].T * scale for _ in channels], axis=2).astype(f"{order}f4").tobytes("F")
    labels = b"".join(name.encode().ljust(32, b"\0") for name in ("", *channels))
    sizes = (320 + len(values), 0, len(note), 0, 0, 0, 0, 0, 0, 0, len(labels), 0, 0, 0, 0)
    wave = struct.pack(f"{order}IIIihh6shxx", 0, 0, 0, rows * columns * len(channels), 2, 0, b"", 1)[:28]
    wave += b"wave0".ljust(32, b"\0") + bytes(8)
    wave += struct.pack(f"{order}4i", columns, rows, len(channels), 0)
    wave += struct.pack(f"{order}8d", 1e-9, 2e-9, 1, 1, 0, 0, 0, 0)
    wave += unit.ljust(4, b"\0") + b"m\0\0\0m\0\0\0" + bytes(8)
    wave = wave.ljust(320, b"\0")
    header = struct.pack(f"{order}hH15i", 5, 0, *sizes)
    checksum = -int(np.frombuffer(header + wave, f"{order}u2").sum(dtype=np.int64)) % 65536
    header = struct.pack(f"{order}hH15i", 5, checksum, *sizes)
    path.write_bytes(header + wave + values + note.encode() + labels)
    return path


@pytest.fixture(autouse=True)
def _needs_the_extra() -> None:
    pytest.importorskip("igor2", reason="the extra [spm] is not installed")


@pytest.mark.parametrize("order", ["<", ">"])
def test_channels_lie_as_they_were_scanned(tmp_path: Path, order: str) -> None:
    images = readers.read(ibw(tmp_path / "a.ibw", "HeightRetrace", "PhaseTrace", order=order))
    assert [(image.channel, image.quantity, image.units, image.direction) for image in images] == [
        ("HeightRetrace", "height", "m", "backward"),
        ("PhaseTrace", "phase", "deg", "forward"),
    ]
    for image in images:
        np.testing.assert_array_equal(image.data, SURFACE)
        assert image.data.dtype.isnative
        assert image.pixel_size == pytest.approx((2e-9, 1e-9))
        assert (image.technique, image.acquired_at) == ("AFM", datetime(2024, 5, 1, 14, 56, 16))
    assert images[0].vendor_metadata["SpringConstant"] == "0.1"


def test_lie_as_gwyddion_shows_them(tmp_path: Path) -> None:
    gwyddionpy = pytest.importorskip("gwyddionpy", reason="the extra [gwyddion] is not installed")
    path = ibw(tmp_path / "a.ibw", "HeightTrace")
    (channel,) = gwyddionpy.load(path).channels.values()
    (image,) = readers.read(path)
    np.testing.assert_allclose(image.data, channel.data, rtol=1e-6, atol=0)
    assert (channel.xreal / 4, channel.yreal / 3) == pytest.approx(tuple(image.pixel_size)[::-1])


def test_a_sensor_in_volts_is_not_in_metres(tmp_path: Path) -> None:
    (image,) = readers.read(ibw(tmp_path / "a.ibw", "ZSensorTrace", scale=1e9))
    assert (image.units, image.quantity) == ("", "height")
    assert "more than any scanner can move" in image.notes[0]


def test_one_that_is_cut_is_unfinished(tmp_path: Path) -> None:
    path = ibw(tmp_path / "a.ibw", "HeightTrace")
    content = path.read_bytes()
    assert readers.unfinished(path) is None
    for length in (1, 100, 383, 390, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(UnreadableFileError):
            readers.read(path)
    assert readers.unfinished(path) == f"it ends after {len(content) - 1} of {len(content)} bytes"


def test_a_wave_of_one_dimension_is_refused(tmp_path: Path) -> None:
    path = ibw(tmp_path / "a.ibw", "Force", surface=np.ones((1, 12)))
    content = bytearray(path.read_bytes())
    content[136:140] = content[140:144] = bytes(4)  # no second dimension, no third
    content[2:4] = bytes(2)
    content[2:4] = (-int(np.frombuffer(content[:384], "<u2").sum(dtype=np.int64)) % 65536).to_bytes(
        2, "little"
    )
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match=r"a\.ibw contains no image: its data have 1 dimension"):
        readers.read(path)


def test_without_the_extra_the_sentence_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "find_spec", lambda name: None)
    with pytest.raises(UnreadableFileError, match=r"a\.ibw .*pip install 'tvtasks\[spm\]'"):
        readers.read(ibw(tmp_path / "a.ibw", "HeightTrace"))


def test_the_unit_of_the_first_channel_is_not_that_of_the_others(tmp_path: Path) -> None:
    height, phase = readers.read(ibw(tmp_path / "a.ibw", "HeightRetrace", "PhaseRetrace", unit=b"m"))
    assert (height.units, phase.units, phase.quantity) == ("m", "deg", "phase")
    assert not phase.notes
