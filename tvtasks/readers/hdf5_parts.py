"""The other files that hold pixels of an HDF5 file: the sources of its virtual datasets.

Only files in its own folder, or below, are followed: a file that someone drops into a watched folder must not
make tvtasks read, and copy into the archive, a file from elsewhere.
"""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from tvtasks.errors import UnreadableFileError
from tvtasks.readers.isolated import Signal


def names(path: Path) -> list[Signal]:
    """Return, for `isolated.call`, the names of the sources of every virtual dataset in a file."""
    with h5py.File(path, "r", locking=False) as file:
        found: list[str] = []
        file.visititems(lambda _, item: found.extend(_sources(item)))
    return [Signal(np.zeros(1, np.uint8), {"names": list(dict.fromkeys(found))})]


def _sources(item: h5py.Group | h5py.Dataset) -> Iterator[str]:
    if isinstance(item, h5py.Dataset) and item.is_virtual:
        yield from (source.file_name for source in item.virtual_sources() if source.file_name != ".")


def place_of(name: str, path: Path) -> Path:
    """Return where a source of a virtual dataset in the file `path` is, whether it exists or not.

    Raises
    ------
    UnreadableFileError
        It is not in the folder of `path`, or below.
    """
    folder = path.parent.resolve()
    # HDF5 takes a relative name for one beside the file that names it.
    found = (folder / name).resolve()
    if not found.is_relative_to(folder):
        raise UnreadableFileError(
            f"{path} takes pixels from {name}, outside its own folder. tvtasks reads only what is in a "
            "watched folder: put the files together, or write a file that contains the image itself."
        )
    return found


def refuse_elsewhere(dataset: h5py.Dataset, file: h5py.File, path: Path) -> None:
    """Refuse a dataset whose pixels are in files that may not be followed.

    Raises
    ------
    UnreadableFileError
        It is in another file by an external link, in external raw files, or virtual with missing sources.
    """
    if dataset.file.filename != file.filename:
        raise UnreadableFileError(
            f"The image of {path} is a link to another file, {Path(dataset.file.filename).name}. "
            "Restore that file instead, or write a file that contains the image itself."
        )
    if dataset.external:
        raw = Path(dataset.external[0][0]).name
        raise UnreadableFileError(
            f"The pixels of {path} are in another file, {raw}, which has no format of its own. "
            "Write a file that contains the image itself."
        )
    for name in _sources(dataset):
        if not (part := place_of(name, path)).is_file():
            raise UnreadableFileError(
                f"{path} takes pixels from {part.name}, which does not exist. "
                "Copy that file into the same folder."
            )
