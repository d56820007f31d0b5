"""Write an archive file whole or not at all, and find the one that is already there."""

import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

from tvtasks import writers
from tvtasks.archive.identity import Identity
from tvtasks.archive.keeping import AS_USUAL, Keeping
from tvtasks.archive.layout import build
from tvtasks.archive.reading import load, summary
from tvtasks.archive.record import run_record, stored_arrays
from tvtasks.errors import ArchiveError
from tvtasks.files import PARTIAL, write_whole
from tvtasks.restoration import Restoration


def write(
    restoration: Restoration,
    directory: str | Path,
    *,
    identity: Identity | None = None,
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
    identity
        Which run it is, where that is known already.
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
    identity = identity or Identity.of(restoration.micrograph, restoration.recipe)
    path = identity.path(directory)
    with suppress(OSError):  # where the folder cannot be reached, writing says so
        if path.exists():
            return _same_work(path, identity)
    arrays = stored_arrays(restoration)
    record = run_record(restoration, arrays, context or {}, identity, keeping.sample)

    def read_back(partial: Path) -> None:
        try:
            load(partial)
        except ArchiveError as error:
            raise ArchiveError(
                f"{path} could not be written: what was read back is not what was written ({error}) "
                "Check the disk or the network share."
            ) from error

    write_whole(path, build(restoration, record, arrays, keeping.compression), check=read_back)
    return path


def find(directory: str | Path, identity: Identity) -> Path | None:
    """Return the finished archive file of a run, None where there is none that can be read."""
    path = identity.path(directory)
    try:
        return path if summary(path)["run_id"] == identity.run_id else None
    except ArchiveError:
        return None


def remove_partials(directory: str | Path, older_than: timedelta) -> list[Path]:
    """Remove what writers that were killed left behind, and return it.

    What a process of this computer left that runs no more goes at once. What another computer writes, on a
    share, or a process that still runs, goes when it is older than `older_than`.
    """
    removed = []
    folder = Path(directory)
    for partial in chain.from_iterable(folder.glob(f".*{kind}{PARTIAL}*") for kind in (".nxs", ".png")):
        with suppress(OSError):  # its writer has just finished, or it may not be removed
            writer = partial.name.rpartition(PARTIAL)[2].rpartition("-")[0]
            old = time.time() - partial.stat().st_mtime > older_than.total_seconds()
            if old or writers.is_gone(writer):
                partial.unlink()
                removed.append(partial)
    return removed


def _same_work(path: Path, identity: Identity) -> Path:
    try:
        found = summary(path)["run_id"]
    except ArchiveError as error:
        raise ArchiveError(f"{path} is in the way: {error} Move it away and try again.") from error
    if found != identity.run_id:
        raise ArchiveError(f"{path} is in the way: it belongs to another run. Move it away and try again.")
    return path
