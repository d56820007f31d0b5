import dataclasses
import os
import shutil
from datetime import UTC, datetime

import numpy as np
import pytest

from tvtasks import Recipe, archive, restore
from tvtasks.archive import catalogue
from tvtasks.archive.catalogue import entries, latest
from tvtasks.archive.identity import content_sha256
from tvtasks.errors import ConfigurationError


@pytest.fixture
def written(restoration, tmp_path):
    return archive.write(restoration, tmp_path / "archive")


class TestAnEntry:
    def test_it_says_what_the_record_says(self, written, restoration, micrograph, recipe):
        (entry,) = entries(written.parent)
        record = archive.summary(written)
        assert (entry.path, entry.size, entry.fault) == (written, written.stat().st_size, "")
        assert entry.run_id == archive.run_id(micrograph, recipe)
        assert entry.source_name == "terraces.sxm"
        assert entry.source_sha256 == content_sha256(micrograph)
        assert entry.image == (micrograph.source.sha256, "Z (fwd)", "forward", 3)
        assert (entry.technique, entry.quantity, entry.units) == ("STM", "height", "V")
        assert entry.acquired_at == micrograph.acquired_at
        assert (entry.shape, entry.dtype) == (micrograph.data.shape, "float64")
        assert (entry.pixel_size, entry.pixel_unit) == ((2e-10, 1e-10), "m")
        assert (entry.recipe, entry.recipe_sha256) == ("terraces", recipe.digest)
        assert entry.parameters == recipe.parameters
        assert entry.steps == recipe.steps
        assert (entry.gap, entry.converged) == (restoration.gap, restoration.converged)
        assert entry.seconds == pytest.approx(restoration.seconds)
        assert entry.written_at.isoformat() == record["written_at"]
        assert entry.notes == restoration.notes
        assert entry.schema == record["schema"]
        assert entry.sample is None
        began = datetime.fromisoformat(record["began_at"]).timestamp()
        assert entry.span == (began, written.stat().st_mtime)

    def test_the_sample(self, restoration, tmp_path):
        sample = archive.Sample(name="Si", atom_types=("Si",), preparation_date="2024-04-30")
        archive.write(restoration, tmp_path, storage=archive.Storage(sample=sample))
        (entry,) = entries(tmp_path)
        assert archive.Sample(**entry.sample) == sample

    @pytest.mark.parametrize("off", [-100.0, 3600.0])
    def test_of_a_copy_the_time_of_the_record_counts(self, written, off):
        recorded = datetime.fromisoformat(archive.summary(written)["written_at"]).timestamp()
        os.utime(written, (recorded + off, recorded + off))
        (entry,) = entries(written.parent)
        assert entry.span[1] == recorded

    def test_an_image_from_memory_has_the_checksum_of_its_values(self, image, tmp_path):
        result = restore(image, Recipe.model_validate({"median": {}}))
        archive.write(result, tmp_path)
        (entry,) = entries(tmp_path)
        assert entry.source_name == "image"
        assert entry.source_sha256 == content_sha256(result.micrograph)
        assert entry.gap is None

    def test_it_is_found_without_hdf5(self, written, monkeypatch):
        monkeypatch.setattr(catalogue, "_thoroughly", lambda path: pytest.fail("HDF5 was asked"))
        assert not entries(written.parent)[0].fault

    def test_what_is_not_found_that_way_is_found_by_hdf5(self, written):
        quick = entries(written.parent)[0]
        other = written.with_name("renamed.nxs")
        written.rename(other)
        assert catalogue._quickly(other) is None
        assert entries(other.parent) == [dataclasses.replace(quick, path=other)]


class TestAFolder:
    def test_what_is_added_removed_or_replaced_is_seen_at_once(self, restoration, micrograph, tmp_path):
        first = archive.write(restoration, tmp_path)
        assert [entry.path for entry in entries(tmp_path)] == [first]
        other = restore(micrograph, Recipe.model_validate({"name": "other", "median": {}}))
        second = archive.write(other, tmp_path)
        assert {entry.recipe for entry in entries(tmp_path)} == {"terraces", "other"}
        status = second.stat()
        content = second.read_bytes()
        first.unlink()
        assert [entry.path for entry in entries(tmp_path)] == [second]
        # Of the same size and date, so that nothing but a look at the content shows it.
        at = content.rfind(b'"name":"other"')
        second.write_bytes(content[:at] + b'"name":"OTHER"' + content[at + 14 :])
        os.utime(second, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert "damaged" in entries(tmp_path)[0].fault

    def test_other_and_unfinished_files_and_folders_are_left_out(self, written):
        for name in ("notes.txt", ".hidden.nxs.partial-1", ".hidden.nxs", written.stem + ".png"):
            (written.parent / name).write_bytes(b"x")
        assert [entry.path for entry in entries(written.parent)] == [written]

    def test_nothing_is_written_into_it(self, written):
        before = sorted(written.parent.iterdir())
        entries(written.parent)
        assert sorted(written.parent.iterdir()) == before

    def test_progress_ends_with_all(self, written):
        told = []
        entries(written.parent, progress=lambda done, of: told.append((done, of)))
        assert told == [(1, 1)]

    def test_an_empty_one(self, tmp_path):
        assert entries(tmp_path) == []

    def test_one_that_is_not_there(self, tmp_path):
        with pytest.raises(ConfigurationError, match=r"There is no archive folder .*nowhere"):
            entries(tmp_path / "nowhere")


class TestDamage:
    @pytest.mark.parametrize("keep", [0, 10, 47, 1000, -5000, -1], ids="first {}".format)
    def test_a_file_that_was_cut_short_is_listed_with_its_fault(self, written, keep):
        written.write_bytes(written.read_bytes()[:keep])
        (entry,) = entries(written.parent)
        assert written.name in entry.fault
        assert (entry.path, entry.run_id) == (written, "")

    def test_a_record_of_which_a_byte_is_wrong(self, written):
        content = bytearray(written.read_bytes())
        content[content.rfind(b'{"algorithm_version":') + 200] ^= 1
        written.write_bytes(content)
        assert "damaged" in entries(written.parent)[0].fault

    def test_a_file_of_something_else(self, written):
        written.write_bytes(b"not HDF5 at all")
        assert "cannot be read as a result" in entries(written.parent)[0].fault

    def test_a_folder_with_the_name_of_a_file(self, tmp_path):
        (tmp_path / "folder.nxs").mkdir()
        assert "cannot be read" in entries(tmp_path)[0].fault

    def test_a_whole_file_beside_it_is_read(self, written):
        shutil.copy(written, written.with_name("copy.nxs"))
        written.write_bytes(b"")
        assert [bool(entry.fault) for entry in entries(written.parent)] == [False, True]

    def test_random_bytes_in_a_file_never_raise(self, written):
        rng = np.random.default_rng(0)
        whole = written.read_bytes()
        for _ in range(50):
            content = bytearray(whole)
            for at in rng.integers(0, len(content), 20):
                content[at] = rng.integers(256)
            written.write_bytes(content)
            assert len(entries(written.parent)) == 1


class TestLatest:
    def test_it_keeps_the_newest_run_of_each_image_and_every_damaged_file(self, written):
        (entry,) = entries(written.parent)
        older = dataclasses.replace(entry, run_id="0", written_at=datetime(2020, 1, 1, tzinfo=UTC))
        other = dataclasses.replace(entry, frame=4)
        bad = dataclasses.replace(entry, path=written.with_name("bad.nxs"), fault="It is damaged.")
        assert latest([older, entry, other, bad]) == [entry, other, bad]
