"""The page of a watch in the dashboard, on a real server."""

import logging
import subprocess
import sys
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.states import Cancelling

from flows.restore import restore_and_show
from tests.flows.test_restore import RECIPE, eventually
from tvtasks.dashboard.automations import SILENT, ensure, silent_runs
from tvtasks.dashboard.runs import archive_tag, tagged_with
from tvtasks.dashboard.supervision import prefect_at
from tvtasks.dashboard.watch_page import ROWS, WatchPage
from tvtasks.errors import ArchiveError, UnreadableFileError
from tvtasks.ledger import State
from tvtasks.options import WatchOptions
from tvtasks.outcome import Change


@pytest.fixture
def client(at_server):
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "scans").mkdir()
    return tmp_path / "scans", tmp_path / "Restored scans"


def page_of(supervisor, api_url, folder, archive, **options):
    asked = WatchOptions(folder=folder, archive=archive, recipes=())
    return WatchPage(supervisor, api_url, asked, **options)


def runs_of(client, archive):
    chosen = FlowRunFilter.model_validate({"tags": {"all_": [archive_tag(archive)]}})
    return [run for run in client.read_flow_runs(flow_run_filter=chosen) if run.name.startswith("watch ")]


def shown(client, run):
    """The content of the run's artifacts, by the first word of their keys."""
    found = client.request(
        "POST", "/artifacts/filter", json={"artifacts": {"flow_run_id": {"any_": [str(run.id)]}}}
    )
    assert len(found.json()) <= 3, "they are changed in place"
    return {artifact["key"].partition("-")[0]: artifact["data"] for artifact in found.json()}


