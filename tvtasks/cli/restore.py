"""``tvtasks restore``: restores files, or folders of files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tvtasks.cli import options


def restore(
    paths: Annotated[
        list[Path], typer.Argument(help="Image files, or folders of image files.", metavar="FILE")
    ],
    archive: options.Archive,
    recipe: options.Recipes = None,
    frames: options.Frames = "",
    workers: options.Workers = 2,
    memory: options.Memory = None,
    compression: options.CompressionOption = "gzip",
    exact: options.Exact = False,
    sample: options.SampleFile = None,
    session: options.SessionName = "",
    operator: options.Operator = "",
    no_dashboard: options.NoDashboard = False,
    quiet: options.Quiet = False,
    as_json: options.JsonLines = False,
) -> None:
    """Restore files. Images that are current in the archive are not restored again.

    An image is current if the archive holds a result of exactly this recipe. If a Prefect server is running,
    the dashboard shows the batch. The exit code is 0 if all images are current at the end, and 1 if images
    failed or are left.
    """
    from tvtasks.archive.storage import Storage
    from tvtasks.cli import batch
    from tvtasks.rerun import Request

    request = Request(
        tuple(paths),
        options.recipes(recipe),
        archive,
        workers=workers,
        storage=Storage.of(compression, sample, exact=exact, session=session, operator=operator),
        memory=memory,
        frames=frames,
        yields=False,  # the user is waiting for these very files
    )
    batch.run(request, dashboard=not no_dashboard, quiet=quiet, as_json=as_json)
