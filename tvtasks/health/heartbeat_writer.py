"""The thread that writes a heartbeat every few seconds, whatever happens to the work.

The work may hang in a solver or on a dead share, so nothing here waits for it. A call that may itself hang is
made in a thread of its own.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from tvtasks.archive.folder import heartbeat_path, local_heartbeat_path
from tvtasks.errors import ArchiveAwayError, TvtasksError
from tvtasks.files import write_whole
from tvtasks.filesystem import MountedFolder
from tvtasks.health.heartbeat import Heartbeat, Pulse, ServerState, utc_now
from tvtasks.health.probe import Probe
from tvtasks.health.problems import OVER, STALLED, Kind, Problem, judge
from tvtasks.listener import Listener
from tvtasks.options import WatchOptions
from tvtasks.periodic import Periodic
from tvtasks.words import duration

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5.0
"""Seconds between heartbeats."""

HANGING = 20.0
"""Seconds without an answer after which a folder counts as gone."""

_MOMENT = 0.5
_SYMPTOMS = {"error", "observer"}  # no longer named once their cause is found, but not ended
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


@dataclass(frozen=True)
class _ArchiveState:
    fault: str = ""
    full: bool = False
    free: int | None = None
    total: int | None = None
    rival: str = ""


class HeartbeatWriter:
    """Writes a heartbeat every few seconds while its context is open.

    It logs each problem once when it begins and once when it ends, and reports it to a listener. An error in
    either does not stop the heartbeat.

    Parameters
    ----------
    options
        What the watch was asked for.
    recipe
        Identity of the watch's recipes in the ledger.
    server
        Returns the last known state of the Prefect server, at once and without asking the server.
    listener
        Receives the problems.
    every
        Seconds between heartbeats.
    clock, now
        Return monotonic seconds, and the time of day.
    """

    def __init__(
        self,
        options: WatchOptions,
        recipe: str = "",
        *,
        server: Callable[[], ServerState | None] = lambda: None,
        listener: Listener | None = None,
        every: float = HEARTBEAT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._server = server
        self._listener = listener or Listener()
        self._clock = clock
        self._now = now
        self._turn = (clock(), Pulse())
        self._problems: dict[Kind, Problem] = {}
        self._written = b""
        started = now()
        self._heartbeat = Heartbeat(
            os.getpid(), socket.gethostname(), options.absolute(), recipe, started, started, 0.0
        )
        self._folder = Probe(MountedFolder(options.folder).fault, "", clock)
        self._archive = Probe(self._write, _ArchiveState(), clock)
        self._thread = Periodic(self.beat, every=every, name="tvtasks heartbeat")

    def pulse(self, pulse: Pulse) -> None:
        """Take note of a turn of the loop; costs nothing and never waits."""
        self._turn = (self._clock(), pulse)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        self._thread.stop(HANGING)
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
        end = "" if error is None or interrupted else str(error) or type(error).__name__
        if end:
            logger.error("The watch ends: %s", end)
        self._archive.wait(2.0)
        now, (turned, pulse) = self._now(), self._turn
        self._heartbeat = replace(
            self._heartbeat, written=now, since_turn=self._clock() - turned, pulse=pulse, ended=now, end=end
        )
        self._archive.ask()
        # A dead share must not delay the end of the process.
        self._archive.wait(2.0)
        self._folder.end(0.1)
        self._archive.end(0.1)

    def beat(self) -> list[Problem]:
        """Compose a heartbeat from what is known now, judge it, report changes and write it.

        It waits only a moment for a disk or a share, and never for a server.
        """
        self._folder.ask()
        self._folder.wait(_MOMENT)
        now, (turned, pulse) = self._now(), self._turn
        disk = self._archive.answer
        self._heartbeat = replace(
            self._heartbeat,
            written=now,
            since_turn=self._clock() - turned,
            pulse=pulse,
            folder_fault=_hanging(self._folder) or self._folder.answer,
            archive_fault=_hanging(self._archive) or disk.fault,
            full=disk.full,
            free=disk.free,
            total=disk.total,
            rival=disk.rival,
            server=self._server(),
        )
        self._archive.ask()
        return self._report({problem.kind: problem for problem in judge(self._heartbeat, now)})

    def answered(self, timeout: float = 10.0) -> bool:
        """Wait for the probes of the last beat to answer; return whether they did."""
        return self._folder.wait(timeout) and self._archive.wait(timeout)

    def _report(self, found: dict[Kind, Problem]) -> list[Problem]:
        """Report the problems that began or ended since the last beat; return the present ones."""
        begun = [problem.sentence for kind, problem in found.items() if kind not in self._problems]
        ended = [
            OVER[kind] for kind in self._problems if kind not in found and not (begun and kind in _SYMPTOMS)
        ]
        self._problems = found
        if begun or ended:
            self._listener.problems(begun, ended, [problem.sentence for problem in found.values()])
            # The log is in the archive and may hang with it, so it comes last.
            for sentence in begun:
                logger.warning("%s", sentence)
            for sentence in ended:
                logger.info("%s", sentence)
        return list(found.values())

    def _write(self) -> _ArchiveState:
        """Write the newest heartbeat, and return the state of the archive."""
        archive = self._heartbeat.options.archive
        rival = self._rival(heartbeat_path(archive))
        fault, full = "", False
        content = self._heartbeat.to_json()
        with suppress(OSError, TvtasksError):  # only read while the archive is away
            write_whole(local_heartbeat_path(archive), content)
        try:
            _replace(heartbeat_path(archive), content)
        except ArchiveAwayError:
            fault = "its disk or share is not connected"
        except OSError as error:
            fault, full = error.strerror or str(error), error.errno in _FULL
        self._written = content
        try:
            usage = shutil.disk_usage(archive)
        except OSError as error:
            return _ArchiveState(fault or error.strerror or str(error), full, rival=rival)
        return _ArchiveState(fault, full, usage.free, usage.total, rival)

    def _rival(self, path: Path) -> str:
        """Return the other process that has written here since this one did; empty if there is none."""
        try:
            content = path.read_bytes()
            if not self._written or content == self._written:
                return ""
            other = Heartbeat.from_json(content)
        except (OSError, ValidationError):
            return ""
        is_other = (other.pid, other.host) != (self._heartbeat.pid, self._heartbeat.host)
        recent = self._now() - other.written < timedelta(seconds=STALLED)
        return other.who if is_other and other.ended is None and recent else ""


def _hanging(probe: Probe[str] | Probe[_ArchiveState]) -> str:
    """Return how long a folder has not answered, in words; empty if it answers."""
    waiting = probe.waiting()
    return f"it has not answered for {duration(waiting)}" if waiting > HANGING else ""


def _replace(path: Path, content: bytes) -> None:
    """Replace a small file so that a reader never meets half of it.

    If there is no room for a second file, overwrite the first in place, then raise the error: it already owns
    its space, so the news that the disk is full still gets out.
    """
    try:
        write_whole(path, content)
    except ArchiveAwayError:
        raise
    except TvtasksError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError):
            raise
        with suppress(OSError), path.open("r+b") as file:
            file.write(content)
            file.truncate()
        raise cause from None
