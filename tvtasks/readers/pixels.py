"""Turn the arrays in files into images: two-dimensional, real, grey, in the machine's byte order."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvtasks import memory
from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Image

# The weights of ITU-R BT.601 as Pillow has them, in 65536ths: 0.299, 0.587, 0.114.
_LUMA = np.array([19595.0, 38470.0, 7471.0])

# Deflate compresses up to 1032 to 1; an image that is compressed more is empty or its header is damaged.
_TIGHTEST_COMPRESSION = 2000
_HARMLESS_BYTES = 64 * 2**20
_TIMES_READ = 3  # as decoded, as a copy in grey, and to look for its scale


def require_plausible(unpacked_bytes: int, path: Path) -> None:
    """Refuse data that are far larger than their file can hold, before a damaged header fills the memory.

    Raises
    ------
    UnreadableFileError
        The file cannot contain `unpacked_bytes`.
    """
    packed_bytes = path.stat().st_size
    if unpacked_bytes > max(_HARMLESS_BYTES, _TIGHTEST_COMPRESSION * packed_bytes):
        raise UnreadableFileError(
            f"{path} is damaged: its header announces {unpacked_bytes / 2**20:,.0f} MiB of pixels, but the "
            f"file has only {packed_bytes} bytes. Copy it again from the microscope."
        )
    require_room(unpacked_bytes, path)


def require_room(unpacked_bytes: int, path: Path) -> None:
    """Refuse data that do not fit into memory, before they are unpacked: a small file may hold very much.

    Raises
    ------
    UnusableImageError
        Reading alone would take more memory than restoring may.
    """
    memory.BUDGET.refuse(_TIMES_READ * unpacked_bytes, path.name)


def split(array: NDArray[Any], path: Path) -> tuple[list[Image], tuple[str, ...]]:
    """Return the images in an array of shape (..., rows, columns), and notes on changes.

    The values are unchanged, bit for bit; only True and False become 1 and 0 (uint8).

    Raises
    ------
    UnreadableFileError
        The array is not made of real numbers, has fewer than two dimensions, or has no pixels.
    """
    if array.dtype.kind == "c":
        raise UnreadableFileError(
            f"{path} contains complex numbers. Export the amplitude or the phase as an image."
        )
    if array.dtype.kind not in "buif":
        raise UnreadableFileError(
            f"{path} contains values of type {array.dtype}, not numbers. Export the image itself."
        )
    if array.ndim < 2:
        raise UnreadableFileError(
            f"{path} contains no image: its data have {array.ndim} dimension(s), not two. A spectrum or a "
            "profile cannot be restored as an image."
        )
    if array.size == 0:
        raise UnreadableFileError(
            f"{path} contains an image without pixels, of shape {array.shape}. Export it again."
        )
    notes: tuple[str, ...] = ()
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
        notes = ("The values true and false in the file were read as 1 and 0.",)
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return list(native.reshape(-1, *native.shape[-2:])), notes


def grey(colour: NDArray[Any]) -> tuple[NDArray[Any], str]:
    """Return the grey of a colour image, shape (..., 3), in its dtype, and a note on the conversion.

    Three equal channels give that channel, bit for bit; otherwise the grey is the luma of ITU-R BT.601,
    rounded as in Pillow.
    """
    if np.array_equal(colour[..., 0], colour[..., 1]) and np.array_equal(colour[..., 0], colour[..., 2]):
        return colour[..., 0], "The three channels of the colour image are equal; one of them was read."
    luma = colour.astype(np.float64) @ _LUMA / 65536
    if colour.dtype.kind in "ui":
        luma = np.floor(luma + 0.5)
    return luma.astype(colour.dtype), "The colour image was converted to grey (ITU-R BT.601 luma)."
