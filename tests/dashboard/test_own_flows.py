"""Our flows are found, whatever else is called `flows`."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
LOAD = """
import sys
sys.path[:0] = {paths!r}
from tvtasks.dashboard import own_flows
print(own_flows.load("restore").restore_flow.name, own_flows.load("acquire").acquire_flow.name)
print(own_flows.flow_at("flows.rerun.rerun_flow").name)
"""


@pytest.mark.parametrize("content", ["", "raise RuntimeError('a flow of mine')"], ids=["empty", "broken"])
def test_a_folder_of_that_name_on_the_path_does_no_harm(tmp_path, content):
    paths = [str(tmp_path), str(REPOSITORY)]
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").write_text(content)
    (tmp_path / "flows" / "restore.py").write_text("restore_flow = 'mine'")
    run = subprocess.run(
        [sys.executable, "-c", LOAD.format(paths=paths)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert run.stdout.split() == ["restore", "acquire", "rerun"], run.stderr
