"""Igor binary waves .ibw of Asylum Research microscopes: a stack of channels, with the lowest line first."""

import re
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Image, Micrograph, Position, Source
from tvtasks.readers.directions import direction_of
from tvtasks.readers.metadata import json_safe
from tvtasks.readers.pixels import require_plausible
from tvtasks.readers.quantities import believed_unit, numbered, quantity
from tvtasks.readers.reader import Reader, require_extra
from tvtasks.readers.units import pixel_size

# Version 5 is the one for images with several channels; see Igor's technical note 3.
_MAGICS = {"<": b"\x05\0", ">": b"\0\x05"}
_FIRST_HEADER_BYTES = 64
_HEADER_BYTES = 384
_SIDES_AT = 132
# Channels of Asylum's software and the units in which it stores them.
_UNITS = {
    "height": "m",
    "amplitude": "m",
    "deflection": "m",
    "phase": "deg",
    "current": "A",
    "frequency_shift": "Hz",
}


def _matches(head: bytes) -> bool:
    return _order(head) is not None


def _order(head: bytes) -> str | None:
    """Return the byte order of a version 5 wave, known by its header's checksum; None for other files."""
    for order, magic in _MAGICS.items():
        if head.startswith(magic) and len(head) >= _HEADER_BYTES:
            words = np.frombuffer(head[:_HEADER_BYTES], f"{order}u2")
            if int(words.sum(dtype=np.uint64)) % (1 << 16) == 0:
                return order
    return None


def _unfinished(path: Path) -> str | None:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    if head[:2] in _MAGICS.values() and len(head) < _HEADER_BYTES:
        return "its header is cut short"
    if not (order := _order(head)):
        return None
    # The sizes of the values and their header, then of formula, note and channel labels.
    sizes = np.frombuffer(head[4:_FIRST_HEADER_BYTES], f"{order}i4")
    expected = _FIRST_HEADER_BYTES + sum(int(number) for number in sizes[:13] if number > 0)
    return f"it ends after {size} of {expected} bytes" if size < expected else None


def _read(path: Path, source: Source) -> list[Micrograph]:
    require_extra("igor2", "spm", path)
    import igor2  # noqa: PLC0415
    from igor2 import binarywave  # noqa: PLC0415

    head = path.read_bytes()[:_HEADER_BYTES]
    sides = np.frombuffer(head[_SIDES_AT : _SIDES_AT + 16], f"{_order(head)}i4")
    require_plausible(int(np.prod(np.maximum(sides, 1).astype(float))) * 8, path)
    wave = binarywave.load(str(path))["wave"]
    values = np.asarray(wave["wData"])
    if values.ndim not in {2, 3} or values.dtype.kind not in "uif" or 0 in values.shape:
        raise UnreadableFileError(
            f"{path} contains no image: its data have {values.ndim} dimension(s) and are {values.dtype}. "
            "A curve cannot be restored as an image."
        )
    header, note = wave["wave_header"], _note(wave.get("note", b""))
    unit_x, unit_y = (_text(unit) for unit in header["dimUnits"][:2])
    if curves := _curves(values, wave.get("labels", ()), unit_x):
        raise UnreadableFileError(
            f"{path} contains curves ({curves}), not an image. A curve cannot be restored as an image."
        )
    values = values.reshape(*values.shape[:2], -1)
    dx, dy = (float(step) for step in header["sfA"][:2])
    common: dict[str, Any] = {
        "pixel_size": (size := pixel_size(abs(dy), abs(dx), unit_y, unit_x)),
        "position": _position(header, size, values.shape[1]),
        "technique": "AFM" if "ImagingMode" in note or "SpringConstant" in note else None,
        "acquired_at": _acquired_at(note),
        "source": source,
        "reader": ("igor2", igor2.__version__),
        "vendor_metadata": json_safe(note),
    }
    labels = [_text(label) for label in wave["labels"][2]][1:] if len(wave.get("labels", ())) > 2 else []
    micrographs = []
    for number in range(values.shape[2]):
        name = labels[number] if number < len(labels) else ""
        # Columns come first, and within them the lowest line.
        data = np.ascontiguousarray(values[:, ::-1, number].T)
        # Asylum's software writes the unit of the first channel for all.
        unit = _UNITS.get(quantity(name, "") or "", "") or _text(header.get("dataUnits", b""))
        unit, notes = believed_unit(data, unit, name)
        micrographs.append(
            Micrograph(
                data.astype(data.dtype.newbyteorder("=")),
                quantity=quantity(name, unit),
                units=unit,
                channel=name,
                direction=direction_of(name),
                notes=notes,
                **common,
            )
        )
    return numbered(micrographs)


def _position(header: Any, size: tuple[float, float] | None, lines: int) -> Position | None:
    """Return the position of the first pixel, which is the last in the wave along y."""
    if size is None:
        return None
    (dx, dy), (x, y) = (tuple(map(float, header[key][:2])) for key in ("sfA", "sfB"))
    to_metres_x, to_metres_y = size[1] / abs(dx), size[0] / abs(dy)
    signs = (-1 if dy > 0 else 1, 1 if dx > 0 else -1)
    return Position((y + (lines - 1) * dy) * to_metres_y, x * to_metres_x, *signs)


def _curves(values: Image, labels: Any, unit: str) -> str:
    """Return what the curves in a wave are called, if its columns are curves; else nothing."""
    named = [_text(label) for label in labels[1]][1:] if len(labels) > 1 else []
    if values.ndim == 2 and (any(named) or unit in {"s", "V", "Hz", "N"}):
        return ", ".join(filter(None, named)) or f"along an axis in {unit}"
    return ""


def _text(value: Any) -> str:
    """Return text from bytes or from an array of single bytes, up to the terminating zero."""
    content = value if isinstance(value, bytes) else b"".join(np.atleast_1d(value).astype("S1").tolist())
    return content.split(b"\0")[0].decode("utf-8", "replace").strip()


def _note(content: Any) -> dict[str, str]:
    """Return the note of Asylum's software, which has one line per setting: its name, a colon, its value."""
    text = (
        bytes(content).decode("utf-8", "replace") if isinstance(content, bytes | bytearray) else str(content)
    )
    pairs = (line.partition(":") for line in re.split(r"[\r\n]+", text))
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def _acquired_at(note: dict[str, str]) -> datetime | None:
    for layout in ("%Y-%m-%d %I:%M:%S %p", "%Y-%m-%d %H:%M:%S"):
        with suppress(ValueError):
            return datetime.strptime(f"{note.get('Date', '')} {note.get('Time', '')}", layout)
    return None


READER = Reader("an Igor binary wave", _matches, _read, _unfinished)
