"""The log of a watch: ARCHIVE/.tvtasks/log/tvtasks.log, one line for each file and for each problem."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path

from flows.acquire import Change
from flows.display import FINAL, figures, notes
from tvtasks.errors import ArchiveError

SIZE, FILES = 2_000_000, 5
"""Bytes of one file, and how many there are: about 100,000 restored images."""

_OURS = ("tvtasks", "flows")
_LINE = logging.Formatter("{asctime}  {levelname:<7}  {message}", "%Y-%m-%d %H:%M:%S%z", style="{")
_GOOD = {"done", "overwritten"}

logger = logging.getLogger(__name__)


def log_path(archive: Path) -> Path:
    """Where the log of an archive's watch lies."""
    return archive / ".tvtasks" / "log" / "tvtasks.log"


@contextmanager
def logging_to(archive: Path) -> Iterator[None]:
    """Write what tvtasks has to say, and nothing of other packages, to the log of an archive.

    Only one process may: on Windows a file that another one holds open cannot be renamed.

    Raises
    ------
    ArchiveError
        If the log cannot be begun.
    """
    path = log_path(archive)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _PatientHandler(
            path, maxBytes=SIZE, backupCount=FILES - 1, encoding="utf-8", errors="backslashreplace"
        )
    except OSError as error:
        raise ArchiveError(
            f"The log {path} cannot be written: {error.strerror or error}. Check who may write to its folder."
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


def log_change(change: Change, folder: Path) -> None:
    """Log how a file of a watched folder has ended; a state on the way to that is not worth a line."""
    if change.state not in FINAL:
        return
    gap, seconds = figures(change.outcomes)
    path = change.path
    parts = [
        str(path.relative_to(folder) if path.is_relative_to(folder) else path),
        str(change.state),
        change.recipe,
        gap and f"gap {gap}",
        seconds and (seconds if seconds == "before" else f"{seconds} s"),
        ", ".join(outcome.archive.name for outcome in change.outcomes),
        change.reason,
        *notes(change),
    ]
    # One line is one file: a name may hold a line break where the system allows it.
    line = " ".join("  ".join(part for part in parts if part).splitlines())
    logger.log(logging.INFO if change.state in _GOOD else logging.WARNING, "%s", line)


class _PatientHandler(RotatingFileHandler):
    """Survives a full disk and a share that goes: lines are lost meanwhile, and nothing else is."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging calls
        # The handle may be dead for good after a share has come back: the next line opens the file anew.
        stream, self.stream = self.stream, None
        try:
            if stream:
                stream.close()
        except (OSError, ValueError):
            return
