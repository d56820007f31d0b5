import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tvtasks import readers
from tvtasks.errors import UnreadableFileError

IMAGE = np.arange(6 * 8).reshape(6, 8)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_array_is_a_channel_and_a_stack_is_frames(tmp_path: Path, save: Callable[..., None]) -> None:
    save(tmp_path / "a.npz", Z=IMAGE.astype(">i2"), stack=np.stack([IMAGE, -IMAGE]), pixel=0.5, text="Au")
    images = readers.read(tmp_path / "a.npz")
    assert [(image.channel, image.frame) for image in images] == [("Z", 0), ("stack", 0), ("stack", 1)]
    np.testing.assert_array_equal(images[0].data, IMAGE)
    np.testing.assert_array_equal(images[2].data, -IMAGE)
    assert images[0].data.dtype == np.int16


def test_the_scale_that_export_writes_comes_back(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", Z=IMAGE, pixel_size=[2e-10, 1e-10], pixel_unit="m", units="V")
    (image,) = readers.read(tmp_path / "a.npz")
    assert (image.pixel_size, image.pixel_unit, image.units) == ((2e-10, 1e-10), "m", "V")


@pytest.mark.parametrize("size", [[1e-9, 0.0], [1e-9], [1e-9, np.nan], "1 nm"])
def test_what_is_no_scale_leaves_the_image_without_one(tmp_path: Path, size: object) -> None:
    np.savez(tmp_path / "a.npz", Z=IMAGE, pixel_size=size, pixel_unit="m")
    (image,) = readers.read(tmp_path / "a.npz")
    assert image.pixel_size is None


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, Z=IMAGE)
    content = path.read_bytes()
    assert readers.unfinished(path) is None
    for length in range(0, len(content) - 22, 7):
        path.write_bytes(content[:length])
        with pytest.raises(UnreadableFileError):
            readers.read(path)
        assert readers.unfinished(path) or length < 40


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        ({"text": "Au", "n": 3}, r"none of its arrays \(text\.npy, n\.npy\)"),
        ({"o": [{}, {}]}, "none of its arrays"),
    ],
)
def test_without_an_image_it_is_refused(tmp_path: Path, arrays: dict[str, object], what: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays, allow_pickle=True)
    with pytest.raises(UnreadableFileError, match=rf"a\.npz contains no image: {what}"):
        readers.read(tmp_path / "a.npz")


def test_a_zip_of_other_files_is_no_npz(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "no array")
    with pytest.raises(UnreadableFileError, match=r"named like a \.npz file, but it is not one"):
        readers.read(tmp_path / "a.npz")


def test_an_array_far_larger_than_its_file_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (100_000, 100_000)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("Z.npy", header.getvalue())
    with pytest.raises(UnreadableFileError, match="76,294 MiB"):
        readers.read(tmp_path / "a.npz")
