"""The status of an archive and its watch, read from ledger, heartbeat and disk; writes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tvtasks.archive.folder import find_ledger, heartbeat_path, ledger_path
from tvtasks.errors import ArchiveError, ConfigurationError
from tvtasks.handover.notes import Standing, standings
from tvtasks.health.heartbeat import Heartbeat, read_heartbeat, read_local_heartbeat, utc_now
from tvtasks.health.problems import Life, Problem, judge, life
from tvtasks.ledger import Entry, Overview, ReadOnlyLedger, State
from tvtasks.words import count

_MANY_ATTEMPTS = 5  # within some five minutes


@dataclass(frozen=True)
class Status:
    """The status of an archive and its watch.

    Attributes
    ----------
    archive
        The archive.
    life
        Whether its watch is alive, stalled or stopped; None if no watch has left a heartbeat.
    heartbeat
        The newest heartbeat, with the disk as it is now.
    overview
        The figures of the ledger, for the recipes of that watch; None if the ledger cannot be read.
    problems
        What needs attention, gravest first; empty if all is well.
    newest_notes
        The notes of the newest result: what its recipe did to the image, and what was kept.
    handed_on
        How far each action is that results are handed on by.
    """

    archive: Path
    life: Life | None
    heartbeat: Heartbeat | None
    overview: Overview | None
    problems: tuple[Problem, ...]
    newest_notes: tuple[str, ...] = ()
    handed_on: tuple[Standing, ...] = ()

    @property
    def needs_start(self) -> bool:
        """Whether the user must start the watch again."""
        return bool({"heartbeat", "waiting"} & {problem.kind for problem in self.problems})

    @property
    def record(self) -> dict[str, Any]:
        """The status, safe for JSON."""
        record: dict[str, Any] = {
            "archive": str(self.archive),
            "healthy": not self.problems,
            "problems": [{"kind": problem.kind, "sentence": problem.sentence} for problem in self.problems],
            "watch": {"state": self.life},
            "files": None,
        }
        if beat := self.heartbeat:
            record["watch"] |= _watch_record(beat)
            record["server"] = (
                {"url": beat.server.url, "answers": beat.server.answers} if beat.server else None
            )
            record["disk"] = {"free": beat.free, "total": beat.total}
        if self.overview:
            record["files"] = _files_record(self.overview)
            if newest := self.overview.newest:
                record["newest"] = {"file": str(newest.path), "notes": list(self.newest_notes)}
        if self.handed_on:
            record["handed_on"] = [asdict(standing) for standing in self.handed_on]
        return record


def read_status(archive: Path, *, now: Callable[[], datetime] = utc_now) -> Status:
    """Return the status of an archive and its watch, whether the watch is running or not.

    Raises
    ------
    ConfigurationError
        No watch has ever written there.
    """
    heartbeat = read_heartbeat(archive)
    if heartbeat:
        heartbeat = _with_disk_of_now(heartbeat, archive)
    elif not heartbeat_path(archive).is_file() and not ledger_path(archive).is_file():
        return _status_of_one_that_is_away(archive, now())
    problems = judge(heartbeat, now()) if heartbeat else []
    state = life(heartbeat, now()) if heartbeat else None
    overview = None
    try:
        with ReadOnlyLedger(find_ledger(archive)) as ledger:
            overview = ledger.overview(heartbeat.recipe if heartbeat else None)
    except (ArchiveError, ConfigurationError) as error:
        problems.append(Problem("ledger", str(error)))
    else:
        problems += _problems_with_files(archive, overview, state)
    notes = _notes(overview.newest) if overview and overview.newest else ()
    handed_on = _handed_on(archive)
    problems += problems_of_handing_on(handed_on)
    return Status(archive, state, heartbeat, overview, tuple(problems), notes, handed_on)


def _handed_on(archive: Path) -> tuple[Standing, ...]:
    try:
        return tuple(standings(archive))
    except (ArchiveError, ConfigurationError):
        return ()


def problems_of_handing_on(found: Iterable[Standing]) -> Iterator[Problem]:
    """Yield the actions that keep failing, and those whose receiver refused results."""
    for standing in found:
        if standing.attempts >= _MANY_ATTEMPTS:
            yield Problem(
                "hand-on",
                f"{count(standing.waiting, 'result')} cannot be handed on to {standing.action}: "
                f"{standing.reason}. tvtasks tries again at least every hour.",
            )
        if standing.refused:
            yield Problem(
                "hand-on",
                f"{standing.action} refused {count(standing.refused, 'result')}. Correct the action, then "
                "run tvtasks hand-on with --retry.",
            )


def _notes(entry: Entry) -> tuple[str, ...]:
    """Return the notes of a file's first result; none if it cannot be read now."""
    from tvtasks import archive  # noqa: PLC0415 - brings in HDF5

    try:
        return tuple(archive.summary(entry.outputs[0].path)["notes"])
    except (ArchiveError, IndexError, KeyError):
        return ()


