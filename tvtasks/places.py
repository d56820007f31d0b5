"""Archives that this process works on: each must stay the same folder until the work has ended.

A path is not enough. When a disk is unmounted, its mount point is an empty folder of the same name, and files
written there are hidden once the disk is back. So an archive has an id in a marker file. A process holds the
archive that it works on, and every writer then checks that the archive is still there.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tvtasks.errors import ArchiveAwayError, ArchiveError

MARKER = Path(".tvtasks", "archive.json")
"""Where an archive keeps its id."""


@dataclass
class _Held:
    folder: Path
    id: str
    device: tuple[int, int]
    holders: int = 1


_held: dict[str, _Held] = {}
_lock = threading.Lock()


def archive_id(folder: Path) -> str:
    """Return the id of an archive; empty if the folder is no archive or does not exist."""
    try:
        content = json.loads((folder / MARKER).read_text("utf-8"))
        return str(content["id"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


@contextmanager
def holding(folder: Path, expected: str = "") -> Iterator[str]:
    """Hold an archive, created if it does not exist; yield its id.

    While it is held, `check` refuses every path in it once its disk is unmounted, and accepts them again when
    the disk is back.

    Parameters
    ----------
    folder
        The archive.
    expected
        The id that the archive must have; empty for any.

    Raises
    ------
    ArchiveAwayError
        The archive has another id, or none.
    ArchiveError
        It cannot be created.
    """
    name = os.path.abspath(folder)
    with _lock:
        held = _held.get(name)
        if held:
            held.holders += 1
    if not held:
        held = _Held(folder, _identify(folder, expected), _device(folder))
        with _lock:
            _held[name] = held
    try:
        if expected and held.id != expected:
            raise _away(folder)
        yield held.id
    finally:
        with _lock:
            held.holders -= 1
            if not held.holders:
                _held.pop(name, None)


def check(path: Path) -> None:
    """Raise an error if a path is in an archive that this process holds and that is not there.

    This takes a few microseconds: the id is read only if the archive is on another device than before.

    Raises
    ------
    ArchiveAwayError
        The disk or the share of the archive is not connected.
    """
    if not _held:
        return
    name = os.path.abspath(path)
    for top, held in list(_held.items()):
        if name == top or name.startswith(top + os.sep):
            _check(held)


def is_held(folder: Path) -> bool:
    """Return whether this process holds an archive."""
    return os.path.abspath(folder) in _held


def _check(held: _Held) -> None:
    try:
        device = _device(held.folder)
    except OSError as error:
        raise _away(held.folder) from error
    if device != held.device:
        if archive_id(held.folder) != held.id:
            raise _away(held.folder) from OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        held.device = device  # it is back


def _device(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _identify(folder: Path, expected: str) -> str:
    """Return the id of an archive; give one to a folder that has none."""
    found = archive_id(folder)
    if found or expected:
        return found
    marker = folder / MARKER
    new = {"id": uuid4().hex}
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        # Two processes may start at once: the second takes the id of the first.
        draft = marker.with_name(f"{marker.name}.{new['id']}")
        draft.write_text(json.dumps(new), "utf-8")
        with suppress(FileExistsError):
            _move_if_free(draft, marker)
        draft.unlink(missing_ok=True)
    except OSError as error:
        raise ArchiveError(
            f"The archive folder {folder} cannot be created: {error.strerror or error}. "
            "Give a folder that you may write to."
        ) from error
    return archive_id(folder)


def _move_if_free(draft: Path, target: Path) -> None:
    """Move a file to a free name; raise FileExistsError if the name is taken."""
    try:
        os.link(draft, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if target.exists():
            raise FileExistsError(target) from None
        draft.replace(target)


def _away(folder: Path) -> ArchiveAwayError:
    return ArchiveAwayError(
        f"The archive {folder} is not there: its disk or share is not connected. Connect it again; the work "
        "continues by itself."
    )
