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
from typing import Annotated, Any, cast
from uuid import UUID

import httpx
from prefect import flow, get_run_logger, runtime, tags
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.events.worker import EventsWorker
from prefect.exceptions import Abort, CancelledRun
from prefect.filesystems import LocalFileSystem
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOCAL_STORAGE_PATH,
    temporary_settings,
)
from prefect.states import Cancelled, Crashed, Failed
from pydantic import Field

from flows import live
from flows.attendant import TAG, Attendant, attended, attending, current
from flows.client import cheap_clients
from flows.forms import Says
from tvtasks import workflow
from tvtasks.archive.keeping import AS_USUAL, Keeping
from tvtasks.errors import CancelledRunError, TvtasksError
from tvtasks.monitor.dispatch import sentence
from tvtasks.recipe import Recipe
from tvtasks.tasks import PAGE_KB, as_tasks
from tvtasks.workflow import Outcome

logger = logging.getLogger(__name__)

_UNFINISHED = ["PENDING", "RUNNING", "CANCELLING"]
_FLUSH_SECONDS = 10.0
_NOT_WANTED = "The run was ended in the dashboard while it went on; its page is not complete."
_NOT_SHOWN = "The Prefect server cannot be reached: restored without a page in the dashboard."

# What the form of the dashboard says of each field.
ImageFile = Annotated[Path, Says("An image file, as the computer that restores it sees it.")]
ArchiveFolder = Annotated[Path, Says("The folder for results; not the folder of the image.")]
PageSize = Annotated[
    int, Field(ge=0, le=5000), Says("Largest page of an image in the dashboard, in kB; 0: no picture.")
]
KeepingResults = Annotated[Keeping, Says("What packs the images, and what is known of the sample.")]


def _run_name() -> str:
    parameters = runtime.flow_run.parameters
    return _name(parameters["path"], parameters["recipe"])


def _name(path: Path, recipe: Recipe) -> str:
    return f"{Path(path).name} · {recipe.name}"


@flow(name="restore", flow_run_name=_run_name, persist_result=False)
def restore_flow(
    path: ImageFile,
    recipe: Recipe,
    archive: ArchiveFolder,
    page_kb: PageSize = PAGE_KB,
    keeping: KeepingResults = AS_USUAL,
) -> Any:
    """Restore every image of a file and archive the results.

    Parameters
    ----------
    path
        An image file.
    recipe
        The steps to do and their parameters.
    archive
        The folder for results.
    page_kb
        The largest page of an image in the dashboard, in kB; with 0 it has no picture.
    keeping
        What packs the images, and what is known of the sample.
    """
    with attended(UUID(runtime.flow_run.id), path) as around:
        try:
            call = around(as_tasks(page_kb))
            return workflow.restore_file(
                path, recipe, archive, call=call, context=run_context(), keeping=keeping
            )
        except CancelledRunError as error:
            return Cancelled(message=str(error))
        except TvtasksError as error:
            # The run's page shows the sentence.
            return Failed(message=str(error), data=error)
        except Exception as error:
            # So it does here, and its log has the traceback.
            get_run_logger().exception("%s could not be restored", path)
            return Failed(message=sentence(path, error), data=error)


# Nothing is stored there, but without it Prefect asks the server twice in each run for a place.
restore_flow.result_storage = LocalFileSystem(basepath=str(PREFECT_LOCAL_STORAGE_PATH.value()))


def run_context() -> dict[str, Any]:
    """Return what the run records of an archive say of the flow run that this is called in."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return {}
    # Not prefect.runtime: of a run without a deployment it asks the server for that again each time.
    run = context.flow_run
    return {
        "prefect": {
            "flow_run_id": str(run.id),
            "flow_run_name": runtime.flow_run.name,
            "run_count": run.run_count,
            "deployment_id": str(run.deployment_id) if run.deployment_id else None,
        }
    }


def restore_and_show(
    path: Path, recipe: Recipe, archive: Path, *, page_kb: int = PAGE_KB, keeping: Keeping = AS_USUAL
) -> list[Outcome]:
    """Restore a file as a flow run, or, if the Prefect server cannot be reached, without one.

    The archive does not depend on the server: what a run that got lost had already written is found there.

    Raises
    ------
    CancelledRunError
        The run was cancelled in the dashboard.
    """
    try:
        attendant = current()
        with tags(TAG, recipe.name):
            if attendant is None:
                return cast(list[Outcome], restore_flow(path, recipe, archive, page_kb, keeping))
            parameters = {
                "path": path, "recipe": recipe, "archive": archive, "page_kb": page_kb, "keeping": keeping,
            }  # fmt: skip
            name = _name(path, recipe)
            return cast(list[Outcome], live.call(attendant.deployments, restore_flow, name, parameters))
    except CancelledRun as error:
        raise CancelledRunError(str(error)) from None
    except Abort:
        note = _NOT_WANTED
    except (httpx.HTTPError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "Failed to reach API" not in str(error):
            raise
        note = _NOT_SHOWN
    outcomes = workflow.restore_file(path, recipe, archive, keeping=keeping)
    return [replace(outcome, notes=(*outcome.notes, note)) for outcome in outcomes]


@contextmanager
def prefect_at(api_url: str) -> Iterator[Attendant]:
    """Run flows against a server, with this process as their keeper; give what attends to them.

    Prefect's own heartbeats are off: the thread that sends them is waited for at the end of every run, which
    makes the shortest run last over a second. The attendant sends them instead.
    """
    with (
        cheap_clients(api_url) as cheap,
        temporary_settings({PREFECT_API_URL: api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, **cheap}),
        attending(api_url) as attendant,
    ):
        try:
            yield attendant
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
    with tags(archive_tag(archive)):
        yield


def close_lost_runs(archive: Path) -> int:
    """Mark the runs that an earlier watch left unfinished when it was killed as crashed; return how many.

    To be called when no other watch works for the archive, and before this one begins. The work itself is
    done again because the ledger says so; this is for the dashboard, which would show it running for ever.
    A server that cannot be reached keeps such runs until the next start.
    """
    lost = FlowRunFilter.model_validate(
        {"tags": {"all_": [archive_tag(archive)]}, "state": {"type": {"any_": _UNFINISHED}}}
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


def archive_tag(archive: Path) -> str:
    """Return what tells an archive from others on a server, which may serve several computers."""
    place = f"{socket.gethostname()} ".encode() + os.fsencode(archive.resolve())
    return f"archive:{hashlib.sha256(place).hexdigest()[:12]}"
