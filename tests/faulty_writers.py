"""What goes wrong when files are written, as ways of writing like those of `tvtasks.replay`.

Files are cut short, overwritten or filled in late, and a share goes away and comes back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray


def write_preallocated(
    path: Path, content: bytes, seconds: float = 0.0, *, pieces: int = 8
) -> Iterator[float]:
    """Reserve a file at its full size, full of zeros, then fill it from its beginning."""
    with path.open("xb") as file:
        file.truncate(len(content))
        for number in range(pieces):
            yield seconds / pieces
            file.write(content[file.tell() : len(content) * (number + 1) // pieces])
            file.flush()


def write_in_two_goes(
    path: Path, content: bytes, seconds: float = 0.0, *, share: float = 0.6
) -> Iterator[float]:
    """Write the first `share` of a file and close it; after `seconds` open it again and append the rest."""
    if path.exists():
        raise FileExistsError(f"{path} exists already")
    write_truncated(path, content, share=share)
    yield seconds
    with path.open("ab") as file:
        file.write(content[path.stat().st_size :])


def write_page_by_page(path: Path, pages: Sequence[NDArray[Any]], seconds: float = 0.0) -> Iterator[float]:
    """Write a TIFF one page after another; after each it is a whole TIFF with fewer pages.

    Parameters
    ----------
    path
        Where to; must not exist.
    pages
        Images of shape (rows, columns).
    seconds
        For all of them.
    """
    with path.open("x+b") as file, tifffile.TiffWriter(file) as tiff:
        for number, page in enumerate(pages):
            if number:
                yield seconds / (len(pages) - 1)
            tiff.write(page, metadata=None)
            file.flush()


def overwrite(path: Path, content: bytes, seconds: float = 0.0) -> Iterator[float]:
    """Give a file new content in place: the first half over its old bytes, the rest after `seconds`."""
    with path.open("r+b") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        yield seconds
        file.write(content[len(content) // 2 :])
        file.truncate()


def disconnect(folder: Path, seconds: float = 0.0) -> Iterator[float]:
    """Take a folder away under another name and bring it back, as when a network share drops out."""
    away = folder.with_name(f"{folder.name}.away")
    folder.rename(away)
    try:
        yield seconds
    finally:
        away.rename(folder)


def write_truncated(path: Path, content: bytes, *, share: float = 0.6) -> None:
    """Write only the first `share` of a file, as when the instrument's program ends halfway."""
    path.write_bytes(content[: int(share * len(content))])


def write_rubbish(path: Path, *, size: int = 4096, seed: int = 0) -> None:
    """Write random bytes, which are no image, whatever the name says."""
    path.write_bytes(np.random.default_rng(seed).bytes(size))
