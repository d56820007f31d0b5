import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tvtasks.errors import ArchiveError
from tvtasks.filesystem import FileStatus
from tvtasks.ledger import Entry, Ledger, Output, Priority, ReadOnlyLedger, State
from tvtasks.ledger import ledger as ledgers
from tvtasks.ledger.rows import SCHEMA_VERSION

SCAN = Path("/data/scan.tif")
COPY = Path("/data/copy.tif")
OUTPUT = Output(Path("/archive/scan.nxs"), 1000, 7, "a" * 64)


class Clock:
    """The time of day; each reading takes a microsecond, so that no two records share a time."""

    def __init__(self) -> None:
        self.now = datetime(2025, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=1)
        return self.now

    def after(self, **duration: float) -> None:
        self.now += timedelta(**duration)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    with Ledger(tmp_path / ".tvtasks" / "ledger.sqlite", now=clock) as ledger:
        yield ledger


def enqueue(
    ledger: Ledger,
    path: Path = SCAN,
    content: str = "a",
    recipe: str = "stm",
    mtime_ns: int = 1,
    priority: Priority = Priority.LIVE,
) -> Entry | None:
    return ledger.enqueue(path, 100, mtime_ns, content * 64, recipe, priority=priority)


def queued(ledger: Ledger, path: Path = SCAN, content: str = "a", **options: Priority) -> Entry:
    entry = enqueue(ledger, path, content, **options)
    assert entry is not None
    return entry


def claimed(ledger: Ledger) -> Entry:
    entry = ledger.claim("stm")
    assert entry is not None
    return entry


def running(ledger: Ledger, path: Path = SCAN, content: str = "a") -> Entry:
    queued(ledger, path, content)
    entry = claimed(ledger)
    assert entry.path == path
    return entry


def state(ledger: Ledger, path: Path = SCAN, content: str = "a") -> State:
    (found,) = (e.state for e in ledger.entries() if (e.path, e.sha256) == (path, content * 64))
    return found


def names(entries: list[Entry]) -> list[str]:
    return [entry.path.name for entry in entries]


def claimable(ledger: Ledger) -> list[str]:
    """Claim everything that is due, and return the names in order."""
    found = []
    while entry := ledger.claim("stm"):
        found.append(entry.path.name)
    return found


