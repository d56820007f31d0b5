import os
import subprocess
import sys

import pytest

from tvtasks import writers


def name_of_one_that_ended() -> str:
    code = "from tvtasks import writers; print(writers.name())"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_this_process_is_not_gone() -> None:
    assert not writers.is_gone(writers.name())


def test_a_process_that_ended_is_gone() -> None:
    assert writers.is_gone(name_of_one_that_ended())


def test_of_another_computer_nothing_is_known() -> None:
    number = name_of_one_that_ended().partition("-")[2]
    assert not writers.is_gone(f"0123abcd-{number}")


@pytest.mark.parametrize("writer", ["", "0123abcd", "-", "x-y", f"{os.getpid()}"], ids=range(5))
def test_of_other_names_nothing_is_known(writer: str) -> None:
    assert not writers.is_gone(writer)


def test_a_number_that_no_process_has_is_gone() -> None:
    place = writers.name().partition("-")[0]
    assert writers.is_gone(f"{place}-{2**22 + 1}")  # beyond the largest of Linux
