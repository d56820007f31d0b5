import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import tvtasks

PACKAGE = Path(tvtasks.__file__).parent
HEAVY = {
    "prefect",
    "matplotlib",
    "h5py",
    "numba",
    "tifffile",
    "imagecodecs",
    "PIL",
    "watchdog",
    "numpy",
    "scipy",
}


def modules_after(statement):
    """Top-level packages in a fresh interpreter that has run a statement."""
    code = f"import json, sys; {statement}; print(json.dumps(list(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(run.stdout)}


def test_import_of_the_package_brings_in_nothing_heavy():
    assert not modules_after("import tvtasks") & HEAVY


def test_describing_a_recipe_brings_in_no_compiler_and_no_file_format():
    loaded = modules_after(
        "import tvtasks; tvtasks.Recipe.load('afm-background'); tvtasks.HuberROF(1); tvtasks.solve"
    )
    assert not loaded & (HEAVY - {"numpy", "scipy"})


def test_every_public_name_can_be_had():
    for name in tvtasks.__all__:
        assert getattr(tvtasks, name) is not None
    assert {*tvtasks.__all__, "__version__"} <= set(dir(tvtasks))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tvtasks.nothing  # noqa: B018 - asking is the test


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_only_tasks_imports_prefect(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    assert "prefect" not in names or path == PACKAGE / "tasks.py"
    assert "flows" not in names
