"""Retry policy: what is retried, when and how often, and what is never tried again."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from datetime import timedelta
from enum import Enum, auto
from pathlib import Path

from tvtasks.errors import (
    CancelledRunError,
    RecipeError,
    TvtasksError,
    UnreadableFileError,
    UnusableImageError,
)

logger = logging.getLogger(__name__)

NEVER_RETRIED = (UnreadableFileError, UnusableImageError, RecipeError, CancelledRunError)
"""Errors after which a file is quarantined at once, unless the system is behind them."""

FIRST_DELAY = timedelta(seconds=10)
LONGEST_DELAY = timedelta(hours=1)
"""How long failed work waits: at first, and, doubled each time, at most."""

ATTEMPTS_AT_A_DEFECT = 3
"""Attempts after which work that fails by an error in tvtasks itself is given up. Work during which the
process was killed so often is put off."""


class Retry(Enum):
    """Whether failed work is retried."""

    NEVER = auto()
    """The file itself is at fault."""
    FOR_EVER = auto()
    """The cause heals: a full disk, a locked file, a share or a server that is away."""
    A_FEW_TIMES = auto()
    """An error in tvtasks itself."""


def retry_after(error: BaseException) -> Retry:
    """Return whether work that ended with this error is retried."""
    if is_passing(error):
        return Retry.FOR_EVER
    if isinstance(error, NEVER_RETRIED):
        return Retry.NEVER
    return Retry.FOR_EVER if isinstance(error, TvtasksError) else Retry.A_FEW_TIMES


def delay(failures: int) -> timedelta:
    """Return how long work waits that has failed so many times in a row before."""
    # Two to the power of a month of failures is too much for a time.
    doubled: timedelta = FIRST_DELAY * 2 ** min(failures, 20)
    return min(doubled, LONGEST_DELAY)


def is_passing(error: BaseException) -> bool:
    """Return whether the system is behind an error, not the file: full, locked, away, not allowed.

    Libraries raise OSError for damaged files too, without a number, or with that of an invalid argument
    where an offset in the file leads nowhere.
    """
    return any(
        isinstance(cause, OSError) and cause.errno not in {None, errno.EINVAL} for cause in _causes(error)
    )


def explain(path: Path, error: BaseException) -> str:
    """Return what a user should read of an error: which file, what is wrong, and what to do."""
    if isinstance(error, TvtasksError):
        return str(error)
    if is_passing(error):
        return f"{path.name} could not be restored: {error}. tvtasks retries it by itself."
    return (
        f"{path.name}: an error in tvtasks itself ({type(error).__name__}: {error}). The other files go on; "
        "please report it together with this file."
    )


def log_defect(path: Path, error: BaseException) -> None:
    """Log an error in tvtasks itself, with its traceback."""
    logger.error("%s could not be restored", path, exc_info=error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        yield found
        seen.add(id(found))
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
