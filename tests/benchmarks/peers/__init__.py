"""Other programs that minimise the same models, each in a module of its own with the same two functions.

``refusal(model)`` says why a program cannot minimise a model, or is empty. ``run(image, model, direction,
watch)`` iterates on a float64 image and calls `watch` after each iteration, until that raises.
"""

from importlib import import_module
from types import ModuleType

from tvtasks import HuberROF
from tvtasks.models import Model

# pyproximal makes arrays of this length.
FOREVER = 10**6

NAMES = {
    "today": "published iteration, scipy.sparse",
    "pyproximal": "pyproximal",
    "odl": "ODL",
    "scikit_image": "scikit-image",
}


def installed() -> tuple[dict[str, ModuleType], dict[str, str]]:
    """Return the peers that can be imported, and for the others why not, both by name."""
    peers, missing = {}, {}
    for module, name in NAMES.items():
        try:
            peers[name] = import_module(f"{__name__}.{module}")
        except Exception as error:  # a package that does not go with this NumPy can raise anything
            missing[name] = f"{type(error).__name__}: {error}"
    return peers, missing


def steps(model: Model, norm: float) -> tuple[float, float, float]:
    """Return the τ, σ and θ that are given to every library that takes them; ‖K‖² is at most `norm`.

    Chambolle & Pock 2011, algorithm 3, where it applies, as our solver does; else those of the paper.
    """
    if isinstance(model, HuberROF) and model.alpha > 0:
        mu = 2 * (model.lam * model.alpha / norm) ** 0.5
        return mu / (2 * model.lam), mu / (2 * model.alpha), 1 / (1 + mu)
    tau = 0.01
    return tau, 1 / (tau * norm), 1.0
