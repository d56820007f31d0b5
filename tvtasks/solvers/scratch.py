"""Arrays in temporary files, for images whose working arrays do not fit in memory.

Rows are worked on from top to bottom, so each pass over the image reads and writes such an array once, and a
pass makes many iterations. The numbers are the same as in memory.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Any
from weakref import WeakSet

import numpy as np

from tvtasks.errors import MemoryShortError
from tvtasks.operators import Array
from tvtasks.words import amount


class Scratch:
    """Makes arrays in temporary files, which are gone when nothing uses the array any more.

    The files lie where `tempfile` puts them: ``TMPDIR`` names another folder.
    """

    def __init__(self) -> None:
        self._shown: WeakSet[mmap.mmap] = WeakSet()

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return zeros in a file.

        Raises
        ------
        MemoryShortError
            The disk is full.
        """
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        try:
            with tempfile.TemporaryFile(prefix="tvtasks-") as file:
                if hasattr(os, "posix_fallocate"):
                    # If space were not reserved, a full disk would end the process without a word.
                    os.posix_fallocate(file.fileno(), 0, size)
                file.truncate(size)
                shown = mmap.mmap(file.fileno(), size)
        except OSError as error:
            raise MemoryShortError(
                f"The image is too large for memory, and {tempfile.gettempdir()} has no room for an array of "
                f"{amount(size)}: {error.strerror}. Free some space, or set TMPDIR to another folder."
            ) from error
        self._shown.add(shown)
        return np.frombuffer(shown, dtype).reshape(shape)

    def release(self) -> None:
        """Let the system take back the memory in which it shows the files; what they hold stays."""
        if hasattr(mmap, "MADV_DONTNEED"):  # Windows takes it back by itself
            for shown in tuple(self._shown):
                shown.madvise(mmap.MADV_DONTNEED)