class TestLife:
    def test_from_queued_to_done(self, ledger: Ledger) -> None:
        entry = queued(ledger)
        assert (entry.state, entry.attempts) == (State.QUEUED, 0)
        started = claimed(ledger)
        assert (started.state, started.attempts) == (State.RUNNING, 1)
        assert ledger.finish(started, [OUTPUT], {"gap": 1e-4, "seconds": 2.5}) == ledger.entries()
        (done,) = ledger.entries()
        assert done.state is State.DONE
        assert done.outputs == (OUTPUT,)
        assert done.detail == {"gap": 1e-4, "seconds": 2.5}
        assert done.first_seen == entry.first_seen < done.updated

    def test_it_survives_closing(self, ledger: Ledger) -> None:
        ledger.finish(running(ledger), [OUTPUT], {"gap": 0.0})
        before = ledger.entries(), ledger.history(SCAN)
        ledger.close()
        with Ledger(ledger.path) as again:
            assert (again.entries(), again.history(SCAN)) == before

    def test_each_attempt_is_recorded_with_its_end(self, ledger: Ledger, clock: Clock) -> None:
        ledger.fail(running(ledger), "The disk is full.")
        clock.after(seconds=11)
        ledger.finish(claimed(ledger), [OUTPUT], {})
        first, second = ledger.history(SCAN)
        assert (first.outcome, first.reason) == ("failed", "The disk is full.")
        assert (second.outcome, second.reason) == ("done", "")
        assert first.begun < first.ended < second.begun < second.ended

    def test_an_attempt_under_way_has_no_end(self, ledger: Ledger) -> None:
        running(ledger)
        (attempt,) = ledger.history(SCAN)
        assert (attempt.ended, attempt.outcome) == ("", "")

    def test_counts_name_every_state(self, ledger: Ledger) -> None:
        ledger.quarantine(running(ledger), "scan.tif holds no image.")
        queued(ledger, COPY, "b")
        assert ledger.counts() == {
            State.QUEUED: 1,
            State.RUNNING: 0,
            State.CANCELLED: 0,
            State.DONE: 0,
            State.FAILED: 0,
            State.QUARANTINED: 1,
            State.OVERWRITTEN: 0,
        }

    def test_entries_can_be_selected_by_state(self, ledger: Ledger) -> None:
        ledger.quarantine(running(ledger), "scan.tif holds no image.")
        queued(ledger, COPY, "b")
        assert names(ledger.entries("stm", State.QUEUED, State.DONE)) == ["copy.tif"]
        assert names(ledger.entries(None, State.QUARANTINED)) == ["scan.tif"]

    def test_recipes_do_not_mix(self, ledger: Ledger) -> None:
        ledger.finish(running(ledger), [OUTPUT], {})
        assert enqueue(ledger, recipe="sem") is not None
        assert ledger.claim("stm") is None
        assert [entry.recipe for entry in ledger.entries("sem")] == ["sem"]
        assert ledger.counts("stm")[State.DONE] == 1
        assert ledger.counts("sem")[State.DONE] == 0

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every file name is valid Unicode")
    @pytest.mark.parametrize(
        "path",
        [Path("/data/\udcb5m.tif"), Path("/d\udce4ta/um.tif")],
        ids=["file", "folder"],
    )
    def test_a_name_that_is_not_unicode(self, ledger: Ledger, path: Path) -> None:
        ledger.fail(running(ledger, path), f"{path} is locked.")
        (entry,) = ledger.entries()
        assert entry.path == path
        assert ledger.known(path, 100, 1, "stm") == entry
        assert ledger.known_in(path.parent, "stm") == {path.name: FileStatus(100, 1)}
        assert ledger.retry(path) == 1


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
        queued(ledger)
        assert enqueue(ledger, mtime_ns=2) is None
        claimed(ledger)
        assert enqueue(ledger, mtime_ns=3) is None
        assert state(ledger) is State.RUNNING

    def test_quarantined_content_is_not_queued_again(self, ledger: Ledger) -> None:
        ledger.quarantine(running(ledger), "scan.tif holds no image.")
        assert enqueue(ledger, mtime_ns=2) is None
        assert state(ledger) is State.QUARANTINED

    def test_cancelled_content_waits_for_the_next_start(self, ledger: Ledger) -> None:
        ledger.cancel(running(ledger), "scan.tif was cancelled.")
        assert enqueue(ledger, mtime_ns=2) is None
        assert ledger.claim("stm") is None
        assert state(ledger) is State.CANCELLED
        ledger.recover("stm")
        assert claimed(ledger).path == SCAN

    def test_whoever_asks_has_cancelled_content_restored(self, ledger: Ledger) -> None:
        ledger.cancel(running(ledger), "scan.tif was cancelled.")
        assert ledger.retry(SCAN) == 1
        assert claimed(ledger).path == SCAN

    def test_new_content_under_a_quarantined_name_is_queued(self, ledger: Ledger) -> None:
        ledger.quarantine(running(ledger), "scan.tif holds no image.")
        assert enqueue(ledger, content="b") is not None
        assert state(ledger) is State.OVERWRITTEN
        assert ledger.history(SCAN)[0].reason == "scan.tif holds no image."

    def test_failed_content_that_is_offered_again_is_due_at_once(self, ledger: Ledger) -> None:
        ledger.fail(running(ledger), "scan.tif is locked.")
        again = enqueue(ledger)
        assert again is not None
        assert (again.state, again.reason, again.next_attempt, again.attempts) == (State.QUEUED, "", "", 1)
        assert claimed(ledger).attempts == 2


