"""``tvtasks restore``: restores files, or folders of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tvtasks.cli import options


def restore(
    paths: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.", metavar="FILE")],
    archive: options.Archive,
    recipe: options.Recipes,
    workers: options.Workers = 2,
    compression: options.CompressionOption = "gzip",
    sample: options.SampleFile = None,
    no_dashboard: options.NoDashboard = False,
    quiet: options.Quiet = False,
    as_json: options.JsonLines = False,
) -> None:
    """Restore files. Images that the archive holds already are current and are not restored again.

    If a Prefect server is running, the dashboard shows the batch. The exit code is 0 when everything is
    current in the end, and 1 when images failed or are left.
    """
    from tvtasks.archive.keeping import Keeping
    from tvtasks.cli import batch
    from tvtasks.rerun import Request

    request = Request(
        tuple(paths),
        tuple(recipe),
        archive,
        workers=workers,
        keeping=Keeping.of(compression, sample),
        yields=False,  # someone waits for these very files
    )
    batch.run(request, dashboard=not no_dashboard, quiet=quiet, as_json=as_json)
