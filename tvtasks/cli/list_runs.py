"""``tvtasks list``: lists the runs in an archive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from tvtasks.cli import options
from tvtasks.cli.columns import in_columns
from tvtasks.cli.progress import counting
from tvtasks.cli.terminal import Exit, complain, console, print_json, say
from tvtasks.words import amount, count

if TYPE_CHECKING:
    from tvtasks.archive.catalogue import CatalogueEntry

_FIGURES = {"pixels", "gap", "seconds"}


class Sort(StrEnum):
    """The keys to sort a list by."""

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
    # Python cannot compare times with and without a time zone.
    Sort.ACQUIRED: lambda entry: entry.acquired_at and entry.acquired_at.replace(tzinfo=None),
    Sort.GAP: lambda entry: entry.gap,
    Sort.SECONDS: lambda entry: entry.seconds,
    Sort.SIZE: lambda entry: entry.size,
    Sort.RECIPE: lambda entry: entry.recipe.casefold(),
}


def list_runs(
    archive: Annotated[Path, typer.Argument(help="Folder with results.", metavar="ARCHIVE")],
    select: options.Select = None,
    since: Annotated[
        str,
        typer.Option(
            help="Only runs archived since a time: today, yesterday, '3 days', 2026-11-28.", metavar="TIME"
        ),
    ] = "",
    session: Annotated[str, typer.Option(help="Only runs of a session; * is possible.", metavar="NAME")] = "",
    operator: Annotated[
        str, typer.Option(help="Only runs of an operator; * is possible.", metavar="NAME")
    ] = "",
    latest: Annotated[bool, typer.Option("--latest", help="Only the newest run of each image.")] = False,
    sort: Annotated[Sort, typer.Option(help="Sort key, ascending.")] = Sort.NAME,
    reverse: Annotated[bool, typer.Option("--reverse", help="Sort descending.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Show at most this many runs.", metavar="N")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Write the runs as a table with all fields: .csv or .parquet.", metavar="FILE"),
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """List the runs in an archive: all, or those that match conditions.

    An index of the archive, kept for this user, makes this fast; it is made again when it is missing. With
    --latest, the conditions apply to the newest run of each image. The exit code is 1 if a file cannot
    be read.
    """
    from tvtasks.archive import catalogue
    from tvtasks.archive.conditions import chosen_by
    from tvtasks.archive.conditions import since as archived_since
    from tvtasks.archive.index import indexed_entries

    conditions = [*(select or []), *([archived_since(since, datetime.now())] if since else [])]
    conditions += [
        f"{field}~{name}" for field, name in (("session", session), ("operator", operator)) if name
    ]
    chosen = chosen_by(conditions)
    with counting("Reading the archive", None, quiet or as_json) as progress:
        everything = indexed_entries(archive, progress=progress)
    damaged = [entry for entry in everything if entry.fault]
    found = catalogue.latest(everything) if latest else everything
    found = _sorted([entry for entry in found if chosen(entry)], sort, reverse=reverse)
    shown = found[:limit]
    if output:
        from tvtasks.archive.table import write_table

        write_table(shown, output, overwrite=overwrite)
        if not quiet:
            say(f"{output}: {count(len(shown), 'run')}")
    elif as_json:
        print_json(
            {
                "archive": str(archive),
                "files": len(everything),
                "found": len(found),
                "damaged": len(damaged),
                "runs": [as_record(entry) for entry in shown],
            }
        )
    else:
        if shown:
            say(Text("\n").join(_lines(shown)))
        else:
            say("No run matches." if everything else "The archive holds no run yet.")
        say(_summary(everything, found, shown), style="dim")
        for entry in damaged:
            complain(entry.fault)
    if damaged:
        raise typer.Exit(Exit.ATTENTION)


def as_record(entry: CatalogueEntry) -> dict[str, Any]:
    """Return an entry, safe for JSON; if the file cannot be read, only what is known."""
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
        "session": dict(entry.session),
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


def _sorted(found: list[CatalogueEntry], sort: Sort, *, reverse: bool) -> list[CatalogueEntry]:
    """Sort the entries; those without a value always come last."""
    value = _VALUES[sort]
    known = [entry for entry in found if value(entry) is not None]
    unknown = [entry for entry in found if value(entry) is None]
    return [*sorted(known, key=value, reverse=reverse), *unknown]


def _lines(entries: list[CatalogueEntry]) -> Iterator[Text]:
    """Yield the lines of a table."""
    header = ("image", "technique", "acquired", "pixels", "recipe", "λ", "gap", "seconds", "written", "run")
    lines = in_columns(
        header,
        [_row(entry) for entry in entries],
        width=console.width,
        right=_FIGURES,
        dispensable=("technique", "seconds", "acquired", "written", "pixels"),
    )
    for number, line in enumerate(lines):
        entry = entries[number - 1] if number else None
        style = "bold" if not entry else "red" if entry.fault else "" if entry.converged else "yellow"
        yield Text(line, style=style)


def _row(entry: CatalogueEntry) -> tuple[str, ...]:
    if entry.fault:
        return (entry.path.name, *[""] * 3, "cannot be read", *[""] * 5)
    gap = "" if entry.gap is None else f"{entry.gap:.1e}"
    return (
        " ".join([entry.source_name, *_which(entry)]),
        entry.technique or "",
        f"{entry.acquired_at:%Y-%m-%d %H:%M}" if entry.acquired_at else "",
        f"{entry.shape[0]} × {entry.shape[1]}",
        entry.recipe,
        ", ".join(
            f"{entry.parameters[step]['lam']:g}" for step in entry.steps if "lam" in entry.parameters[step]
        ),
        gap if entry.converged else f"{gap} (not reached)".strip(),
        f"{entry.seconds:.2f}",
        f"{entry.written_at.astimezone():%Y-%m-%d %H:%M}",
        entry.run_id[:12],
    )


def _which(entry: CatalogueEntry) -> list[str]:
    """Return which image of its file an entry is, if the file holds several."""
    parts = [entry.channel, entry.direction or "", f"frame {entry.frame}" if entry.frame else ""]
    return [part for part in parts if part]


def _summary(
    everything: list[CatalogueEntry], found: list[CatalogueEntry], shown: list[CatalogueEntry]
) -> str:
    images = len({entry.image for entry in found if not entry.fault})
    text = (
        f"{len(found)} of {len(everything)} runs, {count(images, 'image')}, "
        f"{amount(sum(entry.size for entry in found))}"
    )
    damaged = sum(bool(entry.fault) for entry in everything)
    return (
        text
        + (f"; showing the first {len(shown)}" if len(shown) < len(found) else "")
        + (f"; {damaged} cannot be read" if damaged else "")
    )
