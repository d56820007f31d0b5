"""``tvtasks status``: shows the status of a watch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tvtasks.cli import options
from tvtasks.cli.progress import counting
from tvtasks.cli.terminal import Exit, complain_of_all, console, print_json, say, shell_line
from tvtasks.words import count

if TYPE_CHECKING:
    from tvtasks.health.results import LostResults
    from tvtasks.ledger import Entry


def status(
    archive: options.WatchedArchive,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Check that all results are there; queue files again whose results are not."
        ),
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="With --check: read every result and compare it with its seal.")
    ] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="List the files that were not restored, with the reason.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Show the status of a watch: files in each state, the last error, disk and dashboard.

    Without --check, the command changes nothing. It works whether the watch is running or not. The exit code
    is 0 if all is well, and 1 if something needs attention.
    """
    from tvtasks.cli import reports
    from tvtasks.health.status import read_status

    lost = _check(archive, deep=deep, silent=as_json) if check or deep else None
    found = read_status(archive)
    if as_json:
        record = found.record
        if failed:
            record["failed"] = [
                {"file": str(entry.path), "state": str(entry.state), "reason": entry.reason}
                for entry in unrestored(archive)
            ]
        if lost is not None:
            record["lost"] = [{"file": str(item.entry.path), "reason": item.reason} for item in lost]
        print_json(record)
    else:
        console.print(reports.status(found))
        if failed:
            console.print(reports.unrestored(unrestored(archive)))
        complain_of_all([item.reason for item in lost or ()])
        if lost is not None:
            how = "queued again" if lost else "all results are there"
            say(f"Check: {count(len(lost), 'file')} {how}." if lost else f"Check: {how}.")
        if found.heartbeat and found.needs_start:
            say(f"\nStart it again: {shell_line(found.heartbeat.options.command())}")
    if found.problems or lost:
        raise typer.Exit(Exit.ATTENTION)


def _check(archive: Path, *, deep: bool, silent: bool) -> list[LostResults]:
    from tvtasks.archive.folder import find_ledger
    from tvtasks.health.heartbeat import read_heartbeat
    from tvtasks.health.results import check_and_queue
    from tvtasks.ledger import Ledger

    heartbeat = read_heartbeat(archive)
    recipe = heartbeat.recipe if heartbeat else None
    with Ledger(find_ledger(archive)) as ledger, counting("Checking results", None, silent) as progress:
        return check_and_queue(ledger, archive, recipe, deep=deep, progress=progress)


def unrestored(archive: Path) -> list[Entry]:
    """Return the files that the last watch of an archive did not restore, the latest first."""
    from tvtasks.archive.folder import find_ledger
    from tvtasks.health.heartbeat import read_heartbeat
    from tvtasks.ledger import UNRESTORED, ReadOnlyLedger

    heartbeat = read_heartbeat(archive)
    with ReadOnlyLedger(find_ledger(archive)) as ledger:
        entries = ledger.entries(heartbeat.recipe if heartbeat else None, *UNRESTORED)
    return sorted(entries, key=lambda entry: entry.updated, reverse=True)
