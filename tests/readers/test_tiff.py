import struct
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from tvtasks import readers
from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Micrograph, Region, file_sha256

IMAGE = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30)
COLOUR = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
LUMA = np.floor(COLOUR @ np.array([19595, 38470, 7471]) / 65536 + 0.5)


def only(path: Path) -> Micrograph:
    (micrograph,) = readers.read(path)
    return micrograph


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.tif"


class TestValues:
    @pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "i2", "u4", "i4", "f2", "<f4", ">f8"])
    def test_grey_values_are_read_bit_for_bit_in_native_byte_order(self, path: Path, dtype: str) -> None:
        image = IMAGE.astype(dtype)
        tifffile.imwrite(path, image, byteorder=">" if dtype.startswith(">") else "<")
        data = only(path).data
        assert data.dtype == image.dtype.newbyteorder("=")
        assert data.dtype.isnative
        np.testing.assert_array_equal(data, image)

    @pytest.mark.parametrize(
        "options",
        [
            {"compression": "zlib"},
            {"compression": "lzw", "predictor": True},
            {"tile": (16, 16)},
            {"bigtiff": True},
            {"rowsperstrip": 3},
        ],
        ids=str,
    )
    def test_ways_to_store_them(self, path: Path, options: dict[str, object]) -> None:
        tifffile.imwrite(path, IMAGE, **options)
        assert readers.unfinished(path) is None
        np.testing.assert_array_equal(only(path).data, IMAGE)

    def test_not_a_number_stays(self, path: Path) -> None:
        image = IMAGE.astype(np.float32)
        image[3] = np.nan
        tifffile.imwrite(path, image)
        np.testing.assert_array_equal(only(path).data, image)

    def test_true_and_false_become_one_and_zero_with_a_note(self, path: Path) -> None:
        tifffile.imwrite(path, IMAGE % 2 == 0)
        micrograph = only(path)
        assert micrograph.data.dtype == np.uint8
        assert "true and false" in micrograph.notes[-1]

    def test_white_as_zero_is_noted_and_not_changed(self, path: Path) -> None:
        tifffile.imwrite(path, IMAGE, photometric="miniswhite")
        micrograph = only(path)
        np.testing.assert_array_equal(micrograph.data, IMAGE)
        assert "0 is white" in micrograph.notes[0]

    @pytest.mark.parametrize(
        ("array", "what"),
        [
            (np.ones(9, np.float32), "not rows and columns"),
            (np.ones((6, 5), np.complex64), "complex"),
        ],
    )
    def test_what_is_no_image_is_refused(self, path: Path, array: NDArray[np.generic], what: str) -> None:
        tifffile.imwrite(path, array)
        with pytest.raises(UnreadableFileError, match=rf"a\.tif .*{what}"):
            readers.read(path)

    def test_a_damaged_size_is_refused_before_it_fills_the_memory(self, path: Path) -> None:
        tifffile.imwrite(path, IMAGE, compression="zlib")
        with tifffile.TiffFile(path, mode="r+") as tiff:
            tiff.pages.first.tags["ImageWidth"].overwrite(2_000_000_000, dtype="I")
        with pytest.raises(UnreadableFileError, match="MiB of pixels"):
            readers.read(path)


