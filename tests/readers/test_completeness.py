"""When a file is whole."""

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.wine import needs_links
from tvtasks import readers
from tvtasks.readers.completeness_spm import createc_data

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"

IMAGE = np.arange(48, dtype=np.uint8).reshape(6, 8)
TESCAN = (271, "s", 0, "TESCAN - http://www.tescan.com/", True)
TESCAN_HEADER = b"[MAIN]\r\nPixelSizeX=1e-9\r\nPixelSizeY=1e-9\r\n"


def sxm() -> bytes:
    header = (
        ":NANONIS_VERSION:\n2\n:SCANIT_TYPE:\n              FLOAT            MSBFIRST\n"
        ":SCAN_PIXELS:\n       8       6\n:DATA_INFO:\n"
        "\tChannel\tName\tUnit\tDirection\tCalibration\tOffset\n"
        "\t14\tZ\tm\tboth\t-3.5E-9\t0.0E+0\n\t0\tCurrent\tA\tforward\t1.0E-9\t0.0E+0\n\n"
        ":SCANIT_END:\n\n\n"
    )
    return header.encode() + b"\x1a\x04" + np.zeros((3, 6, 8), ">f4").tobytes()


def gwy() -> bytes:
    content = b"/0/data/title\0sZ\0"
    return b"GWYPGwyContainer\0" + struct.pack("<I", len(content)) + content


def gsf() -> bytes:
    header = b"Gwyddion Simple Field 1.0\nXRes = 8\nYRes = 6\nTitle = Z\n"
    return header + bytes(4 - len(header) % 4) + np.zeros((6, 8), "<f4").tobytes()


def ser() -> bytes:
    fixed = struct.pack("<2sHHIIIIII", b"II", 0x0197, 0x0210, 0x4122, 0x4152, 1, 1, 34, 0)
    table = struct.pack("<II", 42, 0)
    element = struct.pack("<ddiddiHII", 0, 1, 0, 0, 1, 0, 2, 8, 6) + np.zeros((6, 8), "<u2").tobytes()
    return fixed + bytes(34 - len(fixed)) + table + element


def dm3() -> bytes:
    return struct.pack(">III", 3, 50, 1) + bytes(54)


def dm4() -> bytes:
    return struct.pack(">IQI", 4, 50, 1) + bytes(58)


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.tif": lambda path: tifffile.imwrite(path, IMAGE),
    "pages.tif": lambda path: tifffile.imwrite(path, np.stack([IMAGE] * 3), photometric="minisblack"),
    "tiles.tif": lambda path: tifffile.imwrite(path, np.tile(IMAGE, (4, 4)), tile=(16, 16)),
    "a.h5": lambda path: h5py.File(path, "w").create_dataset("image", data=IMAGE).file.close(),
    "a.png": lambda path: Image.fromarray(IMAGE).save(path),
    "a.bmp": lambda path: Image.fromarray(IMAGE).save(path),
    "a.jpg": lambda path: Image.fromarray(IMAGE).save(path),
    "a.npy": lambda path: np.save(path, IMAGE),
    "a.sxm": lambda path: path.write_bytes(sxm()),
    "a.gwy": lambda path: path.write_bytes(gwy()),
    "a.gsf": lambda path: path.write_bytes(gsf()),
    "a.ser": lambda path: path.write_bytes(ser()),
    "a.dm3": lambda path: path.write_bytes(dm3()),
    "a.dm4": lambda path: path.write_bytes(dm4()),
}


