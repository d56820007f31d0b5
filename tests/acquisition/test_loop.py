"""The monitor joined to a restore function, on real files and without Prefect."""

import errno
import logging
import os
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path

import pytest

from tests.disks import Disk, needs_disk
from tests.monitor.test_observe import eventually
from tvtasks.acquisition.loop import acquire
from tvtasks.archive.folder import ledger_path
from tvtasks.errors import ArchiveError, ConfigurationError
from tvtasks.health.results import output_of
from tvtasks.ledger import Ledger, State
from tvtasks.listener import Listener
from tvtasks.micrograph import file_sha256
from tvtasks.options import WatchOptions
from tvtasks.outcome import Change
from tvtasks.recipe import HuberROFStep, Recipe
from tvtasks.recipe_book import RecipeBook
from tvtasks.workflow import restore_file, write_preview

RECIPES = RecipeBook((("*", Recipe(background=HuberROFStep(model="huber-rof", lam=0.5, direction="x"))),))
QUICK = {"settle": 0.05, "max_wait": 0.2, "workers": 1}


class Reports(Listener):
    """Passes each change on to a function."""

    def __init__(self, report):
        self.changed = report


class Bench:
    """A folder of scans, an archive, and the reports of acquisitions from one to the other."""

    def __init__(self, root):
        self.folder, self.archive = root / "scans", root / "archive"
        self.folder.mkdir(exist_ok=True)
        self.changes = []

    def options(self, **options):
        given = {"folder": self.folder, "archive": self.archive, "recipes": (), "once": True}
        return WatchOptions(**(given | QUICK | options))

    def acquire(
        self,
        restore=restore_file,
        *,
        recipes=RECIPES,
        finished=None,
        report=None,
        stop=None,
        pulse=None,
        **options,
    ):
        def take(change: Change) -> None:
            self.changes.append(change)
            if report:
                report(change)

        before_work = options.pop("before_work", lambda: None)
        return acquire(
            self.options(**options),
            recipes,
            restore,
            listener=Reports(take),
            finished=finished,
            stop=stop,
            pulse=pulse or (lambda _: None),
            before_work=before_work,
        )

    def states(self, path: Path) -> list[str]:
        return [str(change.state) for change in self.changes if change.path == path]

    def reason(self, path: Path) -> str:
        return [change.reason for change in self.changes if change.path == path][-1]

    def reasons(self, path: Path, state: str) -> list[str]:
        return [change.reason for change in self.changes if change.path == path and change.state == state]

    def results(self) -> list[Path]:
        return sorted(self.archive.glob("*.nxs"))


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def without_picture(step, *arguments, **options):
    """Leave out the one step that is slow for any size of image."""
    return None if step is write_preview else step(*arguments, **options)


def never(path, recipe, archive):
    raise AssertionError(f"{path} was restored once more")


