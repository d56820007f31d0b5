"""The short form of ``python -m tests.soak``: no file is lost and none is restored twice."""

import os

import pytest

from tests.soak.soak import Plan, run
from tests.soak.verdict import judge

PLAN = Plan(
    files=100,
    burst=25,
    kills=4,
    with_dashboard=0,
    dropouts=1,
    full_disk=False,
    losses=8,
    unmounts=1,
    rest=0.5,
    rate=100,
    patience=120,
)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a folder that is watched cannot be renamed on Windows")
def test_each_of_100_files_is_restored_exactly_once_by_a_watch_that_is_killed_4_times(tmp_path):
    with run(tmp_path, PLAN) as course:
        verdict = judge(course, PLAN)
    assert verdict.faults == []
    assert course.kills == 4
    assert course.lost == 8
    assert verdict.counts["good files"] > 80
