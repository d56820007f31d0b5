"""``tvtasks hand-on``: delivers results to a folder, a command or a server."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from tvtasks.cli import options
from tvtasks.cli.terminal import print_json, say
from tvtasks.words import count

_PAUSE = 5.0  # seconds between looks at the archive


def hand_on(
    archive: Annotated[Path, typer.Argument(help="The archive.", metavar="ARCHIVE")],
    actions: Annotated[Path, typer.Option(help="A TOML file with the actions.", metavar="FILE.toml")],
    once: Annotated[bool, typer.Option("--once", help="End when nothing waits for a delivery.")] = False,
    state: Annotated[bool, typer.Option("--status", help="Only print how far each action is.")] = False,
    as_json: options.Json = False,
) -> None:
    """Hand results on as they appear: copy them, run a command, or send JSON to a server.

    An action delivers results in the order in which they were archived. One that fails is repeated, at first
    after ten seconds, at most after an hour, and those behind it wait. Ctrl-C ends at once; the next start
    continues.
    """
    from tvtasks.handover import Handover, load_actions

    handover = Handover(archive, load_actions(actions))
    while not state:
        wait = handover.turn()
        if once and wait is None:
            break
        time.sleep(min(wait or _PAUSE, _PAUSE))
    for standing in handover.standing():
        if as_json:
            print_json(standing.__dict__, indent=None)
            continue
        more = f", {standing.refused} refused" if standing.refused else ""
        why = f" ({standing.reason})" if standing.reason else ""
        done = count(standing.delivered, "result")
        say(f"{standing.action}: {done} delivered, {standing.waiting} waiting{why}{more}")
