"""The restore flow on a real server: what the dashboard shows, and what happens without a server."""

import base64
import io
import re
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter
from prefect.client.schemas.objects import Artifact, FlowRun, TaskRun
from prefect.client.schemas.objects import State as PrefectState
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import TagsContext
from prefect.flow_engine import run_flow
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Pending, Running
from prefect.utilities.callables import parameter_schema
from rich.console import Console

from flows.restore import restore_and_show, restore_flow
from tvtasks import archive, tasks, workflow
from tvtasks.acquisition.loop import acquire
from tvtasks.archive.folder import ledger_path
from tvtasks.cli.reports import summary
from tvtasks.dashboard.markdown import plain
from tvtasks.dashboard.runs import close_lost_runs, tagged_with
from tvtasks.dashboard.server import Server
from tvtasks.dashboard.supervision import prefect_at
from tvtasks.errors import UnreadableFileError
from tvtasks.ledger import Ledger, State
from tvtasks.options import WatchOptions
from tvtasks.recipe import HuberROFStep, Median, Recipe
from tvtasks.recipe_book import RecipeBook

STEP = HuberROFStep(model="huber-rof", lam=0.5, direction="x")
RECIPE = Recipe(name="all-steps", background=STEP, median=Median(), contrast=STEP, denoise=STEP)
HALF_A_MINUTE = 30.0
NEWEST = FlowRunSort.EXPECTED_START_TIME_DESC


@pytest.fixture
def client(at_server: Server) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def run_of(client: SyncPrefectClient, path: Path) -> FlowRun:
    """The only flow run for this file."""
    runs = [run for run in client.read_flow_runs(sort=NEWEST) if run.parameters.get("path") == str(path)]
    assert len(runs) == 1
    return runs[0]


def task_runs(client: SyncPrefectClient, run: FlowRun, *, number: int) -> list[TaskRun]:
    """The task runs of a flow run in order; the server records them about a second later."""
    chosen = FlowRunFilter.model_validate({"id": {"any_": [run.id]}})

    def found() -> list[TaskRun]:
        return client.read_task_runs(flow_run_filter=chosen)

    eventually(lambda: len(found()) >= number and all(task.state.is_final() for task in found()))
    return sorted(found(), key=lambda task: task.start_time)


def artifact_of(client: SyncPrefectClient, run: FlowRun) -> Artifact:
    chosen = ArtifactFilter.model_validate({"flow_run_id": {"any_": [run.id]}})
    (artifact,) = client.read_artifacts(artifact_filter=chosen)
    return artifact


def watching(folder: Path, directory: Path) -> WatchOptions:
    return WatchOptions(folder=folder, archive=directory, recipes=(), settle=0.05, once=True)


