"""The log of a watch: its content, and what it survives."""

import logging
import re
import sys
from pathlib import Path

import pytest

from tvtasks.acquisition.log import FILES, SIZE, ChangeLog, logging_to
from tvtasks.archive.folder import log_path
from tvtasks.errors import ArchiveError
from tvtasks.outcome import Change, Outcome

OUTCOME = Outcome(
    name="stm_1.tif",
    recipe="stm-scratches",
    archive=Path("archive/stm_1__x.nxs"),
    gap=9.87e-05,
    converged=True,
    seconds=1.234,
)
SCANS = Path("/scans")
DONE = Change(SCANS / "sub" / "stm_1.tif", "done", "stm-scratches", outcomes=(OUTCOME,))
BAD = Change(SCANS / "stm_2.tif", "quarantined", "stm-scratches", reason="stm_2.tif is damaged.")


def log_change(change, folder):
    ChangeLog(folder).changed(change)


def lines(archive):
    return log_path(archive).read_text("utf-8").splitlines()


class TestLines:
    def test_a_finished_file_is_one_line_with_everything_that_matters(self, tmp_path):
        with logging_to(tmp_path):
            for change in (Change(DONE.path, "running", "stm-scratches"), DONE, BAD):
                log_change(change, SCANS)
        done, bad = lines(tmp_path)
        time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4}  "
        assert re.fullmatch(
            time + r"INFO     sub.stm_1\.tif  done  stm-scratches  gap 9\.9e-05  1\.23 s  stm_1__x\.nxs", done
        )
        assert re.fullmatch(
            time + r"WARNING  stm_2\.tif  quarantined  stm-scratches  stm_2\.tif is damaged\.", bad
        )

    def test_problems_are_logged_but_messages_of_other_packages_are_not(self, tmp_path):
        with logging_to(tmp_path):
            logging.getLogger("tvtasks.health.heartbeat").warning("The disk is nearly full.")
            logging.getLogger("prefect.client").error("Something about a server")
            logging.getLogger().error("Something about something")
        (line,) = lines(tmp_path)
        assert line.endswith("WARNING  The disk is nearly full.")

    def test_a_name_with_a_line_break_or_invalid_unicode_is_one_line(self, tmp_path):
        with logging_to(tmp_path):
            log_change(Change(SCANS / "a\nb.tif", "done"), SCANS)
            log_change(Change(SCANS / "caf\udce9 λ.tif", "done"), SCANS)
        first, second = lines(tmp_path)
        assert "a b.tif  done" in first
        assert r"caf\udce9 λ.tif" in second

    def test_a_defect_has_its_traceback(self, tmp_path):
        with logging_to(tmp_path):
            try:
                raise ZeroDivisionError("no")
            except ZeroDivisionError:
                logging.getLogger("tvtasks.acquisition.loop").exception("stm_1.tif could not be restored")
        assert "Traceback (most recent call last):" in lines(tmp_path)
        assert "ZeroDivisionError: no" in lines(tmp_path)

    def test_logging_is_as_before_afterwards(self, tmp_path):
        ours = logging.getLogger("tvtasks")
        before = (ours.level, list(ours.handlers))
        with logging_to(tmp_path):
            pass
        ours.warning("Nobody hears this.")
        assert (ours.level, ours.handlers) == before
        assert lines(tmp_path) == []


class TestWhatItSurvives:
    def test_its_size_is_bounded_however_long_a_watch_runs(self, tmp_path, monkeypatch):
        monkeypatch.setattr("tvtasks.acquisition.log.SIZE", 2000)
        with logging_to(tmp_path):
            for _ in range(300):
                log_change(DONE, SCANS)
        files = sorted(log_path(tmp_path).parent.iterdir())
        assert len(files) == FILES
        assert all(path.stat().st_size <= 2000 for path in files)
        assert FILES * SIZE == 10_000_000

    @pytest.mark.skipif(
        sys.platform == "win32" or not Path("/dev/full").exists(), reason="there is no /dev/full here"
    )
    def test_a_full_disk_costs_lines_and_nothing_else(self, tmp_path, capsys):
        path = log_path(tmp_path)
        path.parent.mkdir(parents=True)
        path.symlink_to("/dev/full")
        with logging_to(tmp_path):
            log_change(DONE, SCANS)
            path.unlink()  # the disk is freed
            log_change(BAD, SCANS)
        (line,) = lines(tmp_path)
        assert "stm_2.tif" in line
        assert capsys.readouterr() == ("", "")

    def test_a_folder_that_cannot_be_created_is_a_sentence(self, tmp_path):
        (tmp_path / ".tvtasks").write_bytes(b"no folder")
        with pytest.raises(ArchiveError, match="cannot be written"), logging_to(tmp_path):
            pass
