"""NumPy's .npy: one image, or a stack of images."""

import math
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format

from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Micrograph, Source
from tvtasks.readers.pixels import split
from tvtasks.readers.reader import Reader


def _matches(head: bytes) -> bool:
    return head.startswith(npy_format.MAGIC_PREFIX)


def _read(path: Path, source: Source) -> list[Micrograph]:
    with path.open("rb") as file:
        _, dtype = header_of(file)
    if dtype.hasobject:
        raise UnreadableFileError(
            f"{path} contains Python objects, which could run a program when they are loaded. "
            "Save the image again as an array of numbers."
        )
    frames, notes = split(np.load(path, allow_pickle=False), path)
    return [
        Micrograph(data, frame=frame, source=source, reader=("numpy", np.__version__), notes=notes)
        for frame, data in enumerate(frames)
    ]


def header_of(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and dtype of the array at the current position of a file; raises all kinds of errors."""
    version = npy_format.read_magic(file)
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _unfinished(path: Path) -> str | None:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(12)
        if not _matches(start):
            return "its header is cut short" if npy_format.MAGIC_PREFIX.startswith(start) else None
        length = start[8:10] if start[6:7] == b"\x01" else start[8:12]
        header_end = (10 if start[6:7] == b"\x01" else 12) + int.from_bytes(length, "little")
        if size < header_end or len(start) < 12:
            return "its header is cut short"
        file.seek(0)
        try:
            shape, dtype = header_of(file)
        except Exception:  # for a damaged header NumPy raises anything from SyntaxError to TypeError
            return None
    expected = header_end + math.prod(shape) * dtype.itemsize
    if dtype.hasobject or size >= expected:
        return None
    return f"it ends after {size} of {expected} bytes"


READER = Reader("a .npy file", _matches, _read, _unfinished)
