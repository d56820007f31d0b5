"""The flow that restores one file: one run per file, named after it, in the calling process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast
from uuid import UUID

import httpx
from prefect import flow, get_run_logger, runtime, tags
from prefect.exceptions import Abort, CancelledRun
from prefect.states import Cancelled, Failed
from pydantic import Field

from tvtasks import workflow
from tvtasks.archive.storage import DEFAULT_STORAGE, Storage
from tvtasks.dashboard import allowed, private
from tvtasks.dashboard.forms import Help
from tvtasks.dashboard.runs import TAG, call_flow
from tvtasks.dashboard.supervision import current_supervisor, supervised
from tvtasks.errors import CancelledRunError, TvtasksError
from tvtasks.ledger.retries import explain
from tvtasks.options import PREVIEW_SIZE, USUAL_RECIPE
from tvtasks.outcome import Outcome
from tvtasks.recipe import Recipe
from tvtasks.tasks import as_tasks

_ENDED_EARLY = "Someone ended the run in the dashboard while it was under way, so its page is incomplete."
_WITHOUT_PAGE = "The Prefect server cannot be reached, so this image has no page in the dashboard."

USUAL = Recipe.load(USUAL_RECIPE)

ImageFile = Annotated[Path, Help("An image file, with its path as the worker sees it.")]
ArchiveFolder = Annotated[Path, Help("The folder for results, outside the folder of the image.")]
PageSize = Annotated[
    int,
    Field(ge=0, le=5000),
    Help("Largest page of an image in the dashboard, in kB; 0 leaves out the picture."),
]
StorageOptions = Annotated[Storage, Help("How to compress the images, and what you know about the sample.")]


def _run_name() -> str:
    parameters = runtime.flow_run.parameters
    return _name(parameters["path"], parameters["recipe"])


def _name(path: Path, recipe: Recipe) -> str:
    return f"{Path(path).name} · {recipe.name}"


@flow(name="restore", flow_run_name=_run_name, persist_result=False)
def restore_flow(
    path: ImageFile,
    archive: ArchiveFolder,
    recipe: Recipe = USUAL,
    page_kb: PageSize = PREVIEW_SIZE,
    storage: StorageOptions = DEFAULT_STORAGE,
) -> Any:
    """Restore the images of a file and archive the results.

    Parameters
    ----------
    path
        An image file.
    archive
        The folder for results.
    recipe
        The steps and their parameters.
    page_kb
        The largest page of an image in the dashboard, in kB; 0 leaves out the picture.
    storage
        How to compress the images, and the sample data.
    """
    with supervised(UUID(runtime.flow_run.id), path) as around:
        try:
            allowed.check([path, archive])
            call = around(as_tasks(page_kb))
            context = private.run_context()
            return workflow.restore_file(path, recipe, archive, call=call, context=context, storage=storage)
        except CancelledRunError as error:
            return Cancelled(message=str(error))
        except TvtasksError as error:
            # The run's page shows the sentence.
            return Failed(message=str(error), data=error)
        except Exception as error:
            # So does this page, and its log has the traceback.
            get_run_logger().exception("%s could not be restored", path)
            return Failed(message=explain(path, error), data=error)


private.store_no_results(restore_flow)


def restore_and_show(
    path: Path,
    recipe: Recipe,
    archive: Path,
    *,
    page_kb: int = PREVIEW_SIZE,
    storage: Storage = DEFAULT_STORAGE,
) -> list[Outcome]:
    """Restore a file as a flow run, or without one if the Prefect server cannot be reached.

    The archive does not depend on the server: it keeps what a run wrote before the run was lost.

    Raises
    ------
    CancelledRunError
        Someone cancelled the run in the dashboard.
    """
    try:
        supervisor = current_supervisor()
        with tags(TAG, recipe.name):
            if supervisor is None:
                return cast(list[Outcome], restore_flow(path, archive, recipe, page_kb, storage))
            parameters = {
                "path": path,
                "recipe": recipe,
                "archive": archive,
                "page_kb": page_kb,
                "storage": storage,
            }
            done = call_flow(supervisor.deployments, restore_flow, _name(path, recipe), parameters)
            return cast(list[Outcome], done)
    except CancelledRun as error:
        raise CancelledRunError(str(error)) from None
    except Abort:
        note = _ENDED_EARLY
    except (httpx.HTTPError, RuntimeError) as error:
        if not private.is_unreachable(error):
            raise
        note = _WITHOUT_PAGE
    outcomes = workflow.restore_file(path, recipe, archive, storage=storage)
    return [replace(outcome, notes=(*outcome.notes, note)) for outcome in outcomes]
