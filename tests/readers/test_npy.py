from pathlib import Path

import numpy as np
import pytest

from tvtasks import readers
from tvtasks.errors import UnreadableFileError

IMAGE = np.arange(6 * 8).reshape(6, 8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.npy"


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "f2", ">f4", "f8", "i8"])
def test_values_are_read_bit_for_bit_in_native_byte_order(path: Path, dtype: str) -> None:
    np.save(path, IMAGE.astype(dtype))
    (micrograph,) = readers.read(path)
    assert micrograph.data.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(micrograph.data, IMAGE)


def test_columns_first_makes_no_difference(path: Path) -> None:
    np.save(path, np.asfortranarray(IMAGE))
    np.testing.assert_array_equal(readers.read(path)[0].data, IMAGE)


def test_a_stack_gives_frames(path: Path) -> None:
    np.save(path, np.stack([IMAGE, IMAGE + 1]))
    frames = readers.read(path)
    np.testing.assert_array_equal([frame.data for frame in frames], [IMAGE, IMAGE + 1])
    assert [frame.frame for frame in frames] == [0, 1]


def test_true_and_false_become_one_and_zero_with_a_note(path: Path) -> None:
    np.save(path, IMAGE > 9)
    (micrograph,) = readers.read(path)
    assert micrograph.data.dtype == np.uint8
    assert "true and false" in micrograph.notes[0]


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (np.arange(9), r"1 dimension\(s\), not two"),
        (np.array(3.0), r"0 dimension\(s\), not two"),
        (np.zeros((0, 5)), "without pixels"),
        (IMAGE * 1j, "complex"),
        (np.array([["a", "b"]]), "not numbers"),
        (np.array([[{}, {}]]), "Python objects"),
        (np.zeros((2, 2), dtype=[("x", "f4"), ("y", "f4")]), "not numbers"),
    ],
    ids=["profile", "number", "no pixels", "complex", "text", "objects", "records"],
)
def test_what_is_no_image_is_refused(path: Path, array: np.ndarray, what: str) -> None:
    np.save(path, array)
    assert readers.unfinished(path) is None
    with pytest.raises(UnreadableFileError, match=rf"a\.npy .*{what}"):
        readers.read(path)


def test_a_file_cut_anywhere_is_refused(path: Path) -> None:
    np.save(path, IMAGE)
    content = path.read_bytes()
    assert readers.unfinished(path) is None
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert readers.unfinished(path), f"cut to {length} of {len(content)} bytes"
        with pytest.raises(UnreadableFileError, match=r"is incomplete|is empty"):
            readers.read(path)


@pytest.mark.parametrize("damage", [b"j'descr'", b"{'descr\0", b"\xff" * 8])
def test_a_damaged_header_is_not_unfinished_and_is_refused(path: Path, damage: bytes) -> None:
    np.save(path, IMAGE)
    content = path.read_bytes()
    path.write_bytes(content[:10] + damage + content[10 + len(damage) :])
    assert readers.unfinished(path) is None
    with pytest.raises(UnreadableFileError, match=r"a\.npy cannot be read as a \.npy"):
        readers.read(path)
