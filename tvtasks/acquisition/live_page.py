"""The page of the archive, kept up to date while a watch runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from tvtasks.errors import TvtasksError
from tvtasks.gallery import ArchivePage, Unrestored, WatchState
from tvtasks.ledger import UNRESTORED, Entry, State
from tvtasks.listener import Listener
from tvtasks.options import WatchOptions
from tvtasks.outcome import Change
from tvtasks.periodic import Periodic

WRITE_SECONDS = 0.5
"""Seconds between looks at what has changed."""

STAMP_SECONDS = 5.0
"""Seconds between stamps by which the page sees that the watch is alive."""

LOOK_SECONDS = 60.0
"""Seconds between looks at the archive, for runs of other commands."""

_FAULTS = {*UNRESTORED, "incomplete"}


class LivePage(Listener):
    """Keeps the page of an archive up to date, in a thread of its own; nothing waits for it.

    Parameters
    ----------
    options
        What the watch was asked for.
    unrestored
        Returns the files that earlier work did not restore.
    counts
        Returns the number of files in each state.
    clock
        Returns monotonic seconds.
    """

    def __init__(
        self,
        options: WatchOptions,
        *,
        unrestored: Callable[[], Sequence[Entry]] = list,
        counts: Callable[[], Mapping[State, int]] = dict,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._page = ArchivePage(options.archive)
        self._known_faults = unrestored
        self._counts = counts
        self._clock = clock
        self._lock = threading.Lock()
        self._unrestored: dict[Path, Unrestored] | None = None
        self._changes: list[Change] = []
        self._watch = WatchState(str(options.folder.resolve()), datetime.now(UTC))
        self._is_current = False
        self._last_look = self._last_stamp = -LOOK_SECONDS
        self._thread = Periodic(
            self.publish,
            every=WRITE_SECONDS,
            name="tvtasks page",
            expected=(OSError, TvtasksError),
        )

    def changed(self, change: Change) -> None:
        """Show a change soon; never waits."""
        with self._lock:
            self._changes.append(change)

    def problems(self, begun: Sequence[str], ended: Sequence[str], present: Sequence[str]) -> None:
        """Show the present problems soon; never waits."""
        with self._lock:
            self._watch = replace(self._watch, problems=tuple(present))
            self._is_current = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # The archive may hang; the end of the watch does not wait for it.
        if self._thread.stop(5.0):
            self._watch = replace(self._watch, ended=True)
            self._is_current = False
            Periodic(self.publish, every=1, name="tvtasks page", expected=(OSError, TvtasksError)).call()

    def publish(self) -> None:
        """Draw and write what has changed since the last time."""
        with self._lock:
            changes, self._changes = self._changes, []
            is_current = self._is_current and not changes
            self._is_current = True
        try:
            self._publish(changes, is_current)
        except BaseException:
            with self._lock:
                self._changes[:0] = changes
                self._is_current = False
            raise

    def _publish(self, changes: Sequence[Change], is_current: bool) -> None:
        if self._unrestored is None:
            self._unrestored = {entry.path: _unrestored(entry) for entry in self._known_faults()}
        has_looked = self._clock() - self._last_look >= LOOK_SECONDS
        if has_looked:
            self._page.look()
            self._last_look, is_current = self._clock(), False
        for change in changes:
            self._take(change, self._unrestored)
        if not is_current:
            self._page.draw()
            self._watch = replace(
                self._watch, counts={str(state): number for state, number in self._counts().items()}
            )
            files = sorted(self._unrestored.values(), key=lambda file: file.since, reverse=True)
            self._page.write(files, all_days=self._watch.ended or has_looked)
        if not is_current or self._clock() - self._last_stamp >= STAMP_SECONDS:
            self._page.write_state(self._watch, stamp=time.time())
            self._last_stamp = self._clock()

    def _take(self, change: Change, unrestored: dict[Path, Unrestored]) -> None:
        self._page.add(outcome.archive for outcome in change.outcomes if outcome.archive)
        if change.state in _FAULTS:
            unrestored[change.path] = Unrestored(
                change.path.name, str(change.state), change.reason, datetime.now(UTC)
            )
        elif change.is_final:
            unrestored.pop(change.path, None)


def _unrestored(entry: Entry) -> Unrestored:
    return Unrestored(entry.path.name, str(entry.state), entry.reason, datetime.fromisoformat(entry.updated))
