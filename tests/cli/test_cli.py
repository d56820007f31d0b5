"""The command line as users see it: output and exit codes, in real processes where this matters."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from tests.heard import Heard
from tvtasks import __version__
from tvtasks.acquisition.loop import acquire
from tvtasks.archive.folder import ledger_path, log_path
from tvtasks.dashboard import server as servers
from tvtasks.ledger import Ledger, State
from tvtasks.monitor import Monitor
from tvtasks.options import WatchOptions
from tvtasks.recipe_book import RecipeBook
from tvtasks.replay import replay
from tvtasks.workflow import restore_file

REPOSITORY = Path(__file__).parents[2]
RECIPE = """
[background]
model = "huber-rof"
direction = "x"
lam = 0.5
"""
SLOW_RECIPE = """
[denoise]
model = "tgv-l1"
lam = 1.5
stop = { rtol = 1e-12 }
"""
WATCH = ("watch", "scans", "--archive", "archive", "--recipe", "recipe.toml")
QUICK = ("--settle", "0.1", "--max-wait", "0.3")
LONGEST = 120.0
ESCAPE = "\x1b"


class CommandLine:
    """`tvtasks`, started in a folder of its own, under a Prefect server."""

    def __init__(self, folder: Path, api_url: str) -> None:
        self.folder = folder
        paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
        self.environment = os.environ | {
            "PREFECT_API_URL": api_url,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTHONUTF8": "1",
        }
        (folder / "recipe.toml").write_text(RECIPE)

    @contextmanager
    def start(self, *arguments):
        with subprocess.Popen(
            [sys.executable, "-m", "tvtasks.cli", *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        ) as process:
            overdue = threading.Timer(LONGEST, process.kill)
            overdue.start()
            try:
                yield process
            finally:
                overdue.cancel()
                process.kill()

    def run(self, *arguments):
        with self.start(*arguments) as process:
            stdout, stderr = process.communicate()
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


def records(run):
    """The JSON lines of a run: one for each file, then the summary."""
    *files, total = map(json.loads, run.stdout.splitlines())
    return {Path(record["file"]).name: record for record in files}, total


def eventually(condition, seconds):
    """Ask again and again until the answer is yes or time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def in_state(ledger, state):
    """How many files are in a state."""
    with Ledger(ledger) as opened:
        return opened.counts()[state]


