import os
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tvtasks.errors import ArchiveError
from tvtasks.monitor.ledger import SCHEMA_VERSION, Entry, Ledger, State

SCAN = Path("/data/scan.tif")
COPY = Path("/data/copy.tif")
OUTPUT = Path("/archive/scan.nxs")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / ".tvtasks" / "ledger.sqlite") as ledger:
        yield ledger


def enqueue(
    ledger: Ledger, path: Path = SCAN, content: str = "a", recipe: str = "stm", mtime_ns: int = 1
) -> Entry | None:
    return ledger.enqueue(path, 100, mtime_ns, content * 64, recipe)


def queued(ledger: Ledger, path: Path = SCAN, content: str = "a") -> Entry:
    entry = enqueue(ledger, path, content)
    assert entry is not None
    return entry


def running(ledger: Ledger, path: Path = SCAN, content: str = "a") -> Entry:
    entry = ledger.start(queued(ledger, path, content))
    assert entry is not None
    return entry


def state(ledger: Ledger, path: Path = SCAN, content: str = "a") -> State:
    (found,) = (e.state for e in ledger.entries() if (e.path, e.sha256) == (path, content * 64))
    return found


class TestLife:
    def test_from_queued_to_done(self, ledger: Ledger) -> None:
        entry = queued(ledger)
        assert (entry.state, entry.attempts) == (State.QUEUED, 0)
        started = ledger.start(entry)
        assert started is not None
        assert (started.state, started.attempts) == (State.RUNNING, 1)
        ledger.finish(started, [OUTPUT], {"gap": 1e-4, "seconds": 2.5})
        (done,) = ledger.entries()
        assert done.state is State.DONE
        assert done.outputs == (OUTPUT,)
        assert done.detail == {"gap": 1e-4, "seconds": 2.5}
        assert done.first_seen == entry.first_seen < done.updated

    def test_it_survives_closing(self, ledger: Ledger) -> None:
        ledger.finish(running(ledger), [OUTPUT], {"gap": 0.0})
        before = ledger.entries()
        ledger.close()
        with Ledger(ledger.path) as again:
            assert again.entries() == before

    def test_work_is_started_once(self, ledger: Ledger) -> None:
        entry = queued(ledger)
        assert ledger.start(entry) is not None
        assert ledger.start(entry) is None

    def test_failed_work_may_be_started_again(self, ledger: Ledger) -> None:
        entry = running(ledger)
        ledger.fail(entry, "The disk is full.")
        again = ledger.start(entry)
        assert again is not None
        assert (again.attempts, again.reason) == (2, "")

    def test_counts_name_every_state(self, ledger: Ledger) -> None:
        queued(ledger, COPY, "b")
        ledger.quarantine(running(ledger), "scan.tif holds no image.")
        assert ledger.counts() == {
            State.QUEUED: 1,
            State.RUNNING: 0,
            State.DONE: 0,
            State.FAILED: 0,
            State.QUARANTINED: 1,
            State.OVERWRITTEN: 0,
        }

    def test_recipes_are_kept_apart(self, ledger: Ledger) -> None:
        ledger.finish(running(ledger), [OUTPUT], {})
        assert enqueue(ledger, recipe="sem") is not None
        assert [entry.recipe for entry in ledger.entries("sem")] == ["sem"]
        assert ledger.counts("stm")[State.DONE] == 1
        assert ledger.counts("sem")[State.DONE] == 0

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every file name is valid Unicode")
    def test_a_name_that_is_not_unicode(self, ledger: Ledger) -> None:
        path = Path(os.fsdecode(b"/data/\xb5m.tif"))
        ledger.fail(running(ledger, path), f"{path} is locked.")
        (entry,) = ledger.entries()
        assert entry.path == path
        assert ledger.known(path, 100, 1, "stm") == entry


