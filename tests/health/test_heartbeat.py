"""The heartbeat of a watch: its content, its writer, and that nothing silences it."""

import errno
import logging
import os
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from filelock import FileLock

from tvtasks import files
from tvtasks.archive.folder import heartbeat_path
from tvtasks.errors import ConfigurationError
from tvtasks.health.heartbeat import Heartbeat, Pulse, ServerState, read_heartbeat
from tvtasks.health.heartbeat_writer import HEARTBEAT_SECONDS, HeartbeatWriter
from tvtasks.health.problems import OVER, is_nearly_full, judge, life
from tvtasks.ledger import refuse_second
from tvtasks.listener import Listener
from tvtasks.options import WatchOptions

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WATCH = WatchOptions(folder=Path("/scans"), archive=Path("/archive"), recipes=("stm-scratches",))
WELL = Heartbeat(
    pid=42,
    host="lab-3",
    options=WATCH,
    recipe="0" * 64,
    started=NOW - timedelta(hours=5),
    written=NOW,
    since_turn=0.2,
    pulse=Pulse("native", running=1),
    free=10**11,
    total=10**12,
    server=ServerState("http://127.0.0.1:4200/api", True, True),
)


def kinds(problems):
    return [problem.kind for problem in problems]


class TestJudge:
    def test_a_healthy_watch_has_no_problems(self):
        assert judge(WELL, NOW) == []
        assert life(WELL, NOW) == "alive"

    @pytest.mark.parametrize(
        ("changes", "kind", "words"),
        [
            ({"since_turn": 31.0}, "loop", "hangs: it has done nothing for 31 s"),
            (
                {"written": NOW - timedelta(minutes=4)},
                "heartbeat",
                "process 42 on lab-3) has given no sign of life for 4 min",
            ),
            ({"pulse": Pulse("native", False)}, "observer", "the native observer has stopped"),
            ({"pulse": Pulse(look_age=90.0)}, "observer", "has taken 90 s so far"),
            ({"folder_fault": "Host is down"}, "folder", "/scans cannot be read: Host is down"),
            ({"archive_fault": "Host is down"}, "archive", "/archive cannot be written to: Host is down"),
            ({"free": 312_000_000}, "disk", "312 MB of 1.0 TB are free"),
            ({"archive_fault": "No space left", "full": True}, "disk", "your quota is used up"),
            ({"server": replace(WELL.server, answers=False)}, "server", "restarts it by itself"),
            ({"server": replace(WELL.server, answers=False, kept=False)}, "server", "Start it again."),
            (
                {"pulse": Pulse(longest=2400.0, longest_file="a.tif")},
                "work",
                "tvtasks has been restoring a.tif",
            ),
            ({"pulse": Pulse(error="The ledger is locked.")}, "error", "The ledger is locked."),
            ({"rival": "process 7 on lab-4"}, "rival", "process 42 on lab-3 and process 7 on lab-4"),
        ],
    )
    def test_each_problem_is_one_sentence_that_names_it(self, changes, kind, words):
        (problem,) = judge(replace(WELL, **changes), NOW)
        assert problem.kind == kind
        assert words in problem.sentence.replace("\\", "/")
        assert problem.sentence.endswith(".")

    def test_a_missing_folder_is_not_also_a_dead_observer_and_an_error(self):
        gone = replace(WELL, folder_fault="Host is down", pulse=Pulse("native", False, error="It is gone."))
        assert kinds(judge(gone, NOW)) == ["folder"]

    def test_an_old_heartbeat_proves_nothing_about_the_present(self):
        old = replace(WELL, written=NOW - timedelta(hours=1), pulse=Pulse("native", False))
        assert kinds(judge(old, NOW)) == ["heartbeat"]
        assert life(old, NOW) == "stalled"

    def test_a_stopped_watch_is_healthy_but_one_ended_by_an_error_is_not(self):
        stopped = replace(WELL, written=NOW - timedelta(days=3), ended=NOW - timedelta(days=3))
        assert judge(stopped, NOW) == []
        assert life(stopped, NOW) == "stopped"
        (problem,) = judge(replace(stopped, end="The archive is gone."), NOW)
        assert "The archive is gone." in problem.sentence

    @pytest.mark.parametrize(
        ("free", "total", "low"),
        [(499e6, 1e12, True), (501e6, 1e12, False), (60e6, 500e6, False), (40e6, 500e6, True)],
    )
    def test_a_disk_is_nearly_full_below_500_mb_or_a_tenth_of_a_small_one(self, free, total, low):
        assert is_nearly_full(int(free), int(total)) is low