class TestSameContent:
    def test_a_waiting_copy_is_done_with_the_first(self, ledger: Ledger) -> None:
        queued(ledger)
        queued(ledger, COPY)
        done = ledger.finish(claimed(ledger), [OUTPUT], {"gap": 0.5})
        assert names(done) == ["scan.tif", "copy.tif"]
        assert {(entry.state, entry.outputs) for entry in done} == {(State.DONE, (OUTPUT,))}
        assert ledger.claim("stm") is None

    def test_a_copy_is_not_started_while_the_first_is_running(self, ledger: Ledger) -> None:
        queued(ledger)
        queued(ledger, COPY)
        first = claimed(ledger)
        assert ledger.claim("stm") is None
        ledger.quarantine(first, "scan.tif holds no image.")
        assert claimed(ledger).path == COPY

    def test_a_copy_does_not_delay_files_queued_behind_it(self, ledger: Ledger) -> None:
        running(ledger)
        queued(ledger, COPY)
        queued(ledger, Path("/data/other.tif"), "b")
        assert claimed(ledger).path.name == "other.tif"

    def test_a_copy_retried_after_the_first_is_done_is_done_too(self, ledger: Ledger) -> None:
        ledger.quarantine(running(ledger, COPY), "copy.tif is not read under this name.")
        ledger.finish(running(ledger), [OUTPUT], {})
        ledger.retry(COPY)
        assert ledger.claim("stm") is None
        assert state(ledger, COPY) is State.DONE


class TestClaim:
    def test_work_is_claimed_once(self, ledger: Ledger) -> None:
        queued(ledger)
        assert claimable(ledger) == ["scan.tif"]

    def test_live_before_backlog_before_reruns_oldest_first(self, ledger: Ledger) -> None:
        for number, priority in enumerate([*reversed(Priority), *reversed(Priority)]):
            queued(ledger, Path(f"/{priority} {number}.tif"), f"{number}", priority=priority)
        assert claimable(ledger) == [
            "live 2.tif",
            "live 5.tif",
            "backlog 1.tif",
            "backlog 4.tif",
            "rerun 0.tif",
            "rerun 3.tif",
        ]

    def test_failed_work_waits_then_goes_after_new_work(self, ledger: Ledger, clock: Clock) -> None:
        ledger.fail(running(ledger), "The disk is full.")
        clock.after(seconds=9)
        assert ledger.claim("stm") is None
        clock.after(seconds=2)
        queued(ledger, Path("/data/new.tif"), "b")
        queued(ledger, Path("/data/old.tif"), "c", priority=Priority.BACKLOG)
        assert claimable(ledger) == ["new.tif", "scan.tif", "old.tif"]

    def test_a_clock_that_was_ahead_does_not_delay_work_for_ever(self, ledger: Ledger, clock: Clock) -> None:
        queued(ledger, COPY, "b")
        clock.after(days=365)
        ledger.fail(claimed(ledger), "The disk is full.")
        queued(ledger)
        clock.after(days=-365)
        assert claimable(ledger) == ["scan.tif", "copy.tif"]


class TestFailure:
    def test_the_wait_doubles_up_to_an_hour_and_retries_never_end(self, ledger: Ledger, clock: Clock) -> None:
        queued(ledger)
        waits = []
        for _ in range(30):
            failed = ledger.fail(claimed(ledger), "The disk is full.")
            assert failed.state is State.FAILED
            waits.append(round((datetime.fromisoformat(failed.next_attempt) - clock.now).total_seconds()))
            clock.after(seconds=waits[-1] + 1)
        assert waits[:9] == [10, 20, 40, 80, 160, 320, 640, 1280, 2560]
        assert set(waits[9:]) == {3600}

    def test_a_defect_is_given_up_at_the_third_attempt(self, ledger: Ledger, clock: Clock) -> None:
        queued(ledger)
        states = []
        for _ in range(3):
            states.append(ledger.fail(claimed(ledger), "An error in tvtasks.", heals=False).state)
            clock.after(hours=2)
        assert states == [State.FAILED, State.FAILED, State.QUARANTINED]
        assert ledger.claim("stm") is None
        assert ledger.entries()[0].next_attempt == ""


