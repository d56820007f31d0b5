"""How an archive and its watch are, put together from ledger, heartbeat and disk; writes nothing."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from tvtasks.errors import ArchiveError, ConfigurationError
from tvtasks.monitor import State
from tvtasks.monitor.health import (
    Heartbeat,
    Life,
    Problem,
    heartbeat_path,
    judge,
    life,
    read_heartbeat,
    utc_now,
)
from tvtasks.monitor.ledger import Overview, ReadOnlyLedger


@dataclass(frozen=True)
class Status:
    """How an archive and its watch are.

    Attributes
    ----------
    archive
        The archive.
    life
        Whether its watch is alive, stalled or stopped; None where none has left a sign.
    heartbeat
        The newest sign of life, with the disk as it is now.
    overview
        The figures of the ledger, for the recipes of that watch; None where the ledger cannot be read.
    problems
        What needs attention, the gravest first; empty where all is well.
    """

    archive: Path
    life: Life | None
    heartbeat: Heartbeat | None
    overview: Overview | None
    problems: tuple[Problem, ...]


def find_ledger(archive: Path) -> Path:
    """Return the ledger of an archive.

    Raises
    ------
    ConfigurationError
        There is none.
    """
    ledger = archive / ".tvtasks" / "ledger.sqlite"
    if not archive.is_dir():
        raise ConfigurationError(f"There is no archive folder {archive}. Check the path.")
    if not ledger.is_file():
        raise ConfigurationError(
            f"No watch has written into {archive}: it holds no ledger. Give the folder that tvtasks watch "
            "was given as --archive."
        )
    return ledger


def look(archive: Path, *, now: Callable[[], datetime] = utc_now) -> Status:
    """Say how an archive and its watch are, whether that watch runs or not.

    Raises
    ------
    ConfigurationError
        No watch has ever written there.
    """
    if not heartbeat_path(archive).is_file():
        find_ledger(archive)
    heartbeat = read_heartbeat(archive)
    if heartbeat:
        heartbeat = _with_disk_of_now(heartbeat, archive)
    problems = judge(heartbeat, now()) if heartbeat else []
    state = life(heartbeat, now()) if heartbeat else None
    overview = None
    try:
        with ReadOnlyLedger(find_ledger(archive)) as ledger:
            overview = ledger.overview(heartbeat.recipe if heartbeat else None)
    except (ArchiveError, ConfigurationError) as error:
        problems.append(Problem("ledger", str(error)))
    else:
        problems += _of_files(archive, overview, state)
    return Status(archive, state, heartbeat, overview, tuple(problems))


def command_line(heartbeat: Heartbeat) -> list[str]:
    """Return the words of the command that starts such a watch again."""
    recipes = [word for recipe in heartbeat.recipes for word in ("--recipe", recipe)]
    return ["tvtasks", "watch", str(heartbeat.folder), "--archive", str(heartbeat.archive), *recipes]


def _with_disk_of_now(heartbeat: Heartbeat, archive: Path) -> Heartbeat:
    """Ask the disk here and now: where it is full, no newer heartbeat may have found room."""
    try:
        usage = shutil.disk_usage(archive)
    except OSError:
        return heartbeat
    return replace(heartbeat, free=usage.free, total=usage.total)


def _of_files(archive: Path, overview: Overview, state: Life | None) -> list[Problem]:
    """Judge what the ledger says of the files."""
    found = []
    counts = overview.counts
    waiting = counts[State.QUEUED] + counts[State.RUNNING] + counts[State.FAILED]
    if waiting and state in {None, "stopped"}:
        sentence = f"No watch runs, and {_number(waiting, 'waits', 'wait')} to be restored. Start it again."
        found.append(Problem("waiting", sentence))
    elif failed := counts[State.FAILED]:
        sentence = (
            f"{_number(failed, 'has', 'have')} failed for a reason outside of the image. The last error says "
            "what to mend; the next attempts come by themselves."
        )
        found.append(Problem("failed", sentence))
    if bad := counts[State.QUARANTINED]:
        sentence = (
            f"{_number(bad, 'is', 'are')} quarantined: bad files, which are not tried again. The last error "
            f"says what to do; afterwards: tvtasks retry {archive} --all"
        )
        found.append(Problem("quarantined", sentence))
    return found


def _number(number: int, one: str, several: str) -> str:
    return f"1 file {one}" if number == 1 else f"{number} files {several}"
