"""Results that vanish, or that someone changes: found, named and made again. All files are real."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.archive.forge import sealed_again
from tvtasks.acquisition.loop import acquire
from tvtasks.archive.folder import damaged_folder, ledger_path, seal_log_path
from tvtasks.archive.seals import read_seals
from tvtasks.cli.app import app
from tvtasks.errors import ArchiveError, ConfigurationError
from tvtasks.health.heartbeat_writer import HeartbeatWriter
from tvtasks.health.results import check_and_queue, examine_archive, find_lost
from tvtasks.ledger import Ledger, State
from tvtasks.options import WatchOptions
from tvtasks.recipe import Recipe
from tvtasks.recipe_book import RecipeBook
from tvtasks.rerun import Request
from tvtasks.workflow import restore_file

MEDIAN = Recipe.model_validate({"median": {}})
RECIPES = RecipeBook((("*", MEDIAN),))
NAMES = ("a.npy", "b.npy", "c.npy")


class Watched:
    """A folder with three images, and the archive of a watch that restores them."""

    def __init__(self, root: Path) -> None:
        self.folder, self.archive = root / "scans", root / "archive"
        self.folder.mkdir()
        for number, name in enumerate(NAMES):
            np.save(self.folder / name, np.random.default_rng(number).random((12, 16)))
        self.watch()

    def watch(self) -> None:
        """Watch until nothing is left to do."""
        options = WatchOptions(
            folder=self.folder, archive=self.archive, recipes=(), once=True, settle=0.01, workers=1
        )
        tally = acquire(options, RECIPES, restore_file)
        assert not tally.failed

    def result(self, name: str) -> Path:
        (found,) = self.archive.glob(f"{Path(name).stem}__*.nxs")
        return found

    def states(self) -> dict[str, State]:
        with Ledger(ledger_path(self.archive)) as ledger:
            return {entry.path.name: entry.state for entry in ledger.entries()}

    def check(self, **how: bool) -> list[str]:
        with Ledger(ledger_path(self.archive)) as ledger:
            return [item.reason for item in check_and_queue(ledger, self.archive, **how)]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    yield Watched(tmp_path)


def rot(path: Path) -> None:
    """Change a byte without a trace in the file's size and times."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[2500] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def forge(path: Path) -> None:
    """Edit a parameter, and seal the file again."""
    with h5py.File(path, "r+") as file:
        file["/entry/scaling/factor"][()] = 2.0
    path.write_bytes(sealed_again(path.read_bytes()))


HARM: dict[str, tuple[Callable[[Path], object], str]] = {
    "deleted": (lambda path: path.unlink(), "missing"),
    "emptied": (lambda path: path.write_bytes(b""), "empty"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:3000]), "damaged"),
    "another": (lambda path: path.write_bytes(b"rubbish" * 1000), "damaged"),
    "edited and sealed again": (forge, "damaged"),
}


