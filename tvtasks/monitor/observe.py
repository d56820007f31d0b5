"""Which paths in a folder were written to, as the operating system reports them.

A report is a hint: an overflow of the kernel's queue, a nested folder or a network share loses events. Only a
scan of the folder makes a monitor complete.

If the operating system reports nothing, the monitor scans more often; polling is no more than that.
watchdog's polling observer would do the same work twice: it lists the folder and compares with a memory of
its own, while a scan compares with the ledger. It also stops for good when a share drops out, and mistakes a
new file that got the inode of a deleted one for a move.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from tvtasks.errors import ConfigurationError
from tvtasks.filesystem import MOUNTS, is_network_folder, network_folders_in
from tvtasks.options import ObserverKind

logger = logging.getLogger(__name__)

JOIN_SECONDS = 2.0
"""Seconds to wait for the threads of an observer to end."""

# Reading a file causes events too (opened, closed without writing). They are left out: otherwise each look at
# a file would cause the next.
_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileClosedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]


class _Collector(FileSystemEventHandler):
    """Queues paths and does nothing else: an exception in a handler would end watchdog's thread."""

    def __init__(self, report: Callable[[Path], object]) -> None:
        self._report = report

    def dispatch(self, event: FileSystemEvent) -> None:
        # A file written under a temporary name gets its final name only as the destination of a move.
        self._report(Path(os.fsdecode(event.dest_path or event.src_path)))


def _end(observer: BaseObserver) -> None:
    observer.stop()
    observer.join()


class FolderObserver:
    """Collects the paths below a folder that were created, written, closed or moved to.

    Parameters
    ----------
    folder
        An existing folder, absolute and without symbolic links.
    kind
        ``native``: the operating system reports changes. ``polling``: nothing reports them; the caller scans
        the folder often. ``auto``: native, unless the folder is on a network file system or native does not
        start (because of the limit on inotify watches, for example).
    recursive
        Whether to observe subfolders.
    mounts
        Linux's list of mounts.
    wake
        Called in a thread of watchdog whenever a path is reported. It must be quick and raise nothing.
    """

    def __init__(
        self,
        folder: Path,
        kind: ObserverKind = "auto",
        *,
        recursive: bool = False,
        wake: Callable[[], object] = lambda: None,
        mounts: Path = MOUNTS,
    ) -> None:
        self.folder = folder
        self.polls = kind == "polling" or (kind == "auto" and is_network_folder(folder))
        self._mounts = mounts
        self._recursive = recursive
        self._kind = kind
        self.reported = 0
        self._wake = wake
        self._paths: SimpleQueue[Path] = SimpleQueue()
        self._observer: BaseObserver | None = None
        self._root: tuple[int, int] | None = None

    def start(self) -> None:
        """Start to observe.

        Raises
        ------
        ConfigurationError
            The folder cannot be observed; the message says why and what to try.
        """
        self._root = self._identity()
        self.poll_if_hybrid()
        if self.polls:
            return
        try:
            self._observer = self._launch()
        except OSError as error:
            if self._kind == "auto" and self._root is not None:
                self.poll(f"notification failed: {error}")
                return
            raise ConfigurationError(
                f"The folder {self.folder} cannot be observed: {error}. Check that it exists and that you "
                "may read it, or use --observer polling, which asks nothing of the operating system."
            ) from error

    def stop(self) -> None:
        """Stop observing and wait a little for its threads; do nothing if it has not started."""
        observer, self._observer = self._observer, None
        if observer is not None:
            # A hanging thread of watchdog would hold up the thread that ends it.
            ending = Thread(target=_end, args=(observer,), name="tvtasks observer's end", daemon=True)
            ending.start()
            ending.join(JOIN_SECONDS)

    def poll_if_hybrid(self) -> None:
        """Switch to polling if a share is mounted in a subfolder: its changes would not be reported."""
        if self._recursive and self._kind == "auto" and not self.polls:
            shares = network_folders_in(self.folder, self._mounts)
            if shares:
                self.poll(f"a network share is mounted in it, at {shares[0]}")

    def poll(self, reason: str) -> None:
        """Switch to polling for good, if the kind is ``auto``."""
        if self._kind == "auto" and not self.polls:
            logger.warning("The watch polls %s from now on: %s", self.folder, reason)
            self.stop()
            self.polls = True
            self._root = self._identity()

    def ensure_alive(self) -> bool:
        """Start again if observing has stopped; return whether it had and is running again.

        It stops when the folder disappears (a network share that drops out), and watchdog does not resume
        when the folder comes back. Events in between are lost: after True, a scan is due.
        """
        root = self._identity()
        before, self._root = self._root, root
        if root is not None and root == before and (self.polls or self.is_alive):
            return False
        if self._observer is not None:
            logger.warning("The observer of %s has stopped; it restarts as soon as it can.", self.folder)
            self.stop()
        if root is None:
            return False
        try:
            self.start()
        except ConfigurationError as error:
            # The folder may just have gone again. Scans continue, and the next call tries again.
            logger.warning("%s", error)
            return False
        return True

    def report(self, path: Path) -> None:
        """Take in a path that has changed or needs another look."""
        self.reported += 1
        self._paths.put(path)
        self._wake()

    def drain(self) -> list[Path]:
        """Return the paths reported since the last call, each once, in order. Never blocks."""
        # Only what is queued now: a fast writer must not keep this loop going.
        return list(dict.fromkeys(self._paths.get_nowait() for _ in range(self._paths.qsize())))

    @property
    def is_alive(self) -> bool:
        """Whether changes are reported at present; when polling, whether the folder exists."""
        if self.polls:
            return self._root is not None
        observer = self._observer
        if observer is None or not observer.is_alive():
            return False
        # With inotify a third thread reads the kernel's queue. If an error ends it, the other two run on
        # without ever reporting anything.
        source = getattr(observer, "_inotify_fd", None)
        # After the folder has gone, the observer's thread still runs; only the emitter has ended.
        threads = [*observer.emitters, *([source] if isinstance(source, Thread) else [])]
        return bool(observer.emitters) and all(thread.is_alive() for thread in threads)

    def _launch(self) -> BaseObserver:
        self.folder.stat()  # on Windows, watchdog would wait two seconds for a folder that does not exist
        observer = Observer()
        observer.schedule(
            _Collector(self.report), str(self.folder), recursive=self._recursive, event_filter=_EVENTS
        )
        try:
            observer.start()
        except OSError:
            observer.stop()  # the native observer already has a thread of its own
            raise
        except (
            Empty
        ) as error:  # on Windows, the thread that opens the folder has failed and does not tell why
            observer.stop()
            raise OSError("Windows refuses to open it") from error
        return observer

    def _identity(self) -> tuple[int, int] | None:
        """Return what distinguishes this folder from another in its place; None if there is no folder."""
        try:
            status = self.folder.stat()
        except OSError:
            return None
        # Polling goes by the path: some network shares renumber their files each time.
        return (0, 0) if self.polls else (status.st_dev, status.st_ino)
