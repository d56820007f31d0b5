"""The monitor on real files. Where the clock is injected, a scan at each poll stands in for events."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tvtasks.errors import ConfigurationError
from tvtasks.micrograph import file_sha256
from tvtasks.monitor import Entry, Ledger, Monitor, State
from tvtasks.replay import replay_steps

WHOLE = b"header, pixels, end"
RECIPE = "stm"


def unfinished(path: Path) -> str | None:
    return None if path.read_bytes().endswith(b"end") else f"{path.name} has no end."


def is_candidate(path: Path) -> bool:
    return path.suffix.lower() == ".tif"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A folder, a ledger, a clock, and monitors made of them."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "microscope"
        self.folder.mkdir()
        self.ledger = Ledger(root / "archive" / "ledger.sqlite")
        self.clock = Clock()

    def monitor(self, **options: Any) -> Monitor:
        defaults = {
            "rescan": 0.5,
            "observer": "polling",  # at most one look a second of real time: a test is over before
            "clock": self.clock,
            "is_candidate": is_candidate,
            "unfinished": unfinished,
        }
        return Monitor(self.folder, self.ledger, RECIPE, **(defaults | options))

    def write(self, name: str, content: bytes = WHOLE, *, date: float | None = None) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if date is not None:
            os.utime(path, (date, date))
        return path

    def after(self, seconds: float, monitor: Monitor) -> list[Entry]:
        self.clock.now += seconds
        return monitor.poll()

    def wait(self, monitor: Monitor, seconds: float = 5.0) -> list[Entry]:
        """Poll once a second, and return everything that came up."""
        return [entry for _ in range(round(seconds)) for entry in self.after(1.0, monitor)]

    def state(self, path: Path) -> list[State]:
        return [entry.state for entry in self.ledger.entries() if entry.path == path]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path.resolve())
    yield bench
    bench.ledger.close()


def names(entries: list[Entry]) -> list[str]:
    return [entry.path.name for entry in entries]


class TestArrival:
    def test_a_new_file_is_returned_once(self, bench: Bench) -> None:
        with bench.monitor() as monitor:
            path = bench.write("scan.tif")
            assert bench.after(1.0, monitor) == []
            assert monitor.settling == [path]
            (entry,) = bench.after(2.0, monitor)
            assert (entry.path, entry.sha256, entry.state) == (path, file_sha256(path), State.QUEUED)
            assert bench.wait(monitor) == []
            assert monitor.settling == []

    def test_a_file_that_was_there_before(self, bench: Bench) -> None:
        bench.write("scan.tif")
        with bench.monitor() as monitor:
            assert names(bench.wait(monitor)) == ["scan.tif"]

    def test_an_upper_case_suffix(self, bench: Bench) -> None:
        with bench.monitor() as monitor:
            bench.write("SCAN.TIF")
            assert names(bench.wait(monitor)) == ["SCAN.TIF"]

    def test_a_temporary_name_and_then_the_final_one(self, bench: Bench) -> None:
        with bench.monitor() as monitor:
            path = bench.write("scan.tif.tmp")
            assert bench.wait(monitor) == []
            path.rename(bench.folder / "scan.tif")
            assert names(bench.wait(monitor)) == ["scan.tif"]

    def test_slow_growth(self, bench: Bench) -> None:
        with bench.monitor() as monitor:
            for step in range(10):
                bench.write("scan.tif", b"end" * (step + 1), date=step)
                assert bench.after(1.5, monitor) == []
            (entry,) = bench.wait(monitor)
            assert entry.size == 30

    def test_space_reserved_in_advance(self, bench: Bench) -> None:
        with bench.monitor() as monitor:
            bench.write("scan.tif", bytes(len(WHOLE)), date=1)
            assert bench.wait(monitor, 20) == []
            bench.write("scan.tif", WHOLE, date=2)
            assert names(bench.wait(monitor)) == ["scan.tif"]

    def test_an_empty_file(self, bench: Bench) -> None:
        with bench.monitor() as monitor:
            path = bench.write("scan.tif", b"")
            assert bench.wait(monitor, 20) == []
            assert monitor.settling == [path]

    def test_half_written_at_start(self, bench: Bench) -> None:
        bench.write("scan.tif", WHOLE[:7], date=1)
        with bench.monitor() as monitor:
            assert bench.wait(monitor) == []
            bench.write("scan.tif", WHOLE, date=2)
            assert names(bench.wait(monitor)) == ["scan.tif"]

    def test_a_writer_that_pauses_for_longer_than_the_settle_time(self, bench: Bench) -> None:
        with bench.monitor() as monitor:
            bench.write("scan.tif", WHOLE[:7], date=1)
            assert bench.wait(monitor, 30) == []
            bench.write("scan.tif", WHOLE, date=2)
            (entry,) = bench.wait(monitor)
            assert entry.size == len(WHOLE)

    def test_a_file_that_vanishes(self, bench: Bench) -> None:
        with bench.monitor() as monitor:
            path = bench.write("scan.tif")
            bench.after(1.0, monitor)
            path.unlink()
            assert bench.wait(monitor) == []
            assert monitor.settling == []

    def test_a_file_that_never_becomes_whole_is_stuck_until_it_changes(self, bench: Bench) -> None:
        with bench.monitor(max_wait=10.0) as monitor:
            path = bench.write("scan.tif", WHOLE[:7], date=1)
            bench.wait(monitor, 15)
            assert monitor.stuck == {
                path: "scan.tif is still incomplete after 10 s: scan.tif has no end. "
                "It is taken up again when it changes."
            }
            assert monitor.settling == []
            bench.write("scan.tif", WHOLE, date=2)
            assert names(bench.wait(monitor)) == ["scan.tif"]
            assert monitor.stuck == {}

    def test_a_file_that_changes_while_it_is_hashed(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def hash_and_overwrite(path: Path) -> str:
            monkeypatch.undo()
            checksum = file_sha256(path)
            bench.write("scan.tif", b"another image, end", date=2)
            return checksum

        with bench.monitor() as monitor:
            path = bench.write("scan.tif", date=1)
            bench.after(1.0, monitor)
            monkeypatch.setattr("tvtasks.monitor.file_sha256", hash_and_overwrite)
            assert bench.after(2.0, monitor) == []
            (entry,) = bench.wait(monitor)
            assert entry.sha256 == file_sha256(path)
            assert len(bench.ledger.entries()) == 1

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every file name is valid Unicode")
    def test_a_name_that_is_not_unicode(self, bench: Bench) -> None:
        with bench.monitor() as monitor:
            path = bench.write(os.fsdecode(b"\xb5m.tif"))
            assert [entry.path for entry in bench.wait(monitor)] == [path]

    def test_a_folder_named_like_an_image(self, bench: Bench) -> None:
        (bench.folder / "folder.tif").mkdir()
        with bench.monitor() as monitor:
            assert bench.wait(monitor) == []
            assert monitor.settling == []

    @pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
    def test_a_broken_link(self, bench: Bench) -> None:
        (bench.folder / "link.tif").symlink_to(bench.folder / "missing.tif")
        with bench.monitor() as monitor:
            assert bench.wait(monitor) == []
            assert monitor.settling == []

    def test_a_large_backlog_does_not_delay_a_new_file(self, bench: Bench) -> None:
        for number in range(20):
            bench.write(f"old{number}.tif", b"%d end" % number)

        def slowly(path: Path) -> str | None:
            bench.clock.now += 0.6
            return unfinished(path)

        with bench.monitor(unfinished=slowly) as monitor:
            bench.write("new.tif")
            monitor.poll()
            bench.clock.now += 0.6
            monitor.poll()
            first = bench.after(2.0, monitor)
            assert names(first)[0] == "new.tif"
            assert len(first) < 5, "a poll has a time budget"
            rest = [entry for _ in range(20) for entry in monitor.poll()]
            assert len(first + rest) == 21


def test_a_session_of_all_formats_and_ways_of_writing(bench: Bench) -> None:
    """With the readers' own checks: each file comes up once, and only when all of it is there."""
    found: list[Entry] = []
    with bench.monitor(is_candidate=None, unfinished=None) as monitor:
        for seconds in replay_steps(bench.folder, scans=6, duration=240.0, shape=(32, 32)):
            found += bench.wait(monitor, seconds)
        found += bench.wait(monitor)
    assert len(found) == 6
    assert all(entry.sha256 == file_sha256(entry.path) for entry in found)


