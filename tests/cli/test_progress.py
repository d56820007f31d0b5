"""What the terminal shows while work is under way."""

import json
import re
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.health.test_heartbeat import NOW, WELL
from tvtasks import Micrograph, Recipe, archive, restore
from tvtasks.cli import progress, reports
from tvtasks.cli.progress import JsonLines, Lines, LiveTable, watch_display
from tvtasks.health.doctor import Finding
from tvtasks.health.problems import Problem
from tvtasks.health.status import Status
from tvtasks.ledger import Entry, Overview, State
from tvtasks.outcome import Change, Outcome
from tvtasks.recipe import Median
from tvtasks.words import moment

OUTCOME = Outcome(
    name="stm_1.tif",
    recipe="stm-scratches",
    source_sha256="0" * 64,
    archive=Path("archive/stm_1.nxs"),
    preview=Path("archive/stm_1.png"),
    gap=9.87e-05,
    converged=True,
    seconds=1.234,
    notes=("3 of 32 rows were left out.",),
)
SCAN = Path("scans/stm_1.tif")
QUEUED = Change(SCAN, "queued", "stm-scratches")
DONE = Change(SCAN, "done", "stm-scratches", outcomes=(OUTCOME,))
FAILED = Change(
    Path("scans/stm_2.tif"), "failed", "stm-scratches", reason="stm_2.tif is damaged. Copy it again."
)
DONE_BEFORE = Outcome(name="stm_1.tif", recipe="stm", state="current", archive=OUTCOME.archive)
NOT_REACHED = replace(OUTCOME, gap=0.5, converged=False, seconds=2.0)


def terminal(width=100):
    return Console(file=StringIO(), force_terminal=True, width=width)


def redirected():
    return Console(file=StringIO(), force_terminal=False, width=80)


