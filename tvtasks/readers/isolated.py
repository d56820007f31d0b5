"""Read a file with the library of another package, in a child process.

This has two purposes. If the library hangs on a damaged file, crashes, or takes all memory, the result is an
error message instead of the end of the watch. And a library under the GPL runs as a separate program: none of
it is in the process of tvtasks, which only receives the arrays.
"""

import atexit
import errno
import json
import os
import re
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
_TIMES_ITS_SIZE = 8  # decoded, as float64, and once more when it is sent
_PROCESSOR_SECONDS = 5.0  # imports and a small file take 1 s
_SECONDS = 60.0  # if processor time cannot be limited, and while a disk does not respond
_BYTES_PER_SECOND = 2e6  # a compressed file on a slow network drive
_FILES_PER_PROCESS = 200

_CHILD = Child("tvtasks.readers.isolated", search=sys.path, requests=_FILES_PER_PROCESS)
# A monitor's short questions do not wait for a large file that is being read.
_LOOKING = Child("tvtasks.readers.isolated", search=sys.path, requests=_FILES_PER_PROCESS)
atexit.register(_CHILD.close)
atexit.register(_LOOKING.close)


@dataclass(frozen=True)
class Signal:
    """An array that a library found in a file.

    Attributes
    ----------
    data
        Numbers, of any shape.
    about
        The library's description of them; values that JSON can store.
    """

    data: NDArray[Any]
    about: Mapping[str, Any]


def look(place: str, path: Path, *, seconds: float) -> list[Signal]:
    """Return the result of a quick function as `call` does, without waiting for a file that is being read."""
    return call(place, path, seconds=seconds, child=_LOOKING)


def call(place: str, path: Path, *, seconds: float | None = None, child: Child = _CHILD) -> list[Signal]:
    """Return the result of a function that reads a file in a child process.

    Parameters
    ----------
    place
        ``package.module:function``; the function takes a path and returns `Signal` objects.
    path
        The file.
    seconds
        Time limit; by default long enough for a file of that size.
    child
        The process to ask.

    Raises
    ------
    UnreadableFileError
        The function raised one.
    OSError
        The system refused something: the file is locked, its share is gone. The number is that of the system.
    ModuleNotFoundError
        A package is not installed; the error carries its name.
    RuntimeError
        The function raised another error or exceeded the limits of time or memory, or its process died.
    """
    size = path.stat().st_size
    slow = size / _BYTES_PER_SECOND
    limit = seconds or _SECONDS + slow
    memory = max(_MOST_MEMORY, _TIMES_ITS_SIZE * size)
    request = {"place": place, "path": str(path.absolute()), "search": sys.path}
    try:
        with child.asking(
            request, seconds=limit, memory=memory, processor_seconds=_PROCESSOR_SECONDS + slow
        ) as stream:
            answer = json.loads(stream.readline())
            signals = [Signal(_received(stream), about) for about in answer.get("signals", ())]
    except ChildEndedError as error:
        reason = "the program that reads it crashed, or exceeded its limit of time or memory"
        raise RuntimeError(f"it was not read within {limit:.0f} s" if error.timed_out else reason) from error
    if "refused" in answer:
        raise UnreadableFileError(answer["refused"])
    if "out_of_memory" in answer:
        raise RuntimeError(f"reading it needs more than {memory / 2**30:.0f} GiB of memory")
    if "missing" in answer:
        raise ModuleNotFoundError(answer["reason"], name=answer["missing"])
    if "errno" in answer:
        raise OSError(answer["errno"], answer["reason"], str(path))
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
    """Read a file; yield the descriptions of the arrays, then the arrays."""
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
    except ImportError as error:
        yield {"missing": _package(error), "reason": _reason(error)}
    except Exception as error:  # the libraries raise all kinds of errors for a damaged file
        number = errno_of(error)
        yield {"failed": _reason(error)} if number is None else {"errno": number, "reason": _reason(error)}
    else:
        yield {"signals": about}
        for one in signals:
            # Not format.write_array, which lets C seek in an open file; a pipe cannot seek.
            data, header = np.ascontiguousarray(one.data), BytesIO()
            npy_format.write_array_header_1_0(header, npy_format.header_data_from_array_1_0(data))
            yield header.getvalue()
            yield data.reshape(-1).view(np.uint8).data


def _reason(error: Exception) -> str:
    told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return next(iter(told.splitlines()), "") or type(error).__name__


def _package(error: ImportError) -> str:
    """Return the name of a package that is missing; libraries often give it in their sentence alone."""
    quoted = re.search(r"'(\w+)'", str(error))
    return error.name or (quoted[1] if quoted else "a package")


def errno_of(error: BaseException | None) -> int | None:
    """Return the number by which the system refused something; None if it did not.

    HDF5 gives it in its sentence alone, and libraries give others for damaged files.
    """
    while error is not None:
        if isinstance(error, OSError):
            told = re.search(r"\berrno = (\d+)", str(error))
            number = error.errno or (int(told[1]) if told else None)
            return None if number in {errno.EINVAL, 0} else number
        error = error.__cause__
    return None


if __name__ == "__main__":
    os.environ["HDF5_USE_FILE_LOCKING"] = "FALSE"  # a lock of ours would make the program that writes fail
    serve(_answer)