def fingerprint(folder):
    """Names, contents and times of everything in a folder."""
    return {
        path.relative_to(folder): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def tvtasks_at(tvtasks, tmp_path):
    """Call the command line in this process, with the server at an address."""
    (tmp_path / "recipe.toml").write_text(RECIPE)

    def call(url, *words):
        with temporary_settings({PREFECT_API_URL: url}):
            return tvtasks(*words)

    return call


@pytest.fixture
def cli(tmp_path, server):
    return CommandLine(tmp_path, server.api_url)


@pytest.fixture
def offline(tmp_path, dead_url):
    return CommandLine(tmp_path, dead_url)


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ("watch nowhere --archive archive --recipe recipe.toml", "folder nowhere does not exist"),
            ("watch recipe.toml --archive archive --recipe recipe.toml", "is a file, not a folder"),
            ("watch scans --archive archive --recipe unheard-of", "no recipe 'unheard-of'"),
            ("watch scans --archive archive --recipe broken.toml", "broken.toml is not valid TOML"),
            ("watch scans --archive archive --recipe wrong.toml", "wrong.toml: background.lam = -1 is not"),
            ("watch scans --archive scans --recipe recipe.toml", "cannot be the watched folder"),
            ("watch scans --recursive --archive scans/out --recipe recipe.toml", "is inside"),
            ("restore nothing.tif --archive archive --recipe recipe.toml", "no file or folder nothing.tif"),
            ("restore empty --archive archive --recipe recipe.toml", "neither results nor image files"),
            ("recipes --show unheard-of", "There is no preset 'unheard-of'"),
            ("recipes --show stm-teraces", "Did you mean stm-terraces?"),
            ("recipes --check wrong.toml", "wrong.toml: background.lam = -1 is not"),
            (
                "recipes --check misspelt.toml",
                "background.lamda is an unknown key; check its spelling. Did you mean background.lam?",
            ),
        ],
    )
    def test_a_mistake_ends_in_one_sentence_and_exit_code_2(
        self, tvtasks, write_scan, tmp_path, arguments, sentence
    ):
        write_scan("stm_1.npy")
        (tmp_path / "empty").mkdir()
        (tmp_path / "recipe.toml").write_text(RECIPE)
        (tmp_path / "broken.toml").write_text("[background")
        (tmp_path / "misspelt.toml").write_text(RECIPE + "lamda = 1\n")
        (tmp_path / "wrong.toml").write_text(RECIPE.replace("0.5", "-1"))
        run = tvtasks(*arguments.split())
        assert (run.returncode, run.stdout) == (2, "")
        (line,) = run.stderr.splitlines()
        assert line.startswith("tvtasks: ")
        assert sentence in line
        assert not (tmp_path / "archive").exists()

    def test_a_server_that_does_not_answer_needs_attention(self, tvtasks_at, dead_url, write_scan, tmp_path):
        write_scan("stm_1.npy")
        run = tvtasks_at(dead_url, *WATCH)
        assert (run.returncode, run.stdout) == (1, "")
        (line,) = run.stderr.splitlines()
        assert line.startswith("tvtasks: ")
        assert "does not answer" in line
        assert not (tmp_path / "archive").exists()

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ("watch .", "Missing option '--archive'"),
            ("watch . --archive archive --recipe recipe.toml --settle 0", "Invalid value for '--settle'"),
        ],
    )
    def test_an_option_that_is_missing_or_impossible_is_named(self, tvtasks, arguments, words):
        run = tvtasks(*arguments.split())
        assert run.returncode == 2
        assert words in run.stderr
        assert "Traceback" not in run.stderr

    def test_a_second_watch_on_an_archive_learns_who_holds_it(self, cli, write_scan, tmp_path):
        folder = write_scan("stm_1.npy").parent
        with Ledger(ledger_path(tmp_path / "archive")) as ledger, Monitor(folder, ledger, "recipe"):
            run = cli.run(*WATCH, "--quiet")
        assert (run.returncode, run.stdout) == (2, "")
        (line,) = run.stderr.splitlines()
        assert f"is in use by process {os.getpid()}" in line


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, save_scan, server):
    """A folder with good, damaged and unfinished files that was watched twice, the second time in JSON."""
    root = tmp_path_factory.mktemp("mixed")
    cli, folder = CommandLine(root, server.api_url), root / "scans"
    for number in (1, 2):
        save_scan(folder / f"good_{number}.npy", seed=number)
    (folder / "damaged.png").write_bytes(b"no picture" * 9)
    half = save_scan(folder / "half.npy", seed=3)
    half.write_bytes(half.read_bytes()[:3000])
    command = (*WATCH, "--once", *QUICK)
    before = fingerprint(folder)
    first = cli.run(*command)
    archived = fingerprint(root / "archive")
    second = cli.run(*command, "--json")
    return {
        "first": first,
        "second": second,
        "archive": root / "archive",
        "archived": archived,
        "before": before,
        "after": fingerprint(folder),
    }


class TestWatchOnce:
    def test_faults_give_exit_code_1_and_the_other_files_are_done(self, mixed):
        run = mixed["first"]
        assert run.returncode == 1
        assert re.search(r"^good_1\.npy  done  recipe  gap \S+  \S+ s$", run.stdout, re.MULTILINE)
        assert "2 restored, 2 failed. Results: archive" in run.stdout
        for ending in (".nxs", ".png"):
            assert len([path for path in mixed["archived"] if path.suffix == ending]) == 2

    def test_each_fault_is_printed_once_with_its_sentence(self, mixed):
        output = mixed["first"].stdout + mixed["first"].stderr
        (damaged,) = [line for line in output.splitlines() if "damaged.png" in line]
        (half,) = [line for line in output.splitlines() if "half.npy" in line]
        assert "is named like a picture" in damaged
        assert "it ends after 3000 of" in half

    def test_nothing_in_the_watched_folder_changes(self, mixed):
        assert mixed["after"] == mixed["before"]

    def test_a_second_start_repeats_nothing_and_still_names_the_faults(self, mixed):
        run = mixed["second"]
        files, total = records(run)
        assert run.returncode == 1
        assert files.keys() == {"half.npy"}
        assert total["restored"] == 0
        assert {Path(path).name for path in total["failed"]} == {"damaged.png", "half.npy"}
        results = {
            path: is_now for path, is_now in fingerprint(mixed["archive"]).items() if path.suffix == ".nxs"
        }
        assert results.items() <= mixed["archived"].items()

    def test_without_a_terminal_there_are_no_escape_codes(self, mixed):
        assert ESCAPE not in mixed["first"].stdout + mixed["first"].stderr


