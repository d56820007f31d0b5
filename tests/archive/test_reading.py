import json
import shutil
import sqlite3
from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tvtasks import Micrograph, Recipe, Restoration, restore
from tvtasks.archive import Storage, load, run_id, summary, write
from tvtasks.errors import ArchiveError
from tvtasks.micrograph import Region

RAW = "/entry/raw/data"


@pytest.fixture
def path(restoration: Restoration, tmp_path: Path) -> Path:
    return write(restoration, tmp_path)


class TestLoad:
    def test_what_was_known_about_the_image_comes_back(self, path: Path, micrograph: Micrograph) -> None:
        found = load(path).micrograph
        assert micrograph.source
        for item in fields(Micrograph):
            if item.name not in {"data", "source"}:
                assert getattr(found, item.name) == getattr(micrograph, item.name), item.name
        assert found.source == replace(micrograph.source, path=Path("terraces.sxm"))

    def test_arrays_come_back(self, tmp_path: Path, restoration: Restoration) -> None:
        run = load(write(restoration, tmp_path, storage=Storage(exact=True)))
        assert run.region == restoration.region
        for name in ("background", "flat", "contrast", "restored"):
            array, expected = getattr(run, name), getattr(restoration, name)
            np.testing.assert_array_equal(array, expected)
            assert array.dtype == expected.dtype

    def test_a_step_that_was_not_done_left_no_array(self, micrograph: Micrograph, tmp_path: Path) -> None:
        run = load(write(restore(micrograph, Recipe.model_validate({"median": {}})), tmp_path))
        assert run.background is run.flat is run.contrast is None

    def test_the_run_can_be_repeated_from_the_file_alone(
        self, tmp_path: Path, restoration: Restoration
    ) -> None:
        run = load(write(restoration, tmp_path, storage=Storage(exact=True)))
        assert run_id(run.micrograph, run.recipe) == run.record["run_id"]
        np.testing.assert_array_equal(restore(run.micrograph, run.recipe).restored, run.restored)

    def test_an_image_from_memory_comes_back_without_a_source(
        self, image: np.ndarray, tmp_path: Path
    ) -> None:
        run = load(write(restore(image, Recipe.model_validate({"median": {}})), tmp_path))
        assert run.micrograph.source is None
        assert run_id(run.micrograph, run.recipe) == run.record["run_id"]

    def test_text_that_hdf5_cannot_hold_comes_back(self, restoration: Restoration, tmp_path: Path) -> None:
        odd = replace(restoration.micrograph, channel="Z\0\ud800µ", vendor_metadata={"\0": "\udcff"})
        found = load(write(replace(restoration, micrograph=odd), tmp_path)).micrograph
        assert (found.channel, found.vendor_metadata) == (odd.channel, odd.vendor_metadata)

    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        data=st.one_of(
            hnp.boolean_dtypes(), hnp.integer_dtypes(), hnp.unsigned_integer_dtypes(), hnp.floating_dtypes()
        )
        .filter(lambda dtype: dtype.itemsize <= 8)
        .flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=2)))
    )
    def test_raw_comes_back_bit_for_bit(
        self, restoration: Restoration, tmp_path: Path, data: np.ndarray
    ) -> None:
        one = replace(
            restoration,
            micrograph=Micrograph(data),
            recipe=Recipe.model_validate({"median": {}}),
            region=Region(0, data.shape[0], 0, data.shape[1]),
            arrays={"restored": np.zeros(data.shape, np.float32)},
            steps=(replace(restoration.steps[1], arrays=("restored",)),),
        )
        raw = load(write(one, tmp_path)).raw
        native = data.astype(data.dtype.newbyteorder("="))
        assert (raw.dtype, raw.shape) == (native.dtype, native.shape)
        assert raw.tobytes() == native.tobytes()

    def test_a_file_that_is_open_in_the_same_process_can_be_read(self, path: Path) -> None:
        with h5py.File(path):
            assert load(path).path == path

    def test_a_recipe_of_another_version_is_named(self, path: Path) -> None:
        run = load(path)
        unknown = replace(run, record=run.record | {"recipe": {"sharpen": {}}})
        with pytest.raises(ArchiveError, match=r"does not understand the recipe in .*install .* tvtasks 0"):
            _ = unknown.recipe


