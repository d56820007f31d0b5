"""HDF5 and NeXus: the default plot of the file, or the only image in it."""

import re
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Micrograph, Source
from tvtasks.readers import isolated
from tvtasks.readers.metadata import json_safe
from tvtasks.readers.pixels import require_plausible, split
from tvtasks.readers.reader import Reader
from tvtasks.readers.units import metres, pixel_size

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SIGNATURE_OFFSETS = (0, 512, 1024, 2048)  # after a user block, which HDF5 skips


def _matches(head: bytes) -> bool:
    return any(head[at : at + len(_SIGNATURE)] == _SIGNATURE for at in _SIGNATURE_OFFSETS)


def _unfinished(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(4096)
    if not _matches(head):
        return "its header is cut short" if _SIGNATURE.startswith(head) else None
    try:
        with h5py.File(path, "r"):
            return None
    except BlockingIOError:
        return "another program is writing to it"
    except (OSError, RuntimeError) as error:
        message = str(error)
    if "already open for write" in message:
        return "the program that writes it has not closed it yet"
    if ends := re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", message):
        return f"it ends after {ends[1]} of {ends[2]} bytes"
    return f"HDF5 cannot open it ({message})"


def _read(path: Path, source: Source) -> list[Micrograph]:
    # In a child process: with some damaged files HDF5 hangs, which would block all other files.
    (signal,) = isolated.call("tvtasks.readers.hdf5:load", path)
    about = dict(signal.about)
    frames, notes = split(signal.data, path)
    if about["pixel_size"] is not None:
        about["pixel_size"] = tuple(about["pixel_size"])
    if about["acquired_at"] is not None:
        about["acquired_at"] = datetime.fromisoformat(about["acquired_at"])
    about["notes"] = (*notes, *about["notes"])
    reader = ("h5py", h5py.__version__)
    return [
        Micrograph(data, frame=number, source=source, reader=reader, **about)
        for number, data in enumerate(frames)
    ]


def load(path: Path) -> list[isolated.Signal]:
    """Return the image or stack of a file, and what `Micrograph` needs with it."""
    with h5py.File(path, "r") as file:
        if file.attrs.get("creator") == "tvtasks":
            raise UnreadableFileError(
                f"{path} is a result of tvtasks and not an image of a microscope. To restore its raw image "
                "again, use tvtasks rerun."
            )
        signal = _image(file, path)
        group = signal.parent
        size, notes = _pixel_size(group, signal)
        require_plausible(signal.nbytes, path)
        if signal.dtype.kind not in "buifc":
            raise UnreadableFileError(
                f"{path} contains values of type {signal.dtype}, not numbers. Export the image itself."
            )
        acquired_at = _acquired_at(group)
        about = {
            "units": _text(signal.attrs.get("units")),
            "channel": _text(signal.attrs.get("long_name")) or signal.name.rpartition("/")[2],
            "pixel_size": size,
            "acquired_at": acquired_at and acquired_at.isoformat(),
            "vendor_metadata": {item.name: _attributes(item) for item in (file, group, signal) if item.attrs},
            "notes": notes,
        }
        return [isolated.Signal(signal[()], about)]


def _image(file: h5py.File, path: Path) -> h5py.Dataset:
    """Return the default dataset of the file, otherwise the only one that can be an image."""
    default = _follow_default(file)
    if default is not None:
        return default
    plots: list[h5py.Dataset] = []
    images: list[h5py.Dataset] = []
    for item in _items(file):
        if isinstance(item, h5py.Group) and (signal := _signal(item)) is not None and signal.ndim >= 2:
            plots.append(signal)
        elif isinstance(item, h5py.Dataset) and item.ndim in {2, 3} and item.dtype.kind in "buifc":
            images.append(item)
    found = plots or images
    if not found:
        raise UnreadableFileError(
            f"{path} contains no image: it has no dataset of numbers with two or three dimensions. "
            "Check that this is the right file."
        )
    if len(found) > 1:
        names = ", ".join(item.name for item in found[:10]) + (" …" if len(found) > 10 else "")
        raise UnreadableFileError(
            f"{path} contains {len(found)} datasets that could be the image ({names}). Select one with the "
            "NeXus attributes default and signal, or write a file that contains only the image."
        )
    return found[0]


def _items(file: h5py.File) -> list[h5py.Group | h5py.Dataset]:
    items: list[h5py.Group | h5py.Dataset] = []
    file.visititems(lambda _, item: items.append(item))
    return items


def _follow_default(file: h5py.File) -> h5py.Dataset | None:
    """Follow @default from the root to the signal of an NXdata group; None if the chain breaks."""
    item: Any = file
    visited = set()
    while isinstance(item, h5py.Group) and item.id not in visited:
        visited.add(item.id)
        if (signal := _signal(item)) is not None:
            return signal
        name = _text(item.attrs.get("default"))
        item = item.get(name) if name else None
    return item if isinstance(item, h5py.Dataset) else None


def _signal(group: h5py.Group) -> h5py.Dataset | None:
    """Return the dataset that an NXdata group plots."""
    name = _text(group.attrs.get("signal"))
    if name:
        item = group.get(name)
        return item if isinstance(item, h5py.Dataset) else None
    for key in group:  # until 2014 NeXus marked the dataset instead of the group
        item = group.get(key)
        if isinstance(item, h5py.Dataset) and _text(item.attrs.get("signal")) == "1":
            return item
    return None


def _pixel_size(
    group: h5py.Group, signal: h5py.Dataset
) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Return (dy, dx) in m if the last two axes are evenly spaced lengths, and notes."""
    names = _axis_names(group, signal)
    if len(names) != signal.ndim:
        return None, ()
    steps = []
    for name, pixels in zip(names[-2:], signal.shape[-2:], strict=True):
        axis = group.get(name) if name not in {"", "."} else None
        if not isinstance(axis, h5py.Dataset) or axis.ndim != 1 or axis.dtype.kind not in "uif":
            return None, ()
        positions = axis[()].astype(np.float64)
        if len(positions) not in {pixels, pixels + 1} or len(positions) < 2:  # pixel centres or edges
            return None, ()
        step = (positions[-1] - positions[0]) / (len(positions) - 1)
        if not np.allclose(np.diff(positions), step, rtol=1e-3, atol=0.0):
            return None, (f"The axis {name} is not evenly spaced; the image has no pixel size.",)
        unit = _text(axis.attrs.get("units"))
        factor = metres(unit)
        if factor is None:
            return None, (f"The unit of axis {name} is '{unit}', not a length; the image has no pixel size.",)
        steps.append(abs(step) * factor)
    return pixel_size(*steps), ()


def _axis_names(group: h5py.Group, signal: h5py.Dataset) -> list[str]:
    axes = group.attrs.get("axes", signal.attrs.get("axes"))
    if isinstance(axes, np.ndarray) and axes.ndim:
        return [_text(name) for name in axes]
    return [name.strip() for name in re.split("[:,]", _text(axes).strip("[]"))]


def _acquired_at(group: h5py.Group) -> datetime | None:
    """Return the start_time of the entry that contains `group`."""
    while True:
        start = group.get("start_time")
        if isinstance(start, h5py.Dataset) and start.size == 1:
            with suppress(ValueError):
                return datetime.fromisoformat(_text(start[()]))
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


def _text(value: object) -> str:
    """Return an attribute or a scalar as text; HDF5 has four ways to store a string."""
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0] if value.size == 1 else ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)


READER = Reader("an HDF5 file", _matches, _read, _unfinished)
