"""Reading in another process: what comes back, and what a library that misbehaves ends as."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tvtasks import readers
from tvtasks.errors import UnreadableFileError
from tvtasks.ledger.retries import Retry, is_passing, retry_after
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

def locked(path):
    raise BlockingIOError(11, "Resource temporarily unavailable")

def hdf5_locked(path):
    raise OSError("Unable to open file (unable to lock file, errno = 11, error message = 'busy')")

def damaged(path):
    raise OSError("Unable to read data (wrong checksum)")

def behind(path):
    try:
        locked(path)
    except OSError as error:
        raise ValueError("no image") from error

def lacks(path):
    import a_package_that_nobody_has

def lacks_by_its_own_words(path):
    raise ImportError("The 'sparse' library was not found.")

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


@pytest.mark.parametrize("function", ["locked", "hdf5_locked", "behind"])
def test_what_the_system_refused_keeps_its_number_and_is_tried_again(path: Path, function: str) -> None:
    with pytest.raises(OSError, match=r"\[Errno 11\]") as caught:
        isolated.call(f"a_library:{function}", path)
    assert caught.value.errno == 11
    assert is_passing(caught.value)


def test_a_file_with_a_wrong_checksum_is_damaged_and_not_tried_again(path: Path) -> None:
    with pytest.raises(RuntimeError, match="wrong checksum") as caught:
        isolated.call("a_library:damaged", path)
    assert not is_passing(caught.value)


@pytest.mark.parametrize(
    ("function", "package"),
    [("lacks", "a_package_that_nobody_has"), ("lacks_by_its_own_words", "sparse")],
)
def test_a_missing_package_is_named(path: Path, function: str, package: str) -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        isolated.call(f"a_library:{function}", path)
    assert caught.value.name == package


class TestSentences:
    """What `readers.read` makes of such errors."""

    @pytest.fixture
    def sentence(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], UnreadableFileError]:
        np.save(path.with_name("a.npy"), np.eye(4))

        def read(function: str) -> UnreadableFileError:
            monkeypatch.setattr(np, "load", lambda *_, **__: isolated.call(f"a_library:{function}", path))
            with pytest.raises(UnreadableFileError) as caught:
                readers.read(path.with_name("a.npy"))
            return caught.value

        return read

    def test_a_locked_file_is_not_damaged(self, sentence: Callable[[str], UnreadableFileError]) -> None:
        error = sentence("locked")
        assert "cannot be read at present: Resource temporarily unavailable" in str(error)
        assert "damaged" not in str(error)
        assert retry_after(error) is Retry.FOR_EVER

    def test_nor_is_one_for_which_a_package_is_missing(
        self, sentence: Callable[[str], UnreadableFileError]
    ) -> None:
        error = sentence("lacks_by_its_own_words")
        assert "the package sparse is not installed. Install it: pip install sparse" in str(error)
        assert "damaged" not in str(error)