class TestContent:
    def test_the_same_content_under_two_names_is_done_once(self, bench: Bench) -> None:
        with bench.monitor() as monitor:
            bench.write("scan.tif")
            (entry,) = bench.wait(monitor)
            bench.ledger.start(entry)
            bench.ledger.finish(entry, [Path("scan.nxs")], {})
            copy = bench.write("copy.tif")
            assert bench.wait(monitor) == []
            assert bench.state(copy) == [State.DONE]

    def test_a_known_name_with_new_content(self, bench: Bench) -> None:
        with bench.monitor() as monitor:
            bench.write("scan.tif", date=1)
            (first,) = bench.wait(monitor)
            bench.ledger.start(first)
            bench.ledger.finish(first, [], {})
            bench.write("scan.tif", b"another image, end", date=2)
            (second,) = bench.wait(monitor)
            assert second.sha256 != first.sha256

    def test_new_content_of_the_same_size_is_found_by_its_date(self, bench: Bench) -> None:
        with bench.monitor() as monitor:
            bench.write("scan.tif", b"1 end", date=1)
            bench.wait(monitor)
            bench.write("scan.tif", b"2 end", date=2)
            assert names(bench.wait(monitor)) == ["scan.tif"]

    def test_a_new_date_alone_is_no_work(self, bench: Bench) -> None:
        with bench.monitor() as monitor:
            path = bench.write("scan.tif", date=1)
            bench.wait(monitor)
            os.utime(path, (2, 2))
            assert bench.wait(monitor) == []
            assert len(bench.ledger.entries()) == 1

    def test_overwritten_while_queued(self, bench: Bench) -> None:
        with bench.monitor() as monitor:
            path = bench.write("scan.tif", date=1)
            (old,) = bench.wait(monitor)
            bench.write("scan.tif", b"another image, end", date=2)
            (new,) = bench.wait(monitor)
            assert bench.ledger.start(old) is None
            assert bench.ledger.start(new) is not None
            assert bench.state(path) == [State.OVERWRITTEN, State.RUNNING]

    def test_overwritten_between_start_and_reading(self, bench: Bench) -> None:
        with bench.monitor() as monitor:
            path = bench.write("scan.tif", date=1)
            (old,) = bench.wait(monitor)
            assert bench.ledger.start(old) is not None
            bench.write("scan.tif", b"another image, end", date=2)
            assert file_sha256(path) != old.sha256, "what the reader finds out"
            bench.ledger.mark_overwritten(old)
            (new,) = bench.wait(monitor)
            assert new.sha256 == file_sha256(path)

    def test_the_same_basename_in_two_folders(self, bench: Bench) -> None:
        with bench.monitor(recursive=True) as monitor:
            bench.write("monday/scan.tif", b"1 end")
            bench.write("tuesday/scan.tif", b"2 end")
            assert len(bench.wait(monitor)) == 2


