"""The flow that restores one file: one run per file, named after it, in the calling process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
from prefect import flow, runtime, tags
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Failed

from tvtasks import workflow
from tvtasks.errors import TvtasksError
from tvtasks.recipe import Recipe
from tvtasks.tasks import call_as_task
from tvtasks.workflow import Outcome

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
