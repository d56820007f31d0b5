"""The problems of a watch, judged by its heartbeat."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tvtasks.health.heartbeat import Heartbeat
from tvtasks.words import amount, count, duration

STALLED = 30.0
"""Seconds without a turn of the loop, or without a heartbeat, after which a watch counts as stalled."""

SLOW_LOOK = 60.0
"""Seconds that a look at the folder may take; hashing a file of a few GB over a share takes that long."""

LONG_WORK = 1800.0
"""Seconds of work on one file after which it is reported; a large image takes minutes."""

LEAST_FREE = 500_000_000
"""Free bytes below which a disk counts as nearly full: room for a few dozen large images."""

Kind = Literal[
    "heartbeat",
    "loop",
    "work",
    "error",
    "observer",
    "folder",
    "subfolder",
    "archive",
    "disk",
    "server",
    "rival",
    "ledger",
    "waiting",
    "failed",
    "quarantined",
    "cancelled",
    "hand-on",
]
Life = Literal["alive", "stalled", "stopped"]

OVER: dict[Kind, str] = {
    "loop": "The watch is running again.",
    "work": "The file that took so long is finished.",
    "error": "The watch has recovered from its error.",
    "observer": "Changes in the watched folder are reported again.",
    "folder": "The watched folder can be read again.",
    "subfolder": "All subfolders can be read again.",
    "archive": "The archive can be written to again.",
    "disk": "The archive's disk has space again.",
    "server": "The Prefect server answers again.",
    "rival": "No other watch writes to the archive any more.",
}
"""What a running watch reports when a problem ends."""


@dataclass(frozen=True)
class Problem:
    """Something that needs attention: its kind, and a sentence that includes what to do."""

    kind: Kind
    sentence: str


def life(heartbeat: Heartbeat, now: datetime) -> Life:
    """Return whether a watch is alive, is stalled (it hangs or was killed), or has stopped properly."""
    if heartbeat.ended:
        return "stopped"
    return "stalled" if {"heartbeat", "loop"} & {found.kind for found in judge(heartbeat, now)} else "alive"


def judge(heartbeat: Heartbeat, now: datetime) -> list[Problem]:
    """Return the problems of a watch, gravest first; none if someone stopped it.

    Parameters
    ----------
    heartbeat
        The newest heartbeat.
    now
        The time of day, in UTC.
    """
    if heartbeat.ended:
        sentence = f"The watch ended because of an error: {heartbeat.end}"
        return [Problem("heartbeat", sentence)] if heartbeat.end else []
    silent = (now - heartbeat.written).total_seconds()
    if silent > STALLED:
        # The rest of the heartbeat is just as old; things may have changed since.
        sentence = (
            f"The watch ({heartbeat.who}) has given no sign of life for {duration(silent)}: it was killed, "
            "or its computer is off or hangs. Start it again; nothing is lost."
        )
        return [Problem("heartbeat", sentence), *_disk(heartbeat)]
    found = [*_rival(heartbeat), *_folders(heartbeat), *_disk(heartbeat)]
    if heartbeat.since_turn > STALLED:
        sentence = (
            f"The watch hangs: it has done nothing for {duration(heartbeat.since_turn)}. If this lasts, "
            "press Ctrl-C twice to stop it and start it again; nothing is lost."
        )
        found.append(Problem("loop", sentence))
    elif heartbeat.pulse.error and not found:
        # Usually one of the problems above causes the error in the loop.
        found.append(Problem("error", heartbeat.pulse.error))
    return [*found, *_work(heartbeat), *_server(heartbeat)]


def is_nearly_full(free: int, total: int) -> bool:
    """Return whether less than `LEAST_FREE` is free, or on a disk below 5 GB less than a tenth of it."""
    return free < min(LEAST_FREE, total // 10)


def _rival(heartbeat: Heartbeat) -> list[Problem]:
    if not heartbeat.rival:
        return []
    sentence = (
        f"Two watches write to the archive {heartbeat.options.archive}: {heartbeat.who} and "
        f"{heartbeat.rival}. Stop one of them, or give it another archive."
    )
    return [Problem("rival", sentence)]


def _folders(heartbeat: Heartbeat) -> list[Problem]:
    """Judge the two folders, and the observer of the watched one."""
    found = []
    pulse, options = heartbeat.pulse, heartbeat.options
    if heartbeat.folder_fault:
        sentence = (
            f"The watched folder {options.folder} cannot be read: {heartbeat.folder_fault}. Check the drive "
            "or the network share; the watch continues by itself when it is back."
        )
        found.append(Problem("folder", sentence))
    elif not pulse.observer_alive:
        sentence = (
            f"Changes in {options.folder} are not being reported: the {pulse.observer} observer has stopped. "
            "It restarts by itself, and the next scan finds the files that it missed. If this lasts, start "
            "the watch with --observer polling."
        )
        found.append(Problem("observer", sentence))
    elif pulse.look_age > SLOW_LOOK:
        sentence = (
            f"A look at {options.folder} has taken {duration(pulse.look_age)} so far: the share hangs, or a "
            "file is very large. If this lasts, check the share; files in the queue are restored meanwhile."
        )
        found.append(Problem("observer", sentence))
    if pulse.unreadable and not heartbeat.folder_fault:
        names, number = pulse.unreadable
        sentence = (
            f"{count(number, 'subfolder')} of {options.folder} cannot be read, and images in there are not "
            f"found: {names}{' …' if number > names.count(', ') + 1 else ''}. Ask for permission to read "
            "there, or exclude them with --ignore."
        )
        found.append(Problem("subfolder", sentence))
    if heartbeat.archive_fault and not heartbeat.full:
        sentence = (
            f"The archive {options.archive} cannot be written to: {heartbeat.archive_fault}. Check its drive "
            "or share, and your permissions; tvtasks retries files that fail."
        )
        found.append(Problem("archive", sentence))
    return found


def _work(heartbeat: Heartbeat) -> list[Problem]:
    pulse = heartbeat.pulse
    if pulse.longest <= LONG_WORK:
        return []
    sentence = (
        f"tvtasks has been restoring {pulse.longest_file or 'a file'} for {duration(pulse.longest)}. Unless "
        "the image is very large, press Ctrl-C twice to stop the watch, and start it again."
    )
    return [Problem("work", sentence)]


def _server(heartbeat: Heartbeat) -> list[Problem]:
    server = heartbeat.server
    if server is None or server.answers:
        return []
    what = "The watch restarts it by itself." if server.kept else "Start it again."
    sentence = (
        f"The Prefect server at {server.url} does not answer: files are restored, but get no page in the "
        f"dashboard. {what}"
    )
    return [Problem("server", sentence)]


def _disk(heartbeat: Heartbeat) -> list[Problem]:
    free, total = heartbeat.free, heartbeat.total
    if free is not None and total is not None and is_nearly_full(free, total):
        what = f"is nearly full: {amount(free)} of {amount(total)} are free"
    elif heartbeat.full:
        what = "accepts no more of your files: your quota is used up"
    else:
        return []
    sentence = (
        f"The disk of the archive {heartbeat.options.archive} {what}. Free some space; tvtasks retries files "
        "that fail."
    )
    return [Problem("disk", sentence)]
