"""``tvtasks sweep``: restores one image with many parameters, on one sheet."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from tvtasks.cli import options
from tvtasks.cli.command import Command
from tvtasks.cli.progress import announce_compiling, counting
from tvtasks.cli.terminal import Exit, complain, console, print_json, say, stoppable

if TYPE_CHECKING:
    from tvtasks.sweep.points import Trial

_LISTS = {"--lam", "--alpha", "--alpha1", "--alpha2", "--direction", "--gradient", "--model"}

Values = list[str] | None


class Spaced(Command):
    """Accepts ``--lam .1 .5 1`` for ``--lam .1 --lam .5 --lam 1``.

    PowerShell turns ``.1,.5,1`` into that, and most users try it first.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each further value."""
        return super().parse_args(ctx, list(_repeated(args)))


def sweep(
    path: Annotated[
        Path, typer.Argument(help="An image file, or a result whose raw image to use.", metavar="FILE")
    ],
    output: Annotated[
        Path, typer.Option(help="Folder for the sheet, the table and the results.", metavar="DIR")
    ],
    model: Annotated[
        Values,
        typer.Option(
            help="Models to compare, optionally each with its own λ: tv-l1=.1 or tv-l1=.1,.2", metavar="MODEL"
        ),
    ] = None,
    lam: Annotated[
        Values, typer.Option(help="Values of λ: --lam .1 .5 1, or --lam .1,.5,1", metavar="VALUES")
    ] = None,
    alpha: Annotated[Values, typer.Option(help="Values of α of huber-rof.", metavar="VALUES")] = None,
    alpha1: Annotated[Values, typer.Option(help="Values of α1 of tgv-l1.", metavar="VALUES")] = None,
    alpha2: Annotated[Values, typer.Option(help="Values of α2 of tgv-l1.", metavar="VALUES")] = None,
    direction: Annotated[Values, typer.Option(help="Directions: both, x, y.", metavar="VALUES")] = None,
    gradient: Annotated[
        Values, typer.Option(help="Gradients of tgv-l1: symmetrised, jacobian.", metavar="VALUES")
    ] = None,
    further: Annotated[
        Values,
        typer.Option(
            "--set",
            help="Any other key of a recipe, such as median.rows=3,5 or scale=range,max",
            metavar="KEY=VALUES",
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="The preset or TOML file to start from.", metavar="RECIPE")
    ] = None,
    step: Annotated[
        Literal["background", "contrast", "denoise"] | None,
        typer.Option(help="The step to vary.", show_default="background, or denoise if the recipe has none"),
    ] = None,
    channel: options.Channel = None,
    run: options.Run = None,
    columns: Annotated[
        int,
        typer.Option(min=0, max=12, help="Points side by side on the sheet; 0: as many as fit.", metavar="N"),
    ] = 0,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Points computed at a time.", metavar="N")
    ] = min(os.cpu_count() or 1, 4),
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Restore one image with every combination of some parameters, and put the results on one sheet.

    The folder gets a sheet (.png and .pdf), a table (.csv) and all results in one HDF5 file (.nxs), named
    after the image and the sweep. Ctrl-C finishes the points under way and makes the sheet from them.
    """
    from tvtasks.recipe import Recipe
    from tvtasks.sweep import arguments, results
    from tvtasks.sweep import points as grid

    named = {
        "lam": lam,
        "alpha": alpha,
        "alpha1": alpha1,
        "alpha2": alpha2,
        "direction": direction,
        "gradient": gradient,
    }
    axes = arguments.axes(named, further or [])
    base = Recipe.load(recipe) if recipe else None
    micrograph, note = arguments.image(path, base, channel, run)
    if note:
        complain(note)
    if base:
        base = base.for_technique(micrograph.technique, micrograph.name)
    points = grid.build_points(base, arguments.models(model or []), axes, step)
    silent = quiet or as_json
    announce_compiling(silent)
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="tvtasks-sweep-", ignore_cleanup_errors=True) as folder:
        with (
            stoppable() as stop,
            counting(f"Restoring {micrograph.name}", len(points), silent) as progress,
        ):
            found = {}
            for number, trial in grid.run(
                micrograph, points, Path(folder), workers=workers, is_stopped=stop.is_set
            ):
                found[number] = trial
                progress(len(found), len(points))
            trials = [found[number] for number in sorted(found)]
        place = output / grid.stem(micrograph, points[: len(trials)] if trials else points)
        files = results.write(micrograph, trials, place, columns) if any(t.archive for t in trials) else []
    left = len(points) - len(trials)
    if as_json:
        print_json(
            {
                "image": micrograph.name,
                "unit": micrograph.units,
                "points": grid.records(trials),
                "left": left,
                "files": [str(file) for file in files],
            }
        )
    elif not quiet:
        console.print(_table(trials, micrograph.units))
        for file in files:
            say(str(file))
    failed = [trial for trial in trials if trial.fault]
    for fault in dict.fromkeys(trial.fault for trial in failed):  # usually the same for all
        where = "; ".join(trial.point.label for trial in failed if trial.fault == fault)
        complain(f"{where if len(failed) < len(points) else 'All points'}: {fault}")
    if left:
        complain(f"Stopped: {left} of {len(points)} points were not computed.")
    if failed or left:
        raise typer.Exit(Exit.ATTENTION)


def _repeated(args: Sequence[str]) -> Iterator[str]:
    option, free = "", False
    for word in args:
        if word.startswith("--"):
            option, free = word, False
        elif free and option in _LISTS and all(_is_value(part) for part in word.split(",")):
            yield option
        else:
            free = True
        yield word


def _is_value(text: str) -> bool:
    with suppress(ValueError):
        return float(text) == float(text)
    from tvtasks.steps import MODELS

    return text.partition("=")[0] in {*MODELS, "both", "x", "y", "symmetrised", "jacobian"}


def _table(trials: Sequence[Trial], units: str) -> Table:
    from tvtasks.figures import with_prefix
    from tvtasks.sweep.points import METRICS

    table = Table(box=None, pad_edge=False)
    for heading in ("point", "gap", "iterations", "time", *METRICS):
        table.add_column(heading, justify="left" if heading == "point" else "right")
    for trial in trials:
        if trial.fault:
            table.add_row(Text(trial.point.label), Text("failed", style="red"))
            continue
        gap = "" if trial.gap is None else f"{trial.gap:.1e}" + ("" if trial.converged else " (not reached)")
        measured = [with_prefix(trial.metrics[name], units) for name in METRICS]
        table.add_row(
            Text(trial.point.label), gap, str(trial.iterations), with_prefix(trial.seconds, "s"), *measured
        )
    return table
