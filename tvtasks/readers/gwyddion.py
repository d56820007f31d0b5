"""Gwyddion .gwy: a tree of named components, some of which are images."""

import math
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Micrograph, Position, Source
from tvtasks.readers import completeness
from tvtasks.readers.directions import direction_of, set_direction
from tvtasks.readers.metadata import json_safe
from tvtasks.readers.quantities import believed_unit, in_si, numbered, quantity, told_technique
from tvtasks.readers.reader import Reader
from tvtasks.readers.units import metres, pixel_size

_GWY = (b"GWYP", b"GWYO")

_NUMBERS = {"b": "<?", "c": "<c", "i": "<i", "q": "<q", "d": "<d"}
_ARRAYS = {"C": "S1", "I": "<i4", "Q": "<i8", "D": "<f8"}
_DEEPEST = 30


def _matches(head: bytes) -> bool:
    return head.startswith(_GWY)


def _read(path: Path, source: Source) -> list[Micrograph]:
    content = memoryview(path.read_bytes())
    try:
        (container,) = _components(content[4:], whole_object=True)
    except (struct.error, ValueError) as error:
        raise UnreadableFileError(
            f"{path} is damaged: {error}. Open it in Gwyddion and save it again."
        ) from error
    found = [key for key in container if re.fullmatch(r"/\d+/data", key)]
    micrographs = []
    for key in sorted(found, key=lambda key: int(key.split("/")[1])):
        field = container[key]
        if isinstance(field, dict):
            meta = container.get(key.removesuffix("data") + "meta")
            title = str(container.get(f"{key}/title", ""))
            micrographs.append(_micrograph(field, title, meta, source))
    return numbered(micrographs)


def _micrograph(field: Mapping[str, Any], title: str, meta: Any, source: Source) -> Micrograph:
    values, columns, rows = field.get("data"), field.get("xres"), field.get("yres")
    if not (isinstance(values, np.ndarray) and isinstance(columns, int) and isinstance(rows, int)):
        raise UnreadableFileError(
            f"{source.path} contains a field without pixels, so it may be damaged. "
            "Open it in Gwyddion and save it again."
        )
    if columns < 1 or rows < 1 or values.dtype != np.float64 or values.size != columns * rows:
        raise UnreadableFileError(
            f"{source.path} is damaged: a field of {rows} × {columns} pixels has {values.size} values. "
            "Open it in Gwyddion and save it again."
        )
    # Gwyddion gives an image without calibration a width of 1 without a unit.
    unit_xy = _unit(field.get("si_unit_xy"))
    settings = meta if isinstance(meta, dict) else {}
    size = per_pixel(field.get("xreal"), field.get("yreal"), columns, rows, unit_xy)
    data, unit = in_si(values.reshape(rows, columns), _unit(field.get("si_unit_z")))
    unit, notes = believed_unit(data, unit, title)
    return Micrograph(
        np.ascontiguousarray(data),
        quantity=quantity(title, unit),
        units=unit,
        channel=title,
        direction=direction_of(title) or set_direction(settings),
        pixel_size=size,
        position=_position(field, size, rows, unit_xy),
        technique=told_technique(settings),
        source=source,
        reader=("tvtasks", "gwyddion"),
        vendor_metadata=json_safe(settings),
        notes=notes,
    )


def per_pixel(width: Any, height: Any, columns: int, rows: int, unit: str) -> tuple[float, float] | None:
    """Return (dy, dx) of a field in metres per pixel; None if its sides are not lengths."""
    if not (isinstance(width, float) and isinstance(height, float)):
        return None
    return pixel_size(abs(height) / rows, abs(width) / columns, unit)


def _position(
    field: Mapping[str, Any], size: tuple[float, float] | None, rows: int, unit: str
) -> Position | None:
    """Return the position of the first pixel; None if the field is not shifted from the origin.

    Gwyddion sets the offsets to the edges of the scan field where y is lowest and x is lowest, in the
    coordinates of the instrument, and draws the first row, whose y is highest, at the top.
    """
    x, y = field.get("xoff", 0.0), field.get("yoff", 0.0)
    factor = metres(unit)
    if not (size and factor and isinstance(x, float) and isinstance(y, float) and (x or y)):
        return None
    if not (math.isfinite(x) and math.isfinite(y)):
        return None
    return Position(y * factor + size[0] * (rows - 0.5), x * factor + size[1] / 2)


def _unit(component: Any) -> str:
    return str(component.get("unitstr", "")) if isinstance(component, dict) else ""


def _components(content: memoryview, *, whole_object: bool = False, depth: int = 0) -> Any:
    """Return the components of an object; if `content` is a single object, return (object,)."""
    if depth > _DEEPEST:
        raise ValueError("its components are nested too deeply")
    at = 0
    if whole_object:
        _, at, end = _object(content, 0)
        return (_components(content[at:end], depth=depth + 1),)
    found: dict[str, Any] = {}
    while at < len(content):
        name, at = _string(content, at)
        kind = chr(content[at]) if at < len(content) else ""
        found[name], at = _value(content, at + 1, kind, depth)
    return found


def _value(content: memoryview, at: int, kind: str, depth: int) -> tuple[Any, int]:
    """Return the value at an offset, and the offset of the next component."""
    if kind in _NUMBERS:
        (number,) = struct.unpack_from(_NUMBERS[kind], content, at)
        return number, at + struct.calcsize(_NUMBERS[kind])
    if kind == "s":
        return _string(content, at)
    if kind == "o":
        return _nested(content, at, depth)
    if kind not in {*_ARRAYS, "S", "O"}:
        raise ValueError(f"a component has the unknown type {kind!r}")
    (count,) = struct.unpack_from("<I", content, at)
    at += 4
    if kind in _ARRAYS:
        end = at + count * np.dtype(_ARRAYS[kind]).itemsize
        if end > len(content):
            raise ValueError("an array is longer than its parent")
        return np.frombuffer(content[at:end], _ARRAYS[kind]), end
    items = []
    for _ in range(count):  # each item has at least one byte, so a wrong count ends with the content
        item, at = _string(content, at) if kind == "S" else _nested(content, at, depth)
        items.append(item)
    return items, at


def _nested(content: memoryview, at: int, depth: int) -> tuple[dict[str, Any], int]:
    _, start, end = _object(content, at)
    return _components(content[start:end], depth=depth + 1), end


def _object(content: memoryview, at: int) -> tuple[str, int, int]:
    """Return the name of the object at an offset, and where its components begin and end."""
    name, at = _string(content, at)
    (size,) = struct.unpack_from("<I", content, at)
    if at + 4 + size > len(content):
        raise ValueError(f"the component {name} is longer than its parent")
    return name, at + 4, at + 4 + size


def _string(content: memoryview, at: int) -> tuple[str, int]:
    """Return the text at an offset, and the offset after its terminating zero."""
    # A title is short; searching a field of pixels for a zero would copy it.
    for length in (256, len(content) - at):
        piece = bytes(content[at : at + length])
        if (end := piece.find(b"\0")) >= 0:
            return _text(piece[:end]), at + end + 1
    raise ValueError("a text has no end")


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:  # files of other programs, with a µ of Windows
        return content.decode("cp1252", "replace")


READER = Reader("a Gwyddion file", _matches, _read, completeness.gwy)
