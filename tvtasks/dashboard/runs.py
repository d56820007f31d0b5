"""Runs that this process executes itself: creating, calling, tagging and, after a kill, closing them."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

import httpx
from prefect import Flow, tags
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.objects import State as RunState
from prefect.context import TagsContext
from prefect.states import Crashed, Pending

from tvtasks.dashboard import private

logger = logging.getLogger(__name__)

TAG = "tvtasks"
"""Tag of all runs of tvtasks: the automations for silent runs ignore runs without it."""

DEPLOYMENT = "live"
"""Name of the deployment for runs that are called in this process: the dashboard can only cancel runs of a
deployment."""

_DESCRIPTION = (
    "Runs that tvtasks watch, restore and rerun execute in their own process. They are listed here so that "
    "you can cancel them. You cannot start a run from here: no worker serves this deployment."
)
_UNFINISHED = ["PENDING", "RUNNING", "CANCELLING"]

Deployments = dict[str, UUID]
"""Ids of the deployments of a server, by flow."""


def create_run(
    client: SyncPrefectClient,
    deployments: Deployments,
    flow: Flow[..., Any],
    name: str,
    parameters: Mapping[str, Any],
    *,
    tags: set[str],
    state: RunState[Any],
) -> FlowRun:
    """Create a run of a flow under its deployment; create the deployment unless `deployments` has it."""
    known = deployments.get(flow.name)
    deployment = known or client.create_deployment(
        client.create_flow(flow), DEPLOYMENT, description=_DESCRIPTION
    )
    deployments[flow.name] = deployment
    try:
        return client.create_flow_run_from_deployment(
            deployment,
            parameters=flow.serialize_parameters(dict(parameters)),
            name=name,
            tags=tags,
            state=state,
            # If the reply is lost and the client asks again, it gets the same run instead of a second one.
            idempotency_key=str(uuid4()),
        )
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.NOT_FOUND or known is None:
            raise
        # Someone deleted it, or the server has another database now.
        deployments.pop(flow.name, None)
        return create_run(client, deployments, flow, name, parameters, tags=tags, state=state)


def call_flow(
    deployments: Deployments,
    flow: Flow[..., Any],
    name: str,
    parameters: Mapping[str, Any],
    *,
    returns: Literal["result", "state"] = "result",
) -> Any:
    """Call a flow in this process, as a run of its deployment with a given name."""
    with private.own_client() as client:
        current = TagsContext.get().current_tags
        run = create_run(client, deployments, flow, name, parameters, tags=current, state=Pending())
        return private.run_here(flow, run, parameters, returns=returns)


def archive_tag(archive: Path) -> str:
    """Return a tag that identifies an archive on a server, which may serve several computers."""
    place = f"{socket.gethostname()} ".encode() + os.fsencode(archive.resolve())
    return f"archive:{hashlib.sha256(place).hexdigest()[:12]}"


@contextmanager
def tagged_with(archive: Path) -> Iterator[None]:
    """Tag runs with an archive, so that the next watch finds those that this one could not end.

    Only a watch uses this: an archive has one watch at a time, so the runs with its tag belong to that watch.
    """
    with tags(archive_tag(archive)):
        yield


def close_lost_runs(archive: Path) -> int:
    """Mark the runs that a killed watch left unfinished as crashed; return how many.

    Call this before a watch begins, when no other watch works on the archive. The ledger takes care of the
    work itself; this is for the dashboard, which would otherwise show such runs as running for ever. If the
    server cannot be reached, the runs wait for the next start.
    """
    lost = FlowRunFilter.model_validate(
        {"tags": {"all_": [archive_tag(archive)]}, "state": {"type": {"any_": _UNFINISHED}}}
    )
    crashed: RunState[Any] = Crashed(
        message="tvtasks was killed, or the power failed, before this run ended. Another run restores the "
        "file, unless its result was already archived."
    )
    number = 0
    try:
        with get_client(sync_client=True) as client:
            while runs := client.read_flow_runs(flow_run_filter=lost, limit=200):
                for run in runs:
                    client.set_flow_run_state(run.id, crashed, force=True)
                number += len(runs)
    except (httpx.HTTPError, RuntimeError) as error:
        logger.warning(
            "The runs of a killed watch could not be marked as crashed in the dashboard: %s", error
        )
    return number
