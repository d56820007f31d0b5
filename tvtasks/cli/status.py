"""``tvtasks status``: shows the status of a watch."""

from __future__ import annotations

import json

import typer

from tvtasks.cli import options
from tvtasks.cli.terminal import Exit, console, say, shell_line


def status(archive: options.WatchedArchive, as_json: options.Json = False) -> None:
    """Show the status of a watch: files in each state, the last error, disk and dashboard.

    The command changes nothing and works whether the watch is running or not. The exit code is 0 if all is
    well, and 1 if something needs attention.
    """
    from tvtasks.cli import reports
    from tvtasks.health.status import read_status

    found = read_status(archive)
    if as_json:
        print(json.dumps(found.record, indent=2, ensure_ascii=False))
    else:
        console.print(reports.status(found))
        if found.heartbeat and found.needs_start:
            say(f"\nStart it again: {shell_line(found.heartbeat.options.command())}")
    if found.problems:
        raise typer.Exit(Exit.ATTENTION)
