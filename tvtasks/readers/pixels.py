"""From the arrays that files hold to images: two-dimensional, real, grey, in the machine's byte order."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Image

# The weights of ITU-R BT.601 as Pillow has them, in 65536ths: 0.299, 0.587, 0.114.
_LUMA = np.array([19595.0, 38470.0, 7471.0])

# Deflate reaches 1032 to 1; an image that is packed tighter than this is empty or its header is damaged.
_TIGHTEST_COMPRESSION = 2000
_HARMLESS_BYTES = 64 * 2**20


def require_plausible(unpacked_bytes: int, path: Path) -> None:
    """Refuse, before it fills the memory, what a damaged header says to be far larger than its file.

    Raises
    ------
    UnreadableFileError
        Where `unpacked_bytes` cannot come out of the file.
    """
    packed_bytes = path.stat().st_size
    if unpacked_bytes > max(_HARMLESS_BYTES, _TIGHTEST_COMPRESSION * packed_bytes):
        raise UnreadableFileError(
            f"{path} says that it holds {unpacked_bytes / 2**20:,.0f} MiB of pixels, which a file of "
            f"{packed_bytes} bytes cannot. It is damaged; copy it again from the microscope."
        )


def split(array: NDArray[Any], path: Path) -> tuple[list[Image], tuple[str, ...]]:
    """Return the images that an array of shape (..., rows, columns) holds, and notes on what was changed.

    The values stay as they are, bit for bit; only True and False become 1 and 0 (uint8).

    Raises
    ------
    UnreadableFileError
        Where the array is not made of real numbers, has fewer than two dimensions or no pixel.
    """
    if array.dtype.kind == "c":
        raise UnreadableFileError(
            f"{path} holds complex numbers, which cannot be restored as one image. "
            "Export the amplitude or the phase."
        )
    if array.dtype.kind not in "buif":
        raise UnreadableFileError(f"{path} holds {array.dtype} values, not numbers. Export the image itself.")
    if array.ndim < 2:
        raise UnreadableFileError(
            f"{path} holds no image: its data have {array.ndim} dimension(s), not two. A spectrum or a "
            "profile cannot be restored as an image."
        )
    if array.size == 0:
        raise UnreadableFileError(f"{path} holds an image without pixels, of shape {array.shape}.")
    notes: tuple[str, ...] = ()
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
        notes = ("The file holds only true and false; they were read as 1 and 0.",)
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return list(native.reshape(-1, *native.shape[-2:])), notes


def grey(colour: NDArray[Any]) -> tuple[NDArray[Any], str]:
    """Return the grey of a colour image, shape (..., 3), in its own dtype, and a note on how it was made.

    Three equal channels give that channel, bit for bit; otherwise it is the luma of ITU-R BT.601, with the
    same rounding as Pillow.
    """
    if np.array_equal(colour[..., 0], colour[..., 1]) and np.array_equal(colour[..., 0], colour[..., 2]):
        return colour[..., 0], "The file is a colour image with three equal channels; one of them was read."
    luma = colour.astype(np.float64) @ _LUMA / 65536
    if colour.dtype.kind in "ui":
        luma = np.floor(luma + 0.5)
    return luma.astype(colour.dtype), "The colour image was reduced to grey (ITU-R BT.601 luma)."