class TestColour:
    @pytest.mark.parametrize("planar", ["contig", "separate"])
    def test_becomes_luma_with_a_note(self, path: Path, planar: str) -> None:
        pixels = COLOUR if planar == "contig" else np.moveaxis(COLOUR, -1, 0)
        tifffile.imwrite(path, pixels, photometric="rgb", planarconfig=planar)
        micrograph = only(path)
        assert micrograph.data.dtype == np.uint8
        np.testing.assert_array_equal(micrograph.data, LUMA)
        assert "converted to grey" in micrograph.notes[0]

    def test_with_three_equal_channels_is_that_channel(self, path: Path) -> None:
        tifffile.imwrite(path, np.stack([IMAGE] * 3, axis=-1), photometric="rgb")
        np.testing.assert_array_equal(only(path).data, IMAGE)

    def test_transparency_is_left_out(self, path: Path) -> None:
        opaque = np.concatenate([COLOUR, np.full((20, 30, 1), 255, np.uint8)], axis=-1)
        tifffile.imwrite(path, opaque, photometric="rgb", extrasamples=["unassalpha"])
        np.testing.assert_array_equal(only(path).data, LUMA)

    def test_grey_with_transparency_is_the_grey(self, path: Path) -> None:
        pixels = np.stack([IMAGE, IMAGE * 0], axis=-1)
        tifffile.imwrite(
            path, pixels, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]
        )
        np.testing.assert_array_equal(only(path).data, IMAGE)

    def test_samples_that_are_no_colour_are_frames(self, path: Path) -> None:
        pixels = np.stack([IMAGE, IMAGE + 1], axis=-1)
        tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig")
        frames = readers.read(path)
        np.testing.assert_array_equal([frame.data for frame in frames], [IMAGE, IMAGE + 1])

    def test_a_colour_table_is_applied(self, path: Path) -> None:
        table = np.zeros((3, 256), np.uint16)
        table[0] = np.arange(255, -1, -1) * 257
        indices = (IMAGE % 256).astype(np.uint8)
        tifffile.imwrite(path, indices, photometric="palette", colormap=table)
        micrograph = only(path)
        np.testing.assert_array_equal(micrograph.data, np.floor((255.0 - indices) * 19595 / 65536 + 0.5))
        assert micrograph.data.dtype == np.uint8
        assert "colour table" in micrograph.notes[0]

    def test_a_grey_ramp_as_colour_table_changes_nothing(self, path: Path) -> None:
        indices = (IMAGE % 256).astype(np.uint8)
        table = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
        tifffile.imwrite(path, indices, photometric="palette", colormap=table)
        np.testing.assert_array_equal(only(path).data, indices)

    def test_the_display_colours_of_imagej_leave_the_values_alone(self, path: Path) -> None:
        indices = (IMAGE % 256).astype(np.uint8)
        table = np.zeros((3, 256), np.uint16)
        description = "ImageJ=1.54f\nimages=1\n"
        tifffile.imwrite(
            path, indices, photometric="palette", colormap=table, description=description, metadata=None
        )
        micrograph = only(path)
        np.testing.assert_array_equal(micrograph.data, indices)
        assert "for display" in micrograph.notes[0]

    def test_other_colour_systems_are_refused(self, path: Path) -> None:
        tifffile.imwrite(path, COLOUR, photometric="cielab")
        with pytest.raises(UnreadableFileError, match="Save it again as a grey or RGB image"):
            readers.read(path)


class TestFrames:
    STACK = np.arange(4 * 20 * 30, dtype=np.uint16).reshape(4, 20, 30)

    def test_pages_are_frames_in_their_order(self, path: Path) -> None:
        tifffile.imwrite(path, self.STACK, photometric="minisblack")
        frames = readers.read(path)
        assert [frame.frame for frame in frames] == [0, 1, 2, 3]
        np.testing.assert_array_equal([frame.data for frame in frames], self.STACK)

    @pytest.mark.parametrize("kind", ["imagej", "ome"])
    def test_hyperstacks_are_frames(self, path: Path, kind: str) -> None:
        tifffile.imwrite(path, self.STACK.reshape(2, 2, 20, 30), metadata={"axes": "TCYX"}, **{kind: True})
        frames = readers.read(path)
        assert readers.unfinished(path) is None
        np.testing.assert_array_equal([frame.data for frame in frames], self.STACK)

    def test_pages_of_several_shapes_are_numbered_through_the_file(self, path: Path) -> None:
        with tifffile.TiffWriter(path) as writer:
            writer.write(IMAGE, metadata=None)
            writer.write(IMAGE[:5, :7].copy(), metadata=None)
        assert [(frame.frame, frame.data.shape) for frame in readers.read(path)] == [
            (0, (20, 30)),
            (1, (5, 7)),
        ]

    def test_thumbnails_and_reduced_copies_are_left_out(self, path: Path) -> None:
        with tifffile.TiffWriter(path) as writer:
            writer.write(IMAGE, subifds=1, metadata=None)
            writer.write(IMAGE[::2, ::2].copy(), subfiletype=1, metadata=None)
            writer.write(IMAGE[::4, ::4].copy(), subfiletype=1, metadata=None)
        np.testing.assert_array_equal(only(path).data, IMAGE)

    def test_of_an_ome_set_only_the_pages_in_this_file_are_read(self, path: Path) -> None:
        tifffile.imwrite(path, IMAGE, ome=True)
        xml = tifffile.tiffcomment(path).replace('SizeT="1"', 'SizeT="2"')
        other = (
            '<TiffData IFD="0" FirstT="1" PlaneCount="1"><UUID FileName="b.tif">urn:uuid:0</UUID></TiffData>'
        )
        tifffile.tiffcomment(path, xml.replace("</Pixels>", f"{other}</Pixels>").encode())
        np.testing.assert_array_equal(only(path).data, IMAGE)


