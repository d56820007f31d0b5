"""Names for processes that write files, by which another process finds out whether a writer still runs."""

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
    """Return a name for this process: 8 letters for the place where it runs, and its number."""
    return f"{_place()}-{os.getpid()}"


def is_gone(writer: str) -> bool:
    """Return whether the process of that name has ended; False if that cannot be known from here."""
    place, _, number = writer.partition("-")
    return place == _place() and number.isdecimal() and not _runs(int(number))


@cache
def _place() -> str:
    """Return a name for the computer, and the container on it, whose processes can see each other."""
    parts = [platform.node(), f"{uuid.getnode():x}"]
    with suppress(OSError):  # only Linux has it
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:8]


def _runs(number: int) -> bool:
    if sys.platform == "win32":
        return _runs_on_windows(number)
    try:
        os.kill(number, 0)  # signal 0 sends nothing
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it belongs to another user
        return True
    return True


def _runs_on_windows(number: int) -> bool:
    """Ask the system: on Windows, os.kill would end the process."""
    import ctypes  # noqa: PLC0415

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined, unused-ignore]
    handle = kernel.OpenProcess(0x1000, False, number)  # the right to query, no more
    if not handle:
        return bool(kernel.GetLastError() == 5)  # access is denied, so the process exists
    code = ctypes.c_ulong()
    known = kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return not known or code.value == 259  # STILL_ACTIVE
