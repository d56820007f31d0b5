"""The command that says what an archive holds: ``tvtasks list``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.cells import cell_len, set_cell_size
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from flows.terminal import Exit, console, errors

if TYPE_CHECKING:
    from tvtasks.archive.catalogue import CatalogueEntry

SELECT_HELP = (
    "A condition such as 'gap>1e-4', 'technique=STM', 'name~stm_*', 'acquired>=2024-05-01', 'converged=no', "
    "'denoise.lam<1'; several times: all must hold. 'none' stands for what is not known."
)
Select = Annotated[list[str] | None, typer.Option("--select", help=SELECT_HELP, metavar="CONDITION")]

_FIGURES = {"pixels", "gap", "seconds"}


class Sort(StrEnum):
    """What a list is sorted by."""

    NAME = "name"
    WRITTEN = "written"
    ACQUIRED = "acquired"
    GAP = "gap"
    SECONDS = "seconds"
    SIZE = "size"
    RECIPE = "recipe"


_VALUES: dict[Sort, Callable[[CatalogueEntry], Any]] = {
    Sort.NAME: lambda entry: (entry.source_name or entry.path.name).casefold(),
    Sort.WRITTEN: lambda entry: entry.written_at,
    # Clocks with and without a time zone cannot be compared.
    Sort.ACQUIRED: lambda entry: entry.acquired_at and entry.acquired_at.replace(tzinfo=None),
    Sort.GAP: lambda entry: entry.gap,
    Sort.SECONDS: lambda entry: entry.seconds,
    Sort.SIZE: lambda entry: entry.size,
    Sort.RECIPE: lambda entry: entry.recipe.casefold(),
}


def list_runs(
    archive: Annotated[Path, typer.Argument(help="Folder of archive files.", metavar="ARCHIVE")],
    select: Select = None,
    latest: Annotated[
        bool, typer.Option("--latest", help="Of each image only the run that was archived last.")
    ] = False,
    sort: Annotated[Sort, typer.Option(help="What comes first in the list: the least.")] = Sort.NAME,
    reverse: Annotated[bool, typer.Option("--reverse", help="The greatest first.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Show no more than so many.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress while files are read.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> None:
    """List the runs in an archive, all or those that fit conditions.

    With --latest the newest run of each image is looked for first, and the conditions are for that one. The
    exit code is 1 when files cannot be read.
    """
    from tvtasks.archive import catalogue
    from tvtasks.archive.selection import chosen_by

    chosen = chosen_by(select or [])
    with _progress(quiet or as_json) as bar:
        task = bar.add_task("Reading the archive", total=None)
        everything = catalogue.entries(
            archive, progress=lambda done, of: bar.update(task, completed=done, total=of)
        )
    damaged = [entry for entry in everything if entry.fault]
    found = catalogue.latest(everything) if latest else everything
    found = _sorted([entry for entry in found if chosen(entry)], sort, reverse=reverse)
    shown = found[:limit]
    if as_json:
        print(
            json.dumps(
                {
                    "archive": str(archive),
                    "files": len(everything),
                    "found": len(found),
                    "damaged": len(damaged),
                    "runs": [as_record(entry) for entry in shown],
                },
                indent=2,
            )
        )
    else:
        if shown:
            console.print(Text("\n").join(_lines(shown)), soft_wrap=True)
        else:
            console.print("No run fits." if everything else "There is no run yet.")
        console.print(Text(_summary(everything, found, shown), style="dim"), soft_wrap=True)
        for entry in damaged:
            errors.print(Text(entry.fault), soft_wrap=True)
    if damaged:
        raise typer.Exit(Exit.ATTENTION)


def as_record(entry: CatalogueEntry) -> dict[str, Any]:
    """Return an entry, safe for JSON; of a file that cannot be read only what is known."""
    if entry.fault:
        return {"file": str(entry.path), "bytes": entry.size, "fault": entry.fault}
    return {
        "file": str(entry.path),
        "bytes": entry.size,
        "name": entry.source_name,
        "sha256": entry.source_sha256,
        "channel": entry.channel,
        "direction": entry.direction,
        "frame": entry.frame,
        "technique": entry.technique,
        "quantity": entry.quantity,
        "units": entry.units,
        "shape": list(entry.shape),
        "dtype": entry.dtype,
        "pixel_size": list(entry.pixel_size) if entry.pixel_size else None,
        "pixel_unit": entry.pixel_unit,
        "acquired": entry.acquired_at.isoformat() if entry.acquired_at else None,
        "written": entry.written_at.isoformat(),
        "run_id": entry.run_id,
        "recipe": entry.recipe,
        "recipe_sha256": entry.recipe_sha256,
        "parameters": dict(entry.parameters),
        "gap": entry.gap,
        "converged": entry.converged,
        "seconds": entry.seconds,
        "notes": list(entry.notes),
        "version": entry.version,
        "algorithm": entry.algorithm_version,
        "schema": entry.schema,
    }


def _progress(silent: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        console=console, transient=True, disable=silent or not console.is_terminal,
    )  # fmt: skip


def _sorted(found: list[CatalogueEntry], sort: Sort, *, reverse: bool) -> list[CatalogueEntry]:
    """Sort, what has no value always last."""
    value = _VALUES[sort]
    known = [entry for entry in found if value(entry) is not None]
    unknown = [entry for entry in found if value(entry) is None]
    return [*sorted(known, key=value, reverse=reverse), *unknown]


def _lines(entries: list[CatalogueEntry]) -> Iterator[Text]:
    """Yield the lines of a table. Rich's own takes a millisecond for each line, which is long for 10,000."""
    rows = [_row(entry) for entry in entries]
    header = ("image", "technique", "acquired", "pixels", "recipe", "gap", "seconds", "written", "run")
    widths = [max(map(cell_len, column)) for column in zip(header, *rows, strict=True)]
    for number, row in enumerate([header, *rows]):
        cells = zip(header, row, widths, strict=True)
        line = "  ".join(
            " " * (width - cell_len(cell)) + cell if name in _FIGURES else set_cell_size(cell, width)
            for name, cell, width in cells
        )
        entry = entries[number - 1] if number else None
        style = "bold" if not entry else "red" if entry.fault else "" if entry.converged else "yellow"
        yield Text(line.rstrip(), style=style)


