"""``tvtasks doctor``: checks that a watch can work."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tvtasks.cli import options
from tvtasks.cli.terminal import Exit, console, print_json
from tvtasks.errors import ServerError
from tvtasks.options import MonitorOptions

if TYPE_CHECKING:
    from tvtasks.health.doctor import Finding
    from tvtasks.recipe_book import RecipeBook


def doctor(
    folder: options.Folder,
    archive: Annotated[Path | None, typer.Option(help="Folder for results.", metavar="DIR")] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe", help="As for tvtasks watch, to see which files get a recipe.", metavar="RECIPE"
        ),
    ] = None,
    ignore: options.Ignore = None,
    recursive: options.Recursive = False,
    observer: options.Observer = "auto",
    as_json: options.Json = False,
) -> None:
    """Check that a watch can work, and print what to fix if it cannot.

    One file of each ending is read, to see whether it would be refused. The command writes nothing to
    FOLDER. The exit code is 0 when a watch can work, even with warnings, and 1 when you must fix something
    first.
    """
    from tvtasks.cli import reports
    from tvtasks.health.doctor import examine
    from tvtasks.recipe_book import RecipeBook

    book = RecipeBook.load(recipe) if recipe else None
    found = examine(
        folder,
        archive,
        MonitorOptions(recursive=recursive, observer=observer, ignore=tuple(ignore or ())),
        has_recipe=(lambda path: book.choose(path, folder.resolve()) is not None) if book else None,
        try_file=partial(_try, book, folder.resolve()),
    )
    found.append(_server())
    is_well = all(finding.level != "fail" for finding in found)
    if as_json:
        record = {"healthy": is_well, "findings": [asdict(finding) for finding in found]}
        print_json(record)
    else:
        console.print(reports.findings(found))
    if not is_well:
        raise typer.Exit(Exit.ATTENTION)


def _try(book: RecipeBook | None, folder: Path, path: Path) -> None:
    """Read a file, and choose its images by its recipe, as a watch would."""
    from tvtasks import channels, readers

    images = readers.read(path)
    if book and (recipe := book.choose(path, folder)):
        channels.choose(images, recipe)


def _server() -> Finding:
    """Look for the Prefect server that a watch would use."""
    from tvtasks.dashboard import server
    from tvtasks.health.doctor import Finding

    try:
        found = server.find()
    except ServerError as error:
        sentence, _, advice = str(error).partition(". ")
        return Finding("dashboard", "fail", f"{sentence}.", advice)
    if found:
        return Finding("dashboard", "ok", f"A Prefect server answers at {found.dashboard} ({found.origin}).")
    return Finding("dashboard", "ok", "No Prefect server is running: the watch starts its own.")
