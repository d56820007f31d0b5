"""A folder that a microscope writes to → the files in it that are whole and not yet restored.

Nothing in the folder is ever written, renamed or deleted.
"""

import os
import socket
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Self, get_args

from filelock import FileLock, Timeout

from tvtasks.errors import ConfigurationError
from tvtasks.micrograph import file_sha256
from tvtasks.monitor.ledger import Entry, Ledger, State
from tvtasks.monitor.observe import FolderObserver, ObserverKind
from tvtasks.monitor.settle import SettleTracker, Status

__all__ = ["Entry", "Ledger", "Monitor", "State", "check_folders"]

JUNK = (".*", "~*", "thumbs.db", "desktop.ini", "@eadir", "*.tmp", "*.part", "*.partial*")
"""Names, in lower case, of files and folders that no microscope means to keep."""

POLL_BUDGET = 1.0
"""Seconds of testing and hashing after which a poll leaves the rest to the next one.

With a large backlog a poll would otherwise go on for minutes, and a file that arrives now would wait for it.
"""

_LATEST_MTIME_NS = 2**63 - 1  # SQLite's largest integer: the year 2262


class Monitor:
    """Watches a folder and says which files are to be worked on.

    The observer starts first and a scan of what is there follows, so that nothing falls in between. Events
    only make it quick; the scan that is repeated every `rescan` seconds makes it complete.

    A failed file is the caller's to try again; it is offered again when it is written to, and at the next
    start.

    Known limits: a file overwritten with the same size and the same time of last change is noticed where an
    event reports it (native notification), not by polling or a scan. Files reached through a symbolic link
    to a folder are not found.

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
        Seconds between scans of the whole folder.
    observer
        See `FolderObserver`.
    recursive
        Whether folders inside `folder` count.
    excluded
        Folders inside `folder` that do not count; relative to `folder`, or absolute.
    outputs
        Where results go, to make sure that they are not taken for images of the microscope.
    clock
        Monotonic seconds.
    is_candidate
        Whether a file may be an image, by its name; `tvtasks.readers.is_candidate` if not given.
    unfinished
        Gives a sentence for a file that is not whole; `tvtasks.readers.unfinished` if not given.

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
                for entry in monitor.poll():
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
        excluded: Iterable[Path] = (),
        outputs: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        is_candidate: Callable[[Path], bool] | None = None,
        unfinished: Callable[[Path], str | None] | None = None,
    ) -> None:
        _check_options(settle, max_wait, rescan, observer)
        check_folders(folder, outputs, recursive=recursive, excluded=excluded)
        self.folder = folder.resolve()
        self._ledger = ledger
        self._recipe = recipe
        self._rescan = rescan
        self._recursive = recursive
        self._excluded = tuple((self.folder / other).resolve() for other in excluded)
        self._clock = clock
        if is_candidate is None or unfinished is None:
            from tvtasks import readers  # noqa: PLC0415 - needed only where a caller gives none

            is_candidate = is_candidate or readers.is_candidate
            unfinished = unfinished or readers.unfinished
        self._is_candidate = is_candidate
        self._unfinished = unfinished
        self._tracker = SettleTracker(self._incomplete, settle=settle, max_wait=max_wait)
        self._observer = FolderObserver(self.folder, observer, recursive=recursive)
        self._lock = FileLock(_beside(ledger, ".lock"), timeout=0, thread_local=False)
        # Work found but not yet returned: it must survive a poll that ends in an error (disk full).
        self._work: list[Entry] = []
        self._next_scan = 0.0

    def __enter__(self) -> Self:
        self._hold_ledger()
        try:
            self._observer.start()
            now = self._clock()
            self._scan(self.folder, now, backlog=True)
            self._next_scan = now + self._rescan
            self._work = self._recover()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._observer.stop()
        with suppress(OSError):  # Windows: someone is just reading it
            _beside(self._ledger, ".holder").unlink()
        self._lock.release()

    def poll(self) -> list[Entry]:
        """Return the work that has come up since the last poll, new acquisitions before backlog. Never waits.

        The first poll returns what an earlier run left behind. Each piece of work is returned once.
        """
        now = self._clock()
        if self._observer.ensure_alive() or now >= self._next_scan:
            self._scan(self.folder, now)
            self._next_scan = now + self._rescan
        for path in self._observer.drain():
            self._notice(path, now)
        for path in self._tracker.due(now):
            status = _status(path)
            self._tracker.observe(path, status, now)
            if status and self._tracker.settled(path, now) and (entry := self._enqueue(path, status, now)):
                self._work.append(entry)
            if self._clock() - now > POLL_BUDGET:
                break
        work, self._work = self._work, []
        return work

    @property
    def settling(self) -> list[Path]:
        """The files that are still being waited for."""
        return self._tracker.waiting

    @property
    def stuck(self) -> dict[Path, str]:
        """A sentence for each file that has stopped changing without becoming whole."""
        return self._tracker.stuck

    def _notice(self, path: Path, now: float) -> None:
        """Take in a path that an event reports; even a known file may have new content by now."""
        if self._wanted(path):
            self._tracker.observe(path, _status(path), now)
        elif self._recursive and self._inside(path):
            # A folder that was moved here, or filled before it was observed, gives no event for its files.
            self._scan(path, now)

    def _scan(self, top: Path, now: float, *, backlog: bool = False) -> None:
        for path in self._files_below(top):
            status = _status(path)
            if status and not self._ledger.known(path, *status, self._recipe):
                self._tracker.observe(path, status, now, backlog=backlog)

    def _files_below(self, top: Path) -> Iterator[Path]:
        for root, folders, names in os.walk(top):
            if self._recursive:
                folders[:] = sorted(name for name in folders if self._inside(Path(root, name)))
            else:
                folders.clear()
            yield from (path for name in sorted(names) if self._wanted(path := Path(root, name)))

    def _wanted(self, path: Path) -> bool:
        return (
            (self._recursive or path.parent == self.folder)
            and self._inside(path)
            and self._is_candidate(path)
        )

    def _inside(self, path: Path) -> bool:
        return _inside(path, self.folder, self._excluded)

    def _incomplete(self, path: Path) -> str | None:
        try:
            with path.open("rb"):
                pass
            return self._unfinished(path)
        except OSError as error:
            return f"it cannot be opened ({error.strerror or error})"

    def _enqueue(self, path: Path, status: Status, now: float) -> Entry | None:
        """Hash a settled file and queue it, unless it has changed since it was observed."""
        try:
            sha256 = file_sha256(path)
        except OSError:
            sha256 = None  # it was deleted or locked this very moment
        after = _status(path)
        if sha256 is None or after != status:
            self._tracker.observe(path, after, now)
            return None
        return self._ledger.enqueue(path, *status, sha256, self._recipe)

    def _recover(self) -> list[Entry]:
        """Return the work that an earlier run left behind, as far as its files are still there unchanged."""
        there = []
        for entry in self._ledger.recover(self._recipe):
            status = _status(entry.path)
            if status is None:
                self._ledger.fail(
                    entry,
                    f"{entry.path} is no longer there. Put it back and start again to have it restored.",
                )
            elif status != (entry.size, entry.mtime_ns):
                # The scan has found it too. It is hashed when it has settled, and queued again if only its
                # time of last change is another.
                self._ledger.mark_overwritten(entry)
            else:
                there.append(entry)
        return there

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
    folder: Path, outputs: Path | None, *, recursive: bool = False, excluded: Iterable[Path] = ()
) -> None:
    """Refuse a folder that cannot be watched, and a place for results among the images; writes nothing.

    Raises
    ------
    ConfigurationError
        With what to do instead.
    """
    _check_folder(folder)
    if outputs is None:
        return
    folder, outputs = folder.resolve(), outputs.resolve()
    if outputs == folder:
        raise ConfigurationError(
            f"Results cannot go into the watched folder {folder} itself. Give a folder beside it."
        )
    if recursive and _inside(outputs, folder, tuple((folder / other).resolve() for other in excluded)):
        raise ConfigurationError(
            f"The folder for results, {outputs}, lies inside {folder}, which is watched with all its "
            "subfolders. Give a folder beside it, or exclude this one."
        )


def _inside(path: Path, folder: Path, excluded: tuple[Path, ...]) -> bool:
    """Return whether a path lies in the folder, and neither in an excluded place nor among junk."""
    if not path.is_relative_to(folder) or any(path.is_relative_to(other) for other in excluded):
        return False
    names = [part.casefold() for part in path.relative_to(folder).parts]
    return not any(fnmatchcase(name, pattern) for name in names for pattern in JUNK)


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


def _status(path: Path) -> Status | None:
    """Return size and time of last change of a regular file; None where there is none to be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return Status(found.st_size, min(found.st_mtime_ns, _LATEST_MTIME_NS))