def eventually(condition: Callable[[], object], seconds: float = HALF_A_MINUTE) -> None:
    """Wait for another process: there is no clock to inject."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


class TestWhatTheServerShows:
    def test_a_run_is_named_after_its_file_and_tagged_with_its_recipe(self, client, write_scan, tmp_path):
        path = write_scan("stm_0001.npy")
        restore_and_show(path, RECIPE, tmp_path / "archive")
        run = run_of(client, path)
        assert run.name == "stm_0001.npy · all-steps"
        assert set(run.tags) == {"all-steps", "tvtasks"}
        assert run.state.is_completed()

    def test_its_parameters_are_paths_and_the_recipe_never_pixels(self, client, write_scan, tmp_path):
        path = write_scan("stm_0001.npy")
        restore_and_show(path, RECIPE, tmp_path / "archive")
        parameters = run_of(client, path).parameters
        assert parameters.keys() == {"path", "recipe", "archive", "page_kb", "storage"}
        assert parameters["storage"] | {"compression": "gzip", "sample": None} == parameters["storage"]
        assert parameters["archive"] == str(tmp_path / "archive")
        assert parameters["recipe"]["background"]["lam"] == 0.5

    def test_each_step_is_a_task_run(self, client, write_scan, tmp_path):
        path = write_scan("stm_0001.npy")
        restore_and_show(path, RECIPE, tmp_path / "archive")
        tasks = task_runs(client, run_of(client, path), number=8)
        names = [re.sub("-[0-9a-f]{3}$", "", task.name) for task in tasks]
        assert names == [
            "read",
            "scale",
            "extract background",
            "median",
            "contrast",
            "denoise",
            "preview",
            "archive",
        ]

    def test_it_is_listed_under_a_deployment_that_comes_back_if_deleted(self, client, write_scan, tmp_path):
        first, second = write_scan("stm_0001.npy"), write_scan("stm_0002.npy", seed=1)
        restore_and_show(first, RECIPE, tmp_path / "archive")
        listed = run_of(client, first).deployment_id
        client.delete_deployment(listed)
        restore_and_show(second, RECIPE, tmp_path / "archive")
        run = run_of(client, second)
        assert client.read_deployment(run.deployment_id).name == "live"
        assert run.deployment_id != listed
        assert run.state.is_completed()

    def test_the_archive_names_the_run_that_wrote_it(self, client, write_scan, tmp_path):
        path = write_scan("stm_0001.npy")
        (outcome,) = restore_and_show(path, RECIPE, tmp_path / "archive")
        context = archive.summary(outcome.archive)["context"]
        run = run_of(client, path)
        assert context == {
            "prefect": {
                "flow_run_id": str(run.id),
                "flow_run_name": run.name,
                "run_count": 1,
                "deployment_id": str(run.deployment_id),
            }
        }
        shown = Console(record=True, width=200, file=io.StringIO())
        shown.print(summary(archive.summary(outcome.archive)))
        assert f"{run.name}, {run.id}, attempt 1" in shown.export_text()

    def test_the_archive_also_names_the_deployment(self, client, write_scan, tmp_path):
        """With parameters as a form or an event passes them."""
        path = write_scan("stm_0001.npy")
        sample = {"name": "Si", "atom_types": ["Si"], "preparation_date": "2024-04-30"}
        parameters = {
            "path": str(path),
            "recipe": RECIPE.model_dump(mode="json", exclude_none=True),
            "archive": str(tmp_path / "archive"),
            "storage": {"compression": "none", "sample": sample},
        }
        flow = client.create_flow(restore_flow)
        schema = parameter_schema(restore_flow).model_dump()
        deployment = client.create_deployment(flow, "by hand", parameter_openapi_schema=schema)
        run = client.create_flow_run_from_deployment(deployment, parameters=parameters)
        run_flow(restore_flow, run)
        (found,) = (tmp_path / "archive").glob("*.nxs")
        record = archive.summary(found)
        assert record["context"]["prefect"]["deployment_id"] == str(deployment)
        assert archive.Sample(**record["sample"]) == archive.Sample(**sample)

    def test_the_artifact_holds_a_small_picture_the_gap_and_the_path_of_the_result(
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
        assert "stm_0002.npy is incomplete" in run.state.message

    def test_a_defect_is_a_sentence_too_and_its_traceback_is_in_the_log_of_the_run(
        self, client, write_scan, tmp_path, monkeypatch
    ):
        def stumble(*arguments, **options):
            raise KeyError("odd")

        monkeypatch.setattr(workflow, "restore_file", stumble)
        path = write_scan("stm_0002.npy")
        with pytest.raises(KeyError):
            restore_and_show(path, RECIPE, tmp_path / "archive")
        run = run_of(client, path)
        assert run.state.is_failed()
        assert "stm_0002.npy: an error in tvtasks itself (KeyError: 'odd')" in run.state.message

    @pytest.mark.parametrize("page_kb", [60, 20, 2, 0])
    def test_the_page_of_an_image_keeps_its_size_limit(self, client, write_scan, tmp_path, page_kb):
        path = write_scan("stm_0001.npy")
        restore_and_show(path, RECIPE, tmp_path / "archive", page_kb=page_kb)
        text = artifact_of(client, run_of(client, path)).data
        assert ("data:image/jpeg" in text) == (page_kb > 2)
        assert "| background |" in text
        if page_kb:
            assert len(text.encode()) <= 1000 * page_kb

    def test_names_and_notes_cannot_break_the_page(self):
        assert plain("a|b\n[x](y) `z` <i>_1") == r"a\|b \[x\](y) \`z\` \<i\>_1"


class TestCancelling:
    """A run that is cancelled, as by the button in the dashboard, during its first step."""

    @pytest.fixture
    def reading(self, monkeypatch):
        """Reading reports that it has begun, then waits for permission to go on."""
        begun, go_on = threading.Event(), threading.Event()

        def read(path):
            begun.set()
            assert go_on.wait(HALF_A_MINUTE)
            return workflow.readers.read(path)

        monkeypatch.setitem(tasks.TASKS, workflow.read, tasks._step(read, "read"))
        return begun, go_on

    def restore_meanwhile(self, path, directory, reading, meanwhile):
        """Return the ledger after restoring a file, with an action during its reading."""
        begun, go_on = reading

        def cancel():
            assert begun.wait(HALF_A_MINUTE)
            meanwhile()
            go_on.set()

        recipes = RecipeBook((("*", RECIPE),))
        helper = threading.Thread(target=cancel)
        helper.start()
        acquire(watching(path.parent, directory), recipes, restore_and_show)
        helper.join()
        with Ledger(ledger_path(directory)) as ledger:
            return ledger.entries()

    @pytest.mark.parametrize("state", [Cancelling(), Cancelled()], ids=lambda state: state.name)
    def test_it_stops_at_the_next_step_and_the_file_waits_for_retry(
        self, server, reading, write_scan, tmp_path, state
    ):
        path, directory = write_scan("stm_0001.npy"), tmp_path / "archive"
        with prefect_at(server.api_url) as supervisor, get_client(sync_client=True) as client:

            def cancel():
                client.set_flow_run_state(supervisor.run_of(path), state)
                eventually(lambda: supervisor.is_cancelled(supervisor.run_of(path)))

            (entry,) = self.restore_meanwhile(path, directory, reading, cancel)
            run = run_of(client, path)
        assert run.state.is_cancelled()
        assert "stm_0001.npy was cancelled in the dashboard" in run.state.message
        assert entry.state is State.CANCELLED
        assert "tvtasks retry" in entry.reason
        assert not list(directory.glob("*.nxs"))

    def test_a_run_wrongly_marked_as_crashed_continues_and_is_shown_as_done(
        self, server, reading, write_scan, tmp_path
    ):
        path, directory = write_scan("stm_0001.npy"), tmp_path / "archive"
        with prefect_at(server.api_url) as supervisor, get_client(sync_client=True) as client:

            def bury():
                run = supervisor.run_of(path)
                client.set_flow_run_state(run, Crashed(), force=True)
                eventually(lambda: client.read_flow_run(run).state_name == "Running")

            (entry,) = self.restore_meanwhile(path, directory, reading, bury)
            assert run_of(client, path).state.is_completed()
        assert entry.state is State.DONE


class TestWithoutServer:
    def test_the_file_is_still_restored_and_a_note_says_so(self, dead_url, write_scan, tmp_path):
        path = write_scan("stm_0001.npy")
        with prefect_at(dead_url):
            (outcome,) = restore_and_show(path, RECIPE, tmp_path / "archive")
        assert "The Prefect server cannot be reached" in outcome.notes[-1]
        assert archive.summary(outcome.archive)["context"] == {}

    def test_a_damaged_file_is_refused_with_the_same_sentence(self, dead_url, write_scan, tmp_path):
        path = write_scan("stm_0002.npy")
        path.write_bytes(path.read_bytes()[:200])
        with prefect_at(dead_url), pytest.raises(UnreadableFileError, match=r"stm_0002\.npy is incomplete"):
            restore_and_show(path, RECIPE, tmp_path / "archive")

    def test_runs_that_were_cut_short_stay_as_they_are(self, dead_url, tmp_path, caplog):
        with prefect_at(dead_url):
            assert close_lost_runs(tmp_path / "archive") == 0
        assert "could not be marked as crashed" in caplog.text


KILLED = """
import sys, threading
from pathlib import Path

