"""`tvtasks deploy` as a user runs it, on a real server."""

import json
import os
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent

from tests.prefect_fixtures import unused_port
from tvtasks.dashboard import automations
from tvtasks.dashboard import setup as deploying
from tvtasks.dashboard.allowed import VARIABLE
from tvtasks.dashboard.supervision import prefect_at

TRIGGER = "tvtasks: restore a file when an event says that it is written"
VOLATILE = {"updated", "last_polled", "status", "last_seen", "active_slots"}


def clear(client):
    """Remove everything that was deployed."""
    for deployment in client.read_deployments():
        client.delete_deployment(deployment.id)
    for name in (TRIGGER, *(rule.name for rule in automations.all_rules())):
        for automation in client.read_automations_by_name(name):
            client.delete_automation(automation.id)
    for pool in client.read_work_pools():
        client.delete_work_pool(pool.name)


def everything(client):
    """What the server holds, without values that change by themselves."""
    asked = {
        "pools": ("/work_pools/filter", {}),
        "queues": ("/work_pools/tvtasks/queues/filter", {}),
        "deployments": ("/deployments/filter", {}),
        "automations": ("/automations/filter", {}),
    }
    found = {name: client.request("POST", path, json=body).json() for name, (path, body) in asked.items()}

    def stable(value):
        if isinstance(value, dict):
            return {key: stable(inner) for key, inner in value.items() if key not in VOLATILE}
        if isinstance(value, list):  # the expected events of an automation are a set
            return sorted(map(stable, value), key=str)
        return value

    return stable(found)


