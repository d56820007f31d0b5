"""``tvtasks demo``: a replay microscope writes six scans, and a watch restores them as they arrive."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Annotated

import typer

from tvtasks.cli import options
from tvtasks.cli.progress import watch_display
from tvtasks.errors import ConfigurationError, TvtasksError
from tvtasks.options import USUAL_RECIPE, WatchOptions

SETTLED_SECONDS = 2.0
"""Seconds within which the watch notices the last file."""


def demo(
    folder: Annotated[
        Path, typer.Option(help="Folder for scans, results and the server's data.", metavar="DIR")
    ] = Path("tvtasks-demo"),
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the Prefect server and its dashboard running.")
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.JsonLines = False,
) -> None:
    """Show everything in a minute: a replay microscope writes six scans, and a watch restores them."""
    from tvtasks.cli import watch

    scans, archive = folder / "scans", folder / "archive"
    silent = quiet or as_json
    try:
        scans.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"The folder {folder} cannot be created: {error.strerror}.") from error
    microscope = _Microscope(scans)
    asked = WatchOptions(folder=scans, archive=archive, recipes=(USUAL_RECIPE,))
    with watch_display(quiet=quiet, as_json=as_json) as display:
        tally = watch.run(
            asked,
            display,
            silent=silent,
            home=folder / "prefect",
            finished=microscope.is_done,
            keep_server=keep,
        )
    if microscope.error:
        raise microscope.error
    watch.conclude(tally, archive, display, quiet=quiet, as_json=as_json)


class _Microscope:
    """The replay microscope in a thread of its own; it starts when `is_done` is first called."""

    def __init__(self, folder: Path) -> None:
        self.error: TvtasksError | None = None
        self._ended: float | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._folder = folder

    def _run(self) -> None:
        from tvtasks.replay import replay

        try:
            replay(self._folder)
        except TvtasksError as error:
            self.error = error
        self._ended = time.monotonic()

    def is_done(self) -> bool:
        """Return whether the last file has been there long enough for the watch to notice it."""
        if self._thread.ident is None:
            self._thread.start()
        return self._ended is not None and time.monotonic() - self._ended > SETTLED_SECONDS