def written(console):
    """What was printed, without colours."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())


class TestLiveTable:
    def shown(self, *changes):
        console = terminal()
        with LiveTable(console) as table:
            for change in changes:
                table.changed(change)
        return written(console)

    def test_a_file_has_a_row_with_state_recipe_gap_and_seconds(self):
        lines = self.shown(DONE).splitlines()
        assert any(line.split() == ["file", "state", "recipe", "gap", "seconds"] for line in lines)
        assert any(
            line.split() == ["stm_1.tif", "done", "stm-scratches", "9.9e-05", "1.23"] for line in lines
        )

    def test_the_reason_of_a_failure_is_under_its_row(self):
        lines = [line.rstrip() for line in self.shown(DONE, FAILED, DONE).split("file ")[-1].splitlines()]
        (at,) = [n for n, line in enumerate(lines) if line.startswith("stm_2.tif")]
        assert lines[at + 1] == "  stm_2.tif is damaged. Copy it again."

    def test_a_long_name_leaves_room_for_the_rest(self):
        long = replace(DONE, path=Path("scans", f"{'a_long_name_' * 9}.tif"))
        rows = [line for line in self.shown(long).splitlines() if line.startswith("a_long")]
        assert rows
        assert all(len(row.rstrip()) <= 100 and row.rstrip().endswith("1.23") for row in rows)

    def test_notes_are_shown_once_below_the_table(self):
        last = self.shown(DONE, Change(Path("stm_2.tif"), "done", outcomes=(OUTCOME,))).split("file ")[-1]
        assert last.count("3 of 32 rows were left out.") == 1

    def test_a_row_follows_its_file_from_state_to_state(self):
        last = self.shown(QUEUED, Change(SCAN, "running", "stm-scratches"), DONE).split("file ")[-1]
        assert last.count("stm_1.tif") == 1
        assert "done" in last
        assert "queued" not in last

    def test_an_image_that_is_current_says_so(self):
        shown = self.shown(Change(SCAN, "done", "stm", outcomes=(DONE_BEFORE,)))
        assert "before" in shown
        assert "before s" not in shown

    def test_a_gap_that_was_not_reached_is_marked(self):
        assert "5.0e-01 (not reached)" in self.shown(Change(SCAN, "done", "stm", outcomes=(NOT_REACHED,)))

    def test_the_newest_of_many_files_are_rows_and_all_are_counted(self):
        many = [Change(Path(f"stm_{number:03}.tif"), "done") for number in range(100)]
        last = self.shown(*many, FAILED).split("file ")[-1]
        assert "stm_099.tif" in last
        assert "stm_000.tif" not in last
        assert "100 done  1 failed" in last


class TestLines:
    @pytest.fixture
    def console(self):
        return redirected()

    def test_a_finished_file_is_a_line(self, console):
        lines = Lines(console)
        for change in (QUEUED, Change(SCAN, "running", "stm-scratches"), DONE):
            lines.changed(change)
        assert console.file.getvalue() == (
            "stm_1.tif  done  stm-scratches  gap 9.9e-05  1.23 s  3 of 32 rows were left out.\n"
        )

    def test_a_fault_is_in_its_line_however_long_and_counts_as_reported(self, console):
        change = Change(SCAN, "failed", "stm-scratches", reason="This [sentence] is very long. " * 9)
        lines = Lines(console)
        lines.changed(change)
        (line,) = console.file.getvalue().splitlines()
        assert line.endswith(change.reason.strip())
        assert lines.reported == {SCAN}

    def test_only_faults_are_shown_when_quiet(self, console):
        lines = Lines(console, only_faults=True)
        lines.changed(DONE)
        lines.changed(FAILED)
        assert console.file.getvalue().splitlines() == [
            "stm_2.tif  failed  stm-scratches  stm_2.tif is damaged. Copy it again."
        ]


class TestJsonLines:
    def test_each_finished_file_is_one_object_with_all_fields(self, capsys):
        lines = JsonLines()
        for change in (QUEUED, DONE, FAILED):
            lines.changed(change)
        done, failed = map(json.loads, capsys.readouterr().out.splitlines())
        assert Path(done["file"]) == SCAN
        assert (done["state"], done["recipe"], done["reason"]) == ("done", "stm-scratches", "")
        (image,) = done["images"]
        assert image["state"] == "restored"
        assert (image["gap"], image["seconds"], image["notes"]) == (9.87e-05, 1.234, list(OUTCOME.notes))
        assert (failed["reason"], failed["images"]) == (FAILED.reason, [])


class TestProblems:
    def test_it_appears_above_the_table_and_stays(self):
        console = terminal()
        with LiveTable(console) as table:
            table.problems(["The disk is nearly full."], [], [])
            table.changed(DONE)
        assert re.search(r"\d\d:\d\d  The disk is nearly full\.", written(console))

    def test_it_is_a_line_even_when_quiet(self):
        console = redirected()
        Lines(console, only_faults=True).problems(["The disk is nearly full."], [], [])
        assert console.file.getvalue() == "The disk is nearly full.\n"

    def test_it_is_not_among_the_json_lines(self, capsys):
        JsonLines().problems(["The disk is nearly full."], [], [])
        assert capsys.readouterr() == ("", "The disk is nearly full.\n")


BAD = Entry(
    Path("/scans/stm_2.tif"),
    "0" * 64,
    "",
    1,
    1,
    State.QUARANTINED,
    reason="stm_2.tif is damaged.",
    updated=NOW.isoformat(),
    first_seen=NOW.isoformat(),
)
OVERVIEW = Overview(
    counts=dict.fromkeys(State, 0) | {State.DONE: 1204, State.QUEUED: 10, State.QUARANTINED: 2},
    oldest_waiting=replace(BAD, path=Path("/scans/stm_9.tif"), state=State.QUEUED),
    last_error=BAD,
    done_last_hour=37,
    seconds_per_file=0.853,
    next_retry="",
)
DISK = Problem("disk", "The disk is nearly full. Make room.")


class TestStatus:
    def shown(self, **changes):
        console = Console(file=StringIO(), force_terminal=False, width=80)
        console.print(
            reports.status(replace(Status(Path("/archive"), "alive", WELL, OVERVIEW, ()), **changes))
        )
        return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]

    def test_the_status_fits_80_columns(self):
        lines = self.shown()
        assert any(re.fullmatch(r"watch alive since [\d: -]+, process 42 on lab-3", line) for line in lines)
        for line in (
            f"folder {Path('/scans')} (native observer)",
            "dashboard http://127.0.0.1:4200",
            "disk 100.0 GB of 1.0 TB are free",
            "done 1204 37 in the last hour, 0.85 s each",
            "quarantined 2",
            "stm_2.tif is damaged.",
            "All is well.",
        ):
            assert line in lines
        assert any(line.startswith("queued 10 the oldest since ") and "stm_9.tif" in line for line in lines)

    def test_problems_come_last_each_as_an_item(self):
        lines = self.shown(problems=(DISK,))
        assert lines[-2:] == ["Needs attention:", "- The disk is nearly full. Make room."]

    def test_a_stalled_watch_shows_since_when(self):
        beat = replace(WELL, since_turn=3600.0)
        when = moment(NOW - timedelta(hours=1))
        assert f"watch stalled since {when}, process 42 on lab-3" in self.shown(
            life="stalled", heartbeat=beat
        )

    def test_without_heartbeat_and_ledger_it_shows_what_it_can(self):
        lines = self.shown(life=None, heartbeat=None, overview=None, problems=(DISK,))
        assert "watch no heartbeat found" in lines

    def test_all_of_it_is_in_the_record(self):
        record = Status(Path("/archive"), "alive", WELL, OVERVIEW, (DISK,)).record
        assert json.loads(json.dumps(record)) == record
        assert (record["healthy"], record["watch"]["process"]) == (False, 42)
        assert record["files"]["counts"]["done"] == 1204
        assert record["files"]["last_error"]["reason"] == "stm_2.tif is damaged."
        assert record["server"] == {"url": "http://127.0.0.1:4200/api", "answers": True}


class TestFindings:
    def shown(self, *findings):
        console = Console(file=StringIO(), force_terminal=False, width=80)
        console.print(reports.findings(findings))
        return [line.rstrip() for line in console.file.getvalue().splitlines()]

    def test_each_finding_has_a_level_a_sentence_and_advice(self):
        lines = self.shown(
            Finding("folder", "ok", "It can be read."),
            Finding("disk", "fail", "It is full.", "Make room."),
        )
        assert lines[0].split() == ["ok", "folder", "It", "can", "be", "read."]
        assert lines[2].strip() == "→ Make room."
        assert lines[-1] == "Fix the failed checks, then start the watch."

    @pytest.mark.parametrize(
        ("level", "verdict"),
        [("ok", "A watch can work."), ("warn", "A watch can work, but read the warnings.")],
    )
    def test_the_verdict_is_the_last_line(self, level, verdict):
        assert self.shown(Finding("disk", level, "It is a disk."))[-1] == verdict


class TestChoice:
    def test_a_terminal_gets_the_table_and_a_file_the_lines(self, monkeypatch):
        monkeypatch.setattr(progress, "console", terminal())
        assert isinstance(watch_display(quiet=False, as_json=False), LiveTable)
        monkeypatch.setattr(progress, "console", redirected())
        assert isinstance(watch_display(quiet=False, as_json=False), Lines)

    def test_json_and_quiet_hold_on_a_terminal_too(self, monkeypatch):
        monkeypatch.setattr(progress, "console", terminal())
        assert isinstance(watch_display(quiet=True, as_json=True), JsonLines)
        assert isinstance(watch_display(quiet=True, as_json=False), Lines)


def test_a_summary_shows_names_and_notes_literally(tmp_path):
    image = Micrograph(np.eye(8), notes=("Channel [red] was left out.",))
    path = archive.write(restore(image, Recipe(median=Median())), tmp_path)
    console = redirected()
    console.print(reports.summary(archive.summary(path)))
    assert "Channel [red] was left out." in " ".join(console.file.getvalue().split())
