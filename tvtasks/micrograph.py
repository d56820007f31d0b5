"""One image as a microscope wrote it: its values, its calibration and its origin."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tvtasks.errors import UnusableImageError

Image = NDArray[Any]
"""A two-dimensional array of numbers; row 0 is the top of the picture."""

ScanDirection = Literal["forward", "backward"]


class Region(NamedTuple):
    """A rectangle of pixels, half open: rows ``top:bottom`` and columns ``left:right``."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rectangle as an index into an image."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the rectangle."""
        return self.bottom - self.top, self.right - self.left


class Position(NamedTuple):
    """The coordinates of the centre of an image's first pixel, and which way they run from there.

    Attributes
    ----------
    y, x
        Coordinates, in the unit of the pixel size.
    y_sign, x_sign
        1 if the coordinate rises with the index of the row or column, -1 if it falls.
    """

    y: float
    x: float
    y_sign: int = -1
    x_sign: int = 1


@dataclass(frozen=True)
class Source:
    """The file that an image was read from, as it was at that time.

    Attributes
    ----------
    path
        Where the file was.
    size
        Bytes.
    modified
        Time of last change, with time zone.
    sha256
        Checksum of the whole file, hexadecimal.
    companions
        Checksums of further files that belong to the image (a header beside its pixels), by file name.
    """

    path: Path
    size: int
    modified: datetime
    sha256: str
    companions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path, companions: tuple[Path, ...] = ()) -> Source:
        """Describe the file at `path`; reads it and its companions completely, for the checksums."""
        status = path.stat()
        return cls(
            path=path,
            size=status.st_size,
            modified=datetime.fromtimestamp(status.st_mtime, UTC),
            sha256=file_sha256(path),
            companions={other.name: file_sha256(other) for other in companions},
        )


@dataclass(frozen=True, eq=False)
class Micrograph:
    """A two-dimensional image and what is known about it.

    Attributes
    ----------
    data
        The values as acquired: shape (rows, columns), dtype of the file, row 0 at the top. A masked array
        becomes floating point, with NaN (no data) where it is masked.
    quantity
        What was measured: ``height``, ``current``, ``intensity`` … or None.
    units
        Unit of `data`: ``m``, ``A``, ``V``, ``counts`` …; empty where unknown.
    channel
        The file's own name of the channel; empty where it has none.
    direction
        Fast-scan direction; None where it has no meaning.
    frame
        Position in a stack or series, counted from 0.
    pixel_size
        (dy, dx) in `pixel_unit`; None where the image is not calibrated.
    pixel_unit
        Unit of `pixel_size`: ``m`` unless the file leaves it open.
    position
        Where the first pixel lies, in `pixel_unit`; None where the file does not say, or has no pixel size.
    valid
        The part that holds data, where the instrument records it (a data bar is outside); None for all.
    technique
        ``STM``, ``AFM``, ``SEM``, ``STEM`` or None.
    acquired_at
        Time of acquisition as the file gives it.
    source
        The file; None for an array from memory.
    reader
        Name and version of the reader.
    vendor_metadata
        All other metadata of the file, safe for JSON.
    notes
        Sentences on what the reader had to decide (a colour image was reduced to grey …).
    opposite_scan
        The same lines scanned in the other direction, with the shape and orientation of `data`; None if the
        file does not hold them.

    Raises
    ------
    UnusableImageError
        The pixel size is not two positive, finite numbers.

    Examples
    --------
    >>> import numpy as np
    >>> Micrograph(np.zeros((2, 3)), quantity="height", units="m").name
    'image'
    """

    data: Image
    quantity: str | None = None
    units: str = ""
    channel: str = ""
    direction: ScanDirection | None = None
    frame: int = 0
    pixel_size: tuple[float, float] | None = None
    pixel_unit: str = "m"
    position: Position | None = None
    valid: Region | None = None
    technique: str | None = None
    acquired_at: datetime | None = None
    source: Source | None = None
    reader: tuple[str, str] = ("memory", "")
    vendor_metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    opposite_scan: Image | None = None

    def __post_init__(self) -> None:
        size = self.pixel_size
        if size is not None and not (len(size) == 2 and all(math.isfinite(d) and d > 0 for d in size)):
            raise UnusableImageError(
                f"{self.name}: a pixel size of {size} cannot be: give two lengths (dy, dx) above 0, or None."
            )
        if isinstance(self.data, np.ma.MaskedArray):
            object.__setattr__(self, "data", _without_mask(self.data))

    def coordinates(self, axis: int, indices: NDArray[Any]) -> NDArray[Any]:
        """Return the coordinates of pixels along y (axis 0) or x (axis 1), in the unit of the pixel size.

        Without a position, x rises from 0 at the first column and y from 0 at the last row, so that programs
        which draw y upwards show the first row at the top.

        Examples
        --------
        >>> Micrograph(np.zeros((3, 2)), pixel_size=(2.0, 1.0)).coordinates(0, np.arange(3)).tolist()
        [4.0, 2.0, 0.0]
        """
        step = self.pixel_size[axis] if self.pixel_size else 1.0
        if self.position and self.pixel_size:
            return self.position[axis] + self.position[axis + 2] * step * indices
        return step * (indices if axis else self.data.shape[0] - 1 - indices)

    def __repr__(self) -> str:
        """Describe the image in one line."""
        words = [word for word in (self.technique, self.channel or self.quantity, self.direction) if word]
        size = " × ".join(map(str, self.data.shape))
        words.append(f"{size} {self.data.dtype}{self.units and f' in {self.units}'}")
        if self.pixel_size:
            dy, dx = self.pixel_size
            words.append(f"pixel {dx:.4g} × {dy:.4g} {self.pixel_unit}")
        return f"Micrograph {self.name}: {', '.join(words)}"

    @property
    def name(self) -> str:
        """The file's name, or "image" for an array from memory."""
        return self.source.path.name if self.source else "image"


def _without_mask(data: np.ma.MaskedArray[Any, Any]) -> Image:
    """Return an array with NaN where it is masked; the array itself if it is masked nowhere."""
    if not np.ma.is_masked(data):
        return np.asarray(data)
    kind = data.dtype if data.dtype.kind == "f" else np.dtype(np.float64)
    filled: Image = np.ma.filled(data.astype(kind), np.nan)
    return filled


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def array_sha256(array: NDArray[Any]) -> str:
    """Return the SHA-256 of an array's dtype, shape and little-endian bytes in C order, hexadecimal.

    Two arrays share it exactly if they have the same kind and size of number, the same shape and the same
    bits, on whatever machine they are.
    """
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{little.dtype.str};{little.shape};".encode())
    digest.update(little.data)
    return digest.hexdigest()
