"""A folder that a microscope writes to → the files in it that are whole and not yet restored.

Nothing in the folder is ever written, renamed or deleted.
"""

import itertools
import logging
import os
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self, get_args

from filelock import FileLock, Timeout

from tvtasks import readers
from tvtasks.errors import ArchiveError, ConfigurationError
from tvtasks.micrograph import file_sha256
from tvtasks.monitor.ignore import IgnoreRules
from tvtasks.monitor.ledger import LATEST_MTIME_NS, Entry, Ledger, Priority, State
from tvtasks.monitor.observe import FolderObserver, ObserverKind
from tvtasks.monitor.settle import SettleTracker, Status

__all__ = ["Entry", "Ledger", "Monitor", "State", "check_folders"]

logger = logging.getLogger(__name__)

LOOK = 0.02
"""Seconds after which a look leaves the rest to the next one: a new file must not wait for a backlog."""

PULSE = 1.0
"""Seconds between two looks when nothing happens; each asks whether the folder is still there."""

POLL = 1.0
"""Seconds between two scans in polling, at least."""

SPARING = 200.0
"""Scans are so many times further apart than they keep a processor core busy: they take ½ % of it."""

EAGER = 20.0
"""The same in polling, where a folder shows that something in it was created, renamed or deleted."""

GLIMPSES = 50
"""Folders that are asked for their time of last change in polling, at every `PULSE`."""

EASE = 3.0
"""Scans of a slow share are this many times further apart than they last."""

BURST = 1000
"""Events after which a scan is due: the operating system may have lost some of so many."""

BETWEEN_BURSTS = 10.0
"""Seconds between two scans for that reason."""

MISSES = 3
"""Scans in a row that find files of which nothing was reported, after which notification is given up."""

AFTER_TROUBLE = 5.0
"""Seconds until the next attempt to use a ledger that could not be used."""

SAYINGS = 100
"""Kinds of ignored files that are told; a program that numbers its endings would fill the log."""

GLANCE = 0.005
"""Seconds that one step of a scan waits for the ledger."""

STRIDE = 64
"""Files that a scan looks at in one step."""

END = 5.0
"""Seconds that leaving waits for a look to end."""

LARGE = 5000
"""Files in a folder from which on the ledger is asked for them in the background."""


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


