import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from shutil import copy

import pytest

import tvtasks
from tvtasks import Micrograph, Recipe, Restoration, writers
from tvtasks.archive import Identity, find, load, remove_partials, summary, write
from tvtasks.errors import ArchiveError

HOUR = timedelta(hours=1)

KILLED = """
import os, sys
from pathlib import Path
import numpy as np
from tvtasks import archive, restore, Recipe

os.fsync = lambda descriptor: os._exit(9)  # everything is written, nothing is certain yet
image = np.arange(100.0).reshape(10, 10)
archive.write(restore(image, Recipe.model_validate({"median": {}})), Path(sys.argv[1]))
"""


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


class TestWrite:
    def test_the_file_has_its_name_and_nothing_else_is_left(
        self, restoration: Restoration, micrograph: Micrograph, recipe: Recipe, tmp_path: Path
    ) -> None:
        path = write(restoration, tmp_path / "new" / "folder")
        assert path == Identity.of(micrograph, recipe).path(tmp_path / "new" / "folder")
        assert names(path.parent) == [path.name]

    def test_context_is_kept(self, restoration: Restoration, tmp_path: Path) -> None:
        context = {"flow_run": {"id": "0193", "name": "brave-otter"}, "attempt": 2}
        assert summary(write(restoration, tmp_path, context=context))["context"] == context

    def test_work_that_was_done_is_left_untouched(self, restoration: Restoration, tmp_path: Path) -> None:
        path = write(restoration, tmp_path)
        before = path.read_bytes(), path.stat().st_mtime_ns
        assert write(restoration, tmp_path) == path
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before

    def test_a_name_taken_by_another_run_is_not_overwritten(
        self, restoration: Restoration, recipe: Recipe, tmp_path: Path
    ) -> None:
        path = write(restoration, tmp_path)
        other = replace(restoration, recipe=recipe.model_copy(update={"scale": "max"}))
        in_the_way = Identity.of(other.micrograph, other.recipe).path(tmp_path)
        copy(path, in_the_way)
        with pytest.raises(ArchiveError, match="belongs to another run"):
            write(other, tmp_path)
        assert in_the_way.read_bytes() == path.read_bytes()

    @pytest.mark.parametrize("left", [0, 1000, -1])
    def test_a_damaged_file_is_kept_aside_and_made_again(
        self, restoration: Restoration, tmp_path: Path, left: int
    ) -> None:
        path = write(restoration, tmp_path)
        whole = path.read_bytes()
        for name in (path.name, f"{path.stem}.1.nxs"):
            path.write_bytes(whole[:left])
            assert find(tmp_path, Identity.of(restoration.micrograph, restoration.recipe)) is None
            assert write(restoration, tmp_path) == path
            assert load(path).restored.shape == restoration.restored.shape
            assert (tmp_path / ".tvtasks" / "damaged" / name).read_bytes() == whole[:left]


