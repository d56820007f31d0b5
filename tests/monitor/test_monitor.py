"""The monitor on real files. With an injected clock, a scan at each poll stands in for events."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from watchdog.events import DirMovedEvent

from tests.monitor.test_observe import eventually
from tests.wine import needs_links, needs_reports_from_subfolders
from tvtasks import readers
from tvtasks.errors import ConfigurationError
from tvtasks.ledger import Entry, Ledger, Output, Priority, State
from tvtasks.micrograph import file_sha256
from tvtasks.monitor import Monitor
from tvtasks.monitor.scan import BURST_SECONDS
from tvtasks.options import MonitorOptions
from tvtasks.replay import replay_steps

WHOLE = b"header, pixels, end"
RECIPE = "stm"
OPTIONS = {field.name for field in fields(MonitorOptions)}


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
    """A folder, a ledger, a clock, and monitors that use them."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "microscope"
        self.folder.mkdir()
        self.ledger = Ledger(root / "archive" / "ledger.sqlite")
        self.clock = Clock()

    def monitor(self, **options: Any) -> Monitor:
        defaults = {
            "rescan": 0.5,
            "observer": "polling",  # with this, a scan at each poll
            "clock": self.clock,
            "patience": None,
            "is_candidate": is_candidate,
            "incomplete": unfinished,
        }
        given = defaults | options
        how = MonitorOptions(**{key: given.pop(key) for key in OPTIONS & given.keys()})
        return Monitor(self.folder, self.ledger, RECIPE, how, **given)

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
        """Poll once a second, and return everything that was queued."""
        return [entry for _ in range(round(seconds)) for entry in self.after(1.0, monitor)]

    def until(self, monitor: Monitor, *paths: Path) -> None:
        """Poll, at a hundred times the speed of a real clock, until exactly these files are queued."""
        found: list[Path] = []

        def all_found() -> bool:
            found.extend(entry.path for entry in self.after(1.0, monitor))
            return len(found) >= len(paths)

        assert eventually(all_found)
        assert sorted(found) == sorted(paths)

    def restore(self) -> None:
        """Do all the work that is due."""
        while entry := self.ledger.claim(RECIPE):
            self.ledger.finish(entry, [Output(Path("scan.nxs"))], {})

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

    def test_a_file_that_stays_incomplete_is_stuck_until_it_changes(self, bench: Bench) -> None:
        with bench.monitor(max_wait=10.0) as monitor:
            path = bench.write("scan.tif", WHOLE[:7], date=1)
            bench.wait(monitor, 15)
            assert monitor.stuck == {
                path: "scan.tif is still incomplete after 10 s: scan.tif has no end. "
                "tvtasks takes it up again when it changes."
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
            monkeypatch.setattr("tvtasks.readers.content_sha256", hash_and_overwrite)
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

    @needs_links
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

        with bench.monitor(incomplete=slowly) as monitor:
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
    """With the readers' own checks: each file is queued once, and only when it is complete."""
    found: list[Entry] = []
    with bench.monitor(is_candidate=readers.is_candidate, incomplete=readers.incomplete) as monitor:
        for seconds in replay_steps(bench.folder, scans=6, duration=240.0, shape=(32, 32)):
            found += bench.wait(monitor, seconds)
        found += bench.wait(monitor)
    assert len(found) == 6
    assert all(entry.sha256 == file_sha256(entry.path) for entry in found)


class TestContent:
    def test_the_same_content_under_two_names_is_done_once(self, bench: Bench) -> None:
        with bench.monitor() as monitor:
            bench.write("scan.tif")
            bench.wait(monitor)
            bench.restore()
            copy = bench.write("copy.tif")
            assert bench.wait(monitor) == []
            assert bench.state(copy) == [State.DONE]

    def test_a_known_name_with_new_content(self, bench: Bench) -> None:
        with bench.monitor() as monitor:
            bench.write("scan.tif", date=1)
            (first,) = bench.wait(monitor)
            bench.restore()
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
            bench.wait(monitor)
            bench.write("scan.tif", b"another image, end", date=2)
            (new,) = bench.wait(monitor)
            assert bench.state(path) == [State.OVERWRITTEN, State.QUEUED]
            claimed = bench.ledger.claim(RECIPE)
            assert claimed is not None
            assert claimed.sha256 == new.sha256

    def test_overwritten_between_claim_and_reading(self, bench: Bench) -> None:
        with bench.monitor() as monitor:
            path = bench.write("scan.tif", date=1)
            bench.wait(monitor)
            old = bench.ledger.claim(RECIPE)
            assert old is not None
            bench.write("scan.tif", b"another image, end", date=2)
            assert file_sha256(path) != old.sha256, "which the reader finds out"
            bench.ledger.mark_overwritten(old)
            (new,) = bench.wait(monitor)
            assert new.sha256 == file_sha256(path)

    def test_the_same_size_and_date_in_polling_is_found_by_whoever_reads_the_content(
        self, bench: Bench
    ) -> None:
        with bench.monitor() as monitor:
            path = bench.write("scan.tif", b"1 end", date=1)
            bench.wait(monitor)
            old = bench.ledger.claim(RECIPE)
            assert old is not None
            bench.write("scan.tif", b"2 end", date=1)
            assert bench.wait(monitor) == [], "a known limit: nothing outside the file shows it"
            bench.ledger.mark_overwritten(old)
            monitor.notice(path)
            (new,) = bench.wait(monitor)
            assert new.sha256 == file_sha256(path)

    def test_the_same_basename_in_two_folders(self, bench: Bench) -> None:
        with bench.monitor(recursive=True) as monitor:
            bench.write("monday/scan.tif", b"1 end")
            bench.write("tuesday/scan.tif", b"2 end")
            assert len(bench.wait(monitor)) == 2


class TestRestart:
    def test_what_the_ledger_holds_is_not_queued_again(self, bench: Bench) -> None:
        outcomes: dict[str, Callable[[Entry], object]] = {
            "done.tif": lambda entry: bench.ledger.finish(entry, [], {}),
            "failed.tif": lambda entry: bench.ledger.fail(entry, "The disk is full."),
            "bad.tif": lambda entry: bench.ledger.quarantine(entry, "bad.tif holds no image."),
            "running.tif": lambda entry: None,
        }
        with bench.monitor() as monitor:
            for name in outcomes:
                bench.write(name, f"{name} end".encode())
            assert len(bench.wait(monitor)) == 4
            while entry := bench.ledger.claim(RECIPE):
                outcomes[entry.path.name](entry)
            bench.write("queued.tif")
            bench.wait(monitor)
        before = bench.ledger.entries()
        assert len({entry.state for entry in before}) == 5
        with bench.monitor() as monitor:
            assert bench.wait(monitor) == []
        assert bench.ledger.entries() == before

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
            bench.wait(monitor)
        waiting = bench.ledger.entries(RECIPE, State.QUEUED)
        assert [(entry.sha256, entry.mtime_ns) for entry in waiting] == [(file_sha256(path), 2 * 10**9)]

    def test_a_file_that_came_back_after_it_was_given_up(self, bench: Bench) -> None:
        with bench.monitor() as monitor:
            path = bench.write("scan.tif", date=1)
            bench.wait(monitor)
            path.unlink()
            entry = bench.ledger.claim(RECIPE)
            assert entry is not None
            bench.ledger.mark_overwritten(entry, "scan.tif is gone.")
            bench.write("scan.tif", date=1)
            assert names(bench.wait(monitor)) == ["scan.tif"]


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
        with pytest.raises(ConfigurationError, match="The archive cannot be the watched folder"):
            bench.monitor(outputs=bench.folder)

    @needs_links
    def test_results_in_the_watched_folder_behind_a_link(self, bench: Bench) -> None:
        link = bench.folder.parent / "elsewhere"
        link.symlink_to(bench.folder)
        with pytest.raises(ConfigurationError, match="The archive cannot be the watched folder"):
            bench.monitor(outputs=link)
        with pytest.raises(ConfigurationError, match="is inside"):
            bench.monitor(outputs=link / "restored", recursive=True)

    def test_results_below_a_folder_watched_with_its_subfolders(self, bench: Bench) -> None:
        below = bench.folder / "restored"
        with pytest.raises(ConfigurationError, match="is inside"):
            bench.monitor(outputs=below, recursive=True)
        bench.monitor(outputs=below)
        bench.monitor(outputs=below, recursive=True, excluded=[Path("restored")])

    @pytest.mark.parametrize(
        "option", [{"settle": 0.0}, {"max_wait": float("nan")}, {"rescan": -1.0}, {"observer": "inotify"}]
    )
    def test_an_option_that_cannot_work(self, bench: Bench, option: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match=next(iter(option))):
            bench.monitor(**option)

    def test_a_second_monitor_learns_who_holds_the_ledger(self, bench: Bench) -> None:
        with bench.monitor() as first:
            with pytest.raises(ConfigurationError, match=rf"in use by process {os.getpid()} on .*microscope"):
                bench.monitor().__enter__()
            bench.write("scan.tif")
            assert names(bench.wait(first)) == ["scan.tif"], "the first one goes on"
        with bench.monitor() as second:
            second.poll()


class TestPairs:
    """An image with its description in a file beside it: a TIFF of a Tescan microscope and its header."""

    HEADER = b"[MAIN]\r\nPixelSizeX=1e-9\r\nPixelSizeY=1e-9\r\n"

    @pytest.fixture
    def monitor(self, bench: Bench) -> Iterator[Monitor]:
        options = {"is_candidate": readers.is_candidate, "incomplete": readers.incomplete, "max_wait": 30.0}
        with bench.monitor(**options) as monitor:
            yield monitor

    def pixels(self, bench: Bench) -> Path:
        path = bench.folder / "scan.tif"
        tag = (271, "s", 0, "TESCAN - http://www.tescan.com/", True)
        tifffile.imwrite(path, np.zeros((8, 8), np.uint8), metadata=None, extratags=[tag])
        return path

    def test_pixels_before_the_header(self, bench: Bench, monitor: Monitor) -> None:
        self.pixels(bench)
        assert bench.wait(monitor, 10) == []
        bench.write("scan.hdr", self.HEADER)
        assert names(bench.wait(monitor, 10)) == ["scan.tif"]

    def test_the_header_before_the_pixels(self, bench: Bench, monitor: Monitor) -> None:
        bench.write("scan.hdr", self.HEADER)
        assert bench.wait(monitor, 10) == []
        self.pixels(bench)
        assert names(bench.wait(monitor, 10)) == ["scan.tif"]

    def test_a_header_that_is_still_growing(self, bench: Bench, monitor: Monitor) -> None:
        self.pixels(bench)
        for step in range(1, 20):
            bench.write("scan.hdr", self.HEADER[:step], date=step)
            assert bench.after(1.0, monitor) == []
        bench.write("scan.hdr", self.HEADER, date=100)
        assert names(bench.wait(monitor, 15)) == ["scan.tif"]

    def test_a_header_that_never_comes(self, bench: Bench, monitor: Monitor) -> None:
        path = self.pixels(bench)
        assert bench.wait(monitor, 40) == []
        assert monitor.stuck == {
            path: "scan.tif is still incomplete after 30 s: scan.hdr, which belongs to it, does not exist "
            "yet. tvtasks takes it up again when it changes."
        }
        bench.write("scan.hdr", self.HEADER)
        assert names(bench.wait(monitor, 6)) == ["scan.tif"], "soon, not after max_wait"

    def test_the_header_itself_is_no_image(self, bench: Bench, monitor: Monitor) -> None:
        bench.write("scan.hdr", self.HEADER)
        assert bench.wait(monitor, 10) == []
        assert monitor.settling == []
        assert monitor.ignored == {}


class TestMoments:
    """What may happen to a file between one test and the next."""

    def test_deleted_between_settling_and_hashing(self, bench: Bench) -> None:
        def delete(path: Path) -> None:
            path.unlink()

        with bench.monitor(incomplete=delete) as monitor:
            bench.write("scan.tif")
            assert bench.wait(monitor) == []
            assert monitor.settling == []
        assert bench.ledger.entries() == []

    def test_moved_between_settling_and_hashing(self, bench: Bench) -> None:
        def move_once(path: Path) -> None:
            if path.name == "scan.tif":
                path.rename(path.with_name("renamed.tif"))

        with bench.monitor(incomplete=move_once) as monitor:
            bench.write("scan.tif")
            assert names(bench.wait(monitor)) == ["renamed.tif"]

    def test_locked_at_first(self, bench: Bench) -> None:
        locked = True

        def lock(path: Path) -> None:
            if locked:
                raise PermissionError(13, "Permission denied", str(path))

        with bench.monitor(incomplete=lock, max_wait=10.0) as monitor:
            path = bench.write("scan.tif")
            assert bench.wait(monitor, 15) == []
            assert "it cannot be opened (Permission denied)" in monitor.stuck[path]
            locked = False
            assert names(bench.wait(monitor, 15)) == ["scan.tif"]

    @pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root and Windows ignore the mode"
    )
    def test_unreadable(self, bench: Bench) -> None:
        with bench.monitor(max_wait=10.0) as monitor:
            path = bench.write("scan.tif")
            path.chmod(0)
            bench.wait(monitor, 15)
            assert "it cannot be opened" in monitor.stuck[path]

    def test_a_defect_in_a_format_check_does_not_stop_the_others(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(path: Path) -> None:
            if path.name == "odd.tif":
                raise ZeroDivisionError

        with bench.monitor(incomplete=fail) as monitor:
            bench.write("odd.tif", b"1 end")
            bench.write("scan.tif", b"2 end")
            found = bench.wait(monitor)
        assert sorted(names(found)) == ["odd.tif", "scan.tif"], "reading it shows what is wrong"
        assert "odd.tif" in caplog.text

    @pytest.mark.parametrize("date", [-1e9, 0, 4e9, 1e10], ids=["1938", "1970", "2096", "2286"])
    def test_a_clock_that_is_wrong(self, bench: Bench, date: float) -> None:
        with bench.monitor() as monitor:
            path = bench.write("scan.tif")
            try:
                os.utime(path, (date, date))
            except (OSError, OverflowError):
                pytest.skip("this file system does not know that year")
            assert names(bench.wait(monitor)) == ["scan.tif"]
        with bench.monitor() as monitor:
            assert bench.wait(monitor) == []

    def test_times_in_steps_of_two_seconds(self, bench: Bench) -> None:
        def step() -> float:
            return bench.clock.now // 2 * 2

        with bench.monitor() as monitor:
            for size in range(1, 20):
                bench.write("scan.tif", b"end" * size, date=step())
                assert bench.after(0.5, monitor) == []
            (entry,) = bench.wait(monitor)
            assert entry.size == 57

    def test_pages_that_are_added_to_a_tiff(self, bench: Bench) -> None:
        options = {"is_candidate": readers.is_candidate, "incomplete": readers.incomplete}
        with bench.monitor(**options) as monitor:
            path = bench.folder / "stack.tif"
            for page in range(6):
                # After each page it is a complete TIFF: only its growth shows that more is coming.
                tifffile.imwrite(path, np.full((8, 8), page, np.uint8), append=True, metadata=None)
                assert readers.incomplete(path) is None
                assert bench.after(1.5, monitor) == []
            (entry,) = bench.wait(monitor)
            assert entry.sha256 == file_sha256(path)

    def test_a_page_that_comes_much_later_makes_new_content(self, bench: Bench) -> None:
        options = {"is_candidate": readers.is_candidate, "incomplete": readers.incomplete}
        with bench.monitor(**options) as monitor:
            path = bench.folder / "stack.tif"
            tifffile.imwrite(path, np.zeros((8, 8), np.uint8), metadata=None)
            (first,) = bench.wait(monitor)
            tifffile.imwrite(path, np.ones((8, 8), np.uint8), append=True, metadata=None)
            (second,) = bench.wait(monitor)
            assert second.sha256 == file_sha256(path) != first.sha256
            assert bench.state(path) == [State.OVERWRITTEN, State.QUEUED]


class TestPriority:
    def test_existing_files_are_backlog_and_new_files_are_live(self, bench: Bench) -> None:
        bench.write("old.tif", b"1 end")
        bench.write("changing.tif", b"2", date=1)
        with bench.monitor() as monitor:
            bench.write("new.tif", b"3 end")
            bench.write("changing.tif", b"2 end", date=2)
            found = {entry.path.name: entry.priority for entry in bench.wait(monitor)}
        assert found == {
            "old.tif": Priority.BACKLOG,
            "new.tif": Priority.LIVE,
            "changing.tif": Priority.LIVE,
        }

    def test_new_files_are_claimed_before_the_backlog(self, bench: Bench) -> None:
        for number in range(5):
            bench.write(f"old{number}.tif", b"%d end" % number)
        with bench.monitor() as monitor:
            bench.wait(monitor)
            bench.write("new.tif")
            bench.wait(monitor)
            claimed = bench.ledger.claim(RECIPE)
        assert claimed is not None
        assert claimed.path.name == "new.tif"


class TestScan:
    """Scans proceed in steps between looks at files that are due."""

    @pytest.fixture
    def crowd(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
        """Many files that the ledger knows."""
        monkeypatch.setattr("tvtasks.monitor.scan.FILES_AT_A_STEP", 4)
        paths = [bench.write(f"{number:04}.tif", b"%d end" % number) for number in range(150)]
        for path in paths:
            status = path.stat()
            bench.ledger.enqueue(path, status.st_size, status.st_mtime_ns, path.name, RECIPE)
        return paths

    @pytest.fixture
    def ticking(self, bench: Bench) -> Callable[[], float]:
        """A clock on which every reading takes 10 ms: a look has time for a few steps."""

        def tick() -> float:
            bench.clock.now += 0.01
            return bench.clock.now

        return tick

    @pytest.mark.usefixtures("crowd")
    def test_a_new_file_does_not_wait_for_the_end_of_a_scan(
        self, bench: Bench, ticking: Callable[[], float]
    ) -> None:
        with bench.monitor(clock=ticking, rescan=100.0) as monitor:
            path = bench.write("new.tif")
            monitor.notice(path)
            monitor.poll()
            bench.clock.now += 100.0
            looks = 0
            found: list[Entry] = []
            while not found:
                found = monitor.poll()
                looks += 1
            assert names(found) == ["new.tif"]
            assert monitor._scanner.under_way, "the scan has not ended yet"
            assert looks <= 2
            while monitor._scanner.under_way:
                assert monitor.poll() == []
                looks += 1
            assert looks > 4

    @pytest.mark.parametrize("large", [10, 10_000], ids=["in the background", "at once"])
    def test_only_files_unknown_to_the_ledger_are_tested(
        self, bench: Bench, crowd: list[Path], large: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tested: list[Path] = []

        def test(path: Path) -> None:
            tested.append(path)

        monkeypatch.setattr("tvtasks.monitor.known_files.LARGE_FOLDER", large)
        with bench.monitor(incomplete=test) as monitor:
            assert bench.wait(monitor) == []
            new = bench.write("new.tif")
            crowd[3].write_bytes(b"other content, end")
            assert {entry.path for entry in bench.wait(monitor)} == {new, crowd[3]}
        assert set(tested) == {new, crowd[3]}
        assert len(tested) == 2

    def test_a_file_queued_during_a_scan_is_not_new_to_that_scan(
        self, bench: Bench, crowd: list[Path], ticking: Callable[[], float]
    ) -> None:
        tested: list[Path] = []

        def test(path: Path) -> None:
            tested.append(path)

        options = {"clock": ticking, "rescan": 100.0, "incomplete": test}
        with bench.monitor(**options) as monitor:
            # Wherever its name is in the listing, most of the scan is still to come.
            late = bench.write("zzzz.tif")
            monitor.notice(late)
            monitor.poll()
            bench.clock.now += 200.0
            for _ in range(200):
                monitor.poll()
            bench.clock.now += 10.0
            monitor.poll()
        assert tested == [late]
        assert crowd

    def test_polling_slows_down_if_listings_are_expensive(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tvtasks.monitor.scan.PAUSE_FACTOR", 1e12)
        bench.write("old.tif", b"1 end", date=1)
        with bench.monitor(rescan=60.0) as monitor:
            assert names(bench.wait(monitor)) == ["old.tif"]
            bench.write("old.tif", b"2 end", date=2)
            assert bench.wait(monitor, 50) == []
            assert names(bench.wait(monitor, 20)) == ["old.tif"], "rescan is the longest pause"

    def test_polling_is_quick_after_a_folder_shows_a_change(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tvtasks.monitor.scan.PAUSE_FACTOR", 1e12)
        monkeypatch.setattr("tvtasks.monitor.scan.FOLDERS_AT_A_TIME", 2)
        for number in range(5):
            bench.write(f"{number}/deep/old.tif", b"%d end" % number)
        with bench.monitor(rescan=1e6, recursive=True) as monitor:
            assert len(bench.wait(monitor)) == 5
            new = bench.write("3/deep/new.tif", b"new, end")
            assert [entry.path for entry in bench.wait(monitor, 30)] == [new]
            scans = monitor._scanner.last_scan
            assert bench.wait(monitor, 30) == []
            assert monitor._scanner.last_scan == scans, "without a change there is no further scan"

    def test_scans_alone_make_native_notification_complete(self, bench: Bench) -> None:
        with bench.monitor(observer="native", rescan=60.0) as monitor:
            monitor._observer.stop()  # nothing is reported, and nobody knows until the next check
            monitor._next_check = 1e9
            bench.write("scan.tif")
            assert bench.wait(monitor, 50) == []
            assert names(bench.wait(monitor, 20)) == ["scan.tif"]

    def test_a_file_that_comes_during_the_first_scan(self, bench: Bench) -> None:
        bench.write("old.tif", b"1 end")

        def and_another_comes(path: Path) -> bool:
            if not (bench.folder / "new.tif").exists():
                bench.write("new.tif", b"2 end")
            return is_candidate(path)

        with bench.monitor(observer="native", rescan=1e6, is_candidate=and_another_comes) as monitor:
            assert eventually(lambda: monitor.poll() or len(monitor.settling) == 2)
            assert sorted(names(bench.wait(monitor))) == ["new.tif", "old.tif"]

    def test_a_reused_inode_number_is_no_move(self, bench: Bench) -> None:
        with bench.monitor() as monitor:
            for attempt in range(50):
                old = bench.write(f"old{attempt}.tif", b"%d end" % attempt)
                assert len(bench.wait(monitor)) == 1
                number = old.stat().st_ino
                old.unlink()
                new = bench.write(f"new{attempt}.tif", b"new %d end" % attempt)
                assert names(bench.wait(monitor)) == [new.name]
                if new.stat().st_ino == number:
                    return
        pytest.skip("this file system does not give a new file the inode of a deleted one")


class TestRoot:
    """The watched folder goes away and comes back, like a share."""

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a folder in use from going")
    @pytest.mark.parametrize("observer", ["polling", "native"])
    def test_it_is_reported_and_the_watch_continues(
        self, bench: Bench, observer: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        away = bench.folder.with_name("away")
        rescan = 0.5 if observer == "polling" else 1e6
        with bench.monitor(observer=observer, rescan=rescan) as monitor:
            before = bench.write("before.tif", b"1 end")
            bench.until(monitor, before)
            settling = bench.write("settling.tif", b"2 end")
            assert eventually(lambda: monitor.settling == [settling] or bench.after(0.1, monitor))
            bench.folder.rename(away)
            assert bench.wait(monitor) == []
            assert not monitor.alive
            assert monitor.trouble.startswith(f"The folder {bench.folder} cannot be read at present (")
            assert caplog.text.count("cannot be read at present") == 1
            away.rename(bench.folder)
            after = bench.write("after.tif", b"3 end")
            bench.until(monitor, settling, after)
            assert monitor.alive
            assert monitor.trouble == ""
            assert bench.state(before) == [State.QUEUED]
            bench.clock.now += rescan
            monitor.poll()
            assert "which was not reported" not in caplog.text, "nothing could be reported at that time"

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a folder in use from going")
    def test_an_empty_folder_in_place_of_the_share_is_fine(self, bench: Bench) -> None:
        away = bench.folder.with_name("away")
        with bench.monitor() as monitor:
            bench.write("before.tif", b"1 end")
            bench.wait(monitor)
            bench.folder.rename(away)
            bench.folder.mkdir()
            assert bench.wait(monitor) == []
            bench.folder.rmdir()
            away.rename(bench.folder)
            bench.write("after.tif", b"2 end")
            assert names(bench.wait(monitor)) == ["after.tif"]


class TestLedgerInTrouble:
    def test_a_full_disk_delays_files_but_loses_none(self, bench: Bench) -> None:
        with bench.monitor() as monitor:
            (pages,) = bench.ledger._connection.execute("PRAGMA page_count").fetchone()
            bench.ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
            paths = {bench.write(f"{number}.tif", b"%d end" % number) for number in range(100)}
            queued = bench.wait(monitor, 20)
            assert len(queued) < 100
            assert "full" in monitor.trouble
            assert set(monitor.settling) == paths - {entry.path for entry in queued}
            bench.ledger._connection.execute("PRAGMA max_page_count = 1000000")
            queued += bench.wait(monitor, 20)
            assert {entry.path for entry in queued} == paths
            assert len(queued) == 100
            assert monitor.trouble == ""


class TestIgnored:
    @pytest.mark.parametrize(
        ("pattern", "ignored"),
        [
            ("*_test*", {"a_TEST.tif", "Calibration_test/b.tif"}),
            ("calibration_test", {"Calibration_test/b.tif"}),
            ("raw/*.tif", {"raw/c.tif"}),
            ("raw/**", {"raw/c.tif", "raw/deep/d.tif"}),
            ("raw/", {"raw/c.tif", "raw/deep/d.tif"}),
            ("RAW", {"raw/c.tif", "raw/deep/d.tif"}),
            ("**/deep/*", {"raw/deep/d.tif"}),
            ("raw\\deep", {"raw/deep/d.tif"}),
            ("**/c.tif", {"raw/c.tif"}),
            ("deep/*", set()),
        ],
    )
    @pytest.mark.parametrize("observer", ["polling", "native"])
    def test_files_that_the_user_excludes(
        self, bench: Bench, pattern: str, ignored: set[str], observer: str
    ) -> None:
        files = {"a_TEST.tif", "Calibration_test/b.tif", "raw/c.tif", "raw/deep/d.tif"}
        with bench.monitor(recursive=True, ignore=[pattern], observer=observer) as monitor:
            for number, name in enumerate(sorted(files)):
                bench.write(name, b"%d end" % number)
            found = bench.wait(monitor, 8)
        assert {entry.path.relative_to(bench.folder).as_posix() for entry in found} == files - ignored

    @pytest.mark.parametrize("pattern", ["", "/", "{folder}/raw"])
    def test_a_pattern_that_can_never_match_is_refused(self, bench: Bench, pattern: str) -> None:
        with pytest.raises(ConfigurationError, match=r"can never match a file: give a name"):
            bench.monitor(ignore=[pattern.format(folder=bench.folder)])

    @pytest.mark.parametrize("pattern", ["restored", "restored/", "restored/**"])
    def test_results_in_an_ignored_folder_are_allowed(self, bench: Bench, pattern: str) -> None:
        bench.monitor(outputs=bench.folder / "restored", recursive=True, ignore=[pattern])

    def test_each_kind_without_a_reader_is_reported_once(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        with bench.monitor(is_candidate=readers.is_candidate, incomplete=readers.incomplete) as monitor:
            for name in ("a.xyz", "b.XYZ", "c.txt", "d.txt", "e.hdr", "f"):
                bench.write(name)
            bench.wait(monitor, 10)
            assert monitor.settling == []
            assert sorted(monitor.ignored) == ["", ".txt", ".xyz"]
            assert monitor.ignored[".xyz"] in {
                f"{name}: tvtasks does not read files ending in .xyz and leaves them alone."
                for name in ("a.xyz", "b.XYZ")
            }
        assert [record for record in caplog.records if record.levelname == "WARNING"] == []

    def test_a_file_without_a_recipe_is_reported_once(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        with bench.monitor(has_recipe=lambda path: path.name.startswith("stm")) as monitor:
            for name in ("stm.tif", "sem.tif", "sem2.tif"):
                bench.write(name, f"{name} end".encode())
            assert names(bench.wait(monitor)) == ["stm.tif"]
            (sentence,) = monitor.ignored.values()
        assert sentence.startswith("No --recipe pattern matches ")
        assert caplog.text.count("No --recipe pattern matches") == 1


class TestThread:
    """The monitor looks at the folder in a thread of its own."""

    def test_a_hanging_share_delays_nothing_else(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tvtasks.monitor.look_thread.JOIN_SECONDS", 0.01)
        hanging, alive_again = threading.Event(), threading.Event()

        def hang(path: Path) -> None:
            hanging.set()
            alive_again.wait(20.0)

        options = {"patience": 0.01, "clock": time.monotonic, "settle": 0.01, "incomplete": hang}
        with bench.monitor(**options) as monitor:
            bench.write("scan.tif")
            assert eventually(lambda: monitor.poll() or hanging.is_set())
            began = monitor.last_look
            assert [monitor.poll() for _ in range(20)] == [[]] * 20
            assert monitor.last_look == began, "which shows that the share hangs"
            alive_again.set()
            found: list[Entry] = []
            assert eventually(lambda: found.extend(monitor.poll()) or bool(found))
            alive_again.clear()
            hanging.clear()
            bench.write("next.tif", b"2 end")
            assert eventually(lambda: monitor.poll() or hanging.is_set())
        alive_again.set()  # the monitor ended while its thread still hung

    def test_an_error_in_the_thread_reaches_the_caller(self, bench: Bench) -> None:
        def fail(path: Path) -> bool:
            raise ZeroDivisionError

        with bench.monitor(patience=5.0, clock=time.monotonic, is_candidate=fail) as monitor:
            bench.write("scan.tif")
            with pytest.raises(ZeroDivisionError):
                eventually(monitor.poll)

    def test_it_ends_with_the_monitor(self, bench: Bench) -> None:
        with bench.monitor(patience=0.05):
            assert any(thread.name == "tvtasks monitor" for thread in threading.enumerate())
        assert not any(thread.name == "tvtasks monitor" for thread in threading.enumerate())


class TestEvents:
    """The real observer and the real clock."""

    @pytest.fixture
    def monitor(self, bench: Bench) -> Iterator[Monitor]:
        options = {"settle": 0.05, "rescan": 3600.0, "observer": "native", "patience": 0.05}
        with bench.monitor(
            recursive=True, clock=lambda: time.monotonic() + bench.clock.now, **options
        ) as monitor:
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

    @needs_reports_from_subfolders
    def test_nested_folders_that_fill_as_they_are_made(self, bench: Bench, monitor: Monitor) -> None:
        for number in range(300):
            bench.write(f"{number % 5}/{number % 7}/{number % 3}/{number}.tif", b"%d end" % number)
        found = self.until(monitor, lambda found: len(found) >= 300)
        assert len({entry.path for entry in found}) == len(found) == 300

    def test_closing_is_not_the_end(self, bench: Bench) -> None:
        with bench.monitor(observer="native", rescan=1e6) as monitor:  # by the clock that only the test moves
            path = bench.write("scan.tif", b"first half, end")
            assert eventually(lambda: monitor.poll() or monitor.settling == [path])
            assert bench.after(1.5, monitor) == []
            with path.open("ab") as file:
                file.write(b"second half, end")
            assert bench.after(1.0, monitor) == []
            (entry,) = bench.wait(monitor)
            assert entry.sha256 == file_sha256(path)

    @pytest.mark.skipif(sys.platform != "linux", reason="inotify")
    def test_events_that_the_kernel_dropped(
        self, bench: Bench, monitor: Monitor, caplog: pytest.LogCaptureFixture
    ) -> None:
        paths: set[Path] = set()
        with (bench.folder / "a.log").open("ab", 0) as one, (bench.folder / "b.log").open("ab", 0) as other:
            while "overflowed" not in caplog.text:
                for _ in range(20_000):  # two files in turn: equal events in a row are reported once
                    one.write(b".")
                    other.write(b".")
                for number in range(len(paths), len(paths) + 30):
                    paths.add(bench.write(f"{number}.tif", b"%d end" % number))
        bench.clock.now += BURST_SECONDS
        found = self.until(monitor, lambda found: len(found) >= len(paths))
        assert {entry.path for entry in found} == paths

    @pytest.mark.skipif(sys.platform != "linux", reason="inotify")
    def test_a_hanging_emitter_is_detected_and_replaced(
        self,
        bench: Bench,
        monitor: Monitor,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("tvtasks.monitor.observe.JOIN_SECONDS", 0.1)
        hanging = monitor._observer._observer
        assert hanging is not None
        (emitter,) = hanging.emitters
        with emitter._inotify._lock:  # which every event needs
            bench.write("unreported.tif", b"1 end")
            assert monitor.alive, "nothing shows that it hangs"
            bench.clock.now += 3600.0
            assert names(self.until(monitor, bool)) == ["unreported.tif"], "a scan finds it"
            bench.clock.now += 3600.0
            assert eventually(lambda: monitor.poll() or "which was not reported" in caplog.text)
            assert eventually(lambda: monitor._observer._observer is not hanging and monitor.alive)
            bench.write("reported.tif", b"2 end")
            assert names(self.until(monitor, bool)) == ["reported.tif"]

    def test_a_file_that_was_reported_and_then_scanned_counts_as_reported(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        with bench.monitor(observer="native", rescan=1.0) as monitor:
            path = bench.write("scan.tif")
            assert eventually(lambda: monitor.poll() or monitor.settling == [path])
            bench.until(monitor, path)
            bench.wait(monitor)
        assert "which was not reported" not in caplog.text

    def test_it_switches_to_polling_if_nothing_is_ever_reported(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # As on a network file system that is not in the list.
        monkeypatch.setattr("tvtasks.monitor.observe._EVENTS", [DirMovedEvent])
        with bench.monitor(observer="auto", rescan=60.0) as monitor:
            for number in range(4):
                assert not monitor.polls
                path = bench.write(f"{number}.tif", b"%d end" % number)
                bench.clock.now += 60.0
                assert [entry.path for entry in bench.wait(monitor)] == [path]
            bench.clock.now += 60.0
            monitor.poll()
            assert monitor.polls, "after three scans that found unreported files"
            bench.write("last.tif", b"last, end")
            assert names(bench.wait(monitor)) == ["last.tif"]


class TestLinks:
    @needs_links
    @pytest.mark.parametrize("observer", ["native", "polling"])
    def test_a_link_to_a_folder_is_not_followed(self, bench: Bench, observer: str) -> None:
        behind = bench.folder.parent / "results"
        behind.mkdir()
        (behind / "early.tif").write_bytes(WHOLE)
        with bench.monitor(recursive=True, observer=observer) as monitor:
            (bench.folder / "link").symlink_to(behind)
            (behind / "late.tif").write_bytes(WHOLE)
            # As if someone had observed the folder behind the link.
            monitor.notice(bench.folder / "link")
            monitor.notice(bench.folder / "link" / "late.tif")
            image = bench.write("sub/image.tif")
            bench.until(monitor, image)
            assert bench.wait(monitor) == []

    def test_results_of_tvtasks_and_their_pictures_are_left_alone(self, bench: Bench) -> None:
        with bench.monitor(is_candidate=readers.is_candidate, incomplete=lambda path: None) as monitor:
            for ending in ("nxs", "png"):
                bench.write(f"scan__6c90742a__a1850b1130f2.{ending}")
            image = bench.write("scan.png")
            bench.until(monitor, image)
            assert "scan__6c90742a__a1850b1130f2" in monitor.ignored["results"]
