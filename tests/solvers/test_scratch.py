"""Images larger than memory: their arrays are in temporary files, and the result is the same."""

import gc
import sys
import tempfile

import numpy as np
import pytest

from tvtasks import TGVL1, TVL1, Gap, HuberROF, solve
from tvtasks.errors import MemoryShortError
from tvtasks.solvers.scratch import Scratch

MODELS = [TVL1(0.7), TGVL1(0.7), HuberROF(10, 0.002)]


def scan():
    """Terraces with noise, more rows than go down an image together."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:600, :40]
    return (0.6 * (x + y / 9 > 40) + 0.1 * rng.random(x.shape)).astype(np.float32)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_result_is_the_same_as_in_memory(model):
    rule = Gap(1e-3, max_iterations=150)
    known = solve(scan(), model, stop=rule)
    for threads in (1, 2):
        solution = solve(scan(), model, stop=rule, threads=threads, memory=0)
        np.testing.assert_array_equal(solution.u, known.u)
        assert solution.gap == known.gap
        assert solution.history == known.history


def test_files_are_gone_with_the_arrays(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    solve(scan(), TVL1(0.7), stop=Gap(1e-2), memory=0)
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_what_a_file_holds_survives_the_release_of_its_memory():
    scratch = Scratch()
    array = scratch.zeros((300, 500), np.float64)
    array[...] = np.arange(500)
    scratch.release()
    np.testing.assert_array_equal(array[299], np.arange(500))


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limit of the size of a file")
def test_full_disk_is_a_sentence(tmp_path, monkeypatch):
    import resource

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(MemoryShortError, match=r"no room for an array of .*TMPDIR"):
            solve(scan(), TVL1(0.7), memory=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
