"""Choose the reader of a file: by the ending of its name, then by its content.

The endings are listed here and in the entry points of other packages, not in the modules of the formats. So
searching a folder for images imports none of them, nor h5py, tifffile or Pillow.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from itertools import chain
from pathlib import Path

from tvtasks.errors import UnreadableFileError
from tvtasks.readers.reader import Reader

ENTRY_POINTS = "tvtasks.readers"
"""The group of entry points by which another package registers its readers, one per ending."""

# A module of this package (with the name of the reader if it is not READER), and the endings of its files'
# names in lower case. If two share an ending, or if a name reveals nothing, earlier ones are asked first.
_BUILT_IN = {
    "tiff": (".tif", ".tiff", ".btf", ".tf8"),
    "pictures": (".png", ".bmp", ".jpg", ".jpeg"),
    "hdf5": (".nxs", ".h5", ".hdf5", ".hdf"),
    "npy": (".npy",),
    "em:DIGITAL_MICROGRAPH": (".dm3", ".dm4"),
    "em:EMD": (".emd",),
    "em:SER": (".ser",),
    "em:MRC": (".mrc", ".mrcs", ".ali"),
    "em:JEOL": (".img",),
    "em:EMI": (),
    "npz": (".npz",),
    "nanonis": (".sxm",),
    "gwyddion": (".gwy",),
    "gsf": (".gsf",),
    "igor": (".ibw",),
    "matrix": ("_mtrx",),
    "converter": (".dat", ".spm", ".jpk", ".jpk-qi-image", ".top", ".stp", ".sur", ".nid", ".sm4", ".mdt"),
    "spiepy": (".dat",),
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Registered:
    """A reader that may not have been imported yet: its place and its package."""

    place: str
    package: str


@cache
def _registered() -> dict[_Registered, tuple[str, ...]]:
    """Return all readers with their endings; those of other packages come before our own."""
    found: dict[_Registered, tuple[str, ...]] = {}
    for point in metadata.entry_points(group=ENTRY_POINTS):
        reader = _Registered(point.value, point.dist.name if point.dist else point.value)
        found[reader] = (*found.get(reader, ()), point.name.lower())
    for place, known in _BUILT_IN.items():
        module, _, name = place.partition(":")
        found[_Registered(f"{__package__}.{module}:{name or 'READER'}", "tvtasks")] = known
    return found


@cache
def endings() -> frozenset[str]:
    """Return the endings, in lower case, of the names of files that may contain an image."""
    return frozenset(ending for known in _registered().values() for ending in known)


def ending_of(path: Path) -> str | None:
    """Return the longest known ending of a file's name, in lower case; None if there is none."""
    name = path.name.lower()
    return max((ending for ending in endings() if name.endswith(ending)), key=len, default=None)


def reader_for(path: Path, head: bytes) -> Reader | None:
    """Return the reader whose format `head` matches, otherwise the one for the name, otherwise None.

    Raises
    ------
    UnreadableFileError
        Another package's reader for files of this name cannot be loaded.
    """
    ending = ending_of(path)
    by_name = [reader for reader, known in _registered().items() if ending in known]
    named = []
    for registered in by_name:
        try:
            named.append(_load(registered))
        except Exception as error:  # other packages may raise any error
            raise UnreadableFileError(
                f"The package {registered.package}, which reads files like {path}, cannot be loaded: "
                f"{error}. Repair that package, or remove it: pip uninstall {registered.package}"
            ) from error
    # Usually one of these matches, and no other module is imported.
    for reader in chain(named, _others(by_name)):
        if reader.matches(head):
            return reader
    return named[0] if named else None


def _others(asked: list[_Registered]) -> Iterator[Reader]:
    """Yield the readers that were not asked yet; a broken one affects only files named as its own."""
    for registered in _registered():
        if registered not in asked:
            try:
                yield _load(registered)
            except Exception as error:
                logger.warning("The reader of %s cannot be loaded: %s", registered.package, error)


@cache
def _load(registered: _Registered) -> Reader:
    module, _, name = registered.place.partition(":")
    reader = getattr(import_module(module.strip()), name.strip())
    if not isinstance(reader, Reader):
        raise TypeError(f"{registered.place} is not a tvtasks.readers.Reader")
    return reader
