"""``tvtasks retry``: queues failed files again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tvtasks.cli import options
from tvtasks.cli.terminal import Exit, complain, say, shell_line
from tvtasks.errors import ConfigurationError
from tvtasks.places import archive_id
from tvtasks.words import count

if TYPE_CHECKING:
    from tvtasks.health.heartbeat import Heartbeat
    from tvtasks.ledger import Ledger


def retry(
    archive: options.WatchedArchive,
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files in the watched folder.", metavar="FILE")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All files that were not restored.")] = False,
) -> None:
    """Queue failed, quarantined and cancelled files again, and a FILE whose results are missing or damaged.

    A running watch restores them at once; otherwise the next watch does.
    """
    from tvtasks.archive.folder import find_ledger
    from tvtasks.health.heartbeat import read_heartbeat, utc_now
    from tvtasks.health.problems import life
    from tvtasks.ledger import Ledger, State

    if bool(files) == everything:
        raise ConfigurationError("Name the files to retry, or give --all.")
    heartbeat = read_heartbeat(archive)
    missed: list[Path] = []
    waiting: list[Path] = []
    number = 0
    # The watch that left the heartbeat only takes work for its own recipes.
    recipe = heartbeat.recipe if heartbeat else None
    with Ledger(find_ledger(archive)) as ledger:
        if everything:
            number = ledger.retry(recipe=recipe)
        for path in files or []:
            places = _places(path, heartbeat)
            queued = sum(_retry(ledger, archive, place, recipe) for place in places)
            number += queued
            if not queued and places & {
                entry.path for entry in ledger.entries(recipe, State.QUEUED, State.RUNNING)
            }:
                waiting.append(path)
            elif not queued:
                missed.append(path)
    for path in missed:
        complain(
            f"{path} is not among the failed, quarantined or cancelled files of {archive}, and its results "
            "are as they were written."
        )
    for path in waiting:
        say(f"{path} waits to be restored already, or is being restored.")
    if everything and not number:
        say("No file has failed: there is nothing to retry.")
    else:
        say(f"{count(number, 'file')} queued again.")
    if number or waiting:
        is_alive = heartbeat is not None and life(heartbeat, utc_now()) == "alive"
        say(_who_restores(heartbeat, is_alive))
    if missed:
        raise typer.Exit(Exit.ATTENTION)


def _retry(ledger: Ledger, archive: Path, path: Path, recipe: str | None) -> int:
    """Queue a file again if it was not restored, or if its results are not as they were written."""
    from tvtasks.health.results import find_lost, queue_lost

    lost = find_lost(ledger, archive, recipe, deep=True, path=path) if archive_id(archive) else []
    return len(queue_lost(ledger, lost)) + ledger.retry(path, recipe=recipe)


def _places(path: Path, heartbeat: Heartbeat | None) -> set[Path]:
    """Return where a file that the user names may be: here, or in the watched folder."""
    tops = [Path.cwd()] + ([heartbeat.options.folder] if heartbeat else [])
    return {(place := top / path).parent.resolve() / place.name for top in tops}


def _who_restores(heartbeat: Heartbeat | None, is_alive: bool) -> str:
    if heartbeat is None:
        return "No watch is running. Start one with tvtasks watch and the recipes that you used before."
    if is_alive:
        return f"The running watch ({heartbeat.who}) restores them."
    return f"No watch is running. Start it: {shell_line(heartbeat.options.command())}"