class TestRetry:
    def test_failed_and_quarantined_files_are_due_now_and_start_afresh(
        self, ledger: Ledger, clock: Clock
    ) -> None:
        ledger.quarantine(running(ledger, COPY, "b"), "copy.tif holds no image.")
        ledger.fail(running(ledger), "The disk is full.")
        assert ledger.retry() == 2
        (copy, scan) = ledger.entries()
        assert {copy.state, scan.state} == {State.QUEUED}
        assert (scan.reason, scan.next_attempt, scan.failures) == ("", "", 0)
        assert claimable(ledger) == ["copy.tif", "scan.tif"]

    def test_a_single_path_goes_first(self, ledger: Ledger) -> None:
        ledger.quarantine(running(ledger, COPY, "b"), "copy.tif holds no image.")
        ledger.fail(running(ledger), "The disk is full.")
        queued(ledger, Path("/data/old.tif"), "c", priority=Priority.BACKLOG)
        assert ledger.retry(SCAN) == 1
        assert claimable(ledger) == ["scan.tif", "old.tif"]
        assert ledger.retry(Path("/data/unknown.tif")) == 0

    def test_all_files_go_after_new_acquisitions(self, ledger: Ledger) -> None:
        ledger.fail(running(ledger), "The disk is full.")
        ledger.retry()
        queued(ledger, COPY, "b")
        assert claimable(ledger) == ["copy.tif", "scan.tif"]

    def test_done_and_running_files_are_left_alone(self, ledger: Ledger) -> None:
        ledger.finish(running(ledger), [OUTPUT], {})
        running(ledger, COPY, "b")
        assert ledger.retry() == 0
        assert ledger.counts()[State.RUNNING] == ledger.counts()[State.DONE] == 1

    def test_another_process_sees_it_at_its_next_claim(self, ledger: Ledger) -> None:
        ledger.quarantine(running(ledger), "scan.tif holds no image.")
        with Ledger(ledger.path) as other:
            assert other.retry(SCAN) == 1
        assert claimed(ledger).path == SCAN


class TestOverwritten:
    def test_content_that_was_overwritten_while_queued_is_not_started(self, ledger: Ledger) -> None:
        queued(ledger)
        queued(ledger, content="b")
        assert state(ledger) is State.OVERWRITTEN
        assert claimed(ledger).sha256[0] == "b"
        assert ledger.claim("stm") is None

    def test_running_content_is_left_alone(self, ledger: Ledger) -> None:
        old = running(ledger)
        queued(ledger, content="b")
        ledger.finish(old, [OUTPUT], {})
        assert (state(ledger), state(ledger, content="b")) == (State.DONE, State.QUEUED)

    def test_old_content_that_comes_back_is_queued_again(self, ledger: Ledger) -> None:
        queued(ledger)
        queued(ledger, content="b")
        assert enqueue(ledger) is not None
        assert (state(ledger), state(ledger, content="b")) == (State.QUEUED, State.OVERWRITTEN)

    def test_the_file_had_other_content_when_it_was_read(self, ledger: Ledger) -> None:
        entry = ledger.mark_overwritten(running(ledger))
        assert entry.reason.startswith("scan.tif was overwritten")
        assert ledger.entries() == [entry]
        assert ledger.known(SCAN, 100, 1, "stm") is None, "a scan must find the new content"
        assert ledger.known_in(SCAN.parent, "stm") == {}
        assert ledger.history(SCAN)[0].outcome == "overwritten"

    def test_a_missing_file_has_a_reason(self, ledger: Ledger) -> None:
        assert ledger.mark_overwritten(running(ledger), "scan.tif was removed.").reason == (
            "scan.tif was removed."
        )


class TestKnown:
    def test_a_file_that_looks_the_same_is_known(self, ledger: Ledger) -> None:
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

    def test_one_question_covers_a_whole_folder(self, ledger: Ledger) -> None:
        queued(ledger)
        queued(ledger, Path("/data/below/deep.tif"), "b")
        enqueue(ledger, COPY, "c", recipe="sem")
        assert ledger.known_in(Path("/data"), "stm") == {"scan.tif": FileStatus(100, 1)}
        assert ledger.known_in(Path("/data/below"), "stm") == {"deep.tif": FileStatus(100, 1)}
        assert ledger.known_in(Path("/"), "stm") == {}

    def test_the_latest_content_of_a_name_counts(self, ledger: Ledger) -> None:
        ledger.finish(running(ledger), [OUTPUT], {})
        enqueue(ledger, content="b", mtime_ns=2)
        assert ledger.known_in(Path("/data"), "stm") == {"scan.tif": FileStatus(100, 2)}


