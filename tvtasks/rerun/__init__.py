"""The batch engine: restores a set of images by a recipe, those to which it has not been applied yet."""

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
