"""What software, on what machine."""

import os
import platform
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py

import tvtasks

_PACKAGES = ("numpy", "scipy", "numba", "llvmlite", "h5py", "tifffile", "imagecodecs", "pillow")


@cache
def software() -> dict[str, Any]:
    """Return the versions of everything that touches the numbers, and on what they were computed."""
    packages = {"tvtasks": tvtasks.__version__, **dict(_versions()), "HDF5": h5py.version.hdf5_version}
    return {
        "packages": packages,
        "commit": _commit(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
    }


def _versions() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:  # not needed by every reader
            continue


def _commit() -> str | None:
    """Return the commit that runs, with "-dirty" where files were changed; None outside a checkout."""
    root = Path(tvtasks.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