class TestWatchCutShort:
    COMMAND = (*WATCH, *QUICK, "--json", "--workers", "1")
    FILES = 10

    @pytest.fixture
    def scans(self, write_scan):
        return [write_scan(f"stm_{number}.npy", seed=number) for number in range(self.FILES)]

    @pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process alone there")
    def test_ctrl_c_finishes_the_work_under_way_and_names_the_rest(self, cli, scans):
        with cli.start(*self.COMMAND) as process:
            first = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            rest, stderr = process.communicate()
        files, total = records(subprocess.CompletedProcess([], 0, first + rest))
        assert process.returncode == 0
        assert "Finishing the work under way" in stderr
        assert total["restored"] == len(files) < self.FILES
        assert len(total["left"]) == self.FILES - len(files)

    def test_a_kill_loses_nothing_and_the_next_start_does_not_repeat_what_was_done(
        self, cli, scans, tmp_path
    ):
        with cli.start(*self.COMMAND) as process:
            done = Path(json.loads(process.stdout.readline())["file"])
            process.kill()
        heard = Heard()
        options = WatchOptions(
            folder=tmp_path / "scans", archive=tmp_path / "archive", recipes=(), settle=0.1, once=True
        )
        recipes = RecipeBook.load([str(tmp_path / "recipe.toml")])
        acquire(options, recipes, restore_file, listener=heard)
        ends = {change.path: change.state for change in heard.changes}
        assert ends.keys() < set(scans)
        assert done.resolve() not in ends
        assert set(ends.values()) == {"done"}
        assert len(list((tmp_path / "archive").glob("*.nxs"))) == self.FILES

    @pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process alone there")
    def test_a_second_ctrl_c_ends_it_at_once_and_loses_nothing(self, offline, write_scan, tmp_path):
        large = write_scan("stm_1.npy")
        # Solving would take minutes; nothing waits for it.
        np.save(large, np.random.default_rng(0).normal(size=(3000, 3000)).astype(np.float32))
        (tmp_path / "recipe.toml").write_text(SLOW_RECIPE)
        with offline.start(*self.COMMAND, "--no-dashboard") as process:
            ledger = ledger_path(tmp_path / "archive")
            assert eventually(lambda: ledger.exists() and in_state(ledger, State.RUNNING), LONGEST)
            process.send_signal(signal.SIGTERM)
            assert "Finishing the work under way" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate()
        assert process.returncode == 130
        assert "Stopped at once" in stderr
        assert in_state(ledger, State.RUNNING) == 1, "the next start finds it"


@pytest.fixture(scope="module")
def without_dashboard(tmp_path_factory, save_scan):
    """The command line in a folder whose scans, a good and a bad one, were watched once without a server."""
    root = tmp_path_factory.mktemp("without_dashboard")
    cli = CommandLine(root, "http://127.0.0.1:9/api")
    save_scan(root / "scans" / "good.npy")
    (root / "scans" / "bad.png").write_bytes(b"no picture" * 9)
    cli.run(*WATCH, "--once", *QUICK, "--no-dashboard", "--quiet")
    return cli


