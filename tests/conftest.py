"""Keep Prefect's folder and a developer's settings of it out of the tests; no test is judged by its speed."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

pytest_plugins = ["tests.prefect_fixtures"]

_HOME = tempfile.TemporaryDirectory(prefix="tvtasks-tests-", ignore_cleanup_errors=True)

# The first call of a solver on a machine compiles it, which takes seconds.
settings.register_profile("compiled", deadline=None, max_examples=40)
settings.load_profile("compiled")

# With -n 2 files go to the processes in this order, one each: the first compiles the solvers while the second
# waits for a watch that is killed; afterwards the second finds what is compiled.
FIRST = (
    "solvers/test_solve.py",
    "flows/test_soak.py",
    "choosing/test_diagnosis.py",
    "dashboard/test_serve.py",
    "test_memory.py",
    "dashboard/test_server.py",
)

# Not in a hook: other conftests import Prefect, which makes its folder then, and rich, which looks for
# colours.
for _name in [name for name in os.environ if name.startswith("PREFECT_")]:
    del os.environ[_name]
os.environ["PREFECT_HOME"] = _HOME.name
os.environ["XDG_STATE_HOME"] = _HOME.name
for _name in ("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE"):
    os.environ.pop(_name, None)
# A shell has what it starts in the background ignore Ctrl-C; so would the processes that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""
    here = Path(__file__).parent
    order = {here / name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path, len(FIRST)))


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Iterator[Any]:
    """With ``-n`` reports go to another process as UTF-8, and some tests log names that have no encoding."""
    return _in_utf8((yield))


def _in_utf8(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_in_utf8(key): _in_utf8(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_in_utf8(inner) for inner in value]
    if isinstance(value, tuple):
        return tuple(_in_utf8(inner) for inner in value)
    return value