from flows import restore
from tvtasks.dashboard.runs import tagged_with
from tvtasks.dashboard.supervision import prefect_at
from tvtasks.options import WatchOptions
from tvtasks.recipe import HuberROFStep, Recipe

path, archive = Path(sys.argv[1]), Path(sys.argv[2])
recipe = Recipe(background=HuberROFStep(model="huber-rof", lam=0.5, direction="x"))

def block(*arguments, **options):
    print("running", flush=True)
    threading.Event().wait(60)

restore.workflow.restore_file = block
with prefect_at(sys.argv[3]), tagged_with(archive):
    restore.restore_and_show(path, recipe, archive)
"""


class TestRunsCutShort:
    def test_a_run_of_a_killed_watch_is_shown_as_crashed(self, client, at_server, write_scan, tmp_path):
        path = write_scan("stm_0001.npy")
        command = [
            sys.executable,
            "-c",
            KILLED,
            str(path),
            str(tmp_path / "archive"),
            at_server.api_url,
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            try:
                assert child.stdout.readline() == "running\n"
            finally:
                child.kill()
        assert run_of(client, path).state.is_running(), "the server does not know"
        assert close_lost_runs(tmp_path / "archive") == 1
        run = run_of(client, path)
        assert run.state.is_crashed()
        assert "tvtasks was killed" in run.state.message
        assert close_lost_runs(tmp_path / "archive") == 0

    @pytest.mark.parametrize("state", [Pending(), Cancelling()], ids=lambda state: state.name)
    def test_so_is_a_run_that_had_not_begun_or_was_being_cancelled(self, client, write_scan, tmp_path, state):
        path = write_scan("stm_0001.npy")
        create_run(client, path, tmp_path / "archive", state, watched=True)
        assert close_lost_runs(tmp_path / "archive") == 1
        assert run_of(client, path).state.is_crashed()

    def test_runs_that_ended_or_belong_elsewhere_are_left_alone(self, client, write_scan, tmp_path):
        ended, elsewhere, single = (write_scan(f"stm_000{number}.npy") for number in range(3))
        create_run(client, ended, tmp_path / "archive", Completed(), watched=True)
        create_run(client, elsewhere, tmp_path / "other archive", Running(), watched=True)
        create_run(client, single, tmp_path / "archive", Running(), watched=False)
        assert close_lost_runs(tmp_path / "archive") == 0
        assert run_of(client, ended).state.is_completed()
        assert run_of(client, elsewhere).state.is_running()
        assert run_of(client, single).state.is_running()


def create_run(
    client: SyncPrefectClient, path: Path, directory: Path, state: PrefectState[Any], *, watched: bool
) -> None:
    with tagged_with(directory) if watched else nullcontext():
        client.create_flow_run(
            restore_flow,
            parameters={
                "path": str(path),
                "recipe": RECIPE.model_dump(mode="json"),
                "archive": str(directory),
            },
            tags=TagsContext.get().current_tags,
            state=state,
        )


class _Forgetful(socketserver.BaseRequestHandler):
    """Passes everything on to a server and back, but drops the first reply to the creation of a run."""

    def handle(self) -> None:
        with socket.create_connection(self.server.upstream) as upstream:
            replies = threading.Thread(target=self._pass_back, args=(upstream,))
            replies.start()
            while data := self.request.recv(65536):
                if b"/create_flow_run HTTP" in data and not self.server.lost:
                    self.server.lost.append(self)
                upstream.sendall(data)
            upstream.shutdown(socket.SHUT_WR)
            replies.join()

    def _pass_back(self, upstream: socket.socket) -> None:
        while data := upstream.recv(65536):
            if self in self.server.lost:
                break
            self.request.sendall(data)
        self.request.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def forgetful(server: Server) -> Iterator[str]:
    """The address of a server that loses a reply: it creates the run, but the client does not know."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Forgetful) as proxy:
        proxy.daemon_threads = True
        proxy.block_on_close = False
        proxy.upstream = ("127.0.0.1", urlsplit(server.api_url).port)
        proxy.lost = []
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{proxy.server_address[1]}/api"
        assert proxy.lost
        proxy.shutdown()
        thread.join()


class TestLostReply:
    def test_it_ends_in_one_result_one_entry_and_no_ghost_run(
        self, client, at_server, forgetful, write_scan, tmp_path
    ):
        path, directory = write_scan("stm_0001.npy"), tmp_path / "archive"
        recipes = RecipeBook((("*", RECIPE),))
        with prefect_at(forgetful), tagged_with(directory):
            tally = acquire(watching(path.parent, directory), recipes, restore_and_show)
        assert (tally.restored, tally.failed, tally.left) == (1, {}, [])
        assert len(list(directory.glob("*.nxs"))) == 1
        with Ledger(ledger_path(directory)) as ledger:
            (entry,) = ledger.entries()
            assert entry.state is State.DONE
            assert [attempt.outcome for attempt in ledger.history(path)] == ["done"]
        with prefect_at(at_server.api_url):
            assert close_lost_runs(directory) == 0
        runs = [run for run in client.read_flow_runs(sort=NEWEST) if run.parameters.get("path") == str(path)]
        assert [run.state.name for run in runs] == ["Completed"]
