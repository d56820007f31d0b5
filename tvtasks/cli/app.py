"""The command line: its commands, in the groups that the help shows."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from tvtasks.cli import (
    collect,
    compare,
    demo,
    deploy,
    doctor,
    export,
    gallery,
    hand_on,
    list_runs,
    mark,
    passport,
    profile,
    recipes,
    rerun,
    restore,
    retry,
    server,
    show,
    status,
    suggest,
    sweep,
    tune,
    verify,
    watch,
)
from tvtasks.cli.command import Command, Group
from tvtasks.cli.terminal import EXIT_CODES, Exit, complain
from tvtasks.errors import ConfigurationError, RecipeError, TvtasksError

app = typer.Typer(
    cls=Group,
    help="Total-variation restoration of microscope images, with provenance.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

WATCHING = "Watch a folder"
RESTORING = "Restore files"
LOOKING = "Look at results"
HANDING_ON = "Check and share results"
TRYING = "Choose parameters"


def _add(
    group: str, name: str, function: Callable[..., Any], summary: str, cls: type[Command] = Command
) -> None:
    app.command(name, cls=cls, short_help=summary, rich_help_panel=group)(function)


_add(WATCHING, "demo", demo.demo, "Show everything in a minute.")
_add(WATCHING, "watch", watch.watch, "Restore all images in a folder, and new ones as they arrive.")
_add(WATCHING, "doctor", doctor.doctor, "Check that a watch can work.")
_add(WATCHING, "status", status.status, "Show the status of a watch.")
_add(WATCHING, "retry", retry.retry, "Queue failed files again.")
_add(WATCHING, "server", server.server, "Run a Prefect server for several watches and workers.")
_add(WATCHING, "deploy", deploy.deploy, "Set up a Prefect server for workers and schedules.")
_add(RESTORING, "restore", restore.restore, "Restore files, or folders of files.")
_add(RESTORING, "rerun", rerun.rerun, "Restore archived images again by another recipe.")
_add(TRYING, "recipes", recipes.recipes, "List the presets.")
_add(TRYING, "suggest", suggest.suggest, "Choose λ for one image, and show why.")
_add(TRYING, "tune", tune.tune, "Make a page with a slider over λ for one image.")
_add(TRYING, "sweep", sweep.sweep, "Compare parameters for one image on one sheet.", cls=sweep.Spaced)
_add(LOOKING, "list", list_runs.list_runs, "List the runs in an archive.")
_add(LOOKING, "show", show.show, "Show what a result holds.")
_add(LOOKING, "gallery", gallery.gallery, "Make an HTML page of an archive's images.")
_add(LOOKING, "compare", compare.compare, "Show runs of one image side by side.")
_add(LOOKING, "mark", mark.mark, "Keep or reject results, with a note.")
_add(LOOKING, "profile", profile.profile, "Plot the images of a run along a line.")
_add(HANDING_ON, "verify", verify.verify, "Check that results are unchanged and reproducible.")
_add(HANDING_ON, "collect", collect.collect, "Copy several runs into one file.")
_add(HANDING_ON, "passport", passport.passport, "Write results with all that repeats them, as an RO-Crate.")
_add(HANDING_ON, "hand-on", hand_on.hand_on, "Hand results on: copy, command, or JSON to a server.")
_add(HANDING_ON, "export", export.export, "Write images as TIFF, PNG, .gwy, .gsf or .npz.")


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        import tvtasks

        print(f"tvtasks {tvtasks.__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; an error that a user can fix ends in a sentence without a traceback."""
    # Prefect logs to its server; the terminal shows our own table.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    try:
        app()
    except (ConfigurationError, RecipeError) as error:
        complain(error)
        sys.exit(Exit.USAGE)
    except TvtasksError as error:
        complain(error)
        sys.exit(Exit.ATTENTION)


if __name__ == "__main__":
    main()
