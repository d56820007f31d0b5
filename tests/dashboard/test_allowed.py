"""Which files runs that were started on a server may use."""

import pytest
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.rerun import rerun_flow
from flows.restore import restore_flow
from tests.dashboard.test_setup import clear
from tests.wine import needs_links
from tvtasks.dashboard import allowed
from tvtasks.dashboard import setup as deploying
from tvtasks.dashboard.setup import Wishes
from tvtasks.recipe import Recipe

RECIPE = Recipe.load("stm-scratches")


@pytest.fixture(scope="module")
def deployed(server):
    """A client of the server, on which all is deployed."""
    settings = temporary_settings({PREFECT_API_URL: server.api_url})
    with settings, get_client(sync_client=True) as client:
        list(deploying.deploy(client, Wishes("forms")))
        yield client
        clear(client)


@pytest.fixture
def started_on_the_server(server, deployed, monkeypatch, tmp_path):
    """Runs a flow as a worker does that may use the folder `open`; returns the final state."""
    monkeypatch.setenv(allowed.VARIABLE, str(tmp_path / "open"))
    client = deployed
    with temporary_settings({PREFECT_API_URL: server.api_url}):

        def start(flow, **parameters):
            deployment = client.read_deployment_by_name(f"{flow.name}/{flow.name}")
            run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
            return run_flow(flow, flow_run=run, parameters=parameters, return_type="state")

        yield start


class TestRunsThatWereStartedOnTheServer:
    def test_files_in_an_allowed_folder_are_restored(self, started_on_the_server, save_scan, tmp_path):
        path = save_scan(tmp_path / "open" / "scan.npy")
        state = started_on_the_server(
            restore_flow, path=str(path), recipe=RECIPE, archive=str(tmp_path / "open" / "archive")
        )
        assert state.is_completed()

    def test_another_folder_is_refused_and_nothing_is_written(
        self, started_on_the_server, save_scan, tmp_path
    ):
        path = save_scan(tmp_path / "open" / "scan.npy")
        elsewhere = tmp_path / "elsewhere"
        state = started_on_the_server(restore_flow, path=str(path), recipe=RECIPE, archive=str(elsewhere))
        assert state.is_failed()
        assert state.message.startswith(
            f"{elsewhere} may not be used by a run that was started on the server"
        )
        assert "tvtasks deploy --allow FOLDER" in state.message
        assert not elsewhere.exists()

    @needs_links
    def test_a_link_that_leads_out_is_refused(self, started_on_the_server, save_scan, tmp_path):
        save_scan(tmp_path / "secret" / "scan.npy")
        (tmp_path / "open").mkdir()
        (tmp_path / "open" / "link").symlink_to(tmp_path / "secret")
        state = started_on_the_server(rerun_flow, sources=[str(tmp_path / "open" / "link")], recipes=["auto"])
        assert state.is_failed()
        assert "may not be used" in state.message

    @pytest.mark.parametrize("recipe", ["/etc/passwd", "*.npy=../secret.toml", "secret.toml"])
    def test_so_is_a_recipe_from_elsewhere(self, started_on_the_server, save_scan, tmp_path, recipe):
        path = save_scan(tmp_path / "open" / "scan.npy")
        state = started_on_the_server(rerun_flow, sources=[str(path)], recipes=[recipe])
        assert "may not be used" in state.message

    def test_without_allowed_folders_none_may_be_used(self, started_on_the_server, tmp_path, monkeypatch):
        monkeypatch.delenv(allowed.VARIABLE)
        state = started_on_the_server(rerun_flow, sources=[str(tmp_path)], recipes=["auto"])
        assert "access to no folder so far" in state.message


def test_a_run_that_this_process_started_may_use_any_folder(at_server, save_scan, tmp_path, monkeypatch):
    monkeypatch.delenv(allowed.VARIABLE, raising=False)
    path = save_scan(tmp_path / "scan.npy")
    assert restore_flow(path, tmp_path / "archive", RECIPE, return_state=True).is_completed()