class TestHowAFileEnds:
    def test_a_complete_image_is_restored_and_its_states_are_reported_in_order(self, bench, write_scan):
        path = write_scan("stm_1.npy")
        tally = bench.acquire()
        assert (tally.restored, tally.failed, tally.left) == (1, {}, [])
        assert bench.states(path) == ["settling", "queued", "running", "done"]
        (outcome,) = bench.changes[-1].outcomes
        assert bench.results() == [outcome.archive]

    def test_a_damaged_file_is_quarantined_with_the_sentence(self, bench, write_scan):
        path = write_scan(
            "stm_1.png"
        )  # the bytes of a NumPy file would be read under any name; these are no image
        path.write_bytes(b"no picture" * 9)
        tally = bench.acquire()
        assert bench.states(path)[-1] == "quarantined"
        assert tally.failed == {path: bench.reason(path)}
        assert "stm_1.png is named like" in tally.failed[path]

    def test_an_incomplete_file_is_reported_and_left_alone(self, bench, write_scan):
        path = write_scan("stm_1.npy")
        path.write_bytes(path.read_bytes()[:-100])
        tally = bench.acquire()
        assert bench.states(path) == ["settling", "incomplete"]
        assert "stm_1.npy is still incomplete" in tally.failed[path]
        assert not bench.results()

    def test_a_full_disk_is_a_failure_that_is_retried(self, bench, write_scan):
        path = write_scan("stm_1.npy")

        def disk_full(path, recipe, archive):
            raise ArchiveError(f"{archive} is full.")

        tally = bench.acquire(disk_full)
        assert bench.states(path)[-1] == "failed"
        assert tally.failed == {path: f"{bench.archive} is full."}
        assert bench.acquire(never).failed == tally.failed, "it is not due yet"
        with Ledger(ledger_path(bench.archive)) as ledger:
            assert ledger.retry(path) == 1
        assert bench.acquire().restored == 1

    def test_a_defect_costs_one_file_of_several_and_is_logged_with_its_traceback(
        self, bench, write_scan, caplog
    ):
        paths = [write_scan(f"stm_{number}.npy", seed=number) for number in range(3)]

        def defective(path, recipe, archive):
            if path == paths[1]:
                raise ZeroDivisionError("division by zero")
            return restore_file(path, recipe, archive)

        with caplog.at_level(logging.ERROR):
            tally = bench.acquire(defective, workers=2)
        assert tally.restored == 2
        assert tally.failed.keys() == {paths[1]}
        assert "error in tvtasks itself (ZeroDivisionError: division by zero)" in tally.failed[paths[1]]
        assert any(record.exc_info for record in caplog.records)

    def test_a_file_that_matches_no_pattern_is_not_touched(self, bench, write_scan):
        write_scan("afm_1.npy")
        stm = write_scan("stm_1.npy", seed=1)
        recipes = RecipeBook((("stm_*", RECIPES.rules[0][1]),))
        bench.acquire(recipes=recipes)
        assert {change.path for change in bench.changes} == {stm}

    @pytest.fixture
    def late(self, write_scan):
        """A restore function that, the first time, runs after the microscope has overwritten the file."""
        overwritten = []

        def restore(path, recipe, archive):
            if not overwritten:
                overwritten.append(write_scan(path.name, seed=1))
            return restore_file(path, recipe, archive)

        return restore

    def test_a_file_overwritten_before_it_is_read_is_restored_with_its_new_content(
        self, bench, write_scan, late
    ):
        path = write_scan("stm_1.npy")
        tally = bench.acquire(late, finished=lambda: "done" in bench.states(path))
        assert "overwritten" in bench.states(path)
        assert (tally.restored, tally.failed, tally.left) == (1, {}, [])
        (result,) = bench.results()
        assert file_sha256(path)[:8] in result.name

    def test_an_overwritten_file_is_looked_at_again_even_without_an_event(self, bench, write_scan, late):
        path = write_scan("stm_1.npy")
        tally = bench.acquire(late, observer="polling", rescan=1000.0)
        assert (tally.restored, tally.failed, tally.left) == (1, {}, [])
        assert bench.states(path)[-1] == "done"


class TestEnd:
    def test_it_runs_until_it_is_finished(self, bench, write_scan):
        first = write_scan("stm_1.npy")
        done = threading.Event()

        def next_scan(change: Change) -> None:
            if change.state == State.DONE:
                if change.path == first:
                    write_scan("stm_2.npy", seed=1)
                else:
                    done.set()

        assert bench.acquire(finished=done.is_set, report=next_scan).restored == 2

    def test_a_stop_finishes_the_work_under_way_and_names_the_rest(self, bench, write_scan):
        paths = [write_scan(f"stm_{number}.npy", seed=number) for number in range(3)]
        stop = threading.Event()

        def stop_once_running(change: Change) -> None:
            if change.state == State.RUNNING:
                stop.set()

        tally = bench.acquire(finished=lambda: False, stop=stop, report=stop_once_running)
        (done,) = (path for path in paths if "done" in bench.states(path))
        assert tally.restored == 1
        assert {done, *tally.left} == set(paths)

    def test_the_rest_is_done_at_the_next_start(self, bench, write_scan):
        for number in range(3):
            write_scan(f"stm_{number}.npy", seed=number)
        stop = threading.Event()
        bench.acquire(stop=stop, report=lambda change: change.state == State.RUNNING and stop.set())
        assert bench.acquire().restored == 2
        assert len(bench.results()) == 3

    def test_a_stop_before_the_start_does_nothing(self, bench, write_scan):
        path = write_scan("stm_1.npy")
        stop = threading.Event()
        stop.set()
        assert bench.acquire(never, finished=lambda: False, stop=stop).left == [path]
        assert not bench.changes


