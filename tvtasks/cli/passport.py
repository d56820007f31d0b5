"""``tvtasks passport``: writes an RO-Crate of results, to publish them or to hand them on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tvtasks.cli import options
from tvtasks.cli.terminal import say
from tvtasks.words import count


def passport(
    paths: Annotated[list[Path], typer.Argument(help="Results.", metavar="FILE.nxs")],
    output: Annotated[Path, typer.Option(help="The folder to write.", metavar="DIR")],
    author: Annotated[str, typer.Option(help="Who ran tvtasks.", metavar="NAME")] = "",
    licence: Annotated[str, typer.Option("--license", help="Licence of the data.", metavar="URL")] = "",
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Write results with all that others need to repeat them, as a Workflow Run RO-Crate.

    The folder holds the results and pictures, the recipes, a paragraph for the methods section, the versions
    of all packages, and the script restore_again.py, which restores the original files again and compares
    the results bit for bit. Original files are not copied; their checksums are stated.
    """
    from tvtasks.passport import write_passport

    write_passport(paths, output, author=author, licence=licence, overwrite=overwrite)
    if not quiet:
        say(f"{output}: passport of {count(len(paths), 'result')}")
