"""The commands that look after a watch: ``tvtasks status | retry | doctor``."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from flows.terminal import Exit, console, errors
from tvtasks.errors import ConfigurationError

if TYPE_CHECKING:
    from tvtasks.monitor.doctor import Finding
    from tvtasks.monitor.health import Heartbeat

Archive = Annotated[
    Path, typer.Argument(help="Folder for results that a watch writes to.", metavar="ARCHIVE")
]
Json = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]


def status(archive: Archive, as_json: Json = False) -> None:
    """Say how a watch is: its state, files in each state, the last error, disk and dashboard.

    Nothing is changed, whether the watch runs or not. The exit code is 0 when all is well and 1 when
    something needs attention.
    """
    from flows import display
    from tvtasks.monitor.status import look

    found = look(archive)
    if as_json:
        print(json.dumps(display.status_record(found), indent=2, ensure_ascii=False))
    else:
        console.print(display.status(found))
        if found.heartbeat and {"heartbeat", "waiting"} & {problem.kind for problem in found.problems}:
            console.print(Text(f"\nStart it again: {_again(found.heartbeat)}"), soft_wrap=True)
    if found.problems:
        raise typer.Exit(Exit.ATTENTION)


def retry(
    archive: Archive,
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files of the watched folder.", metavar="FILE...")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All failed and quarantined files.")] = False,
) -> None:
    """Put failed and quarantined files back into the queue.

    A watch that runs takes them up at once, otherwise the next one does.
    """
    from tvtasks.monitor import Ledger
    from tvtasks.monitor.health import life, read_heartbeat, utc_now
    from tvtasks.monitor.status import find_ledger

    if bool(files) == everything:
        raise ConfigurationError("Say which files to try again: give their names, or --all.")
    heartbeat = read_heartbeat(archive)
    missed: list[Path] = []
    # The watch that left the heartbeat takes up work for its own recipes only.
    recipe = heartbeat.recipe if heartbeat else None
    with Ledger(find_ledger(archive)) as ledger:
        if everything:
            number = ledger.retry(recipe=recipe)
        else:
            number = 0
            for path in files or []:
                put_back = sum(ledger.retry(where, recipe=recipe) for where in _places(path, heartbeat))
                number += put_back
                if not put_back:
                    missed.append(path)
    for path in missed:
        errors.print(
            Text(f"{path} is not among the failed or quarantined files of {archive}."), soft_wrap=True
        )
    if everything and not number:
        console.print("No file has failed: there is nothing to try again.")
    else:
        console.print("1 file is queued again." if number == 1 else f"{number} files are queued again.")
    if number:
        runs = heartbeat is not None and life(heartbeat, utc_now()) == "alive"
        console.print(Text(_who_goes_on(heartbeat, runs)), soft_wrap=True)
    if missed:
        raise typer.Exit(Exit.ATTENTION)


def doctor(
    folder: Annotated[Path, typer.Argument(help="Folder that the microscope writes to.", metavar="FOLDER")],
    archive: Annotated[Path | None, typer.Option(help="Folder for results.")] = None,
    recipe: Annotated[
        list[str] | None, typer.Option("--recipe", help="As for watch, to see which files get a recipe.")
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", help="As for watch: files to leave alone.")
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="Look at subfolders too.")] = False,
    observer: Annotated[
        Literal["auto", "native", "polling"], typer.Option(help="As it is meant for watch.")
    ] = "auto",
    as_json: Json = False,
) -> None:
    """Look for what may keep a watch from working, and say what to do about it.

    Nothing is written into FOLDER. The exit code is 0 when a watch can work, if perhaps with a warning, and
    1 when something must be mended first.
    """
    from flows import display
    from tvtasks.monitor.doctor import examine
    from tvtasks.recipe_book import RecipeBook

    book = RecipeBook.load(recipe) if recipe else None
    found = examine(
        folder, archive, recursive=recursive, observer=observer, ignore=ignore or (),
        has_recipe=(lambda path: book.choose(path, folder.resolve()) is not None) if book else None,
    )  # fmt: skip
    found.append(_server())
    if as_json:
        print(json.dumps(display.findings_record(found), indent=2, ensure_ascii=False))
    else:
        console.print(display.findings(found))
    if any(finding.level == "fail" for finding in found):
        raise typer.Exit(Exit.ATTENTION)


def _server() -> Finding:
    """Look for the Prefect server that a watch would use."""
    from flows import server
    from tvtasks.monitor.doctor import Finding

    try:
        found = server.configured()
    except ConfigurationError as error:
        sentence, _, advice = str(error).partition(". ")
        return Finding("dashboard", "fail", f"{sentence}.", advice)
    if found := found or server.running():
        return Finding("dashboard", "ok", f"A Prefect server answers at {found.dashboard}.")
    return Finding("dashboard", "ok", "No Prefect server runs: the watch starts one of its own.")


def _places(path: Path, heartbeat: Heartbeat | None) -> set[Path]:
    """Return where a file may be meant to lie: here, or in the watched folder."""
    tops = [Path.cwd()] + ([heartbeat.folder] if heartbeat else [])
    return {(place := top / path).parent.resolve() / place.name for top in tops}


def _who_goes_on(heartbeat: Heartbeat | None, runs: bool) -> str:
    """Say which watch takes up what was queued."""
    if heartbeat is None:
        return "No watch runs. Start it with tvtasks watch, with the recipes as before."
    if runs:
        return f"The watch that runs ({heartbeat.who}) takes up what is queued."
    return f"No watch runs. Start it: {_again(heartbeat)}"


def _again(heartbeat: Heartbeat) -> str:
    from tvtasks.monitor.status import command_line

    words = command_line(heartbeat)
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)
