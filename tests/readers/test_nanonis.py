"""Nanonis .sxm, made here after the header of real ones; samples are compared with two other libraries."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvtasks import readers
from tvtasks.errors import UnreadableFileError

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "nanonis_sxm"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the folder of sample files is not here")

SURFACE = np.arange(12, dtype=np.float32).reshape(3, 4)
ROW = "\t{number}\t{name}\t{unit}\t{direction}\t1.000E+0\t0.000E+0"


def sxm(
    path: Path,
    surface: np.ndarray = SURFACE,
    *,
    scan: str = "down",
    channels: tuple[tuple[str, str, str], ...] = (("Z", "m", "both"),),
    extra: str = "",
) -> Path:
    """Write a scan whose every channel and direction shows `surface`, as the instrument would store it."""
    rows, columns = surface.shape
    table = [ROW.format(number=n, name=a, unit=b, direction=c) for n, (a, b, c) in enumerate(channels)]
    header = "\n".join(
        [
            ":NANONIS_VERSION:",
            "2",
            ":SCANIT_TYPE:",
            "              FLOAT            MSBFIRST",
            ":REC_DATE:",
            " 16.12.2015",
            ":REC_TIME:",
            "11:39:44",
            ":SCAN_PIXELS:",
            f"       {columns}       {rows}",
            ":SCAN_RANGE:",
            "           4.000000E-9           6.000000E-9",
            ":SCAN_DIR:",
            scan,
            *([extra] if extra else []),
            ":DATA_INFO:",
            "\tChannel\tName\tUnit\tDirection\tCalibration\tOffset",
            *table,
            "",
            ":SCANIT_END:",
            "",
            "",
            "",
        ]
    )
    stored = surface[::-1] if scan == "up" else surface
    blocks = []
    for _, _, direction in channels:
        blocks += [stored] if direction != "backward" else []
        blocks += [stored[:, ::-1]] if direction != "forward" else []
    content = header.encode("cp1252") + b"\x1a\x04"
    path.write_bytes(content + b"".join(block.astype(">f4").tobytes() for block in blocks))
    return path


@pytest.mark.parametrize("scan", ["up", "down"])
def test_all_directions_show_the_same_surface(tmp_path: Path, scan: str) -> None:
    forward, backward = readers.read(sxm(tmp_path / "a.sxm", scan=scan))
    np.testing.assert_array_equal(forward.data, SURFACE)
    np.testing.assert_array_equal(backward.data, SURFACE)
    assert (forward.direction, backward.direction) == ("forward", "backward")
    assert forward.data.dtype == np.float32
    assert forward.data.dtype.isnative


def test_what_the_header_says_is_carried_over(tmp_path: Path) -> None:
    image = readers.read(sxm(tmp_path / "a.sxm", extra=":COMMENT:\nkalt, 4 µm\n:Scan>series name:\nAu_"))[0]
    assert (image.channel, image.quantity, image.units, image.technique) == ("Z", "height", "m", "STM")
    assert image.pixel_size == pytest.approx((2e-9, 1e-9))
    assert image.acquired_at == datetime(2015, 12, 16, 11, 39, 44)
    assert image.vendor_metadata["COMMENT"] == "kalt, 4 µm"
    assert image.vendor_metadata["DATA_INFO"][0]["Name"] == "Z"


def test_channels_of_one_direction(tmp_path: Path) -> None:
    channels = (("Current", "A", "forward"), ("Z", "m", "backward"))
    current, height = readers.read(sxm(tmp_path / "a.sxm", channels=channels))
    assert (current.quantity, current.units, current.direction) == ("current", "A", "forward")
    assert (height.quantity, height.direction) == ("height", "backward")
    np.testing.assert_array_equal(height.data, SURFACE)


def test_lines_that_were_not_scanned_stay_empty_where_they_are(tmp_path: Path) -> None:
    surface = SURFACE.copy()
    surface[:2] = np.nan  # upwards the lower lines come first
    image = readers.read(sxm(tmp_path / "a.sxm", surface, scan="up"))[0]
    np.testing.assert_array_equal(image.data, surface)


def test_passes_over_the_same_lines_are_told_apart(tmp_path: Path) -> None:
    channels = (("[P1]_Z", "m", "both"), ("[P2]_Z", "m", "both"))
    images = readers.read(sxm(tmp_path / "a.sxm", channels=channels))
    assert [(image.channel, image.frame, image.quantity) for image in images[::2]] == [
        ("[P1]_Z", 0, "height"),
        ("[P2]_Z", 1, "height"),
    ]


@pytest.mark.parametrize(
    ("extra", "channel", "technique"),
    [
        (":Z-Controller>Controller name:\nlog Current", "Frequency_Shift", "STM"),
        (":Z-Controller>Controller name:\nneg. Freq. Shift", "Z", "AFM"),
        (":Oscillation Control>Amplitude controller on:\nTRUE", "OC_M1_Freq._Shift", "AFM"),
        (":Oscillation Control>Amplitude controller on:\nTRUE", "Current", "STM"),
    ],
)
def test_the_technique_is_what_holds_the_tip(
    tmp_path: Path, extra: str, channel: str, technique: str
) -> None:
    path = sxm(tmp_path / "a.sxm", channels=((channel, "", "both"),), extra=extra)
    assert {image.technique for image in readers.read(path)} == {technique}


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (b"MSBFIRST", b"LSBFIRST", "FLOAT LSBFIRST"),
        (b"       4       3", b"       4        ", "number of pixels is unknown"),
        (b"\tboth\t", b"\tdiag\t", "description of a channel is invalid"),
        (b":SCAN_DIR:", b"::        ", r"line 13 of its header is '::'"),
    ],
)
def test_a_header_that_is_not_nanonis_is_refused(tmp_path: Path, old: bytes, new: bytes, what: str) -> None:
    path = sxm(tmp_path / "a.sxm")
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new).replace(b"::        ", b"::"))
    with pytest.raises(UnreadableFileError, match=rf"a\.sxm .*{what}"):
        readers.read(path)


@given(st.integers(0, 700))
def test_a_file_that_is_cut_is_refused(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    path = sxm(tmp_path_factory.getbasetemp() / "cut.sxm")
    content = path.read_bytes()
    path.write_bytes(content[: min(length, len(content) - 1)])
    with pytest.raises(UnreadableFileError):
        readers.read(path)


@needs_samples
class TestSamples:
    @pytest.mark.parametrize(
        ("name", "shape", "nanometres", "images", "technique"),
        [
            ("Au_mica_diPAMY_058.sxm", (256, 256), 4, 4, "STM"),
            ("A151216.123306-02602.sxm", (128, 128), 2, 18, "AFM"),
        ],
    )
    def test_agree_with_two_other_libraries(
        self, *, name: str, shape: tuple[int, int], nanometres: float, images: int, technique: str
    ) -> None:
        found = readers.read(SAMPLES / name)
        assert len(found) == images
        nanonispy = pytest.importorskip("nanonispy2", reason="nanonispy2 is not installed")
        scan = nanonispy.read.Scan(str(SAMPLES / name))  # in the order of the file
        upwards = scan.header["scan_dir"] == "up"
        for image in found:
            assert (image.data.shape, image.technique) == (shape, technique)
            assert image.pixel_size == pytest.approx((nanometres * 1e-9 / shape[0],) * 2)
            stored = scan.signals[image.channel][image.direction]
            stored = stored[:, ::-1] if image.direction == "backward" else stored
            np.testing.assert_array_equal(image.data, stored[::-1] if upwards else stored)

    def test_lie_as_gwyddion_shows_them(self) -> None:
        gwyddionpy = pytest.importorskip("gwyddionpy", reason="the extra [gwyddion] is not installed")
        for name in ("Au_mica_diPAMY_058.sxm", "A151216.123306-02602.sxm"):
            shown = gwyddionpy.load(SAMPLES / name).channels
            for image in readers.read(SAMPLES / name):
                channel = shown[f"{image.channel} ({str(image.direction).title()})"]
                np.testing.assert_allclose(image.data, channel.data, rtol=1e-6, atol=0)
                assert image.units == channel.si_unit_z

    def test_what_another_program_made_is_refused(self) -> None:
        with pytest.raises(UnreadableFileError, match=r"createc_converted.*Another program wrote it"):
            readers.read(SAMPLES / "createc_converted_A250320.sxm")
