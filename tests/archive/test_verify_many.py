import os
import signal
import sys
from pathlib import Path
from shutil import copy

import pytest

from tvtasks import Restoration
from tvtasks.archive import write
from tvtasks.archive.verification import FileFinding
from tvtasks.archive.verify_many import verify


@pytest.fixture(scope="module")
def path(restoration: Restoration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(restoration, tmp_path_factory.mktemp("archive"))


def test_each_file_is_reported_once_and_the_order_is_kept(path: Path, tmp_path: Path) -> None:
    files = [Path(copy(path, tmp_path / f"{number}.nxs")) for number in range(5)]
    files[3].write_bytes(path.read_bytes()[:-1])
    reported: list[Path] = []
    found = verify([*files, files[0]], workers=2, report=lambda file, _: reported.append(file))
    assert list(found) == files
    assert sorted(reported) == files
    assert [file for file in files if found[file]] == [files[3]]


def test_results_are_computed_again_only_where_the_file_is_whole(path: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.nxs"
    bad.write_bytes(path.read_bytes() + b"\0")
    found = verify([path, bad], again=True, workers=1)
    assert ["reproduced bit for bit" in finding.message for finding in found[path]] == [True]
    assert ["was changed" in finding.message for finding in found[bad]] == [True]


def test_a_file_beside_the_archive_is_never_taken_for_a_module(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('not a module')")
    monkeypatch.chdir(tmp_path)
    assert verify([path]) == {path: []}


def test_a_missing_file_is_a_finding(tmp_path: Path) -> None:
    ((finding,),) = verify([tmp_path / "none.nxs"]).values()
    assert finding.is_fault


def test_no_file_is_no_work() -> None:
    assert verify([]) == {}


@pytest.mark.skipif(
    sys.platform == "win32", reason="a named pipe stands for a file that cannot be read to its end"
)
def test_a_file_that_is_never_read_to_its_end_is_given_up_and_the_next_one_is_checked(
    path: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "endless.nxs"
    os.mkfifo(pipe)
    found = verify([pipe, path], workers=1, patience=0.3)
    assert "never finishes reading it" in found[pipe][0].message
    assert found[path] == []


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on Windows")
def test_the_death_of_an_examiner_is_that_of_one_file(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What HDF5 does to a process with some damaged files: it ends it.
    site = tmp_path / "sitecustomize.py"
    site.write_text(
        "import builtins, os, pathlib\n"
        "opened = pathlib.Path.open\n"
        "def open(self, *args, **kwargs):\n"
        "    if self.name == 'deadly.nxs':\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return opened(self, *args, **kwargs)\n"
        "pathlib.Path.open = open\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    deadly = Path(copy(path, tmp_path / "deadly.nxs"))
    found = verify([deadly, path], workers=1)
    assert found[deadly] == [
        FileFinding(
            "damaged",
            "",
            f"{deadly} is damaged: HDF5 crashes on it. "
            "Restore the file from a backup, or restore the image again.",
        )
    ]
    assert found[path] == []