class TestRecover:
    def test_only_running_work_is_queued_again_and_its_attempt_is_closed(self, ledger: Ledger) -> None:
        ledger.fail(running(ledger, Path("/failed.tif"), "c"), "The disk is full.")
        ledger.quarantine(running(ledger, Path("/bad.tif"), "d"), "bad.tif holds no image.")
        ledger.finish(running(ledger, Path("/done.tif"), "e"), [], {})
        running(ledger, Path("/running.tif"), "b")
        queued(ledger, Path("/queued.tif"), "a")
        before = {entry.path.name: entry for entry in ledger.entries()}
        (recovered,) = ledger.recover("stm")
        assert (recovered.path.name, recovered.state, recovered.attempts) == ("running.tif", State.QUEUED, 1)
        after = {entry.path.name: entry for entry in ledger.entries()}
        assert after == before | {"running.tif": recovered}
        (attempt,) = ledger.history(Path("/running.tif"))
        assert attempt.outcome == "interrupted"
        assert "was killed or the power failed" in attempt.reason

    def test_recovered_work_goes_first(self, ledger: Ledger) -> None:
        running(ledger)
        queued(ledger, COPY, "b")
        ledger.recover("stm")
        assert claimable(ledger) == ["scan.tif", "copy.tif"]

    def test_a_file_that_keeps_killing_tvtasks_goes_after_the_others(
        self, ledger: Ledger, clock: Clock
    ) -> None:
        queued(ledger)
        queued(ledger, COPY, "b")
        for _ in range(3):
            assert claimed(ledger).path == SCAN
            (recovered,) = ledger.recover("stm")
        assert recovered.state is State.FAILED
        assert "3 times in a row" in recovered.reason
        assert claimable(ledger) == ["copy.tif"]
        clock.after(hours=1)
        assert claimable(ledger) == ["scan.tif"], "it is not given up"

    def test_only_work_for_the_recipe_is_recovered(self, ledger: Ledger) -> None:
        running(ledger)
        assert ledger.recover("sem") == []


class TestOverview:
    def test_an_empty_ledger(self, ledger: Ledger) -> None:
        overview = ledger.overview()
        assert set(overview.counts.values()) == {0}
        assert (overview.oldest_waiting, overview.last_error, overview.next_retry) == (None, None, "")
        assert (overview.done_last_hour, overview.seconds_per_file) == (0, None)

    @pytest.mark.parametrize("recipe", ["stm", None], ids=["one recipe", "all"])
    def test_a_busy_ledger(self, ledger: Ledger, clock: Clock, recipe: str | None) -> None:
        ledger.finish(running(ledger, Path("/earlier.tif"), "1"), [], {})
        clock.after(hours=2)
        for number in "23":
            entry = running(ledger, Path(f"/{number}.tif"), number)
            clock.after(seconds=3)
            ledger.finish(entry, [], {})
        bad = ledger.quarantine(running(ledger, Path("/bad.tif"), "4"), "bad.tif holds no image.")
        failed = ledger.fail(running(ledger, Path("/failed.tif"), "5"), "The disk is full.")
        backlog = queued(ledger, Path("/old.tif"), "6", priority=Priority.BACKLOG)
        queued(ledger, Path("/new.tif"), "7")
        overview = ledger.overview(recipe)
        assert overview.counts == ledger.counts()
        assert overview.oldest_waiting == backlog
        assert overview.last_error == failed
        assert overview.last_error.updated > bad.updated
        assert overview.done_last_hour == 2
        assert overview.seconds_per_file == pytest.approx(2.0, abs=0.001), "0, 3 and 3 seconds"
        assert overview.next_retry == failed.next_attempt

    def test_another_recipe_does_not_count(self, ledger: Ledger) -> None:
        queued(ledger, COPY, "b")
        ledger.fail(claimed(ledger), "The disk is full.")
        enqueue(ledger, recipe="sem")
        overview = ledger.overview("sem")
        assert overview.counts[State.FAILED] == 0
        assert (overview.last_error, overview.next_retry) == (None, "")
        assert overview.oldest_waiting is not None
        assert overview.oldest_waiting.recipe == "sem"


