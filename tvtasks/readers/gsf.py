"""Gwyddion Simple Field .gsf: a text header, padded with zeros to a multiple of 4 bytes, then float32."""

import math
from pathlib import Path

import numpy as np

from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Micrograph, Source
from tvtasks.readers import completeness
from tvtasks.readers.directions import direction_of
from tvtasks.readers.gwyddion import per_pixel
from tvtasks.readers.quantities import believed_unit, in_si, quantity
from tvtasks.readers.reader import Reader

_MAGIC = b"Gwyddion Simple Field 1.0\n"


def _matches(head: bytes) -> bool:
    return head.startswith(_MAGIC)


def _read(path: Path, source: Source) -> list[Micrograph]:
    content = path.read_bytes()
    end = content.find(b"\0")
    header = {}
    for line in content[len(_MAGIC) : max(end, 0)].decode("utf-8", "replace").splitlines():
        key, _, value = line.partition("=")
        header[key.strip()] = value.strip()
    try:
        columns, rows = int(header["XRes"]), int(header["YRes"])
        values = np.frombuffer(content, "<f4", columns * rows, offset=end + 4 - end % 4).reshape(
            rows, columns
        )
    except (KeyError, ValueError) as error:
        raise UnreadableFileError(
            f"{path} does not give its number of pixels (XRes, YRes), or has fewer. Export it again."
        ) from error
    title = header.get("Title", "")
    data, unit = in_si(values.astype(np.float32), header.get("ZUnits", ""))
    unit, notes = believed_unit(data, unit, title)
    width, height = (_number(header.get(key)) for key in ("XReal", "YReal"))
    return [
        Micrograph(
            data,
            quantity=quantity(title, unit),
            units=unit,
            channel=title,
            direction=direction_of(title),
            pixel_size=per_pixel(width, height, columns, rows, header.get("XYUnits", "")),
            source=source,
            reader=("tvtasks", "gsf"),
            vendor_metadata=header,
            notes=notes,
        )
    ]


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


READER = Reader("a Gwyddion Simple Field", _matches, _read, completeness.gsf)
