"""One thin Prefect task per step of the workflow. The only module here that imports Prefect.

Arrays go from task to task in memory: nothing is hashed for a cache key, persisted or put in a parameter.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tvtasks import figures, restoration, workflow
from tvtasks.restoration import Restoration

P = ParamSpec("P")
T = TypeVar("T")


def _step(function: Callable[P, T], name: str) -> Task[P, T]:
    return Task(function, name=name, cache_policy=NO_CACHE, persist_result=False)


def publish_preview(result: Restoration, target: Path) -> Path:
    """Write the picture beside the archive file, and show it in the dashboard with the main figures."""
    picture = figures.preview(result)
    path = workflow.save_preview(picture, target)
    shown = base64.b64encode(figures.jpeg(picture)).decode()
    create_markdown_artifact(
        key="restored-image",
        markdown=f"![raw, background, restored](data:image/jpeg;base64,{shown})\n\n" + _table(result, target),
        description=f"{result.micrograph.name}: raw, background, restored ({result.recipe.name})",
    )
    return path


TASKS: dict[Callable[..., Any], Task[..., Any]] = {
    workflow.read: _step(workflow.read, "read"),
    restoration.prepare: _step(restoration.prepare, "scale"),
    restoration.extract_background: _step(restoration.extract_background, "extract background"),
    restoration.median_filter: _step(restoration.median_filter, "median"),
    restoration.retrieve_contrast: _step(restoration.retrieve_contrast, "contrast"),
    restoration.denoise: _step(restoration.denoise, "denoise"),
    workflow.write_archive: _step(workflow.write_archive, "archive"),
    workflow.write_preview: _step(publish_preview, "preview"),
}


def call_as_task(step: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a step of the workflow as its Prefect task."""
    return cast(T, TASKS[step](*args, **kwargs))


def _table(result: Restoration, target: Path) -> str:
    """Parameters, certificates and where the files are, as Markdown."""
    lines = ["| step | relative gap | seconds | method | parameters |", "| --- | --- | --- | --- | --- |"]
    for step in result.steps:
        parameters = ", ".join(
            f"{key} {value}" for key, value in step.parameters.items() if key != "stop"
        )  # fmt: skip
        done = step.convergence
        how = (done.method, f"{done.gap:.1e}") if done else ("", "")
        lines.append(f"| {step.name} | {how[1]} | {step.seconds:.2f} | {how[0]} | {parameters} |")
    lines += ["", f"Archive: `{target.resolve()}`", *(f"\n{note}" for note in result.notes)]
    return "\n".join(lines)
