from pathlib import Path

import pytest

from tvtasks.filesystem import FileStatus
from tvtasks.monitor.settle import SettleTracker

SCAN = Path("scan.tif")
WHOLE = FileStatus(size=100, mtime_ns=1)


class Format:
    """Stands in for the readers' check of a file; a test sets its answer."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self.asked = 0

    def __call__(self, path: Path) -> str | None:
        self.asked += 1
        return self.problem


@pytest.fixture
def file_format() -> Format:
    return Format()


@pytest.fixture
def tracker(file_format: Format) -> SettleTracker:
    return SettleTracker(file_format, settle=2.0, max_wait=600.0)


def look(tracker: SettleTracker, now: float, status: FileStatus | None = WHOLE, path: Path = SCAN) -> bool:
    """Observe a file as a poll does, and return whether it has settled."""
    tracker.observe(path, status, now)
    return tracker.settled(path, now)


def due(tracker: SettleTracker, now: float) -> list[Path]:
    return list(tracker.due(now))


class TestSettled:
    def test_unchanged_for_the_settle_time(self, tracker: SettleTracker) -> None:
        assert not look(tracker, 0.0)
        assert not look(tracker, 1.9)
        assert look(tracker, 2.0)
        assert tracker.waiting == []

    def test_time_passing_without_an_observation_proves_nothing(self, tracker: SettleTracker) -> None:
        tracker.observe(SCAN, WHOLE, 0.0)
        assert not tracker.settled(SCAN, 10.0)

    def test_growth_starts_the_wait_again(self, tracker: SettleTracker) -> None:
        assert not any(look(tracker, 1.5 * step, FileStatus(step + 1, step)) for step in range(10))
        assert not look(tracker, 15.0, FileStatus(10, 9))
        assert look(tracker, 15.5, FileStatus(10, 9))

    def test_a_new_mtime_alone_starts_the_wait_again(self, tracker: SettleTracker) -> None:
        look(tracker, 0.0, FileStatus(100, 1))
        assert not look(tracker, 2.0, FileStatus(100, 2))
        assert look(tracker, 4.0, FileStatus(100, 2))

    @pytest.mark.parametrize("mtime_ns", [0, 2**62], ids=["1970", "far future"])
    def test_the_date_of_the_file_does_not_matter(self, tracker: SettleTracker, mtime_ns: int) -> None:
        look(tracker, 0.0, FileStatus(100, mtime_ns))
        assert look(tracker, 2.0, FileStatus(100, mtime_ns))

    def test_an_mtime_that_goes_back_is_a_change(self, tracker: SettleTracker) -> None:
        look(tracker, 0.0, FileStatus(100, 9))
        assert not look(tracker, 2.0, FileStatus(100, 3))

    def test_an_empty_file_waits_and_is_not_opened(self, tracker: SettleTracker, file_format: Format) -> None:
        look(tracker, 0.0, FileStatus(0, 1))
        assert not look(tracker, 2.0, FileStatus(0, 1))
        assert file_format.asked == 0
        assert tracker.waiting == [SCAN]

    def test_a_preallocated_file_waits_until_its_format_says_it_is_complete(
        self, tracker: SettleTracker, file_format: Format
    ) -> None:
        file_format.problem = "scan.tif ends before its last strip."
        assert not any(look(tracker, now) for now in range(0, 20, 2))
        file_format.problem = None
        assert look(tracker, 20.0)

    def test_a_write_that_leaves_size_and_time_the_same_starts_the_wait_again(
        self, tracker: SettleTracker
    ) -> None:
        look(tracker, 0.0)
        tracker.observe(SCAN, WHOLE, 1.9, written=True)
        assert not look(tracker, 2.0)
        assert look(tracker, 3.9)

    def test_a_vanished_file_is_forgotten(self, tracker: SettleTracker) -> None:
        look(tracker, 0.0)
        assert not look(tracker, 2.0, None)
        assert tracker.waiting == []
        assert not look(tracker, 3.0), "it is a new file when it comes back"


class TestStuck:
    @pytest.fixture
    def stuck(self, tracker: SettleTracker, file_format: Format) -> SettleTracker:
        file_format.problem = "scan.tif ends before its last strip."
        look(tracker, 0.0)
        look(tracker, 600.0)
        return tracker

    def test_names_the_file_and_the_reason(self, stuck: SettleTracker) -> None:
        assert stuck.stuck == {
            SCAN: "scan.tif is still incomplete after 600 s: scan.tif ends before its last strip. "
            "tvtasks takes it up again when it changes."
        }
        assert stuck.waiting == []

    def test_is_reported_once(self, stuck: SettleTracker, caplog: pytest.LogCaptureFixture) -> None:
        look(stuck, 1200.0)
        look(stuck, 1800.0)
        assert len(caplog.get_records("setup")) == 1
        assert len(caplog.get_records("call")) == 0

    def test_an_empty_file_gets_stuck(self, tracker: SettleTracker) -> None:
        look(tracker, 0.0, FileStatus(0, 1))
        look(tracker, 600.0, FileStatus(0, 1))
        assert "it is empty" in tracker.stuck[SCAN]

    def test_not_before_max_wait(self, tracker: SettleTracker, file_format: Format) -> None:
        file_format.problem = "incomplete"
        look(tracker, 0.0)
        look(tracker, 599.0)
        assert tracker.stuck == {}

    def test_a_file_that_keeps_growing_is_not_stuck(self, tracker: SettleTracker) -> None:
        for step in range(1000):
            look(tracker, float(step), FileStatus(step, step))
        assert tracker.stuck == {}
        assert tracker.waiting == [SCAN]

    def test_a_change_frees_it(self, stuck: SettleTracker, file_format: Format) -> None:
        file_format.problem = None
        assert not look(stuck, 700.0, FileStatus(200, 2))
        assert stuck.stuck == {}
        assert look(stuck, 702.0, FileStatus(200, 2))

    def test_what_it_lacked_may_come_without_a_change(
        self, stuck: SettleTracker, file_format: Format
    ) -> None:
        file_format.problem = None
        assert due(stuck, 700.0) == []
        assert due(stuck, 1200.0) == [SCAN]
        assert look(stuck, 1200.0)

    def test_it_is_tested_soon_when_its_companion_file_comes(
        self, stuck: SettleTracker, file_format: Format
    ) -> None:
        file_format.problem = None
        stuck.hurry(SCAN, 700.0)
        assert due(stuck, 701.0) == []
        assert due(stuck, 702.0) == [SCAN]

    def test_deleting_it_ends_the_matter(self, stuck: SettleTracker) -> None:
        stuck.observe(SCAN, None, 700.0)
        assert stuck.stuck == {}


class TestDue:
    def test_only_after_the_settle_time(self, tracker: SettleTracker) -> None:
        tracker.observe(SCAN, WHOLE, 0.0)
        assert due(tracker, 1.9) == []
        assert due(tracker, 2.0) == [SCAN]

    def test_new_acquisitions_before_backlog(self, tracker: SettleTracker) -> None:
        tracker.observe(Path("old.tif"), WHOLE, 0.0, backlog=True)
        tracker.observe(Path("new.tif"), WHOLE, 1.0)
        assert due(tracker, 3.0) == [Path("new.tif"), Path("old.tif")]

    def test_backlog_that_changes_is_a_new_acquisition(self, tracker: SettleTracker) -> None:
        tracker.observe(Path("old.tif"), WHOLE, 0.0, backlog=True)
        tracker.observe(Path("grown.tif"), WHOLE, 0.0, backlog=True)
        tracker.observe(Path("grown.tif"), FileStatus(200, 2), 0.0)
        assert due(tracker, 2.0) == [Path("grown.tif"), Path("old.tif")]

    def test_the_oldest_file_of_the_backlog_goes_first(self, tracker: SettleTracker) -> None:
        for name, mtime_ns in (("b.tif", 2), ("c.tif", 3), ("a.tif", 1)):
            tracker.observe(Path(name), FileStatus(100, mtime_ns), 0.0, backlog=True)
        assert due(tracker, 2.0) == [Path("a.tif"), Path("b.tif"), Path("c.tif")]

    def test_incomplete_files_do_not_keep_others_from_their_turn(
        self, tracker: SettleTracker, file_format: Format
    ) -> None:
        for name in ("a.tif", "b.tif"):
            tracker.observe(Path(name), WHOLE, 0.0)
        file_format.problem = "incomplete"
        look(tracker, 2.0, path=Path("a.tif"))
        assert due(tracker, 3.0) == [Path("b.tif")], "a.tif was tested a moment ago"
        assert due(tracker, 5.0) == [Path("a.tif"), Path("b.tif")]

    def test_a_file_that_becomes_due_while_others_are_looked_at_is_not_forgotten(
        self, tracker: SettleTracker
    ) -> None:
        for number in range(10):
            tracker.observe(Path(f"old{number}.tif"), WHOLE, 0.0, backlog=True)
        tracker.observe(Path("new.tif"), WHOLE, 1.0)
        looks = tracker.due(3.0)
        assert next(looks) == Path("new.tif")
        assert next(looks) == Path("old0.tif")
        tracker.observe(Path("newer.tif"), WHOLE, 0.5)
        assert next(looks) == Path("newer.tif")
        looks.close()
        assert len(due(tracker, 3.0)) == 9, "a caller may stop at any time"

    def test_a_quiet_incomplete_file_is_tested_less_and_less_often(
        self, tracker: SettleTracker, file_format: Format
    ) -> None:
        file_format.problem = "incomplete"
        tracker.observe(SCAN, WHOLE, 0.0)
        for second in range(3600):
            for path in tracker.due(float(second)):
                look(tracker, float(second), path=path)
        assert file_format.asked < 30
        assert SCAN in tracker.stuck

    def test_a_thousand_changes_leave_one_turn(self, tracker: SettleTracker) -> None:
        for step in range(1000):
            tracker.observe(SCAN, FileStatus(step, step), step * 0.001)
        assert due(tracker, 3.0) == [SCAN]
        assert tracker.next_due == 5.0

    def test_nothing_is_due_without_files(self, tracker: SettleTracker) -> None:
        look(tracker, 0.0)
        look(tracker, 2.0)
        assert tracker.next_due == float("inf")
        assert due(tracker, 1e9) == []


class TestDoubtful:
    """Nothing is missing in the file, but its format does not record its length."""

    @pytest.fixture
    def tracker(self, file_format: Format) -> SettleTracker:
        return SettleTracker(
            file_format, settle=2.0, max_wait=600.0, doubtful=lambda path: "its length is unknown"
        )

    def test_it_settles_after_the_longest_wait_and_is_never_stuck(self, tracker: SettleTracker) -> None:
        assert not any(look(tracker, now) for now in (0.0, 2.0, 60.0, 599.0))
        assert tracker.stuck == {}
        assert tracker.next_due <= 600.0
        assert look(tracker, 600.0)

    def test_a_change_starts_the_wait_again(self, tracker: SettleTracker) -> None:
        look(tracker, 0.0)
        assert not look(tracker, 590.0, FileStatus(200, 2))
        assert not look(tracker, 1000.0, FileStatus(200, 2))
        assert look(tracker, 1190.0, FileStatus(200, 2))

    def test_what_is_missing_still_counts(self, tracker: SettleTracker, file_format: Format) -> None:
        file_format.problem = "it is cut short"
        look(tracker, 0.0)
        assert not look(tracker, 600.0)
        assert SCAN in tracker.stuck
