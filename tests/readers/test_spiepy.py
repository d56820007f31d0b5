import struct
from pathlib import Path

import numpy as np
import pytest

from tvtasks import readers
from tvtasks.errors import UnreadableFileError

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "spiepy_demo"
SURFACE = np.random.default_rng(0).normal(size=(20, 30))


def dat(path: Path, surface: np.ndarray = SURFACE) -> Path:
    path.write_bytes(struct.pack("<II", *surface.shape) + surface.astype("<f8").tobytes())
    return path


def test_is_read_row_by_row(tmp_path: Path) -> None:
    (image,) = readers.read(dat(tmp_path / "a.dat"))
    np.testing.assert_array_equal(image.data, SURFACE)
    assert (image.technique, image.pixel_size, image.units) == ("STM", None, "")


def test_one_that_is_cut_is_unfinished(tmp_path: Path) -> None:
    path = dat(tmp_path / "a.dat")
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    assert readers.unfinished(path) == f"it ends after {len(content) - 5} of {len(content)} bytes"


def test_a_spectrum_of_nanonis_is_named_as_one(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_text(
        "Experiment\tbias spectroscopy\t\nSaved Date\t12.05.2023 13:50:59\t\n" * 9
    )
    with pytest.raises(UnreadableFileError, match=r"a\.dat is a spectrum .*--ignore '\*\.dat'"):
        readers.read(tmp_path / "a.dat")


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<II", 20, 30) + b"\xff\xee\xdd\xcc" * 1200,
        bytes(range(256)) * 16,
    ],
    ids=["no float64", "anything"],
)
def test_other_dat_files_are_not_taken_for_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.dat").write_bytes(content)
    with pytest.raises(UnreadableFileError, match=r"a\.dat is named like"):
        readers.read(tmp_path / "a.dat")


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the folder of sample files is not here")
@pytest.mark.parametrize(
    ("name", "side"), [("image_with_defects.dat", 256), ("image_with_step_edge_and_atoms.dat", 512)]
)
def test_samples(name: str, side: int) -> None:
    (image,) = readers.read(SAMPLES / name)
    assert image.data.shape == (side, side)
    assert np.isfinite(image.data).all()
    # A surface is smooth: neighbours differ by far less than the image does, in both directions.
    for axis in (0, 1):
        assert np.abs(np.diff(image.data, axis=axis)).mean() < 0.2 * image.data.std()
