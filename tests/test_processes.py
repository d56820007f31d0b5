"""A child that misbehaves ends alone, and the next request is answered by another."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tvtasks.errors import ConfigurationError
from tvtasks.processes import Child, ChildClosedError, ChildEndedError

MODULE = """
import os, time
from tvtasks.processes import serve

def answer(request):
    if request == "die":
        os._exit(3)
    if request == "hang":
        time.sleep(60)
    if request == "print":
        print("a library that talks")
    yield {"request": request, "process": os.getpid()}

serve(answer)
"""


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    (tmp_path / "a_child.py").write_text(MODULE, encoding="utf-8")
    child = Child("a_child", search=[str(tmp_path), *sys.path], requests=3)
    yield child
    child.close()


def test_requests_are_answered_by_one_process_which_is_not_ours(child: Child) -> None:
    first, second = child.ask("a"), child.ask("print")
    assert (first["request"], second["request"]) == ("a", "print")
    assert first["process"] == second["process"] != os.getpid()


def test_after_so_many_requests_another_process_takes_over(child: Child) -> None:
    processes = [child.ask(n)["process"] for n in range(4)]
    assert len(set(processes[:3])) == 1
    assert processes[3] != processes[0]


def test_a_child_that_dies_is_replaced(child: Child) -> None:
    with pytest.raises(ChildEndedError) as caught:
        child.ask("die")
    assert not caught.value.timed_out
    assert child.ask("a")["request"] == "a"


def test_a_child_that_hangs_is_stopped_when_its_time_is_up(child: Child) -> None:
    child.ask("a")
    begun = time.monotonic()
    with pytest.raises(ChildEndedError) as caught:
        child.ask("hang", seconds=0.2)
    assert caught.value.timed_out
    assert time.monotonic() - begun < 30


def test_closing_ends_a_request_under_way_and_refuses_the_next(child: Child) -> None:
    child.ask("a")
    threading.Timer(0.2, child.close).start()
    with pytest.raises(ChildClosedError):
        child.ask("hang")
    with pytest.raises(ChildClosedError):
        child.ask("a")


def test_a_module_that_cannot_be_run_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot run tvtasks\.nothing"):
        Child("tvtasks.nothing").ask("a")