class TestPrune:
    def test_the_last_of_many_old_attempts_are_kept(self, ledger: Ledger, clock: Clock) -> None:
        queued(ledger)
        for number in range(6):
            ledger.fail(claimed(ledger), f"Attempt {number}.")
            clock.after(hours=1, seconds=1)
        assert ledger.prune(keep=2) == 0, "they are not old yet"
        clock.after(days=31)
        assert ledger.prune(keep=2) == 4
        assert [attempt.reason for attempt in ledger.history(SCAN)] == ["Attempt 4.", "Attempt 5."]
        assert ledger.entries()[0].attempts == 6

    def test_old_overwritten_entries_are_deleted_with_their_attempts(
        self, ledger: Ledger, clock: Clock
    ) -> None:
        ledger.mark_overwritten(running(ledger))
        queued(ledger, COPY, "b")
        assert ledger.prune() == 0
        clock.after(days=31)
        assert ledger.prune() == 1
        assert names(ledger.entries()) == ["copy.tif"]
        assert ledger.history(SCAN) == []

    def test_an_old_done_entry_is_kept_while_its_file_exists(
        self, ledger: Ledger, clock: Clock, tmp_path: Path
    ) -> None:
        folder = tmp_path / "microscope"
        folder.mkdir()
        for name in ("a.tif", "b.tif"):
            (folder / name).touch()
            ledger.finish(running(ledger, folder / name, name[0]), [], {})
        queued(ledger, folder / "c.tif", "c")
        (folder / "a.tif").unlink()
        assert ledger.prune() == 0, "it is not old yet"
        clock.after(days=366)
        assert ledger.prune() == 1
        assert names(ledger.entries()) == ["b.tif", "c.tif"]

    @pytest.mark.parametrize("there", [True, False], ids=["empty", "missing"])
    def test_a_disconnected_share_deletes_nothing(
        self, ledger: Ledger, clock: Clock, tmp_path: Path, there: bool
    ) -> None:
        folder = tmp_path / "share"
        if there:
            folder.mkdir()
        ledger.finish(running(ledger, folder / "scan.tif"), [], {})
        clock.after(days=366)
        assert ledger.prune() == 0


CLAIM_ALL = """
import sys
from pathlib import Path
from tvtasks.ledger import Ledger
with Ledger(Path(sys.argv[1])) as ledger:
    print("ready", flush=True)
    sys.stdin.readline()
    while entry := ledger.claim("stm"):
        print(entry.path.name)
        ledger.finish(entry, [], {})
"""


