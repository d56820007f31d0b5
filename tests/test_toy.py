"""A new step and a new model need their own code and an entry in a table each: everything else follows.

They are registered in a process of their own, because recipes are made from the tables when first imported.
"""

import subprocess
import sys
from pathlib import Path


def test_all_of_tvtasks_knows_a_step_and_a_model_that_were_added() -> None:
    command = [sys.executable, "-m", "pytest", "-n", "0", "--noconftest", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*command, "tests/toy_checks.py"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert "14 passed" in run.stdout