def _status_of_one_that_is_away(archive: Path, now: datetime) -> Status:
    """Return the last report of a watch on this computer on an archive that is not there."""
    heartbeat = read_local_heartbeat(archive)
    if heartbeat is None:
        find_ledger(archive)  # raises
    assert heartbeat is not None
    problems = (
        []
        if heartbeat.archive_fault
        else [Problem("archive", f"The archive {archive} is not there: its disk or share is not connected.")]
    )
    return Status(archive, life(heartbeat, now), heartbeat, None, (*problems, *judge(heartbeat, now)))


def _with_disk_of_now(heartbeat: Heartbeat, archive: Path) -> Heartbeat:
    """Ask the disk now: if it is full, there may have been no room for a newer heartbeat."""
    try:
        usage = shutil.disk_usage(archive)
    except OSError:
        return heartbeat
    return replace(heartbeat, free=usage.free, total=usage.total)


def _problems_with_files(archive: Path, overview: Overview, state: Life | None) -> list[Problem]:
    found = []
    counts = overview.counts
    waiting = counts[State.QUEUED] + counts[State.RUNNING] + counts[State.FAILED]
    if waiting and state in {None, "stopped"}:
        verb = "waits" if waiting == 1 else "wait"
        sentence = f"No watch is running, and {count(waiting, 'file')} {verb} to be restored. Start it again."
        found.append(Problem("waiting", sentence))
    elif failed := counts[State.FAILED]:
        sentence = (
            f"{count(failed, 'file')} failed, though the image is not at fault. Fix what the last error "
            "names; tvtasks retries by itself."
        )
        found.append(Problem("failed", sentence))
    if bad := counts[State.QUARANTINED]:
        verb = "is" if bad == 1 else "are"
        sentence = (
            f"{count(bad, 'file')} {verb} quarantined: the file itself is at fault, so tvtasks does not "
            f"retry it. The last error explains what to do; then run: tvtasks retry {archive} --all"
        )
        found.append(Problem("quarantined", sentence))
    if cancelled := counts[State.CANCELLED]:
        verb, them = ("was", "it") if cancelled == 1 else ("were", "them")
        sentence = (
            f"{count(cancelled, 'file')} {verb} cancelled in the dashboard. The next start of the watch "
            f"restores {them}; to do it now, run: tvtasks retry {archive} --all"
        )
        found.append(Problem("cancelled", sentence))
    return found


def _watch_record(beat: Heartbeat) -> dict[str, Any]:
    return {
        "process": beat.pid,
        "host": beat.host,
        "folder": str(beat.options.folder),
        "recipes": list(beat.options.recipes),
        "command": beat.options.command(),
        "started": beat.started.isoformat(),
        "last_sign_of_life": beat.written.isoformat(),
        "ended": beat.ended.isoformat() if beat.ended else None,
        "observer": beat.pulse.observer,
        "observer_alive": beat.pulse.observer_alive,
        "settling": beat.pulse.settling,
        "seconds_since_last_turn": beat.since_turn,
    }


def _files_record(overview: Overview) -> dict[str, Any]:
    waiting, error = overview.oldest_waiting, overview.last_error
    last = (
        {"file": str(error.path), "state": str(error.state), "when": error.updated, "reason": error.reason}
        if error
        else None
    )
    return {
        "counts": {str(state): number for state, number in overview.counts.items()},
        "oldest_waiting": {"file": str(waiting.path), "since": waiting.first_seen} if waiting else None,
        "last_error": last,
        "done_last_hour": overview.done_last_hour,
        "seconds_per_file": overview.seconds_per_file,
        "next_retry": overview.next_retry or None,
    }