class TestCalibration:
    @pytest.mark.parametrize(
        ("unit", "metres"),
        [("micron", 1e-6), ("cm", 1e-2), ("inch", 2.54e-2), ("nm", 1e-9), ("\\u00B5m", 1e-6), ("mm", 1e-3)],
    )
    def test_imagej(self, path: Path, unit: str, metres: float) -> None:
        tifffile.imwrite(path, IMAGE, imagej=True, resolution=(4, 2), metadata={"unit": unit})
        assert only(path).pixel_size == pytest.approx((0.5 * metres, 0.25 * metres))

    @pytest.mark.parametrize("unit", ["pixel", ""])
    def test_imagej_without_a_length(self, path: Path, unit: str) -> None:
        tifffile.imwrite(path, IMAGE, imagej=True, resolution=(4, 2), metadata={"unit": unit})
        assert only(path).pixel_size is None

    def test_imagej_with_a_unit_of_its_own_along_y(self, path: Path) -> None:
        about = "ImageJ=1.53t\nunit=nm\nyunit=um\n"
        tifffile.imwrite(path, IMAGE, description=about, resolution=(10, 5), resolutionunit=1, metadata=None)
        assert only(path).pixel_size == pytest.approx((0.2e-6, 0.1e-9))

    @pytest.mark.parametrize(("unit", "dots"), [("cm", 72 / 2.54), ("inch", 300)])
    def test_the_dots_of_a_print_that_imagej_took_over_are_no_calibration(
        self, path: Path, unit: str, dots: float
    ) -> None:
        tifffile.imwrite(path, IMAGE, imagej=True, resolution=(dots, dots), metadata={"unit": unit})
        micrograph = only(path)
        assert micrograph.pixel_size is None
        assert "for prints" in micrograph.notes[0]

    def test_ome(self, path: Path) -> None:
        scale = {"PhysicalSizeX": 3.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.002}
        tifffile.imwrite(path, IMAGE, ome=True, metadata=scale)
        micrograph = only(path)
        assert micrograph.pixel_size == pytest.approx((2e-9, 3e-9))
        assert "Image" in micrograph.vendor_metadata["OME"]

    def test_damaged_ome_xml_costs_the_scale_and_not_the_image(self, path: Path) -> None:
        tifffile.imwrite(path, IMAGE, description="<OME><Image></OME>", metadata=None)
        micrograph = only(path)
        np.testing.assert_array_equal(micrograph.data, IMAGE)
        assert micrograph.pixel_size is None
        assert "damaged" in micrograph.notes[0]

    def test_the_print_resolution_of_a_plain_tiff_is_no_calibration(self, path: Path) -> None:
        tifffile.imwrite(path, IMAGE, resolution=(300, 300), resolutionunit="inch")
        assert only(path).pixel_size is None

    def test_fei(self, path: Path) -> None:
        self.write_fei(path, "ResolutionX=30\nResolutionY=16")
        micrograph = only(path)
        assert micrograph.pixel_size == (5e-9, 4e-9)
        assert micrograph.valid == Region(0, 16, 0, 30)
        assert micrograph.technique == "SEM"
        assert micrograph.units == "counts"
        assert micrograph.acquired_at == datetime(2017, 12, 18, 13, 4, 14)
        assert micrograph.vendor_metadata["FEI"]["Scan"]["PixelWidth"] == 4e-9

    def test_fei_without_data_bar_is_valid_everywhere(self, path: Path) -> None:
        self.write_fei(path, "ResolutionX=30\nResolutionY=20")
        assert only(path).valid is None

    def test_fei_saved_at_another_size_has_no_scale(self, path: Path) -> None:
        self.write_fei(path, "ResolutionX=60\nResolutionY=32")
        micrograph = only(path)
        assert (micrograph.pixel_size, micrograph.valid) == (None, None)
        assert "60 columns" in micrograph.notes[0]

    @staticmethod
    def write_fei(path: Path, image: str) -> None:
        text = (
            f"[Scan]\nPixelWidth=4e-09\nPixelHeight=5e-09\n[Image]\n{image}\n"
            "[PrivateFei]\nTimeOfCreation=18.12.2017 13:04:14\n"
        )
        tifffile.imwrite(path, IMAGE, metadata=None, extratags=[(34682, 2, 0, text, True)])

    @staticmethod
    def write_thermo(path: Path, image_rows: int, columns: int = 30, unit: str = "nm") -> None:
        """Write what Thermo Fisher writes where the INI text is missing (made here; no sample)."""
        text = (
            '<?xml version="1.0"?><Metadata xmlns:nil="http://schemas.fei.com/Metadata/v1/2013/07">'
            "<Acquisition><AcquisitionDatetime>2024-05-01T12:56:16</AcquisitionDatetime></Acquisition>"
            f"<BinaryResult><ImageSize><X>{columns}</X><Y>{image_rows}</Y></ImageSize><PixelSize>"
            f'<X unit="{unit}" unitPrefixPower="1">2.5</X><Y unit="{unit}" unitPrefixPower="1">2</Y>'
            "</PixelSize></BinaryResult></Metadata>"
        )
        tifffile.imwrite(path, IMAGE, metadata=None, extratags=[(34683, "s", 0, text, True)])

    def test_thermo_fisher_xml(self, path: Path) -> None:
        self.write_thermo(path, image_rows=15)
        micrograph = only(path)
        assert micrograph.pixel_size == pytest.approx((2e-9, 2.5e-9))
        assert micrograph.valid == Region(0, 15, 0, 30)
        assert micrograph.acquired_at == datetime(2024, 5, 1, 12, 56, 16)
        assert micrograph.technique == "SEM"

    def test_thermo_fisher_xml_without_a_scale(self, path: Path) -> None:
        for options in ({"columns": 60}, {"unit": "px"}):
            self.write_thermo(path, 20, **options)  # type: ignore[arg-type]
            assert only(path).pixel_size is None
            assert only(path).valid is None

    def test_zeiss_uses_the_pixel_of_the_image_and_not_of_the_screen(self, path: Path) -> None:
        text = "\nAP_PIXEL_SIZE\nPixel Size = 5.8 nm\nAP_IMAGE_PIXEL_SIZE\nImage Pixel Size = 11.6 nm\n"
        tifffile.imwrite(path, IMAGE, metadata=None, extratags=[(34118, 2, 0, text, True)])
        assert only(path).pixel_size == pytest.approx((11.6e-9, 11.6e-9))

    def test_zeiss_with_only_the_pixel_of_the_screen_says_so(self, path: Path) -> None:
        text = "\nAP_PIXEL_SIZE\nPixel Size = 5.8 nm\n"
        tifffile.imwrite(path, IMAGE, metadata=None, extratags=[(34118, 2, 0, text, True)])
        assert only(path).pixel_size == pytest.approx((5.8e-9, 5.8e-9))
        assert "of the screen" in only(path).notes[0]

    @pytest.mark.parametrize("name", ["a.hdr", "a-tif.hdr"])
    def test_tescan_header_beside_the_image(self, path: Path, name: str) -> None:
        tifffile.imwrite(path, IMAGE)
        header = path.with_name(name)
        header.write_text(
            "[MAIN]\nDate=2025-12-03\nImageStripSize=4\nPixelSizeX=0.000000002\n"
            "PixelSizeY=0.000000003\nTime=17:19:26\n",
            newline="\r\n",
        )
        micrograph = only(path)
        assert micrograph.pixel_size == (3e-9, 2e-9)
        assert micrograph.valid == Region(0, 16, 0, 30)
        assert micrograph.acquired_at == datetime(2025, 12, 3, 17, 19, 26)
        assert micrograph.source is not None
        assert micrograph.source.companions == {name: file_sha256(header)}

    def test_a_header_of_something_else_is_left_alone(self, path: Path) -> None:
        tifffile.imwrite(path, IMAGE)
        path.with_suffix(".hdr").write_text("ENVI\nsamples = 30\n")
        micrograph = only(path)
        assert micrograph.pixel_size is None
        assert micrograph.source is not None
        assert micrograph.source.companions == {}


