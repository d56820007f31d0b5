"""Formats that are recognised but not read yet: whether a file of theirs is whole, and what belongs to it."""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_LONGEST_HEADER = 1 << 20
_CUT_SHORT = "its header is cut short"

_SXM = b":NANONIS_VERSION:"
_SXM_HEADER_END = b"\x1a\x04"
_GWY = (b"GWYP", b"GWYO")
_GSF = b"Gwyddion Simple Field 1.0\n"
_SER = b"II\x97\x01"
_SER_OFFSETS_OF_64_BITS = 0x0220
_SER_IMAGE = 0x4122
_SER_BYTES = {1: 1, 2: 2, 3: 4, 4: 1, 5: 2, 6: 4, 7: 4, 8: 8, 9: 8, 10: 16}
_MATRIX = b"ONTMATRX0101"


@dataclass(frozen=True)
class Recognised:
    """A format of which no more is known than when a file is whole.

    Attributes
    ----------
    name
        What such a file is called in a message, with its article.
    unfinished
        As in `tvtasks.readers.reader.Reader`.
    other_halves
        The files without which it is no image, there or not.
    """

    name: str
    unfinished: Callable[[Path], str | None]
    other_halves: Callable[[Path], tuple[Path, ...]] = lambda path: ()


def recognise(path: Path) -> Recognised | None:
    """Return the format that a file has by its name; None where that is none of these."""
    suffix = path.suffix.lower()
    return _MATRIX_IMAGE if suffix.endswith("_mtrx") else _BY_SUFFIX.get(suffix)


def is_half(path: Path) -> bool:
    """Return whether a file is named like one that belongs to an image beside it."""
    return path.suffix.lower() in {".hdr", ".emi", ".mtrx"}


def _sxm(path: Path) -> str | None:
    """Nanonis: a text header, then big-endian float32 for each channel and direction."""
    with path.open("rb") as file:
        head = file.read(_LONGEST_HEADER)
    if not head.startswith(_SXM):
        return _cut_short(head, _SXM)
    end = head.find(_SXM_HEADER_END)
    if end < 0:
        return _CUT_SHORT if len(head) < _LONGEST_HEADER else None
    header = head[:end]
    pixels = re.search(rb":SCAN_PIXELS:\s+(\d+)\s+(\d+)", header)
    table = re.search(rb":DATA_INFO:\s*\n(.*?)\n\s*(?::|$)", header + b"\n", re.DOTALL)
    if not (pixels and table):
        return None
    rows = [line.split() for line in table[1].splitlines()[1:]]  # the first line holds the titles
    images = sum(2 if b"both" in row else 1 for row in rows if row)
    return _too_short(path, end + len(_SXM_HEADER_END) + images * int(pixels[1]) * int(pixels[2]) * 4)


def _gwy(path: Path) -> str | None:
    """Gwyddion: one object, which says how long it is."""
    with path.open("rb") as file:
        head = file.read(64)
    if not head.startswith(_GWY):
        return _cut_short(head, *_GWY)
    name_end = head.find(b"\0", 4)
    if name_end < 0 or name_end + 5 > len(head):
        return _CUT_SHORT
    (size,) = struct.unpack_from("<I", head, name_end + 1)
    return _too_short(path, name_end + 5 + size)


def _gsf(path: Path) -> str | None:
    """Gwyddion Simple Field: a text header, filled with zeros to a multiple of 4, then float32."""
    with path.open("rb") as file:
        head = file.read(_LONGEST_HEADER)
    if not head.startswith(_GSF):
        return _cut_short(head, _GSF)
    end = head.find(b"\0")
    if end < 0:
        return _CUT_SHORT
    sides = [re.search(rb"^%b\s*=\s*(\d+)" % key, head[:end], re.MULTILINE) for key in (b"XRes", b"YRes")]
    if None in sides:
        return None
    columns, rows = (int(side[1]) for side in sides if side)
    return _too_short(path, end + 4 - end % 4 + columns * rows * 4)


def _ser(path: Path) -> str | None:
    """TIA: a header, the places of the elements, and the elements."""
    with path.open("rb") as file:
        try:
            if (head := file.read(len(_SER))) != _SER:
                return _cut_short(head, _SER)
            version, kind, _, elements, valid = _unpack(file, 4, "<HIIII")
            wide = version >= _SER_OFFSETS_OF_64_BITS
            (table,) = _unpack(file, 22, "<Q" if wide else "<I")
            if valid < elements:
                return f"{elements - valid} of its {elements} images have not been written yet"
            places = _unpack(file, table, f"<{valid}{'Q' if wide else 'I'}")
            ends = [place + _ser_element(file, place) for place in places] if kind == _SER_IMAGE else places
        except EOFError:
            return _CUT_SHORT
    return _too_short(path, max(ends, default=0))


def _ser_element(file: BinaryIO, place: int) -> int:
    """Return how many bytes an image takes, its calibration included."""
    kind, columns, rows = _unpack(file, place + 40, "<HII")
    return 50 + int(columns) * int(rows) * _SER_BYTES.get(kind, 1)


def _dm(path: Path) -> str | None:
    """DigitalMicrograph 3 and 4: the header says how long the tree of tags after it is."""
    with path.open("rb") as file:
        try:
            (version,) = _unpack(file, 0, ">I")
            if version not in {3, 4}:
                return None
            (size,) = _unpack(file, 4, ">I" if version == 3 else ">Q")
        except EOFError:
            return _CUT_SHORT
    return _too_short(path, size + (16 if version == 3 else 24))


def _emi_beside(path: Path) -> tuple[Path, ...]:
    # One .emi holds the description of all the .ser files that are numbered after it.
    return (path.with_name(re.sub(r"_\d+$", "", path.stem) + ".emi"),)


def _matrix(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(len(_MATRIX))
    return None if head == _MATRIX else _cut_short(head, _MATRIX)


def _matrix_parameters(path: Path) -> tuple[Path, ...]:
    # session--12_1.Z_mtrx is image 12_1 of the session that session_0001.mtrx describes.
    return (path.with_name(path.name.rpartition("--")[0] + "_0001.mtrx"),) if "--" in path.name else ()


def _cut_short(head: bytes, *magics: bytes) -> str | None:
    """Say that a file ends within the mark that it should begin with; None where it is something else."""
    return _CUT_SHORT if any(magic.startswith(head) for magic in magics) else None


def _unpack(file: BinaryIO, at: int, layout: str) -> tuple[int, ...]:
    file.seek(at)
    size = struct.calcsize(layout)
    if len(content := file.read(size)) < size:
        raise EOFError
    return struct.unpack(layout, content)


def _too_short(path: Path, expected: int) -> str | None:
    size = path.stat().st_size
    return f"it ends after {size} of {expected} bytes" if size < expected else None


_MATRIX_IMAGE = Recognised("an Omicron MATRIX image", _matrix, _matrix_parameters)
_BY_SUFFIX = {
    ".sxm": Recognised("a Nanonis scan", _sxm),
    ".gwy": Recognised("a Gwyddion file", _gwy),
    ".gsf": Recognised("a Gwyddion Simple Field", _gsf),
    ".ser": Recognised("a TIA series", _ser, _emi_beside),
    ".dm3": Recognised("a DigitalMicrograph file", _dm),
    ".dm4": Recognised("a DigitalMicrograph file", _dm),
}
