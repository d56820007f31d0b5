"""Check that everything that the directories of a TIFF refer to is inside the file.

tifffile fills missing pixels with zeros and skips pages that it cannot reach, so it would read a truncated
file as if it were complete.
"""

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_CLASSIC = {b"II*\0": "<", b"MM\0*": ">"}
_BIG = {b"II+\0": "<", b"MM\0+": ">"}
MAGIC = frozenset((*_CLASSIC, *_BIG))
"""The first bytes of a TIFF or BigTIFF."""

# Types of the TIFF 6.0 specification, of its Technical Note 1 (13) and of BigTIFF (16 to 18).
_BYTES_OF_TYPE = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_FORMAT_OF_TYPE = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_TEXT_TYPE = 2

_COMPRESSION = 259
_DESCRIPTION = 270
_SUBIFDS = 330
_PIXELS = ((273, 279, "strips"), (324, 325, "tiles"))  # tags of the offsets and the sizes
_WANTED = {_COMPRESSION, _SUBIFDS, *(tag for offsets, sizes, _ in _PIXELS for tag in (offsets, sizes))}


class _EndsEarlyError(Exception):
    """The file ends too early; the message is a clause for the user."""


@dataclass(frozen=True)
class _File:
    """An open TIFF and its number format."""

    stream: BinaryIO
    size: int
    order: str
    big: bool

    def numbers(self, at: int, layout: str) -> tuple[int, ...]:
        """Read numbers at a position in the file; `layout` is a `struct` layout without byte order."""
        self.require(at, struct.calcsize(self.order + layout))
        self.stream.seek(at)
        return struct.unpack(self.order + layout, self.stream.read(struct.calcsize(self.order + layout)))

    def require(self, at: int, count: int) -> None:
        """Raise if `count` bytes at a position are not all inside the file."""
        if at + count > self.size:
            raise _EndsEarlyError(f"it ends after {self.size} of at least {at + count} bytes")


def unfinished(path: Path) -> str | None:
    """Return what is missing in a TIFF or BigTIFF; None if it is complete or not a TIFF."""
    with path.open("rb") as stream:
        magic = stream.read(4)
        if magic not in MAGIC:
            return "its header is cut short" if any(known.startswith(magic) for known in MAGIC) else None
        big = magic in _BIG
        file = _File(stream, path.stat().st_size, (_BIG if big else _CLASSIC)[magic], big)
        try:
            _check_directories(file)
        except _EndsEarlyError as missing:
            return str(missing)
    return None


def _check_directories(file: _File) -> None:
    (first,) = file.numbers(8, "Q") if file.big else file.numbers(4, "I")
    if first == 0:
        raise _EndsEarlyError("its directory has not been written yet")
    waiting = [first]
    seen: set[int] = set()
    while waiting:
        at = waiting.pop()
        if at in seen or at == 0:
            continue
        seen.add(at)
        tags, following = _directory(file, at)
        _check_pixels(file, tags, only_page=at == first and following == 0)
        waiting += [following, *tags.get(_SUBIFDS, ())]


def _directory(file: _File, at: int) -> tuple[dict[int, tuple[int, ...]], int]:
    """Return the whole numbers in a directory, by tag, and the position of the next directory."""
    (count,) = file.numbers(at, "Q" if file.big else "H")
    at += 8 if file.big else 2
    entry, inline, offset = (20, 8, "Q") if file.big else (12, 4, "I")
    file.require(at, count * entry + inline)
    tags = {}
    for position in range(at, at + count * entry, entry):
        tag, kind, length = file.numbers(position, "HH" + offset)
        value_at = position + entry - inline
        size = _BYTES_OF_TYPE.get(kind, 0) * length
        if size > inline:
            (value_at,) = file.numbers(value_at, offset)
            file.require(value_at, size)
        if kind in _FORMAT_OF_TYPE and tag in _WANTED:
            tags[tag] = file.numbers(value_at, f"{length}{_FORMAT_OF_TYPE[kind]}")
        elif tag == _DESCRIPTION and kind == _TEXT_TYPE:
            tags[tag] = file.numbers(value_at, f"{length}B")
    return tags, file.numbers(at + count * entry, offset)[0]


def _check_pixels(file: _File, tags: dict[int, tuple[int, ...]], only_page: bool) -> None:
    for offsets_tag, sizes_tag, parts in _PIXELS:
        pixels = list(zip(tags.get(offsets_tag, ()), tags.get(sizes_tag, ()), strict=False))
        unwritten = sum(offset == 0 or size == 0 for offset, size in pixels)
        if unwritten:
            raise _EndsEarlyError(f"{unwritten} of its {len(pixels)} {parts} have not been written yet")
        if pixels:
            file.require(0, max(offset + size for offset, size in pixels))
        if pixels and only_page and tags.get(_COMPRESSION, (1,)) == (1,):
            # ImageJ describes a large stack by one directory; its other images follow the first.
            images = re.match(rb"ImageJ=.*?\nimages=(\d+)", bytes(tags.get(_DESCRIPTION, ())), re.DOTALL)
            file.require(pixels[0][0], (int(images[1]) if images else 1) * sum(size for _, size in pixels))
