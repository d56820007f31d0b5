"""`tvtasks list` and `tvtasks rerun` as a user runs them, and the rerun flow on a real server."""

import dataclasses
import json
import os
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter
from typer.testing import CliRunner

from flows.rerun import rerun_and_show
from tests.heard import Heard
from tvtasks import archive
from tvtasks.archive.session import Session
from tvtasks.cli import app as cli
from tvtasks.dashboard.batch_page import table
from tvtasks.dashboard.supervision import prefect_at
from tvtasks.errors import ConfigurationError
from tvtasks.outcome import BatchReport, Outcome
from tvtasks.recipe import Recipe
from tvtasks.rerun import Request
from tvtasks.workflow import restore_file

FIRST = Recipe.model_validate({"name": "first", "median": {}})
SAMPLE = 'name = "Si"\natom_types = ["Si", "O"]\npreparation_date = 2024-04-30\n'
TOML = 'name = "other"\n[median]\nrows = 5\n'


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "other.toml"
    path.write_text(TOML, "utf-8")
    return str(path)


@pytest.fixture
def filled(tmp_path, write_scan):
    for number in range(3):
        restore_file(write_scan(f"stm_{number}.npy", number), FIRST, tmp_path / "archive")
    return tmp_path / "archive"


class TestList:
    def test_a_line_for_each_run_and_a_summary(self, tvtasks, filled):
        code, out, _ = tvtasks("list", filled)
        lines = out.splitlines()
        assert code == 0
        assert lines[0].split() == [
            "image",
            "technique",
            "acquired",
            "pixels",
            "recipe",
            "λ",
            "gap",
            "seconds",
            "written",
            "run",
        ]
        assert [line.split()[0] for line in lines[1:4]] == ["stm_0.npy", "stm_1.npy", "stm_2.npy"]
        assert lines[4].startswith("3 of 3 runs, 3 images")

    def test_as_json(self, tvtasks, filled):
        code, out, _ = tvtasks("list", filled, "--json", "--select", "name=stm_1.npy")
        found = json.loads(out)
        (run,) = found["runs"]
        assert (code, found["files"], found["found"]) == (0, 3, 1)
        assert run["run_id"] == archive.summary(run["file"])["run_id"]
        assert run["parameters"]["median"] == {"rows": 3, "columns": 1}

    def test_the_latest_of_each_image_sorted_and_limited(self, tvtasks, filled, tmp_path):
        restore_file(tmp_path / "scans" / "stm_1.npy", Recipe.model_validate({"median": {"rows": 7}}), filled)
        assert len(json.loads(tvtasks("list", filled, "--json")[1])["runs"]) == 4
        code, out, _ = tvtasks(
            "list", filled, "--latest", "--sort", "written", "--reverse", "--limit", 2, "--json"
        )
        found = json.loads(out)
        assert (code, found["found"]) == (0, 3)
        assert [run["name"] for run in found["runs"]] == ["stm_1.npy", "stm_2.npy"]
        assert found["runs"][0]["parameters"]["median"]["rows"] == 7

    def test_a_table_of_the_runs_since_a_time(self, tvtasks, filled):
        code, out, _ = tvtasks(
            "list", filled, "--since", "today", "--operator", "nobody", "--output", "a.csv"
        )
        assert (code, out) == (0, "a.csv: 0 runs\n")
        code, out, _ = tvtasks(
            "list", filled, "--since", "today", "--where", "rows = 32", "--output", "b.csv"
        )
        assert (code, out) == (0, "b.csv: 3 runs\n")
        assert Path("b.csv").read_text("utf-8-sig").count("stm_") == 6  # names of images and of results
        code, _, err = tvtasks("list", filled, "--since", "noon")
        assert (code, "'noon' is not a time" in err) == (2, True)

    def test_a_damaged_file_is_listed_and_reported_with_exit_code_1(self, tvtasks, filled):
        bad = next(filled.glob("stm_1__*.nxs"))
        bad.write_bytes(bad.read_bytes()[:500])
        code, out, err = tvtasks("list", filled)
        assert code == 1
        assert any(bad.name in line and "cannot be read" in line for line in out.splitlines())
        assert "1 cannot be read" in out
        assert str(bad) in err

    @pytest.mark.parametrize("words", [["--select", "size>3"], ["--select", "gap"]], ids=" ".join)
    def test_a_bad_condition_is_a_sentence_and_exit_code_2(self, tvtasks, filled, words):
        code, out, err = tvtasks("list", filled, *words)
        assert (code, out) == (2, "")
        assert "Fields: name," in err
        assert "Traceback" not in err


