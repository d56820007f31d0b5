"""``tvtasks collect``: copies several runs into one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tvtasks.cli import options
from tvtasks.cli.progress import counting
from tvtasks.cli.terminal import print_json, say
from tvtasks.words import count


def collect(
    paths: Annotated[list[Path], typer.Argument(help="Results.", metavar="FILE.nxs")],
    output: Annotated[Path, typer.Option(help="The file to write, .nxs.", metavar="FILE.nxs")],
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the names of the runs as JSON.")] = False,
) -> None:
    """Copy several runs into one file, to compare them in a viewer.

    Each run becomes an NXentry run_<id>; a viewer opens on the first. To pick one, give --run ID to
    `tvtasks show`, `profile`, `sweep` or `export`.
    """
    from tvtasks.archive.collect import collect as copy

    with counting(f"Copying runs into {output.name}", len(paths), quiet or as_json) as progress:
        names = copy(paths, output, overwrite=overwrite, progress=progress)
    if as_json:
        print_json({"file": str(output), "runs": names}, indent=None)
    elif not quiet:
        say(f"{output}: {count(len(names), 'run')}")
