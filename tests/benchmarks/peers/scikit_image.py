"""scikit-image: `denoise_tv_chambolle`, which is plain ROF in two directions."""

import time

from skimage.restoration import denoise_tv_chambolle

from tests.benchmarks.watch import Watch
from tvtasks import HuberROF
from tvtasks.models import Model
from tvtasks.operators import Array, Direction


def refusal(model: Model) -> str:
    return "" if isinstance(model, HuberROF) and model.alpha == 0 else "has plain ROF only"


def run(image: Array, model: Model, direction: Direction, watch: Watch) -> None:
    """Call it with 20 % more iterations each time, as it does not show its iterates."""
    assert direction == "both"
    iterations = 1
    while True:
        began = time.perf_counter()
        # It minimises TV + ‖u − f‖²/(2·weight). eps=0 leaves the number of iterations alone to stop it.
        u = denoise_tv_chambolle(image, weight=1 / model.lam, eps=0, max_num_iter=iterations)
        watch.note(time.perf_counter() - began, u, None)
        iterations += max(1, iterations // 5)