class TestWatch:
    @pytest.mark.parametrize("how", HARM)
    def test_the_next_start_makes_lost_results_again(
        self, watched: Watched, how: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        harm, word = HARM[how]
        lost, kept = watched.result("b.npy"), watched.result("a.npy")
        before = kept.stat().st_mtime_ns
        harm(lost)
        was = lost.read_bytes() if lost.exists() else None
        watched.watch()
        assert f"b.npy: its result {lost.name} is {word}." in caplog.text
        assert set(watched.states().values()) == {State.DONE}
        assert watched.check(deep=True) == []
        assert not any(found.is_fault for all_ in examine_archive(watched.archive).values() for found in all_)
        assert kept.stat().st_mtime_ns == before
        aside = damaged_folder(watched.archive) / lost.name
        assert (aside.read_bytes() if was is not None else None) == was

    def test_rot_without_a_trace_is_found_by_a_deep_check(self, watched: Watched) -> None:
        rot(watched.result("c.npy"))
        assert watched.check() == []
        (reason,) = watched.check(deep=True)
        assert reason.startswith("c.npy: its result c__")
        watched.watch()
        assert watched.check(deep=True) == []

    def test_a_copied_archive_is_read_once_and_accepted(self, watched: Watched) -> None:
        moved = watched.archive.with_name("moved")
        shutil.copytree(watched.archive, moved, copy_function=shutil.copyfile)
        with Ledger(ledger_path(moved)) as ledger:
            assert find_lost(ledger, moved) == []
            recorded = {output.mtime_ns for entry in ledger.entries() for output in entry.outputs}
        assert recorded == {path.stat().st_mtime_ns for path in moved.glob("*.nxs")}

    def test_a_lost_result_of_a_lost_image_is_quarantined_until_one_is_back(self, watched: Watched) -> None:
        image, result = watched.folder / "a.npy", watched.result("a.npy")
        content = result.read_bytes()
        image.unlink()
        result.write_bytes(content[:-5])
        assert len(watched.check()) == 1
        assert watched.states()["a.npy"] is State.QUARANTINED
        assert result.read_bytes() == content[:-5], "a damaged result is better than none"
        result.write_bytes(content)
        assert watched.check() == []
        assert watched.states()["a.npy"] is State.DONE

    def test_of_two_files_with_the_same_content_the_one_that_exists_is_restored(
        self, watched: Watched
    ) -> None:
        shutil.copy(watched.folder / "a.npy", watched.folder / "d.npy")
        watched.watch()
        (watched.folder / "a.npy").unlink()
        watched.result("a.npy").unlink()
        watched.watch()
        assert watched.states() == {
            "a.npy": State.OVERWRITTEN,
            "b.npy": State.DONE,
            "c.npy": State.DONE,
            "d.npy": State.DONE,
        }
        assert watched.result("d.npy").exists()

    def test_an_archive_that_is_not_there_says_nothing_about_its_results(self, watched: Watched) -> None:
        shutil.copy(ledger_path(watched.archive), watched.folder.parent / "ledger.sqlite")
        empty = watched.folder.parent / "empty"
        empty.mkdir()
        with Ledger(watched.folder.parent / "ledger.sqlite") as ledger:
            with pytest.raises(ArchiveError, match="may not be connected"):
                check_and_queue(ledger, empty)
            assert {entry.state for entry in ledger.entries()} == {State.DONE}


class TestCommands:
    def test_status_checks_and_names(self, watched: Watched) -> None:
        watched.result("a.npy").unlink()
        rot(watched.result("b.npy"))
        found = CliRunner().invoke(app, ["status", str(watched.archive)])
        assert "missing" not in found.output
        found = CliRunner().invoke(app, ["status", str(watched.archive), "--check"])
        assert found.exit_code == 1
        assert "a.npy: its result a__" in found.output
        found = CliRunner().invoke(app, ["status", str(watched.archive), "--deep", "--json"])
        (lost,) = json.loads(found.stdout)["lost"]
        assert "b.npy" in lost["reason"]
        assert watched.states() == {"a.npy": State.QUEUED, "b.npy": State.QUEUED, "c.npy": State.DONE}
        watched.watch()
        assert (
            "all results are there"
            in CliRunner().invoke(app, ["status", str(watched.archive), "--deep"]).output
        )

    def test_retry_makes_a_lost_result_again_and_leaves_a_good_one(self, watched: Watched) -> None:
        rot(watched.result("c.npy"))
        image = str(watched.folder / "c.npy")
        assert CliRunner().invoke(app, ["retry", str(watched.archive), image]).exit_code == 0
        assert watched.states()["c.npy"] is State.QUEUED
        again = CliRunner().invoke(app, ["retry", str(watched.archive), image])
        assert again.exit_code == 0
        assert "c.npy waits to be restored already" in again.output
        found = CliRunner().invoke(app, ["retry", str(watched.archive), str(watched.folder / "a.npy")])
        assert found.exit_code == 1
        assert "as they were written" in found.output

    def test_exports_into_the_watched_folder_are_refused(
        self, watched: Watched, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options = WatchOptions(folder=watched.folder, archive=watched.archive, recipes=())
        with HeartbeatWriter(options):
            pass
        result = str(watched.result("a.npy"))
        monkeypatch.chdir(watched.folder)
        for words in (["--output", str(watched.folder)], []):
            found = CliRunner().invoke(app, ["export", result, "--format", "tiff", *words])
            assert isinstance(found.exception, ConfigurationError)
            assert "output folder cannot be the watched folder" in str(found.exception)
        found = CliRunner().invoke(app, ["export", result, "--format", "tiff", "--output", "../exported"])
        assert found.exit_code == 0, found.output

    def test_verify_names_what_no_single_file_shows(self, watched: Watched) -> None:
        a, b, c = (watched.result(name) for name in NAMES)
        a.unlink()
        wrong = b.rename(b.with_name(f"{b.stem[:-12]}{'0' * 12}.nxs"))
        forge(c)
        b.with_suffix(".png").rename(wrong.with_suffix(".png"))
        wrong.with_suffix(".png").write_bytes(b"another picture")
        c.with_suffix(".png").unlink()
        found = CliRunner().invoke(app, ["verify", str(watched.archive), "--workers", "1"])
        assert found.exit_code == 1
        for sentence in (
            f"{a} is missing: it is the result of a.npy",
            f"{b} is missing",
            f"{wrong} has the name of another run",
            f"{c} was changed and sealed again",
            f"{wrong.with_suffix('.png')} was changed",
            f"{c.with_suffix('.png')} is missing",
        ):
            assert sentence in found.stderr, found.stderr

    def test_restore_draws_a_missing_picture_again(self, watched: Watched) -> None:
        picture = watched.result("a.npy").with_suffix(".png")
        picture.unlink()
        recipe = watched.folder.parent / "m.toml"
        recipe.write_text("[median]\n")
        words = ["restore", str(watched.folder), "--archive", str(watched.archive), "--recipe", str(recipe)]
        found = CliRunner().invoke(app, [*words, "--no-dashboard"])
        assert found.exit_code == 0, found.output
        assert picture.exists()
        assert (
            CliRunner().invoke(app, ["verify", str(watched.archive), "--quiet", "--workers", "1"]).exit_code
            == 0
        )

    @pytest.mark.parametrize("how", HARM)
    def test_a_plan_never_calls_a_harmed_file_current(self, watched: Watched, how: str) -> None:
        request = Request((watched.folder,), (MEDIAN,), watched.archive)
        assert request.plan().counts["current"] == 3
        HARM[how][0](watched.result("b.npy"))
        assert request.plan().counts["current"] == 2


class TestLog:
    def test_each_result_is_in_it_and_its_lines_follow_from_each_other(self, watched: Watched) -> None:
        log = read_seals(watched.archive)
        assert (set(log.lines), log.broken) == ({path.name for path in watched.archive.glob("*.nxs")}, ())

    @pytest.mark.parametrize("number", [0, 1])
    def test_a_line_that_is_changed_or_taken_out_shows(self, watched: Watched, number: int) -> None:
        path = seal_log_path(watched.archive)
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:number] + lines[number + 1 :]))
        assert read_seals(watched.archive).broken == (number + 1,)
        changed = [
            line.replace(b'"size": ', b'"size": 1') if line is lines[number] else line for line in lines
        ]
        path.write_bytes(b"".join(changed))
        assert read_seals(watched.archive).broken == (number + 2,)
        found = CliRunner().invoke(app, ["verify", str(watched.archive), "--workers", "1"])
        assert "The log of seals" in found.stderr
        assert found.exit_code == 1

    def test_a_line_that_a_power_failure_cut_short_breaks_nothing(self, watched: Watched) -> None:
        path = seal_log_path(watched.archive)
        path.write_bytes(path.read_bytes()[:-20])
        watched.result("a.npy").unlink()
        watched.watch()
        log = read_seals(watched.archive)
        assert (log.broken, log.torn) == ((), 1)
        assert CliRunner().invoke(app, ["verify", str(watched.archive), "--workers", "1"]).exit_code == 0
