import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta

import numpy as np
import pytest

from tests.heard import Heard
from tvtasks import Recipe, archive, restore, workflow
from tvtasks.archive.folder import ledger_path
from tvtasks.errors import ArchiveError
from tvtasks.health.heartbeat import Pulse
from tvtasks.health.heartbeat_writer import HeartbeatWriter
from tvtasks.ledger import Ledger
from tvtasks.micrograph import file_sha256
from tvtasks.options import WatchOptions
from tvtasks.recipe_book import RecipeBook
from tvtasks.rerun import Request, execute, live_work, plan, run_batch, working
from tvtasks.workflow import restore_file

OTHER = {"name": "other", "background": {"model": "huber-rof", "lam": 0.2, "direction": "x"}, "median": {}}
FIRST = Recipe.model_validate({"name": "first", "median": {}})
STRONGER = Recipe.model_validate(OTHER)
TOML = '[background]\nmodel = "huber-rof"\nlam = 0.2\ndirection = "x"\n[median]\n'


def save(path, seed=0, shape=(24, 32), dtype=np.float32):
    path.parent.mkdir(exist_ok=True)
    values = np.round(100 * np.abs(np.random.default_rng(seed).normal(size=shape)))
    np.save(path, (values % 2 if np.dtype(dtype).kind == "b" else values).astype(dtype))
    return path


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "other.toml"
    path.write_text(TOML, "utf-8")
    return str(path)


@pytest.fixture
def filled(tmp_path):
    for number in range(4):
        restore_file(save(tmp_path / "scans" / f"stm_{number}.npy", number), FIRST, tmp_path / "archive")
    return tmp_path / "archive"


def request(place, recipe, **options):
    return Request((place,), (recipe,), **options)


class TestFromStoredRaw:
    @pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<u2", ">i2", "?"])
    def test_it_matches_the_original_bit_for_bit(self, tmp_path, dtype):
        """The arrays and the record, except for the time and place of the work."""
        path = save(tmp_path / "scans" / "stm.npy", dtype=np.dtype(dtype))
        (first,) = restore_file(path, FIRST, tmp_path / "archive")
        (tmp_path / "again").mkdir()
        (again,) = workflow.restore_images([archive.raw(first.archive)], STRONGER, tmp_path / "again")
        (expected,) = restore_file(path, STRONGER, tmp_path / "expected")
        assert again.archive.name == expected.archive.name
        one, other = archive.load(again.archive), archive.load(expected.archive)
        for name in ("raw", "background", "flat", "restored"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)
        for key in ("run_id", "source", "image", "recipe", "region", "offset", "factor", "arrays", "notes"):
            assert one.record[key] == other.record[key]

    def test_with_all_metadata_a_valid_part_and_missing_rows(self, micrograph, tmp_path):
        first = archive.write(restore(micrograph, FIRST), tmp_path / "archive")
        stored = archive.raw(first)
        known = (
            field.name for field in dataclasses.fields(micrograph) if field.name not in {"data", "source"}
        )
        for name in known:
            assert getattr(stored, name) == getattr(micrograph, name), name
        assert archive.run_id(stored, STRONGER) == archive.run_id(micrograph, STRONGER)
        one, other = restore(stored, STRONGER), restore(micrograph, STRONGER)
        assert (one.region, one.offset, one.factor) == (other.region, other.offset, other.factor)
        np.testing.assert_array_equal(one.restored, other.restored, strict=True)

    def test_the_record_names_the_source_file(self, filled, recipe):
        run_batch(request(filled, recipe), context={"who": "Jo"})
        (path,) = [path for path in filled.glob("stm_0__*.nxs") if "who" in archive.summary(path)["context"]]
        context = archive.summary(path)["context"]
        assert context["who"] == "Jo"
        assert (filled / context["raw_from"]).exists()
        assert context["raw_from"] != path.name

    def test_only_the_raw_image_of_that_file_must_be_intact(self, filled):
        path = next(filled.glob("stm_0__*.nxs"))
        loaded = archive.load(path)
        content = bytearray(path.read_bytes())
        assert (loaded.raw == archive.raw(path).data).all()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(ArchiveError):
            archive.raw(path)