class Clock:
    """A clock that the test sets; it serves as monotonic seconds and as the time of day."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds

    def now(self):
        return NOW + timedelta(seconds=self.seconds)


@pytest.fixture
def clock():
    return Clock()


class Heard(Listener):
    """Notes the problems that began, those that ended, and the number of present ones."""

    def __init__(self, heard):
        self.heard = heard

    def problems(self, begun, ended, present):
        self.heard.append((list(begun), list(ended), len(present)))


@pytest.fixture
def watch(tmp_path, clock):
    """A writer whose beats the test triggers by hand, with the reports to its listener."""

    class Watch:
        folder, archive = tmp_path / "scans", tmp_path / "archive"

        def __init__(self):
            self.folder.mkdir()
            self.heard = []
            self.server = None
            self.heart = HeartbeatWriter(
                replace(WATCH, folder=self.folder, archive=self.archive),
                server=lambda: self.server,
                listener=Heard(self.heard),
                clock=clock,
                now=clock.now,
            )

        def beat(self, seconds=HEARTBEAT_SECONDS, *, turns=True):
            """Let time pass, and return the kinds of the problems then."""
            clock.seconds += seconds
            if turns:
                self.heart.pulse(Pulse("native"))
            # A problem found while one heartbeat is written appears in the next.
            self.heart.beat()
            assert self.heart.answered()
            problems = kinds(self.heart.beat())
            assert self.heart.answered()
            return problems

    return Watch()


class TestHeartbeatWriter:
    def test_another_process_can_read_it(self, watch, clock):
        watch.server = WELL.server
        assert watch.beat() == []
        beat = read_heartbeat(watch.archive)
        assert beat.pid == os.getpid()
        assert beat.options == replace(WATCH, folder=watch.folder, archive=watch.archive)
        assert (beat.written, beat.pulse, beat.server) == (clock.now(), Pulse("native"), WELL.server)
        assert 0 < beat.free < beat.total

    def test_a_loop_that_stalls_shows_within_a_minute(self, watch):
        assert watch.beat() == []
        seconds = 0
        while not (problems := watch.beat(turns=False)):
            seconds += HEARTBEAT_SECONDS
        assert problems == ["loop"]
        assert seconds < 60

    def test_a_problem_is_reported_once_when_it_begins_and_once_when_it_ends(self, watch, caplog):
        watch.beat()
        away = watch.folder.rename(watch.folder.with_name("away"))
        with caplog.at_level(logging.INFO, "tvtasks"):
            for _ in range(3):
                assert watch.beat() == ["folder"]
            away.rename(watch.folder)
            for _ in range(3):
                assert watch.beat() == []
        (first, second) = watch.heard
        assert "cannot be read" in first[0][0]
        assert (first[1:], second) == (([], 1), ([], [OVER["folder"]], 0))
        begun, ended = caplog.records
        assert (begun.levelname, ended.levelname) == ("WARNING", "INFO")
        assert "cannot be read" in begun.message
        assert ended.message == "The watched folder can be read again."

    def test_a_symptom_replaced_by_its_cause_is_not_reported_as_over(self, watch):
        watch.beat()
        watch.heart.pulse(Pulse("native", False))
        watch.heart.beat()
        watch.folder.rmdir()
        assert watch.beat() == ["folder"]
        assert [(len(begun), ended, present) for begun, ended, present in watch.heard] == [(1, [], 1)] * 2

    def test_a_dead_server_shows(self, watch):
        watch.server = replace(WELL.server, answers=False)
        assert watch.beat() == ["server"]

    def test_a_hanging_share_shows_and_does_not_stop_the_heartbeat(self, watch, clock, monkeypatch):
        released = threading.Event()
        # There is no dead share here: a call that hangs replaces the one to the share.
        monkeypatch.setattr(watch.heart._folder, "_call", lambda: str(released.wait(30) or ""))
        watch.heart.beat()
        assert watch.heart._archive.wait(10)
        clock.seconds += 25
        watch.heart.pulse(Pulse("native"))
        (problem,) = watch.heart.beat()
        released.set()
        assert "it has not answered for 25 s" in problem.sentence

    def test_a_full_disk_is_still_reported(self, watch, clock, monkeypatch):
        def fill(descriptor):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        watch.beat()
        with monkeypatch.context() as disk:
            disk.setattr(files.os, "fsync", fill)
            clock.seconds += HEARTBEAT_SECONDS
            watch.heart.pulse(Pulse("native"))
            watch.heart.beat()
            assert watch.heart.answered()
        assert read_heartbeat(watch.archive).written == clock.now()
        assert kinds(watch.heart.beat()) == ["disk"]
        assert watch.heart.answered()
        assert watch.beat() == [], "the disk was freed"

    def test_an_archive_that_cannot_be_written_shows(self, watch):
        watch.archive.write_bytes(b"no folder")
        assert watch.beat() == ["archive"]

    def test_a_rival_process_shows(self, watch, clock):
        watch.beat()
        other = replace(read_heartbeat(watch.archive), host="lab-4")
        heartbeat_path(watch.archive).write_bytes(other.to_json())
        watch.heart.beat()
        assert watch.heart.answered()
        assert kinds(watch.heart.beat()) == ["rival"]
        assert watch.heart.answered()
        assert watch.beat() == [], "the other one was stopped"

    def test_the_heartbeat_of_a_killed_watch_is_no_rival(self, watch, clock):
        heartbeat_path(watch.archive).parent.mkdir(parents=True)
        heartbeat_path(watch.archive).write_bytes(replace(WELL, written=clock.now()).to_json())
        assert watch.beat() == []


class TestInItsThread:
    def test_it_beats_while_the_work_hangs_and_survives_a_failing_listener(self, tmp_path):
        (tmp_path / "scans").mkdir()

        class Stumbling(Listener):
            def problems(self, begun, ended, present):
                raise RuntimeError("the dashboard is on fire")

        options = replace(WATCH, folder=tmp_path / "scans", archive=tmp_path / "archive")
        dead = replace(WELL.server, answers=False)
        with HeartbeatWriter(options, every=0.01, listener=Stumbling(), server=lambda: dead):
            written = set()
            deadline = time.monotonic() + 10
            while len(written) < 3 and time.monotonic() < deadline:
                if beat := read_heartbeat(tmp_path / "archive"):
                    written.add(beat.written)
            assert len(written) == 3

    def test_the_last_heartbeat_says_that_the_watch_has_ended(self, tmp_path):
        with HeartbeatWriter(replace(WATCH, folder=tmp_path, archive=tmp_path / "archive")):
            pass
        beat = read_heartbeat(tmp_path / "archive")
        assert beat.ended
        assert beat.end == ""

    def test_an_error_that_ends_the_watch_is_named(self, tmp_path):
        options = replace(WATCH, folder=tmp_path, archive=tmp_path / "archive")
        with pytest.raises(ValueError, match="boom"), HeartbeatWriter(options):
            raise ValueError("boom")
        assert read_heartbeat(tmp_path / "archive").end == "boom"


class TestReading:
    def test_no_heartbeat_gives_none(self, tmp_path):
        assert read_heartbeat(tmp_path) is None

    @pytest.mark.parametrize("content", [b"", b'{"pid": 4', b'{"pid": "x"}', b"\xff\xfe"])
    def test_a_damaged_heartbeat_counts_as_none(self, tmp_path, content):
        heartbeat_path(tmp_path).parent.mkdir()
        heartbeat_path(tmp_path).write_bytes(content)
        assert read_heartbeat(tmp_path) is None


class TestRefuseSecond:
    def test_the_holder_of_the_ledger_is_named(self, tmp_path):
        ledger = tmp_path / "ledger.sqlite"
        (tmp_path / "ledger.sqlite.holder").write_text("process 7 on lab-4")
        with (
            FileLock(tmp_path / "ledger.sqlite.lock"),
            pytest.raises(ConfigurationError, match="in use by process 7 on lab-4"),
        ):
            refuse_second(ledger)

    def test_a_ledger_without_a_holder_is_free_and_nothing_is_written(self, tmp_path):
        refuse_second(tmp_path / "archive" / "ledger.sqlite")
        assert list(tmp_path.iterdir()) == []
