"""What a file system says of files and folders without opening them."""

import os
import stat
from pathlib import Path

from tvtasks.monitor.ledger import LATEST_MTIME_NS
from tvtasks.monitor.settle import Status


def status_of(path: Path) -> Status | None:
    """Return size and time of last change of a regular file; None where there is none to be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return Status(found.st_size, min(found.st_mtime_ns, LATEST_MTIME_NS))


def is_as_before(item: os.DirEntry[str], before: Status | None) -> bool:
    """Return whether a file in a listing looks as it did; one that was not there before does not."""
    if before is None:
        return False
    try:
        found = item.stat()
    except OSError:
        return False
    return (found.st_size, min(found.st_mtime_ns, LATEST_MTIME_NS)) == before


def changed_at(folder: Path) -> int:
    """Return a folder's time of last change in nanoseconds; 0 where there is no folder."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0
