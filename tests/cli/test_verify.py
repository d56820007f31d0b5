import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from shutil import copy

import numpy as np
import pytest
from typer.testing import CliRunner

from tvtasks import Recipe, restore
from tvtasks.archive import write
from tvtasks.cli.app import app

run = CliRunner().invoke


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scan = np.random.default_rng(0).random((16, 20))
    return write(restore(scan, Recipe.model_validate({"median": {}})), tmp_path_factory.mktemp("original"))


@pytest.fixture
def archive(original: Path, tmp_path: Path) -> Path:
    """Return a folder with a file, one in a subfolder, and an unfinished one."""
    below = tmp_path / "archive" / "2024"
    below.mkdir(parents=True)
    copy(original, below)
    copy(original, below.parent)
    (below / f".{original.name}.partial-0").write_bytes(b"half")
    (below / f".{original.name}").write_bytes(b"hidden")
    return below.parent


def test_intact_files_pass(archive: Path) -> None:
    found = run(app, ["verify", str(archive)])
    assert found.exit_code == 0
    assert "2 files: 2 unchanged; 0 with something wrong." in found.stdout


def test_a_damaged_file_is_named_and_the_others_are_checked(archive: Path, original: Path) -> None:
    bad = archive / "2024" / original.name
    content = bytearray(bad.read_bytes())
    content[2000] ^= 1
    bad.write_bytes(content)
    found = run(app, ["verify", str(archive), "--workers", "1"])
    assert found.exit_code == 1
    assert str(bad) in found.stderr
    assert "1 with something wrong" in found.stdout
    quiet = run(app, ["verify", str(archive), "--quiet", "--workers", "1"])
    assert (quiet.exit_code, quiet.stdout) == (1, "")


def test_results_are_reproduced(archive: Path) -> None:
    found = run(app, ["verify", str(archive), "--recompute", "--workers", "1"])
    assert found.exit_code == 0
    assert found.stderr.count("reproduced bit for bit") == 2


def test_json(archive: Path, original: Path) -> None:
    (archive / "rubbish.nxs").write_bytes(b"rubbish")
    found = run(app, ["verify", str(archive), "--json", "--recompute", "--workers", "1"])
    assert found.exit_code == 1
    record = json.loads(found.stdout)
    assert (record["checked"], record["wrong"]) == (3, 1)
    whole = {Path(file["file"]).name: file["whole"] for file in record["files"]}
    assert whole == {original.name: True, "rubbish.nxs": False}


@pytest.mark.parametrize("what", ["nothing", "empty"])
def test_nothing_to_check_is_an_error(tmp_path: Path, what: str) -> None:
    (tmp_path / "empty").mkdir()
    command = [sys.executable, "-m", "tvtasks.cli", "verify", str(tmp_path / what)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert found.stderr.startswith("tvtasks: There is no ")


@pytest.mark.skipif(sys.platform == "win32", reason="a named pipe keeps the command busy")
def test_ctrl_c_ends_it_without_a_traceback(tmp_path: Path) -> None:
    pipe, endless = tmp_path / "a.nxs", tmp_path / "b.nxs"
    os.mkfifo(pipe)
    os.mkfifo(endless)  # nobody ever writes to it
    command = [sys.executable, "-m", "tvtasks.cli", "verify", str(pipe), str(endless)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        pipe.open("wb"),  # opened once the examiner has opened it
    ):
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    assert process.returncode not in {0, 1}
    assert "Traceback" not in stderr
    assert "damaged" not in stderr
