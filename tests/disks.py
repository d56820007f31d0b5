"""A disk of its own that can be unmounted under a program and mounted again; only for root on Linux."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

needs_disk = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("mkfs.ext4"),
    reason="only root on Linux can mount a disk",
)


class Disk:
    """An ext4 file system in a file.

    Parameters
    ----------
    root
        Where the file and the mount point are made.
    """

    def __init__(self, root: Path) -> None:
        self.point = root / "disk"
        self.point.mkdir()
        self._image = root / "disk.img"
        with self._image.open("wb") as file:
            file.truncate(40_000_000)
        subprocess.run(["mkfs.ext4", "-q", self._image], check=True)
        self.mount()

    def mount(self) -> None:
        done = subprocess.run(
            ["mount", "-o", "loop", self._image, self.point], check=False, capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")

    def unmount(self) -> None:
        """Take it away although files on it are open."""
        subprocess.run(["umount", "-l", self.point], check=True)

    def close(self) -> None:
        while subprocess.run(["umount", "-l", self.point], check=False, capture_output=True).returncode == 0:
            pass
