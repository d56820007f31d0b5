"""The seal of a result: a checksum of all its bytes, stored in the file itself.

The seal reveals any change in a file, be it in a pixel, a unit or a byte that nobody reads, before HDF5,
which may crash on a damaged file, has touched it. It does not reveal what was changed: that is up to the
checksums of the arrays and of the run record, and to `tvtasks.archive.structure`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

SEAL = "seal"
MARK = b"SHA-256 of this file, taken with 64 zeros in place of these digits: "

_UNSEALED = b"0" * 64
# Bytes. HDF5 puts smaller data into a block that it may have started far from the end of the file.
_LEAST = 2100
_TAIL = 65_536  # bytes; the seal is written last
_PIECE = 2**20


def reserve(note: h5py.Group, before: str = "") -> None:
    """Reserve space for the seal, after some text, in a group of a file that will be sealed when complete."""
    text = before.encode() + MARK + _UNSEALED + b"\n"
    note.create_dataset("data", data=np.frombuffer(text.ljust(_LEAST), np.uint8))


def sealed(content: bytes) -> bytes:
    """Return the bytes of a file with its seal, given those with space for it.

    Raises
    ------
    ValueError
        There is no space for a seal.
    """
    at = content.rindex(MARK + _UNSEALED) + len(MARK)
    digest = hashlib.sha256(content).hexdigest().encode()
    return content[:at] + digest + content[at + len(digest) :]


def read_seal(path: Path) -> str:
    """Return the digits of a file's seal, which may not be true; empty if it has none.

    Reads only the end of the file.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with path.open("rb") as file:
        at = _place(file)
        if at is None:
            return ""
        file.seek(at)
        return file.read(len(_UNSEALED)).decode("ascii", "replace")


def is_whole(path: Path) -> bool | None:
    """Return whether a file is bit for bit as it was sealed; None if it has no seal.

    Reads the whole file in pieces, without HDF5.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with path.open("rb") as file:
        at = _place(file)
        if at is None:
            return None
        file.seek(at)
        expected = file.read(len(_UNSEALED))
        digest = hashlib.sha256()
        file.seek(0)
        left = at
        while left and (piece := file.read(min(left, _PIECE))):
            digest.update(piece)
            left -= len(piece)
        digest.update(_UNSEALED)
        file.seek(at + len(_UNSEALED))
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest().encode() == expected


def _place(file: BinaryIO) -> int | None:
    """Return where the digits of the seal begin; None if there is no seal."""
    start = file.seek(max(0, file.seek(0, 2) - _TAIL))
    found = file.read().rfind(MARK)
    return None if found < 0 else start + found + len(MARK)
