"""Formats of electron microscopes, against libraries that nobody here wrote."""

import json
import shutil
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tvtasks import readers
from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Micrograph, file_sha256
from tvtasks.readers import reader

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"

samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the folder of sample files is not on this machine")
installed = pytest.mark.skipif(find_spec("rsciio") is None, reason="the extra em is not installed")


def read(name: str) -> list[Micrograph]:
    assert readers.incomplete(SAMPLES / name) is None
    micrographs = readers.read(SAMPLES / name)
    for micrograph in micrographs:
        json.dumps(micrograph.vendor_metadata, allow_nan=False)
        assert micrograph.reader[0] == "rosettasciio"
        assert micrograph.quantity == "intensity"
    return micrographs


@samples
@installed
class TestSamples:
    def test_dm3(self) -> None:
        (image,) = read("dm/test_STEM_image.dm3")
        assert (image.data.shape, image.data.dtype) == ((68, 68), np.uint32)
        assert image.pixel_size == pytest.approx((0.248538e-9, 0.248538e-9), rel=1e-5)
        assert (image.units, image.technique) == ("counts", "STEM")
        assert image.acquired_at is not None
        assert image.acquired_at.replace(microsecond=0) == datetime(2016, 8, 8, 15, 26, 37, tzinfo=UTC)

    def test_dm4_with_sides_in_two_units(self) -> None:
        (image,) = read("dm/nonSquare_diffPixelSize.dm4")
        assert image.data.shape == (64, 128)
        assert image.pixel_size == pytest.approx((2e-10, 1e-9))

    def test_velox_gives_an_image_for_each_detector(self) -> None:
        images = read("velox_emd/STEM_HAADF-DF4-DF2-BF.emd")
        assert {image.channel for image in images} == {"HAADF", "DF4", "DF2", "BF"}
        assert len(images) == 4
        for image in images:
            assert (image.data.shape, image.technique) == ((128, 128), "STEM")
            assert image.pixel_size == pytest.approx((87.37e-9, 87.37e-9), rel=1e-4)

    def test_velox_stack_of_a_camera(self) -> None:
        images = read("velox_emd/fei_example_tem_stack.emd")
        assert [(image.channel, image.frame) for image in images] == [("Ceta", 0), ("Ceta", 1)]
        assert {image.technique for image in images} == {None}

    @pytest.mark.parametrize("name", ["16_STOimage_1.ser", "16_STOimage.emi"])
    def test_tia_reads_both_halves_from_either(self, name: str) -> None:
        folder = SAMPLES / "ser_emi"
        (image,) = read(f"ser_emi/{name}")
        assert (image.data.shape, image.data.dtype, image.technique) == ((1024, 1024), np.uint16, "STEM")
        assert image.pixel_size == pytest.approx((0.0100127e-9, 0.0100127e-9), rel=1e-5)
        (other,) = (path for path in folder.iterdir() if path.name != name)
        assert image.source is not None
        assert image.source.companions == {other.name: file_sha256(other)}

    def test_a_series_without_its_description(self, tmp_path: Path) -> None:
        shutil.copy(SAMPLES / "ser_emi" / "16_STOimage_1.ser", tmp_path)
        (image,) = readers.read(tmp_path / "16_STOimage_1.ser")
        assert image.pixel_size == pytest.approx((0.0100127e-9, 0.0100127e-9), rel=1e-5)
        assert image.technique is None

    def test_mrc_is_a_stack(self) -> None:
        images = read("mrc/temp.mrc")
        assert [image.frame for image in images] == [0, 1, 2]
        assert images[0].data.shape == (128, 128)
        assert images[0].pixel_size == pytest.approx((0.2e-9, 0.2e-9))

    def test_what_has_no_scale_gets_none(self) -> None:
        (image,) = read("emd_berkeley/example_image.emd")
        assert (image.data.shape, image.pixel_size) == ((3, 3), None)

    def test_a_spectrum_is_refused(self) -> None:
        with pytest.raises(UnreadableFileError, match=r"08_carbon\.dm3 contains a spectrum"):
            readers.read(SAMPLES / "dm" / "08_carbon.dm3")

    def test_content_counts_where_the_name_is_wrong(self, tmp_path: Path) -> None:
        shutil.copy(SAMPLES / "dm" / "test_STEM_image.dm3", tmp_path / "a.tif")
        assert readers.read(tmp_path / "a.tif")[0].data.shape == (68, 68)


@samples
@installed
class TestAgainstOtherLibraries:
    """Shape, scale, values and orientation."""

    def test_dm(self) -> None:
        dm = pytest.importorskip("ncempy.io.dm")
        for name, unit in (("test_STEM_image.dm3", 1e-9), ("nonSquare_diffPixelSize.dm4", None)):
            theirs: dict[str, Any] = dm.dmReader(str(SAMPLES / "dm" / name))
            (ours,) = read(f"dm/{name}")
            np.testing.assert_array_equal(ours.data, theirs["data"])
            if unit:
                assert ours.pixel_size == pytest.approx([side * unit for side in theirs["pixelSize"]])

    def test_ser(self) -> None:
        ser = pytest.importorskip("ncempy.io.ser")
        theirs: dict[str, Any] = ser.serReader(str(SAMPLES / "ser_emi" / "16_STOimage_1.ser"))
        (ours,) = read("ser_emi/16_STOimage_1.ser")
        np.testing.assert_array_equal(ours.data, theirs["data"])
        assert ours.pixel_size == pytest.approx(theirs["pixelSize"])

    def test_velox(self) -> None:
        velox = pytest.importorskip("ncempy.io.emdVelox")
        ours = read("velox_emd/STEM_HAADF-DF4-DF2-BF.emd")
        path = SAMPLES / "velox_emd" / "STEM_HAADF-DF4-DF2-BF.emd"
        with velox.fileEMDVelox(str(path)) as file:
            theirs = [file.get_dataset(number) for number in range(4)]
        for image in ours:
            assert any(np.array_equal(image.data, data) for data, _ in theirs)
        for data, _ in theirs:
            assert any(np.array_equal(image.data, data) for image in ours)
        with h5py.File(path) as file:
            for group in file["Data/Image"].values():
                text = bytes(group["Metadata"][:, 0]).partition(b"\0")[0]
                name = json.loads(text)["BinaryResult"]["Detector"]
                (image,) = (one for one in ours if one.channel == name)
                np.testing.assert_array_equal(image.data, group["Data"][:, :, 0])

    def test_mrc(self) -> None:
        mrcfile = pytest.importorskip("mrcfile")
        ours = read("mrc/temp.mrc")
        with (
            pytest.warns(RuntimeWarning),
            mrcfile.open(SAMPLES / "mrc" / "temp.mrc", permissive=True) as file,
        ):
            np.testing.assert_array_equal(np.stack([image.data for image in ours]), file.data)
            assert ours[0].pixel_size == pytest.approx((file.voxel_size.y * 1e-10, file.voxel_size.x * 1e-10))


@samples
def test_without_the_extra_the_error_is_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "find_spec", lambda module: None)
    with pytest.raises(UnreadableFileError, match=r"test_STEM_image\.dm3 .*pip install 'tvtasks\[em\]'"):
        readers.read(SAMPLES / "dm" / "test_STEM_image.dm3")
