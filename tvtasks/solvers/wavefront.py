"""Run several compiled iterations down an image while its rows are in the cache, on one core or more.

A block of `depth` iterations goes down the image together, each `lag` rows behind the previous one. With
several threads the next block follows at a distance, working at the same time on another part of the image.
Every value is computed from the same numbers whatever the depth and the number of threads, so the result is
bit for bit the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from tvtasks.operators import Array
from tvtasks.solvers.scratch import Scratch

# Bytes that the rows of a wavefront may take: about the fast cache of a core.
_CACHE = 2**21
_DEEPEST = 16
BAND = 64
# With arrays in files: iterations that go down the image together, rows to go before their memory is
# released, and parts of an image that are worked on one by one.
_DEEPEST_IN_FILES, _ROWS_IN_FILES, _PARTS_IN_FILES = 32, 512, 16

Block = Callable[[int, int, Array, int, int], None]
"""Runs iterations, from a given one on and a number of them, with the given row buffers, from a first up to a
last step of the wavefront."""


@contextmanager
def mapping(threads: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """Give a function like `map` that does its work in so many threads; `map` itself for one."""
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            yield pool.map
    else:
        yield map


class Threads(NamedTuple):
    """Threads that share the work on one image, and the files that hold its arrays if memory does not."""

    pool: Executor | None
    number: int
    scratch: Scratch | None = None

    def share(self, work: Callable[[int, int], Any], first: int, last: int) -> list[Any]:
        """Do `work` on bands of rows from `first` to before `last`; return the results from top to bottom.

        A band begins at a multiple of `BAND` after the first, so that its blocks of rows are its own.
        """
        parts = _PARTS_IN_FILES if self.scratch else 4
        band = max(BAND, -(-(last - first) // (parts * self.number * BAND)) * BAND)

        def one(start: int) -> Any:
            result = work(start, min(start + band, last))
            self.release()
            return result

        return list((self.pool.map if self.pool else map)(one, range(first, last, band)))

    def release(self) -> None:
        """Release the memory of files."""
        if self.scratch:
            self.scratch.release()


def share_rows(threads: Threads | None, work: Callable[[int, int], Any], first: int, last: int) -> list[Any]:
    """Do `work` on rows from `first` to before `last`, in bands if there are several threads."""
    return [work(first, last)] if threads is None else threads.share(work, first, last)


def zeros(threads: Threads | None, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return zeros, in a file if the arrays of the image are in files."""
    return threads.scratch.zeros(shape, dtype) if threads and threads.scratch else np.zeros(shape, dtype)


def duplicate(a: Array, threads: Threads | None) -> Array:
    """Return a copy, in a file if the arrays of the image are in files."""
    copy = zeros(threads, a.shape, a.dtype)
    copy[...] = a
    return copy


class Wavefront:
    """Runs the iterations of one image and keeps the row buffers.

    Parameters
    ----------
    shape
        Shape of the padded image.
    dtype
        Dtype of the iterates.
    arrays
        Number of arrays of the image's size that an iteration passes through.
    variables
        Number of variables that pass from stage to stage of an iteration, a few rows of each.
    lag
        Rows between two successive iterations.
    stages
        Stages of an iteration; each works one row behind the previous one.
    threads
        None for the calling thread alone, with arrays in memory.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: Any,
        *,
        arrays: int,
        variables: int,
        lag: int,
        stages: int,
        threads: Threads | None = None,
    ) -> None:
        rows, columns = shape
        row_bytes = arrays * columns * np.dtype(dtype).itemsize
        self._in_files = threads is not None and threads.scratch is not None
        self._depth = int(np.clip((_CACHE // row_bytes - 2) // lag, 1, _DEEPEST))
        if self._in_files:
            self._depth = _DEEPEST_IN_FILES
        self._lag = lag
        self._first_end = rows + stages - 2
        self._threads = threads
        self._buffer_shape = (self._depth, variables, 4, columns)
        self._dtype = dtype
        self._buffers: list[Array] = []

    def run(self, block: Block, iterations: int) -> None:
        """Run iterations 0 … iterations − 1."""
        number = self._threads.number if self._threads else 1
        depth = min(self._depth, max(1, -(-iterations // number)))
        starts = range(0, iterations, depth)
        parts = [min(depth, iterations - start) for start in starts]
        if self._threads is None or self._threads.pool is None or len(parts) == 1:
            for start, part in zip(starts, parts, strict=True):
                self._alone(block, start, part)
            return
        threads = self._threads
        # A block is cut into chunks of steps. It may run a chunk once the block before it has finished the
        # next one, so that they never touch the same rows.
        chunk = max(2 * self._lag * depth, 64)
        chunks = -(-self._end(depth) // chunk)
        done = [0] * len(parts)
        progress = threading.Condition()

        def go_down(n: int, buffer: Array) -> None:
            try:
                for c in range(chunks):
                    with progress:
                        while n > 0 and done[n - 1] < min(c + 2, chunks):
                            progress.wait()
                    first, last = max(1, c * chunk), min((c + 1) * chunk, self._end(parts[n]))
                    block(starts[n], parts[n], buffer, first, last)
                    threads.release()
                    with progress:
                        done[n] = c + 1
                        progress.notify_all()
            finally:
                with progress:
                    done[n] = chunks  # after an error as well, or the others would wait forever
                    progress.notify_all()

        # Blocks finish in order, so among as many as there are threads no two share a buffer.
        futures = [self._threads.pool.submit(go_down, n, self._buffer(n % number)) for n in range(len(parts))]
        for future in futures:
            future.result()

    def _alone(self, block: Block, start: int, part: int) -> None:
        """Run one block of iterations in this thread."""
        end, buffer = self._end(part), self._buffer(0)
        rows = _ROWS_IN_FILES if self._in_files else end
        for first in range(1, end, rows):
            block(start, part, buffer, first, min(first + rows, end))
            if self._threads:
                self._threads.release()

    def _end(self, iterations: int) -> int:
        """Return one more than the last step of a block."""
        return self._first_end + self._lag * (iterations - 1)

    def _buffer(self, number: int) -> Array:
        while len(self._buffers) <= number:
            self._buffers.append(np.zeros(self._buffer_shape, self._dtype))
        return self._buffers[number]
