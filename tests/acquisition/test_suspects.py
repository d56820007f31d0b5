"""A file that kills every process that reads it: the watch dies once, and the others are restored."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tvtasks.archive.folder import ledger_path
from tvtasks.ledger import Ledger, State

READER = """
import os, signal
from tvtasks.readers.reader import Reader

def read(path, source):
    with open(os.environ["DEATHS"], "a") as deaths:
        deaths.write("dead\\n")
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

READER = Reader("a deadly file", lambda head: head.startswith(b"DEADLY"), read, lambda path: None)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a process with a reader that ends it, as an installed package has one."""
    site = tmp_path / "site"
    information = site / "deadly-1.dist-info"
    information.mkdir(parents=True)
    (site / "deadly.py").write_text(READER)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: deadly\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[tvtasks.readers]\n.deadly = deadly:READER\n")
    return {**os.environ, "PYTHONPATH": str(site), "DEATHS": str(tmp_path / "deaths")}


def test_a_file_that_killed_two_processes_is_quarantined_and_the_others_are_restored(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    scans, archive = tmp_path / "scans", tmp_path / "archive"
    scans.mkdir()
    for number in range(3):
        np.save(scans / f"good_{number}.npy", np.random.default_rng(number).random((12, 16)))
    (scans / "a.deadly").write_bytes(b"DEADLY")
    command = [sys.executable, "-m", "tvtasks.cli", "watch", scans, "--archive", archive]
    command += ["--recipe", "afm-background", "--once", "--no-dashboard", "--settle", "0.05", "--json"]

    def watch() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert watch().returncode < 0 or sys.platform == "win32"
    second = watch()
    assert second.returncode == 1, second.stderr
    tally = json.loads(second.stdout.splitlines()[-1])
    assert "a.deadly ended the process that restored it, twice" in tally["failed"][str(scans / "a.deadly")]
    with Ledger(ledger_path(archive)) as ledger:
        states = {entry.path.name: entry.state for entry in ledger.entries()}
    assert states == {
        "a.deadly": State.QUARANTINED,
        **{f"good_{number}.npy": State.DONE for number in range(3)},
    }
    assert Path(environment["DEATHS"]).read_text().count("dead") == 2
    third = watch()
    assert third.returncode == 1
    assert Path(environment["DEATHS"]).read_text().count("dead") == 2, "nobody asked to try it again"
