"""Scans a folder in steps for files that the ledger does not know, and decides when to scan again."""

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
"""Shortest pause between scans when polling, in seconds."""

PAUSE_FACTOR = 200.0
"""The pause after a scan is this many times the processor time it took: scans use ½ % of a core."""

CHANGED_PAUSE_FACTOR = 20.0
"""The same when polling, after a folder shows that something in it was created, renamed or deleted."""

FOLDERS_AT_A_TIME = 50
"""Folders whose time of last change is checked at each look for changes, when polling."""

SLOW_SHARE_FACTOR = 3.0
"""The pause after a scan of a slow share is this many times as long as the scan."""

BURST_EVENTS = 1000
"""Events after which a scan is due: with this many, the operating system may have lost some."""

BURST_SECONDS = 10.0
"""Seconds between scans for that reason."""

FILES_AT_A_STEP = 64
"""Files that a scan looks at in one step."""

Meet = Callable[[Path, bool], object]
"""Takes a file that the ledger does not know in its present form, and whether its name is new too."""


@dataclass
class _Scan:
    """A scan under way, and the time that its steps have taken so far."""

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
    """The time of last change of each folder, as the last full scan found it."""

    def __init__(self) -> None:
        self._times: dict[Path, int] = {}
        self._glimpses: Iterator[tuple[Path, int]] = iter(())

    def take(self, times: dict[Path, int]) -> None:
        self._times, self._glimpses = times, iter(times.items())

    def show_change(self) -> bool:
        """Check some folders, others each time; return whether one has changed."""
        glimpses = list(itertools.islice(self._glimpses, FOLDERS_AT_A_TIME))
        if not glimpses:
            self._glimpses = iter(self._times.items())
            glimpses = list(itertools.islice(self._glimpses, FOLDERS_AT_A_TIME))
        return any(changed_at(folder) != before for folder, before in glimpses)


class Scanner:
    """Scans a folder, and decides when to scan it again.

    A scan proceeds in steps of `FILES_AT_A_STEP` files, so that nothing has to wait for its end. If nothing
    is reported (polling), scans do all the work, and follow each other as quickly as `PAUSE_FACTOR`,
    `CHANGED_PAUSE_FACTOR` and `SLOW_SHARE_FACTOR` allow.

    Parameters
    ----------
    folder
        The folder, absolute and without symbolic links.
    ledger, recipe
        The ledger, and the recipe whose files it knows.
    rules
        What to ignore.
    recursive
        Whether to scan subfolders.
    rescan
        Seconds between scans of the whole folder; when polling, at most.
    polls
        Returns whether nothing is reported at present.
    clock
        Returns monotonic seconds.

    Attributes
    ----------
    last_scan
        When the last scan of the whole folder began, by the clock.
    next_scan
        When the next one is due; a caller with a reason may set it.
    unreadable
        Why each folder that the last scan could not list could not be listed.
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
        self.unreadable: dict[Path, str] = {}
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
        """Whether a scan is under way."""
        return bool(self._scans)

    def reason(self, reported: int) -> Literal["burst", "time"] | None:
        """Return why a scan of the whole folder is due; None if none is due or one is under way.

        Parameters
        ----------
        reported
            Number of events since the last scan began.
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
        """Begin a scan of a subfolder that is new."""
        self._scans.append(_Scan(self._steps(folder, meet), whole=False))

    def go_on(self) -> bool:
        """Do one step of the oldest scan, if there is one; return whether there is more to scan."""
        if not self._scans:
            return False
        scan = self._scans[0]
        if not scan.step():
            self._scans.popleft()
            if scan.whole:
                self._plan_next(scan.busy + self._known.busy_beside, scan.seconds)
        return bool(self._scans)

    def give_up(self, until: float) -> None:
        """Drop the scans under way, and scan the whole folder at this time of the clock."""
        self._scans.clear()
        self.next_scan = until

    def look_for_changes(self) -> None:
        """Scan soon if the time of last change of a folder is another than before."""
        if self._times.show_change():
            self.next_scan = min(self.next_scan, self._eager_scan)

    def _plan_next(self, busy: float, seconds: float) -> None:
        now = self._clock()
        pause = max(PAUSE_FACTOR * busy, SLOW_SHARE_FACTOR * seconds)
        pause = min(max(pause, SHORTEST_PAUSE), self._rescan) if self._polls() else max(pause, self._rescan)
        self.next_scan = now + pause
        self._eager_scan = now + max(CHANGED_PAUSE_FACTOR * busy, SLOW_SHARE_FACTOR * seconds, SHORTEST_PAUSE)

    def _steps(self, top: Path, meet: Meet) -> Iterator[None]:
        """Pass the files below a folder that the ledger does not know to `meet`, in steps."""
        rules, folders, times = self._rules, [top], {}
        unreadable: dict[Path, str] = {}
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
                # It has just gone, or may not be read. The monitor itself checks the top folder.
                logger.debug("%s cannot be listed: %s", folder, error)
                if folder != self._folder and not isinstance(error, FileNotFoundError):
                    unreadable[folder] = error.strerror or str(error)
        if top == self._folder:
            self._times.take(times)
            self._name(unreadable)

    def _name(self, unreadable: dict[Path, str]) -> None:
        """Keep the folders that cannot be listed; log each once."""
        for folder, why in unreadable.items():
            if folder not in self.unreadable:
                logger.warning("The folder %s cannot be read (%s): its images are not found.", folder, why)
        for folder in self.unreadable.keys() - unreadable.keys():
            logger.info("The folder %s can be read again.", folder)
        self.unreadable = unreadable