class TestFile:
    def test_threads_share_a_ledger(self, ledger: Ledger) -> None:
        def work(number: int) -> None:
            assert ledger.enqueue(Path(f"/{number}.tif"), number, number, f"{number:064}", "stm") is not None
            ledger.finish(claimed(ledger), [], {})

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(100)))
        assert ledger.counts()[State.DONE] == 100

    def test_only_one_of_many_threads_claims_an_entry(self, ledger: Ledger) -> None:
        queued(ledger)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: ledger.claim("stm"), range(16)))
        assert sum(one is not None for one in found) == 1

    def test_processes_share_a_ledger_and_claim_each_file_once(self, ledger: Ledger) -> None:
        for number in range(200):
            ledger.enqueue(Path(f"/{number}.tif"), number, number, f"{number:064}", "stm")
        command = [sys.executable, "-c", CLAIM_ALL, str(ledger.path)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        workers = [subprocess.Popen(command, **pipes) for _ in range(2)]
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"
        printed = []
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        for worker in workers:
            printed += worker.communicate(timeout=60)[0].split()
        assert sorted(printed) == sorted(f"{number}.tif" for number in range(200))
        assert ledger.counts()[State.DONE] == 200

    def test_a_status_table_reads_while_the_monitor_writes(self, ledger: Ledger) -> None:
        with Ledger(ledger.path) as table:
            queued(ledger)
            assert table.counts()[State.QUEUED] == 1

    def test_a_network_share_needs_no_shared_memory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "ledger.sqlite"
        with Ledger(path) as local:
            queued(local)
        monkeypatch.setattr(ledgers, "is_network_folder", lambda folder: folder == tmp_path)
        with Ledger(path) as ledger:
            assert claimable(ledger) == ["scan.tif"]
            assert not list(tmp_path.glob("*-shm"))

    def test_a_failed_write_leaves_nothing_half_done(self, ledger: Ledger) -> None:
        entry = running(ledger)
        with pytest.raises(TypeError):
            ledger.finish(entry, [OUTPUT], {"gap": object()})
        assert state(ledger) is State.RUNNING
        assert ledger.history(SCAN)[0].ended == ""
        ledger.finish(entry, [OUTPUT], {})

    def test_a_full_disk_is_reported_and_the_ledger_stays_usable(self, ledger: Ledger) -> None:
        entry = running(ledger)
        allow_pages(ledger, 1)
        with pytest.raises(ArchiveError, match=r"full.*Check that the disk is not full"):
            ledger.finish(entry, [OUTPUT] * 10_000, {})
        assert state(ledger) is State.RUNNING
        allow_pages(ledger, 1_000_000)
        ledger.finish(entry, [OUTPUT] * 10_000, {})
        assert state(ledger) is State.DONE

    @pytest.mark.skipif(sys.platform == "win32", reason="there an open file cannot be replaced")
    def test_a_file_that_went_away_and_came_back_is_reopened(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ledgers, "is_network_folder", lambda folder: True)
        path = tmp_path / "ledger.sqlite"
        with Ledger(path) as ledger:
            queued(ledger)
            shutil.copy(path, tmp_path / "copy")
            (tmp_path / "copy").replace(path)
            with pytest.raises(ArchiveError, match="cannot be used"):
                ledger.claim("stm")
            assert claimed(ledger).path == SCAN

    @pytest.mark.parametrize("version", [SCHEMA_VERSION - 2, SCHEMA_VERSION + 1])
    def test_a_ledger_of_another_version_is_refused_and_left_alone(
        self, ledger: Ledger, version: int
    ) -> None:
        ledger.close()
        with sqlite3.connect(ledger.path) as db:
            db.execute(f"PRAGMA user_version = {version}")
        db.close()
        for kind in (Ledger, ReadOnlyLedger):
            with pytest.raises(ArchiveError, match=r"another version of tvtasks.*move the ledger away"):
                kind(ledger.path)
        with sqlite3.connect(ledger.path) as db:
            assert db.execute("PRAGMA user_version").fetchone() == (version,)
        db.close()

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

    def test_an_error_during_use_is_a_sentence(self, ledger: Ledger) -> None:
        queued(ledger)
        with sqlite3.connect(ledger.path) as db:
            db.execute("DROP TABLE files")
        db.close()
        with pytest.raises(ArchiveError, match="cannot be used"):
            ledger.claim("stm")


def allow_pages(ledger: Ledger, number: int) -> None:
    """Limit the size of the ledger: SQLite raises the same error as on a full disk."""
    ledger._connection.execute(f"PRAGMA max_page_count = {number}")


class TestSchemas:
    def test_a_ledger_of_the_schema_before_is_read_as_it_is_and_converted_by_a_watch(
        self, ledger: Ledger
    ) -> None:
        ledger.finish(running(ledger), [OUTPUT], {})
        ledger.close()
        with sqlite3.connect(ledger.path) as db:
            db.execute("UPDATE files SET outputs = ?", (json.dumps([str(OUTPUT.path)]),))
            db.execute("PRAGMA user_version = 2")
        db.close()
        bare = (Output(OUTPUT.path),)
        with ReadOnlyLedger(ledger.path) as found:
            assert found.entries()[0].outputs == bare
        with Ledger(ledger.path) as found:
            assert found.entries()[0].outputs == bare
        with sqlite3.connect(ledger.path) as db:
            assert db.execute("PRAGMA user_version").fetchone() == (3,)
            (outputs,) = db.execute("SELECT outputs FROM files").fetchone()
        assert json.loads(outputs) == [[str(OUTPUT.path), -1, -1, ""]]
        db.close()