class TestRestart:
    def test_after_a_kill_between_start_and_finish(self, bench: Bench) -> None:
        bench.write("scan.tif")
        with bench.monitor() as monitor:
            (entry,) = bench.wait(monitor)
            bench.ledger.start(entry)
        with bench.monitor() as monitor:
            (again,) = monitor.poll()
            assert (again.path, again.attempts) == (entry.path, 1)
            assert bench.wait(monitor) == []

    def test_failed_is_repeated_and_quarantined_and_done_are_not(self, bench: Bench) -> None:
        for number, name in enumerate(["failed.tif", "bad.tif", "done.tif"]):
            bench.write(name, b"%d end" % number)
        with bench.monitor() as monitor:
            entries = {entry.path.name: entry for entry in bench.wait(monitor)}
            bench.ledger.fail(entries["failed.tif"], "The disk is full.")
            bench.ledger.quarantine(entries["bad.tif"], "bad.tif holds no image.")
            bench.ledger.finish(entries["done.tif"], [], {})
            assert bench.wait(monitor) == [], "a failed file is not repeated at every scan"
        with bench.monitor() as monitor:
            assert names(bench.wait(monitor)) == ["failed.tif"]

    def test_a_file_that_is_gone_is_named(self, bench: Bench) -> None:
        path = bench.write("scan.tif")
        with bench.monitor() as monitor:
            bench.wait(monitor)
        path.unlink()
        with bench.monitor() as monitor:
            assert bench.wait(monitor) == []
        (entry,) = bench.ledger.entries()
        assert entry.state is State.FAILED
        assert entry.reason.startswith(f"{path} is no longer there.")

    @pytest.mark.parametrize("content", [WHOLE, b"another image, end"], ids=["touched", "overwritten"])
    def test_a_file_that_changed_in_the_meantime_is_settled_and_hashed_again(
        self, bench: Bench, content: bytes
    ) -> None:
        path = bench.write("scan.tif", date=1)
        with bench.monitor() as monitor:
            bench.wait(monitor)
        bench.write("scan.tif", content, date=2)
        with bench.monitor() as monitor:
            assert monitor.poll() == []
            (entry,) = bench.wait(monitor)
            assert entry.sha256 == file_sha256(path)
            assert bench.ledger.start(entry) is not None


