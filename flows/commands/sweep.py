"""``tvtasks sweep``: one image by many parameters, on one sheet."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand

from flows.terminal import Exit, console, counting, draining, errors, load_solvers
from tvtasks.errors import ConfigurationError

if TYPE_CHECKING:
    from tvtasks.micrograph import Micrograph
    from tvtasks.recipe import Recipe
    from tvtasks.sweep import Trial

_WORDS = {"huber-rof", "tv-l1", "tgv-l1", "both", "x", "y", "symmetrised", "jacobian"}
_LISTS = {"--lam", "--alpha", "--alpha1", "--alpha2", "--direction", "--gradient", "--model"}

Values = list[str] | None


class Spaced(TyperCommand):
    """Takes ``--lam .1 .5 1`` for ``--lam .1 --lam .5 --lam 1``.

    PowerShell makes the first of ``.1,.5,1``, and so does everybody's first try.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each further value."""
        return super().parse_args(ctx, list(_repeated(args)))


def sweep(
    path: Annotated[Path, typer.Argument(help="An image file, or an archive file.", metavar="FILE")],
    output: Annotated[Path, typer.Option(help="Folder for the sheet, the table and the results.")],
    model: Annotated[
        Values, typer.Option(help="Models to compare; with λ of its own: tv-l1=.1, or tv-l1=.1,.2")
    ] = None,
    lam: Annotated[Values, typer.Option(help="Values of λ: --lam .1 .5 1, or --lam .1,.5,1")] = None,
    alpha: Annotated[Values, typer.Option(help="Values of α of huber-rof.")] = None,
    alpha1: Annotated[Values, typer.Option(help="Values of α1 of tgv-l1.")] = None,
    alpha2: Annotated[Values, typer.Option(help="Values of α2 of tgv-l1.")] = None,
    direction: Annotated[Values, typer.Option(help="Directions: both, x, y.")] = None,
    gradient: Annotated[Values, typer.Option(help="Gradients of tgv-l1: symmetrised, jacobian.")] = None,
    further: Annotated[
        Values, typer.Option("--set", help="Any other key of a recipe: median.rows=3,5 or scale=range,max")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="A preset or TOML file to begin with.")] = None,
    step: Annotated[
        Literal["background", "contrast", "denoise"] | None,
        typer.Option(help="The step to vary (background; of a recipe without one, denoise)."),
    ] = None,
    channel: Annotated[str | None, typer.Option(help="Which image of a file with several.")] = None,
    run: Annotated[str | None, typer.Option(help="Which run of a file with several.")] = None,
    columns: Annotated[int, typer.Option(min=0, max=12, help="Points side by side; 0: as many as fit.")] = 0,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Points worked on at a time.")] = min(
        os.cpu_count() or 1, 4
    ),
    quiet: Annotated[bool, typer.Option("--quiet", help="Say only what went wrong.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Restore one image with every combination of some parameters, and put the results on one sheet.

    Into the folder come a sheet (.png and .pdf), a table (.csv) and all results in one HDF5 file (.nxs),
    named after the image and the sweep. Of an archive file its raw image is taken. Ctrl-C finishes the
    points under way, and puts those on the sheet.
    """
    from tvtasks import sweep as sweeps
    from tvtasks.recipe import Recipe

    named = {
        "lam": lam, "alpha": alpha, "alpha1": alpha1, "alpha2": alpha2, "direction": direction,
        "gradient": gradient,
    }  # fmt: skip
    axes = {key: _values(key, texts) for key, texts in named.items() if texts}
    for text in further or []:
        key, equals, values = text.partition("=")
        if not equals or not key:
            raise ConfigurationError(f"--set {text} is not of the form key=value,value.")
        axes[key] = [*axes.get(key, []), *_values(key, [values])]
    base = Recipe.load(recipe) if recipe else None
    micrograph = _image(path, base, channel, run)
    if base:
        base = base.for_technique(micrograph.technique, micrograph.name)
    points = sweeps.grid(base, _models(model or []), axes, step)
    silent = quiet or as_json
    load_solvers(silent)
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="tvtasks-sweep-", ignore_cleanup_errors=True) as folder:
        with (
            draining() as stop,
            counting(f"{micrograph.name}: {{}} of {{}} points", len(points), silent) as done,
        ):
            found = {}
            for number, trial in sweeps.run(
                micrograph, points, Path(folder), workers=workers, is_stopped=stop.is_set
            ):
                found[number] = trial
                done(len(found))
            trials = [found[number] for number in sorted(found)]
        place = output / sweeps.stem(micrograph, points[: len(trials)] if trials else points)
        files = _write(micrograph, trials, place, columns) if any(t.archive for t in trials) else []
    left = len(points) - len(trials)
    if as_json:
        print(
            json.dumps(
                {
                    "image": micrograph.name,
                    "unit": micrograph.units,
                    "points": sweeps.records(trials),
                    "left": left,
                    "files": [str(file) for file in files],
                },
                indent=2,
                ensure_ascii=False,
            )
        )
    elif not quiet:
        console.print(_table(trials, micrograph.units))
        for file in files:
            console.print(Text(str(file)), soft_wrap=True)
    failed = [trial for trial in trials if trial.fault]
    for fault in dict.fromkeys(trial.fault for trial in failed):  # as a rule the same for all
        where = "; ".join(trial.point.label for trial in failed if trial.fault == fault)
        errors.print(Text(f"{where if len(failed) < len(points) else 'All points'}: {fault}"), soft_wrap=True)
    if left:
        errors.print(Text(f"Stopped: {left} of {len(points)} points were not begun."), soft_wrap=True)
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
    return text.partition("=")[0] in _WORDS


def _values(key: str, texts: Sequence[str]) -> list[Any]:
    """Return the values in texts like ``.1,.5``; whether they are allowed, the recipe says."""
    found: list[Any] = []
    for text in ",".join(texts).split(","):
        word = text.strip()
        if not word:
            raise ConfigurationError(f"A value of {key} is missing in {','.join(texts)!r}.")
        try:
            found.append(
                int(word) if word.lstrip("+-").isdigit() and key not in {"lam", "alpha"} else float(word)
            )
        except ValueError:
            found.append(word)
    return found


def _models(texts: Sequence[str]) -> dict[str, list[float]]:
    """Return the models, each with the values of λ that it has of its own."""
    models: dict[str, list[float]] = {}
    for text in texts:
        if "=" not in text:
            models |= {name.strip(): models.get(name.strip(), []) for name in text.split(",")}
            continue
        name, _, values = text.partition("=")
        models[name.strip()] = [*models.get(name.strip(), []), *_values("lam", [values])]
    return models


def _image(path: Path, base: Recipe | None, channel: str | None, run: str | None) -> Micrograph:
    """Return the image to restore: of an archive file the raw one, of another what the recipe would take."""
    from tvtasks import archive, channels, readers
    from tvtasks.errors import ArchiveError
    from tvtasks.recipe import Recipe

    if path.suffix.lower() == ".nxs":
        ours = False
        with suppress(ArchiveError):  # another program's NeXus file is an image file like any other
            ours = bool(archive.runs(path))
        if ours:
            return archive.raw(path, run=run)
    wanted = base or Recipe.model_validate({"median": {}})
    if channel is not None:
        wanted = wanted.model_copy(update={"channel": channel})
    found = readers.read(path)
    chosen, _ = channels.choose(found, wanted)
    if len(found) > 1:
        name = " ".join(filter(None, (chosen[0].channel, chosen[0].direction)))
        errors.print(
            Text(f"{path.name} holds {len(found)} images; {name} is taken; see --channel."), soft_wrap=True
        )
    return chosen[0]


def _write(micrograph: Micrograph, trials: Sequence[Trial], place: Path, columns: int) -> list[Path]:
    from tvtasks.archive.collect import collect
    from tvtasks.figures.sheet import contact_sheet, rendered
    from tvtasks.files import write_whole
    from tvtasks.sweep import records

    def named(suffix: str) -> Path:
        return place.with_name(place.name + suffix)

    collect([trial.archive for trial in trials if trial.archive], named(".nxs"), overwrite=True)
    sheet = contact_sheet(micrograph, trials, _title(micrograph, trials), columns)
    write_whole(named(".png"), rendered(sheet, "png"))
    write_whole(named(".pdf"), rendered(sheet, "pdf"))
    rows = records(trials)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    writer.writerows(rows)
    write_whole(named(".csv"), text.getvalue().encode("utf-8-sig"))  # with the mark that Excel needs for λ
    return [named(suffix) for suffix in (".png", ".pdf", ".csv", ".nxs")]


def _title(micrograph: Micrograph, trials: Sequence[Trial]) -> str:
    """Return the name of the image, and what is the same at all points."""
    from tvtasks.sweep import NAMES, SYMBOLS

    parts = [micrograph.name] + ([micrograph.channel] if micrograph.channel else [])
    varied = {key for trial in trials for key in trial.point.varied}
    recipe = trials[0].point.recipe.parameters
    for step in ("background", "median", "contrast", "denoise"):
        if (table := recipe.get(step)) is None:
            continue
        words = [step]
        if step == "median" and not any(key.startswith("median.") for key in varied):
            words.append(f"{table['rows']} × {table['columns']}")
        elif "model" in table and f"{step}.model" not in varied:
            words.append(NAMES[table["model"]])
            words += [
                f"{symbol} {table[key]:g}" for key, symbol in SYMBOLS.items()
                if key in table and f"{step}.{key}" not in varied
            ]  # fmt: skip
        if table.get("direction", "both") != "both" and f"{step}.direction" not in varied:
            words.append(f"{table['direction']} only")
        parts.append(" ".join(words))
    return "  ·  ".join(parts)


def _table(trials: Sequence[Trial], units: str) -> Table:
    from tvtasks.figures import with_prefix
    from tvtasks.sweep import METRICS

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