class Monitor:
    """Watches a folder and puts the files that have settled into the ledger.

    The observer starts first and a scan of what is there follows, so that nothing falls in between. Events
    only make it quick; the scan that is repeated makes it complete. Where nothing is reported (network
    shares), scans are all there is, and follow each other as quickly as `SPARING`, `EAGER` and `EASE` allow:
    with 1,000 files every few seconds, with 100,000 every few minutes, or half a minute after a folder's
    time of last change has told of a new file.

    It looks at the folder in a thread of its own. Every call that touches a share which has died hangs in the
    kernel for minutes; measured in one thread with the dispatcher, such a call would hold up the heartbeat
    and everything that is already read. So `poll` never waits longer than `patience`, and `last_look` tells
    how long the thread has been silent. A listing has no thread besides: it goes on in steps of `STRIDE`
    files between the looks at those that are due.

    Known limits: a file overwritten with the same size and the same time of last change is noticed where an
    event reports it (native notification), not by polling or a scan; the same is true of a header that is
    rewritten beside pixels which are restored already. Files reached through a symbolic link to a folder are
    not found.

    Parameters
    ----------
    folder
        Where the microscope writes.
    ledger
        The record of what was done; the caller opens and closes it.
    recipe
        Identity of the recipe: a file done with another recipe is to be done again.
    settle, max_wait
        See `SettleTracker`.
    rescan
        Seconds between scans of the whole folder; in polling, at most.
    observer
        See `FolderObserver`.
    recursive
        Whether folders inside `folder` count.
    ignore, excluded
        See `IgnoreRules`.
    outputs
        Where results go, to make sure that they are not taken for images of the microscope.
    clock
        Monotonic seconds.
    patience
        Seconds that `poll` waits at most; None to look in the caller's thread and to the end.
    is_candidate
        Whether a file may be an image, by its name; `tvtasks.readers.is_candidate` if not given.
    has_recipe
        Whether there is a recipe for a file, by its path.
    incomplete
        Gives a sentence for a file that is not whole; `tvtasks.readers.incomplete` if not given.

    Raises
    ------
    ConfigurationError
        The folder cannot be watched, or results would land among the images. On entering the context: the
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
        *,
        settle: float = 2.0,
        max_wait: float = 600.0,
        rescan: float = 300.0,
        observer: ObserverKind = "auto",
        recursive: bool = False,
        ignore: Sequence[str] = (),
        excluded: Iterable[Path] = (),
        outputs: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        patience: float | None = 0.05,
        is_candidate: Callable[[Path], bool] = readers.is_candidate,
        has_recipe: Callable[[Path], bool] = lambda path: True,
        incomplete: Callable[[Path], str | None] = readers.incomplete,
    ) -> None:
        _check_options(settle, max_wait, rescan, observer)
        check_folders(folder, outputs, recursive=recursive, ignore=ignore, excluded=excluded)
        self.folder = folder.resolve()
        self._ledger = ledger
        self._recipe = recipe
        self._settle = settle
        self._rescan = rescan
        self._recursive = recursive
        self._rules = IgnoreRules(self.folder, ignore, excluded)
        self._clock = clock
        self._patience = patience
        self._is_candidate = is_candidate
        self._has_recipe = has_recipe
        self._incomplete = incomplete
        self._tracker = SettleTracker(self._unsettled, settle=settle, max_wait=max_wait)
        self._observer = FolderObserver(self.folder, observer, recursive=recursive, wake=self._wake)
        self._lock = FileLock(_beside(ledger, ".lock"), timeout=0, thread_local=False)
        # The other halves of images in two files: as they were at the last test, and whose they are.
        self._halves: dict[Path, dict[Path, Status | None]] = {}
        self._image_of: dict[Path, Path] = {}
        self._scans: deque[_Scan] = deque()
        self._folder_times: dict[Path, int] = {}
        self._glimpses: Iterator[tuple[Path, int]] = iter(())
        self._eager_scan = 0.0
        self._large: set[Path] = set()
        self._busy_beside = 0.0
        self._next_scan = 0.0
        self._last_scan = 0.0
        self._next_check = 0.0
        self._next_attempt = 0.0
        self._next_work = 0.0
        self._unreported: set[Path] = set()
        self._excused = False  # nothing could be reported before the next scan
        self._missed: list[Path] = []
        self._misses = 0
        # What the caller sees.
        self._queued: deque[Entry] = deque()
        self._settling: list[Path] = []
        self._stuck: dict[Path, str] = {}
        self._ignored: dict[str, str] = {}
        self._troubles: dict[str, str] = {}
        self._last_look = 0.0
        # Of the thread: looks that were asked for and given, an event that came, an error that ended it.
        self._turn = threading.Condition()
        self._asked = self._given = 0
        self._busy = self._woken = self._ended = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._hold_ledger()
        try:
            self._observer.start()
            self._begin_scan(backlog=True)
            self._next_check = self._clock() + PULSE
            while self._scans:
                self._scan_on()
            self._publish()
            if self._patience is not None:
                self._thread = threading.Thread(
                    target=self._keep_looking, name="tvtasks monitor", daemon=True
                )
                self._thread.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._turn:
            self._ended = True
            self._turn.notify_all()
        if self._thread is not None:
            self._thread.join(END)
            if self._thread.is_alive():
                logger.warning("%s does not answer; it is left without waiting for it.", self.folder)
        self._observer.stop()
        with suppress(OSError):  # Windows: someone is just reading it
            _beside(self._ledger, ".holder").unlink()
        self._lock.release()

    def poll(self) -> list[Entry]:
        """Look at the folder where there is a reason to, and return what was queued since the last poll.

        What is returned is for display; the work is to be claimed from the ledger. It waits for the look at
        most `patience` seconds, and takes what earlier looks have found if it lasts longer. A folder that
        has vanished and a ledger that cannot be written raise nothing: see `trouble`.
        """
        if self._thread is None:
            self._look()
        else:
            with self._turn:
                if self._busy or self._woken or self._clock() >= self._next_work:
                    self._asked += 1
                    asked = self._asked
                    self._turn.notify_all()
                    self._turn.wait_for(
                        lambda: self._given >= asked or self._error is not None, self._patience
                    )
            if self._error is not None:
                raise self._error
        return [self._queued.popleft() for _ in range(len(self._queued))]

    def notice(self, path: Path) -> None:
        """Have a path looked at again, as if it had been written to. Any thread may call it."""
        self._observer.report(path)

    @property
    def settling(self) -> list[Path]:
        """The files that are still being waited for."""
        return list(self._settling)

    @property
    def stuck(self) -> dict[Path, str]:
        """A sentence for each file that has stopped changing without becoming whole."""
        return dict(self._stuck)

    @property
    def ignored(self) -> dict[str, str]:
        """A sentence for each kind of file in the folder that is left alone, by what the kind is called."""
        return dict(self._ignored)

    @property
    def trouble(self) -> str:
        """A sentence for what keeps files from being found or queued at present; empty where nothing does."""
        return " ".join(self._troubles.values())

    @property
    def polls(self) -> bool:
        """Whether the folder is scanned often, because nothing reports changes in it."""
        return self._observer.polls

    @property
    def alive(self) -> bool:
        """Whether changes in the folder are noticed at present."""
        return self._observer.is_alive

    @property
    def last_look(self) -> float:
        """When the last look at the folder ended, by the clock; long ago where the folder does not answer."""
        return self._last_look

    def _keep_looking(self) -> None:
        try:
            while True:
                with self._turn:
                    self._turn.wait_for(
                        lambda: self._ended or self._woken or self._asked > self._given,
                        max(self._next_work - self._clock(), 0.0),
                    )
                    if self._ended:
                        return
                    asked, self._woken, self._busy = self._asked, False, True
                self._look()
                with self._turn:
                    self._given, self._busy = asked, False
                    self._turn.notify_all()
        except BaseException as error:
            with self._turn:
                # Once the monitor is left, the ledger may be closed while a look is still held up.
                self._error = None if self._ended else error
                self._turn.notify_all()

    def _wake(self) -> None:
        with self._turn:
            self._woken = True
            self._turn.notify_all()

    def _look(self) -> None:
        """Take in events, test what is due, and go on with the scan, for `LOOK` seconds."""
        now = self._clock()
        end = now + LOOK
        if now >= self._next_check:
            self._next_check = now + PULSE
            self._check_folder()
            if self.polls:
                self._look_for_changes()
        self._take_events()
        if now >= self._next_attempt:
            try:
                for path in self._tracker.due(now):
                    self._examine(path)
                    # The next to be tested may be one that has just arrived.
                    self._take_events()
                    if self._clock() > end:
                        break
                self._scan_when_due()
                while self._scans and self._scan_on() and self._clock() < end:
                    pass
                self._settle_trouble("ledger")
            except ArchiveError as error:
                # A full disk, or an archive on a share that has dropped out: nothing is lost by waiting.
                self._scans.clear()
                self._next_scan = self._next_attempt = self._clock() + AFTER_TROUBLE
                self._say_trouble("ledger", str(error))
        self._publish()

    def _publish(self) -> None:
        self._settling, self._stuck = self._tracker.waiting, self._tracker.stuck
        self._last_look = now = self._clock()
        next_work = now if self._scans else min(self._tracker.next_due, self._next_scan)
        self._next_work = min(max(next_work, self._next_attempt), self._next_check)

    def _check_folder(self) -> None:
        if self._observer.ensure_alive():
            self._next_scan = self._clock()
            self._excused = True
        try:
            with os.scandir(self.folder):
                self._settle_trouble("folder")
        except OSError as error:
            self._say_trouble(
                "folder",
                f"The folder {self.folder} cannot be read at present ({error.strerror or error}). Connect "
                "the drive or the share again; watching goes on by itself when it is back.",
            )

    def _look_for_changes(self) -> None:
        """In polling, have a scan soon where a folder has another time of last change than before."""
        glimpses = list(itertools.islice(self._glimpses, GLIMPSES))
        if not glimpses:
            self._glimpses = iter(self._folder_times.items())
            glimpses = list(itertools.islice(self._glimpses, GLIMPSES))
        if any(_changed_at(folder) != before for folder, before in glimpses):
            self._next_scan = min(self._next_scan, self._eager_scan)

    def _take_events(self) -> None:
        for path in self._observer.drain():
            self._unreported.discard(path)
            self._notice(path)

    def _notice(self, path: Path) -> None:
        """Take in a path that an event reports; even a known file may have new content by now."""
        if not (self._recursive or path.parent == self.folder) or self._rules.ignored(path):
            return
        self._tell_image_of(path)
        if self._usable(path):
            self._observe(path, written=True)
        elif self._recursive and path.is_dir():
            # A folder that was moved here, or filled before it was observed, gives no event for its files.
            self._scans.append(_Scan(self._steps(path), whole=False))

    def _observe(self, path: Path, *, written: bool = False, backlog: bool = False) -> Status | None:
        status = _status(path)
        if status is None:
            self._forget(path)
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

    def _enqueue(self, path: Path, status: Status, *, backlog: bool) -> None:
        """Hash a settled file and queue it, unless it has changed since it was observed."""
        try:
            sha256 = file_sha256(path)
        except OSError:
            sha256 = None  # it was deleted or locked this very moment
        after = _status(path)
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
        self._forget(path)
        if path in self._unreported:
            self._unreported.discard(path)
            self._missed.append(path)
        if entry:
            self._queued.append(entry)

    def _unsettled(self, path: Path) -> str | None:
        """Say why a quiet file is not to be queued yet, None where it is."""
        try:
            with path.open("rb"):
                pass
            if problem := self._incomplete(path):
                self._await(path)
                return problem
            return self._unsettled_half(path)
        except OSError as error:
            return f"it cannot be opened ({error.strerror or error})"
        except Exception:
            # A defect of tvtasks. Whoever reads the file meets it too, and says so of this one file.
            logger.exception("Whether %s is whole cannot be told", path)
            return None

    def _unsettled_half(self, path: Path) -> str | None:
        """Say which other half of an image in two files may still be written, None where none is."""
        before = self._halves.get(path)
        now = self._await(path)
        if not now or now == before:
            return None
        return f"{next(iter(now)).name}, which belongs to it, is still being written"

    def _await(self, path: Path) -> dict[Path, Status | None]:
        """Note what the other halves of an image look like, so that it is tested again when they change."""
        halves = {half: _status(half) for half in readers.other_halves(path)}
        self._forget(path)
        if halves:
            self._halves[path] = halves
            self._image_of |= dict.fromkeys(halves, path)
        return halves

    def _tell_image_of(self, half: Path) -> None:
        if image := self._image_of.get(half):
            self._tracker.hurry(image, self._clock())

    def _forget(self, path: Path) -> None:
        for half in self._halves.pop(path, ()):
            self._image_of.pop(half, None)

    def _scan_when_due(self) -> None:
        now = self._clock()
        if any(scan.whole for scan in self._scans):
            return
        burst = self._observer.reported >= BURST and now >= self._last_scan + BETWEEN_BURSTS
        if burst or now >= self._next_scan:
            self._judge_observer()
            self._begin_scan(looking_for_missed=not (burst or self._excused))
            self._excused = False

    def _begin_scan(self, *, backlog: bool = False, looking_for_missed: bool = False) -> None:
        self._last_scan = self._clock()
        self._observer.reported = 0
        self._busy_beside = 0.0
        steps = self._steps(
            self.folder, backlog=backlog, looking_for_missed=looking_for_missed and not self.polls
        )
        self._scans.append(_Scan(steps, whole=True))

    def _scan_on(self) -> bool:
        """Go on with the oldest scan by one step; return whether there is more to scan."""
        scan = self._scans[0]
        if not scan.step():
            self._scans.popleft()
            if scan.whole:
                busy, now = scan.busy + self._busy_beside, self._clock()
                pause = max(SPARING * busy, EASE * scan.seconds)
                pause = min(max(pause, POLL), self._rescan) if self.polls else max(pause, self._rescan)
                self._next_scan = now + pause
                self._eager_scan = now + max(EAGER * busy, EASE * scan.seconds, POLL)
        return bool(self._scans)

    def _steps(self, top: Path, *, backlog: bool = False, looking_for_missed: bool = False) -> Iterator[None]:
        """Observe the files below a folder that the ledger does not know as they are, in steps."""
        folders, times = [top], {}
        while folders:
            folder = folders.pop()
            times[folder] = _changed_at(folder)
            known = yield from self._known_in(folder)
            try:
                with os.scandir(folder) as found:
                    for number, item in enumerate(found, start=1):
                        if number % STRIDE == 0:
                            yield
                        if item.is_dir(follow_symlinks=False):
                            if self._recursive and not self._rules.ignored_in(folder, item.name):
                                folders.append(folder / item.name)
                        elif not _is_as_before(item, known.get(item.name)):
                            new = item.name not in known
                            self._meet(folder, item, backlog=backlog, missed=looking_for_missed and new)
            except OSError as error:
                # It went this moment, or may not be read. The folder at the top is looked after elsewhere.
                logger.debug("%s cannot be listed: %s", folder, error)
        if top == self.folder:
            self._folder_times, self._glimpses = times, iter(times.items())

    def _meet(self, folder: Path, item: os.DirEntry[str], *, backlog: bool, missed: bool) -> None:
        """Take in a file that a scan has come across and that the ledger does not know as it is."""
        if self._rules.ignored_in(folder, item.name):
            return
        path = folder / item.name
        self._tell_image_of(path)
        if not self._usable(path):
            return
        if path not in self._tracker and not backlog:
            status = _status(path)
            if status and self._ledger.known(path, *status, self._recipe):
                return  # it was queued since the scan began
            if missed:
                self._unreported.add(path)
        self._observe(path, backlog=backlog)

    def _known_in(self, folder: Path) -> Generator[None, None, dict[str, Status]]:
        """Ask the ledger for the files in a folder, in steps of a few milliseconds."""
        if folder not in self._large:
            known = self._ledger.known_in(folder, self._recipe)
        else:
            # For 100,000 files this takes a second. With a thread and a connection to the ledger of its own
            # it holds up neither a look nor the dispatcher.
            answer: Future[dict[str, Status]] = Future()
            threading.Thread(target=self._ask_beside, args=(folder, answer), daemon=True).start()
            while not answer.done():
                wait([answer], timeout=GLANCE)
                yield
            known = answer.result()
        (self._large.add if len(known) > LARGE else self._large.discard)(folder)
        yield
        return known

    def _ask_beside(self, folder: Path, answer: "Future[dict[str, Status]]") -> None:
        try:
            with Ledger(self._ledger.path) as ledger:
                known = ledger.known_in(folder, self._recipe)
            self._busy_beside += time.thread_time()
            answer.set_result(known)
        except BaseException as error:
            answer.set_exception(error)

    def _judge_observer(self) -> None:
        """Start an observer again that has not reported new files, and give it up when it does not mend."""
        missed, self._missed = self._missed, []
        if not missed or self.polls:
            self._misses = 0
            return
        self._misses += 1
        if self._misses >= MISSES:
            self._observer.poll(f"{missed[0]} and others were found without having been reported")
        elif self._observer.is_alive:
            logger.warning(
                "%s was found without having been reported; observing %s is begun anew.",
                missed[0],
                self.folder,
            )
            self._observer.stop()
            self._observer.ensure_alive()

    def _usable(self, path: Path) -> bool:
        """Return whether a file may be an image that is to be restored; say once per kind why not."""
        if not self._is_candidate(path):
            self._say_ignored(path)
            return False
        if not self._has_recipe(path):
            kind = f"{path.parent}{os.sep}*{path.suffix.lower()}"
            self._say(
                kind,
                f"No recipe is meant for {path}: files like it are left alone. Give one with "
                f'--recipe "*{path.suffix.lower()}=NAME", or ignore them with --ignore.',
                logging.WARNING,
            )
            return False
        return True

    def _say_ignored(self, path: Path) -> None:
        ending = path.suffix.lower()
        if ending in self._ignored or ending in readers.SUFFIXES or not path.is_file():
            return
        if name := readers.recognised(path):
            self._say(
                ending,
                f"{path.name} is {name}, which tvtasks does not read yet: files of this kind are left alone. "
                "Export them as TIFF or HDF5 to have them restored.",
                logging.WARNING,
            )
        elif not readers.is_half(path):
            kind = f"files ending in {ending}" if ending else "files without an ending"
            self._say(ending, f"{path.name}: {kind} are not read, and are left alone.", logging.INFO)

    def _say(self, kind: str, sentence: str, level: int) -> None:
        if kind not in self._ignored and len(self._ignored) < SAYINGS:
            self._ignored = self._ignored | {kind: sentence}
            logger.log(level, sentence)

    def _say_trouble(self, kind: str, sentence: str) -> None:
        if self._troubles.get(kind) != sentence:
            self._troubles = self._troubles | {kind: sentence}
            logger.warning(sentence)

    def _settle_trouble(self, kind: str) -> None:
        if kind in self._troubles:
            self._troubles = {other: text for other, text in self._troubles.items() if other != kind}
            logger.info("The %s can be used again.", kind)

    def _hold_ledger(self) -> None:
        holder = _beside(self._ledger, ".holder")
        try:
            self._lock.acquire()
            holder.write_text(
                f"process {os.getpid()} on {socket.gethostname()}, watching {self.folder}\n", encoding="utf-8"
            )
        except Timeout:
            try:
                who = holder.read_text(encoding="utf-8").strip()
            except OSError:
                who = "another process"
            raise ConfigurationError(
                f"The ledger {self._ledger.path} is in use by {who}. Stop that monitor first, or give this "
                "one another archive."
            ) from None
        except OSError as error:
            self._lock.release()
            raise ConfigurationError(
                f"The ledger {self._ledger.path} cannot be reserved: {error}. Check that its folder can be "
                "written to."
            ) from error


def check_folders(
    folder: Path,
    outputs: Path | None,
    *,
    recursive: bool = False,
    ignore: Sequence[str] = (),
    excluded: Iterable[Path] = (),
) -> None:
    """Refuse a folder that cannot be watched, and a place for results among the images; writes nothing.

    Raises
    ------
    ConfigurationError
        With what to do instead.
    """
    _check_folder(folder)
    folder = folder.resolve()
    rules = IgnoreRules(folder, ignore, excluded)
    if outputs is None:
        return
    outputs = outputs.resolve()
    if outputs == folder:
        raise ConfigurationError(
            f"Results cannot go into the watched folder {folder} itself. Give a folder beside it."
        )
    if recursive and not rules.ignored(outputs / "result.nxs"):
        raise ConfigurationError(
            f"The folder for results, {outputs}, lies inside {folder}, which is watched with all its "
            "subfolders. Give a folder beside it, or exclude this one."
        )


def _check_options(settle: float, max_wait: float, rescan: float, observer: str) -> None:
    for name, value in {"settle": settle, "max_wait": max_wait, "rescan": rescan}.items():
        if not value > 0:  # also catches nan
            raise ConfigurationError(f"{name} = {value} cannot work: give a number of seconds above 0.")
    if observer not in get_args(ObserverKind):
        allowed = ", ".join(get_args(ObserverKind))
        raise ConfigurationError(f"observer = {observer!r} is not known. Choose one of: {allowed}.")


def _check_folder(folder: Path) -> None:
    try:
        with os.scandir(folder):
            pass
    except FileNotFoundError:
        raise ConfigurationError(
            f"The folder {folder} does not exist. Create it, connect the drive or correct the path."
        ) from None
    except NotADirectoryError:
        raise ConfigurationError(
            f"{folder} is a file, not a folder. Give the folder that the microscope writes to."
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"The folder {folder} cannot be read: {error.strerror}. Ask for permission to read it."
        ) from error


def _beside(ledger: Ledger, ending: str) -> Path:
    return ledger.path.with_name(ledger.path.name + ending)


def _is_as_before(item: os.DirEntry[str], before: Status | None) -> bool:
    if before is None:
        return False
    try:
        found = item.stat()
    except OSError:
        return False
    return (found.st_size, min(found.st_mtime_ns, LATEST_MTIME_NS)) == before


def _changed_at(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def _status(path: Path) -> Status | None:
    """Return size and time of last change of a regular file; None where there is none to be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return Status(found.st_size, min(found.st_mtime_ns, LATEST_MTIME_NS))
