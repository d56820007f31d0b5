"""Files for people: written beside their place and moved there whole, and only over what may be replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from tvtasks.errors import ArchiveError, ConfigurationError


def refuse_taken(path: Path, *, overwrite: bool) -> None:
    """Raise a ConfigurationError where a file is in the way."""
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder. Give the name of a file in it.")
    if not overwrite and path.exists():
        raise ConfigurationError(f"{path} is there already. Give another name, or --overwrite.")


@contextmanager
def whole(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Give a path beside `path` to write to, and move what was written there to `path` at the end.

    After an error nothing is left, and what was at `path` before is as it was. Missing folders are made.

    Raises
    ------
    ConfigurationError
        `path` is taken and may not be replaced.
    ArchiveError
        It cannot be written.
    """
    refuse_taken(path, overwrite=overwrite)
    partial = path.with_name(f".{path.name}.partial-{uuid4().hex}")  # as the archive's, which are tidied up
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise ArchiveError(
            f"{path} cannot be written: {error.strerror or error}. Check that {path.parent} is a folder that "
            "can be written to, and that no other program holds the file."
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes, *, overwrite: bool = True) -> None:
    """Write a file of which nobody ever meets half."""
    with whole(path, overwrite=overwrite) as partial:
        partial.write_bytes(content)