def _row(entry: CatalogueEntry) -> tuple[str, ...]:
    if entry.fault:
        return (entry.path.name, *[""] * 3, "cannot be read", *[""] * 4)
    gap = "" if entry.gap is None else f"{entry.gap:.1e}"
    return (
        " ".join([entry.source_name, *_which(entry)]),
        entry.technique or "",
        f"{entry.acquired_at:%Y-%m-%d %H:%M}" if entry.acquired_at else "",
        f"{entry.shape[0]} × {entry.shape[1]}",
        entry.recipe,
        gap if entry.converged else f"{gap} (not reached)".strip(),
        f"{entry.seconds:.2f}",
        f"{entry.written_at.astimezone():%Y-%m-%d %H:%M}",
        entry.run_id[:12],
    )


def _which(entry: CatalogueEntry) -> list[str]:
    """Say which image of its file it is, where that is not plain."""
    parts = [entry.channel, entry.direction or "", f"frame {entry.frame}" if entry.frame else ""]
    return [part for part in parts if part]


def _summary(
    everything: list[CatalogueEntry], found: list[CatalogueEntry], shown: list[CatalogueEntry]
) -> str:
    from tvtasks.monitor.health import amount

    images = len({entry.image for entry in found if not entry.fault})
    text = (
        f"{len(found)} of {len(everything)} runs, of {images} images, "
        f"{amount(sum(entry.size for entry in found))}"
    )
    damaged = sum(bool(entry.fault) for entry in everything)
    return (
        text
        + (f"; the first {len(shown)} are shown" if len(shown) < len(found) else "")
        + (f"; {damaged} cannot be read" if damaged else "")
    )
