"""`tvtasks list` and `tvtasks rerun` as a user gives them, and the rerun flow on a real server."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter
from typer.testing import CliRunner

from flows import cli, server
from flows.rerun import Hooks, rerun_and_show, table
from flows.restore import prefect_at
from tvtasks import archive
from tvtasks.errors import ConfigurationError
from tvtasks.recipe import Recipe
from tvtasks.rerun import Request, Result, Sheet
from tvtasks.workflow import restore_file

FIRST = Recipe.model_validate({"name": "first", "median": {}})
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


@pytest.fixture
def tvtasks(monkeypatch, capfd):
    """Run the command line; return exit code, standard output and standard error."""
    monkeypatch.setattr(server, "running", lambda: None)

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tvtasks", *map(str, words)])
        capfd.readouterr()
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        return (code, *capfd.readouterr())

    return run


class TestList:
    def test_a_line_for_each_run_and_a_summary(self, tvtasks, filled):
        code, out, _ = tvtasks("list", filled)
        lines = out.splitlines()
        assert code == 0
        assert lines[0].split() == [
            "image", "technique", "acquired", "pixels", "recipe", "gap", "seconds", "written", "run",
        ]  # fmt: skip
        assert [line.split()[0] for line in lines[1:4]] == ["stm_0.npy", "stm_1.npy", "stm_2.npy"]
        assert lines[4].startswith("3 of 3 runs, of 3 images")

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

    def test_a_damaged_file_is_listed_and_said_with_exit_code_1(self, tvtasks, filled):
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
    def test_a_plan_changes_nothing_and_says_what_time_and_disk(self, tvtasks, filled, recipe):
        before = sorted(filled.iterdir())
        code, out, _ = tvtasks("rerun", filled, "--recipe", recipe, "--plan")
        assert code == 0
        assert "3 images: 0 current, 3 outdated, 0 missing" in out
        assert "as in runs of the same models" in out
        assert "Disk: about" in out
        assert sorted(filled.iterdir()) == before

    def test_a_plan_as_json(self, tvtasks, filled, recipe):
        found = json.loads(tvtasks("rerun", filled, "--recipe", recipe, "--plan", "--json")[1])
        assert (found["current"], found["outdated"], found["missing"]) == (0, 3, 0)
        assert {image["state"] for image in found["images"]} == {"outdated"}
        assert found["bytes"] > 0
        assert found["free"] > 0

    def test_it_does_what_the_plan_says_and_then_nothing(self, tvtasks, filled, recipe):
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

    def test_a_failure_is_told_at_the_end_with_exit_code_1(self, tvtasks, filled, recipe, tmp_path):
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


class TestTheFlow:
    def test_one_run_with_progress_and_a_row_for_each_image(self, server, filled, recipe, tmp_path):
        np.save(tmp_path / "scans" / "constant.npy", np.ones((24, 32)))
        request = Request((filled, tmp_path / "scans"), (recipe,))
        with prefect_at(server.api_url) as attendant, get_client(sync_client=True) as client:
            sheet = rerun_and_show(request, Hooks(attendant=attendant))
            assert (sheet.restored, len(sheet.failed)) == (3, 1)
            (run,) = [run for run in client.read_flow_runs() if run.parameters.get("recipes") == [recipe]]
            assert run.state.is_completed()
            assert run.state.message == "3 restored, 1 failed."
            assert run.tags == ["tvtasks"]
            assert run.name.startswith("archive and 1 more")
            (bar,) = [found for found in artifacts(client, "rerun-progress") if found.flow_run_id == run.id]
            assert float(bar.data) == 100.0
            assert "4 of 4 images" in bar.description
            (shown,) = [found for found in artifacts(client, "rerun-images") if found.flow_run_id == run.id]
        rows = json.loads(shown.data)
        assert rows[0]["state"] == "failed"
        assert "every pixel has the value" in rows[0]["result"]
        assert {row["image"] for row in rows[1:]} == {"stm_0.npy", "stm_1.npy", "stm_2.npy"}
        assert all(Path(row["result"]).exists() for row in rows[1:])
        context = archive.summary(rows[1]["result"])["context"]
        assert context["prefect"]["flow_run_id"] == str(run.id)

    def test_what_cannot_be_begun_is_a_failed_run_and_a_sentence(self, server, recipe, tmp_path):
        with prefect_at(server.api_url), pytest.raises(ConfigurationError, match="no file or folder"):
            rerun_and_show(Request((tmp_path / "nowhere",), (recipe,)), Hooks())

    def test_one_that_was_stopped_is_not_complete(self, server, filled, recipe):
        hooks = Hooks(report=lambda result: hooks.stop.set())
        with prefect_at(server.api_url), get_client(sync_client=True) as client:
            sheet = rerun_and_show(Request((filled,), (recipe,), workers=1), hooks)
            (run,) = [run for run in client.read_flow_runs() if run.parameters.get("recipes") == [recipe]]
        assert sheet.left >= 1
        assert run.state.is_failed()
        assert f"{sheet.left} left" in run.state.message

    def test_without_a_server_it_is_done_all_the_same(self, dead_url, filled, recipe):
        with prefect_at(dead_url):
            assert rerun_and_show(Request((filled,), (recipe,)), Hooks()).restored == 3


def test_the_table_does_not_grow_with_the_images(filled):
    sheet = Sheet(filled, total=10_000, current=0)
    for number in range(5000):
        sheet.add(Result(f"{number}.npy", "r", reason="It is bad."))
    assert len(table(sheet)) <= 300
    assert table(sheet)[0]["image"] == "4999.npy"
