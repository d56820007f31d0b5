"""The flow that restores a whole set again: one run for all, with its progress and a table of the images.

The images are no task runs: ten thousand of them would take minutes of bookkeeping, and the table says more.
What is done is found in the archive, so a run that was cut short is simply repeated.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, cast
from uuid import UUID

import httpx
from prefect import flow, runtime, tags
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.states import Cancelled, Completed, Failed
from pydantic import Field

from flows import live
from flows.attendant import TAG, Attendant
from flows.forms import NONE_OF_MY_OWN, OwnRecipe, Says
from flows.restore import KeepingResults, run_context
from tvtasks.archive.keeping import AS_USUAL
from tvtasks.errors import ConfigurationError, TvtasksError
from tvtasks.rerun import Plan, Request, Result, Sheet, carry_out

logger = logging.getLogger(__name__)

REFRESH = 2.0
"""Seconds between two refreshments of the page."""

_FAILURES = 200  # rows of the table; the terminal lists all of them
_CLOSING = 10.0
_LONGEST_NAME = 200
_MANY = 500  # sources: the server takes no more than half a megabyte of them


@dataclass(frozen=True)
class Hooks:
    """What whoever calls the flow in this process wants to know of it, and how it stops it.

    The arguments of a flow run are kept by the server, so these are none; see `carry_out`.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    planned: Callable[[Plan, Sheet], object] = lambda plan, sheet: None
    report: Callable[[Result], object] = lambda result: None
    progress: Callable[[int, int], object] = lambda done, of: None
    attendant: Attendant | None = None
    errors: list[Exception] = field(default_factory=list)


_hooks: ContextVar[Hooks | None] = ContextVar("hooks", default=None)


def _run_name() -> str:
    parameters = runtime.flow_run.parameters
    own = [parameters["recipe"].name] if parameters["recipe"] != NONE_OF_MY_OWN else []
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
        Says("Archives, folders of image files, or single files, as the worker sees them."),
    ],
    recipes: Annotated[
        tuple[str, ...],
        Says(
            "A preset or a TOML file; or PATTERN=RECIPE for the files whose name fits. Or none, and a recipe "
            "of your own below."
        ),
    ] = (),
    recipe: Annotated[
        OwnRecipe, Says("A recipe of your own, for all that none of those above is for.")
    ] = NONE_OF_MY_OWN,
    archive: Annotated[
        Path | None, Says("The folder for results; the archive among the sources if not given.")
    ] = None,
    select: Annotated[
        tuple[str, ...], Says("Conditions such as gap>1e-4 or technique=STM, which all must hold.")
    ] = (),
    failed_only: Annotated[
        bool, Says("Only what did not converge, and files that a watch could not restore.")
    ] = False,
    workers: Annotated[int, Field(ge=1, le=64), Says("Files worked on at a time.")] = 2,
    dask: Annotated[
        str, Says('The address of a Dask cluster, or "local", to work on them in its processes.')
    ] = "",
    keeping: KeepingResults = AS_USUAL,
) -> Any:
    """Restore archived images, or the files they came from, by a recipe: those that are not current.

    Beside each parameter stands what the dashboard's form says of it.
    """
    hooks = _hooks.get() or Hooks()
    run = UUID(runtime.flow_run.id)
    cancelled = threading.Event()

    def cancel() -> None:
        cancelled.set()
        hooks.stop.set()

    if hooks.attendant:
        hooks.attendant.begin(run, cancel=cancel)
    try:
        request = Request(
            tuple(sources), (*recipes, *recipe.recipes), archive, select, failed_only, workers, dask, keeping
        )
        with _page() as page:

            def planned(plan: Plan, sheet: Sheet) -> None:
                page.begin(sheet)
                hooks.planned(plan, sheet)

            sheet = carry_out(
                request, stop=hooks.stop, planned=planned, report=hooks.report, progress=hooks.progress,
                context=run_context(),
            )  # fmt: skip
    except Exception as error:
        hooks.errors.append(error)
        if isinstance(error, TvtasksError):  # the page shows the sentence, and of a defect its traceback
            return Failed(message=str(error), data=error)
        raise
    finally:
        if hooks.attendant:
            hooks.attendant.end(run)
    message = " ".join(part for part in (f"{sheet.sentence}.", sheet.ended) if part)
    if cancelled.is_set():
        return Cancelled(message=f"Cancelled in the dashboard: {message}")
    # An image that failed is no failure of the run; one that was cut short is not complete.
    return Failed(message=message) if sheet.left else Completed(message=message)


