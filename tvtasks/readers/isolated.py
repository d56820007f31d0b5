"""Read a file with another package's library in a child process.

That has two uses. A damaged file on which the library hangs, asks for all memory or crashes becomes an error
message and not the end of the watch. And a library under the GPL runs as a program of its own: none of it is
in the process of tvtasks, which only takes the arrays that it prints.
"""

import atexit
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from tvtasks.errors import UnreadableFileError
from tvtasks.processes import Child, ChildEndedError, serve
from tvtasks.readers.metadata import json_safe

_MOST_MEMORY = 2 * 2**30
_TIMES_ITS_SIZE = 8  # decoded, as float64, and once more on the way out
_PROCESSOR_SECONDS = 5.0  # imports and a small file take one
_SECONDS = 60.0  # where processor time cannot be limited, and while a disk does not answer
_BYTES_PER_SECOND = 2e6  # a compressed file on a slow network drive
_FILES_PER_PROCESS = 200

_CHILD = Child("tvtasks.readers.isolated", search=sys.path, requests=_FILES_PER_PROCESS)
atexit.register(_CHILD.close)


@dataclass(frozen=True)
class Signal:
    """An array that a library found in a file.

    Attributes
    ----------
    data
        The values, any shape; of numbers.
    about
        What the library says about them, in values that JSON knows.
    """

    data: NDArray[Any]
    about: Mapping[str, Any]


def call(place: str, path: Path, *, seconds: float | None = None) -> list[Signal]:
    """Return what a function makes of a file in another process.

    Parameters
    ----------
    place
        ``package.module:function``; the function takes a path and returns `Signal` objects.
    path
        The file.
    seconds
        How long it may take; by default as long as a file of that size may need.

    Raises
    ------
    UnreadableFileError
        Where the function raises one.
    RuntimeError
        Where it raises anything else, takes too long or too much memory, or its process dies.
    """
    size = path.stat().st_size
    slow = size / _BYTES_PER_SECOND
    limit = seconds or _SECONDS + slow
    memory = max(_MOST_MEMORY, _TIMES_ITS_SIZE * size)
    request = {"place": place, "path": str(path.absolute()), "search": sys.path}
    try:
        with _CHILD.asking(
            request, seconds=limit, memory=memory, processor_seconds=_PROCESSOR_SECONDS + slow
        ) as stream:
            answer = json.loads(stream.readline())
            signals = [Signal(_received(stream), about) for about in answer.get("signals", ())]
    except ChildEndedError as error:
        reason = "the program that reads it crashed or used up its time or memory on it"
        raise RuntimeError(f"it was not read within {limit:.0f} s" if error.timed_out else reason) from error
    if "refused" in answer:
        raise UnreadableFileError(answer["refused"])
    if "out_of_memory" in answer:
        raise RuntimeError(f"it asks for more than {memory / 2**30:.0f} GiB of memory")
    if "failed" in answer:
        raise RuntimeError(answer["failed"])
    return signals


def _received(stream: IO[bytes]) -> NDArray[Any]:
    npy_format.read_magic(stream)
    shape, fortran, dtype = npy_format.read_array_header_1_0(stream)
    array = np.empty(shape, dtype, order="F" if fortran else "C")
    content = array.reshape(-1, order="A").view(np.uint8).data
    while content:
        if not (read := stream.readinto(content)):  # type: ignore[attr-defined]  # a pipe has it
            raise EOFError
        content = content[read:]
    return array


def _answer(request: Mapping[str, Any]) -> Iterator[Any]:
    """Read a file: what is said of each array, then the arrays."""
    sys.path[:] = request["search"]
    try:
        module, _, name = request["place"].partition(":")
        function: Callable[[Path], Iterable[Signal]] = getattr(import_module(module), name)
        signals = list(function(Path(request["path"])))
        about = [json_safe(one.about) for one in signals]
    except UnreadableFileError as error:
        yield {"refused": str(error)}
    except MemoryError:
        yield {"out_of_memory": True}
    except Exception as error:  # the libraries raise anything at all when a file is damaged
        yield {"failed": next(iter(str(error).splitlines()), "") or type(error).__name__}
    else:
        yield {"signals": about}
        for one in signals:
            # Not format.write_array: it hands an open file to C, which seeks in it; a pipe cannot.
            data, header = np.ascontiguousarray(one.data), BytesIO()
            npy_format.write_array_header_1_0(header, npy_format.header_data_from_array_1_0(data))
            yield header.getvalue()
            yield data.reshape(-1).view(np.uint8).data


if __name__ == "__main__":
    serve(_answer)
