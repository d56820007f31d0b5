"""The page while a watch runs: a file dropped into the folder appears in an open browser."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.browsing import greys
from tests.gallery.test_page import shown
from tvtasks.acquisition.live_page import LivePage
from tvtasks.archive.folder import page_folder
from tvtasks.options import WatchOptions
from tvtasks.outcome import Change, Outcome

RECIPE = '[background]\nmodel = "huber-rof"\nlam = 0.5\n'


@pytest.fixture
def watch(tmp_path, save_scan):
    """A watch in a process of its own, with one scan in its folder; ended by Ctrl-C."""
    save_scan(tmp_path / "scans" / "stm_1.npy", seed=1)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    command = "watch scans --archive archive --recipe recipe.toml --no-dashboard --settle 0.2 --max-wait 0.5"
    with subprocess.Popen(
        [sys.executable, "-m", "tvtasks.cli", *command.split()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    ) as process:
        yield process
        process.kill()


def wait_for(page, condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)


@pytest.mark.skipif(os.name == "nt", reason="needs Ctrl-C for another process")
def test_a_file_that_is_dropped_appears_within_two_seconds_of_its_result(watch, tmp_path, visit, save_scan):
    archive = tmp_path / "archive"
    lines = [watch.stdout.readline() for _ in range(2)]
    index = archive / "index.html"
    assert f"The newest images: {index.as_uri()}\n" in lines
    for _ in range(600):
        if (page_folder(archive) / "state.js").exists():
            break
        time.sleep(0.1)
    page = visit(index)
    wait_for(page, lambda: shown(page) == ["stm_1.npy"])
    assert "Watching" in page.inner_text("#watch.alive")

    save_scan(tmp_path / "scans" / "stm_2.npy", seed=2)
    wait_for(page, lambda: len(list(archive.glob("stm_2*.png"))) == 1)
    begun = time.monotonic()
    wait_for(page, lambda: shown(page) == ["stm_2.npy", "stm_1.npy"])
    assert time.monotonic() - begun < 4  # 2 on a machine that does nothing else
    assert page.inner_text("#name") == "stm_2.npy"  # the newest is shown large by itself
    wait_for(page, lambda: greys(page, "#stage") > 50)
    assert greys(page, ".thumb[data-name='stm_2.npy'] img") > 30

    # Who looks at an older image keeps it, and learns of newer ones.
    page.keyboard.press("ArrowRight")
    save_scan(tmp_path / "scans" / "stm_3.npy", seed=3)
    wait_for(page, lambda: len(shown(page)) == 3)
    assert page.inner_text("#name") == "stm_1.npy"
    assert page.inner_text("#newest") == "Newest (1 new)"

    (tmp_path / "scans" / "stm_4.png").write_bytes(b"no picture" * 9)
    wait_for(page, lambda: page.is_visible("#unrestored"))
    assert "stm_4.png is named like" in page.inner_text("#unrestored")
    assert "3 done, 1 quarantined" in page.inner_text("#watch")

    watch.send_signal(signal.SIGINT)
    watch.wait(60)
    wait_for(page, lambda: "has ended" in page.inner_text("#watch"))


class TestLivePage:
    @pytest.fixture
    def options(self, tmp_path):
        return WatchOptions(folder=tmp_path / "scans", archive=tmp_path / "archive", recipes=())

    def test_nothing_is_written_while_nothing_happens_except_a_stamp(self, options, put):
        put(options.archive, "stm_1.sxm", 1)
        seconds = [100.0]
        page = LivePage(options, clock=lambda: seconds[0])
        page.publish()
        folder = page_folder(options.archive)
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
        seconds[0] += 1
        page.publish()
        assert {path: path.stat().st_mtime_ns for path in before} == before
        seconds[0] += 5
        page.publish()
        changed = [path.name for path, mtime in before.items() if path.stat().st_mtime_ns != mtime]
        assert changed == ["state.js"]

    def test_runs_of_other_commands_appear_within_a_minute(self, options, put):
        options.archive.mkdir()
        seconds = [100.0]
        page = LivePage(options, clock=lambda: seconds[0])
        page.publish()
        put(options.archive, "stm_1.sxm", 1)
        page.publish()
        assert "stm_1.sxm" not in (page_folder(options.archive) / "newest.js").read_text()
        seconds[0] += 60
        page.publish()
        assert "stm_1.sxm" in (page_folder(options.archive) / "newest.js").read_text()

    def test_what_could_not_be_written_is_written_later(self, options, put):
        options.archive.mkdir()
        page = LivePage(options)
        page.publish()
        page_folder(options.archive).rename(options.archive / "away")
        page_folder(options.archive).write_text("in the way")
        made = put(options.archive, "stm_1.sxm", 1)
        outcome = Outcome(name="stm_1.sxm", recipe="flat", archive=made)
        page.changed(Change(options.folder / "stm_1.sxm", "done", outcomes=(outcome,)))
        with pytest.raises(Exception, match="cannot be written"):
            page.publish()
        page_folder(options.archive).unlink()
        page.publish()
        assert "stm_1.sxm" in (page_folder(options.archive) / "newest.js").read_text()

    def test_a_file_that_was_restored_at_last_leaves_the_list(self, options):
        options.archive.mkdir()
        page, path = LivePage(options), options.folder / "stm_1.sxm"
        newest = page_folder(options.archive) / "newest.js"
        page.changed(Change(path, "failed", reason="The share is away."))
        page.publish()
        assert "The share is away." in newest.read_text()
        page.changed(Change(path, "done"))
        page.publish()
        assert "The share is away." not in newest.read_text()
