"""The restore flow on a real server: what the dashboard will show, and what happens without it."""

import base64
import io
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter
from prefect.client.schemas.objects import Artifact, FlowRun, TaskRun

from flows.restore import prefect_at, restore_and_show
from flows.server import Server
from tvtasks import archive
from tvtasks.errors import UnreadableFileError
from tvtasks.recipe import HuberROFStep, Median, Recipe

STEP = HuberROFStep(model="huber-rof", lam=0.5, direction="x")
RECIPE = Recipe(name="all-steps", background=STEP, median=Median(), contrast=STEP, denoise=STEP)
HALF_A_MINUTE = 30.0


@pytest.fixture
def client(at_server: Server) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def run_of(client: SyncPrefectClient, path: Path) -> FlowRun:
    """The only flow run that was given this file."""
    runs = [run for run in client.read_flow_runs() if run.parameters["path"] == str(path)]
    assert len(runs) == 1
    return runs[0]


def task_runs(client: SyncPrefectClient, run: FlowRun, *, number: int) -> list[TaskRun]:
    """The task runs of a flow run in their order; the server records them a second or so later."""
    chosen = FlowRunFilter.model_validate({"id": {"any_": [run.id]}})

    def found() -> list[TaskRun]:
        return client.read_task_runs(flow_run_filter=chosen)

    eventually(lambda: len(found()) >= number and all(task.state.is_final() for task in found()))
    return sorted(found(), key=lambda task: task.start_time)


def artifact_of(client: SyncPrefectClient, run: FlowRun) -> Artifact:
    chosen = ArtifactFilter.model_validate({"flow_run_id": {"any_": [run.id]}})
    (artifact,) = client.read_artifacts(artifact_filter=chosen)
    return artifact


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for another process: there is no clock to inject."""
    deadline = time.monotonic() + HALF_A_MINUTE
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.1)


class TestWhatTheServerShows:
    def test_a_run_is_named_after_its_file_and_tagged_with_its_recipe(self, client, write_scan, tmp_path):
        path = write_scan("stm_0001.npy")
        restore_and_show(path, RECIPE, tmp_path / "archive")
        run = run_of(client, path)
        assert run.name == "stm_0001.npy · all-steps"
        assert run.tags == ["all-steps"]
        assert run.state.is_completed()

    def test_its_parameters_are_paths_and_the_recipe_never_pixels(self, client, write_scan, tmp_path):
        path = write_scan("stm_0001.npy")
        restore_and_show(path, RECIPE, tmp_path / "archive")
        parameters = run_of(client, path).parameters
        assert parameters.keys() == {"path", "recipe", "archive"}
        assert parameters["archive"] == str(tmp_path / "archive")
        assert parameters["recipe"]["background"]["lam"] == 0.5

    def test_each_step_is_a_task_run(self, client, write_scan, tmp_path):
        path = write_scan("stm_0001.npy")
        restore_and_show(path, RECIPE, tmp_path / "archive")
        tasks = task_runs(client, run_of(client, path), number=8)
        names = [re.sub("-[0-9a-f]{3}$", "", task.name) for task in tasks]
        assert names == [
            "read", "scale", "extract background", "median", "contrast", "denoise", "preview", "archive",
        ]  # fmt: skip

    def test_the_archive_names_the_run_that_wrote_it(self, client, write_scan, tmp_path):
        path = write_scan("stm_0001.npy")
        (outcome,) = restore_and_show(path, RECIPE, tmp_path / "archive")
        context = archive.summary(outcome.archive)["context"]
        run = run_of(client, path)
        assert context == {"prefect": {"flow_run_id": str(run.id), "flow_run_name": run.name}}

    def test_the_artifact_holds_a_small_picture_the_gap_and_the_place_of_the_archive(
        self, client, write_scan, tmp_path
    ):
        path = write_scan("stm_0001.npy")
        (outcome,) = restore_and_show(path, RECIPE, tmp_path / "archive")
        artifact = artifact_of(client, run_of(client, path))
        picture, rest = re.fullmatch(
            r"!\[[^]]*\]\(data:image/jpeg;base64,([^)]+)\)(.*)", artifact.data, re.DOTALL
        ).groups()
        assert len(picture) <= 60_000
        assert Image.open(io.BytesIO(base64.b64decode(picture))).format == "JPEG"
        assert f"{outcome.gap:.1e}" in rest
        assert str(outcome.archive) in rest
        assert "stm_0001.npy" in artifact.description

    def test_a_damaged_file_is_a_failed_run_whose_message_is_the_sentence(self, client, write_scan, tmp_path):
        path = write_scan("stm_0002.npy")
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(UnreadableFileError) as raised:
            restore_and_show(path, RECIPE, tmp_path / "archive")
        run = run_of(client, path)
        assert run.state.is_failed()
        assert run.state.message == str(raised.value)
        assert "stm_0002.npy is not whole" in run.state.message


class TestWithoutServer:
    def test_the_file_is_restored_all_the_same_and_that_is_said(self, dead_url, write_scan, tmp_path):
        path = write_scan("stm_0001.npy")
        with prefect_at(dead_url):
            (outcome,) = restore_and_show(path, RECIPE, tmp_path / "archive")
        assert "The Prefect server cannot be reached" in outcome.notes[-1]
        assert archive.summary(outcome.archive)["context"] == {}

    def test_a_damaged_file_is_refused_with_the_same_sentence(self, dead_url, write_scan, tmp_path):
        path = write_scan("stm_0002.npy")
        path.write_bytes(path.read_bytes()[:200])
        with prefect_at(dead_url), pytest.raises(UnreadableFileError, match=r"stm_0002\.npy is not whole"):
            restore_and_show(path, RECIPE, tmp_path / "archive")
