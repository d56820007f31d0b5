"""The flow that restores a set of images: a single run with a progress bar and a table.

The archive keeps the finished results, so a run that was cut short can simply be repeated.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast
from uuid import UUID

import httpx
from prefect import flow, runtime, tags
from prefect.states import Cancelled, Completed, Failed
from pydantic import Field

from tvtasks.archive.storage import DEFAULT_STORAGE
from tvtasks.dashboard import allowed, private
from tvtasks.dashboard.batch_page import BatchPage
from tvtasks.dashboard.forms import NONE_OF_MY_OWN, Help, OwnRecipe
from tvtasks.dashboard.runs import TAG, call_flow
from tvtasks.dashboard.supervision import current_supervisor
from tvtasks.errors import ConfigurationError, TvtasksError
from tvtasks.listener import Listener, Listeners
from tvtasks.options import USUAL_RECIPE
from tvtasks.outcome import BatchReport
from tvtasks.rerun import Request, run_batch

from .restore import StorageOptions

logger = logging.getLogger(__name__)

MOST_SOURCES = 500
"""Most sources of a run on a server: the server accepts at most half a megabyte of parameters."""

_LONGEST_NAME = 200


@dataclass
class _Caller:
    """The caller of the flow in this process: its listener, its stop event, and the report it gets.

    The server stores the arguments of a flow run, so this is passed on beside them.
    """

    listener: Listener = field(default_factory=Listener)
    stop: threading.Event = field(default_factory=threading.Event)
    yields: bool = True
    memory: float | None = None
    report: BatchReport | None = None
    error: Exception | None = None


_caller: ContextVar[_Caller | None] = ContextVar("caller", default=None)


def _run_name() -> str:
    parameters = runtime.flow_run.parameters
    own = [title] if (title := parameters["recipe"].title) else []
    return _name(parameters["sources"], [*parameters["recipes"], *own])


def _name(sources: Sequence[Path], recipes: Sequence[str]) -> str:
    first, *others = sources
    place = f"{Path(first).name} and {len(others)} more" if others else Path(first).name
    return f"{place} · {', '.join(recipes)}"[:_LONGEST_NAME]


@flow(name="rerun", flow_run_name=_run_name, persist_result=False)
def rerun_flow(
    sources: Annotated[
        list[Path],
        Field(min_length=1),
        Help("Archives, folders of image files, or single files, as the worker sees them."),
    ],
    recipes: Annotated[
        tuple[str, ...],
        Help(
            "A preset or a TOML file; or PATTERN=RECIPE for files whose name matches. If you leave this "
            f"empty and fill in no recipe of your own below, {USUAL_RECIPE}."
        ),
    ] = (),
    recipe: Annotated[
        OwnRecipe, Help("A recipe of your own, for all files that match none of the recipes above.")
    ] = NONE_OF_MY_OWN,
    archive: Annotated[
        Path | None, Help("The folder for results. If you leave this empty, the archive among the sources.")
    ] = None,
    select: Annotated[
        tuple[str, ...], Help("Conditions such as gap>1e-4 or technique=STM; all must hold.")
    ] = (),
    failed_only: Annotated[
        bool, Help("Only images that did not converge, and files that a watch failed to restore.")
    ] = False,
    workers: Annotated[int, Field(ge=1, le=64), Help("Files restored at a time.")] = 2,
    dask: Annotated[
        str, Help('The address of a Dask cluster, or "local" for processes on the worker\'s computer.')
    ] = "",
    storage: StorageOptions = DEFAULT_STORAGE,
    frames: Annotated[
        str,
        Help(
            "Frames to take from stacks and series: all, or numbers such as 0-9, 20; if empty, as the recipe."
        ),
    ] = "",
) -> Any:
    """Restore archived images, or the files they came from, by another recipe, unless they are current.

    The dashboard's form shows the help for each parameter.
    """
    caller = _caller.get() or _Caller()
    supervisor = current_supervisor()
    run = UUID(runtime.flow_run.id)
    cancelled = threading.Event()

    def cancel() -> None:
        cancelled.set()
        caller.stop.set()

    if supervisor:
        supervisor.begin(run, cancel=cancel)
    try:
        allowed.check([*sources, archive], recipes)
        request = Request(
            tuple(sources),
            (*recipes, *recipe.recipes) or (USUAL_RECIPE,),
            archive,
            select,
            failed_only,
            workers,
            dask,
            storage,
            memory=caller.memory,
            yields=caller.yields,
            frames=frames,
        )
        with BatchPage() as page:
            listener = Listeners(page, caller.listener, _Report(caller))
            report = run_batch(request, listener=listener, stop=caller.stop, context=private.run_context())
    except Exception as error:
        caller.error = error
        if isinstance(error, TvtasksError):  # the page shows the sentence, or for a defect the traceback
            return Failed(message=str(error), data=error)
        raise
    finally:
        if supervisor:
            supervisor.end(run)
    message = " ".join(part for part in (f"{report.sentence}.", report.stopped_because) if part)
    if cancelled.is_set():
        return Cancelled(message=f"Cancelled in the dashboard: {message}")
    if report.left and caller.stop.is_set():
        return Cancelled(message=f"Stopped by the user: {message}")
    # Failed images do not make the run fail, but a run that was cut short is not complete.
    return Failed(message=message) if report.left else Completed(message=message)


class _Report(Listener):
    """Hands the report to the caller, who then has it even if the run is lost at its end."""

    def __init__(self, caller: _Caller) -> None:
        self._caller = caller

    def planned(self, report: BatchReport, summary: str) -> None:
        self._caller.report = report


def rerun_and_show(request: Request, listener: Listener, stop: threading.Event) -> BatchReport:
    """Run a batch as a flow run, or without one if the Prefect server cannot be reached.

    Raises
    ------
    TvtasksError
        Nothing could be started.
    """
    if len(request.sources) > MOST_SOURCES:
        logger.warning(
            "The batch gets no page in the dashboard: %d files are too many. Give their folder instead.",
            len(request.sources),
        )
        return run_batch(request, listener=listener, stop=stop)
    caller = _Caller(listener, stop, request.yields, request.memory)
    token = _caller.set(caller)
    try:
        _call(request)
        if caller.error:
            raise caller.error
    except (httpx.HTTPError, RuntimeError) as error:
        if not private.is_unreachable(error):
            raise
        if caller.report is None:  # otherwise the server was lost at the end, when everything was done
            logger.warning("The Prefect server cannot be reached: the batch gets no page in the dashboard.")
            return run_batch(request, listener=listener, stop=stop)
    finally:
        _caller.reset(token)
    if caller.report is None:
        raise ConfigurationError(
            "The Prefect server ended the run before any work began. Run the command again."
        )
    return caller.report


def _call(request: Request) -> None:
    recipes = cast(tuple[str, ...], request.recipes)
    parameters = {
        "sources": list(request.sources),
        "recipes": recipes,
        "recipe": NONE_OF_MY_OWN,
        "archive": request.archive,
        "select": request.select,
        "failed_only": request.failed_only,
        "workers": request.workers,
        "dask": request.dask,
        "storage": request.storage,
        "frames": request.frames,
    }
    supervisor = current_supervisor()
    with tags(TAG):
        if supervisor:
            name = _name(request.sources, recipes)
            call_flow(supervisor.deployments, rerun_flow, name, parameters, returns="state")
        else:
            rerun_flow(**parameters, return_state=True)
