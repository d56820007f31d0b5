"""``tvtasks profile``: the images of a run along a line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from flows.terminal import console
from tvtasks.errors import ConfigurationError


def profile(
    path: Annotated[Path, typer.Argument(help="An archive file.", metavar="FILE.nxs")],
    line: Annotated[str, typer.Option(help="Both ends of the line: x0,y0,x1,y1.")],
    output: Annotated[
        Path | None, typer.Option(help="The picture, .png or .pdf (<FILE>__profile.png, here).")
    ] = None,
    table: Annotated[Path | None, typer.Option("--csv", help="A table of the values as well.")] = None,
    width: Annotated[float, typer.Option(min=1, help="Pixels across the line that are averaged.")] = 1.0,
    unit: Annotated[
        Literal["image", "px"],
        typer.Option(help="Unit of --line: image for its axes (y upwards), px for columns and rows."),
    ] = "image",
    run: Annotated[str | None, typer.Option(help="Which run of a file with several.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say only what went wrong.")] = False,
) -> None:
    """Draw the raw image, background, flat and restored image along a line."""
    from tvtasks import archive
    from tvtasks.files import write_whole
    from tvtasks.profile import profile as along
    from tvtasks.profile import table as rows

    target = output or Path(f"{path.stem}__profile.png")
    form = target.suffix.lower().removeprefix(".")
    if form not in {"png", "pdf"}:
        raise ConfigurationError(f"{target} is neither a .png nor a .pdf. Give --output one of the two.")
    found = archive.load(path, run=run)
    values = along(found, _line(line), width=width, unit=unit)

    from tvtasks.figures.curves import profile_figure
    from tvtasks.figures.sheet import rendered

    written = [target]
    write_whole(target, rendered(profile_figure(found, values), form))
    if table:
        write_whole(table, rows(values).encode("utf-8-sig"))  # with the mark that Excel needs for µ
        written.append(table)
    if not quiet:
        for file in written:
            console.print(Text(str(file)), soft_wrap=True)


def _line(text: str) -> tuple[float, float, float, float]:
    try:
        x0, y0, x1, y1 = (float(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise ConfigurationError(
            f"--line {text!r} is not four numbers: give both ends as x0,y0,x1,y1, for example 0,10,20,10."
        ) from None
    return x0, y0, x1, y1
