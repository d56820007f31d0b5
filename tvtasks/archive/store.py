"""Write a result completely or not at all, and find one that exists."""

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from itertools import chain, count
from pathlib import Path
from typing import Any

from tvtasks import places, writers
from tvtasks.archive.folder import damaged_folder
from tvtasks.archive.identity import Identity
from tvtasks.archive.layout import build
from tvtasks.archive.lean import lean, rounding_for
from tvtasks.archive.reading import load, summary
from tvtasks.archive.record import run_record
from tvtasks.archive.sealing import is_whole
from tvtasks.archive.seals import log_seal
from tvtasks.archive.storage import DEFAULT_STORAGE, Storage
from tvtasks.errors import ArchiveError
from tvtasks.files import PARTIAL, write_whole
from tvtasks.micrograph import file_sha256
from tvtasks.restoration import Restoration

logger = logging.getLogger(__name__)


def write(
    restoration: Restoration,
    directory: str | Path,
    *,
    identity: Identity | None = None,
    context: Mapping[str, Any] | None = None,
    storage: Storage = DEFAULT_STORAGE,
    preview: Path | None = None,
) -> Path:
    """Write a restoration as a NeXus HDF5 file.

    The file appears under its name once it is on the disk and was read back without a fault. If it exists
    already, the same work was done before, and the file is left as it is, unless it is damaged: then it is
    moved into ``.tvtasks/damaged`` first.

    Parameters
    ----------
    restoration
        What to write.
    directory
        The archive; it is created if missing.
    identity
        Which run it is, if that is known already.
    context
        Further provenance for the run record, safe for JSON (the flow run …).
    storage
        Compression, rounding and sample data. They do not influence the run_id.
    preview
        The picture beside it, whose checksum is stored.

    Returns
    -------
    Path
        The file, ``<name of the image>__<8 digits of its checksum>__<12 digits of the run_id>.nxs``.

    Raises
    ------
    ArchiveError
        The file cannot be written, is not read back as it was written, or its name is taken by something
        else.
    ConfigurationError
        The compression needs a package that is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from tvtasks import restore
    >>> result = restore(np.eye(8), "afm-background")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(result, folder).suffix
    '.nxs'
    """
    identity = identity or Identity.of(restoration.micrograph, restoration.recipe)
    path = identity.path(directory)
    if _is_there(path) and _is_same_work(path, identity):
        return path
    rounding = None if storage.exact else rounding_for(restoration)
    arrays, formulas = lean(restoration, rounding)
    picture = file_sha256(preview) if preview else None
    record = run_record(
        restoration,
        arrays,
        context or {},
        identity,
        storage.sample,
        picture,
        rounding,
        formulas,
        storage.session,
    )

    def read_back(partial: Path) -> None:
        try:
            load(partial)
        except ArchiveError as error:
            raise ArchiveError(
                f"{path} was not written correctly: reading it back failed ({error}) "
                "Check the disk or the network share."
            ) from error

    write_whole(path, build(restoration, record, arrays, storage.compression), check=read_back)
    log_seal(path)
    return path


def find(directory: str | Path, identity: Identity) -> Path | None:
    """Return the result of a run if it exists and is as it was written, otherwise None."""
    path = identity.path(directory)
    with suppress(ArchiveError, OSError):
        if is_whole(path) and summary(path)["run_id"] == identity.run_id:
            return path
    return None


def set_aside(path: Path) -> Path:
    """Move a damaged result into ``.tvtasks/damaged`` of its archive, and return where it is now.

    Raises
    ------
    ArchiveError
        It cannot be moved.
    """
    places.check(path)
    folder = damaged_folder(path.parent)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = chain([path.name], (f"{path.stem}.{number}{path.suffix}" for number in count(1)))
        target = next(folder / name for name in names if not (folder / name).exists())
        path.replace(target)
    except OSError as error:
        raise ArchiveError(
            f"{path} is damaged, but cannot be moved: {error.strerror or error}. Move it away; then tvtasks "
            "makes it again."
        ) from error
    logger.warning("%s is damaged; it is now %s, and its image is restored again.", path, target)
    return target


def remove_partials(directory: str | Path, older_than: timedelta) -> list[Path]:
    """Remove what killed writers left behind, and return it.

    Files of processes of this computer that have ended are removed at once. Files of a process that still
    runs, or of another computer on a share, are removed once they are older than `older_than`.
    """
    removed = []
    folder = Path(directory)
    for partial in chain.from_iterable(folder.glob(f".*{kind}{PARTIAL}*") for kind in (".nxs", ".png")):
        with suppress(OSError):  # its writer has just finished, or it must not be removed
            writer = partial.name.rpartition(PARTIAL)[2].rpartition("-")[0]
            old = time.time() - partial.stat().st_mtime > older_than.total_seconds()
            if old or writers.is_gone(writer):
                partial.unlink()
                removed.append(partial)
    return removed


def _is_there(path: Path) -> bool:
    """Return whether there is such a file; if its folder cannot be reached, the error comes from writing."""
    try:
        return path.exists()
    except OSError:
        return False


def _is_same_work(path: Path, identity: Identity) -> bool:
    """Return whether the result that is there is of this run; move a damaged one out of the way."""
    try:
        found = summary(path)["run_id"] if is_whole(path) else ""
    except ArchiveError:
        found = ""
    except OSError as error:
        raise ArchiveError(
            f"{path} is in the way and cannot be read ({error.strerror or error}). Move it away, then try "
            "again."
        ) from error
    if found and found != identity.run_id:
        raise ArchiveError(f"{path} is in the way: it belongs to another run. Move it away, then try again.")
    if not found:
        set_aside(path)
    return bool(found)