def rerun_and_show(request: Request, hooks: Hooks) -> Sheet:
    """Do a rerun as a flow run, or, if the Prefect server cannot be reached, without one.

    Raises
    ------
    TvtasksError
        Nothing could be begun.
    """
    sheets: list[Sheet] = []
    if len(request.sources) > _MANY:
        logger.warning("%d single files are too many for a page in the dashboard.", len(request.sources))
        return _without_page(request, hooks)

    def planned(plan: Plan, sheet: Sheet) -> None:
        sheets.append(sheet)
        hooks.planned(plan, sheet)

    token = _hooks.set(replace(hooks, planned=planned))
    try:
        recipes = cast(tuple[str, ...], request.recipes)
        parameters = {
            "sources": list(request.sources), "recipes": recipes, "recipe": NONE_OF_MY_OWN,
            "archive": request.archive, "select": request.select, "failed_only": request.failed_only,
            "workers": request.workers, "dask": request.dask, "keeping": request.keeping,
        }  # fmt: skip
        with tags(TAG):
            if hooks.attendant:
                name = _name(request.sources, recipes)
                live.call(hooks.attendant.deployments, rerun_flow, name, parameters, returns="state")
            else:
                rerun_flow(**parameters, return_state=True)
        if hooks.errors:
            raise hooks.errors[0]
    except (httpx.HTTPError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "Failed to reach API" not in str(error):
            raise
        if not sheets:  # else it was lost at the end, and everything is done
            logger.warning("The Prefect server cannot be reached: the rerun has no page in the dashboard.")
            return _without_page(request, hooks)
    finally:
        _hooks.reset(token)
    if not sheets:
        raise ConfigurationError("The run was ended by the Prefect server before anything was begun.")
    return sheets[-1]


def _without_page(request: Request, hooks: Hooks) -> Sheet:
    return carry_out(
        request, stop=hooks.stop, planned=hooks.planned, report=hooks.report, progress=hooks.progress
    )


class _Page:
    """The page of the run: a progress bar and a table. A thread refreshes them, so that nothing waits."""

    def __init__(self) -> None:
        self._sheet: Sheet | None = None
        self._ended = threading.Event()
        self._bar: UUID | None = None
        self._table: UUID | None = None
        # The artifacts belong to the run of the thread that made this.
        context = copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._go,), name="rerun page", daemon=True)

    def begin(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        if self._sheet is not None:
            self._thread.join(_CLOSING)

    def _go(self) -> None:
        shown = -1
        while True:
            last = self._ended.is_set()
            assert self._sheet is not None
            if last or self._sheet.done != shown:
                shown = self._sheet.done
                try:
                    self._show(self._sheet)
                except Exception as error:
                    # The page is not worth the work; at the next time the server may answer again.
                    logger.debug("The page of the rerun could not be refreshed: %s", error)
            if last:
                return
            self._ended.wait(REFRESH)

    def _show(self, sheet: Sheet) -> None:
        percent = 100.0 * sheet.done / sheet.total if sheet.total else 100.0
        said = f"{sheet.done} of {sheet.total} images: {sheet.sentence}. Archive: {sheet.archive}"
        rows = table(sheet)
        if self._bar is None:
            self._bar = cast(UUID, create_progress_artifact(percent, "rerun-progress", said))
        else:
            update_progress_artifact(self._bar, percent, said)
        if self._table is None:
            self._table = cast(UUID, create_table_artifact(rows, "rerun-images", said))
            return
        with get_client(sync_client=True) as client:
            client.update_artifact(self._table, ArtifactUpdate(data=json.dumps(rows), description=said))


@contextmanager
def _page() -> Iterator[_Page]:
    page = _Page()
    try:
        yield page
    finally:
        page.end()


def table(sheet: Sheet) -> list[dict[str, str]]:
    """Return the rows of the table: what failed, and the last images; the newest first.

    It is as large for many images as for few: the server keeps each version that it is sent.
    """
    failed = list(reversed(sheet.failed[-_FAILURES:]))
    done = [result for result in reversed(list(sheet.last)) if result.outcome]
    return [_row(result) for result in (*failed, *done)]


def _row(result: Result) -> dict[str, str]:
    outcome = result.outcome
    if outcome is None:
        return {"image": result.name, "state": "failed", "gap": "", "seconds": "", "result": result.reason}
    gap = "" if outcome.gap is None else f"{outcome.gap:.1e}"
    return {
        "image": result.name,
        "state": "current already" if outcome.seconds is None else "restored",
        "gap": f"{gap} (not reached)" if outcome.converged is False else gap,
        "seconds": "" if outcome.seconds is None else f"{outcome.seconds:.2f}",
        "result": str(outcome.archive),
    }
