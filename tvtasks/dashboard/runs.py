"""Runs that this process does itself: how they are created, called, tagged and, after a kill, closed."""

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
"""Tag of all runs of tvtasks: the automations that look for silent runs leave others alone."""

DEPLOYMENT = "live"
"""Runs that are called in this process stand under a deployment of this name: the dashboard can cancel no
others."""

_DESCRIPTION = (
    "Runs that tvtasks watch, restore and rerun do in their own process. They stand here so that you can "
    "cancel them. You cannot start any from here: no worker looks here."
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
    """Create a run of a flow under its deployment, which is made unless `deployments` has it."""
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
            # When the reply is lost and the client asks again, it gets the same run and not a second one.
            idempotency_key=str(uuid4()),
        )
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.NOT_FOUND or known is None:
            raise
        # Someone has deleted it, or the server has another database now.
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
    """Run a flow here, as calling it does, under its deployment and with a name that is known already."""
    with private.own_client() as client:
        current = TagsContext.get().current_tags
        run = create_run(client, deployments, flow, name, parameters, tags=current, state=Pending())
        return private.run_here(flow, run, parameters, returns=returns)


def archive_tag(archive: Path) -> str:
    """Return a tag that tells an archive from others on a server, which may serve several computers."""
    place = f"{socket.gethostname()} ".encode() + os.fsencode(archive.resolve())
    return f"archive:{hashlib.sha256(place).hexdigest()[:12]}"


@contextmanager
def tagged_with(archive: Path) -> Iterator[None]:
    """Give runs the tag of an archive, by which the next watch finds those that this one could not end.

    Only a watch does: one watch at a time works for an archive, so that its runs are nobody else's.
    """
    with tags(archive_tag(archive)):
        yield


def close_lost_runs(archive: Path) -> int:
    """Mark the runs that a killed watch left unfinished as crashed; return how many.

    Call it when no other watch works for the archive, and before this one begins. The ledger has the work
    itself done again; this is for the dashboard, which would show such runs as running for ever. If the
    server cannot be reached, they wait for the next start.
    """
    lost = FlowRunFilter.model_validate(
        {"tags": {"all_": [archive_tag(archive)]}, "state": {"type": {"any_": _UNFINISHED}}}
    )
    crashed: RunState[Any] = Crashed(
        message="tvtasks was killed, or the power failed, before this run ended. Another run restores the "
        "file, unless its result was archived already."
    )
    number = 0
    try:
        with get_client(sync_client=True) as client:
            while runs := client.read_flow_runs(flow_run_filter=lost, limit=200):
                for run in runs:
                    client.set_flow_run_state(run.id, crashed, force=True)
                number += len(runs)
    except (httpx.HTTPError, RuntimeError) as error:
        logger.warning("Runs of a killed watch could not be marked as crashed in the dashboard: %s", error)
    return number
