"""``tvtasks show``: shows what a result holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tvtasks.cli import options
from tvtasks.cli.terminal import console, print_json


def show(
    path: Annotated[Path, typer.Argument(help="A result.", metavar="FILE.nxs")],
    run: options.Run = None,
    as_json: options.Json = False,
) -> None:
    """Show what a result holds: source, steps, parameters, certified gaps and versions."""
    from tvtasks import archive

    summary = archive.summary(path, run=run)
    if as_json:
        print_json(summary)
        return
    from tvtasks.cli import reports

    console.print(reports.summary(summary))
