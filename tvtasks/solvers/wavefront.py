"""Run a compiled iteration several times down an image while its rows are in the cache, on one core or more.

A block of `depth` iterations goes down the image together, each `lag` rows behind the one before. The next
block may follow at a distance; with several threads, blocks are at work at the same time in different parts
of the image. Every value is computed from the same numbers whatever the depth and the number of threads, so
the result is the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, wait
from typing import Any

import numpy as np

from tvtasks.operators import Array

# Bytes that the rows of a wavefront may take: what a core has of fast cache, give or take.
_CACHE = 2**21
_DEEPEST = 16
# With several threads: blocks this shallow, so that enough of them are under way at the same time.
_DEEPEST_SHARED = 4

Block = Callable[[int, Array, int, int], None]
"""Makes so many iterations, given their row buffers, from a first up to a last step of the wavefront."""


class Wavefront:
    """Runs the iterations of one image; keeps the row buffers.

    Parameters
    ----------
    shape
        Of the padded image.
    dtype
        Of the iterates.
    arrays
        Arrays of the image's size that the iteration goes through.
    variables
        What passes from stage to stage of an iteration, a few rows of each.
    lag
        Rows by which an iteration follows the one before.
    stages
        Of an iteration; each works a row behind the one before.
    pool
        Threads; None for the calling one alone.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: Any, *, arrays: int, variables: int, lag: int, stages: int,
        pool: Executor | None = None,
    ) -> None:  # fmt: skip
        rows, columns = shape
        row_bytes = arrays * columns * np.dtype(dtype).itemsize
        deepest = _DEEPEST if pool is None else _DEEPEST_SHARED
        self._depth = int(np.clip((_CACHE // row_bytes - 2) // lag, 1, deepest))
        self._lag = lag
        self._first_end = rows + stages - 2
        self._pool = pool
        self._buffer_shape = (self._depth, variables, 4, columns)
        self._dtype = dtype
        self._kept: list[Array] = []

    def run(self, block: Block, iterations: int) -> None:
        """Make iterations 0 … iterations − 1."""
        parts = [
            slice(start, min(start + self._depth, iterations)) for start in range(0, iterations, self._depth)
        ]  # fmt: skip
        if self._pool is None:
            buffer = self._buffers(1)[0]
            for part in parts:
                block(part.stop - part.start, buffer, 1, self._end(part))
            return
        # A block is cut into chunks of steps. It may do a chunk once the block before it has done the next
        # one too; so two chunks behind, they are at work at the same time and never touch the same rows.
        chunk = max(2 * self._lag * self._depth, 64)
        chunks = -(-self._end(slice(0, self._depth)) // chunk)
        # By the time that the block with the same buffer begins, its predecessor has reached the end.
        buffers = self._buffers(min(len(parts), -(-chunks // 2)))
        for slot in range(chunks + 2 * (len(parts) - 1)):
            now = [(n, slot - 2 * n) for n in range(len(parts)) if 0 <= slot - 2 * n < chunks]
            done = [
                self._pool.submit(
                    block, parts[n].stop - parts[n].start, buffers[n % len(buffers)],
                    max(1, c * chunk), min((c + 1) * chunk, self._end(parts[n])),
                )
                for n, c in now
            ]  # fmt: skip
            for future in wait(done).done:
                future.result()

    def _end(self, part: slice) -> int:
        """One more than the last step of a block."""
        iterations: int = part.stop - part.start
        return self._first_end + self._lag * (iterations - 1)

    def _buffers(self, number: int) -> list[Array]:
        while len(self._kept) < number:
            self._kept.append(np.zeros(self._buffer_shape, self._dtype))
        return self._kept
