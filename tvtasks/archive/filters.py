"""How HDF5 compresses arrays: by a filter that every HDF5 has, or by a faster one that few have."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from tvtasks.errors import ArchiveError, ConfigurationError

if TYPE_CHECKING:
    import h5py

Compression = Literal["gzip", "lz4", "zstd", "none"]
"""Every HDF5 program reads ``gzip``; ``lz4`` and ``zstd`` (bitshuffled) need hdf5plugin to be read; ``none``
is fast and large.
"""

_INSTALL = "pip install tvtasks[fast]"


class MissingFilterError(ArchiveError):
    """A file is intact, but a filter that it needs is not installed here."""


def options(compression: Compression) -> dict[str, Any]:
    """Return the h5py options for a compression.

    Raises
    ------
    ConfigurationError
        There is no such compression, or it needs hdf5plugin, which is not installed.

    Examples
    --------
    >>> options("none")
    {'fletcher32': True}
    """
    if compression not in get_args(Compression):
        known = ", ".join(get_args(Compression))
        raise ConfigurationError(f"There is no compression {compression!r}. Use one of {known}.")
    if compression == "none":
        return {"fletcher32": True}
    if compression == "gzip":  # level 4: nearly the smallest size in half the time
        return {"compression": "gzip", "compression_opts": 4, "shuffle": True, "fletcher32": True}
    try:
        plugin = import_module("hdf5plugin")
    except ImportError:
        raise ConfigurationError(
            f"Compression {compression} needs the package hdf5plugin. Install it ({_INSTALL}), or use gzip."
        ) from None
    return {"compression": plugin.Bitshuffle(cname=compression), "fletcher32": True}


def have_filters(dataset: h5py.Dataset, path: Path) -> None:
    """Load the filters that a dataset needs.

    Raises
    ------
    MissingFilterError
        A filter is not installed; the file is not damaged.
    """
    import h5py  # noqa: PLC0415 - the command line only needs the names

    properties = dataset.id.get_create_plist()
    numbers = [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
    if all(map(h5py.h5z.filter_avail, numbers)):
        return
    try:
        import_module("hdf5plugin")  # importing it registers the filters
    except ImportError:
        raise MissingFilterError(
            f"{path} is compressed by a filter that this HDF5 does not have. Install it: {_INSTALL}."
        ) from None
    lacking = [number for number in numbers if not h5py.h5z.filter_avail(number)]
    if lacking:
        raise MissingFilterError(
            f"{path}: {dataset.name} needs an unknown filter (number {lacking[0]}). Unless the file is "
            "damaged, a later version of hdf5plugin may have it."
        )
