"""``tvtasks collect``: several runs in one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from flows.terminal import console, counting


def collect(
    paths: Annotated[list[Path], typer.Argument(help="Archive files.", metavar="FILE.nxs...")],
    output: Annotated[Path, typer.Option(help="The file to write, .nxs.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace it where it is there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say only what went wrong.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the names of the runs as JSON.")] = False,
) -> None:
    """Copy several runs into one file, to compare them in a viewer.

    Each is an NXentry run_<id>; a viewer opens on the first. `tvtasks show FILE --run ID` and the other
    commands take one of them.
    """
    from tvtasks.archive.collect import collect as copy

    with counting(f"{output.name}: {{}} of {{}} runs", len(paths), quiet or as_json) as done:
        names = copy(paths, output, overwrite=overwrite, progress=lambda number, _: done(number))
    if as_json:
        print(json.dumps({"file": str(output), "runs": names}, ensure_ascii=False))
    elif not quiet:
        console.print(Text(f"{output}: {len(names)} run{'s' * (len(names) != 1)}"), soft_wrap=True)
