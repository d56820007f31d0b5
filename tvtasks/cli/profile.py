"""``tvtasks profile``: plots the images of a run along a line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tvtasks.cli import options
from tvtasks.cli.terminal import say
from tvtasks.errors import ConfigurationError


def profile(
    path: Annotated[Path, typer.Argument(help="A result.", metavar="FILE.nxs")],
    line: Annotated[str, typer.Option(help="The two ends of the line.", metavar="X0,Y0,X1,Y1")],
    output: Annotated[
        Path | None,
        typer.Option(help="The plot, .png or .pdf.", show_default="FILE__profile.png", metavar="FILE"),
    ] = None,
    table: Annotated[
        Path | None, typer.Option("--csv", help="Also write a table of the values.", metavar="FILE.csv")
    ] = None,
    width: Annotated[
        float, typer.Option(min=1, help="Number of pixels across the line to average.", metavar="N")
    ] = 1.0,
    unit: Annotated[
        Literal["image", "px"],
        typer.Option(help="Unit of --line: image for the image's axes (y upwards), px for columns and rows."),
    ] = "image",
    run: options.Run = None,
    quiet: options.Quiet = False,
) -> None:
    """Plot the raw image, background, flat and restored image along a line."""
    from tvtasks import archive
    from tvtasks.files import write_whole
    from tvtasks.profile import profile as along
    from tvtasks.profile import table as rows

    target = output or Path(f"{path.stem}__profile.png")
    form = target.suffix.lower().removeprefix(".")
    if form not in {"png", "pdf"}:
        raise ConfigurationError(f"--output {target} is neither a .png nor a .pdf. Choose one of these.")
    found = archive.load(path, run=run)
    values = along(found, _line(line), width=width, unit=unit)

    from tvtasks.figures.curves import profile_figure
    from tvtasks.figures.sheet import rendered

    written = [target]
    write_whole(target, rendered(profile_figure(found, values), form))
    if table:
        write_whole(table, rows(values).encode("utf-8-sig"))  # Excel needs the byte order mark to show µ
        written.append(table)
    if not quiet:
        for file in written:
            say(str(file))


def _line(text: str) -> tuple[float, float, float, float]:
    try:
        x0, y0, x1, y1 = (float(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise ConfigurationError(
            f"--line {text!r} is not four numbers: give both ends as x0,y0,x1,y1, for example 0,10,20,10."
        ) from None
    return x0, y0, x1, y1