class TestRetry:
    def test_the_button_queues_the_file_again_and_no_run_waits_for_ever(
        self, server, client, folders, save_scan
    ):
        folder, archive = folders
        bad = save_scan(folder / "stm_2.npy")
        bad.write_bytes(bad.read_bytes()[:200])
        asked = []

        def retry(path):
            asked.append(path)
            return 1

        with (
            prefect_at(server.api_url) as supervisor,
            tagged_with(archive),
            page_of(supervisor, server.api_url, folder, archive, retry=retry) as page,
        ):
            with pytest.raises(UnreadableFileError):
                restore_and_show(bad, RECIPE, archive)
            run = supervisor.run_of(bad)
            page.publish()
            assert asked == []
            # what the button sends
            reply = client.request(
                "POST",
                f"/flow_runs/{run}/set_state",
                json={"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True},
            )
            assert reply.is_success
            page.publish()
        assert asked == [bad]
        state = client.read_flow_run(run).state
        assert state.is_cancelled()
        assert "restores stm_2.npy again" in state.message


class TestWhatItShows:
    def test_a_run_shows_the_watch_with_its_latest_files_progress_and_health(
        self, server, client, folders, save_scan
    ):
        folder, archive = folders
        good, bad = save_scan(folder / "stm_1.npy"), save_scan(folder / "stm|2.npy")
        bad.write_bytes(bad.read_bytes()[:200])
        counts = {State.DONE: 1, State.QUARANTINED: 1, State.QUEUED: 2}
        with (
            prefect_at(server.api_url) as supervisor,
            page_of(supervisor, server.api_url, folder, archive, counts=lambda: counts) as page,
        ):
            page.begin()
            done = restore_and_show(good, RECIPE, archive)
            page.changed(Change(good.resolve(), State.DONE, RECIPE.name, outcomes=tuple(done)))
            with pytest.raises(UnreadableFileError) as fault:
                restore_and_show(bad, RECIPE, archive)
            page.changed(Change(bad.resolve(), State.QUARANTINED, RECIPE.name, str(fault.value)))
            page.problems([], [], ["The disk is nearly full."])
            eventually(lambda: len(runs_of(client, archive)) == 1)
            (run,) = runs_of(client, archive)
            assert run.state.is_running()
            texts = {}

            def all_is_shown():
                texts.update(shown(client, run))
                return "nearly full" in texts.get("health", "") and r"stm\|2.npy" in texts.get("files", "")

            eventually(all_is_shown)
            links = {path: supervisor.run_of(path) for path in (good, bad)}
        assert texts["progress"] == 50.0
        assert "1 done, 1 quarantined, 2 queued" in texts["files"]
        assert f"| [stm_1.npy](/runs/flow-run/{links[good]}) | done | all-steps |" in texts["files"]
        assert rf"| [stm\|2.npy](/runs/flow-run/{links[bad]}) | **quarantined** |" in texts["files"]
        assert r"stm\|2.npy is incomplete" in texts["files"]
        (run,) = runs_of(client, archive)
        assert run.state.is_completed()
        assert "The watch has ended." in shown(client, run)["health"]

    def test_only_the_latest_files_are_shown(self, server, client, folders):
        folder, archive = folders
        with prefect_at(server.api_url) as supervisor:
            page = page_of(supervisor, server.api_url, folder, archive)
            for number in range(2 * ROWS):
                page.changed(Change(folder.resolve() / f"{number}.npy", State.DONE, "stm"))
            page.publish()
        (run,) = runs_of(client, archive)
        table = shown(client, run)["files"]
        assert table.count(".npy | done |") == ROWS
        assert f"| {2 * ROWS - 1}.npy |" in table
        assert f"| {ROWS - 1}.npy |" not in table

    def test_two_archives_of_one_name_do_not_share_a_key(self, server, at_server, folders, tmp_path):
        names = {
            page_of(None, server.api_url, folders[0], place / "Ärchive 1").name
            for place in (tmp_path, tmp_path / "other")
        }
        assert len(names) == 2
        assert all(name.startswith("rchive-1-") for name in names)

    def test_artifacts_deleted_in_the_dashboard_come_back(self, server, client, folders):
        folder, archive = folders
        with prefect_at(server.api_url) as supervisor:
            page = page_of(supervisor, server.api_url, folder, archive)
            page.publish()
            (first,) = runs_of(client, archive)
            client.delete_flow_run(first.id)
            for artifact in client.read_artifacts():
                if artifact.flow_run_id == first.id:
                    client.delete_artifact(artifact.id)
            page.problems([], [], ["The disk is full."])
            page.publish()
            page.publish()
        (second,) = runs_of(client, archive)
        assert second.id != first.id
        assert "The disk is full." in shown(client, second)["health"]

    def test_a_server_that_does_not_answer_is_not_tried(self, dead_url, folders, caplog):
        asked = []
        with (
            caplog.at_level(logging.DEBUG, "tvtasks.dashboard.watch_page"),
            prefect_at(dead_url) as supervisor,
            page_of(supervisor, dead_url, *folders, answers=lambda: asked.append("no")) as page,
        ):
            page.begin()
            page.changed(Change(Path("x.npy"), State.DONE))
            eventually(lambda: len(asked) > 2)
        assert "could not be shown" not in caplog.text


class TestHowItEnds:
    def test_cancelling_its_run_ends_the_watch(self, server, client, folders):
        cancelled = []
        with (
            prefect_at(server.api_url) as supervisor,
            page_of(supervisor, server.api_url, *folders, cancel=lambda: cancelled.append(True)) as page,
        ):
            page.begin()
            eventually(lambda: runs_of(client, folders[1]))
            (run,) = runs_of(client, folders[1])
            client.set_flow_run_state(run.id, Cancelling())
            eventually(lambda: cancelled)
        assert cancelled == [True]
        (run,) = runs_of(client, folders[1])
        assert run.state.is_cancelled()

    def test_an_error_that_ends_the_watch_is_its_message(self, server, client, folders):
        with (
            pytest.raises(ArchiveError),
            prefect_at(server.api_url) as supervisor,
            page_of(supervisor, server.api_url, *folders) as page,
        ):
            page.begin()
            eventually(lambda: runs_of(client, folders[1]))
            raise ArchiveError("The ledger cannot be written.")
        (run,) = runs_of(client, folders[1])
        assert run.state.is_failed()
        assert run.state.message == "The ledger cannot be written."


def test_the_automation_exists_exactly_once(client):
    def there():
        return client.read_automations_by_name(SILENT)

    ensure(client, silent_runs(timedelta(seconds=30)))
    (first,) = there()
    ensure(client, silent_runs())
    ensure(client, silent_runs())
    (found,) = there()
    assert found.id == first.id
    assert found.trigger.within == timedelta(seconds=75)
    assert found.trigger.match_related["prefect.resource.id"] == ["prefect.tag.tvtasks"]


WATCH = """
import sys, threading
from pathlib import Path

from flows import restore
from tvtasks.dashboard import automations, supervision, watch_page
from tvtasks.dashboard.runs import tagged_with
from tvtasks.options import WatchOptions
from tests.flows.test_restore import RECIPE

supervision.RUN_HEARTBEAT_SECONDS = 1.0
supervision.CHECK_SECONDS = 0.5
automations.ensure = lambda client, rule: None
archive = Path(sys.argv[2])

def block(*arguments, **options):
    threading.Event().wait(600)

restore.workflow.restore_file = block
asked = WatchOptions(folder=Path(sys.argv[1]).parent, archive=archive, recipes=())
with supervision.prefect_at(sys.argv[3]) as supervisor, tagged_with(archive):
    with watch_page.WatchPage(supervisor, sys.argv[3], asked) as shown:
        shown.begin()
        restore.restore_and_show(Path(sys.argv[1]), RECIPE, archive)
"""


@pytest.mark.slow
def test_the_server_marks_only_the_runs_of_a_killed_watch_as_crashed(server, client, write_scan, tmp_path):
    path = write_scan("stm_0001.npy")
    ensure(client, silent_runs(timedelta(seconds=10)))  # the shortest that Prefect accepts

    def runs(archive):
        chosen = FlowRunFilter.model_validate({"tags": {"all_": [archive_tag(archive)]}})
        return client.read_flow_runs(flow_run_filter=chosen)

    def states(archive):
        return [run.state_name for run in runs(archive)]

    @contextmanager
    def watch(archive):
        command = [sys.executable, "-c", WATCH, str(path), str(archive), server.api_url]
        with subprocess.Popen(command) as child:
            try:
                eventually(lambda: states(archive) == ["Running", "Running"])
                yield
            finally:
                child.kill()

    lives, killed = tmp_path / "lives", tmp_path / "killed"
    try:
        with watch(lives):
            with watch(killed):
                pass
            eventually(lambda: states(killed) == ["Crashed", "Crashed"], seconds=90.0)
            # It is older than the other and was never marked as crashed: it would set itself to Running
            # again.
            for run in runs(lives):
                history = client.read_flow_run_states(run.id)
                assert {state.name for state in history} <= {"Pending", "Running"}
        assert all("no sign of life" in run.state.message for run in runs(killed))
    finally:
        for automation in client.read_automations_by_name(SILENT):
            client.delete_automation(automation.id)
