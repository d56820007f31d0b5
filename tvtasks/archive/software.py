"""The software of a run, and the machine that it ran on."""

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py

import tvtasks

_PACKAGES = ("numpy", "scipy", "numba", "llvmlite", "h5py", "tifffile", "imagecodecs", "pillow")


@cache
def software() -> dict[str, Any]:
    """Return the versions of everything that influences the numbers, and the machine."""
    packages = {"tvtasks": tvtasks.__version__, **dict(_versions()), "HDF5": h5py.version.hdf5_version}
    return {
        "packages": packages,
        "commit": _commit(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "usable_cpus": usable_cpus(),
    }


def usable_cpus() -> int:
    """Return how many processors this process may use; on a cluster, fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    """Return the model of the processor, which may influence the last digits of results."""
    # on other systems platform knows the model; on Linux it knows only the architecture
    cpuinfo = Path("/proc/cpuinfo")
    with suppress(OSError):
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _versions() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:  # not every reader needs it
            continue


def _commit() -> str | None:
    """Return the commit that runs, with "-dirty" after changes; None outside a checkout."""
    root = Path(tvtasks.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