class TestEnqueue:
    def test_content_done_under_this_path_is_not_done_again(self, ledger: Ledger) -> None:
        ledger.finish(running(ledger), [OUTPUT], {})
        assert enqueue(ledger, mtime_ns=2) is None
        assert ledger.known(SCAN, 100, 2, "stm") is not None, "its new date is remembered"

    def test_content_done_under_another_path_is_done(self, ledger: Ledger) -> None:
        ledger.finish(running(ledger), [OUTPUT], {"gap": 0.5})
        assert enqueue(ledger, COPY) is None
        copy = ledger.known(COPY, 100, 1, "stm")
        assert copy is not None
        assert (copy.state, copy.outputs, copy.detail) == (State.DONE, (OUTPUT,), {"gap": 0.5})

    def test_content_that_is_queued_or_running_is_not_queued_twice(self, ledger: Ledger) -> None:
        entry = queued(ledger)
        assert enqueue(ledger, mtime_ns=2) is None
        ledger.start(entry)
        assert enqueue(ledger, mtime_ns=3) is None
        assert state(ledger) is State.RUNNING

    def test_quarantined_content_is_not_repeated(self, ledger: Ledger) -> None:
        ledger.quarantine(running(ledger), "scan.tif holds no image.")
        assert enqueue(ledger, mtime_ns=2) is None
        assert state(ledger) is State.QUARANTINED

    def test_new_content_of_a_quarantined_name_is_work(self, ledger: Ledger) -> None:
        ledger.quarantine(running(ledger), "scan.tif holds no image.")
        assert enqueue(ledger, content="b") is not None

    def test_failed_content_that_is_offered_again_is_work(self, ledger: Ledger) -> None:
        ledger.fail(running(ledger), "scan.tif is locked.")
        again = enqueue(ledger)
        assert again is not None
        assert (again.state, again.reason, again.attempts) == (State.QUEUED, "", 1)

    def test_a_copy_queued_before_the_first_was_done_is_not_started(self, ledger: Ledger) -> None:
        first, copy = queued(ledger), queued(ledger, COPY)
        ledger.start(first)
        ledger.finish(first, [OUTPUT], {})
        assert ledger.start(copy) is None
        assert state(ledger, COPY) is State.DONE


class TestOverwritten:
    def test_content_that_was_overwritten_while_queued_is_not_started(self, ledger: Ledger) -> None:
        old = queued(ledger)
        new = queued(ledger, content="b")
        assert state(ledger) is State.OVERWRITTEN
        assert ledger.start(old) is None
        assert ledger.start(new) is not None

    def test_content_that_is_running_is_left_alone(self, ledger: Ledger) -> None:
        old = running(ledger)
        queued(ledger, content="b")
        ledger.finish(old, [OUTPUT], {})
        assert (state(ledger), state(ledger, content="b")) == (State.DONE, State.QUEUED)

    def test_old_content_that_comes_back_is_work_again(self, ledger: Ledger) -> None:
        queued(ledger)
        queued(ledger, content="b")
        assert enqueue(ledger) is not None
        assert (state(ledger), state(ledger, content="b")) == (State.QUEUED, State.OVERWRITTEN)

    def test_what_was_read_had_other_content(self, ledger: Ledger) -> None:
        entry = running(ledger)
        ledger.mark_overwritten(entry)
        assert ledger.known(SCAN, 100, 1, "stm") is None, "a scan must find the new content"
        assert ledger.entries()[0].reason.startswith("scan.tif was overwritten")

    def test_overwritten_content_is_not_recovered(self, ledger: Ledger) -> None:
        ledger.fail(running(ledger), "scan.tif is locked.")
        queued(ledger, content="b")
        assert [entry.sha256[0] for entry in ledger.recover("stm")] == ["b"]


class TestKnown:
    def test_a_file_that_looks_the_same(self, ledger: Ledger) -> None:
        entry = queued(ledger)
        assert ledger.known(SCAN, 100, 1, "stm") == entry

    @pytest.mark.parametrize(
        ("path", "size", "mtime_ns", "recipe"),
        [(COPY, 100, 1, "stm"), (SCAN, 101, 1, "stm"), (SCAN, 100, 2, "stm"), (SCAN, 100, 1, "sem")],
        ids=["other path", "other size", "other mtime", "other recipe"],
    )
    def test_any_difference_makes_it_unknown(
        self, ledger: Ledger, path: Path, size: int, mtime_ns: int, recipe: str
    ) -> None:
        queued(ledger)
        assert ledger.known(path, size, mtime_ns, recipe) is None