class TestWatchWithoutDashboard:
    @pytest.fixture
    def archive(self, without_dashboard):
        return without_dashboard.folder / "archive"

    @pytest.fixture
    def there(self, tvtasks, without_dashboard, monkeypatch):
        """Call the command line in that folder."""
        monkeypatch.chdir(without_dashboard.folder)
        return tvtasks

    def test_files_are_restored_although_no_server_answers(self, archive):
        assert len(list(archive.glob("*.nxs"))) == 1

    def test_the_log_has_a_line_for_each_file(self, archive):
        began, *files, ended = log_path(archive).read_text("utf-8").splitlines()
        assert "Watching" in began
        assert len(files) == 2
        assert "Stopped: 1 restored, 1 failed, 0 left" in ended

    def test_status_is_printed_in_words_and_in_json(self, there):
        run = there("status", "archive")
        assert run.returncode == 1
        assert re.search(r"^watch +stopped at \d\d:\d\d, process \d+ on ", run.stdout, re.MULTILINE)
        assert re.search("^done +1 +1 in the last hour", run.stdout, re.MULTILINE)
        assert "is named like a picture" in run.stdout
        assert "tvtasks retry archive --all" in run.stdout
        assert ESCAPE not in run.stdout
        record = json.loads(there("status", "archive", "--json").stdout)
        assert record["files"]["counts"]["quarantined"] == 1

    def test_the_files_that_failed_are_listed_with_their_reason(self, there):
        lines = there("status", "archive", "--failed").stdout.splitlines()
        (at,) = [n for n, line in enumerate(lines) if "  quarantined, " in line]
        assert lines[at + 1].startswith("  ")
        (file,) = json.loads(there("status", "archive", "--failed", "--json").stdout)["failed"]
        assert file["state"] == "quarantined"
        assert file["reason"]

    def test_json_says_how_the_watch_ended(self, there):
        record = json.loads(there("status", "archive", "--json").stdout)
        assert (record["healthy"], record["watch"]["state"]) == (False, "stopped")
        assert [problem["kind"] for problem in record["problems"]] == ["quarantined"]

    def test_retry_queues_the_files_and_prints_what_to_do_next(self, there, archive):
        copy = shutil.copytree(archive, archive.with_name("copy"))
        run = there("retry", "copy", "bad.png", "never-seen.png")
        assert run.returncode == 1
        assert "1 file queued again." in run.stdout
        assert "No watch is running. Start it: tvtasks watch " in run.stdout
        assert "never-seen.png is not among the failed" in run.stderr
        assert in_state(ledger_path(copy), State.QUEUED) == 1
        assert "No watch is running, and 1 file waits" in there("status", "copy").stdout
        nothing_left = there("retry", "copy", "--all")
        assert nothing_left.returncode == 0
        assert nothing_left.stdout == "No file has failed: there is nothing to retry.\n"


class TestNoWatch:
    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ("status nowhere", "There is no archive folder nowhere"),
            ("status .", "it holds no ledger"),
            ("retry . a.tif", "it holds no ledger"),
            ("retry .", "Name the files to retry, or give --all"),
            ("retry . a.tif --all", "Name the files to retry, or give --all"),
        ],
    )
    def test_a_mistake_ends_in_one_sentence_and_nothing_is_created(
        self, tvtasks, tmp_path, arguments, sentence
    ):
        before = fingerprint(tmp_path)
        run = tvtasks(*arguments.split())
        assert (run.returncode, run.stdout) == (2, "")
        (line,) = run.stderr.splitlines()
        assert sentence in line
        assert fingerprint(tmp_path) == before


class TestDoctor:
    def test_a_folder_that_can_be_watched(self, tvtasks_at, server, write_scan, tmp_path):
        write_scan("stm_1.npy")
        run = tvtasks_at(
            server.api_url, "doctor", "scans", "--archive", "archive", "--recipe", "stm*=recipe.toml"
        )
        assert run.returncode == 0, run.stdout
        assert "get a recipe: 1 .npy" in run.stdout
        assert re.search("^ok +dashboard +A Prefect server answers at http", run.stdout, re.MULTILINE)
        assert not (tmp_path / "archive").exists()

    def test_failures_are_in_the_json_and_in_the_exit_code(self, tvtasks_at, dead_url, write_scan):
        write_scan("stm_1.npy")
        run = tvtasks_at(dead_url, "doctor", "scans", "--archive", "scans", "--json")
        record = json.loads(run.stdout)
        assert (run.returncode, record["healthy"]) == (1, False)
        failed = [finding for finding in record["findings"] if finding["level"] == "fail"]
        assert [finding["check"] for finding in failed] == ["output", "dashboard"]
        assert all(finding["advice"] for finding in failed)