class TestRerun:
    def test_a_plan_changes_nothing_and_estimates_time_and_disk(self, tvtasks, filled, recipe):
        before = sorted(filled.iterdir())
        code, out, _ = tvtasks("rerun", filled, "--recipe", recipe, "--plan")
        assert code == 0
        assert "3 images: 0 current, 3 outdated, 0 missing" in out
        assert "from runs of the same models" in out
        assert "s of reading, pictures and writing (as in earlier runs)" in out
        assert "Disk: about" in out
        assert sorted(filled.iterdir()) == before

    def test_a_plan_as_json(self, tvtasks, filled, recipe):
        found = json.loads(tvtasks("rerun", filled, "--recipe", recipe, "--plan", "--json")[1])
        assert (found["current"], found["outdated"], found["missing"]) == (0, 3, 0)
        assert {image["state"] for image in found["images"]} == {"outdated"}
        assert found["bytes"] > 0
        assert found["seconds_in_all"] > found["seconds_beside"] > 0
        assert found["free"] > 0

    def test_it_does_the_plan_and_a_second_time_nothing(self, tvtasks, filled, recipe):
        planned = json.loads(tvtasks("rerun", filled, "--recipe", recipe, "--plan", "--json")[1])
        code, out, _ = tvtasks("rerun", filled, "--recipe", recipe, "--json")
        *images, summary = map(json.loads, out.splitlines())
        assert code == 0
        written = {archive.summary(image["archive"])["run_id"] for image in images}
        assert written == {image["run_id"] for image in planned["images"]}
        assert (summary["restored"], summary["current"], summary["failed"]) == (3, 0, [])
        code, out, _ = tvtasks("rerun", filled, "--recipe", recipe)
        assert code == 0
        assert "3 current, 0 outdated" in out
        assert "0 restored, 0 failed, 3 current already" in out

    def test_a_failure_is_reported_at_the_end_with_exit_code_1(self, tvtasks, filled, recipe, tmp_path):
        np.save(tmp_path / "scans" / "constant.npy", np.ones((24, 32)))
        words = ["rerun", tmp_path / "scans", "--archive", filled, "--recipe", recipe]
        code, out, err = tvtasks(*words)
        assert code == 1
        assert "3 restored, 1 failed" in out
        assert "constant.npy: every pixel has the value" in err
        code, out, err = tvtasks(*words, "--quiet")
        assert (code, out) == (1, "")
        assert "constant.npy" in err

    def test_without_a_place_for_results_it_is_refused(self, tvtasks, filled, recipe, tmp_path):
        code, _, err = tvtasks("rerun", tmp_path / "scans", "--recipe", recipe)
        assert code == 2
        assert "--archive" in err

    def test_help_names_the_exit_codes(self):
        result = CliRunner().invoke(cli.app, ["rerun", "--help"], env={"COLUMNS": "120"})
        assert "exit code" in result.output


def artifacts(client, key):
    return client.read_artifacts(
        artifact_filter=ArtifactFilter.model_validate({"key": {"any_": [key]}}), limit=200
    )


class TestHowResultsAreKept:
    @pytest.fixture
    def commands(self, filled, recipe, tmp_path, write_scan):
        """Each command that restores, with a new scan."""
        write_scan("stm_3.npy", 3)
        to = ["--archive", tmp_path / "kept", "--recipe", recipe]
        return {
            "restore": ["restore", tmp_path / "scans", *to],
            "watch": ["watch", tmp_path / "scans", *to, "--once", "--settle", "0.1", "--no-dashboard"],
            "rerun": ["rerun", filled, *to],
        }

    @pytest.mark.parametrize("command", ["restore", "watch", "rerun"])
    def test_each_command_takes_the_options(self, tvtasks, commands, command, tmp_path):
        (tmp_path / "sample.toml").write_text(SAMPLE, "utf-8")
        (tmp_path / "kept").mkdir()
        left = tmp_path / "kept" / ".a.nxs.partial-elsewhere-1-abc"
        left.write_bytes(b"half")
        os.utime(left, (0, 0))
        options = ["--compression", "none", "--sample", tmp_path / "sample.toml"]
        assert tvtasks(*commands[command], *options)[0] == 0
        written = list((tmp_path / "kept").glob("*.nxs"))
        assert len(written) == (3 if command == "rerun" else 4)
        for path in written:
            record = archive.summary(path)
            assert archive.Sample(**record["sample"]) == archive.Sample.load(tmp_path / "sample.toml")
            assert any("no NeXus application definition" in note for note in record["notes"])
            with h5py.File(path) as file:
                assert file["entry/raw/data"].compression is None
        assert not left.exists()

    @pytest.mark.parametrize("command", ["restore", "watch", "rerun"])
    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            (["--compression", "zstd"], "needs the package hdf5plugin. Install it (pip install"),
            (["--sample", "sample.toml"], "Sample data sample.toml: atom_types is missing"),
        ],
        ids=lambda value: str(value[0]),
    )
    def test_impossible_options_are_refused_before_any_work(
        self, tvtasks, commands, command, options, sentence, tmp_path, monkeypatch
    ):
        monkeypatch.setitem(sys.modules, "hdf5plugin", None)
        monkeypatch.chdir(tmp_path)
        Path("sample.toml").write_text('name = "Si"', "utf-8")
        code, out, err = tvtasks(*commands[command], *options)
        assert (code, out) == (2, "")
        assert sentence in err
        assert not Path("kept").exists()

    def test_a_rerun_takes_sample_and_session_from_the_archive(self, tvtasks, recipe, tmp_path, write_scan):
        """Even if a later run of the same image had none, and also from the original file."""
        sample = archive.Sample(name="Si", atom_types=("Si",), preparation_date="2024-04-30")
        path, place = write_scan("stm_9.npy"), tmp_path / "archive"
        storage = archive.Storage(sample=sample, session=Session(operator="Jo Meier"))
        restore_file(path, FIRST, place, storage=storage)
        restore_file(path, Recipe.model_validate({"median": {"rows": 7}}), place)
        for source, target in ((place, "stored"), (path.parent, "archive")):
            words = ["rerun", source, "--archive", tmp_path / target, "--recipe", recipe]
            assert tvtasks(*words)[0] == 0
            written = max((tmp_path / target).glob("*.nxs"), key=lambda file: file.stat().st_mtime_ns)
            assert archive.Sample(**archive.summary(written)["sample"]) == sample
            assert archive.summary(written)["session"] == {"operator": "Jo Meier"}
        (one,) = restore_file(path, FIRST, place, storage=storage)
        assert one.notes == ()
        other = archive.Storage(sample=dataclasses.replace(sample, name="Ge"))
        (one,) = restore_file(path, FIRST, place, storage=other)
        assert "was archived earlier, with other sample data" in one.notes[0]


