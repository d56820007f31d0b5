import ast
import doctest
import json
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
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


def test_the_help_of_the_commands_brings_in_nothing_heavy():
    assert not modules_after("import tvtasks.cli.app") & HEAVY


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


SOURCES = sorted(PACKAGE.rglob("*.py"))


def imported(path):
    """Modules that a file imports, wherever in it; without what is there for type checkers alone."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_tasks_and_the_dashboard_import_prefect_and_nothing_imports_the_flows(path):
    names = {name.split(".")[0] for name in imported(path)}
    place = path.relative_to(PACKAGE)
    assert "prefect" not in names or place.parts[0] in {"tasks.py", "dashboard"}
    assert "flows" not in names


def test_arrows_between_rooms_run_one_way():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in SOURCES}
    arrows = {room: set() for room in rooms}
    for path in SOURCES:
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        names = {name.split(".")[1] for name in imported(path) if name.startswith("tvtasks.")}
        arrows[room] |= (names & rooms) - {room, "__init__"}
    try:
        list(TopologicalSorter(arrows).static_order())
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


UPWARDS = {"restoration.py": {"figures", "figures.plot", "tuning"}}
"""Rooms above that a module loads by name, so that a result offers what they do to it; see DESIGN.md."""

NAMED = {"__init__.py", "archive/__init__.py", "restoration.py"}
"""Modules that load a module of tvtasks by a name that is put together."""


def loaded_by_name(path):
    """The arguments of each call that loads a module by name."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "_above")):
            yield node.args[0]


def test_arrows_by_name_are_those_of_the_design_and_no_others():
    found, upwards = set(), {}
    for path in SOURCES:
        place = path.relative_to(PACKAGE).as_posix()
        for name in loaded_by_name(path):
            if isinstance(name, ast.JoinedStr) and ast.unparse(name).startswith("f'tvtasks."):
                found.add(place)
            elif isinstance(name, ast.Constant) and (place in NAMED or name.value.startswith("tvtasks")):
                upwards.setdefault(place, set()).add(name.value)
    assert found == NAMED
    assert upwards == UPWARDS


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if ">>> " in path.read_text("utf-8")],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_the_examples_of_a_module_run(path):
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    failed, tried = doctest.testmod(import_module(name))
    assert tried
    assert not failed