@pytest.mark.parametrize("name", WRITERS)
class TestEveryFormat:
    def test_whole(self, tmp_path: Path, name: str) -> None:
        WRITERS[name](tmp_path / name)
        assert readers.unfinished(tmp_path / name) is None

    def test_cut_short_anywhere(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        WRITERS[name](path)
        content = path.read_bytes()
        # The last bytes may be padding.
        for size in {0, 1, 3, len(content) // 3, len(content) // 2, len(content) - 20}:
            path.write_bytes(content[:size])
            assert readers.unfinished(path), f"{size} of {len(content)} bytes are there"

    def test_reserved_at_full_size(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        WRITERS[name](path)
        path.write_bytes(bytes(path.stat().st_size))
        assert "reserved" in str(readers.unfinished(path))

    def test_something_else_under_that_name(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        path.write_text("Tip changed at 14:03.\n" * 5)
        assert readers.unfinished(path) is None, "it is not unfinished; reading it says what it is"


class TestSentences:
    def test_an_sxm_names_the_bytes_that_are_missing(self, tmp_path: Path) -> None:
        path = tmp_path / "a.sxm"
        path.write_bytes(sxm()[:-100])
        size = len(sxm())
        assert readers.unfinished(path) == f"it ends after {size - 100} of {size} bytes"

    def test_a_series_that_was_stopped_or_goes_on_is_in_doubt(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ser"
        content = bytearray(ser())
        content[14:18] = struct.pack("<I", 5)
        path.write_bytes(content)
        assert readers.unfinished(path) is None
        assert readers.doubtful(path) == "1 of the 5 images of its series have been recorded"
        content[18:22] = struct.pack("<I", 0)
        path.write_bytes(content)
        assert readers.unfinished(path) == "none of its 5 images has been written yet"

    def test_a_damaged_count_of_images_does_not_fill_the_memory(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ser"
        content = bytearray(ser())
        content[14:22] = struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0)
        path.write_bytes(content)
        tracemalloc.start()
        assert readers.unfinished(path) == "its header is cut short"
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 10_000_000


class TestPairs:
    @pytest.fixture(params=["tescan", "tescan with the other name", "series", "matrix"])
    def pair(self, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, Path, bytes]:
        """An image, its other half, and what that holds."""
        image, half, content = {
            "tescan": ("scan.tif", "scan.hdr", TESCAN_HEADER),
            "tescan with the other name": ("scan.tif", "scan-tif.hdr", TESCAN_HEADER),
            "series": ("scan_1.ser", "scan.emi", b"JK\x00\x02description"),
            "matrix": ("2024_STM--12_1.Z_mtrx", "2024_STM_0001.mtrx", b"ONTMATRX0101parameters"),
        }[request.param]
        path = tmp_path / image
        if path.suffix == ".tif":
            tifffile.imwrite(path, IMAGE, metadata=None, extratags=[TESCAN])
        else:
            path.write_bytes(ser() if path.suffix == ".ser" else b"ONTMATRX0101pixels")
        return path, tmp_path / half, content

    def test_whole_only_together(self, pair: tuple[Path, Path, bytes]) -> None:
        path, half, content = pair
        assert readers.unfinished(path) is None, "by itself nothing is missing in it"
        assert "which belongs to it, does not exist yet" in str(readers.incomplete(path))
        half.touch()
        assert readers.incomplete(path) == f"{half.name}, which belongs to it, is incomplete: it is empty"
        half.write_bytes(content)
        assert readers.incomplete(path) is None
        assert readers.companions(path) == (half,)

    def test_the_half_is_told_from_an_image(self, pair: tuple[Path, Path, bytes]) -> None:
        assert readers.is_companion(pair[1])
        assert not readers.is_companion(pair[0])

    def test_a_tiff_of_another_microscope_needs_no_header(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "scan.tif", IMAGE)
        assert readers.companions(tmp_path / "scan.tif") == ()
        assert readers.incomplete(tmp_path / "scan.tif") is None

    def test_a_tescan_image_that_describes_itself_needs_none(self, tmp_path: Path) -> None:
        tag = (50431, "B", len(TESCAN_HEADER), TESCAN_HEADER, True)
        tifffile.imwrite(tmp_path / "scan.tif", IMAGE, metadata=None, extratags=[TESCAN, tag])
        assert readers.companions(tmp_path / "scan.tif") == ()

    def test_a_header_that_is_there_belongs_to_it_whoever_wrote_it(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "scan.tif", IMAGE)
        (tmp_path / "scan.hdr").write_bytes(TESCAN_HEADER)
        assert readers.companions(tmp_path / "scan.tif") == (tmp_path / "scan.hdr",)

    def test_one_description_serves_several_series(self, tmp_path: Path) -> None:
        for number in (1, 2):
            (tmp_path / f"16_STO_{number}.ser").write_bytes(ser())
        (tmp_path / "16_STO.emi").write_bytes(b"JK\x00\x02description")
        assert readers.incomplete(tmp_path / "16_STO_1.ser") is None
        assert readers.incomplete(tmp_path / "16_STO_2.ser") is None

    def test_of_a_file_that_is_not_whole_nothing_is_asked(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "scan.tif"
        tifffile.imwrite(path, np.zeros((64, 64)), extratags=[TESCAN])
        path.write_bytes(path.read_bytes()[:200])
        assert readers.companions(path) == ()
        assert readers.incomplete(path) == readers.unfinished(path)
        assert caplog.text == "", "tifffile has not been asked"

    @needs_links
    def test_a_half_that_is_a_broken_link_is_not_there(self, tmp_path: Path) -> None:
        (tmp_path / "scan_1.ser").write_bytes(ser())
        (tmp_path / "scan.emi").symlink_to(tmp_path / "missing")
        assert "does not exist yet" in str(readers.incomplete(tmp_path / "scan_1.ser"))


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the folder of sample files is not on this machine")
class TestSamples:
    FILES = (
        "nanonis_sxm/A151216.123306-02602.sxm",
        "nanonis_sxm/Au_mica_diPAMY_058.sxm",
        "nanonis_sxm/createc_converted_A250320.sxm",
        "gwyddion_gwy/gwyfile_test.gwy",
        "ser_emi/16_STOimage_1.ser",
        "dm/08_carbon.dm3",
        "dm/test_STEM_image.dm3",
        "dm/nonSquare_diffPixelSize.dm4",
        "velox_emd/STEM_HAADF-DF4-DF2-BF.emd",
        "sem_tiff/tescan-pfib_dataZeroed.tif",
    )

    @pytest.mark.parametrize("name", FILES)
    def test_whole(self, name: str) -> None:
        assert readers.incomplete(SAMPLES / name) is None

    @pytest.mark.parametrize("name", FILES)
    def test_cut_short(self, name: str, tmp_path: Path) -> None:
        content = (SAMPLES / name).read_bytes()
        path = tmp_path / Path(name).name
        # What an instrument writes after the pixels may be missing without anyone noticing.
        path.write_bytes(content[: int(len(content) * 0.95)])
        assert readers.unfinished(path)

    def test_the_sxm_is_as_long_as_its_header_says(self, tmp_path: Path) -> None:
        path = tmp_path / "a.sxm"
        path.write_bytes((SAMPLES / "nanonis_sxm/Au_mica_diPAMY_058.sxm").read_bytes()[:-1])
        assert readers.unfinished(path) == "it ends after 1056112 of 1056113 bytes"


def test_a_dm4_of_nion_swift_is_complete_although_it_counts_four_bytes_more(tmp_path: Path) -> None:
    content = bytearray(dm4())
    (size,) = struct.unpack_from(">Q", content, 4)
    struct.pack_into(">Q", content, 4, size + 4)
    (tmp_path / "a.dm4").write_bytes(content)
    assert readers.unfinished(tmp_path / "a.dm4") is None
    (tmp_path / "a.dm4").write_bytes(content[:-1])
    assert (
        readers.unfinished(tmp_path / "a.dm4") == f"it ends after {len(content) - 1} of {len(content)} bytes"
    )


@pytest.mark.parametrize("header", [3936, 16380])
def test_the_folder_of_createc_is_not_taken_for_the_mark_before_its_values(
    tmp_path: Path, header: int
) -> None:
    values = zlib.compress(bytes(range(256)) * 40)
    head = b"[Paramco32]\r\nMemo=Dsp\\vec\\STMDATA\\Cu(111)\r\n"
    (path := tmp_path / "a.dat").write_bytes(head.ljust(header, b"\0") + b"DATA" + values)
    assert createc_data(path.read_bytes()) == header
    assert readers.incomplete(path) is None
    assert readers.doubtful(path) is None
    path.write_bytes(path.read_bytes()[:-20])
    assert "in the midst of its values" in str(readers.incomplete(path))
