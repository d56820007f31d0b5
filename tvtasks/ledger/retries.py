"""Retry policy: which failed work is retried, when and how often, and which is never retried."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from datetime import timedelta
from enum import Enum, auto
from pathlib import Path

from tvtasks.errors import (
    CancelledRunError,
    DeadlyFileError,
    RecipeError,
    TvtasksError,
    UnreadableFileError,
    UnusableImageError,
)

logger = logging.getLogger(__name__)

NEVER_RETRIED = (UnreadableFileError, UnusableImageError, RecipeError, DeadlyFileError)
"""Errors that quarantine a file at once, unless the system caused them."""

FIRST_DELAY = timedelta(seconds=10)
LONGEST_DELAY = timedelta(hours=1)
"""How long failed work waits: at first, and at most. The wait doubles with each failure."""

ATTEMPTS_AT_A_DEFECT = 3
"""Attempts after which tvtasks gives up on work that fails because of an error in tvtasks itself. Work that
was interrupted by a kill this many times is put off."""


class Retry(Enum):
    """Whether and how often failed work is retried."""

    NEVER = auto()
    """The file itself is at fault."""
    AT_NEXT_START = auto()
    """Someone cancelled the work."""
    FOR_EVER = auto()
    """The cause heals: a full disk, a locked file, a share or a server that is gone for a while."""
    A_FEW_TIMES = auto()
    """An error in tvtasks itself."""


def retry_after(error: BaseException) -> Retry:
    """Return whether to retry work that ended with this error."""
    if is_passing(error):
        return Retry.FOR_EVER
    if isinstance(error, CancelledRunError):
        return Retry.AT_NEXT_START
    if isinstance(error, NEVER_RETRIED):
        return Retry.NEVER
    return Retry.FOR_EVER if isinstance(error, TvtasksError) else Retry.A_FEW_TIMES


def delay(failures: int) -> timedelta:
    """Return how long work waits after it has failed, given how many times in a row it failed before that."""
    # A month of failures as an exponent would overflow.
    doubled: timedelta = FIRST_DELAY * 2 ** min(failures, 20)
    return min(doubled, LONGEST_DELAY)


def is_passing(error: BaseException) -> bool:
    """Return whether the system caused an error (disk full, file locked, share gone, access denied).

    Libraries raise OSError for damaged files too: without a number, or with that of an invalid argument if an
    offset in the file points nowhere.
    """
    return any(
        isinstance(cause, OSError) and cause.errno not in {None, errno.EINVAL} for cause in _causes(error)
    )


def explain(path: Path, error: BaseException) -> str:
    """Return a sentence for the user: which file, what is wrong, and what to do."""
    if isinstance(error, TvtasksError):
        return str(error)
    if is_passing(error):
        return f"{path.name} could not be restored: {error}. tvtasks retries it by itself."
    return (
        f"{path.name}: an error in tvtasks itself ({type(error).__name__}: {error}). Other files are not "
        "affected; please report the error together with this file."
    )


def log_defect(path: Path, error: BaseException) -> None:
    """Log an error in tvtasks itself, with its traceback."""
    logger.error("%s could not be restored", path, exc_info=error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors that led to it."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        yield found
        seen.add(id(found))
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