class TestRestore:
    COMMAND = ("restore", "scans", "--archive", "archive", "--recipe", "recipe.toml")

    def test_files_and_folders_are_restored_each_file_once_and_with_a_json_line(
        self, tvtasks_at, server, write_scan, save_scan, tmp_path
    ):
        good = [write_scan("stm_1.npy"), save_scan(tmp_path / "stm_2.npy", seed=2)]
        damaged = write_scan("damaged.png")
        damaged.write_bytes(b"no picture" * 9)
        run = tvtasks_at(server.api_url, *self.COMMAND, "scans/stm_1.npy", "stm_2.npy", "--json")
        *lines, total = map(json.loads, run.stdout.splitlines())
        images = {line["name"]: line for line in lines}
        assert run.returncode == 1
        assert len(lines) == 3
        for path in good:
            image = images[path.name]
            assert (tmp_path / image["archive"]).is_file()
            assert (tmp_path / image["preview"]).is_file()
            assert (image["state"], image["converged"]) == ("restored", True)
        assert "damaged.png is named like" in images[damaged.name]["reason"]
        assert (total["restored"], total["current"], len(total["failed"]), total["left"]) == (2, 0, 1, 0)
        run = tvtasks_at(server.api_url, *self.COMMAND, "stm_2.npy", "--json")
        again = json.loads(run.stdout.splitlines()[-1])
        assert (again["restored"], again["current"]) == (0, 2), "current images are not restored again"

    def test_quiet_prints_nothing_when_all_is_well_and_the_exit_code_is_0(self, cli, write_scan, tmp_path):
        write_scan("stm_1.npy")
        run = cli.run(*self.COMMAND, "--quiet")
        assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
        assert len(list((tmp_path / "archive").glob("*.nxs"))) == 1

    @pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process alone there")
    def test_after_ctrl_c_no_file_is_started_and_the_rest_is_named(self, cli, write_scan):
        for number in range(30):
            write_scan(f"stm_{number}.npy", seed=number)
        with cli.start(*self.COMMAND, "--workers", "1", "--json") as process:
            first = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            rest, stderr = process.communicate()
        *files, total = map(json.loads, (first + rest).splitlines())
        assert process.returncode == 1
        assert "Finishing the work under way" in stderr
        assert 1 <= total["restored"] == len(files)
        assert total["left"] == 30 - len(files) > 0


class TestShow:
    @pytest.fixture
    def archived(self, mixed):
        return next(mixed["archive"].glob("good_1*.nxs"))

    def test_the_record_is_printed_in_words(self, tvtasks, archived):
        run = tvtasks("show", archived)
        assert run.returncode == 0
        for text in (
            "good_1.npy",
            "32 × 48 pixels, float32",
            "background",
            "lam 0.5",
            f"tvtasks {__version__}",
        ):
            assert text in run.stdout
        assert ESCAPE not in run.stdout

    def test_json_has_the_whole_record(self, tvtasks, archived):
        record = json.loads(tvtasks("show", archived, "--json").stdout)
        assert record["path"] == str(archived)
        assert [step["name"] for step in record["steps"]] == ["background"]

    def test_a_file_that_is_no_result_is_refused_in_a_sentence(self, tvtasks, tmp_path):
        (tmp_path / "recipe.toml").write_text(RECIPE)
        run = tvtasks("show", "recipe.toml")
        assert (run.returncode, run.stdout) == (1, "")
        assert len(run.stderr.splitlines()) == 1


class TestRecipes:
    def test_presets_are_listed_with_their_purpose(self, tvtasks):
        run = tvtasks("recipes")
        assert run.returncode == 0
        assert re.search("^stm-scratches +STM: scratches", run.stdout, re.MULTILINE)
        assert ESCAPE not in run.stdout

    def test_a_preset_can_be_printed_and_saved_as_a_recipe(self, tvtasks):
        run = tvtasks("recipes", "--show", "stm-scratches")
        assert tomllib.loads(run.stdout)["median"] == {"rows": 3, "columns": 1}

    def test_the_version_is_printed(self, offline):
        assert offline.run("--version").stdout == f"tvtasks {__version__}\n"


@pytest.mark.slow
def test_the_demo_restores_six_scans_and_leaves_no_server_behind(tvtasks, database, tmp_path, monkeypatch):
    database(tmp_path / "demo" / "prefect")
    monkeypatch.setattr("tvtasks.replay.replay", partial(replay, duration=2.0))
    run = tvtasks("demo", "--folder", "demo")
    assert run.returncode == 0, run.stderr
    assert "6 restored, 0 failed. Results: " in run.stdout
    assert run.stdout.count("  done  ") == 6
    for ending in ("nxs", "png"):
        assert len(list((tmp_path / "demo" / "archive").glob(f"*.{ending}"))) == 6
    dashboard = re.search(r"Dashboard: (\S+)", run.stdout)[1]
    assert not servers.answers(f"{dashboard}/api")
