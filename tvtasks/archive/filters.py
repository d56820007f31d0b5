"""How HDF5 packs the pixels of an image: by a filter that every HDF5 has, or by a faster one few have."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from tvtasks.errors import ArchiveError, ConfigurationError

if TYPE_CHECKING:
    import h5py

Compression = Literal["gzip", "lz4", "zstd", "none"]
"""``gzip`` is read by every HDF5 program; ``lz4`` and ``zstd`` (bitshuffled) need hdf5plugin wherever the
file is read; ``none`` is quick and large."""

_INSTALL = "pip install tvtasks[fast]"


class MissingFilterError(ArchiveError):
    """A file that is whole, and packed by a filter that is not installed here."""


def options(compression: Compression) -> dict[str, Any]:
    """Return what h5py is to be told for packing an image.

    Raises
    ------
    ConfigurationError
        There is no such way, or hdf5plugin is needed for it and not installed.
    """
    if compression not in get_args(Compression):
        ways = ", ".join(get_args(Compression))
        raise ConfigurationError(f"There is no compression {compression!r}. Use one of {ways}.")
    if compression == "none":
        return {"fletcher32": True}
    if compression == "gzip":  # level 4: nearly the smallest, in half the time
        return {"compression": "gzip", "compression_opts": 4, "shuffle": True, "fletcher32": True}
    try:
        plugin = import_module("hdf5plugin")
    except ImportError:
        raise ConfigurationError(
            f"Compression by {compression} needs the package hdf5plugin: {_INSTALL}. Or use gzip."
        ) from None
    return {"compression": plugin.Bitshuffle(cname=compression), "fletcher32": True}


def have_filters(dataset: h5py.Dataset, path: Path) -> None:
    """See to it that the filters of a dataset can be used.

    Raises
    ------
    MissingFilterError
        One is not there; the file is not damaged.
    """
    import h5py  # noqa: PLC0415 - the command line wants to know the ways alone

    properties = dataset.id.get_create_plist()
    numbers = [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
    if all(map(h5py.h5z.filter_avail, numbers)):
        return
    try:
        import_module("hdf5plugin")  # brings the filters along
    except ImportError:
        raise MissingFilterError(
            f"{path} is packed by a filter that this HDF5 does not have. Install it: {_INSTALL}."
        ) from None
    lacking = [number for number in numbers if not h5py.h5z.filter_avail(number)]
    if lacking:
        raise MissingFilterError(
            f"{path}: {dataset.name} names a filter that is not known (number {lacking[0]}). If the file is "
            "not damaged, a later version of hdf5plugin may have it."
        )
