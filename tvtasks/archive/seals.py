"""The log of seals of an archive: a line for each result and picture that was written there.

The seal of a result does not protect it against someone who edits it and computes the seal again. The log
does: it holds the seal of each result as it was written. Lines are only ever added, and each contains the
checksum of the one before it, so a line that was changed, removed or inserted shows.

This proves that the archive has not changed since the last line was written, to whoever knows that line's
checksum (`SealLog.head`) from elsewhere. Someone who may write to the archive can replace the whole log.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from tvtasks import places
from tvtasks.archive.folder import seal_log_path
from tvtasks.archive.sealing import is_whole, read_seal
from tvtasks.errors import ArchiveAwayError
from tvtasks.filesystem import FileStatus, status_of

logger = logging.getLogger(__name__)

_TAIL = 8192  # bytes; a line has at most a quarter of that
_PATIENCE = 10.0  # seconds to wait for another writer
_unwritable: set[Path] = set()  # logs that cannot be written at present: one warning is enough
_FIRST = "0" * 64


@dataclass(frozen=True)
class LogLine:
    """A line of the log: what was written, and how it looked then.

    Attributes
    ----------
    name
        Name of the file in the archive.
    seal
        The seal of a result, or the SHA-256 of a picture.
    size, mtime_ns
        Bytes, and time of last change in nanoseconds.
    at
        When the line was written, ISO 8601, UTC.
    """

    name: str
    seal: str
    size: int
    mtime_ns: int
    at: str


@dataclass(frozen=True)
class SealLog:
    """The content of a log.

    Attributes
    ----------
    lines
        The lines of each file, oldest first, by its name: a file that was lost may have been made again.
    broken
        Numbers of the lines that do not follow from the line before: the log was changed there.
    torn
        Lines that are illegible, because the power failed while they were written.
    head
        The checksum of the last line.
    """

    lines: dict[str, list[LogLine]] = field(default_factory=dict)
    broken: tuple[int, ...] = ()
    torn: int = 0
    head: str = ""

    def holds(self, path: Path) -> bool:
        """Return whether a file has the size and time of last change with which it was written."""
        found = status_of(path)
        return any(found == FileStatus(line.size, line.mtime_ns) for line in self.lines.get(path.name, []))

    def is_intact(self, path: Path) -> bool:
        """Return whether a result is as it was written; read it only if it does not look so.

        A result that is not in the log must match its own seal.
        """
        return self.holds(path) or is_as_written(path, {line.seal for line in self.lines.get(path.name, [])})


def is_as_written(path: Path, seals: set[str]) -> bool:
    """Return whether a result matches its seal, and the seal is one of those; any is if there are none."""
    try:
        return is_whole(path) is True and (not seals or read_seal(path) in seals)
    except OSError:
        return False


def read_seals(archive: Path) -> SealLog:
    """Return the log of an archive; an empty one if there is none.

    Raises
    ------
    OSError
        It cannot be read.
    """
    try:
        content = seal_log_path(archive).read_bytes()
    except FileNotFoundError:
        return SealLog()
    lines: dict[str, list[LogLine]] = defaultdict(list)
    broken, torn, before = [], 0, _FIRST
    for number, text in enumerate(content.splitlines(), 1):
        try:
            found = json.loads(text)
            line = LogLine(
                found["name"], found["seal"], int(found["size"]), int(found["mtime_ns"]), found["at"]
            )
        except (ValueError, KeyError, TypeError):
            torn += 1
        else:
            lines[line.name].append(line)
            if found["before"] != before:
                broken.append(number)
        before = _checksum(text)
    return SealLog(dict(lines), tuple(broken), torn, before if content else "")


def log_seal(path: Path, seal: str = "") -> None:
    """Add a file to the log of its archive; do nothing in a folder that is no archive.

    The log is a witness and not the work: if it cannot be written (a full disk, a share without locks), a
    warning says so, and nothing else fails.

    Parameters
    ----------
    path
        The file.
    seal
        Its checksum; the seal of a result if not given.
    """
    log = seal_log_path(path.parent)
    if not log.parent.is_dir():
        return
    try:
        places.check(path)
        status = path.stat()
        line = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "name": path.name,
            "seal": seal or read_seal(path),
            "size": status.st_size,
            "mtime_ns": status.st_mtime_ns,
        }
        with FileLock(log.with_suffix(".lock"), timeout=_PATIENCE):
            _append(log, line)
    except ArchiveAwayError:
        raise
    except (OSError, NotImplementedError) as error:
        level = logging.DEBUG if log in _unwritable else logging.WARNING
        _unwritable.add(log)
        logger.log(level, "%s is not in the log of seals, which cannot be written: %s", path.name, error)
    else:
        _unwritable.discard(log)


def _append(log: Path, line: dict[str, object]) -> None:
    with log.open("ab+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL))
        tail = file.read()
        last = tail.splitlines()[-1:]
        line = line | {"before": _checksum(last[0]) if last else _FIRST}
        # The power may have failed in the middle of the last line.
        start = b"" if not tail or tail.endswith(b"\n") else b"\n"
        file.write(start + json.dumps(line, ensure_ascii=False).encode() + b"\n")


def _checksum(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
