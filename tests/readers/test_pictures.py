from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from tvtasks import readers
from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Micrograph

GREY = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16)
COLOUR = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)


def only(path: Path) -> Micrograph:
    (micrograph,) = readers.read(path)
    return micrograph


class TestValues:
    @pytest.mark.parametrize("suffix", ["png", "bmp"])
    def test_grey_is_read_bit_for_bit(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(GREY).save(path)
        micrograph = only(path)
        assert micrograph.data.dtype == np.uint8
        np.testing.assert_array_equal(micrograph.data, GREY)
        assert (micrograph.quantity, micrograph.units, micrograph.pixel_size) == ("intensity", "counts", None)
        assert micrograph.notes == ()

    def test_grey_jpeg_is_what_the_decoder_gives(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        Image.fromarray(GREY).save(path, quality=95)
        assert np.abs(only(path).data.astype(int) - GREY).max() < 16

    def test_16_bit_png_stays_16_bit(self, tmp_path: Path) -> None:
        image = GREY.astype(np.uint16) * 300
        Image.fromarray(image).save(tmp_path / "a.png")
        data = only(tmp_path / "a.png").data
        assert data.dtype == np.uint16
        np.testing.assert_array_equal(data, image)

    def test_one_bit_becomes_one_and_zero_with_a_note(self, tmp_path: Path) -> None:
        Image.fromarray(GREY % 2 == 0).save(tmp_path / "a.png")
        micrograph = only(tmp_path / "a.png")
        np.testing.assert_array_equal(micrograph.data, (GREY % 2 == 0).astype(np.uint8))
        assert "true and false" in micrograph.notes[0]


class TestColour:
    @pytest.mark.parametrize("suffix", ["png", "bmp"])
    def test_becomes_the_grey_that_pillow_makes(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(COLOUR).save(path)
        micrograph = only(path)
        np.testing.assert_array_equal(micrograph.data, np.asarray(Image.fromarray(COLOUR).convert("L")))
        assert "converted to grey" in micrograph.notes[0]

    def test_transparency_is_left_out_with_a_note(self, tmp_path: Path) -> None:
        image = Image.fromarray(COLOUR)
        image.putalpha(Image.fromarray(GREY))
        image.save(tmp_path / "a.png")
        micrograph = only(tmp_path / "a.png")
        np.testing.assert_array_equal(micrograph.data, np.asarray(Image.fromarray(COLOUR).convert("L")))
        assert "transparency" in micrograph.notes[1]

    def test_colour_table_is_applied_with_a_note(self, tmp_path: Path) -> None:
        Image.fromarray(COLOUR).quantize(16).save(tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as image:
            assert image.mode == "P"
            expected = np.asarray(image.convert("RGB").convert("L"))
        micrograph = only(tmp_path / "a.png")
        np.testing.assert_array_equal(micrograph.data, expected)
        assert "colour table" in micrograph.notes[0]

    @pytest.mark.parametrize("channels", [2, 3, 4])
    def test_16_bit_colour_keeps_its_16_bits(self, tmp_path: Path, channels: int) -> None:
        image = np.repeat(GREY[..., None].astype(np.uint16) * 300, channels, axis=-1)
        (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(image))
        np.testing.assert_array_equal(only(tmp_path / "a.png").data, image[..., 0])

    def test_the_inks_of_a_printer_become_grey(self, tmp_path: Path) -> None:
        Image.fromarray(GREY).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
        assert only(tmp_path / "a.jpg").data.shape == GREY.shape


def test_an_animation_gives_frames(tmp_path: Path) -> None:
    images = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    images[0].save(tmp_path / "a.png", save_all=True, append_images=images[1:])
    frames = readers.read(tmp_path / "a.png")
    assert [frame.frame for frame in frames] == [0, 1]
    np.testing.assert_array_equal([frame.data for frame in frames], [GREY, 255 - GREY])


class TestUnfinished:
    @pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
    @pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
    def test_a_picture_cut_anywhere_is_refused(self, tmp_path: Path, suffix: str, pixels: np.ndarray) -> None:
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(pixels).save(path)
        content = path.read_bytes()
        assert readers.unfinished(path) is None
        for length in range(len(content)):
            path.write_bytes(content[:length])
            assert readers.unfinished(path), f"cut to {length} of {len(content)} bytes"
        with pytest.raises(UnreadableFileError, match="is incomplete"):
            readers.read(path)

    def test_what_a_camera_appends_to_a_jpeg_does_not_matter(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        Image.fromarray(GREY).save(path)
        with path.open("ab") as file:
            file.write(b"maker's note")
        assert readers.unfinished(path) is None

    def test_the_end_of_a_thumbnail_is_not_the_end_of_the_picture(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        Image.fromarray(GREY).save(path, comment=b"\xff\xd8 thumbnail \xff\xd9")
        assert readers.unfinished(path) is None
        path.write_bytes(path.read_bytes()[:-2])
        assert "without the end marker of a JPEG" in str(readers.unfinished(path))


def test_damaged_content_becomes_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(COLOUR).save(path)
    content = bytearray(path.read_bytes())
    content[60:80] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match=r"a\.png cannot be read as a picture"):
        readers.read(path)