class TestFailure:
    def test_a_kill_leaves_no_file_under_the_name_and_the_next_run_is_not_disturbed(
        self, tmp_path: Path
    ) -> None:
        def run(script: str) -> int:
            command = [sys.executable, "-c", script, tmp_path]
            return subprocess.run(command, cwd=Path(tvtasks.__file__).parents[1], check=False).returncode

        assert run(KILLED) == 9
        (left,) = tmp_path.iterdir()
        name = left.name.removeprefix(".").split(".partial-")[0]
        assert name.endswith(".nxs")
        assert name != left.name
        assert run(KILLED.replace("os._exit(9)", "None")) == 0
        assert load(tmp_path / name).raw.shape == (10, 10)
        assert left.exists()  # it could be that of another process

    def test_a_full_disk_is_a_sentence_and_leaves_nothing(
        self, restoration: Restoration, tmp_path: Path
    ) -> None:
        resource = pytest.importorskip("resource", reason="Windows has no limit on the size of a file")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        try:
            with pytest.raises(ArchiveError, match=r"cannot be written: .*has 0\.\d MB of free space"):
                write(restoration, tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert names(tmp_path) == []

    def test_what_the_disk_did_not_keep_does_not_get_the_name(
        self, restoration: Restoration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "fsync", lambda descriptor: os.ftruncate(descriptor, 20_000))
        with pytest.raises(ArchiveError, match="reading it back failed"):
            write(restoration, tmp_path)
        assert names(tmp_path) == []

    def test_an_interruption_leaves_nothing(
        self, restoration: Restoration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(_: Path) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("tvtasks.archive.store.load", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write(restoration, tmp_path)
        assert names(tmp_path) == []

    @pytest.mark.parametrize("below", ["", "below"])
    def test_a_directory_that_is_a_file(self, restoration: Restoration, tmp_path: Path, below: str) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(ArchiveError, match=r"cannot be written: .*write to the folder"):
            write(restoration, tmp_path / "file" / below)

    @pytest.mark.skipif(
        sys.platform == "win32" or os.geteuid() == 0,
        reason="nothing is forbidden to root; Windows has no modes",
    )
    def test_a_directory_without_permission(self, restoration: Restoration, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(ArchiveError, match="cannot be written: Permission denied"):
            write(restoration, tmp_path)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="the writer that is killed is forked")
    def test_kills_at_any_moment_leave_no_half_file_and_the_next_start_tidies_up(self) -> None:
        from tests.benchmarks.archive import kills

        found = kills(12, seed=1)
        assert (found.half, found.left) == (0, 0)


class TestFind:
    def test_a_finished_file_is_found(
        self, restoration: Restoration, micrograph: Micrograph, recipe: Recipe, tmp_path: Path
    ) -> None:
        assert find(tmp_path, Identity.of(micrograph, recipe)) is None
        path = write(restoration, tmp_path)
        assert find(tmp_path, Identity.of(micrograph, recipe)) == path
        assert find(tmp_path, Identity.of(micrograph, recipe.model_copy(update={"scale": "max"}))) is None

    def test_a_damaged_file_is_not_found(
        self, restoration: Restoration, micrograph: Micrograph, recipe: Recipe, tmp_path: Path
    ) -> None:
        path = write(restoration, tmp_path)
        path.write_bytes(path.read_bytes()[:-1])
        assert find(tmp_path, Identity.of(micrograph, recipe)) is None


class TestRemovePartials:
    def test_that_of_a_process_that_ended_goes_at_once_and_that_of_a_living_one_stays(
        self, tmp_path: Path
    ) -> None:
        number = subprocess.Popen([sys.executable, "-c", ""])
        number.wait()
        place = writers.name().partition("-")[0]
        dead = tmp_path / f".a.nxs.partial-{place}-{number.pid}-0123456789ab"
        living = tmp_path / f".a.nxs.partial-{writers.name()}-0123456789ab"
        elsewhere = tmp_path / f".a.nxs.partial-00000000-{number.pid}-0123456789ab"
        for path in (dead, living, elsewhere):
            path.write_bytes(b"half")
        assert remove_partials(tmp_path, HOUR) == [dead]
        assert names(tmp_path) == sorted([living.name, elsewhere.name])

    def test_only_old_left_overs_go(self, restoration: Restoration, tmp_path: Path) -> None:
        finished = write(restoration, tmp_path)
        old = tmp_path / f".{finished.name}.partial-0123"
        young = tmp_path / f".{finished.name}.partial-4567"
        foreign = tmp_path / ".notes.partial-1"
        picture = tmp_path / f".{finished.stem}.png.partial-0123"
        for path in (old, young, foreign, picture):
            path.write_bytes(b"half")
        two_hours_ago = young.stat().st_mtime - 7200
        for path in (old, foreign, finished, picture):
            os.utime(path, (two_hours_ago, two_hours_ago))
        assert remove_partials(tmp_path, HOUR) == [old, picture]
        assert names(tmp_path) == sorted([finished.name, young.name, foreign.name])

    def test_a_folder_that_is_not_there_has_none(self, tmp_path: Path) -> None:
        assert remove_partials(tmp_path / "none", HOUR) == []