class TestStartingAgain:
    def test_nothing_is_done_twice(self, bench, write_scan):
        write_scan("stm_1.npy")
        bench.acquire()
        bench.changes.clear()
        tally = bench.acquire(never)
        assert (tally.restored, tally.failed, tally.left) == (0, {}, [])
        assert not bench.changes

    def test_a_renamed_file_is_not_done_twice(self, bench, write_scan):
        path = write_scan("stm_1.npy")
        bench.acquire()
        path.rename(path.with_name("sample_a.npy"))
        assert bench.acquire(never).failed == {}

    def test_a_quarantined_file_is_not_retried_but_still_counted(self, bench, write_scan):
        path = write_scan("stm_1.png")
        path.write_bytes(b"no picture" * 9)
        before = bench.acquire().failed
        assert bench.acquire(never).failed == before

    def test_work_that_a_kill_left_running_is_done(self, bench, write_scan):
        path = write_scan("stm_1.npy")
        status = path.stat()
        with Ledger(ledger_path(bench.archive)) as ledger:
            ledger.enqueue(path, status.st_size, status.st_mtime_ns, file_sha256(path), RECIPES.digest)
            ledger.claim(RECIPES.digest)
        tally = bench.acquire()
        assert (tally.restored, tally.left) == (1, [])
        assert bench.states(path)[-1] == "done"

    def test_results_archived_before_a_kill_are_recognised(self, bench, write_scan):
        path = write_scan("stm_1.npy")
        restore_file(path, RECIPES.rules[0][1], bench.archive)
        (result,) = bench.results()
        written = result.stat().st_mtime_ns
        assert bench.acquire().restored == 1
        assert bench.results() == [result]
        assert result.stat().st_mtime_ns == written


KILLED = """
import os, sys, threading
from pathlib import Path

from tvtasks.acquisition.loop import acquire
from tvtasks.ledger import State
from tvtasks.listener import Listener
from tvtasks.options import WatchOptions
from tvtasks.recipe import HuberROFStep, Recipe
from tvtasks.recipe_book import RecipeBook
from tvtasks.workflow import restore_file

folder, archive, point = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
recipe = Recipe(background=HuberROFStep(model="huber-rof", lam=0.5, direction="x"))
here = threading.Lock()

def reached(place):
    if place == point:
        with here:
            print(place, flush=True)
            threading.Event().wait(60)

def call(step, *arguments, **options):
    if "background" in step.__name__:
        reached("during the solve")
    return step(*arguments, **options)

def fsync(descriptor, fsync=os.fsync):
    reached("during the HDF5 write")
    fsync(descriptor)

def restore(path, recipe, archive):
    reached("between ledger and trigger")
    outcomes = restore_file(path, recipe, archive, call=call)
    reached("between archive and ledger")
    return outcomes

class Report(Listener):
    def changed(self, change):
        if change.state == State.QUEUED:
            reached("when queued")

os.fsync = fsync
options = WatchOptions(folder=folder, archive=archive, recipes=(), settle=0.05, max_wait=0.2)
acquire(options, RecipeBook((("*", recipe),)), restore, listener=Report())
"""


