"""Deliver the results of an archive by some actions: each once, in order, and none is lost.

The archive is the queue: what an action has not delivered is due. An action delivers one result after
another, in the order in which they were archived, and repeats one that fails until it succeeds or the
receiver refuses that very result.
"""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import httpx
from filelock import FileLock, Timeout

from tvtasks.archive.catalogue import CatalogueEntry, archive_files, entry
from tvtasks.errors import ArchiveError, ConfigurationError, TvtasksError
from tvtasks.handover.actions import Action, Copy, RefusedError, without_secrets
from tvtasks.handover.notes import Failure, Notes, notes_path, opened
from tvtasks.ledger.retries import delay
from tvtasks.periodic import Periodic

logger = logging.getLogger(__name__)

PAUSE = 5.0
"""Seconds between looks at an archive."""


class Handover:
    """Delivers the results of an archive.

    Parameters
    ----------
    archive
        The archive.
    actions
        What to do with each result.
    now
        Returns seconds since 1970.
    wait_after
        Returns how many seconds to wait after a failure, given the number of failures before it.

    Raises
    ------
    ConfigurationError
        There is no such archive, or an action copies results into it.
    """

    def __init__(
        self,
        archive: Path,
        actions: Sequence[Action],
        *,
        now: Callable[[], float] = time.time,
        wait_after: Callable[[int], float] = lambda failures: delay(failures).total_seconds(),
    ) -> None:
        for action in actions:
            if isinstance(action, Copy) and action.folder.resolve() == archive.resolve():
                raise ConfigurationError(f"{action.name} copies into the archive itself. Give another.")
        self._archive, self._actions, self._now, self._wait_after = archive, actions, now, wait_after
        self._known: dict[Path, CatalogueEntry] = {}  # results do not change

    @cached_property
    def _client(self) -> httpx.Client:
        """One for all turns: to load the certificates takes longer than a delivery."""
        return httpx.Client()

    def turn(self) -> float | None:
        """Deliver all that is due; return the seconds until more is due, None if nothing waits.

        Raises
        ------
        ArchiveError
            The notes cannot be written.
        ConfigurationError
            There is no such archive any more, or another process hands its results on.
        """
        found, unreadable = self._results()
        with self._alone(), opened(self._archive) as notes:
            notes.declare((action.name for action in self._actions), unreadable)
            waits = [self._deliver(notes, action, found) for action in self._actions]
        return min((wait for wait in waits if wait is not None), default=None)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Deliver in a thread of its own; at the end, deliver once more what is due."""

        def turn() -> None:
            try:
                self.turn()
            except TvtasksError as error:
                logger.warning("Results are not handed on: %s", error)

        with Periodic(turn, every=PAUSE, name="tvtasks hand-on") as delivering:
            yield
        delivering.call()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the right to deliver, which ends with the process."""
        lock = FileLock(notes_path(self._archive).with_suffix(".lock"), timeout=0)
        try:
            Path(lock.lock_file).parent.mkdir(exist_ok=True)
            lock.acquire()
        except Timeout:
            raise ConfigurationError(
                f"Another process hands on the results of {self._archive}, a watch with --hand-on perhaps. "
                "One is enough: stop the other first."
            ) from None
        except (OSError, NotImplementedError) as error:
            raise ArchiveError(f"{lock.lock_file} cannot be locked: {error}.") from error
        try:
            yield
        finally:
            lock.release()

    def _results(self) -> tuple[list[CatalogueEntry], int]:
        """Return one result of each run, the oldest first, and the number of other files."""
        present = set(archive_files(self._archive))
        for path in present - self._known.keys():
            if (found := entry(path)) and not found.fault:
                self._known[path] = found
        known = [result for path, result in self._known.items() if path in present]
        known.sort(key=lambda result: (result.written_at, result.path.name))
        runs = list({result.run_id: result for result in reversed(known)}.values())[::-1]
        return runs, len(present) - len(runs)

    def _deliver(self, notes: Notes, action: Action, found: Sequence[CatalogueEntry]) -> float | None:
        """Deliver by one action; return the seconds until it is due again, None if nothing waits."""
        done, failures = notes.delivered(action.name), notes.failures(action.name)
        for result in found:
            failed = failures.get(result.run_id, Failure())
            if result.run_id in done or failed.refused:
                continue
            if failed.due > self._now():  # those behind it wait, too, so that the order is kept
                return failed.due - self._now()
            if (wait := self._try(notes, action, result, failed.attempts)) is not None:
                return wait
        return None

    def _try(self, notes: Notes, action: Action, result: CatalogueEntry, failures: int) -> float | None:
        """Try one delivery; return the seconds until the next try if it failed."""
        try:
            action.deliver(result, self._client)
        except RefusedError as error:
            failure = Failure(failures + 1, refused=True)
            notes.note_failure(action.name, result.run_id, failure, without_secrets(str(error), action))
        except (OSError, ValueError, httpx.HTTPError, subprocess.SubprocessError, ArchiveError) as error:
            wait = self._wait_after(failures)
            failure = Failure(failures + 1, self._now() + wait)
            notes.note_failure(action.name, result.run_id, failure, without_secrets(_reason(error), action))
            return wait
        else:
            notes.note_delivery(action.name, result.run_id)
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"{error.cmd[0]} did not end within {error.timeout:g} s"
    if isinstance(error, httpx.LocalProtocolError):  # it would quote the header, which may be a secret
        return "a header holds characters that HTTP does not allow"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__
