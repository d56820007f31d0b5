"""Whether files of scanning-probe microscopes that the converter reads are complete, by their own headers."""

import re
import struct
import zlib
from pathlib import Path

from tvtasks.readers import tiff_extent
from tvtasks.readers.completeness import too_short

_CREATEC = b"[Paramco32]"
# The mark and the beginning of zlib's values; in the header, paths contain the same letters (STMDATA).
_CREATEC_DATA = re.compile(rb"DATA(?=x[\x01\x5e\x9c\xda]|x?\Z)")
_CREATEC_MARK = 4
_WSXM_BYTES = {b"short": 2, b"integer": 4, b"float": 4, b"double": 8}
SURF = (b"DIGITAL SURF", b"DSCOMPRESSED")
"""The first bytes of a file of Digital Surf."""
_SURF_HEADER = 512
_NTMDT_HEADER = 33
_LONGEST_HEADER = 1 << 22
_STEP = 1 << 20
_CUT_SHORT = "its header is cut short"

Extent = int | str | None
"""The bytes that a complete file has, or what is missing, in words; None if the format does not say."""


def unfinished(path: Path) -> str | None:
    """Return what is missing in a file; None if it is complete, or if its format does not say."""
    extent = _extent(path)
    return too_short(path, extent) if isinstance(extent, int) else extent


def doubtful(path: Path) -> str | None:
    """Return that the format of a file does not record its length, in words; None if it does."""
    return "its format does not record how long it is" if _extent(path) is None else None


def createc_data(content: bytes) -> int | None:
    """Return where the mark is after which the compressed values of a Createc file begin; None if none."""
    found = _CREATEC_DATA.search(content)
    return found.start() if found else None


def _extent(path: Path) -> Extent:
    with path.open("rb") as file:
        head = file.read(_LONGEST_HEADER)
    if head[:4] in tiff_extent.MAGIC:  # JPK
        return tiff_extent.unfinished(path) or 0
    for magics, extent in _EXTENTS.items():
        if head.startswith(magics):
            return extent(path, head)
    return None


def _createc(path: Path, head: bytes) -> Extent:
    """Createc: text, a mark, and zlib: complete where its last block is."""
    at = createc_data(head)
    if at is None:
        return None
    values = zlib.decompressobj()
    with path.open("rb") as file:
        file.seek(at + _CREATEC_MARK)
        try:
            while (piece := file.read(_STEP)) and not values.eof:
                while piece and not values.eof:
                    values.decompress(piece, _STEP)
                    piece = values.unconsumed_tail
        except zlib.error:  # damaged, and not cut short
            return 0
    return 0 if values.eof else f"it ends after {path.stat().st_size} bytes, in the midst of its values"


def _bruker(path: Path, head: bytes) -> Extent:
    """Bruker: text that names offset and length of each image, as bytes."""
    if b"\\*File list end" not in head:
        return _CUT_SHORT
    ends = re.findall(rb"\\Data offset: (\d+)\r?\n\\Data length: (\d+)", head)
    return max((int(at) + int(length) for at, length in ends), default=None)


def _wsxm(path: Path, head: bytes) -> Extent:
    """WSxM: text with the size of the header, rows, columns and the kind of numbers."""
    if b"[Header end]" not in head:
        return _CUT_SHORT
    sizes = [
        re.search(rb"^\s*%b: (\d+)" % key, head, re.MULTILINE)
        for key in (b"Image header size", b"Number of columns", b"Number of rows")
    ]
    kind = re.search(rb"^\s*Image Data Type: (\w+)", head, re.MULTILINE)
    if None in sizes:
        return None
    header, columns, rows = (int(size[1]) for size in sizes if size)
    number = _WSXM_BYTES.get(kind[1], 2) if kind else 2  # older versions have 16 bits and do not say so
    return header + columns * rows * number


def _digital_surf(path: Path, head: bytes) -> Extent:
    """Digital Surf: objects, each with a header of 512 bytes, a comment, and values of a given size."""
    (objects,) = struct.unpack_from("<h", head.ljust(_SURF_HEADER, b"\0"), 14)
    at = 0
    with path.open("rb") as file:
        for _ in range(max(objects, 1)):
            file.seek(at)
            header = file.read(_SURF_HEADER)
            if not header.startswith(SURF):
                # After the first object, what follows may be anything.
                return at if at == 0 or header else at + _SURF_HEADER
            if len(header) < _SURF_HEADER:
                return at + _SURF_HEADER
            bits, columns, rows = struct.unpack_from("<h2i", header[98:100] + header[108:116])
            (packed,) = struct.unpack_from("<I", header, 324)
            comment, private = struct.unpack_from("<2h", header, 334)
            values = packed if header.startswith(b"DSCOMPRESSED") else columns * rows * bits // 8
            at += _SURF_HEADER + max(comment, 0) + max(private, 0) + max(values, 0)
    return at


def nanosurf_channels(head: bytes) -> list[dict[str, str]]:
    """Return the settings of each channel of a Nanosurf file, in the order of its first section."""
    end = head.find(b"#!")
    text = head[: max(end, 0)].decode("latin-1")
    sections = dict(re.findall(r"^\[([^\]\r\n]+)\]([^\[]*)", text, re.MULTILINE))
    names = re.findall(r"^Gr\d+-Ch\d+=([^\r\n]+)", sections.get("DataSet", ""), re.MULTILINE)
    return [
        dict(re.findall(r"^(\w+)=([^\r\n]*)", sections.get(name.strip(), ""), re.MULTILINE)) for name in names
    ]


def _nanosurf(path: Path, head: bytes) -> Extent:
    """Nanosurf: text, a mark, and the values of each channel that the first section names."""
    end = head.find(b"#!")
    if end < 0:
        return _CUT_SHORT
    total = end + 2
    for settings in nanosurf_channels(head):
        try:
            points, lines, bits = (int(settings[key]) for key in ("Points", "Lines", "SaveBits"))
        except (KeyError, ValueError):
            return None
        total += points * lines * bits // 8
    return total


def _nt_mdt(path: Path, head: bytes) -> Extent:
    """NT-MDT: a header with the number of bytes that follow it."""
    if len(head) < _NTMDT_HEADER:
        return _CUT_SHORT
    (size,) = struct.unpack_from("<I", head, 4)
    return _NTMDT_HEADER + int(size)


_EXTENTS = {
    (_CREATEC,): _createc,
    (b"\\*File list",): _bruker,
    (b"WSxM file copyright",): _wsxm,
    SURF: _digital_surf,
    (b"[DataSet]",): _nanosurf,
    (b"\x01\xb0\x93\xff",): _nt_mdt,
}
