"""Nothing that a file is called reaches the terminal as a command."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.live import Live
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

from tvtasks.acquisition.log import logging_to
from tvtasks.archive.folder import log_path
from tvtasks.cli.app import app
from tvtasks.cli.progress import JsonLines, LiveTable
from tvtasks.cli.terminal import SafeConsole
from tvtasks.ledger.retries import logger
from tvtasks.outcome import Change
from tvtasks.words import in_a_line, safe_json, visible

HOSTILE = "a\x1b]0;owned\x07\x1b[2J\x9b31m\u202etab\x7f\r[bold].npy"
DANGER = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
OWN = re.compile(r"\x1b\[[\d;?]*[A-Za-z]|\r")  # what rich itself sends: colours and movements

needs_any_name = pytest.mark.skipif(sys.platform == "win32", reason="Windows forbids such names")


def terminal() -> SafeConsole:
    found = SafeConsole(width=200)
    found.file = io.StringIO()
    found._force_terminal = True
    found._color_system = None
    return found


def shown(console: SafeConsole) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


class TestConsole:
    @pytest.mark.parametrize("wrap", [str, Text])
    def test_text_and_tables_show_escape_sequences(self, wrap: type) -> None:
        console = terminal()
        table = Table()
        table.add_column(wrap(HOSTILE))
        table.add_row(wrap(HOSTILE))
        console.print(wrap(HOSTILE))
        console.print(table)
        assert not DANGER.search(shown(console).replace("\r", ""))
        assert r"\x1b]0;owned" in shown(console)
        assert "[bold].npy" in shown(console)

    def test_a_table_that_redraws_itself_is_safe_too(self) -> None:
        console = terminal()
        display = LiveTable(console)
        with display:
            display.changed(Change(Path(HOSTILE), "failed", reason=f"{HOSTILE} is damaged."))
            display.announce(f"{HOSTILE} is damaged.")
            assert isinstance(display._live, Live)
            display._live.refresh()
        assert not DANGER.search(OWN.sub("", shown(console)))
        assert r"\x9b31m" in shown(console)

    @given(st.text())
    def test_what_is_visible_holds_no_control(self, text: str) -> None:
        assert not DANGER.search(visible(text).replace("\t", ""))
        assert not DANGER.search(in_a_line(text))
        assert json.loads(safe_json(json.dumps(text, ensure_ascii=False))) == text

    def test_json_lines_are_safe_and_hold_the_very_name(self, capsys: pytest.CaptureFixture[str]) -> None:
        JsonLines().changed(Change(Path(HOSTILE), "done"))
        out = capsys.readouterr().out
        assert not DANGER.search(out)
        assert json.loads(out)["file"] == HOSTILE


def test_the_log_is_safe_to_read_on_a_terminal(tmp_path: Path) -> None:
    with logging_to(tmp_path):
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            logger.exception("%s could not be restored\n2030-01-01 00:00:00  INFO  All is well.", HOSTILE)
    text = log_path(tmp_path).read_text("utf-8")
    assert not DANGER.search(text)
    assert "\n2030" not in text


@needs_any_name
class TestCommands:
    @pytest.fixture
    def scans(self, tmp_path: Path) -> Path:
        folder = tmp_path / "scans\x1b[1m"
        folder.mkdir()
        np.save(folder / HOSTILE, np.random.default_rng(0).random((12, 16)))
        (folder / f"bad{HOSTILE}").write_bytes(b"no image")
        return folder

    def test_every_command_that_prints_names(self, scans: Path, tmp_path: Path) -> None:
        recipe, archive = tmp_path / "m.toml", tmp_path / "archive\x1b[1m"
        recipe.write_text("[median]\n")
        run = ["--archive", str(archive), "--recipe", str(recipe), "--no-dashboard"]
        quick = ["--once", "--settle", "0.01", "--max-wait", "0.1"]
        result = str(archive / "none\x1b[1m.nxs")
        for words in (
            ["doctor", str(scans), "--archive", str(archive)],
            ["watch", str(scans), *run, *quick],
            ["watch", str(scans), *run, *quick, "--json"],
            ["status", str(archive)],
            ["status", str(archive), "--json"],
            ["restore", str(scans), *run],
            ["list", str(archive)],
            ["list", str(archive), "--json"],
            ["rerun", str(archive), "--recipe", "auto", "--plan"],
            ["verify", str(archive)],
            ["verify", str(archive), "--json"],
            ["show", result],
            ["export", result],
            ["retry", str(archive), "none\x1b[1m"],
            ["show", "--evil\x1b[1m"],
            ["evil\x1b[1m"],
            ["show", result, "more\x1b[1m"],
        ):
            found = CliRunner().invoke(app, words)
            assert not DANGER.search(found.output), (words, found.output)
            if words[0] in {"watch", "restore", "status", "doctor"}:
                assert r"\x1b" in found.output or r"\u001b" in found.output, words

    def test_a_process_of_its_own_with_a_name_that_is_no_unicode(self, tmp_path: Path) -> None:
        (tmp_path / os.fsdecode(b"caf\xe9\x1b[31m.npy")).write_bytes(b"no image")
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tvtasks.cli",
                "restore",
                os.fsencode(tmp_path),
                "--archive",
                tmp_path / "out",
                "--recipe",
                "afm-background",
                "--no-dashboard",
            ],
            capture_output=True,
            check=False,
        )
        assert done.returncode == 1
        assert b"Traceback" not in done.stderr
        assert b"\x1b" not in done.stdout + done.stderr
        assert rb"caf\udce9\x1b[31m.npy" in done.stderr
