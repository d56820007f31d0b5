"""Reading with a library of others in a process of its own.

Two things are had by it. A damaged file on which the library hangs, asks for all memory or crashes ends as a
sentence and not as the end of the watch. And a library under the GPL is run as a program of its own: nothing
of it is in the process of tvtasks, which only takes up the arrays that it prints.

The process stays, waiting for the next file, so that what it imports is imported once. It ends with its
parent.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from tvtasks.errors import UnreadableFileError
from tvtasks.readers.metadata import json_safe

_MOST_MEMORY = 2 * 2**30
_TIMES_ITS_SIZE = 8  # decoded, as float64, and once more on the way out
_PROCESSOR_SECONDS = 5.0  # imports and a small file take one
_SECONDS = 60.0  # where processor time cannot be limited, and while a disk does not answer
_BYTES_PER_SECOND = 2e6  # a compressed file on a slow network drive
_FILES_PER_PROCESS = 200  # libraries leak


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


class _Served:
    """The process that reads, and how many files it has read; none before the first."""

    lock = threading.Lock()
    process: subprocess.Popen[bytes] | None = None
    files = 0


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
    request = {
        "place": place,
        "path": str(path.absolute()),
        "memory": max(_MOST_MEMORY, _TIMES_ITS_SIZE * size),
        "processor": _PROCESSOR_SECONDS + slow,
        "search": sys.path,
    }
    with _Served.lock:
        process = _running()
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(limit, process.kill)
        timer.start()
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            signals = [Signal(_received(process.stdout), about) for about in answer.get("signals", ())]
        except (OSError, ValueError, EOFError) as error:
            in_time = timer.is_alive()
            _stop()
            reason = "the program that reads it crashed or used up its time or memory on it"
            raise RuntimeError(reason if in_time else f"it was not read within {limit:.0f} s") from error
        except BaseException:  # Ctrl-C: the answer that is still under way must not be taken for the next
            _stop()
            raise
        finally:
            timer.cancel()
    if "refused" in answer:
        raise UnreadableFileError(answer["refused"])
    if "failed" in answer:
        raise RuntimeError(answer["failed"])
    return signals


def _running() -> subprocess.Popen[bytes]:
    process = _Served.process
    if process is None or process.poll() is not None or _Served.files >= _FILES_PER_PROCESS:
        _stop()
        process = _Served.process = subprocess.Popen(
            # -P: a file beside the images is never taken for a module.
            [sys.executable, "-P", "-m", "tvtasks.readers.apart"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        _Served.files = 0
    _Served.files += 1
    return process


@atexit.register
def _stop() -> None:
    process, _Served.process = _Served.process, None
    if process is not None:
        process.kill()
        with suppress(OSError):
            process.communicate()


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


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer each request by a line of JSON, then the arrays."""
    for line in requests:
        request = json.loads(line)
        sys.path[:] = request["search"]
        signals: list[Signal] = []
        try:
            module, _, name = request["place"].partition(":")
            function: Callable[[Path], Iterable[Signal]] = getattr(import_module(module), name)
            _limit(request["memory"], request["processor"])
            signals = list(function(Path(request["path"])))
            answer: dict[str, Any] = {"signals": [json_safe(one.about) for one in signals]}
        except UnreadableFileError as error:
            answer = {"refused": str(error)}
        except MemoryError:
            answer = {"failed": f"it asks for more than {request['memory'] / 2**30:.0f} GiB of memory"}
        except Exception as error:  # the libraries raise anything at all when a file is damaged
            answer = {"failed": next(iter(str(error).splitlines()), "") or type(error).__name__}
        answers.write(json.dumps(answer, allow_nan=False).encode() + b"\n")
        if "signals" in answer:
            for one in signals:
                # Not format.write_array: it hands an open file to C, which seeks in it; a pipe cannot.
                data = np.ascontiguousarray(one.data)
                npy_format.write_array_header_1_0(answers, npy_format.header_data_from_array_1_0(data))
                answers.write(data.reshape(-1).view(np.uint8).data)
        answers.flush()


def _limit(memory: int, processor: float) -> None:
    """Let this process have no more memory and time, where the system can see to that (not on Windows)."""
    with suppress(ImportError, AttributeError, ValueError, OSError):
        import resource  # noqa: PLC0415 - there is none on Windows

        # Not the address space: a linear algebra library reserves gigabytes of that which it never uses.
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (memory, most))
        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + processor) + 1, most))


def _main() -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then stops this
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the libraries print must not get between the arrays
    _serve(sys.stdin.buffer, answers)
    raise SystemExit


if __name__ == "__main__":
    _main()
