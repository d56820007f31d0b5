"""Sets up a Prefect server: work pool, queues, deployments and automations; reports each action."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.events.schemas.automations import AutomationCore
from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker

from tvtasks.dashboard import allowed, automations
from tvtasks.dashboard.forms import in_order
from tvtasks.dashboard.own_flows import flow_at
from tvtasks.errors import ConfigurationError

QUEUES = {"live": 1, "rerun": 2}
"""Queues of the pool and their priority: new images go before reruns."""

NIGHTLY = "nightly"
"""Slug of the schedule that belongs to the user."""


_OF_THE_LAB = {"concurrency_limit", "concurrency_options"}


class Action(NamedTuple):
    """What happened to an object on the server: it was created, updated or left unchanged."""

    kind: str
    name: str
    done: str


@dataclass(frozen=True)
class Wishes:
    """What only the lab can decide; deployments/prefect.yaml has the rest.

    Attributes
    ----------
    pool
        Name of the work pool.
    allow
        Folders that forms and events may use besides those they may use already, as the workers see them.
    nightly
        The nightly schedule in Prefect's form; None keeps it as it is, paused at first.
    event
        The parameters of runs that an event starts, without the path; None keeps that automation as it is,
        off at first.
    """

    pool: str = "tvtasks"
    allow: tuple[Path, ...] = ()
    nightly: Mapping[str, Any] | None = None
    event: Mapping[str, Any] | None = None


def deploy(client: SyncPrefectClient, wishes: Wishes) -> Iterator[Action]:
    """Set everything up, or correct what differs; yield the actions one by one.

    Limits, schedules and switches of automations that someone changed in the dashboard are kept.

    Raises
    ------
    ConfigurationError
        The work pool exists with another type.
    """
    yield _pool(client, wishes)
    for name, priority in QUEUES.items():
        yield _queue(client, wishes.pool, name, priority)
    for spec in definitions()["deployments"]:
        wanted, schedules, triggers = _wanted(client, spec, wishes.pool)
        there, action = _deployment(client, wanted, schedules)
        yield action
        if schedules and wishes.nightly:
            yield _schedule(client, there, {"slug": NIGHTLY, **wishes.nightly})
        for trigger in triggers:
            yield _automation(client, trigger, UUID(there["id"]), wishes.event)
    for rule in automations.all_rules():
        yield Action("automation", rule.name, automations.ensure(client, rule))


def definitions() -> dict[str, Any]:
    """Return the content of deployments/prefect.yaml; an installed package has a copy of it."""
    here = Path(__file__)
    places = [here.parents[2] / "deployments" / "prefect.yaml", here.with_name("prefect.yaml")]
    found = next(place for place in places if place.is_file())
    content: dict[str, Any] = yaml.safe_load(found.read_text("utf-8"))
    return content


def includes(there: Any, wanted: Any) -> bool:
    """Return whether an object on the server includes all wanted values; the server adds ids and defaults."""
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(
            includes(there.get(key), value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(there, list)
            and len(there) == len(wanted)
            and all(includes(one, other) for one, other in zip(there, wanted, strict=True))
        )
    return bool(there == wanted)


def template(allow: Sequence[Path]) -> dict[str, Any]:
    """Return the template of the pool's jobs: a run chooses neither its command nor its environment."""
    found: dict[str, Any] = ProcessWorker.get_default_base_job_template()
    for name in ("command", "env", "working_dir"):
        del found["variables"]["properties"][name]
    environment = {
        "DO_NOT_TRACK": "1",
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
        allowed.VARIABLE: os.pathsep.join(dict.fromkeys(map(str, allow))),
    }
    found["job_configuration"] |= {"command": None, "env": environment, "working_dir": None}
    return found


def _pool(client: SyncPrefectClient, wishes: Wishes) -> Action:
    name = wishes.pool
    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound:
        wanted = template(wishes.allow)
        client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=wanted))
        return Action("work pool", name, "created")
    if pool.type != "process":
        raise ConfigurationError(
            f"The work pool {name} has the type {pool.type}, but tvtasks needs one of the type process. "
            "Choose another name with --pool."
        )
    there = pool.base_job_template
    environment = there.get("job_configuration", {}).get("env")
    before = environment.get(allowed.VARIABLE, "") if isinstance(environment, dict) else ""
    kept = [Path(folder) for folder in before.split(os.pathsep) if folder]
    wanted = template([*kept, *wishes.allow])
    if there == wanted:
        return Action("work pool", name, "unchanged")
    client.update_work_pool(name, WorkPoolUpdate(base_job_template=wanted))
    return Action("work pool", name, "updated")


