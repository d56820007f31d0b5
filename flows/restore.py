"""The flow that restores one file: one run per file, named after it, in the calling process."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
from prefect import flow, runtime, tags
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import State
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Crashed, Failed

from tvtasks import workflow
from tvtasks.errors import TvtasksError
from tvtasks.recipe import Recipe
from tvtasks.tasks import call_as_task
from tvtasks.workflow import Outcome

logger = logging.getLogger(__name__)

_UNFINISHED = ["PENDING", "RUNNING", "CANCELLING"]
_FLUSH_SECONDS = 10.0
_NOT_SHOWN = "The Prefect server cannot be reached: restored without a page in the dashboard."


def _run_name() -> str:
    parameters = runtime.flow_run.parameters
    return f"{Path(parameters['path']).name} · {parameters['recipe'].name}"


@flow(name="restore", flow_run_name=_run_name, persist_result=False)
def restore_flow(path: Path, recipe: Recipe, archive: Path) -> Any:
    """Restore every image of a file and archive the results.

    Parameters
    ----------
    path
        An image file.
    recipe
        The steps to do and their parameters.
    archive
        The folder for results.
    """
    run = {"flow_run_id": runtime.flow_run.id, "flow_run_name": runtime.flow_run.name}
    try:
        return workflow.restore_file(path, recipe, archive, call=call_as_task, context={"prefect": run})
    except TvtasksError as error:
        # The run's page shows the sentence. Anything else is a defect and keeps its traceback.
        return Failed(message=str(error), data=error)


def restore_and_show(path: Path, recipe: Recipe, archive: Path) -> list[Outcome]:
    """Restore a file as a flow run, or, if the Prefect server cannot be reached, without one.

    The archive does not depend on the server: what a run that got lost had already written is found there.
    """
    try:
        with tags(recipe.name):
            return cast(list[Outcome], restore_flow(path, recipe, archive))
    except (httpx.HTTPError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "Failed to reach API" not in str(error):
            raise
        outcomes = workflow.restore_file(path, recipe, archive)
        return [replace(outcome, notes=(*outcome.notes, _NOT_SHOWN)) for outcome in outcomes]


@contextmanager
def prefect_at(api_url: str) -> Iterator[None]:
    """Run flows against a server, with this process as their keeper.

    Heartbeats are off: the thread that sends them is waited for at the end of every run, which makes the
    shortest run last over a second. They are for whoever watches runs of other processes.
    """
    with temporary_settings({PREFECT_API_URL: api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        try:
            yield
        finally:
            # What is still on its way goes out now: a server that was started here is stopped next, and
            # Prefect would try for over a minute to reach it when the process ends.
            APILogWorker.drain_all(timeout=_FLUSH_SECONDS, at_exit=False)
            EventsWorker.drain_all(timeout=_FLUSH_SECONDS, at_exit=False)


@contextmanager
def watch_runs(archive: Path) -> Iterator[None]:
    """Give the runs of a watch the tag by which the next watch finds what this one could not end.

    Only a watch does: of several, one at a time works for an archive, so that its runs are nobody else's.
    """
    with tags(_tag(archive)):
        yield


def close_lost_runs(archive: Path) -> int:
    """Mark the runs that an earlier watch left unfinished when it was killed as crashed; return how many.

    To be called when no other watch works for the archive, and before this one begins. The work itself is
    done again because the ledger says so; this is for the dashboard, which would show it running for ever.
    A server that cannot be reached keeps such runs until the next start.
    """
    lost = FlowRunFilter.model_validate(
        {"tags": {"all_": [_tag(archive)]}, "state": {"type": {"any_": _UNFINISHED}}}
    )
    crashed: State[Any] = Crashed(
        message="tvtasks was killed, or the power failed, before this run ended. The file is restored in "
        "another run, unless its result had been archived already."
    )
    number = 0
    try:
        with get_client(sync_client=True) as client:
            while runs := client.read_flow_runs(flow_run_filter=lost, limit=200):
                for run in runs:
                    client.set_flow_run_state(run.id, crashed, force=True)
                number += len(runs)
    except (httpx.HTTPError, RuntimeError) as error:
        logger.warning("Runs that were cut short could not be marked as crashed in the dashboard: %s", error)
    return number


def _tag(archive: Path) -> str:
    """Return what tells an archive from others on a server, which may serve several computers."""
    place = f"{socket.gethostname()} ".encode() + os.fsencode(archive.resolve())
    return f"archive:{hashlib.sha256(place).hexdigest()[:12]}"
