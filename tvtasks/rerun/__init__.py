"""Restoring again what is archived, or what it came from: only what a recipe has not been applied to yet."""

from tvtasks.rerun.estimate import Estimate, Item, free_space
from tvtasks.rerun.planning import Job, Plan, plan
from tvtasks.rerun.request import Request, Sheet, carry_out
from tvtasks.rerun.working import Pool, Result, execute, live_work

__all__ = [
    "Estimate", "Item", "Job", "Plan", "Pool", "Request", "Result", "Sheet", "carry_out", "execute",
    "free_space", "live_work", "plan",
]  # fmt: skip
