"""Write an archive file whole or not at all, and find the one that is already there."""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from tvtasks.archive import writers
from tvtasks.archive.identity import archive_path, run_id
from tvtasks.archive.keeping import AS_USUAL, Keeping
from tvtasks.archive.layout import build
from tvtasks.archive.reading import load, summary
from tvtasks.archive.record import run_record, stored_arrays
from tvtasks.errors import ArchiveError
from tvtasks.micrograph import Micrograph
from tvtasks.recipe import Recipe
from tvtasks.restoration import Restoration

_PARTIAL = ".partial-"


def write(
    restoration: Restoration,
    directory: str | Path,
    *,
    context: Mapping[str, Any] | None = None,
    keeping: Keeping = AS_USUAL,
) -> Path:
    """Keep a restoration as a NeXus HDF5 file.

    The file appears under its name when it is on the disk and was read back without a fault. Where it is
    there already, the same work was done before: it is left as it is.

    Parameters
    ----------
    restoration
        What to keep.
    directory
        Where; it is made if it is missing.
    context
        Further provenance for the run record, safe for JSON (which flow run this was …).
    keeping
        How the images are packed, and what is known of the sample. The run_id does not depend on it.

    Returns
    -------
    Path
        The file, ``<name of the image>__<8 digits of its checksum>__<12 digits of the run_id>.nxs``.

    Raises
    ------
    ArchiveError
        If the file cannot be written, is not read back as it was written, or the name is taken by something
        else.
    ConfigurationError
        If the compression needs a package that is not installed.
    """
    path = archive_path(directory, restoration.micrograph, restoration.recipe)
    try:
        taken = path.exists()
    except OSError as error:
        raise _unwritable(path, error) from error
    if taken:
        return _same_work(path, restoration)
    arrays = stored_arrays(restoration)
    record = run_record(restoration, arrays, context or {}, keeping.sample)
    content = build(restoration, record, arrays, keeping.compression)
    partial = path.with_name(f".{path.name}{_PARTIAL}{writers.name()}-{uuid4().hex[:12]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        load(partial)
        partial.replace(path)
    except OSError as error:
        raise _unwritable(path, error, len(content)) from error
    except ArchiveError as error:
        raise ArchiveError(
            f"{path} could not be written: what was read back is not what was written ({error}) "
            "Check the disk or the network share."
        ) from error
    finally:
        with suppress(OSError):  # it is in use on Windows, or the share is gone: remove_partials gets it
            partial.unlink(missing_ok=True)
    _sync_directory(path.parent)
    return path


def find(directory: str | Path, micrograph: Micrograph, recipe: Recipe) -> Path | None:
    """Return the finished archive file of this work, None where there is none that can be read."""
    path = archive_path(directory, micrograph, recipe)
    try:
        return path if summary(path)["run_id"] == run_id(micrograph, recipe) else None
    except ArchiveError:
        return None


def remove_partials(directory: str | Path, older_than: timedelta) -> list[Path]:
    """Remove what writers that were killed left behind, and return it.

    What a process of this computer left that runs no more goes at once. What another computer writes, on a
    share, or a process that still runs, goes when it is older than `older_than`.
    """
    removed = []
    for partial in Path(directory).glob(f".*.nxs{_PARTIAL}*"):
        with suppress(OSError):  # its writer has just finished, or it may not be removed
            writer = partial.name.rpartition(_PARTIAL)[2].rpartition("-")[0]
            old = time.time() - partial.stat().st_mtime > older_than.total_seconds()
            if old or writers.is_gone(writer):
                partial.unlink()
                removed.append(partial)
    return removed


def _same_work(path: Path, restoration: Restoration) -> Path:
    try:
        found = summary(path)["run_id"]
    except ArchiveError as error:
        raise ArchiveError(f"{path} is in the way: {error} Move it away and try again.") from error
    if found != run_id(restoration.micrograph, restoration.recipe):
        raise ArchiveError(f"{path} is in the way: it belongs to another run. Move it away and try again.")
    return path


def _unwritable(path: Path, error: OSError, size: int | None = None) -> ArchiveError:
    needed = f" and has {size / 1e6:.1f} MB of space" if size else ""
    return ArchiveError(
        f"{path} cannot be written: {error.strerror or error}. "
        f"Check that {path.parent} is a folder that can be written to{needed}."
    )


def _sync_directory(directory: Path) -> None:
    """Make the new name survive a power failure, where directories can be synchronised (not on Windows)."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