@pytest.fixture
def client(server, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", server.api_url)
    with prefect_at(server.api_url), get_client(sync_client=True) as client:
        clear(client)
        yield client
        clear(client)


def done(out):
    return {(one["kind"], one["name"]): one["done"] for one in json.loads(out)["done"]}


class TestDeploy:
    def test_everything_is_created_and_a_second_run_changes_nothing(self, client, tvtasks):
        code, out, _ = tvtasks("deploy", "--json")
        first = done(out)
        assert code == 0
        assert set(first.values()) == {"created"}
        assert {kind for kind, _ in first} == {"work pool", "work queue", "deployment", "automation"}
        before = everything(client)
        code, out, _ = tvtasks("deploy", "--json")
        assert code == 0
        assert done(out) == dict.fromkeys(first, "unchanged")
        assert everything(client) == before

    def test_live_goes_before_rerun(self, client, tvtasks):
        tvtasks("deploy", "--quiet")
        queues = {queue.name: queue.priority for queue in client.read_work_queues(work_pool_name="tvtasks")}
        assert queues["live"] < queues["rerun"] < queues["default"]

    def test_changes_by_others_are_corrected_and_reported(self, client, tvtasks):
        tvtasks("deploy", "--quiet")
        wanted = everything(client)
        found = client.read_deployment_by_name("rerun/rerun")
        client.request(
            "PATCH",
            "/deployments/{id}",
            path_params={"id": found.id},
            json={"tags": ["other"], "description": "mine"},
        )
        client.update_work_queue(client.read_work_queue_by_name("live", "tvtasks").id, priority=2)
        _, out, _ = tvtasks("deploy", "--json")
        changed = {name for (_, name), what in done(out).items() if what == "updated"}
        assert changed == {"rerun", "tvtasks/live"}  # the server moves the other queue by itself
        assert everything(client) == wanted

    def test_a_limit_set_by_the_user_stays(self, client, tvtasks):
        tvtasks("deploy", "--quiet")
        found = client.read_deployment_by_name("rerun/rerun")
        client.request(
            "PATCH", "/deployments/{id}", path_params={"id": found.id}, json={"concurrency_limit": 7}
        )
        _, out, _ = tvtasks("deploy", "--json")
        assert set(done(out).values()) == {"unchanged"}
        assert client.read_deployment(found.id).global_concurrency_limit.limit == 7

    def test_a_nightly_rerun_is_set_and_later_changes_by_the_user_stay(self, client, tvtasks, tmp_path):
        words = [
            "deploy",
            "--nightly",
            tmp_path,
            "--recipe",
            "auto",
            "--at",
            "03:15",
            "--timezone",
            "Asia/Tokyo",
        ]
        _, out, _ = tvtasks(*words, "--json")
        assert done(out)["schedule", "rerun/nightly"] == "updated"
        deployment = client.read_deployment_by_name("rerun/rerun")
        (nightly,) = deployment.schedules
        assert (nightly.active, nightly.schedule.cron, nightly.schedule.timezone) == (
            True,
            "15 3 * * *",
            "Asia/Tokyo",
        )
        assert nightly.parameters == {"sources": [str(tmp_path)], "recipes": ["auto"]}
        assert done(tvtasks(*words, "--json")[1])["schedule", "rerun/nightly"] == "unchanged"
        client.update_deployment_schedule(deployment.id, nightly.id, active=False)
        assert set(done(tvtasks("deploy", "--json")[1]).values()) == {"unchanged"}
        (still,) = client.read_deployment_by_name("rerun/rerun").schedules
        assert not still.active

    def test_only_the_user_switches_events_on_and_off(self, client, tvtasks, tmp_path):
        words = ["deploy", "--events", tmp_path, "--recipe", "auto", "--json"]
        tvtasks("deploy", "--quiet")
        assert done(tvtasks(*words)[1])["automation", TRIGGER] == "updated"
        (automation,) = client.read_automations_by_name(TRIGGER)
        assert automation.enabled
        assert automation.actions[0].parameters["archive"] == str(tmp_path)
        assert done(tvtasks(*words)[1])["automation", TRIGGER] == "unchanged"
        client.pause_automation(automation.id)
        tvtasks("deploy", "--quiet")
        assert not client.read_automations_by_name(TRIGGER)[0].enabled

    def test_folders_are_allowed_one_after_another(self, client, tvtasks, tmp_path):
        def allowed_there():
            return client.read_work_pool("tvtasks").base_job_template["job_configuration"]["env"][VARIABLE]

        tvtasks("deploy", "--quiet")
        assert allowed_there() == ""
        _, out, _ = tvtasks("deploy", "--allow", "scans", "--allow", tmp_path / "archive", "--json")
        assert done(out)["work pool", "tvtasks"] == "updated"
        assert allowed_there().split(os.pathsep) == [str(tmp_path / "scans"), str(tmp_path / "archive")]
        words = ["--nightly", tmp_path / "other", "--recipe", "auto"]
        assert done(tvtasks("deploy", *words, "--json")[1])["work pool", "tvtasks"] == "updated"
        assert allowed_there().endswith(f"{os.pathsep}{tmp_path / 'other'}")
        _, out, _ = tvtasks("deploy", "--allow", "scans", "--json")
        assert done(out)["work pool", "tvtasks"] == "unchanged"

    def test_a_run_chooses_neither_its_command_nor_its_environment(self, client, tvtasks):
        tvtasks("deploy", "--quiet")
        template = client.read_work_pool("tvtasks").base_job_template
        assert not {"command", "env", "working_dir"} & set(template["variables"]["properties"])
        assert "{{ command }}" not in str(template)
        assert "{{ env }}" not in str(template)

    def test_it_prints_a_table_and_what_to_do_next(self, client, tvtasks, server):
        code, out, err = tvtasks("deploy", "--pool", "others")
        assert (code, err) == (0, "")
        assert "created" in out
        assert f"On {server.dashboard} (named by PREFECT_API_URL). Start a worker: prefect w" in out


class TestRunsThatAreScheduledAgain:
    """Which events trigger the rules; `python -m tests.benchmarks.machines kill` shows the effect."""

    @pytest.mark.parametrize(
        ("begun", "pool", "tag", "at_once", "in_a_while"),
        [
            (1, True, "tvtasks", True, False),
            (3, True, "tvtasks", True, False),
            (4, True, "tvtasks", False, False),  # too many attempts
            (0, True, "tvtasks", False, True),
            (1, False, "tvtasks", False, False),  # a run of a watch
            (1, True, "others", False, False),
        ],
    )
    def test_runs_of_workers_are_scheduled_again_a_few_times(self, begun, pool, tag, at_once, in_a_while):
        related = [{"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"}]
        if pool:
            related += [{"prefect.resource.id": "prefect.work-pool.7", "prefect.resource.role": "work-pool"}]
        crashed = ReceivedEvent(
            event="prefect.flow-run.Crashed",
            id=uuid4(),
            occurred=datetime.now(UTC),
            related=related,
            resource={"prefect.resource.id": "prefect.flow-run.4711", "prefect.run-count": str(begun)},
        )

        def takes(rule, when):
            trigger = EventTrigger.model_validate(rule.trigger.model_dump(mode="json"))
            return trigger.covers_resources(crashed.resource, crashed.related) and when(trigger)(
                crashed.event
            )

        assert takes(automations.crashed_runs(), lambda trigger: trigger.expects) == at_once
        assert takes(automations.crashed_unbegun_runs(), lambda trigger: trigger.starts_after) == in_a_while

    def test_they_then_wait_for_a_worker(self):
        for rule in (
            automations.crashed_runs(),
            automations.crashed_unbegun_runs(),
            automations.unbegun_runs(),
        ):
            assert [action.state for action in rule.actions] == ["SCHEDULED"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["--at", "25:00", "--nightly", "a", "--recipe", "auto"], "not a time of day"),
            (["--nightly", "a", "--recipe", "nope"], "There is no recipe 'nope'"),
            (["--nightly", "a", "--recipe", "auto", "--timezone", "Mars/Base"], "no time zone Mars/Base"),
            (["--events", "a", "--recipe", "auto", "--recipe", "sem-charging"], "takes exactly one --recipe"),
            (["--pool", "a/b"], "cannot be the name of a work pool"),
        ],
    )
    def test_what_cannot_work_is_a_sentence_and_exit_code_2(self, tvtasks, words, sentence):
        code, out, err = tvtasks("deploy", *words)
        assert (code, out) == (2, "")
        assert sentence in err
        assert "Traceback" not in err

    def test_no_server(self, tvtasks, monkeypatch):
        monkeypatch.delenv("PREFECT_API_URL", raising=False)
        monkeypatch.setattr("tvtasks.dashboard.server.LOCAL_PORT", unused_port())
        code, _, err = tvtasks("deploy")
        assert code == 2
        assert "tvtasks server" in err

    def test_a_pool_of_another_type_is_left_alone(self, client, tvtasks):
        from prefect.client.schemas.actions import WorkPoolCreate

        client.create_work_pool(WorkPoolCreate(name="tvtasks", type="docker"))
        code, _, err = tvtasks("deploy")
        assert code == 2
        assert "has the type docker" in err


def test_everything_deployed_is_in_the_file():
    names = [spec["name"] for spec in deploying.definitions()["deployments"]]
    assert names == ["restore", "acquire", "rerun", "sweep"]
