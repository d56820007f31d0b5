"""A watch must not disturb the program that writes an HDF5 file: a lock of ours would make it fail."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tvtasks import readers
from tvtasks.errors import UnreadableFileError

APPENDS = 500
# Opens the file anew for each frame, as acquisition programs do; prints how often that failed.
WRITER = f"""
import sys, h5py, numpy
failed = 0
for number in range({APPENDS}):
    try:
        with h5py.File(sys.argv[1], "a") as file:
            data = file.require_dataset("scan", (1, 8, 8), "f4", maxshape=(None, 8, 8), exact=False) \\
                if number == 0 else file["scan"]
            data.resize(number + 1, axis=0)
            data[number] = number
    except OSError as error:
        failed += 1
        print(error, file=sys.stderr)
print(failed)
"""


def looks(path: Path) -> str:
    """Look at a file as a watch does, and read it; return why it was not read."""
    if (missing := readers.incomplete(path)) or (missing := readers.doubtful(path)):
        return missing
    readers.content_sha256(path)
    try:
        readers.read(path)
    except UnreadableFileError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", ["scan.h5", "scan.emd"])
def test_no_append_fails_while_a_watch_looks(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as writer:
        count = 0
        while writer.poll() is None:
            if path.exists():
                looks(path)
                count += 1
        failures, errors = writer.communicate()
    assert failures.strip() == "0", errors
    assert count > 10
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["scan"][:, 0, 0], np.arange(APPENDS))


def test_the_file_is_read_when_the_writer_has_closed_it(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["scan"] = np.eye(8)
        file.flush()
        if sys.platform == "linux":
            assert readers.unfinished(path) == "another program is writing to it"
    assert looks(path) == ""
