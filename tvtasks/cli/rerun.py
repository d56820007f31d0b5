"""``tvtasks rerun``: restores archived images, or the files they came from, by another recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tvtasks.cli import options
from tvtasks.cli.progress import counting
from tvtasks.cli.terminal import Exit, complain, complain_of_all, print_json, say
from tvtasks.listener import Listener
from tvtasks.words import amount, duration

if TYPE_CHECKING:
    from tvtasks.rerun import Plan, Request

_SHOWN = 20  # images that a plan lists


def rerun(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Archives, folders of image files, or single files of either kind.",
            metavar="ARCHIVE|FOLDER",
        ),
    ],
    recipe: options.Recipes = None,
    archive: Annotated[
        Path | None,
        typer.Option(
            help="Folder for results.", show_default="the archive, if you give exactly one", metavar="DIR"
        ),
    ] = None,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Only print the plan: the work, the time and the disk space it needs."),
    ] = False,
    select: options.Select = None,
    failed_only: Annotated[
        bool,
        typer.Option(
            "--failed-only",
            help="Only images whose newest run did not converge, and files that a watch failed to restore.",
        ),
    ] = False,
    frames: options.Frames = "",
    workers: options.Workers = 2,
    memory: options.Memory = None,
    dask: Annotated[
        str,
        typer.Option(
            "--dask",
            help="Work in the processes of a Dask cluster: its address, or 'local' for --workers processes "
            "on this computer.",
            metavar="ADDRESS",
        ),
    ] = "",
    compression: options.CompressionOption = "gzip",
    exact: options.Exact = False,
    sample: options.SampleFile = None,
    no_dashboard: options.NoDashboard = False,
    quiet: options.Quiet = False,
    as_json: options.JsonLines = False,
) -> None:
    """Restore images again by another recipe. Images that are current for it are left alone.

    The raw images come from the archive, or from original files if you give folders of them. An image is
    current if the archive holds a result of exactly this recipe, so a rerun that was cut short continues
    where it stopped. Earlier results are kept. While a watch of the same archive has files to restore, the
    rerun waits. Ctrl-C finishes the work under way.

    The exit code is 0 if all images are current at the end, and 1 if images failed or are left.
    """
    from tvtasks.archive.storage import Storage
    from tvtasks.rerun import Request

    request = Request(
        tuple(sources),
        options.recipes(recipe),
        archive,
        tuple(select or ()),
        failed_only,
        workers,
        dask,
        Storage.of(compression, sample, exact=exact),
        memory,
        frames=frames,
    )
    if plan:
        _print_plan(request, quiet=quiet, as_json=as_json)
        return
    from tvtasks.cli import batch

    batch.run(request, dashboard=not no_dashboard, quiet=quiet, as_json=as_json)


class _Reading(Listener):
    def __init__(self, count: Any) -> None:
        self._count = count

    def reading(self, done: int, total: int) -> None:
        self._count(done, total)


def _print_plan(request: Request, *, quiet: bool, as_json: bool) -> None:
    from tvtasks.rerun import free_space

    with counting("Scanning the archive", None, quiet or as_json) as count:
        plan = request.plan(_Reading(count))
    free = free_space(plan.archive)
    if as_json:
        print_json(_record(plan, request, free))
    else:
        if not quiet:
            _print(plan, request, free)
        complain_of_all(list(plan.faults.values()))
    if plan.faults:
        raise typer.Exit(Exit.ATTENTION)


def _print(plan: Plan, request: Request, free: int | None) -> None:
    say(plan.summary)
    todo = [item for item in plan.items if item.state != "current"]
    for item in todo[:_SHOWN]:
        say(f"  {item.state:<9} {item.newest.source_name}  {item.recipe.name}  from {item.source.name}")
    if len(todo) > _SHOWN:
        say(f"  … and {len(todo) - _SHOWN} more")
    if not todo:
        return
    expected = plan.estimate
    whole = expected.duration(request.workers, processes=bool(request.dask))
    time = "unknown" if whole is None else f"about {duration(whole)} with {request.workers} workers"
    if expected.seconds is not None:
        time += f": {duration(expected.seconds)} of solving"
    beside = "time for reading and writing comes on top; no run shows how much"
    if expected.beside is not None:
        beside = f"{duration(expected.beside)} of reading, pictures and writing (as in earlier runs)"
    say(f"Time: {time} ({expected.time_rests_on}); {beside}.")
    room = "" if free is None else f" {amount(free)} are free."
    say(f"Disk: about {amount(expected.size)} and the pictures ({expected.size_rests_on}).{room}")
    if free is not None and (expected.size or 0) > free:
        complain(f"The disk of {plan.archive} has too little space. Free some, or choose fewer images.")


def _record(plan: Plan, request: Request, free: int | None) -> dict[str, Any]:
    return {
        "archive": str(plan.archive),
        **{str(state): number for state, number in plan.counts.items()},
        "without_recipe": plan.without_recipe,
        "faults": {str(path): reason for path, reason in plan.faults.items()},
        "seconds": plan.estimate.seconds,
        "seconds_rest_on": plan.estimate.time_rests_on,
        "seconds_beside": plan.estimate.beside,
        "seconds_in_all": plan.estimate.duration(request.workers, processes=bool(request.dask)),
        "bytes": plan.estimate.size,
        "bytes_rest_on": plan.estimate.size_rests_on,
        "free": free,
        "images": [
            {
                "name": item.newest.source_name,
                "source": str(item.source),
                "channel": item.newest.channel,
                "direction": item.newest.direction,
                "frame": item.newest.frame,
                "recipe": item.recipe.name,
                "run_id": item.run_id,
                "state": item.state,
            }
            for item in plan.items
        ],
    }
