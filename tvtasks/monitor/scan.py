"""Going through a folder in steps for the files that the ledger does not know, and when to do so again."""

import itertools
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tvtasks.filesystem import changed_at, is_unchanged
from tvtasks.ledger import Ledger
from tvtasks.monitor.ignore import IgnoreRules
from tvtasks.monitor.known_files import KnownFiles

logger = logging.getLogger(__name__)

SHORTEST_PAUSE = 1.0
"""Seconds between two scans in polling, at least."""

PAUSE_FACTOR = 200.0
"""Scans are so many times further apart than they keep a processor core busy: they take ½ % of it."""

CHANGED_PAUSE_FACTOR = 20.0
"""The same in polling, where a folder shows that something in it was created, renamed or deleted."""

FOLDERS_AT_A_TIME = 50
"""Folders that are asked for their time of last change at each look for changes, in polling."""

SLOW_SHARE_FACTOR = 3.0
"""Scans of a slow share are this many times further apart than they last."""

BURST_EVENTS = 1000
"""Events after which a scan is due: the operating system may have lost some of so many."""

BURST_SECONDS = 10.0
"""Seconds between two scans for that reason."""

FILES_AT_A_STEP = 64
"""Files that a scan looks at in one step."""

Meet = Callable[[Path, bool], object]
"""What is done with a file that the ledger does not know as it is; True where it does not know its name."""


@dataclass
class _Scan:
    """A scan under way, and what its steps have cost so far."""

    steps: Iterator[None]
    whole: bool
    seconds: float = 0.0
    busy: float = 0.0

    def step(self) -> bool:
        """Do one step; return whether there are more."""
        began, busy = time.perf_counter(), time.thread_time()
        try:
            next(self.steps)
        except StopIteration:
            return False
        finally:
            self.seconds += time.perf_counter() - began
            self.busy += time.thread_time() - busy
        return True


class _FolderTimes:
    """When each folder last changed, as the last scan of the whole folder found it."""

    def __init__(self) -> None:
        self._times: dict[Path, int] = {}
        self._glimpses: Iterator[tuple[Path, int]] = iter(())

    def take(self, times: dict[Path, int]) -> None:
        self._times, self._glimpses = times, iter(times.items())

    def show_change(self) -> bool:
        """Ask some folders, others each time; return whether one has changed."""
        glimpses = list(itertools.islice(self._glimpses, FOLDERS_AT_A_TIME))
        if not glimpses:
            self._glimpses = iter(self._times.items())
            glimpses = list(itertools.islice(self._glimpses, FOLDERS_AT_A_TIME))
        return any(changed_at(folder) != before for folder, before in glimpses)


class Scanner:
    """Goes through a folder, and says when it is to be gone through again.

    A scan goes on in steps of `FILES_AT_A_STEP` files, so that nothing else has to wait for its end. Where
    nothing is reported (polling), scans are all there is, and follow each other as quickly as `PAUSE_FACTOR`,
    `CHANGED_PAUSE_FACTOR` and `SLOW_SHARE_FACTOR` allow.

    Parameters
    ----------
    folder
        The folder, absolute and without symbolic links.
    ledger, recipe
        What is known already.
    rules
        What does not count.
    recursive
        Whether folders inside `folder` count.
    rescan
        Seconds between scans of the whole folder; in polling, at most.
    polls
        Whether nothing is reported at present.
    clock
        Monotonic seconds.

    Attributes
    ----------
    last_scan
        When the last scan of the whole folder began, by the clock.
    next_scan
        When the next one is due; a caller who has a reason may set it.
    """

    def __init__(
        self,
        folder: Path,
        ledger: Ledger,
        recipe: str,
        rules: IgnoreRules,
        *,
        recursive: bool,
        rescan: float,
        polls: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self.last_scan = 0.0
        self.next_scan = 0.0
        self._eager_scan = 0.0
        self._folder = folder
        self._known = KnownFiles(ledger, recipe)
        self._rules = rules
        self._recursive = recursive
        self._rescan = rescan
        self._polls = polls
        self._clock = clock
        self._times = _FolderTimes()
        self._scans: deque[_Scan] = deque()

    @property
    def under_way(self) -> bool:
        """Whether a scan has begun that has not ended."""
        return bool(self._scans)

    def reason(self, reported: int) -> Literal["burst", "time"] | None:
        """Say why a scan of the whole folder is due; None where it is not, or one is under way.

        Parameters
        ----------
        reported
            Events since the last scan began.
        """
        now = self._clock()
        if any(scan.whole for scan in self._scans):
            return None
        if reported >= BURST_EVENTS and now >= self.last_scan + BURST_SECONDS:
            return "burst"
        return "time" if now >= self.next_scan else None

    def begin(self, meet: Meet) -> None:
        """Begin a scan of the whole folder."""
        self.last_scan = self._clock()
        self._known.busy_beside = 0.0
        self._scans.append(_Scan(self._steps(self._folder, meet), whole=True))

    def begin_below(self, folder: Path, meet: Meet) -> None:
        """Begin a scan of a folder that has come into the whole one."""
        self._scans.append(_Scan(self._steps(folder, meet), whole=False))

    def go_on(self) -> bool:
        """Go on with the oldest scan, if there is one, by one step; return whether there is more to scan."""
        if not self._scans:
            return False
        scan = self._scans[0]
        if not scan.step():
            self._scans.popleft()
            if scan.whole:
                self._plan_next(scan.busy + self._known.busy_beside, scan.seconds)
        return bool(self._scans)

    def give_up(self, until: float) -> None:
        """Forget the scans under way, and have the whole folder scanned anew at a time of the clock."""
        self._scans.clear()
        self.next_scan = until

    def look_for_changes(self) -> None:
        """Have a scan soon where a folder has another time of last change than before."""
        if self._times.show_change():
            self.next_scan = min(self.next_scan, self._eager_scan)

    def _plan_next(self, busy: float, seconds: float) -> None:
        now = self._clock()
        pause = max(PAUSE_FACTOR * busy, SLOW_SHARE_FACTOR * seconds)
        pause = min(max(pause, SHORTEST_PAUSE), self._rescan) if self._polls() else max(pause, self._rescan)
        self.next_scan = now + pause
        self._eager_scan = now + max(CHANGED_PAUSE_FACTOR * busy, SLOW_SHARE_FACTOR * seconds, SHORTEST_PAUSE)

    def _steps(self, top: Path, meet: Meet) -> Iterator[None]:
        """Meet the files below a folder that the ledger does not know as they are, in steps."""
        rules, folders, times = self._rules, [top], {}
        while folders:
            folder = folders.pop()
            times[folder] = changed_at(folder)
            known = yield from self._known.ask(folder)
            try:
                with os.scandir(folder) as found:
                    for number, item in enumerate(found, start=1):
                        if number % FILES_AT_A_STEP == 0:
                            yield
                        name = item.name
                        if item.is_dir(follow_symlinks=False):
                            if self._recursive and not rules.ignored_in(folder, name):
                                folders.append(folder / name)
                        elif not (is_unchanged(item, known.get(name)) or rules.ignored_in(folder, name)):
                            meet(folder / name, name not in known)
            except OSError as error:
                # It went this moment, or may not be read. The folder at the top is looked after elsewhere.
                logger.debug("%s cannot be listed: %s", folder, error)
        if top == self._folder:
            self._times.take(times)