class TestSelection:
    @pytest.mark.parametrize(
        "name",
        [
            "._scan.tif",
            ".hidden.tif",
            "~scan.tif",
            "Thumbs.db",
            "scan.TMP",
            "scan.tif.part",
            "scan.partial-1.tif",
            "@eaDir/scan.tif",
            ".cache/scan.tif",
            "notes.txt",
        ],
    )
    def test_junk_is_ignored(self, bench: Bench, name: str) -> None:
        with bench.monitor(recursive=True, is_candidate=lambda path: path.suffix != ".txt") as monitor:
            bench.write(name)
            bench.write("scan.tif")
            assert names(bench.wait(monitor)) == ["scan.tif"]

    def test_nested_folders_only_when_recursive(self, bench: Bench) -> None:
        bench.write("nested/scan.tif")
        with bench.monitor() as monitor:
            assert bench.wait(monitor) == []
        with bench.monitor(recursive=True) as monitor:
            assert names(bench.wait(monitor)) == ["scan.tif"]

    def test_excluded_folders(self, bench: Bench) -> None:
        bench.write("restored/scan.tif")
        with bench.monitor(recursive=True, excluded=[Path("restored")]) as monitor:
            assert bench.wait(monitor) == []

    def test_nothing_in_the_folder_is_changed(self, bench: Bench) -> None:
        bench.write("scan.tif", date=1)
        bench.write("half.tif", WHOLE[:7], date=2)
        bench.write("nested/scan.tif", b"2 end", date=3)

        def picture() -> dict[Path, tuple[int, bytes]]:
            return {
                path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
                for path in bench.folder.rglob("*")
            }

        before = picture()
        with bench.monitor(recursive=True) as monitor:
            assert len(bench.wait(monitor)) == 2
        assert picture() == before


