"""What a file system reports about files and folders without opening them."""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path
from typing import NamedTuple

LATEST_MTIME_NS = 2**63 - 1
"""SQLite's largest integer, the year 2262: a file dated later counts as dated then."""

NETWORK_FILE_SYSTEMS = frozenset(
    """nfs nfs4 cifs smb3 smbfs fuse.sshfs fuse.rclone 9p afs ceph lustre davfs""".split()  # noqa: SIM905
)
"""Types in /proc/mounts for which the kernel does not report what another computer writes."""

MOUNTS = Path("/proc/mounts")
_DRIVE_REMOTE = 4  # GetDriveTypeW in the Windows API


class FileStatus(NamedTuple):
    """Size in bytes, and time of last change in nanoseconds."""

    size: int
    mtime_ns: int


def status_of(path: Path) -> FileStatus | None:
    """Return the size and the time of last change of a regular file; None if there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return _status(found) if stat.S_ISREG(found.st_mode) else None


def is_unchanged(item: os.DirEntry[str], before: FileStatus | None) -> bool:
    """Return whether a file in a listing looks as it did before; False if it was not there before."""
    if before is None:
        return False
    try:
        return _status(item.stat()) == before
    except OSError:
        return False


def changed_at(folder: Path) -> int:
    """Return a folder's time of last change in nanoseconds; 0 if there is no folder."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def is_same_folder(one: Path, other: Path) -> bool:
    """Return whether two paths lead to the same folder, by whatever links or spelling."""
    try:
        return one.samefile(other)
    except OSError:  # one of them does not exist
        return one.resolve() == other.resolve()


def is_behind_link(path: Path, top: Path) -> bool:
    """Return whether a path is a link to a folder, or lies behind one, below a folder."""
    below = path.relative_to(top).parts
    if path.is_symlink() and path.is_dir():
        return True
    return any(top.joinpath(*below[:depth]).is_symlink() for depth in range(1, len(below)))


def is_network_folder(folder: Path, mounts: Path = MOUNTS) -> bool:
    """Return whether a folder is on a network file system, as far as this is cheap to find out.

    On Linux the type of the mount decides, read from `mounts`; on Windows, whether it is a UNC path or a
    network drive. On other systems the answer is False.
    """
    folder = folder.resolve()
    if sys.platform == "win32":
        import ctypes  # noqa: PLC0415 - windll exists on Windows only

        if folder.drive.startswith("\\\\"):
            return True
        return bool(ctypes.windll.kernel32.GetDriveTypeW(folder.anchor) == _DRIVE_REMOTE)
    return _mount_of(folder, mounts)[1] in NETWORK_FILE_SYSTEMS


def network_folders_in(folder: Path, mounts: Path = MOUNTS) -> list[Path]:
    """Return the network file systems that are mounted below a folder, as far as Linux's list shows."""
    folder = folder.resolve()
    return [
        Path(point)
        for point, kind in _mounts(mounts)
        if kind in NETWORK_FILE_SYSTEMS and folder in Path(point).parents
    ]


class MountedFolder:
    """A folder that must stay on the mount where it was when this object was made.

    When a disk or a share is unmounted, its mount point is an empty folder, but the files are not deleted.

    Parameters
    ----------
    folder
        The folder.
    mounts
        Linux's list of mounts. Without one, a folder counts as present if it can be read.
    """

    def __init__(self, folder: Path, mounts: Path = MOUNTS) -> None:
        self._folder = folder.resolve()
        self._mounts = mounts
        self._point = _mount_of(self._folder, mounts)[0]

    def fault(self) -> str:
        """Return why the folder cannot be read; empty if it can."""
        try:
            with os.scandir(self._folder) as entries:
                next(entries, None)
        except OSError as error:
            return error.strerror or str(error)
        if _mount_of(self._folder, self._mounts)[0] != self._point:
            return "its disk or share is not connected"
        return ""


def _mount_of(folder: Path, mounts: Path) -> tuple[str, str]:
    """Return the mount point of a folder and the type of the mount; empty if unknown."""
    around = [
        (len(Path(point).parts), point, kind)
        for point, kind in _mounts(mounts)
        if folder.is_relative_to(point)
    ]
    # The innermost mount counts, and the last of several on one point: max() takes the first that it meets.
    _, point, kind = max(reversed(around), key=lambda mount: mount[0], default=(0, "", ""))
    return point, kind


def _mounts(mounts: Path) -> list[tuple[str, str]]:
    """Return the mount points and the types of the mounts; none if there is no list."""
    try:
        lines = os.fsdecode(mounts.read_bytes()).rstrip("\n").split("\n")
    except OSError:
        return []
    found = []
    for line in lines:
        _, point, kind, *_ = line.split(" ")
        # Blanks and backslashes in a mount point are written as three octal digits.
        where = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point))
        found.append((str(where), kind))
    return found


def _status(found: os.stat_result) -> FileStatus:
    return FileStatus(found.st_size, min(found.st_mtime_ns, LATEST_MTIME_NS))