class TestKilled:
    """A child process is killed at a point that it reports; the rest of its work is done exactly once."""

    @pytest.mark.parametrize(
        ("point", "attempts"),
        [
            ("when queued", ["done"]),
            ("between ledger and trigger", ["interrupted", "done"]),
            ("during the solve", ["interrupted", "done"]),
            ("during the HDF5 write", ["interrupted", "done"]),
            ("between archive and ledger", ["interrupted", "done"]),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_work_is_done_once_whenever_the_process_is_killed(self, bench, write_scan, point, attempts):
        path = write_scan("stm_1.npy")
        before = file_sha256(path), path.stat().st_mtime_ns
        command = [sys.executable, "-c", KILLED, str(bench.folder), str(bench.archive), point]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            try:
                assert child.stdout.readline() == f"{point}\n"
            finally:
                child.kill()
        # A partial file may be there, but never half a result under its name.
        written = {result: result.stat().st_mtime_ns for result in bench.results()}
        assert len(written) == (point == "between archive and ledger")
        assert bool(list(bench.archive.glob(".*.partial-*"))) == (point == "during the HDF5 write")
        tally = bench.acquire()
        assert (tally.restored, tally.failed, tally.left) == (1, {}, [])
        (result,) = bench.results()
        assert written in ({}, {result: result.stat().st_mtime_ns}), "archived results are not computed again"
        assert file_sha256(path)[:8] in result.name
        with Ledger(ledger_path(bench.archive)) as ledger:
            (entry,) = ledger.entries()
            assert (entry.state, entry.outputs) == (State.DONE, (output_of(result),))
            assert [attempt.outcome for attempt in ledger.history(path)] == attempts
        assert (file_sha256(path), path.stat().st_mtime_ns) == before
        assert bench.acquire(never).failed == {}


class TestTrouble:
    def test_one_corrupt_file_of_a_hundred_is_named_and_the_others_are_restored(self, bench, write_scan):
        for number in range(99):
            write_scan(f"stm_{number}.npy", seed=number)
        bad = write_scan("stm_bad.png")
        bad.write_bytes(b"no picture" * 9)
        calls = []

        def restore(path, recipe, archive):
            calls.append(path)
            return restore_file(path, recipe, archive, call=without_picture)

        tally = bench.acquire(restore, workers=2)
        assert tally.restored == 99
        assert tally.failed.keys() == {bad}
        assert "stm_bad.png" in tally.failed[bad]
        assert len(bench.results()) == 99
        assert len(calls) == 100

    def test_a_disk_that_fills_and_is_freed(self, bench, write_scan, monkeypatch):
        """The test raises the error where a disk would: a file system cannot be mounted everywhere."""
        path = write_scan("stm_1.npy")
        full = [True]
        fsync = os.fsync

        def fill(descriptor):
            if full[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(descriptor)

        def free(change):
            if change.state == State.FAILED:
                full[0] = False
                with Ledger(ledger_path(bench.archive)) as other:
                    assert other.retry(path) == 1

        monkeypatch.setattr(os, "fsync", fill)
        tally = bench.acquire(report=free, finished=lambda: "done" in bench.states(path))
        assert "No space left on device" in bench.reasons(path, "failed")[0]
        assert bench.states(path)[-4:] == ["running", "failed", "running", "done"]
        assert (tally.restored, tally.failed) == (1, {})
        assert len(bench.results()) == 1

    def test_every_turn_gives_a_pulse(self, bench, write_scan):
        path = write_scan("stm_1.npy")
        pulses = []
        release = threading.Event()

        def slow(path, recipe, archive):
            assert release.wait(20)
            return restore_file(path, recipe, archive)

        def feel(pulse):
            pulses.append(pulse)
            if pulse.running and len(pulses) > 3:
                release.set()

        bench.acquire(slow, pulse=feel, observer="polling")
        (name,) = {pulse.longest_file for pulse in pulses if pulse.running}
        assert name == path.name
        assert max(pulse.settling for pulse in pulses) == 1
        assert {(pulse.observer, pulse.observer_alive, pulse.error) for pulse in pulses} == {
            ("polling", True, "")
        }

    def test_lost_runs_are_closed_once_the_archive_is_ours_and_before_work_begins(self, bench, write_scan):
        write_scan("stm_1.npy")
        order = []

        def close_lost_runs():
            order.append("closed")
            with pytest.raises(ConfigurationError, match="in use"):
                bench.acquire(before_work=lambda: order.append("never"))

        def restore(path, recipe, archive):
            order.append("restored")
            return restore_file(path, recipe, archive)

        bench.acquire(restore, before_work=close_lost_runs)
        assert order == ["closed", "restored"]

    def test_unfinished_files_of_killed_writers_are_removed(self, bench):
        bench.archive.mkdir()
        left = bench.archive / ".stm_1__12345678__123456789012.nxs.partial-0"
        left.touch()
        os.utime(left, (0, 0))
        stop = threading.Event()
        bench.acquire(finished=lambda: not left.exists(), stop=stop)
        assert not left.exists()


@needs_disk
class TestDisksThatVanish:
    """A disk is unmounted under a running acquisition, with files open on it, and mounted again."""

    @pytest.fixture
    def disk(self, tmp_path):
        disk = Disk(tmp_path)
        yield disk
        disk.close()

    def acquire(self, bench, meanwhile, last):
        """Acquire until a file is done; `meanwhile` is called in another thread when the first is done."""
        helper = threading.Thread(target=meanwhile)

        def begin(change):
            if change.state == "done" and not helper.ident:
                helper.start()

        bench.acquire(report=begin, finished=lambda: "done" in bench.states(last), pulse=bench.pulses.append)
        helper.join()

    @pytest.fixture
    def bench(self, tmp_path):
        bench = Bench(tmp_path)
        bench.pulses = deque(maxlen=50)
        return bench

    def test_that_of_the_archive_costs_nothing(self, bench, disk, write_scan):
        bench.archive = disk.point / "archive"
        write_scan("stm_1.npy")
        last = bench.folder / "stm_3.npy"

        def unmount():
            disk.unmount()
            write_scan("stm_2.npy", seed=2)
            assert eventually(lambda: "not connected" in bench.pulses[-1].error)
            assert list(disk.point.iterdir()) == [], "nothing is written where nobody will see it"
            write_scan("stm_3.npy", seed=3)
            disk.mount()

        self.acquire(bench, unmount, last)
        tally = bench.acquire()
        assert (tally.failed, tally.left) == ({}, [])
        assert len(bench.results()) == 3
        with Ledger(ledger_path(bench.archive)) as ledger:
            assert {entry.state for entry in ledger.entries()} == {State.DONE}

    def test_that_of_the_watched_folder_is_away_and_not_empty(self, bench, disk, save_scan):
        bench.folder = disk.point / "scans"
        first, last = save_scan(bench.folder / "stm_1.npy"), bench.folder / "stm_2.npy"

        def unmount():
            save_scan(last, seed=2)
            disk.unmount()
            assert eventually(lambda: "cannot be read" in bench.pulses[-1].error)
            disk.mount()

        self.acquire(bench, unmount, last)
        assert bench.states(first)[-1] == "done"
        assert "overwritten" not in bench.states(last)
        assert len(bench.results()) == 2


class TestRefusals:
    def test_results_in_the_watched_folder_are_refused_before_anything_is_written(self, bench):
        bench.archive = bench.folder
        with pytest.raises(ConfigurationError, match="The archive cannot be the watched folder"):
            bench.acquire()
        assert not list(bench.folder.iterdir())

    def test_an_archive_that_cannot_be_created_is_refused(self, bench, tmp_path):
        (tmp_path / "file").touch()
        bench.archive = tmp_path / "file" / "archive"
        with pytest.raises(ArchiveError, match="cannot be created"):
            bench.acquire()