def _queue(client: SyncPrefectClient, pool: str, name: str, priority: int) -> Action:
    wanted = {"name": name, "priority": priority}
    where = {"work_pool_name": pool, "name": name}
    try:
        there = client.request("GET", "/work_pools/{work_pool_name}/queues/{name}", path_params=where).json()
    except Exception as error:
        if not _is_missing(error):
            raise
        client.request(
            "POST", "/work_pools/{work_pool_name}/queues", path_params={"work_pool_name": pool}, json=wanted
        )
        return Action("work queue", f"{pool}/{name}", "created")
    if includes(there, wanted):
        return Action("work queue", f"{pool}/{name}", "unchanged")
    client.request("PATCH", "/work_pools/{work_pool_name}/queues/{name}", path_params=where, json=wanted)
    return Action("work queue", f"{pool}/{name}", "updated")


def _wanted(
    client: SyncPrefectClient, spec: dict[str, Any], pool: str
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a deployment, its schedules and its triggers in the form that the server expects."""
    flow: Flow[..., Any] = flow_at(spec["entrypoint"])
    limit = spec.get("concurrency_limit")
    wanted = {
        "flow_id": str(client.create_flow_from_name(flow.name)),
        "name": spec["name"],
        "entrypoint": spec["entrypoint"],
        "description": spec["description"],
        "tags": spec["tags"],
        "work_pool_name": pool,
        "work_queue_name": spec["work_pool"]["work_queue_name"],
        "concurrency_limit": limit["limit"] if limit else None,
        "concurrency_options": {"collision_strategy": limit["collision_strategy"]} if limit else None,
        "parameter_openapi_schema": in_order(
            parameter_schema(flow).model_dump(mode="json", exclude_unset=True)
        ),
        "enforce_parameter_schema": True,
        "pull_steps": [],
    }
    schedules = [
        {
            "slug": given["slug"],
            "active": given["active"],
            "schedule": {"cron": given["cron"], "timezone": given["timezone"]},
            "parameters": given["parameters"],
        }
        for given in spec.get("schedules", ())
    ]
    return wanted, schedules, spec.get("triggers", [])


def _deployment(
    client: SyncPrefectClient, wanted: dict[str, Any], schedules: list[dict[str, Any]]
) -> tuple[dict[str, Any], Action]:
    """Create or update a deployment; return it as the server has it."""
    name = wanted["name"]
    found = client.request(
        "POST",
        "/deployments/filter",
        json={"deployments": {"name": {"any_": [name]}}, "flows": {"id": {"any_": [wanted["flow_id"]]}}},
    ).json()
    if not found:
        reply = client.request("POST", "/deployments/", json={**wanted, "schedules": schedules})
        return reply.json(), Action("deployment", name, "created")
    (there,) = found
    wanted = {key: value for key, value in wanted.items() if key not in _OF_THE_LAB}
    if includes(there, wanted):
        return there, Action("deployment", name, "unchanged")
    changed = {key: value for key, value in wanted.items() if key not in {"flow_id", "name"}}
    client.request("PATCH", "/deployments/{id}", path_params={"id": there["id"]}, json=changed)
    return there, Action("deployment", name, "updated")


def _schedule(client: SyncPrefectClient, deployment: dict[str, Any], wanted: dict[str, Any]) -> Action:
    name = f"{deployment['name']}/{wanted['slug']}"
    there = next((found for found in deployment["schedules"] if found["slug"] == wanted["slug"]), None)
    if there and includes(there, wanted):
        return Action("schedule", name, "unchanged")
    where = {"id": deployment["id"]}
    if there is None:
        client.request("POST", "/deployments/{id}/schedules", path_params=where, json=[wanted])
        return Action("schedule", name, "created")
    where["schedule_id"] = there["id"]
    client.request("PATCH", "/deployments/{id}/schedules/{schedule_id}", path_params=where, json=wanted)
    return Action("schedule", name, "updated")


def _automation(
    client: SyncPrefectClient, spec: dict[str, Any], deployment: UUID, wished: Mapping[str, Any] | None
) -> Action:
    found = client.read_automations_by_name(spec["name"])
    if found and wished is None:
        return Action("automation", spec["name"], "unchanged")
    if wished is not None:
        spec = {**spec, "enabled": True, "parameters": {**spec["parameters"], **wished}}
    trigger = DeploymentEventTrigger.model_validate(spec)
    trigger.set_deployment_id(deployment)
    wanted = trigger.as_automation()
    if not found:
        client.create_automation(wanted)
        return Action("automation", spec["name"], "created")
    if automations.is_same(found[0], wanted):
        return Action("automation", spec["name"], "unchanged")
    # The server accepts no owner in an update.
    core = AutomationCore.model_validate(wanted.model_dump(exclude={"owner_resource"}))
    client.update_automation(found[0].id, core)
    return Action("automation", spec["name"], "updated")


def _is_missing(error: Exception) -> bool:
    response = getattr(error, "response", None)
    return isinstance(error, ObjectNotFound) or (response is not None and response.status_code == 404)
