"""The verdict of the soak sees each thing that must not be."""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.soak import verdict
from tests.soak.lab import Outage, Sample, Watch
from tests.soak.microscope import Expected, Left, Manifest
from tests.soak.soak import Course
from tests.soak.verdict import Archived
from tvtasks.ledger import Entry, Output, State

PATH = Path("scans/stm_1.tif").absolute()
RUN = Path("stm_1__content__run.nxs")
WRITTEN = datetime(2025, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def manifest():
    left = Left("content", 0, Expected.RESTORED, images=1, written=WRITTEN.timestamp())
    return Manifest({PATH: left}, passing={"early": 0.2, "deleted": 3.0})


def archived(runs):
    return Archived(runs, faults=[], leftovers=0)


def entry(**changes):
    return Entry(**({"path": PATH, "sha256": "content", "recipe": "", "size": 1, "mtime_ns": 0} | changes))


class TestArchive:
    def faults(self, manifest, runs):
        return list(verdict.archive_faults(manifest, archived(runs), rest=1.0))

    def test_one_archive_file_for_each_image_is_right(self, manifest):
        assert self.faults(manifest, {"a": ("content", [RUN])}) == []

    @pytest.mark.parametrize(
        ("runs", "words"),
        [
            ({}, "0 of 1 images"),
            ({"a": ("content", [RUN]), "b": ("content", [RUN])}, "2 of 1 images"),
            ({"a": ("content", [RUN, Path("copy.nxs")])}, "more than once: .*copy.nxs"),
            ({"a": ("content", [RUN]), "b": ("early", [RUN])}, "never a finished file"),
            ({"a": ("content", [RUN]), "b": ("unheard", [RUN])}, "never a finished file"),
        ],
        ids=["missing", "too many", "twice", "unfinished", "out of nothing"],
    )
    def test_anything_else_is_a_fault(self, manifest, runs, words):
        (fault,) = self.faults(manifest, runs)
        assert re.search(words, fault)

    def test_content_that_rested_long_enough_may_have_been_restored(self, manifest):
        assert self.faults(manifest, {"a": ("content", [RUN]), "b": ("deleted", [RUN])}) == []


class TestLedger:
    def faults(self, manifest, *entries):
        return list(verdict.ledger_faults(manifest, entries))

    def test_one_entry_that_is_done_with_its_result_is_right(self, manifest, tmp_path):
        result = tmp_path / "result.nxs"
        result.touch()
        assert self.faults(manifest, entry(state=State.DONE, outputs=(Output(result),))) == []

    @pytest.mark.parametrize(
        ("entries", "words"),
        [
            ([], "is unknown in the ledger"),
            ([entry(state=State.QUARANTINED)], "is quarantined in the ledger, not done"),
            ([entry(state=State.DONE)], "has 0 results"),
            ([entry(state=State.DONE, outputs=(Output(Path("nowhere.nxs")),))], "has 1 results"),
        ],
        ids=["unknown", "hidden", "without result", "result lost"],
    )
    def test_anything_else_is_a_fault(self, manifest, entries, words):
        (fault,) = self.faults(manifest, *entries)
        assert words in fault

    @pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.FAILED])
    def test_what_is_left_undone_is_a_fault(self, state):
        (fault,) = self.faults(Manifest(), entry(state=state))
        assert f"still {state}" in fault

    def test_a_bad_file_that_is_done_is_a_fault(self):
        manifest = Manifest({PATH: Left("bad", 0, Expected.REFUSED, 1, 0.0)})
        (fault,) = self.faults(manifest, entry(sha256="bad", state=State.DONE))
        assert "nothing could be made of it" in fault


class TestFolder:
    @pytest.fixture
    def folder(self, tmp_path):
        path = tmp_path / "stm_1.tif"
        path.write_bytes(b"scan")
        manifest = Manifest()
        manifest.leave(path)
        return path, manifest

    def test_a_folder_as_it_was_left_is_right(self, folder):
        path, manifest = folder
        assert list(verdict.folder_faults(path.parent, manifest)) == []

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda path: path.write_bytes(b"nacs"), "no longer as"),
            (lambda path: path.touch(), "no longer as"),
            (lambda path: path.unlink(), "no longer in"),
            (lambda path: path.with_name("new").touch(), "has not written"),
        ],
        ids=["content", "time", "deleted", "added"],
    )
    def test_every_change_is_a_fault(self, folder, change, words):
        path, manifest = folder
        change(path)
        (fault,) = verdict.folder_faults(path.parent, manifest)
        assert words in fault


class TestLastRun:
    BAD = Path("bad.tif").absolute()

    @pytest.fixture
    def manifest(self, manifest):
        manifest.left[self.BAD] = Left("bad", 0, Expected.REFUSED, 1, 0.0)
        return manifest

    def faults(self, manifest, failed, left=()):
        return list(verdict.last_run_faults(manifest, {"failed": failed, "left": list(left)}))

    def test_it_names_the_bad_file_and_no_other(self, manifest):
        assert self.faults(manifest, {str(self.BAD): "It is bad."}) == []
        assert self.faults(manifest, {}) == ["bad.tif is not restored, and nobody says so."]
        both = {str(self.BAD): "It is bad.", str(PATH): "It is bad too."}
        assert self.faults(manifest, both) == ["It is bad too. But it is a good file."]

    def test_it_leaves_nothing(self, manifest):
        assert self.faults(manifest, {str(self.BAD): ""}, [str(PATH)]) != []


class TestFigures:
    def test_a_watch_that_ends_by_itself_is_a_fault_unless_something_is_out(self):
        watch = Watch(Path(), Path(), Path(), Path(), exits=[(10.0, 1), (20.0, 2)])
        course = Course(Manifest(), watch, outages=[Outage("disk", 15.0, 25.0)], began=0.0)
        assert list(verdict.exit_faults(course)) == ["The watch ended by itself after 10 s, with code 1."]

    def test_latencies_leave_out_what_met_an_outage(self, manifest):
        def at(seconds):
            return (WRITTEN + timedelta(seconds=seconds)).isoformat()

        entries = [entry(state=State.DONE, first_seen=at(1.25), updated=at(4.25))]
        good, written = manifest.expected(Expected.RESTORED), WRITTEN.timestamp()
        assert verdict.latencies(good, entries, [], 1.0) == ([0.25], [3.0])
        while_settling = Outage("share", written + 0.5, written + 1.0)
        assert verdict.latencies(good, entries, [while_settling], 1.0) == ([], [3.0])
        while_restored = Outage("kill", written + 2.0, written + 3.0)
        assert verdict.latencies(good, entries, [while_restored], 1.0) == ([0.25], [])

    def test_growth_is_that_of_processes_that_lived_for_long_without_their_start(self):
        life = int(verdict.STARTING + verdict.LONG_LIVED) + 10
        grown = [Sample(1, float(second), second * 1000) for second in range(life)]
        short = [Sample(2, float(second), second**3) for second in range(20)]
        growth = verdict.growths(grown + short)
        assert set(growth) == {1}
        assert growth[1] == pytest.approx(0.75 * (life - verdict.STARTING) * 1000, rel=0.05)

    def test_images_of_a_stack_are_counted_together(self):
        runs = {"a": ("stack", [RUN]), "b": ("stack", [RUN])}
        assert archived(runs).images() == Counter(stack=2)
