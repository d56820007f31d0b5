"""Runs that are called in this process, listed under a deployment: others the dashboard does not cancel."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID, uuid4

import httpx
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.objects import State as RunState
from prefect.context import TagsContext
from prefect.flow_engine import run_flow
from prefect.states import Pending

from flows.client import own_client

NAME = "live"
DESCRIPTION = (
    "Runs that tvtasks watch and tvtasks rerun do in their own process. They stand here so that they can be "
    "cancelled. None can be started from here: a worker does not look here."
)

Deployments = dict[str, UUID]
"""By flow, the ids of the deployments of a server."""


def create(
    client: SyncPrefectClient, deployments: Deployments, flow: Flow[..., Any], name: str,
    parameters: Mapping[str, Any], *, tags: set[str], state: RunState[Any],
) -> FlowRun:  # fmt: skip
    """Create a run of a flow under its deployment, which is made where `deployments` does not have it yet."""
    known = deployments.get(flow.name)
    deployment = known or client.create_deployment(client.create_flow(flow), NAME, description=DESCRIPTION)
    deployments[flow.name] = deployment
    try:
        return client.create_flow_run_from_deployment(
            deployment, parameters=flow.serialize_parameters(dict(parameters)), name=name,
            tags=tags, state=state,
            # When the reply is lost and the client asks again, it gets the same run and not a second one.
            idempotency_key=str(uuid4()),
        )  # fmt: skip
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.NOT_FOUND or known is None:
            raise
        # Someone has deleted it, or the server has another database now.
        deployments.pop(flow.name, None)
        return create(client, deployments, flow, name, parameters, tags=tags, state=state)


def call(
    deployments: Deployments, flow: Flow[..., Any], name: str, parameters: Mapping[str, Any],
    *, returns: Literal["result", "state"] = "result",
) -> Any:  # fmt: skip
    """Run a flow here, as calling it does, under its deployment and with a name that is known already."""
    with own_client() as client:
        tags = TagsContext.get().current_tags
        run = create(client, deployments, flow, name, parameters, tags=tags, state=Pending())
        # Of a run with a deployment Prefect would find out in a thread of its own, over a connection of its
        # own, whether it is to pause; which costs more than all else, and nobody can have it pause.
        run = run.model_copy(update={"deployment_id": None})
        named = copy.copy(flow)
        named.flow_run_name = None
        return run_flow(named, flow_run=run, parameters=dict(parameters), return_type=returns)
