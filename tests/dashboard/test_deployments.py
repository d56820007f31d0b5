"""The files in deployments/: each is parsed and, where possible, applied to a server and read back."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.events.schemas.events import Event, Resource
from prefect.workers.process import ProcessWorker

from tests.dashboard.test_setup import TRIGGER, clear
from tvtasks.dashboard import setup as deploying
from tvtasks.dashboard.forms import in_order
from tvtasks.dashboard.setup import Wishes
from tvtasks.dashboard.supervision import prefect_at
from tvtasks.options import USUAL_RECIPE
from tvtasks.recipe import Recipe

REPOSITORY = Path(__file__).parents[2]
DEPLOYMENTS = REPOSITORY / "deployments"
DEPLOY = "--no-prompt deploy --all --prefect-file deployments/prefect.yaml"


def settings(path: Path) -> dict[str, str]:
    """The variables of a file that systemd and compose read."""
    lines = [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


class TestPrefectYaml:
    @pytest.fixture(scope="class")
    @classmethod
    def applied(cls, server):
        """The deployments by name, applied with Prefect's own command as the file's first lines say."""
        with prefect_at(server.api_url), get_client(sync_client=True) as client:
            clear(client)
            template = ProcessWorker.get_default_base_job_template()
            client.create_work_pool(
                WorkPoolCreate(name="tvtasks", type="process", base_job_template=template)
            )
            for name, priority in deploying.QUEUES.items():
                client.create_work_queue(name, work_pool_name="tvtasks", priority=priority)
            subprocess.run(
                [sys.executable, "-m", "prefect", *DEPLOY.split()],
                cwd=REPOSITORY,
                check=True,
                capture_output=True,
                env=os.environ | {"PREFECT_API_URL": server.api_url},
            )
            yield {found.name: found for found in client.read_deployments()}
            clear(client)

    @pytest.mark.parametrize(
        ("name", "required", "limit", "queue", "tags"),
        [
            ("restore", ["path", "archive"], 32, "live", ["tvtasks", "live"]),
            ("acquire", ["folder", "archive"], None, "live", ["tvtasks", "live"]),
            ("rerun", ["sources"], 1, "rerun", ["tvtasks", "rerun"]),
            ("sweep", ["path", "output"], None, "live", ["tvtasks", "live"]),
        ],
    )
    def test_each_deployment_is_read_back_as_intended(self, applied, name, required, limit, queue, tags):
        found = applied[name]
        assert found.tags == tags
        assert (found.work_pool_name, found.work_queue_name) == ("tvtasks", queue)
        assert found.parameter_openapi_schema["required"] == required  # deploying loads the flow
        assert (found.global_concurrency_limit.limit if limit else found.global_concurrency_limit) == limit
        if limit:
            assert found.concurrency_options.collision_strategy == "ENQUEUE"
        assert found.job_variables == {}  # the pool has the environment
        assert found.pull_steps == []  # a worker on any system imports it
        assert set(applied) == {"restore", "acquire", "rerun", "sweep"}

    def test_the_nightly_rerun_is_paused_until_it_has_an_archive(self, applied):
        (nightly,) = applied["rerun"].schedules
        assert (nightly.slug, nightly.active, nightly.schedule.cron) == ("nightly", False, "0 2 * * *")
        assert nightly.parameters == {"sources": ["/data/archive"], "recipes": ["auto"]}

    def test_the_trigger_is_off_and_its_recipe_is_the_usual_one(self, applied, server):
        with prefect_at(server.api_url), get_client(sync_client=True) as client:
            (trigger,) = client.read_automations_by_name(TRIGGER)
        (action,) = trigger.actions
        assert not trigger.enabled
        assert action.deployment_id == applied["restore"].id
        assert trigger.trigger.expect == {"tvtasks.file.written"}
        assert action.parameters["path"] == "{{ event.payload.path }}"
        assert "recipe" not in action.parameters
        usual = applied["restore"].parameter_openapi_schema["properties"]["recipe"]["default"]
        assert Recipe.model_validate(usual).digest == Recipe.load(USUAL_RECIPE).digest

    def test_our_command_agrees_with_prefects_own(self, applied, server):
        with prefect_at(server.api_url), get_client(sync_client=True) as client:
            actions = list(deploying.deploy(client, Wishes()))
            now = {name: client.read_deployment(there.id) for name, there in applied.items()}
        # Our pool allows a run no command or environment of its own; Prefect's own pool does.
        others = {"automation", "work pool", "deployment"}
        assert {one.done for one in actions if one.kind not in others} == {"unchanged"}
        # Prefect does not number the fields of models within a form.
        for name, before in applied.items():
            assert now[name].parameter_openapi_schema == in_order(before.parameter_openapi_schema)
            ignored = {"parameter_openapi_schema", "updated", "last_polled", "status"}
            assert now[name].model_dump(exclude=ignored) == before.model_dump(exclude=ignored)
        assert deploying.template(())["job_configuration"]["env"]["DO_NOT_TRACK"] == "1"


def test_an_event_with_a_path_starts_a_run_that_restores_it(server, tmp_path):
    recipe = Recipe.load("stm-scratches").model_dump(mode="json")
    with prefect_at(server.api_url), get_client(sync_client=True) as client:
        list(deploying.deploy(client, Wishes("events", event={"archive": str(tmp_path), "recipe": recipe})))
        path = tmp_path / "scans" / "stm.npy"
        event = Event(
            event="tvtasks.file.written",
            resource=Resource({"prefect.resource.id": f"lims.{uuid4()}"}),
            payload={"path": str(path)},
        )
        client.request("POST", "/events", json=[event.model_dump(mode="json")])
        deployment = client.read_deployment_by_name("restore/restore")
        run = wait_for(lambda: next(iter(runs_of(client, deployment.id)), None))
        clear(client)
    assert run.parameters["path"] == str(path)
    assert run.parameters["archive"] == str(tmp_path)
    assert Recipe.model_validate(run.parameters["recipe"]).digest == Recipe.load("stm-scratches").digest
    assert run.work_queue_name == "live"


def runs_of(client, deployment):
    chosen = FlowRunFilter.model_validate({"deployment_id": {"any_": [deployment]}})
    return client.read_flow_runs(flow_run_filter=chosen)


def wait_for(look, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.1)
    return found


class TestSettings:
    def test_every_variable_in_the_example_is_explained(self):
        lines = (DEPLOYMENTS / "example.env").read_text("utf-8").splitlines()
        found = settings(DEPLOYMENTS / "example.env")
        assert found["PREFECT_SERVER_API_AUTH_STRING"] == found["PREFECT_API_AUTH_STRING"]
        assert found["DO_NOT_TRACK"] == "1"
        assert sum(line.startswith("# ") for line in lines) >= len(found)


class TestCompose:
    @pytest.fixture
    def compose(self):
        return yaml.safe_load((DEPLOYMENTS / "compose.yaml").read_text("utf-8"))

    def test_every_service_is_there_and_has_a_health_check(self, compose):
        assert set(compose["services"]) == {"database", "server", "deploy", "worker", "watch"}
        for name, service in compose["services"].items():
            assert "healthcheck" in service or name == "deploy", name

    def test_no_port_is_open_beyond_this_computer(self, compose):
        ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
        assert ports
        assert all(port.startswith("127.0.0.1:") for port in ports)
        assert "network_mode" not in str(compose)

    def test_every_version_is_pinned_and_no_secret_is_in_it(self, compose):
        image = compose["services"]["database"]["image"]
        assert image.count(":") == 1
        assert image.rpartition(":")[2].count(".") >= 1
        assert "latest" not in str(compose)
        text = (DEPLOYMENTS / "compose.yaml").read_text("utf-8")
        assert "POSTGRES_PASSWORD_FILE" in text
        assert "POSTGRES_PASSWORD:" not in text

    def test_every_variable_it_needs_is_in_the_example(self, compose):
        asked = set(re.findall(r"(?<!\$)\$\{(\w+)", (DEPLOYMENTS / "compose.yaml").read_text("utf-8")))
        assert asked <= set(settings(DEPLOYMENTS / "example.env"))

    def test_it_is_valid_by_the_schema_of_compose(self):
        pytest.importorskip("check_jsonschema")
        words = ["--builtin-schema", "vendor.compose-spec", str(DEPLOYMENTS / "compose.yaml")]
        said = subprocess.run(
            [sys.executable, "-m", "check_jsonschema", *words], capture_output=True, text=True, check=False
        )
        assert said.returncode == 0, said.stdout


class TestServices:
    @pytest.mark.parametrize(
        "path", sorted((DEPLOYMENTS / "systemd").glob("*.service")), ids=lambda p: p.name
    )
    def test_each_service_ends_gently_and_restarts(self, path):
        unit = configparser.ConfigParser(strict=False, interpolation=None)
        unit.optionxform = str
        unit.read(path, "utf-8")
        assert unit["Service"]["Restart"] in {"always", "on-failure"}
        assert unit["Install"]["WantedBy"] == "multi-user.target"
        assert "0.0.0.0" not in path.read_text("utf-8")

    def test_systemd_finds_no_mistake(self):
        if not shutil.which("systemd-analyze"):
            pytest.skip("there is no systemd here")
        units = sorted(map(str, (DEPLOYMENTS / "systemd").glob("*.service")))
        said = subprocess.run(
            ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
        ).stderr
        # The program is not installed there; nothing else may be wrong.
        assert [line for line in said.splitlines() if "is not executable" not in line] == []
