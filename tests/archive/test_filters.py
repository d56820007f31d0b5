import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.archive.test_layout import assert_valid
from tvtasks import Restoration
from tvtasks.archive import Storage, load, summary, write
from tvtasks.archive.filters import options
from tvtasks.archive.verification import check
from tvtasks.errors import ConfigurationError

FAST = ["lz4", "zstd"]


@pytest.mark.parametrize("compression", ["gzip", "none", *FAST])
def test_every_way_is_valid_and_gives_the_same_back(
    restoration: Restoration, tmp_path: Path, compression: str
) -> None:
    if compression in FAST:
        pytest.importorskip("hdf5plugin")
    path = write(restoration, tmp_path, storage=Storage(compression, exact=True))  # type: ignore[arg-type]
    assert_valid(path)
    assert check(path) == []
    run = load(path)
    np.testing.assert_array_equal(run.restored, restoration.restored)
    assert run.record["run_id"] == load(write(restoration, tmp_path / "gzip")).record["run_id"]


def test_without_the_plugin_a_file_says_what_to_install_and_is_not_called_damaged(
    restoration: Restoration, tmp_path: Path
) -> None:
    pytest.importorskip("hdf5plugin")
    path = write(restoration, tmp_path, storage=Storage("lz4"))
    script = (
        "import sys\n"
        "sys.modules['hdf5plugin'] = None\n"  # as if it were not installed
        "from tvtasks.archive.verification import check\n"
        "from tvtasks.archive import load\n"
        f"print(check({str(path)!r})[0].message)\n"
        f"try: load({str(path)!r})\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert told.count("pip install tvtasks[fast]") == 2
    assert "damaged" not in told


def test_without_the_plugin_nothing_is_written(
    restoration: Restoration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.raises(ConfigurationError, match=r"pip install tvtasks\[fast\]"):
        write(restoration, tmp_path, storage=Storage("zstd"))
    assert list(tmp_path.iterdir()) == []


def test_a_way_that_there_is_not() -> None:
    with pytest.raises(ConfigurationError, match="Use one of gzip, lz4, zstd, none"):
        options("rar")  # type: ignore[arg-type]


def test_the_package_is_loaded_lazily() -> None:
    script = "import sys, tvtasks.archive.catalogue; print({'h5py', 'scipy', 'numba'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "set()"
    archive = importlib.import_module("tvtasks.archive")
    assert all(hasattr(archive, name) for name in archive.__all__)
    assert archive.summary is summary
