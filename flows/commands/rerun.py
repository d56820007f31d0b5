"""The command that restores archived images, or the files they came from, once more: ``tvtasks rerun``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from flows.commands.keeping import Packing, SampleFile, keeping
from flows.commands.listing import Select
from flows.terminal import Exit, console, draining, errors, load_solvers

if TYPE_CHECKING:
    from tvtasks.rerun import Plan, Request, Result, Sheet

_SHOWN = 20  # images that a plan names
_COMPLAINTS = 100


def rerun(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Archives, folders of image files, or single files of either kind.",
            metavar="ARCHIVE|FOLDER...",
        ),
    ],
    recipe: Annotated[
        list[str],
        typer.Option(
            "--recipe",
            help="A preset or a TOML file; or PATTERN=RECIPE for the images whose name fits, several times.",
        ),
    ],
    archive: Annotated[
        Path | None, typer.Option(help="Folder for results, if it is not the one archive that is given.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what would be done, how long, and how much disk.")
    ] = False,
    select: Select = None,
    failed_only: Annotated[
        bool,
        typer.Option(
            "--failed-only",
            help="Only images whose newest run did not converge, and files that a watch could not restore.",
        ),
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Files worked on at a time.")] = 2,
    dask: Annotated[
        str,
        typer.Option(
            "--dask",
            help="Work in the processes of a Dask cluster: its address, or 'local' for as many on this "
            "computer as --workers says.",
        ),
    ] = "",
    compression: Packing = "gzip",
    sample: SampleFile = None,
    no_dashboard: Annotated[
        bool, typer.Option("--no-dashboard", help="Show no page, even where a Prefect server runs.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say only what went wrong.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per image, and a last one in all.")
    ] = False,
) -> None:
    """Restore images again by a recipe: those to which it has not been applied yet.

    The raw images are taken from the archive, or from original files where folders of them are given. What
    the archive holds for this recipe is current and is not done again, so a rerun that was cut short goes on
    where it was. Earlier results stay. A watch of the same archive goes first: while it has files to restore,
    no image is begun. Ctrl-C finishes what is under way.

    The exit code is 0 when everything is current in the end, and 1 when images failed or are left.
    """
    from tvtasks.rerun import Request

    request = Request(
        tuple(sources), tuple(recipe), archive, tuple(select or ()), failed_only, workers, dask,
        keeping(compression, sample),
    )  # fmt: skip
    silent = quiet or as_json
    if plan:
        with _bar(silent) as (bar, task):
            found = request.plan(lambda done, of: bar.update(task, completed=done, total=of))
        _say_plan(found, request, quiet=quiet, as_json=as_json)
        if found.faults:
            raise typer.Exit(Exit.ATTENTION)
        return
    load_solvers(silent)
    sheet = _carry_out(request, dashboard=not no_dashboard, silent=silent, as_json=as_json)
    if as_json:
        print(json.dumps(_summary(sheet)))
    else:
        if not quiet:
            console.print(Text(f"{sheet.sentence}. Results: {sheet.archive}"), soft_wrap=True)
        _complain([
            result.reason if result.name in result.reason else f"{result.name}: {result.reason}"
            for result in sheet.failed
        ])  # fmt: skip
        if sheet.ended:
            errors.print(Text(sheet.ended), soft_wrap=True)
    if sheet.failed or sheet.left:
        raise typer.Exit(Exit.ATTENTION)


def _carry_out(request: Request, *, dashboard: bool, silent: bool, as_json: bool) -> Sheet:
    from flows import server
    from tvtasks.rerun import carry_out

    found = None
    if dashboard:
        found = server.configured() if os.environ.get("PREFECT_API_URL") else server.running()
    with draining() as stop, _bar(silent) as (bar, task):

        def planned(plan: Plan, sheet: Sheet) -> None:
            if not silent:
                console.print(Text(_counts(plan)), soft_wrap=True)
            bar.update(task, description="Restoring", completed=len(sheet.failed), total=sheet.total)

        def report(result: Result) -> None:
            if as_json:
                print(json.dumps(_record(result)), flush=True)
            elif result.outcome is None and not silent:
                bar.console.print(Text(f"{result.name} failed", style="red"))
            bar.update(task, advance=1)

        def progress(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of)

        if found is None:
            return carry_out(request, stop=stop, planned=planned, report=report, progress=progress)
        from flows.rerun import Hooks, rerun_and_show
        from flows.restore import prefect_at

        if not silent:
            console.print(f"Dashboard: {found.dashboard}", soft_wrap=True)
        with prefect_at(found.api_url) as attendant:
            return rerun_and_show(request, Hooks(stop, planned, report, progress, attendant))


@contextmanager
def _bar(silent: bool) -> Iterator[tuple[Progress, TaskID]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=silent or not console.is_terminal
    ) as bar:
        yield bar, bar.add_task("Looking what is there", total=None)


def _say_plan(plan: Plan, request: Request, *, quiet: bool, as_json: bool) -> None:
    from tvtasks.monitor.health import amount, duration
    from tvtasks.rerun import free_space

    free = free_space(plan.archive)
    expected = plan.estimate
    if as_json:
        print(json.dumps(_plan_record(plan, request, free), indent=2))
        return
    if not quiet:
        console.print(Text(_counts(plan)), soft_wrap=True)
        todo = [item for item in plan.items if item.state != "current"]
        for item in todo[:_SHOWN]:
            line = f"  {item.state:<9} {item.newest.source_name}  {item.recipe.name}  from {item.source.name}"
            console.print(Text(line), soft_wrap=True)
        if len(todo) > _SHOWN:
            console.print(f"  … and {len(todo) - _SHOWN} more")
        if todo:
            whole = expected.duration(request.workers, apart=bool(request.dask))
            time = "unknown" if whole is None else f"about {duration(whole)} with {request.workers} at a time"
            solving = "" if expected.seconds is None else f"{duration(expected.seconds)} of "
            beside = "reading and writing come on top, as no run says for how long"
            if expected.beside is not None:
                beside = (
                    f"{duration(expected.beside)} of reading, pictures and writing (as in the runs there are)"
                )
            console.print(
                f"Time: {time}: {solving}solving ({expected.time_rests_on}); {beside}.", soft_wrap=True
            )
            room = "" if free is None else f" There are {amount(free)} free."
            console.print(
                f"Disk: about {amount(expected.size)} and the pictures ({expected.size_rests_on}).{room}",
                soft_wrap=True,
            )
            if free is not None and (expected.size or 0) > free:
                errors.print(
                    f"There is not enough room in {plan.archive}: make some, or choose fewer images."
                )
    _complain(list(plan.faults.values()))


def _complain(sentences: list[str]) -> None:
    for sentence in sentences[:_COMPLAINTS]:
        errors.print(Text(sentence), soft_wrap=True)
    if len(sentences) > _COMPLAINTS:
        errors.print(f"… and {len(sentences) - _COMPLAINTS} more; --json tells of all.")


def _counts(plan: Plan) -> str:
    counts = plan.counts
    text = (
        f"{len(plan.items)} images: {counts['current']} current, {counts['outdated']} outdated, "
        f"{counts['missing']} missing"
    )
    if plan.without_recipe:
        text += f"; {plan.without_recipe} more have no recipe"
    if plan.faults:
        text += f"; {len(plan.faults)} cannot be restored"
    return f"{text}. Archive: {plan.archive}"


def _plan_record(plan: Plan, request: Request, free: int | None) -> dict[str, Any]:
    return {
        "archive": str(plan.archive),
        **{str(state): number for state, number in plan.counts.items()},
        "without_recipe": plan.without_recipe,
        "faults": {str(path): reason for path, reason in plan.faults.items()},
        "seconds": plan.estimate.seconds,
        "seconds_rest_on": plan.estimate.time_rests_on,
        "seconds_beside": plan.estimate.beside,
        "seconds_in_all": plan.estimate.duration(request.workers, apart=bool(request.dask)),
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


def _record(result: Result) -> dict[str, Any]:
    from flows.display import outcome_record

    outcome = result.outcome
    if outcome is None:
        return {"name": result.name, "state": "failed", "recipe": result.recipe, "reason": result.reason}
    return {
        "name": result.name,
        "state": "current" if outcome.seconds is None else "restored",
        "recipe": result.recipe,
        **outcome_record(outcome),
    }


def _summary(sheet: Sheet) -> dict[str, Any]:
    return {
        "restored": sheet.restored,
        "current": sheet.current + sheet.before,
        "failed": [{"name": result.name, "reason": result.reason} for result in sheet.failed],
        "left": sheet.left,
        "ended": sheet.ended,
        "archive": str(sheet.archive),
    }
