"""How much memory there is, and a budget from which everything that runs at the same time takes."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tvtasks.errors import MemoryShortError, UnusableImageError
from tvtasks.words import amount

RESERVE = 0.9
"""Fraction of the free memory that restoring may take: the rest is for what nobody foresees."""

GIGABYTE = 1e9

_CGROUP = Path("/sys/fs/cgroup")


def free() -> int | None:
    """Return the bytes that programs may still take; None if the system does not say."""
    if sys.platform == "win32":
        return _windows("ullAvailPhys")
    known = [_meminfo("MemAvailable"), _left_in_container()]
    return min((found for found in known if found is not None), default=None)


def total() -> int | None:
    """Return the bytes of memory of the computer, or of the container; None if the system does not say."""
    if sys.platform == "win32":
        return _windows("ullTotalPhys")
    known = [_meminfo("MemTotal"), _number("memory.max"), _number("memory/memory.limit_in_bytes")]
    return min((found for found in known if found is not None), default=None)


def resident() -> int | None:
    """Return the bytes of memory that this process occupies; None if the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        pages = Path("/proc/self/statm").read_text("ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    if sys.platform == "win32":
        return _working_set()
    with suppress(ImportError):
        import resource  # noqa: PLC0415 - Windows has none

        # The most that it ever occupied; macOS counts bytes, others kilobytes.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return None


class Budget:
    """Memory that several threads take from; who cannot have it yet waits for those before.

    Parameters
    ----------
    limit
        Bytes that may be taken at the same time; None for what is free.
    available, installed
        Return the free memory, and all of it.
    """

    def __init__(
        self,
        limit: int | None = None,
        *,
        available: Callable[[], int | None] = free,
        installed: Callable[[], int | None] = total,
    ) -> None:
        self.limit = limit
        self._available = available
        self._installed = installed
        self._turn = threading.Condition()
        self._waiting: deque[object] = deque()
        self._taken = 0
        self._capacity: float = 0

    @contextmanager
    def taking(self, needed: int, what: str) -> Iterator[None]:
        """Take memory for the time of the block, once there is enough of it.

        Parameters
        ----------
        needed
            Bytes.
        what
            What needs it, at the beginning of a sentence.

        Raises
        ------
        UnusableImageError
            It needs more than may ever be taken.
        MemoryShortError
            Other programs leave too little at present.
        """
        self.refuse(needed, what)
        ticket = object()
        with self._turn:
            self._waiting.append(ticket)
            try:
                self._turn.wait_for(lambda: self._waiting[0] is ticket and self._fits(needed))
                if not self._taken and needed > self._capacity:
                    raise MemoryShortError(
                        f"{what} needs about {amount(needed)} of memory to be restored, and other programs "
                        f"leave {amount(self._capacity)}. Close some and try again; a watch retries by "
                        "itself."
                    )
                self._taken += needed
            finally:
                self._waiting.remove(ticket)
                self._turn.notify_all()
        try:
            yield
        finally:
            with self._turn:
                self._taken -= needed
                self._turn.notify_all()

    def refuse(self, needed: int, what: str) -> None:
        """Raise an UnusableImageError if that much memory may never be taken."""
        installed = self._installed()
        most = min(found for found in (self.limit, installed, sys.maxsize) if found is not None)
        if needed > most:
            given = "--memory allows" if most == self.limit else "this computer has"
            raise UnusableImageError(
                f"{what} is too large: it needs about {amount(needed)} of memory to be restored, and {given} "
                f"{amount(most)}. Cut or reduce the image, restore it on a computer with more memory, or "
                "use a model that needs less (TV-L1, Huber-ROF)."
            )

    def _fits(self, needed: int) -> bool:
        """Return whether it may begin; who is alone may in any case, or is refused."""
        if not self._taken:
            known = self._available()
            mine = sys.maxsize if known is None else RESERVE * known
            self._capacity = min(mine, self.limit or sys.maxsize)
        return not self._taken or self._taken + needed <= self._capacity


BUDGET = Budget()
"""What all restorations of this process take from."""


@contextmanager
def limited(limit: int | None) -> Iterator[None]:
    """Limit the memory that restorations of this process take together, for the time of the block."""
    before, BUDGET.limit = BUDGET.limit, limit
    try:
        yield
    finally:
        BUDGET.limit = before


def _meminfo(name: str) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    if name == "MemTotal" and hasattr(os, "sysconf"):
        with suppress(OSError, ValueError):
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def _left_in_container() -> int | None:
    """Return the bytes up to the limit of a container, of either version of Linux's control groups."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        most, now = _number(limit), _number(used)
        if most is not None and now is not None:
            return max(most - now, 0)
    return None


def _number(name: str) -> int | None:
    try:
        return int((_CGROUP / name).read_text("ascii"))
    except (OSError, ValueError):  # "max": there is no limit
        return None


def _windows(name: str) -> int | None:
    import ctypes  # noqa: PLC0415 - windll exists on Windows only

    class Status(ctypes.Structure):
        _fields_ = [
            ("dwLength", ctypes.c_ulong),
            ("dwMemoryLoad", ctypes.c_ulong),
            *[
                (field, ctypes.c_ulonglong)
                for field in (
                    "ullTotalPhys",
                    "ullAvailPhys",
                    "ullTotalPageFile",
                    "ullAvailPageFile",
                    "ullTotalVirtual",
                    "ullAvailVirtual",
                    "ullAvailExtendedVirtual",
                )
            ],
        ]

    status = Status(dwLength=ctypes.sizeof(Status))
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined, unused-ignore]
    return int(getattr(status, name)) if kernel.GlobalMemoryStatusEx(ctypes.byref(status)) else None


def _working_set() -> int | None:
    import ctypes  # noqa: PLC0415 - windll exists on Windows only

    class Counters(ctypes.Structure):
        _fields_ = [
            ("cb", ctypes.c_ulong),
            ("PageFaultCount", ctypes.c_ulong),
            *[
                (field, ctypes.c_size_t)
                for field in (
                    "PeakWorkingSetSize",
                    "WorkingSetSize",
                    "QuotaPeakPagedPoolUsage",
                    "QuotaPagedPoolUsage",
                    "QuotaPeakNonPagedPoolUsage",
                    "QuotaNonPagedPoolUsage",
                    "PagefileUsage",
                    "PeakPagefileUsage",
                )
            ],
        ]

    counters = Counters(cb=ctypes.sizeof(Counters))
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined, unused-ignore]
    process = ctypes.c_void_p(-1)  # this one
    known = kernel.K32GetProcessMemoryInfo(process, ctypes.byref(counters), counters.cb)
    return int(counters.WorkingSetSize) if known else None
