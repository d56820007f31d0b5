"""What the microscope of the soak says of its files is true."""

import time

import numpy as np
import pytest

from tests.soak import microscope
from tests.soak.microscope import FATES, Expected, Manifest, Scan, burst, together
from tvtasks import readers, replay
from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import file_sha256


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Scans of all fates, written without waiting."""
    folder, manifest = tmp_path_factory.mktemp("scans"), Manifest()
    list(burst(folder, manifest, first=1, scans=300, seconds=10.0, rest=1.0, seed=0))
    return folder, manifest


class TestBurst:
    def test_all_fates_come_about(self, written):
        _, manifest = written
        assert set(manifest.fates) == {fate.__name__ for fate in FATES}
        assert manifest.fates.total() == 300

    def test_the_manifest_names_every_file_with_its_content_and_time(self, written):
        folder, manifest = written
        there = {path for path in folder.rglob("*") if path.is_file()}
        assert there == manifest.left.keys()
        for path, left in manifest.left.items():
            assert (file_sha256(path), path.stat().st_mtime_ns) == (left.sha256, left.mtime_ns)

    def test_what_is_to_be_restored_can_be_read(self, written):
        for path, left in written[1].expected(Expected.RESTORED).items():
            assert len(readers.read(path)) == left.images

    def test_what_is_to_be_refused_cannot_be_read(self, written):
        for path in written[1].expected(Expected.REFUSED):
            assert readers.is_candidate(path)
            with pytest.raises(UnreadableFileError):
                readers.read(path)

    def test_some_files_share_their_content_and_some_their_name(self, written):
        good = written[1].expected(Expected.RESTORED)
        assert len({left.sha256 for left in good.values()}) < len(good)
        assert len({path.name for path in good}) < len(good)

    def test_the_same_seed_writes_the_same_files(self, tmp_path):
        def contents(seed):
            manifest = Manifest()
            folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
            list(burst(folder, manifest, first=1, scans=20, seconds=1.0, rest=1.0, seed=seed))
            return {path.relative_to(folder): left.sha256 for path, left in manifest.left.items()}

        assert contents(1) == contents(1) != contents(2)

    def test_content_that_does_not_stay_is_noted_with_the_time_that_it_rested(self, tmp_path, monkeypatch):
        now = 0.0
        monkeypatch.setattr(microscope, "FATES", {microscope.deleted: 1})
        monkeypatch.setattr(microscope.time, "monotonic", lambda: now)
        manifest, rested = Manifest(), {}
        for seconds in burst(tmp_path, manifest, first=1, scans=1, seconds=1.0, rest=1.0, seed=0):
            for path in tmp_path.rglob("*.*"):
                if path.suffix != ".part":
                    rested[file_sha256(path)] = rested.get(file_sha256(path), 0.0) + seconds
            now += seconds
        assert manifest.left == {}
        assert manifest.passing == pytest.approx(rested)
        assert rested


class TestFates:
    @pytest.fixture
    def scan(self, tmp_path):
        place = tmp_path / "images"
        place.mkdir()
        rng = np.random.default_rng(0)
        of = replay.ROUND[0]

        def content():
            return of.encode(of.scan(rng, (16, 24)))

        return Scan(place / "stm_000001.tif", content(), content, rng, 1.0, Manifest())

    def test_a_time_ahead_is_ahead(self, scan):
        list(microscope.from_the_future(scan))
        assert scan.path.stat().st_mtime > time.time()

    def test_an_old_time_is_one_that_a_fat_disk_can_hold(self, scan):
        list(microscope.copied_with_its_old_time(scan))
        assert scan.path.stat().st_mtime_ns % 2_000_000_000 == 0
        assert scan.path.stat().st_mtime < time.time() - 80_000

    def test_an_overwritten_file_holds_the_new_content_alone(self, scan):
        list(microscope.overwritten_later(scan))
        assert scan.path.read_bytes() != scan.content
        assert len(readers.read(scan.path)) == 1

    def test_a_moved_file_is_gone_from_where_it_was(self, scan):
        list(microscope.moved(scan))
        assert not scan.path.exists()
        assert scan.elsewhere.read_bytes() == scan.content


class TestTogether:
    def test_jobs_are_done_in_the_order_of_their_times(self):
        done = []

        def job(name, *pauses):
            for seconds in pauses:
                done.append(name)
                yield seconds
            done.append(f"{name} ends")

        steps = together([(0.0, job("a", 2.0, 2.0)), (1.0, job("b", 2.0))])
        assert list(steps) == [1.0, 1.0, 1.0, 1.0]
        assert done == ["a", "b", "a", "b ends", "a ends"]

    def test_what_is_refused_for_a_while_is_tried_until_it_works(self):
        refusals = iter([PermissionError(), PermissionError()])

        def action():
            for error in refusals:
                raise error

        assert list(microscope.insist(action)) == [0.1, 0.1]
