"""Files that instruments wrote; they have their own licences and lie outside the repository."""

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from tvtasks import readers
from tvtasks.micrograph import Micrograph, Region

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"

pytestmark = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="the folder of sample files is not on this machine"
)


def sem(name: str) -> Micrograph:
    path = SAMPLES / "sem_tiff" / name
    assert readers.unfinished(path) is None
    (micrograph,) = readers.read(path)
    json.dumps(micrograph.vendor_metadata, allow_nan=False)
    return micrograph


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "nanometres", "image_rows", "day"),
    [
        ("quanta_image.tif", (943, 1024), "u1", 441.942, 884, datetime(2017, 12, 18, 13, 4, 14)),
        ("FEI-Helios-Ebeam-16bits.tif", (471, 512), "u2", 3372.4, 442, datetime(2016, 6, 13, 17, 6, 40)),
        ("scios_with_xml_metadata.tif", (1024, 1536), "u1", 26.9792, None, datetime(2024, 5, 1, 12, 56, 16)),
        ("tescan-pfib_dataZeroed.tif", (1578, 1280), "u2", 1.5625, 1280, datetime(2025, 12, 3, 17, 19, 26)),
        ("test_tiff_Zeiss_SEM_512pix.tif", (384, 512), "u1", 11.65, 350, datetime(2018, 9, 25, 8, 20, 42)),
    ],
)
def test_electron_microscopes(
    *, name: str, shape: tuple[int, int], dtype: str, nanometres: float, image_rows: int | None, day: datetime
) -> None:
    micrograph = sem(name)
    assert micrograph.data.shape == shape
    assert micrograph.data.dtype == np.dtype(dtype)
    assert micrograph.pixel_size == pytest.approx((nanometres * 1e-9,) * 2, rel=2e-4)
    assert micrograph.valid == (Region(0, image_rows, 0, shape[1]) if image_rows else None)
    assert (micrograph.technique, micrograph.units, micrograph.acquired_at) == ("SEM", "counts", day)


def test_one_image_saved_by_two_programs_is_one_image() -> None:
    first, second = sem("saved_with_DM.tif"), sem("saved_with_imageJ.tif")
    assert (first.data.dtype, second.data.dtype) == (np.int32, np.float32)
    assert (first.data.min(), first.data.max()) == (2866, 3774)
    np.testing.assert_array_equal(first.data, second.data)
    assert first.pixel_size == pytest.approx((0.168675e-6, 0.168675e-6), rel=1e-5)
    assert first.pixel_size == pytest.approx(second.pixel_size)


def test_nexus() -> None:
    frames = readers.read(SAMPLES / "nexus" / "simple_signal.nxs")
    assert [frame.data.shape for frame in frames] == [(40, 40)] * 15
