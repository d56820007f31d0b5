"""Whether files are complete by their format, and their companions, for formats that other packages read."""

import os
import re
import struct
from pathlib import Path
from typing import BinaryIO

_LONGEST_HEADER = 1 << 20
_CUT_SHORT = "its header is cut short"

_SXM = b":NANONIS_VERSION:"
_SXM_HEADER_END = b"\x1a\x04"
_GWY = (b"GWYP", b"GWYO")
_GSF = b"Gwyddion Simple Field 1.0\n"
SER = b"II\x97\x01"
_SER_OFFSETS_OF_64_BITS = 0x0220
_SER_IMAGE = 0x4122
_SER_BYTES = {1: 1, 2: 2, 3: 4, 4: 1, 5: 2, 6: 4, 7: 4, 8: 8, 9: 8, 10: 16}
_MATRIX = b"ONTMATRX0101"
_MRC_HEADER = 1024
_MRC_BITS = {0: 8, 1: 16, 2: 32, 3: 32, 4: 64, 6: 16, 12: 16, 101: 4}  # bits per pixel, by mode


def is_companion(path: Path) -> bool:
    """Return whether a file is named like the companion of an image."""
    return path.suffix.lower() in {".hdr", ".emi", ".mtrx"}


def sxm(path: Path) -> str | None:
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
    # A comment may contain anything, and comes before the table.
    tables = re.findall(rb":DATA_INFO:\s*\n(.*?)\n\s*(?::|$)", header + b"\n", re.DOTALL)
    if not (pixels and tables):
        return None
    rows = [line.split() for line in tables[-1].splitlines()[1:]]  # the first line holds the column titles
    images = sum(2 if b"both" in row else 1 for row in rows if row)
    return too_short(path, end + len(_SXM_HEADER_END) + images * int(pixels[1]) * int(pixels[2]) * 4)


def gwy(path: Path) -> str | None:
    """Gwyddion: a single object, which records its length."""
    with path.open("rb") as file:
        head = file.read(64)
    if not head.startswith(_GWY):
        return _cut_short(head, *_GWY)
    name_end = head.find(b"\0", 4)
    if name_end < 0 or name_end + 5 > len(head):
        return _CUT_SHORT
    (size,) = struct.unpack_from("<I", head, name_end + 1)
    return too_short(path, name_end + 5 + size)


def gsf(path: Path) -> str | None:
    """Gwyddion Simple Field: a text header, padded with zeros to a multiple of 4 bytes, then float32."""
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
    return too_short(path, end + 4 - end % 4 + columns * rows * 4)


def ser(path: Path) -> str | None:
    """TIA: a header, the offsets of the elements, and the elements."""
    with path.open("rb") as file:
        try:
            if (head := file.read(len(SER))) != SER:
                return _cut_short(head, SER)
            version, kind, _, elements, valid = _unpack(file, 4, "<HIIII")
            wide = version >= _SER_OFFSETS_OF_64_BITS
            (table,) = _unpack(file, 22, "<Q" if wide else "<I")
            if elements and not valid:
                return f"none of its {elements} images has been written yet"
            places = _unpack(file, table, f"<{valid}{'Q' if wide else 'I'}")
            ends = [place + _ser_element(file, place) for place in places] if kind == _SER_IMAGE else places
        except EOFError:
            return _CUT_SHORT
    return too_short(path, max(ends, default=0))


def ser_stopped(path: Path) -> str | None:
    """TIA: a series of which only the first images have been recorded was stopped, or goes on."""
    with path.open("rb") as file:
        try:
            elements, valid = _unpack(file, 14, "<II")
        except EOFError:
            return None
    return f"{valid} of the {elements} images of its series have been recorded" if valid < elements else None


def _ser_element(file: BinaryIO, place: int) -> int:
    """Return the number of bytes of an image, including its calibration."""
    kind, columns, rows = _unpack(file, place + 40, "<HII")
    return 50 + int(columns) * int(rows) * _SER_BYTES.get(kind, 1)


def dm(path: Path) -> str | None:
    """DigitalMicrograph 3 and 4: the header records the length of the tree of tags after it."""
    with path.open("rb") as file:
        try:
            (version,) = _unpack(file, 0, ">I")
            if version not in {3, 4}:
                return None
            (size,) = _unpack(file, 4, ">I" if version == 3 else ">Q")
        except EOFError:
            return _CUT_SHORT
    # In version 4 DigitalMicrograph leaves out 24 bytes, and Nion Swift 20.
    return too_short(path, size + (16 if version == 3 else 20))


def mrc(path: Path) -> str | None:
    """MRC: a header of 1024 bytes, an extended header of the length that it records, and the sections."""
    with path.open("rb") as file:
        head = file.read(_MRC_HEADER)
    expected = mrc_bytes(head)
    return None if expected is None else too_short(path, expected)


def mrc_bytes(head: bytes) -> int | None:
    """Return the length of a complete file with this beginning; None if it is not an MRC header."""
    head = head.ljust(_MRC_HEADER, b"\0")
    order = ">" if head[212:214] == b"\x11\x11" else "<"
    columns, rows, sections, mode = struct.unpack_from(order + "4i", head)
    axes = struct.unpack_from(order + "3i", head, 64)
    (extended,) = struct.unpack_from(order + "i", head, 92)
    if mode not in _MRC_BITS or min(columns, rows, sections) < 1 or sorted(axes) != [1, 2, 3] or extended < 0:
        return None
    row_bytes: int = (columns * _MRC_BITS[mode] + 7) // 8
    return _MRC_HEADER + int(extended) + row_bytes * int(rows) * int(sections)


def emi_beside(path: Path) -> tuple[Path, ...]:
    """Return the .emi that describes a .ser and all others numbered like it."""
    return (path.with_name(re.sub(r"_\d+$", "", path.stem) + ".emi"),)


def matrix(path: Path) -> str | None:
    """Omicron MATRIX: the file does not record its length."""
    with path.open("rb") as file:
        head = file.read(len(_MATRIX))
    return None if head == _MATRIX else _cut_short(head, _MATRIX)


def matrix_doubtful(path: Path) -> str | None:
    """Omicron MATRIX: the first block records its length, but not whether a scan goes on."""
    with path.open("rb") as file:
        head = file.read(20)
    if not head.startswith(_MATRIX) or len(head) < 20:
        return None
    (length,) = struct.unpack_from("<I", head, 16)
    return too_short(path, 28 + int(length))


def matrix_parameters(path: Path) -> tuple[Path, ...]:
    """Return session_0001.mtrx, which describes session--12_1.Z_mtrx and all images of the session."""
    return (path.with_name(path.name.rpartition("--")[0] + "_0001.mtrx"),) if "--" in path.name else ()


def _cut_short(head: bytes, *magics: bytes) -> str | None:
    """Return a clause if a file ends within its magic bytes; None if it is something else."""
    return _CUT_SHORT if any(magic.startswith(head) for magic in magics) else None


def _unpack(file: BinaryIO, at: int, layout: str) -> tuple[int, ...]:
    size = struct.calcsize(layout)
    # Do not allocate what a damaged count asks for.
    if at + size > file.seek(0, os.SEEK_END):
        raise EOFError
    file.seek(at)
    return struct.unpack(layout, file.read(size))


def too_short(path: Path, expected: int) -> str | None:
    """Return that a file has fewer bytes than it must have, in words; None if it has enough."""
    size = path.stat().st_size
    return f"it ends after {size} of {expected} bytes" if size < expected else None
