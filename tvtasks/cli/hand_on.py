"""``tvtasks hand-on``: delivers results to a folder, a command or a server."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tvtasks.cli import options
from tvtasks.cli.terminal import Exit, print_json, say

if TYPE_CHECKING:
    from tvtasks.handover.notes import Standing


def hand_on(
    archive: Annotated[Path, typer.Argument(help="The archive.", metavar="ARCHIVE")],
    actions: Annotated[Path, typer.Option(help="A TOML file with the actions.", metavar="FILE.toml")],
    once: Annotated[bool, typer.Option("--once", help="End when nothing waits for a delivery.")] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try at once what failed or was refused before.")
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.JsonLines = False,
) -> None:
    """Hand results on as they appear: copy them, run a command, send JSON to a server, report an event.

    An action delivers results in the order in which they were archived. One that fails is repeated, at first
    after ten seconds, at most after an hour, and those behind it wait. Ctrl-C ends at once; the next start
    continues. tvtasks status shows how far each action is.
    """
    from tvtasks.handover.actions import load_actions
    from tvtasks.handover.deliveries import PAUSE, Handover
    from tvtasks.handover.notes import opened, standings

    handover = Handover(archive, load_actions(actions))
    if retry:
        with opened(archive) as notes:
            notes.forget_failures()
    before: list[Standing] = []
    while True:
        wait = handover.turn()
        if (now := standings(archive)) != before and not quiet:
            _show(now, as_json=as_json)
        before = now
        if once and wait is None:
            break
        time.sleep(min(wait or PAUSE, PAUSE))
    if any(standing.refused for standing in before):
        raise typer.Exit(Exit.ATTENTION)


def _show(found: list[Standing], *, as_json: bool) -> None:
    for standing in found:
        if as_json:
            print_json(standing.__dict__, indent=None)
        else:
            say(f"{standing.action}: {standing.words}")
