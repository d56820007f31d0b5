"""The dispatcher on real files and a real ledger; a function of the test stands in for restoring."""

import errno
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tvtasks.acquisition.dispatch import AWAY_SECONDS, Dispatcher
from tvtasks.courtesy import SLICE_SECONDS, ends_early
from tvtasks.errors import (
    ArchiveError,
    CancelledRunError,
    ConfigurationError,
    RecipeError,
    UnreadableFileError,
    UnusableImageError,
)
from tvtasks.ledger import Entry, Ledger, Priority, State
from tvtasks.ledger.retries import is_passing
from tvtasks.micrograph import file_sha256
from tvtasks.outcome import Change, Outcome

RECIPE = "stm"
LONG = 20.0
"""Seconds after which a thread counts as hanging."""


class Bench:
    """A folder, a ledger with a clock of its own, and a record of the restored files."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "microscope"
        self.folder.mkdir()
        self.now = datetime(2025, 3, 1, 12, tzinfo=UTC)
        self.ledger = Ledger(root / "archive" / "ledger.sqlite", now=lambda: self.now)
        self.clock = 1000.0
        self.restored: list[str] = []
        self.lock = threading.Lock()

    def write(self, name: str, content: str | None = None) -> Path:
        path = self.folder / name
        path.write_text(name if content is None else content)
        return path

    def queue(self, name: str, content: str | None = None, priority: Priority = Priority.LIVE) -> Path:
        path = self.write(name, content)
        status = path.stat()
        assert self.ledger.enqueue(
            path, status.st_size, status.st_mtime_ns, file_sha256(path), RECIPE, priority=priority
        )
        return path

    def restore(self, entry: Entry) -> list[Outcome]:
        with self.lock:
            self.restored.append(entry.path.name)
        return restored(entry)

    def dispatcher(
        self, restore: Callable[[Entry], list[Outcome]] | None = None, *, workers: int = 1
    ) -> Dispatcher:
        return Dispatcher(
            self.ledger,
            RECIPE,
            restore or self.restore,
            folder=self.folder,
            workers=workers,
            clock=lambda: self.clock,
        )

    def state(self, path: Path) -> State:
        (entry,) = (entry for entry in self.ledger.entries() if entry.path == path)
        return entry.state


def restored(entry: Entry) -> list[Outcome]:
    return [
        Outcome(
            name=entry.path.name,
            recipe="stm",
            source_sha256=file_sha256(entry.path),
            archive=Path("/archive", f"{entry.path.name}.nxs"),
            gap=0.5,
            seconds=2.0,
        )
    ]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.ledger.close()


def run_all(dispatcher: Dispatcher) -> list[Change]:
    """Turn until nothing is due."""
    changes = dispatcher.turn()
    while not dispatcher.is_idle:
        dispatcher.wait(LONG)
        changes += dispatcher.turn()
    return changes


def wait_for_work(dispatcher: Dispatcher) -> None:
    """Wait until the work under way has finished; the next turn records it."""
    while dispatcher.running:
        dispatcher.wait(LONG)


def states(changes: list[Change]) -> list[tuple[str, str]]:
    return [(change.path.name, str(change.state)) for change in changes]


class TestTurn:
    def test_it_never_waits_for_the_work(self, bench: Bench) -> None:
        path = bench.queue("scan.tif")
        go = threading.Event()

        def slow(entry: Entry) -> list[Outcome]:
            assert go.wait(LONG)
            return restored(entry)

        with bench.dispatcher(slow) as dispatcher:
            assert states(dispatcher.turn()) == [("scan.tif", "running")]
            assert dispatcher.turn() == []
            assert not dispatcher.is_idle
            bench.clock += 7
            assert dispatcher.running == {path: 7.0}
            go.set()
            wait_for_work(dispatcher)
            (change,) = dispatcher.turn()
            (outcome,) = change.outcomes
            assert (change.state, outcome.name) == (State.DONE, "scan.tif")
            (entry,) = bench.ledger.entries()
            assert entry.detail == {"gap": 0.5, "seconds": 2.0, "recipe": "stm"}
            assert dispatcher.is_idle
            assert dispatcher.running == {}

    def test_work_queued_between_two_turns_starts_at_the_next(self, bench: Bench) -> None:
        with bench.dispatcher() as dispatcher:
            assert dispatcher.turn() == []
            bench.queue("scan.tif")
            assert states(run_all(dispatcher)) == [("scan.tif", "running"), ("scan.tif", "done")]

    def test_without_begin_it_only_records(self, bench: Bench) -> None:
        bench.queue("first.tif")
        bench.queue("second.tif")
        with bench.dispatcher() as dispatcher:
            dispatcher.turn()
            wait_for_work(dispatcher)
            assert states(dispatcher.turn(begin=False)) == [("first.tif", "done")]
            assert dispatcher.is_idle
        assert bench.ledger.counts()[State.QUEUED] == 1

    def test_leaving_the_context_waits_for_the_work_and_records_it(self, bench: Bench) -> None:
        path = bench.queue("scan.tif")
        with bench.dispatcher() as dispatcher:
            dispatcher.turn()
        assert bench.state(path) is State.DONE

    def test_no_more_at_a_time_than_there_are_workers(self, bench: Bench) -> None:
        for number in range(5):
            bench.queue(f"{number}.tif")
        together = threading.Barrier(2, timeout=LONG)
        at_once, most = [0], [0]

        def count(entry: Entry) -> list[Outcome]:
            with bench.lock:
                at_once[0] += 1
                most[0] = max(most[0], at_once[0])
            if entry.path.name in {"0.tif", "1.tif"}:
                together.wait()  # they do run at the same time
            with bench.lock:
                at_once[0] -= 1
            return restored(entry)

        with bench.dispatcher(count, workers=2) as dispatcher:
            assert len(dispatcher.turn()) == 2
            assert bench.ledger.counts()[State.QUEUED] == 3, "waiting files stay in the ledger"
            run_all(dispatcher)
        assert most == [2]
        assert bench.ledger.counts()[State.DONE] == 5

    def test_a_new_file_goes_before_a_backlog(self, bench: Bench) -> None:
        for number in range(5):
            bench.queue(f"old {number}.tif", priority=Priority.BACKLOG)
        with bench.dispatcher() as dispatcher:
            dispatcher.turn()
            bench.queue("new.tif")
            run_all(dispatcher)
        assert bench.restored == ["old 0.tif", "new.tif", *(f"old {number}.tif" for number in range(1, 5))]

    def test_a_copy_is_done_with_the_first_and_reported(self, bench: Bench) -> None:
        bench.queue("scan.tif", "same")
        bench.queue("copy.tif", "same")
        with bench.dispatcher(workers=2) as dispatcher:
            changes = run_all(dispatcher)
        assert states(changes) == [("scan.tif", "running"), ("scan.tif", "done"), ("copy.tif", "done")]
        assert changes[-1].outcomes == (), "there was no work for it"
        assert bench.restored == ["scan.tif"]

    def test_work_queued_by_another_process_is_seen(self, bench: Bench) -> None:
        def fail_once(entry: Entry) -> list[Outcome]:
            if entry.attempts == 1:
                raise UnreadableFileError("scan.tif holds no image.")
            return restored(entry)

        path = bench.queue("scan.tif")
        with bench.dispatcher(fail_once) as dispatcher:
            run_all(dispatcher)
            assert bench.state(path) is State.QUARANTINED
            with Ledger(bench.ledger.path, now=lambda: bench.now) as other:
                assert other.retry(path) == 1
            run_all(dispatcher)
        assert bench.state(path) is State.DONE

    def test_work_that_a_killed_process_left_running_is_done(self, bench: Bench) -> None:
        path = bench.queue("scan.tif")
        bench.ledger.claim(RECIPE)
        with bench.dispatcher() as dispatcher:
            run_all(dispatcher)
        assert bench.restored == ["scan.tif"]
        assert [attempt.outcome for attempt in bench.ledger.history(path)] == ["interrupted", "done"]

    def test_the_context_of_the_caller_reaches_the_work(self, bench: Bench) -> None:
        from contextvars import ContextVar

        setting = ContextVar("setting", default="not set")
        seen = []

        def look(entry: Entry) -> list[Outcome]:
            seen.append(setting.get())
            return restored(entry)

        bench.queue("scan.tif")
        setting.set("of the caller")
        with bench.dispatcher(look) as dispatcher:
            run_all(dispatcher)
        assert seen == ["of the caller"]


def error(kind: type[Exception], *, behind: BaseException | None = None) -> Exception:
    """An error as it arrives, with its cause."""
    try:
        raise kind("scan.tif: a sentence.") from behind
    except kind as raised:
        return raised


FULL = OSError(errno.ENOSPC, "No space left on device")


class TestFailure:
    """Causes that heal are retried; a file at fault is quarantined at once, a defect after three tries."""

    @pytest.mark.parametrize(
        "raised",
        [
            error(ArchiveError, behind=FULL),
            error(ArchiveError, behind=error(ValueError, behind=FULL)),
            error(UnreadableFileError, behind=PermissionError(errno.EACCES, "Permission denied")),
            error(UnreadableFileError, behind=OSError(errno.ESTALE, "Stale file handle")),
            error(RuntimeError, behind=ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")),
            TimeoutError(errno.ETIMEDOUT, "Connection timed out"),
            error(ArchiveError),
            error(ConfigurationError),
        ],
        ids=[
            "disk full",
            "disk full further behind",
            "not allowed",
            "share gone",
            "server down",
            "timed out",
            "archive",
            "configuration",
        ],
    )
    def test_failures_that_can_heal_are_retried_for_ever(self, bench: Bench, raised: Exception) -> None:
        path = bench.queue("scan.tif")
        with bench.dispatcher(raising(raised)) as dispatcher:
            for _ in range(5):
                assert states(run_all(dispatcher)) == [("scan.tif", "running"), ("scan.tif", "failed")]
                assert states(run_all(dispatcher)) == [], "not at once"
                bench.now += timedelta(hours=1)
        assert [attempt.outcome for attempt in bench.ledger.history(path)] == ["failed"] * 5
        (entry,) = bench.ledger.entries()
        assert "scan.tif" in entry.reason

    @pytest.mark.parametrize(
        "raised",
        [
            error(UnreadableFileError),
            error(UnusableImageError),
            error(RecipeError),
            error(UnreadableFileError, behind=OSError("truncated file: eof = 96")),
            error(UnreadableFileError, behind=OSError(errno.EINVAL, "Invalid argument")),
        ],
        ids=["unreadable", "unusable", "recipe", "a library's OSError", "an offset that leads nowhere"],
    )
    def test_a_file_at_fault_is_quarantined_at_once_with_its_sentence(
        self, bench: Bench, raised: Exception
    ) -> None:
        bench.queue("scan.tif")
        with bench.dispatcher(raising(raised)) as dispatcher:
            assert states(run_all(dispatcher)) == [("scan.tif", "running"), ("scan.tif", "quarantined")]
            bench.now += timedelta(days=1)
            assert run_all(dispatcher) == []
        assert bench.ledger.entries()[0].reason == "scan.tif: a sentence."

    def test_a_cancelled_file_is_left_alone_until_the_next_start(self, bench: Bench) -> None:
        bench.queue("scan.tif")
        with bench.dispatcher(raising(error(CancelledRunError))) as dispatcher:
            assert states(run_all(dispatcher)) == [("scan.tif", "running"), ("scan.tif", "cancelled")]
            bench.now += timedelta(days=1)
            assert run_all(dispatcher) == []
        with bench.dispatcher() as dispatcher:
            assert states(run_all(dispatcher)) == [("scan.tif", "running"), ("scan.tif", "done")]

    @pytest.mark.parametrize("raised", [ZeroDivisionError("division by zero"), MemoryError()], ids=repr)
    def test_a_defect_is_given_up_at_the_third_attempt_and_logged_each_time(
        self, bench: Bench, raised: Exception, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.queue("scan.tif")
        ends = []
        with bench.dispatcher(raising(raised)) as dispatcher:
            for _ in range(4):
                ends += states(run_all(dispatcher))[1:]
                bench.now += timedelta(hours=1)
        assert [state for _, state in ends] == ["failed", "failed", "quarantined"]
        assert "error in tvtasks itself" in bench.ledger.entries()[0].reason
        assert [bool(record.exc_info) for record in caplog.records] == [True] * 3

    def test_a_full_disk_that_is_freed(self, bench: Bench) -> None:
        path = bench.queue("scan.tif")
        full = [True]

        def restore(entry: Entry) -> list[Outcome]:
            if full[0]:
                raise error(ArchiveError, behind=FULL)
            return restored(entry)

        with bench.dispatcher(restore) as dispatcher:
            run_all(dispatcher)
            assert bench.state(path) is State.FAILED
            full[0] = False
            assert run_all(dispatcher) == []
            bench.now += timedelta(seconds=11)
            assert states(run_all(dispatcher)) == [("scan.tif", "running"), ("scan.tif", "done")]

    def test_one_bad_file_of_a_hundred_affects_no_other(self, bench: Bench) -> None:
        paths = [bench.queue(f"{number}.tif") for number in range(100)]

        def restore(entry: Entry) -> list[Outcome]:
            if entry.path == paths[50]:
                raise UnreadableFileError(f"{entry.path.name} holds no image.")
            return restored(entry)

        with bench.dispatcher(restore, workers=4) as dispatcher:
            run_all(dispatcher)
        assert bench.ledger.counts()[State.DONE] == 99
        (bad,) = bench.ledger.entries(RECIPE, State.QUARANTINED)
        assert (bad.path, bad.reason) == (paths[50], "50.tif holds no image.")

    def test_an_error_that_causes_itself_is_followed_once(self) -> None:
        first, second = ValueError(), ValueError()
        first.__cause__, second.__cause__ = second, first
        assert not is_passing(first)


class TestBeforeTheWork:
    """A file is checked before the work starts: it may have changed while it was queued."""

    def test_a_file_overwritten_in_the_meantime_is_not_restored_as_the_old_one(self, bench: Bench) -> None:
        path = bench.queue("scan.tif")
        bench.write("scan.tif", "something else")
        with bench.dispatcher() as dispatcher:
            assert states(run_all(dispatcher))[-1] == ("scan.tif", "overwritten")
        assert bench.restored == []
        assert "has changed since it was queued" in bench.ledger.entries()[0].reason
        status = path.stat()
        assert bench.ledger.known(path, status.st_size, status.st_mtime_ns, RECIPE) is None, (
            "a scan takes it up"
        )

    def test_a_removed_file_is_restored_when_it_is_put_back(self, bench: Bench) -> None:
        path = bench.queue("scan.tif")
        path.unlink()
        with bench.dispatcher() as dispatcher:
            assert states(run_all(dispatcher))[-1] == ("scan.tif", "overwritten")
            assert "put it back" in bench.ledger.entries()[0].reason
            bench.queue("scan.tif")
            assert states(run_all(dispatcher))[-1] == ("scan.tif", "done")

    def test_a_missing_folder_is_no_reason_to_forget_the_file(self, bench: Bench) -> None:
        path = bench.queue("scan.tif")
        away = bench.folder.rename(bench.folder.with_name("away"))
        with bench.dispatcher() as dispatcher:
            assert states(run_all(dispatcher))[-1] == ("scan.tif", "failed")
            away.rename(bench.folder)
            bench.now += timedelta(seconds=11)
            bench.clock += 11
            run_all(dispatcher)
        assert bench.state(path) is State.DONE

    def test_the_backlog_waits_while_the_watched_folder_is_gone(self, bench: Bench) -> None:
        paths = [bench.queue(f"{number}.npy") for number in range(20)]
        away = bench.folder.rename(bench.folder.with_name("away"))
        with bench.dispatcher() as dispatcher:
            for _ in range(50):
                run_all(dispatcher)
                bench.clock += 0.1
            assert bench.ledger.counts()[State.QUEUED] == 19
            away.rename(bench.folder)
            bench.clock += AWAY_SECONDS
            run_all(dispatcher)
            assert [bench.state(path) for path in paths].count(State.DONE) == 19
            bench.now += timedelta(seconds=10)
            run_all(dispatcher)
        assert {bench.state(path) for path in paths} == {State.DONE}

    def test_a_folder_in_place_of_the_file_is_no_image(self, bench: Bench) -> None:
        path = bench.queue("scan.tif")
        path.unlink()
        path.mkdir()
        with bench.dispatcher() as dispatcher:
            assert states(run_all(dispatcher))[-1] == ("scan.tif", "overwritten")

    def test_the_file_had_other_content_when_it_was_read(self, bench: Bench) -> None:
        bench.queue("scan.tif")

        def late(entry: Entry) -> list[Outcome]:
            bench.write("scan.tif", "other content")
            return restored(entry)

        with bench.dispatcher(late) as dispatcher:
            assert states(run_all(dispatcher))[-1] == ("scan.tif", "overwritten")


class TestFullDiskOfTheLedger:
    """A limit on its pages makes SQLite raise the same error as a full disk."""

    @pytest.fixture
    def full(self, bench: Bench) -> Iterator[Callable[[bool], None]]:
        def limit(full: bool) -> None:
            bench.ledger._connection.execute(f"PRAGMA max_page_count = {1 if full else 1_000_000}")

        return limit

    def restore(self, entry: Entry) -> list[Outcome]:
        return [
            Outcome(name="", recipe="", source_sha256=entry.sha256, archive=Path("x")) for _ in range(10_000)
        ]

    def test_an_outcome_that_cannot_be_recorded_is_kept_until_it_can(
        self, bench: Bench, full: Callable[[bool], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        calls = []

        def restore(entry: Entry) -> list[Outcome]:
            calls.append(entry.path.name)
            return self.restore(entry)

        path = bench.queue("scan.tif")
        other = bench.queue("other.tif")
        with bench.dispatcher(restore) as dispatcher:
            dispatcher.turn()
            wait_for_work(dispatcher)
            full(True)
            for _ in range(3):
                assert dispatcher.turn() == []
                assert "full" in dispatcher.trouble
                assert not dispatcher.is_idle
                assert dispatcher.running == {}
            assert len(caplog.records) == 1, "it is reported once"
            assert bench.state(other) is State.QUEUED, "no new work starts"
            full(False)
            assert states(dispatcher.turn()) == [("scan.tif", "done"), ("other.tif", "running")]
            assert dispatcher.trouble == ""
            run_all(dispatcher)
        assert calls == ["scan.tif", "other.tif"], "the work is not repeated"
        assert [attempt.outcome for attempt in bench.ledger.history(path)] == ["done"]

    def test_unrecorded_work_is_repeated_at_the_next_start(
        self, bench: Bench, full: Callable[[bool], None]
    ) -> None:
        path = bench.queue("scan.tif")
        with bench.dispatcher(self.restore) as dispatcher:
            dispatcher.turn()
            full(True)
        assert bench.state(path) is State.RUNNING
        full(False)
        with bench.dispatcher(self.restore) as dispatcher:
            run_all(dispatcher)
        assert bench.state(path) is State.DONE


def raising(error: BaseException) -> Callable[[Entry], list[Outcome]]:
    def restore(entry: Entry) -> list[Outcome]:
        raise error

    return restore


class TestManyImages:
    """A file with five images; each takes half the time that a file may take while others wait."""

    def work(self, bench: Bench, done: list[tuple[str, int]]) -> Callable[[Entry], list[Outcome]]:
        def restore(entry: Entry) -> list[Outcome]:
            images = 5 if entry.path.name.startswith("stack") else 1
            for number in range(sum(name == entry.path.name for name, _ in done), images):
                bench.clock += SLICE_SECONDS / 2
                done.append((entry.path.name, number))
                if len(done) == 2:
                    bench.queue("scan.sxm")
                if ends_early(images - number - 1):
                    break
            return restored(entry)

        return restore

    def test_let_a_file_that_comes_in_go_first_and_go_on_after_it(self, bench: Bench) -> None:
        stack = bench.queue("stack.dm4")
        done: list[tuple[str, int]] = []
        with bench.dispatcher(self.work(bench, done)) as dispatcher:
            changes = run_all(dispatcher)
        assert [name for name, _ in done] == ["stack.dm4"] * 2 + ["scan.sxm"] + ["stack.dm4"] * 3
        assert [number for name, number in done if name == "stack.dm4"] == [0, 1, 2, 3, 4]
        assert [change.state for change in changes if change.path == stack] == [
            State.RUNNING,
            State.QUEUED,
            State.RUNNING,
            State.DONE,
        ]
        (entry,) = (entry for entry in bench.ledger.entries() if entry.path == stack)
        assert entry.failures == 0

    def test_do_not_stop_for_another_of_their_kind(self, bench: Bench) -> None:
        for name in ("stack 1.dm4", "stack 2.dm4"):
            bench.queue(name, priority=Priority.RERUN)
        done: list[tuple[str, int]] = []
        with bench.dispatcher(self.work(bench, done)) as dispatcher:
            run_all(dispatcher)
        assert [name for name, _ in done][:2] == ["stack 1.dm4"] * 2
        later = [name for name, _ in done if name != "scan.sxm"][2:]
        assert later == ["stack 1.dm4"] * 3 + ["stack 2.dm4"] * 5
