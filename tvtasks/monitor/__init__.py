"""Watches a folder that a microscope writes to, and queues the complete files that are not yet restored.

Nothing in the folder is ever written, renamed or deleted.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Self

from tvtasks import readers
from tvtasks.errors import ArchiveError
from tvtasks.filesystem import FileStatus, MountedFolder, is_behind_link, status_of
from tvtasks.ledger import Entry, Ledger, LedgerLock, Priority
from tvtasks.monitor.candidates import Candidates
from tvtasks.monitor.companions import Companions
from tvtasks.monitor.folders import check_folders
from tvtasks.monitor.ignore import IgnoreRules
from tvtasks.monitor.look_thread import LookThread
from tvtasks.monitor.observe import FolderObserver
from tvtasks.monitor.scan import Meet, Scanner
from tvtasks.monitor.settle import SettleTracker
from tvtasks.monitor.silence import SilenceDetector
from tvtasks.options import MonitorOptions, ObserverKind

__all__ = ["Monitor", "MonitorOptions", "ObserverKind", "check_folders"]

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.02
"""Seconds after which a look leaves the rest to the next: a new file must not wait for a backlog."""

PAUSE_SECONDS = 1.0
"""Seconds between looks when nothing happens; each look checks that the folder is still there."""

TROUBLE_SECONDS = 5.0
"""Seconds until the next attempt to use a ledger that could not be used."""


class Monitor:
    """Watches a folder and queues settled files in the ledger.

    The observer starts before the first scan, so that no file falls between the two. Events make the monitor
    quick; repeated scans make it complete. If nothing reports changes (network shares), scans do all the
    work, and follow each other as quickly as the machine can bear (`Scanner`): every few seconds with 1,000
    files; with 100,000, every few minutes, or half a minute after the time of a folder has changed.

    The monitor looks at the folder in a thread of its own. A call to a dead share hangs in the kernel for
    minutes; in the thread of the dispatcher, measurements showed, such a call would hold up the heartbeat and
    every file that is already read. So `poll` never waits longer than `patience`, and `last_look` shows how
    long the thread has been silent. A scan needs no further thread: it goes on in steps of a few files
    between looks at the files that are due.

    Known limits: if a file is overwritten with content of the same size and the same time of last change, the
    monitor notices only if an event reports it (native notification), not by polling or scanning. The same is
    true if only a header next to restored pixels is rewritten. Files behind a symbolic link to a folder are
    not found.

    Parameters
    ----------
    folder
        Where the microscope writes.
    ledger
        The queue and the record; the caller opens and closes it.
    recipe
        Identity of the recipe: a file done with another recipe is restored again.
    options
        How to watch the folder.
    excluded
        See `IgnoreRules`.
    outputs
        Where results go, to make sure that they are not mistaken for images of the microscope.
    clock
        Returns monotonic seconds.
    patience
        Seconds that `poll` waits at most; None to look in the caller's thread until the look is complete.
    is_candidate
        Returns whether a file may be an image, by its name; `tvtasks.readers.is_candidate` if not given.
    has_recipe
        Returns whether there is a recipe for a path.
    incomplete
        Returns a sentence on why a file is incomplete, or None; `tvtasks.readers.incomplete` if not given.

    Raises
    ------
    ConfigurationError
        The folder cannot be watched, or results would go among the images. On entering the context: the
        folder cannot be observed, or another monitor uses the ledger.

    Examples
    --------
    ::

        with Ledger(path) as ledger, Monitor(folder, ledger, recipe) as monitor:
            while True:
                monitor.poll()
                while entry := ledger.claim(recipe):
                    ...
    """

    def __init__(
        self,
        folder: Path,
        ledger: Ledger,
        recipe: str,
        options: MonitorOptions = MonitorOptions(),
        *,
        excluded: Iterable[Path] = (),
        outputs: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        patience: float | None = 0.05,
        is_candidate: Callable[[Path], bool] = readers.is_candidate,
        has_recipe: Callable[[Path], bool] = lambda path: True,
        incomplete: Callable[[Path], str | None] = readers.incomplete,
    ) -> None:
        check_folders(folder, outputs, options, excluded)
        self.folder = folder.resolve()
        self._root = MountedFolder(self.folder)
        self._ledger = ledger
        self._recipe = recipe
        self._rules = IgnoreRules(self.folder, options.ignore, excluded)
        self._recursive = options.recursive
        self._clock = clock
        self._incomplete = incomplete
        self._candidates = Candidates(is_candidate, has_recipe)
        self._companions = Companions()
        self._tracker = SettleTracker(
            self._unsettled, settle=options.settle, max_wait=options.max_wait, doubtful=readers.doubtful
        )
        self._look_thread = LookThread(self._look, clock, patience)
        self._observer = FolderObserver(
            self.folder, options.observer, recursive=options.recursive, wake=self._look_thread.wake
        )
        self._silence = SilenceDetector(self._observer)
        self._scanner = Scanner(
            self.folder,
            ledger,
            recipe,
            self._rules,
            recursive=options.recursive,
            rescan=options.rescan,
            polls=lambda: self.polls,
            clock=clock,
        )
        self._lock = LedgerLock(ledger.path, self.folder)
        self._next_check = 0.0
        self._next_attempt = 0.0
        # What the caller sees.
        self._queued: deque[Entry] = deque()
        self._settling: list[Path] = []
        self._stuck: dict[Path, str] = {}
        self._troubles: dict[str, str] = {}
        self._last_look = 0.0

    def __enter__(self) -> Self:
        self._lock.acquire()
        try:
            self._observer.start()
            self._begin_scan(partial(self._meet, backlog=True))
            self._next_check = self._clock() + PAUSE_SECONDS
            while self._scanner.go_on():
                pass
            self._look_thread.start(self._publish())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if not self._look_thread.stop():
            logger.warning("%s does not answer; the watch ends without waiting for it.", self.folder)
        self._observer.stop()
        self._lock.release()

    def poll(self) -> list[Entry]:
        """Look at the folder if there is a reason to; return what was queued since the last poll.

        The entries are for display; claim the work itself from the ledger. The call waits for the look at
        most `patience` seconds; if the look takes longer, it returns what earlier looks found. A folder that
        has vanished and a ledger that cannot be written to raise no error: see `trouble`.
        """
        self._look_thread.ask()
        return self.newly_queued()

    def newly_queued(self) -> list[Entry]:
        """Return what was queued since the last poll, without looking at the folder."""
        return [self._queued.popleft() for _ in range(len(self._queued))]

    def notice(self, path: Path) -> None:
        """Look at a path again soon, as if it had been written to. Any thread may call this."""
        self._observer.report(path)

    @property
    def settling(self) -> list[Path]:
        """The files that have not settled yet."""
        return list(self._settling)

    @property
    def stuck(self) -> dict[Path, str]:
        """A sentence for each file that stopped changing while it was incomplete."""
        return dict(self._stuck)

    @property
    def ignored(self) -> dict[str, str]:
        """A sentence for each kind of file that is left alone, by the name of the kind."""
        return self._candidates.ignored

    @property
    def unreadable(self) -> dict[Path, str]:
        """Why each subfolder that cannot be read cannot be read: its images are not found."""
        return dict(self._scanner.unreadable)

    @property
    def trouble(self) -> str:
        """A sentence on what stops files from being found or queued at present; empty if nothing does."""
        return " ".join(self._troubles.values())

    @property
    def polls(self) -> bool:
        """Whether the folder is scanned often because nothing reports its changes."""
        return self._observer.polls

    @property
    def alive(self) -> bool:
        """Whether changes in the folder are noticed at present."""
        return self._observer.is_alive

    @property
    def last_look(self) -> float:
        """When the last look at the folder ended, by the clock; long ago if the folder does not answer."""
        return self._last_look

    def _look(self) -> float:
        """Take in events, test files that are due and continue the scan, for `LOOK_SECONDS` seconds.

        Returns
        -------
        When the next look is due, by the clock.
        """
        now = self._clock()
        end = now + LOOK_SECONDS
        if now >= self._next_check:
            self._next_check = now + PAUSE_SECONDS
            self._check_folder()
            if self.polls:
                self._scanner.look_for_changes()
        self._take_events()
        if now >= self._next_attempt:
            try:
                for path in self._tracker.due(now):
                    self._examine(path)
                    # The next file to test may have arrived just now.
                    self._take_events()
                    if self._clock() > end:
                        break
                self._scan_when_due()
                while self._scanner.go_on() and self._clock() < end:
                    pass
                self._settle_trouble("ledger")
            except ArchiveError as error:
                # A full disk, or an archive on a share that dropped out: waiting loses nothing.
                self._next_attempt = self._clock() + TROUBLE_SECONDS
                self._scanner.give_up(until=self._next_attempt)
                self._say_trouble("ledger", str(error))
        return self._publish()

    def _publish(self) -> float:
        """Update what the caller sees; return when the next look is due."""
        self._settling, self._stuck = self._tracker.waiting, self._tracker.stuck
        self._last_look = now = self._clock()
        due = now if self._scanner.under_way else min(self._tracker.next_due, self._scanner.next_scan)
        return min(max(due, self._next_attempt), self._next_check)

    def _check_folder(self) -> None:
        self._observer.poll_if_hybrid()
        if self._observer.ensure_alive():
            self._scanner.next_scan = self._clock()
            self._silence.excuse()
        fault = self._root.fault()
        if not fault:
            self._settle_trouble("folder")
            return
        self._say_trouble(
            "folder",
            f"The folder {self.folder} cannot be read at present ({fault}). Connect the drive or the share "
            "again; the watch then continues by itself.",
        )

    def _take_events(self) -> None:
        for path in self._observer.drain():
            self._silence.reported(path)
            self._notice(path)

    def _notice(self, path: Path) -> None:
        """Take in a path that an event reports; even a known file may have new content."""
        if not (self._recursive or path.parent == self.folder) or self._rules.ignored(path):
            return
        if self._recursive and is_behind_link(path, self.folder):
            return  # scans do not follow links either: the files behind them may be results
        self._tell_image_of(path)
        if self._candidates.takes(path):
            self._observe(path, written=True)
        elif self._recursive and path.is_dir():
            # A folder that was moved here, or filled before it was observed, causes no events for its files.
            self._scanner.begin_below(path, self._meet)

    def _observe(self, path: Path, *, written: bool = False, backlog: bool = False) -> FileStatus | None:
        status = status_of(path)
        if status is None:
            self._companions.forget(path)
        self._tracker.observe(path, status, self._clock(), written=written, backlog=backlog)
        return status

    def _examine(self, path: Path) -> None:
        """Look at a file that is due, and queue it if it has settled."""
        status = self._observe(path)
        backlog = self._tracker.is_backlog(path)
        if status and self._tracker.settled(path, self._clock()):
            try:
                self._enqueue(path, status, backlog=backlog)
            except ArchiveError:
                self._tracker.observe(path, status, self._clock(), backlog=backlog)
                raise

    def _enqueue(self, path: Path, status: FileStatus, *, backlog: bool) -> None:
        """Hash a settled file and queue it, unless it has changed since it was observed."""
        try:
            sha256 = readers.content_sha256(path)
        except OSError:
            sha256 = None  # it was deleted or locked at this very moment
        after = status_of(path)
        if sha256 is None or after != status:
            self._tracker.observe(path, after, self._clock())
            return
        entry = self._ledger.enqueue(
            path,
            status.size,
            status.mtime_ns,
            sha256,
            self._recipe,
            priority=Priority.BACKLOG if backlog else Priority.LIVE,
        )
        self._companions.forget(path)
        self._silence.settled(path)
        if entry:
            self._queued.append(entry)

    def _unsettled(self, path: Path) -> str | None:
        """Return why a quiet file must wait, in words; None if it can be queued."""
        try:
            with path.open("rb"):
                pass
            if problem := self._incomplete(path):
                self._companions.note(path)
                return problem
            return self._companions.unsettled(path)
        except OSError as error:
            return f"it cannot be opened ({error.strerror or error})"
        except Exception:
            # A defect of tvtasks. Reading the file will show it too, and fail for this file alone.
            logger.exception("Whether %s is complete could not be determined", path)
            return None

    def _tell_image_of(self, half: Path) -> None:
        if image := self._companions.image_of(half):
            self._tracker.hurry(image, self._clock())

    def _scan_when_due(self) -> None:
        if reason := self._scanner.reason(self._observer.reported):
            reportable = self._silence.judge(burst=reason == "burst")
            self._begin_scan(partial(self._meet, reportable=reportable))

    def _begin_scan(self, meet: Meet) -> None:
        self._observer.reported = 0
        self._scanner.begin(meet)

    def _meet(self, path: Path, new: bool, *, backlog: bool = False, reportable: bool = False) -> None:
        """Take in a file that a scan found and that the ledger does not know in its present form."""
        self._tell_image_of(path)
        if not self._candidates.takes(path):
            return
        if path not in self._tracker and not backlog:
            status = status_of(path)
            if status and self._ledger.known(path, *status, self._recipe):
                return  # it was queued since the scan began
            if reportable and new:
                self._silence.found(path)
        self._observe(path, backlog=backlog)

    def _say_trouble(self, kind: str, sentence: str) -> None:
        if self._troubles.get(kind) != sentence:
            self._troubles = self._troubles | {kind: sentence}
            logger.warning(sentence)

    def _settle_trouble(self, kind: str) -> None:
        if kind in self._troubles:
            self._troubles = {other: text for other, text in self._troubles.items() if other != kind}
            logger.info("The %s can be used again.", kind)