class TestCarryingOut:
    def test_all_are_done_once_with_their_pictures_and_earlier_results_stay(self, filled, recipe):
        before = set(filled.glob("*.nxs"))
        report = run_batch(request(filled, recipe))
        assert (report.total, report.restored, report.failed, report.left) == (4, 4, [], 0)
        new = set(filled.glob("*.nxs")) - before
        assert len(new) == 4
        assert before < set(filled.glob("*.nxs"))
        assert all(path.with_suffix(".png").exists() for path in new)
        again = run_batch(request(filled, recipe))
        assert (again.total, again.current, again.restored) == (0, 4, 0)
        assert set(filled.glob("*.nxs")) == before | new

    def test_images_done_by_another_process_are_not_repeated(self, filled, recipe):
        found = request(filled, recipe).plan()
        run_batch(request(filled, recipe))
        heard = Heard()
        execute(found.jobs, filled, listener=heard)
        assert [outcome.state for outcome in heard.outcomes] == ["current"] * 4

    def test_a_failure_does_not_stop_the_others(self, filled, recipe, tmp_path):
        scans = tmp_path / "scans"
        np.save(scans / "constant.npy", np.ones((24, 32)))
        (scans / "broken.npy").write_bytes(b"\x93NUMPY\x01")
        heard = Heard()
        report = run_batch(request(scans, recipe, archive=filled), listener=heard)
        assert len(heard.outcomes) == report.total == 6
        assert (report.restored, len(report.failed), report.left) == (4, 2, 0)
        assert {result.name for result in report.failed} == {"constant.npy", "broken.npy"}
        assert any("nothing to restore" in result.reason for result in report.failed)
        assert "4 restored, 2 failed" in report.sentence

    def test_only_the_selected_images(self, tmp_path, recipe):
        path = save(tmp_path / "scans" / "stack.npy", shape=(3, 24, 32))
        chosen = request(path, recipe, archive=tmp_path / "archive", select=("frame=1",))
        assert run_batch(chosen).restored == 1
        (written,) = (tmp_path / "archive").glob("*.nxs")
        assert archive.summary(written)["image"]["frame"] == 1

    def test_a_file_that_has_changed_since_the_plan(self, tmp_path, recipe):
        path = save(tmp_path / "scans" / "stm.npy", 1)
        found = request(path, recipe, archive=tmp_path / "archive").plan()
        save(path, 2)
        heard = Heard()
        execute(found.jobs, found.archive, listener=heard)
        assert "has changed since" in heard.outcomes[0].reason

    def test_after_stop_nothing_is_started(self, filled, recipe):
        stop = threading.Event()
        heard = Heard(finished=lambda outcome: stop.set())
        report = run_batch(request(filled, recipe, workers=1), stop=stop, listener=heard)
        assert 1 <= report.restored < 4
        assert report.left == 4 - report.restored
        assert run_batch(request(filled, recipe)).restored == report.left

    def test_a_full_disk_ends_the_batch_instead_of_failing_thousands(self, filled, recipe, monkeypatch):
        monkeypatch.setattr(working, "FAILURES_IN_A_ROW", 2)

        def full(*_args, **_kwargs):
            raise ArchiveError("The disk is full.") from OSError(28, "No space left on device")

        monkeypatch.setattr(workflow, "restore_images", full)
        report = run_batch(request(filled, recipe, workers=1))
        assert (len(report.failed), report.left) == (2, 2)
        assert "so the rest was not started" in report.stopped_because

    def test_no_more_files_are_read_than_are_worked_on(self, filled, recipe, monkeypatch):
        taken = []

        def jobs(found):
            for job in found.jobs:
                taken.append(job)
                yield job

        done = []
        found = request(filled, recipe).plan()
        # One more is held ready.
        heard = Heard(finished=lambda outcome: done.append(len(taken)))
        execute(jobs(found), filled, workers=1, listener=heard)
        assert all(ahead - number <= 2 for number, ahead in enumerate(done))


KILLED = """
import sys, threading
from pathlib import Path
from tests.heard import Heard
from tvtasks.rerun import Request, run_batch

def finished(outcome):
    if len(heard.outcomes) == 3:
        print("three are done", flush=True)
        threading.Event().wait(60)

heard = Heard(finished)
run_batch(Request((Path(sys.argv[1]),), (sys.argv[2],), workers=2), listener=heard)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on Windows")
def test_after_a_kill_it_continues_where_it_stopped(tmp_path, recipe):
    for number in range(12):
        restore_file(save(tmp_path / "scans" / f"stm_{number}.npy", number), FIRST, tmp_path / "archive")
    directory = tmp_path / "archive"
    command = [sys.executable, "-c", KILLED, str(directory), recipe]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "three are done\n"
        os.kill(child.pid, signal.SIGKILL)
    archive.remove_partials(directory, timedelta(0))
    counts = plan([directory], RecipeBook.load([recipe])).counts
    assert 3 <= counts["current"] < 12
    report = run_batch(request(directory, recipe))
    assert (report.current, report.restored) == (counts["current"], counts["outdated"])
    for path in directory.glob("*.nxs"):
        archive.load(path)


class TestLiveFirst:
    @pytest.fixture
    def watched(self, filled, tmp_path):
        """An archive with a running watch, and its ledger."""
        live = tmp_path / "live"
        live.mkdir()
        heart = HeartbeatWriter(WatchOptions(folder=live, archive=filled, recipes=("x",)), "digest")
        with heart, Ledger(ledger_path(filled)) as ledger:
            heart.pulse(Pulse())
            heart.beat()
            yield ledger, live

    def test_it_waits_while_files_are_queued_or_running(self, watched, filled, monkeypatch):
        monkeypatch.setattr(working, "CHECK_SECONDS", 0.0)
        ledger, folder = watched
        live = live_work(filled)
        assert not live()
        path = save(folder / "new.npy", 7)
        ledger.enqueue(path, 1, 1, file_sha256(path), "digest")
        assert live()
        entry = ledger.claim("digest")
        assert live()
        ledger.finish(entry, [], {})
        assert not live()

    def test_work_of_a_watch_that_is_not_running_delays_nobody(self, filled, tmp_path):
        with Ledger(ledger_path(filled)) as ledger:
            ledger.enqueue(tmp_path / "a.npy", 1, 1, "0" * 64, "digest")
        assert not live_work(filled)()
        assert not live_work(tmp_path / "nowhere")()

    def test_nothing_is_started_while_live_files_wait(self, filled, recipe):
        found = request(filled, recipe).plan()
        answers = iter([True, True, False, True])
        seen, heard = [], Heard()

        def live():
            seen.append(next(answers, False))
            return seen[-1]

        began = time.monotonic()
        execute(found.jobs, filled, workers=1, listener=heard, live=live)
        assert time.monotonic() - began >= 2 * working.CHECK_SECONDS
        assert len(heard.outcomes) == 4
        assert seen[:3] == [True, True, False]