class TestRefusal:
    def test_a_missing_folder(self, bench: Bench) -> None:
        bench.folder.rmdir()
        with pytest.raises(ConfigurationError, match=r"microscope does not exist. Create it"):
            bench.monitor()

    def test_a_file_in_place_of_the_folder(self, bench: Bench) -> None:
        bench.folder.rmdir()
        bench.folder.write_text("")
        with pytest.raises(ConfigurationError, match="is a file, not a folder"):
            bench.monitor()

    @pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root and Windows ignore the mode"
    )
    def test_an_unreadable_folder(self, bench: Bench) -> None:
        bench.folder.chmod(0)
        with pytest.raises(ConfigurationError, match="cannot be read"):
            bench.monitor()

    def test_results_in_the_watched_folder(self, bench: Bench) -> None:
        with pytest.raises(ConfigurationError, match="cannot go into the watched folder"):
            bench.monitor(outputs=bench.folder)

    def test_results_below_a_folder_watched_with_its_subfolders(self, bench: Bench) -> None:
        below = bench.folder / "restored"
        with pytest.raises(ConfigurationError, match="lies inside"):
            bench.monitor(outputs=below, recursive=True)
        bench.monitor(outputs=below)
        bench.monitor(outputs=below, recursive=True, excluded=[Path("restored")])

    @pytest.mark.parametrize(
        "option", [{"settle": 0.0}, {"max_wait": float("nan")}, {"rescan": -1.0}, {"observer": "inotify"}]
    )
    def test_an_option_that_cannot_work(self, bench: Bench, option: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match=next(iter(option))):
            bench.monitor(**option)

    def test_a_second_monitor_is_told_who_holds_the_ledger(self, bench: Bench) -> None:
        with bench.monitor() as first:
            with pytest.raises(ConfigurationError, match=rf"in use by process {os.getpid()} on .*microscope"):
                bench.monitor().__enter__()
            bench.write("scan.tif")
            assert names(bench.wait(first)) == ["scan.tif"], "the first one goes on"
        with bench.monitor() as second:
            second.poll()


class TestEvents:
    """The real observer and the real clock."""

    @pytest.fixture
    def monitor(self, bench: Bench) -> Iterator[Monitor]:
        options = {"settle": 0.05, "rescan": 3600.0, "observer": "native", "clock": time.monotonic}
        with bench.monitor(recursive=True, **options) as monitor:
            yield monitor

    def until(self, monitor: Monitor, enough: Callable[[list[Entry]], bool]) -> list[Entry]:
        found: list[Entry] = []
        deadline = time.monotonic() + 10.0
        while not enough(found) and time.monotonic() < deadline:
            found += monitor.poll()
            time.sleep(0.01)
        return found

    def test_a_file_written_under_a_temporary_name(self, bench: Bench, monitor: Monitor) -> None:
        bench.write("scan.tmp").rename(bench.folder / "scan.tif")
        assert names(self.until(monitor, bool)) == ["scan.tif"]

    def test_the_same_size_and_date_with_other_content(self, bench: Bench, monitor: Monitor) -> None:
        bench.write("scan.tif", b"1 end", date=1)
        (first,) = self.until(monitor, bool)
        bench.write("scan.tif", b"2 end", date=1)
        (second,) = self.until(monitor, bool)
        assert (second.size, second.mtime_ns) == (first.size, first.mtime_ns)
        assert second.sha256 != first.sha256

    def test_a_folder_full_of_files_that_is_moved_in(
        self, bench: Bench, monitor: Monitor, tmp_path: Path
    ) -> None:
        outside = tmp_path / "outside"
        (outside / "deep").mkdir(parents=True)
        for number in range(30):
            (outside / "deep" / f"{number}.tif").write_bytes(b"%d end" % number)
        outside.rename(bench.folder / "session")
        assert len(self.until(monitor, lambda found: len(found) == 30)) == 30

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a folder in use from going")
    def test_the_folder_goes_and_comes_back_with_files(self, bench: Bench, monitor: Monitor) -> None:
        shutil.rmtree(bench.folder)
        monitor.poll()
        bench.write("scan.tif")
        assert names(self.until(monitor, bool)) == ["scan.tif"]
