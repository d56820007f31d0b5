import subprocess
import sys

import numpy as np

from tvtasks.solvers.compiling import kept, on_first_compiling

FIRST_USE = """
import numpy as np
from tvtasks.solvers.compiling import on_first_compiling
on_first_compiling(lambda: print("compiling"))
from tvtasks.solvers.kernels import same
for kind in (np.float32, np.float64):
    row = np.arange(4, dtype=kind).reshape(1, 4)
    same(row, 0)
print(row.tolist())
"""


def test_compiling_is_announced_once_and_not_again_by_the_next_process(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))

    def run():
        return subprocess.run(
            [sys.executable, "-c", FIRST_USE], capture_output=True, text=True, check=True
        ).stdout.splitlines()

    assert run() == ["compiling", "[[1.0, 1.0, 2.0, 2.0]]"]
    assert list(tmp_path.rglob("*same*.nbc"))
    assert run() == ["[[1.0, 1.0, 2.0, 2.0]]"]


def test_without_a_folder_for_compiled_code_a_function_is_compiled_all_the_same():
    there = {}
    exec("def double(a):\n    return 2 * a", there)  # numba keeps nothing of a function without a file
    heard = []
    on_first_compiling(lambda: heard.append(1))
    assert kept()(there["double"])(np.float64(21)) == 42
    assert heard == [1]
