"""Reading in another process: what comes back, and what a library that misbehaves ends as."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tvtasks.errors import UnreadableFileError
from tvtasks.readers import isolated

PROGRAM = """
import os, sys
import numpy as np
from tvtasks.errors import UnreadableFileError
from tvtasks.readers.isolated import Signal

def arrays(path):
    print("a library that talks")
    yield Signal(np.arange(6, dtype=">u2").reshape(2, 3), {"number": 1, "process": os.getpid()})
    yield Signal(np.asfortranarray(np.arange(6.0).reshape(2, 3)), {"nan": float("nan")})

def refuses(path):
    raise UnreadableFileError(f"{path} is a spectrum.")

def fails(path):
    raise KeyError("no such tag")

def dies(path):
    os._exit(3)

def hangs(path):
    while True:
        pass

def devours(path):
    return [Signal(np.ones(6 * 2**30, np.uint8), {})]
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "a_library.py").write_text(PROGRAM, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "a_library.py"
    sys.modules.pop("a_library", None)


def test_arrays_come_back_bit_for_bit_from_another_process(path: Path) -> None:
    first, second = isolated.call("a_library:arrays", path)
    np.testing.assert_array_equal(first.data, [[0, 1, 2], [3, 4, 5]])
    assert (first.data.dtype, second.data.dtype) == (np.dtype(">u2"), np.float64)
    np.testing.assert_array_equal(second.data, first.data)
    assert first.about["number"] == 1
    assert first.about["process"] != os.getpid()
    assert second.about == {"nan": "nan"}
    assert "a_library" not in sys.modules


def test_the_process_stays_for_the_next_file(path: Path) -> None:
    first, second = (isolated.call("a_library:arrays", path)[0].about["process"] for _ in range(2))
    assert first == second


def test_a_refusal_keeps_its_words(path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"a_library\.py is a spectrum\."):
        isolated.call("a_library:refuses", path)


def test_an_error_comes_back_as_one(path: Path) -> None:
    with pytest.raises(RuntimeError, match="no such tag"):
        isolated.call("a_library:fails", path)


def test_a_library_that_ends_the_process_does_not_end_ours_and_the_next_file_is_read(path: Path) -> None:
    with pytest.raises(RuntimeError, match="crashed"):
        isolated.call("a_library:dies", path)
    assert len(isolated.call("a_library:arrays", path)) == 2


def test_a_library_that_hangs_is_stopped(path: Path) -> None:
    isolated.call("a_library:arrays", path)
    before = time.monotonic()
    with pytest.raises(RuntimeError, match="not read within 1 s"):
        isolated.call("a_library:hangs", path, seconds=1.0)
    assert time.monotonic() - before < 30
    assert len(isolated.call("a_library:arrays", path)) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process so")
def test_a_library_that_asks_for_all_memory_is_told_no(path: Path) -> None:
    with pytest.raises(RuntimeError, match="more than 2 GiB of memory"):
        isolated.call("a_library:devours", path)
