"""The tasks without a server; flows/test_restore.py tests them with one."""

import numpy as np
import pytest
from prefect.cache_policies import NO_CACHE

from tvtasks import workflow
from tvtasks.faults import OffsetsAndScars
from tvtasks.recipe import HuberROFStep, Median, Recipe
from tvtasks.steps import STEPS
from tvtasks.tasks import TASKS

STEP = HuberROFStep(model="huber-rof", lam=0.5, direction="x")
LINES = OffsetsAndScars(model="offsets-scars")
RECIPE = Recipe(lines=LINES, background=STEP, median=Median(), contrast=STEP, denoise=STEP)


def test_each_step_that_the_workflow_calls_has_a_task(tmp_path):
    np.save(tmp_path / "stm_1.npy", np.random.default_rng(0).normal(size=(24, 32)))
    called = []

    def call(step, /, *args, **kwargs):
        called.append(step)
        return step(*args, **kwargs)

    workflow.restore_file(tmp_path / "stm_1.npy", RECIPE, tmp_path / "archive", call=call)
    assert set(called) == TASKS.keys()
    assert TASKS.keys() >= {step.run for step in STEPS.values()}


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_no_array_is_hashed_for_a_cache_key_or_persisted(task):
    assert task.cache_policy is NO_CACHE
    assert task.persist_result is False


def test_names_of_tasks_tell_them_apart():
    assert len({task.name for task in TASKS.values()}) == len(TASKS)
