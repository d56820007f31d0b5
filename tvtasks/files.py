"""Write files that appear whole: they are written beside their place, synchronised and moved there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from tvtasks import places, writers
from tvtasks.errors import ArchiveError, ConfigurationError

PARTIAL = ".partial-"
"""What follows the name of an unfinished file, before the name of its writer."""


def refuse_taken(path: Path, *, overwrite: bool) -> None:
    """Raise a ConfigurationError if a file is in the way."""
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder. Give the name of a file.")
    if not overwrite and path.exists():
        raise ConfigurationError(f"{path} exists already. Give another name, or add --overwrite.")


@contextmanager
def whole(
    path: Path,
    *,
    overwrite: bool = True,
    check: Callable[[Path], object] | None = None,
    size: int = 0,
    sync: bool = True,
) -> Iterator[Path]:
    """Provide a path beside `path` to write to, and move the file from there to `path` at the end.

    After an error nothing is left behind, and a file that was at `path` is unchanged. Missing folders are
    created.

    Parameters
    ----------
    path
        The file.
    overwrite
        Whether it may replace another file.
    check
        Called with the path beside it when the content is on the disk; an exception stops the move.
    size
        Bytes that will be written, for the error message.
    sync
        Whether the file must survive a power failure; without, it is written faster.

    Yields
    ------
    Path
        Where to write.

    Raises
    ------
    ConfigurationError
        `path` exists and must not be replaced.
    ArchiveError
        The file cannot be written.
    """
    places.check(path)
    refuse_taken(path, overwrite=overwrite)
    partial = path.with_name(f".{path.name}{PARTIAL}{writers.name()}-{uuid4().hex[:12]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if sync:
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
        if check:
            check(partial)
        places.check(path)
        partial.replace(path)
        places.check(path)
    except OSError as error:
        needed = f", that it has {size / 1e6:.1f} MB of free space" if size else ""
        raise ArchiveError(
            f"{path} cannot be written: {error.strerror or error}. Check that you may write to the folder "
            f"{path.parent}{needed}, and that no other program has the file open."
        ) from error
    finally:
        with suppress(OSError):  # on Windows it may be in use, or the share may be gone
            partial.unlink(missing_ok=True)
    if sync:
        _sync_folder(path.parent)


def write_whole(
    path: Path,
    content: bytes,
    *,
    overwrite: bool = True,
    check: Callable[[Path], object] | None = None,
    sync: bool = True,
) -> None:
    """Write a file that never appears half finished; the parameters are those of `whole`."""
    with whole(path, overwrite=overwrite, check=check, size=len(content), sync=sync) as partial:
        partial.write_bytes(content)


def _sync_folder(folder: Path) -> None:
    """Make a new name survive a power failure, where folders can be synchronised (not on Windows)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
