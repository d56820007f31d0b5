"""The flow that a worker of Prefect runs to watch a folder: a watch that is started from the dashboard."""

from __future__ import annotations

from contextvars import Context
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.states import Completed, Failed
from pydantic import Field

from flows.acquire import Tally, Watching
from flows.forms import Says
from flows.restore import ArchiveFolder
from flows.watch import watch
from tvtasks.errors import TvtasksError


@flow(name="acquire", flow_run_name="acquire {folder}", persist_result=False)
def acquire_flow(
    folder: Annotated[Path, Says("Folder that the microscope writes to, as the worker sees it.")],
    archive: ArchiveFolder,
    recipes: Annotated[
        list[str],
        Field(min_length=1),
        Says("A preset or a TOML file; or PATTERN=RECIPE for the files whose name fits."),
    ],
    recursive: Annotated[bool, Says("Watch subfolders too.")] = False,
    ignore: Annotated[list[str] | None, Says("Files to leave alone, such as test_*.")] = None,
    workers: Annotated[int, Field(ge=1, le=64), Says("Files worked on at a time.")] = 2,
    once: Annotated[bool, Says("Handle what is there, then end.")] = False,
) -> Any:
    """Restore every image that is in a folder or comes into it, until the run is cancelled.

    It is `tvtasks watch` and no other: of this and of a watch that was started by hand, one works for an
    archive at a time. A worker that ends takes it with it, so that for years a service is better.
    """
    watching = Watching(recursive=recursive, ignore=tuple(ignore or ()))
    try:
        # In a context of its own: else each image would be a run within this one, which costs ten times more.
        tally: Tally = Context().run(
            lambda: watch(
                folder, archive, recipes, watching, workers=workers, once=once, dashboard=True, quiet=True,
                as_json=False,
            )[0]
        )  # fmt: skip
    except TvtasksError as error:  # the page shows the sentence
        return Failed(message=str(error), data=error)
    for reason in tally.failed.values():
        get_run_logger().warning(reason)
    message = f"{tally.restored} restored, {len(tally.failed)} failed, {len(tally.left)} left."
    return Completed(message=message)
