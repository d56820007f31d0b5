"""The log of a watch: ``ARCHIVE/.tvtasks/log/tvtasks.log``, one line for each file and for each problem."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from tvtasks.archive.folder import log_path
from tvtasks.errors import ArchiveError
from tvtasks.listener import Listener
from tvtasks.outcome import Change
from tvtasks.words import in_a_line, visible

SIZE, FILES = 2_000_000, 5
"""Bytes in one log file, and the number of log files: room for about 100,000 restored images."""

_OURS = ("tvtasks", "flows")


class _Line(logging.Formatter):
    """A message in one line, and a traceback below it; someone may read the log on a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that logging calls
        record.message = in_a_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return visible(super().formatException(ei))


_LINE = _Line("{asctime}  {levelname:<7}  {message}", "%Y-%m-%d %H:%M:%S%z", style="{")
_GOOD = {"done", "overwritten"}

logger = logging.getLogger(__name__)


@contextmanager
def logging_to(archive: Path) -> Iterator[None]:
    """Write the log messages of tvtasks, and of no other package, to the log of an archive.

    Only one process may do so: Windows cannot rename a file that another process holds open.

    Raises
    ------
    ArchiveError
        The log cannot be opened.
    """
    path = log_path(archive)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _PatientHandler(
            path, maxBytes=SIZE, backupCount=FILES - 1, encoding="utf-8", errors="backslashreplace"
        )
    except OSError as error:
        raise ArchiveError(
            f"The log {path} cannot be written: {error.strerror or error}. Check that you may write to its "
            "folder."
        ) from error
    handler.setFormatter(_LINE)
    before = [(logging.getLogger(name), logging.getLogger(name).level) for name in _OURS]
    for ours, _ in before:
        ours.setLevel(logging.INFO)
        ours.addHandler(handler)
    try:
        yield
    finally:
        for ours, level in before:
            ours.removeHandler(handler)
            ours.setLevel(level)
        handler.close()


class ChangeLog(Listener):
    """Logs the final state of each file of a watched folder; states on the way get no line.

    Parameters
    ----------
    folder
        The watched folder, without symbolic links.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def changed(self, change: Change) -> None:
        """Log the change if it is final."""
        if not change.is_final:
            return
        path, seconds = change.path, change.seconds
        parts = [
            str(path.relative_to(self._folder) if path.is_relative_to(self._folder) else path),
            str(change.state),
            change.recipe,
            change.gap and f"gap {change.gap}",
            f"{seconds} s" if seconds[:1].isdigit() else seconds,
            ", ".join(outcome.archive.name for outcome in change.outcomes if outcome.archive),
            change.reason,
            *change.notes,
        ]
        # One line for one file: on some systems a name may contain a line break.
        line = " ".join("  ".join(part for part in parts if part).splitlines())
        logger.log(logging.INFO if change.state in _GOOD else logging.WARNING, "%s", line)


class _PatientHandler(RotatingFileHandler):
    """Survives a full disk or a share that drops out: it loses lines during that time, and nothing else."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging calls
        # The handle may stay dead after a share has come back: the next line opens the file again.
        stream, self.stream = self.stream, None
        try:
            if stream:
                stream.close()
        except (OSError, ValueError):
            return
