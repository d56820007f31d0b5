"""Who writes a file: a name for this process, from which another can tell whether it still runs."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path


def name() -> str:
    """Return a name for this process: 8 letters for where it runs, and its number."""
    return f"{_place()}-{os.getpid()}"


def is_gone(writer: str) -> bool:
    """Return whether a process with such a name has ended; False where that cannot be known from here."""
    place, _, number = writer.partition("-")
    return place == _place() and number.isdecimal() and not _runs(int(number))


@cache
def _place() -> str:
    """Return what two processes share that can see each other: the computer, and in it the container."""
    parts = [platform.node(), f"{uuid.getnode():x}"]
    with suppress(OSError):  # there is none but on Linux
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:8]


def _runs(number: int) -> bool:
    if sys.platform == "win32":
        return _runs_on_windows(number)
    try:
        os.kill(number, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it is another user's
        return True
    return True


def _runs_on_windows(number: int) -> bool:
    """Ask the system: there os.kill would end the process."""
    import ctypes  # noqa: PLC0415

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined, unused-ignore]
    handle = kernel.OpenProcess(0x1000, False, number)  # the right to ask, no more
    if not handle:
        return bool(kernel.GetLastError() == 5)  # it may not be asked, so it is there
    code = ctypes.c_ulong()
    known = kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return not known or code.value == 259  # it has not ended
