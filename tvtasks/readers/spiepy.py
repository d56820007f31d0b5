"""The raw .dat of SPIEPy: rows and columns as two uint32, then float64; all little-endian."""

import struct
from pathlib import Path

import numpy as np

from tvtasks.micrograph import Micrograph, Source
from tvtasks.readers.reader import Reader

_SIZES = struct.Struct("<II")
_MOST_PIXELS_A_SIDE = 1 << 15
# Limits of heights in metres or nanometres, currents and voltages; other bytes rarely look like such float64.
_LARGEST, _SMALLEST = 1e9, 1e-30


def _matches(head: bytes) -> bool:
    if len(head) < _SIZES.size + 8 or not all(
        1 < side <= _MOST_PIXELS_A_SIDE for side in _SIZES.unpack_from(head)
    ):
        return False
    whole = len(head) - (len(head) - _SIZES.size) % 8
    values = np.abs(np.frombuffer(head[_SIZES.size : whole], "<f8"))
    return bool(np.all(np.isnan(values) | (values == 0) | ((values > _SMALLEST) & (values < _LARGEST))))


def _unfinished(path: Path) -> str | None:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4096)
    if not _matches(head):
        return None
    rows, columns = _SIZES.unpack_from(head)
    expected = _SIZES.size + 8 * rows * columns
    return f"it ends after {size} of {expected} bytes" if size < expected else None


def _read(path: Path, source: Source) -> list[Micrograph]:
    content = path.read_bytes()
    rows, columns = _SIZES.unpack_from(content)
    values = np.frombuffer(content, "<f8", rows * columns, offset=_SIZES.size).reshape(rows, columns)
    return [
        Micrograph(
            np.ascontiguousarray(values, dtype=np.float64),
            technique="STM",
            source=source,
            reader=("tvtasks", "spiepy"),
        )
    ]


READER = Reader("a raw SPIEPy image", _matches, _read, _unfinished)