class TestRecover:
    def test_what_a_kill_or_a_failure_left_behind_is_queued(self, ledger: Ledger) -> None:
        queued(ledger, Path("/queued.tif"), "a")
        running(ledger, Path("/running.tif"), "b")
        ledger.fail(running(ledger, Path("/failed.tif"), "c"), "The disk is full.")
        ledger.quarantine(running(ledger, Path("/bad.tif"), "d"), "bad.tif holds no image.")
        ledger.finish(running(ledger, Path("/done.tif"), "e"), [], {})
        recovered = ledger.recover("stm")
        assert [entry.path.name for entry in recovered] == ["queued.tif", "running.tif", "failed.tif"]
        assert {entry.state for entry in recovered} == {State.QUEUED}
        assert ledger.counts()[State.QUARANTINED] == ledger.counts()[State.DONE] == 1

    def test_only_of_the_recipe(self, ledger: Ledger) -> None:
        queued(ledger)
        assert ledger.recover("sem") == []


class TestFile:
    def test_threads_share_a_ledger(self, ledger: Ledger) -> None:
        def work(number: int) -> None:
            entry = ledger.enqueue(Path(f"/{number}.tif"), number, number, f"{number:064}", "stm")
            assert entry is not None
            started = ledger.start(entry)
            assert started is not None
            ledger.finish(started, [], {})

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(100)))
        assert ledger.counts()[State.DONE] == 100

    def test_only_one_of_many_threads_starts_an_entry(self, ledger: Ledger) -> None:
        entry = queued(ledger)
        with ThreadPoolExecutor(8) as pool:
            started = list(pool.map(lambda _: ledger.start(entry), range(16)))
        assert sum(one is not None for one in started) == 1

    def test_a_status_table_reads_while_the_monitor_writes(self, ledger: Ledger) -> None:
        with Ledger(ledger.path) as table:
            queued(ledger)
            assert table.counts()[State.QUEUED] == 1

    def test_a_failed_write_leaves_nothing_half_done(self, ledger: Ledger) -> None:
        entry = running(ledger)
        with pytest.raises(TypeError):
            ledger.finish(entry, [OUTPUT], {"gap": object()})
        assert state(ledger) is State.RUNNING
        ledger.finish(entry, [OUTPUT], {})

    def test_a_ledger_of_a_newer_version_is_refused(self, ledger: Ledger) -> None:
        ledger.close()
        with sqlite3.connect(ledger.path) as db:
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        db.close()
        with pytest.raises(ArchiveError, match=r"newer version of tvtasks.*Update"):
            Ledger(ledger.path)

    def test_another_database_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "other.sqlite"
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE samples (name TEXT)")
        db.close()
        before = path.read_bytes()
        with pytest.raises(ArchiveError, match="not a ledger"):
            Ledger(path)
        assert path.read_bytes() == before

    def test_a_damaged_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger.sqlite"
        path.write_bytes(b"not a database at all" * 100)
        with pytest.raises(ArchiveError, match=r"damaged or not a ledger.*Move it away"):
            Ledger(path)

    def test_a_place_that_cannot_hold_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "archive").write_text("a file, not a folder")
        with pytest.raises(ArchiveError, match="cannot be opened"):
            Ledger(tmp_path / "archive" / "ledger.sqlite")

    def test_trouble_during_work_is_told_as_a_sentence(self, ledger: Ledger) -> None:
        entry = queued(ledger)
        with sqlite3.connect(ledger.path) as db:
            db.execute("DROP TABLE files")
        db.close()
        with pytest.raises(ArchiveError, match="cannot be used"):
            ledger.start(entry)
