"""The batch engine: restores the images of a set that are not current for a recipe."""

from tvtasks.rerun.estimate import Estimate, Item, free_space
from tvtasks.rerun.planning import Job, Plan, plan
from tvtasks.rerun.request import Request, run_batch
from tvtasks.rerun.working import Pool, execute, live_work

__all__ = [
    "Estimate",
    "Item",
    "Job",
    "Plan",
    "Pool",
    "Request",
    "execute",
    "free_space",
    "live_work",
    "plan",
    "run_batch",
]
