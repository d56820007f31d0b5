"""Total-variation restoration of microscope images as they are acquired, with provenance.

The names below are loaded on first use, so that ``import tvtasks`` stays fast: it imports neither Prefect nor
matplotlib, h5py or numba.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvtasks.channels import read_images as read_images
    from tvtasks.choosing.stacks import denoise_stack as denoise_stack
    from tvtasks.errors import TvtasksError as TvtasksError
    from tvtasks.micrograph import Micrograph as Micrograph
    from tvtasks.models import TGVL1 as TGVL1
    from tvtasks.models import TVL1 as TVL1
    from tvtasks.models import HuberROF as HuberROF
    from tvtasks.readers import read as read
    from tvtasks.recipe import Recipe as Recipe
    from tvtasks.restoration import Restoration as Restoration
    from tvtasks.restoration import restore as restore
    from tvtasks.solvers import Gap as Gap
    from tvtasks.solvers import Published as Published
    from tvtasks.solvers import Solution as Solution
    from tvtasks.solvers import solve as solve

__version__ = "0.1.0"

_HOME = {
    "TvtasksError": "errors",
    "Micrograph": "micrograph",
    "HuberROF": "models",
    "TVL1": "models",
    "TGVL1": "models",
    "Gap": "solvers",
    "Published": "solvers",
    "Solution": "solvers",
    "solve": "solvers",
    "Recipe": "recipe",
    "Restoration": "restoration",
    "restore": "restoration",
    "read": "readers",
    "read_images": "channels",
    "denoise_stack": "choosing.stacks",
}
__all__ = sorted(_HOME)  # noqa: PLE0605 - a sorted list of the names above


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tvtasks' has no attribute {name!r}")
    return getattr(import_module(f"tvtasks.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
