"""HDF5 and NeXus: opened without locks, in a process of its own."""

import os
import re
import sys
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Image, Micrograph, Position, Source
from tvtasks.readers import isolated
from tvtasks.readers.directions import direction_of, undirected
from tvtasks.readers.hdf5_images import Plot, calibration, find, is_delmic, scanning_probe, text
from tvtasks.readers.hdf5_parts import place_of, refuse_elsewhere
from tvtasks.readers.metadata import json_safe
from tvtasks.readers.pixels import grey, require_plausible, split
from tvtasks.readers.quantities import in_si, quantity
from tvtasks.readers.reader import Reader
from tvtasks.readers.units import to_si

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SIGNATURE_OFFSETS = (0, 512, 1024, 2048)  # after a user block, which HDF5 skips
_LOCKS = Path("/proc/locks")
_LOOK_SECONDS = 5.0


def _matches(head: bytes) -> bool:
    return any(head[at : at + len(_SIGNATURE)] == _SIGNATURE for at in _SIGNATURE_OFFSETS)


def _unfinished(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(4096)
    if not _matches(head):
        return "its header is cut short" if _SIGNATURE.startswith(head) else None
    return "another program is writing to it" if _is_locked(path) else _why_not_open(path)


def _why_not_open(path: Path) -> str | None:
    """Return why HDF5 cannot open a file, in words; None if it can."""
    try:
        # A lock of ours would make the program that writes it fail.
        with h5py.File(path, "r", locking=False):
            return None
    except (OSError, RuntimeError) as error:
        message = str(error)
    if "locking flag" in message:  # this process has it open: it is a result in the archive
        return None
    if "already open for write" in message:
        return "the program that writes it has not closed it yet"
    if ends := re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", message):
        return f"it ends after {ends[1]} of {ends[2]} bytes"
    return f"HDF5 cannot open it ({message})"


def _is_locked(path: Path) -> bool:
    """Return whether a program on this computer has locked a file for writing, where the system tells.

    To ask by locking it would disturb that program. Linux lists the locks; elsewhere the monitor's wait for
    silence has to do.
    """
    if sys.platform != "linux":
        return False
    try:
        locks = _LOCKS.read_text()
    except OSError:
        return False
    status = path.stat()
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    return any(place in words and "WRITE" in words for words in map(str.split, locks.splitlines()))


def _read(path: Path, source: Source) -> list[Micrograph]:
    # In a child process: with some damaged files HDF5 hangs, which would block all other files.
    signals = isolated.call("tvtasks.readers.hdf5:load", path)
    micrographs: list[Micrograph] = []
    for signal in signals:
        about = dict(signal.about)
        about["pixel_size"] = about["pixel_size"] and tuple(about["pixel_size"])
        about["position"] = about["position"] and Position(*about["position"])
        if about["acquired_at"] is not None:
            about["acquired_at"] = datetime.fromisoformat(about["acquired_at"])
        frames, notes = split(signal.data, path)
        about["notes"] = (*notes, *about["notes"])
        reader = ("h5py", h5py.__version__)
        micrographs += [
            Micrograph(data, frame=number, source=source, reader=reader, **about)
            for number, data in enumerate(frames)
        ]
    return micrographs


def load(path: Path) -> list[isolated.Signal]:
    """Return the images or stacks of a file, and what `Micrograph` needs with them."""
    with h5py.File(path, "r", locking=False) as file:
        if file.attrs.get("creator") == "tvtasks":
            raise UnreadableFileError(
                f"{path} is a result of tvtasks and not an image of a microscope. To restore its raw image "
                "again, use tvtasks rerun."
            )
        plots, notes = find(file, path)
        technique = scanning_probe(file)
        for plot in plots:
            refuse_elsewhere(plot.data, file, path)
            require_plausible(plot.data.nbytes, path)
            _require_filters(plot.data, path)
        return [_signal(file, plot, technique, notes) for plot in plots]


def _require_filters(data: h5py.Dataset, path: Path) -> None:
    """Refuse a dataset that is compressed in a way that needs another package; it is not damaged."""
    properties = data.id.get_create_plist()
    numbers = [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
    if all(map(h5py.h5z.filter_avail, numbers)):
        return
    with suppress(ImportError):
        import_module("hdf5plugin")  # importing it registers its filters
    if lacking := [number for number in numbers if not h5py.h5z.filter_avail(number)]:
        raise UnreadableFileError(
            f"{path} is compressed by a filter that this HDF5 does not have (number {lacking[0]}). "
            "Install more: pip install 'tvtasks[fast]'"
        )


def _signal(file: h5py.File, plot: Plot, technique: str, notes: tuple[str, ...]) -> isolated.Signal:
    data, colour_notes = _pixels(plot)
    where = calibration(plot)
    unit = text(plot.data.attrs.get("units"))
    about: dict[str, Any] = {
        "channel": text(plot.data.attrs.get("long_name")) or plot.name.rpartition("/")[2],
        "pixel_size": where.pixel_size,
        "position": where.position,
        "acquired_at": _acquired_at(plot.group),
        "vendor_metadata": {
            item.name: _attributes(item) for item in (file, plot.group, plot.data) if item.attrs
        },
        "notes": (*colour_notes, *where.notes, *notes),
    }
    if technique:
        data, unit = in_si(data, unit)
        name = plot.group.name.rpartition("/")[2]
        about |= {
            "channel": name,
            "direction": direction_of(name),
            "quantity": quantity(undirected(name), unit),
            "technique": technique,
        }
    elif is_delmic(plot):
        about |= _delmic(plot)
    elif (known := to_si(unit)) is not None and known[0] == 1.0:
        unit = known[1]
    return isolated.Signal(data, about | {"units": unit})


def _pixels(plot: Plot) -> tuple[Image, tuple[str, ...]]:
    """Return the values of a plot without colour and without axes of length 1, and notes."""
    data: Image = plot.data[()]
    notes: tuple[str, ...] = ()
    if (samples := plot.samples) is not None:
        data, note = grey(np.moveaxis(data, samples, -1)[..., :3])
        notes = (note,)
    stacked = tuple(size for size in data.shape[:-2] if size != 1)
    return data.reshape(*stacked, *data.shape[-2:]), notes


def _delmic(plot: Plot) -> dict[str, Any]:
    """Return what Delmic's Odemis writes beside an image."""
    about = {"quantity": "intensity"}
    title = plot.data.parent.parent.get("PhysicalData/Title")
    if isinstance(title, h5py.Dataset):
        about["channel"] = text(title[()])
        if "secondary electron" in about["channel"].lower():
            about["technique"] = "SEM"
    return about


def _acquired_at(group: h5py.Group) -> str | None:
    """Return the start_time of the entry that contains `group`, in ISO 8601."""
    while True:
        start = group.get("start_time")
        if isinstance(start, h5py.Dataset) and start.size == 1:
            with suppress(ValueError):
                return datetime.fromisoformat(text(start[()])).isoformat()
        if group.name == "/":
            return None
        group = group.parent


def _attributes(item: h5py.Group | h5py.Dataset) -> dict[str, Any]:
    # The omitted attributes are HDF5's own records of dimension scales, which mean nothing outside the file.
    return {
        name: json_safe(value)
        for name, value in item.attrs.items()
        if name not in {"DIMENSION_LIST", "REFERENCE_LIST", "CLASS"}
    }


def _parts(path: Path) -> tuple[Path, ...]:
    """Return the files that hold pixels of a file, whether they exist or not."""
    status = path.stat()
    found = []
    for name in _part_names(path, status.st_size, status.st_mtime_ns):
        with suppress(UnreadableFileError):  # `read` refuses the file
            found.append(place_of(name, path))
    return tuple(found)


@lru_cache(maxsize=64)
def _part_names(path: Path, size: int, mtime_ns: int) -> tuple[str, ...]:
    try:
        (signal,) = isolated.look("tvtasks.readers.hdf5_parts:names", path, seconds=_LOOK_SECONDS)
    except (RuntimeError, UnreadableFileError):  # `read` describes the fault
        return ()
    return tuple(signal.about["names"])


READER = Reader("an HDF5 file", _matches, _read, _unfinished, parts=_parts)