def write_plain(path: Path) -> None:
    tifffile.imwrite(path, IMAGE[:6, :8].copy())


def write_compressed_pages(path: Path) -> None:
    tifffile.imwrite(path, TestFrames.STACK[:, :6, :8], compression="zlib", photometric="minisblack")


def write_imagej_stack(path: Path) -> None:
    tifffile.imwrite(path, TestFrames.STACK[:, :6, :8], imagej=True)


def write_imagej_large_stack(path: Path) -> None:
    """Write the way ImageJ stores a stack over 4 GB: one directory, the images one after the other."""
    description = "ImageJ=1.54f\nimages=4\nslices=4\n"
    tifffile.imwrite(path, TestFrames.STACK[0, :6, :8], description=description, metadata=None)
    with path.open("ab") as file:
        file.write(TestFrames.STACK[1:, :6, :8].tobytes())


def write_big_tiles(path: Path) -> None:
    tifffile.imwrite(path, IMAGE, bigtiff=True, tile=(16, 16), byteorder=">")


def write_subifds(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        writer.write(IMAGE[:6, :8].copy(), subifds=1, metadata=None)
        writer.write(IMAGE[:3, :4].copy(), subfiletype=1, metadata=None)


WRITERS = [
    write_plain,
    write_compressed_pages,
    write_imagej_stack,
    write_imagej_large_stack,
    write_big_tiles,
    write_subifds,
]


class TestUnfinished:
    @pytest.mark.parametrize("write", WRITERS)
    def test_a_file_cut_anywhere_is_never_read_as_something_else(self, path: Path, write: object) -> None:
        assert callable(write)
        write(path)
        content = path.read_bytes()
        whole = readers.read(path)
        assert readers.unfinished(path) is None
        for length in range(0, len(content), max(1, len(content) // 150)):
            path.write_bytes(content[:length])
            if readers.unfinished(path) is None:  # nothing but padding is missing
                frames = readers.read(path)
                assert len(frames) == len(whole)
                for frame, expected in zip(frames, whole, strict=True):
                    np.testing.assert_array_equal(frame.data, expected.data)
            else:
                with pytest.raises(UnreadableFileError, match=r"is incomplete|is empty"):
                    readers.read(path)

    def test_says_how_much_is_there(self, path: Path) -> None:
        write_plain(path)
        size = path.stat().st_size
        path.write_bytes(path.read_bytes()[:-10])
        assert readers.unfinished(path) == f"it ends after {size - 10} of at least {size} bytes"

    def test_a_file_whose_directory_comes_last(self, path: Path) -> None:
        path.write_bytes(struct.pack("<2sHI", b"II", 42, 0) + bytes(500))
        assert readers.unfinished(path) == "its directory has not been written yet"

    def test_strips_that_have_no_place_yet(self, path: Path) -> None:
        tifffile.imwrite(path, IMAGE, rowsperstrip=5)
        with tifffile.TiffFile(path, mode="r+") as tiff:
            tiff.pages.first.tags["StripOffsets"].overwrite([300, 600, 0, 0])
        assert readers.unfinished(path) == "2 of its 4 strips have not been written yet"

    def test_directories_in_a_circle_come_to_an_end(self, path: Path) -> None:
        path.write_bytes(struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<HI", 0, 8))
        assert readers.unfinished(path) is None
