"""One thin Prefect task per step of the workflow. The only module here that imports Prefect.

Arrays go from task to task in memory: nothing is hashed for a cache key, persisted or put in a parameter.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.actions import ArtifactCreate
from prefect.context import SyncClientContext, TaskRunContext

from tvtasks import figures, restoration, workflow
from tvtasks.restoration import Call, Restoration
from tvtasks.steps import STEPS

P = ParamSpec("P")
T = TypeVar("T")

PAGE_KB = 60
"""Size of what the page of a restored image takes in the server's database at most, in kB of 1000 bytes."""


def _step(function: Callable[P, T], name: str) -> Task[P, T]:
    return Task(function, name=name, cache_policy=NO_CACHE, persist_result=False)


def publish_preview(result: Restoration, target: Path, *, page_kb: int = PAGE_KB) -> Path:
    """Write the picture beside the archive file, and show it in the dashboard with the main figures."""
    picture = figures.preview(result)
    path = workflow.save_preview(picture, target)
    text = _text(result, target)
    # As base64, four letters stand for three bytes.
    room = (page_kb * 1000 - len(text.encode()) - 100) * 3 // 4
    shown = figures.jpeg(picture, max_bytes=room) if room > 0 else b""
    if shown and len(shown) <= room:
        encoded = base64.b64encode(shown).decode()
        text = f"![raw, background, restored](data:image/jpeg;base64,{encoded})\n\n{text}"
    name = f"{result.micrograph.name}: raw, background, restored ({result.recipe.name})"
    _show("restored-image", text, name)
    return path


TASKS: dict[Callable[..., Any], Task[..., Any]] = {
    workflow.read: _step(workflow.read, "read"),
    restoration.prepare: _step(restoration.prepare, "scale"),
    **{step.run: _step(step.run, step.title) for step in STEPS.values()},
    workflow.write_archive: _step(workflow.write_archive, "archive"),
    workflow.write_preview: _step(publish_preview, "preview"),
}


def as_tasks(page_kb: int = PAGE_KB) -> Call:
    """Return what calls each step of the workflow as its Prefect task.

    Parameters
    ----------
    page_kb
        The largest page of an image, in kB; with 0 it has no picture.
    """

    def call(step: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        task = TASKS[step]
        if step is workflow.write_preview:
            task = cast(Task[..., Any], partial(task, page_kb=page_kb))
        return cast(T, task(*args, **kwargs))

    return call


def _show(key: str, text: str, description: str) -> None:
    """Publish an artifact of the run, with the client that the run has: making one costs more than this."""
    context = TaskRunContext.get()
    if context is None:
        return  # called as a plain function
    artifact = ArtifactCreate(
        key=key, type="markdown", data=text, description=description,
        task_run_id=context.task_run.id, flow_run_id=context.task_run.flow_run_id,
    )  # fmt: skip
    with SyncClientContext.get_or_create() as shared:
        # Not create_artifact(): it also has an event sent, with the whole picture in it.
        shared.client.request(
            "POST", "/artifacts/", json=artifact.model_dump(mode="json", exclude_unset=True)
        )


def _text(result: Restoration, target: Path) -> str:
    """Parameters, certificates, notes and where the files are, as Markdown."""
    lines = ["| step | relative gap | seconds | method | parameters |", "| --- | --- | --- | --- | --- |"]
    for step in result.steps:
        parameters = ", ".join(f"{key} {value}" for key, value in step.parameters.items() if key != "stop")
        done = step.convergence
        how = (done.method, f"{done.gap:.1e}") if done else ("", "")
        lines.append(f"| {step.name} | {how[1]} | {step.seconds:.2f} | {how[0]} | {plain(parameters)} |")
    gap = "" if result.gap is None else f" Largest relative gap: {result.gap:.1e}."
    lines += ["", f"Recipe: {plain(result.recipe.name)}.{gap} {result.seconds:.2f} s in all."]
    for name, choice in result.choices.items():
        lines += ["", f"λ of the {name}: {plain(choice.words)}"]
    facts = result.quality.facts(result.micrograph.units)
    lines += ["", "Quality: " + plain("; ".join(f"{name} {fact}" for name, fact in facts.items())) + "."]
    lines += ["", f"Archive: `{target.resolve()}`"]
    lines += [f"\n{plain(note)}" for note in result.notes]
    return "\n".join(lines)


def plain(text: str) -> str:
    """Return a line such that Markdown shows it as it is: names and notes come from files."""
    line = " ".join(text.splitlines())
    # Not the underscore: within a word it is itself, and in a link its backslash would be shown.
    return "".join(f"\\{letter}" if letter in r"\`*[]<>|" else letter for letter in line)