class TestSummary:
    def test_it_is_the_run_record_safe_for_json(self, path: Path, restoration: Restoration) -> None:
        found = json.loads(json.dumps(summary(path), allow_nan=False))
        assert found == {"path": str(path), **load(path).record}
        assert found["gap"] == restoration.gap
        assert found["arrays"]["restored"]["shape"] == [22, 30]
        assert [step["name"] for step in found["steps"]] == ["background", "median", "contrast", "denoise"]

    def test_it_says_with_what_software(self, path: Path) -> None:
        packages = summary(path)["software"]["packages"]
        assert packages["numpy"] == np.__version__
        assert packages["HDF5"] == h5py.version.hdf5_version
        assert {"tvtasks", "scipy", "numba", "h5py", "tifffile"} <= packages.keys()

    def test_neither_folder_nor_user_of_the_image_is_in_the_file(self, path: Path) -> None:
        assert b"jo.meier" not in path.read_bytes()


def flip_a_byte(path: Path, name: str) -> None:
    with h5py.File(path) as file:
        chunk = file[name].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 0x10
    path.write_bytes(content)


class TestDamage:
    @pytest.mark.parametrize("array", ["raw", "background", "contrast", "restored"])
    def test_a_flipped_byte_is_found_and_the_array_named(self, path: Path, array: str) -> None:
        name = summary(path)["arrays"][array]["path"]
        flip_a_byte(path, name)
        with pytest.raises(ArchiveError) as caught:
            load(path)
        assert str(path) in str(caught.value)
        assert f"is damaged: {name} " in str(caught.value)

    def test_a_changed_value_is_found(self, path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file[RAW][3, 4] += 1e-9
        with pytest.raises(ArchiveError, match=f"is damaged: {RAW} "):
            load(path)

    def test_a_changed_record_is_found(self, path: Path) -> None:
        with h5py.File(path, "r+") as file:
            data = file["entry/process_04_denoise/provenance/data"]
            data[:] = np.frombuffer(data[()].tobytes().replace(b'"lam":0.5', b'"lam":0.7'), np.uint8)
        for read in (load, summary):
            with pytest.raises(ArchiveError, match=r"is damaged: .*provenance"):
                read(path)

    def test_changed_vendor_metadata_is_found(self, path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file["entry/source_metadata/vendor_metadata"][()] = "{}"
        with pytest.raises(ArchiveError, match=r"is damaged: .*vendor_metadata"):
            load(path)

    def test_a_missing_dataset_is_named(self, path: Path) -> None:
        with h5py.File(path, "r+") as file:
            del file[RAW]
        for read in (load, summary):
            with pytest.raises(ArchiveError, match=f"lacks the array {RAW}"):
                read(path)

    def test_a_dataset_of_another_shape_is_found_without_reading_it(self, path: Path) -> None:
        with h5py.File(path, "r+") as file:
            del file[RAW]
            file.create_dataset(RAW, (1_000_000, 1_000_000), "f8")
        with pytest.raises(ArchiveError, match=f"is damaged: {RAW} "):
            load(path)

    @pytest.mark.parametrize("part", [0, 100, 0.5, 0.999])
    def test_a_truncated_file_is_found(self, path: Path, part: float) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: int(part if part > 1 else part * len(content))])
        for read in (load, summary):
            with pytest.raises(ArchiveError, match="cannot be read as a result of tvtasks: ") as caught:
                read(path)
            assert str(path) in str(caught.value)

    def test_a_record_of_a_later_version_is_named(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tvtasks.archive.reading.READABLE", {1})
        with pytest.raises(
            ArchiveError, match=r"run record of version \d; this tvtasks reads versions up to \d"
        ):
            load(path)


class TestNotOurs:
    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ArchiveError, match="There is no file"):
            load(tmp_path / "none.nxs")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ArchiveError, match="cannot be read as a result"):
            load(tmp_path)

    def test_another_hdf5_file(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "a.nxs", "w") as file:
            file["entry/data"] = np.zeros((4, 4))
        with pytest.raises(ArchiveError, match="was not written by tvtasks"):
            load(tmp_path / "a.nxs")

    def test_a_file_of_another_kind(self, tmp_path: Path) -> None:
        sqlite3.connect(tmp_path / "a.nxs").execute("CREATE TABLE a (b)").connection.close()
        with pytest.raises(ArchiveError, match="cannot be read as a result"):
            summary(tmp_path / "a.nxs")

    def test_our_file_without_its_record(self, path: Path, tmp_path: Path) -> None:
        copy = Path(shutil.copy(path, tmp_path / "copy.nxs"))
        with h5py.File(copy, "r+") as file:
            del file["entry/process_04_denoise/provenance"]
        with pytest.raises(ArchiveError, match=r"copy\.nxs cannot be read .*provenance"):
            load(copy)
