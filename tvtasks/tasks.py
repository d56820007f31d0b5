"""One thin Prefect task per step of the workflow.

Arrays pass from task to task in memory: none is hashed for a cache key, persisted or put in a parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.actions import ArtifactCreate
from prefect.context import SyncClientContext, TaskRunContext

from tvtasks import figures, restoration, workflow
from tvtasks.dashboard.image_page import image_page
from tvtasks.dashboard.markdown import plain
from tvtasks.dashboard.private import post_artifact
from tvtasks.options import PREVIEW_SIZE
from tvtasks.restoration import Call, Restoration
from tvtasks.steps import STEPS

P = ParamSpec("P")
T = TypeVar("T")


def _step(function: Callable[P, T], name: str) -> Task[P, T]:
    return Task(function, name=name, cache_policy=NO_CACHE, persist_result=False)


def publish_preview(result: Restoration, target: Path, *, page_kb: int = PREVIEW_SIZE) -> Path:
    """Write the picture beside the result, and show it in the dashboard with the main figures."""
    picture = figures.preview(result)
    path = workflow.save_preview(picture, target)
    text = image_page(result, target, lambda room: figures.jpeg(picture, max_bytes=room), page_kb)
    name = f"{result.micrograph.name}: raw, background, restored ({result.recipe.name})"
    _show("restored-image", text, plain(name))
    return path


TASKS: dict[Callable[..., Any], Task[..., Any]] = {
    workflow.read: _step(workflow.read, "read"),
    restoration.prepare: _step(restoration.prepare, "scale"),
    **{step.run: _step(step.run, step.title) for step in STEPS.values()},
    workflow.write_archive: _step(workflow.write_archive, "archive"),
    workflow.write_preview: _step(publish_preview, "preview"),
}


def as_tasks(page_kb: int = PREVIEW_SIZE) -> Call:
    """Return a function that calls each step of the workflow as its Prefect task.

    Parameters
    ----------
    page_kb
        The largest page of an image, in kB; 0 leaves out the picture.
    """

    def call(step: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        task = TASKS[step]
        if step is workflow.write_preview:
            task = cast(Task[..., Any], partial(task, page_kb=page_kb))
        return cast(T, task(*args, **kwargs))

    return call


def _show(key: str, text: str, description: str) -> None:
    """Publish an artifact of the run with the run's own client: making one would cost more than this."""
    context = TaskRunContext.get()
    if context is None:
        return  # called as a plain function
    artifact = ArtifactCreate(
        key=key,
        type="markdown",
        data=text,
        description=description,
        task_run_id=context.task_run.id,
        flow_run_id=context.task_run.flow_run_id,
    )
    with SyncClientContext.get_or_create() as shared:
        post_artifact(shared.client, artifact)