class TestTheFlow:
    def test_one_run_with_progress_and_a_row_for_each_image(self, server, filled, recipe, tmp_path):
        np.save(tmp_path / "scans" / "constant.npy", np.ones((24, 32)))
        request = Request((filled, tmp_path / "scans"), (recipe,))
        with prefect_at(server.api_url), get_client(sync_client=True) as client:
            report = rerun_and_show(request, Heard(), threading.Event())
            assert (report.restored, len(report.failed)) == (3, 1)
            (run,) = [run for run in client.read_flow_runs() if run.parameters.get("recipes") == [recipe]]
            assert run.state.is_completed()
            assert run.state.message == "3 restored, 1 failed."
            assert run.tags == ["tvtasks"]
            assert run.name.startswith("archive and 1 more")
            (bar,) = [found for found in artifacts(client, "batch-progress") if found.flow_run_id == run.id]
            assert float(bar.data) == 100.0
            assert "4 of 4 images" in bar.description
            (shown,) = [found for found in artifacts(client, "batch-images") if found.flow_run_id == run.id]
        rows = json.loads(shown.data)
        assert rows[0]["state"] == "failed"
        assert "every pixel has the value" in rows[0]["result"]
        assert {row["image"] for row in rows[1:]} == {"stm_0.npy", "stm_1.npy", "stm_2.npy"}
        assert all(Path(row["result"]).exists() for row in rows[1:])
        context = archive.summary(rows[1]["result"])["context"]
        assert context["prefect"]["flow_run_id"] == str(run.id)

    def test_a_request_that_cannot_start_is_a_failed_run_and_a_sentence(self, server, recipe, tmp_path):
        with prefect_at(server.api_url), pytest.raises(ConfigurationError, match="no file or folder"):
            rerun_and_show(Request((tmp_path / "nowhere",), (recipe,)), Heard(), threading.Event())

    def test_a_stopped_batch_is_not_complete(self, server, filled, recipe):
        stop = threading.Event()
        heard = Heard(finished=lambda outcome: stop.set())
        with prefect_at(server.api_url), get_client(sync_client=True) as client:
            report = rerun_and_show(Request((filled,), (recipe,), workers=1), heard, stop)
            (run,) = [run for run in client.read_flow_runs() if run.parameters.get("recipes") == [recipe]]
        assert report.left >= 1
        assert run.state.is_cancelled()
        assert f"{report.left} left" in run.state.message

    def test_without_a_server_the_batch_still_runs(self, dead_url, filled, recipe):
        with prefect_at(dead_url):
            assert rerun_and_show(Request((filled,), (recipe,)), Heard(), threading.Event()).restored == 3


def test_the_table_does_not_grow_with_the_images(filled):
    report = BatchReport(filled, total=10_000)
    for number in range(5000):
        report.add(Outcome(name=f"{number}.npy", recipe="r", state="failed", reason="It is bad."))
    assert len(table(report)) <= 300
    assert table(report)[0]["image"] == "4999.npy"
