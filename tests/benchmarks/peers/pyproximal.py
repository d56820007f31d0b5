"""PyProximal: its `PrimalDual` with PyLops operators."""

import numpy as np
import pylops
import pyproximal

from tests.benchmarks.peers import FOREVER, steps
from tests.benchmarks.watch import Watch
from tvtasks import TGVL1, HuberROF
from tvtasks.models import Model
from tvtasks.operators import Array, Direction


def refusal(model: Model) -> str:
    smoothed = isinstance(model, HuberROF) and model.alpha > 0
    return "has no Huber function of the length of a gradient" if smoothed else ""


def run(image: Array, model: Model, direction: Direction, watch: Watch) -> None:
    n, f = image.size, image.ravel()
    axes = {"both": (1, 0), "x": (1,), "y": (0,)}[direction]
    gradient = pylops.VStack(
        [pylops.FirstDerivative(image.shape, axis=axis, kind="forward") for axis in axes]
    )
    if isinstance(model, HuberROF):
        fidelity = pyproximal.L2(b=f, sigma=model.lam)
    else:
        fidelity = pyproximal.L1(sigma=model.lam, g=f)
    size = len(axes) * n
    if isinstance(model, TGVL1):
        jacobian = pylops.BlockDiag([gradient] * len(axes))
        matrix = pylops.Block(
            [[gradient, -pylops.Identity(size)], [pylops.Zero(jacobian.shape[0], n), jacobian]]
        )
        prior = pyproximal.VStack(
            [
                pyproximal.L21(len(axes), sigma=model.alpha1),
                pyproximal.L21(len(axes) ** 2, sigma=model.alpha2),
            ],
            nn=[size, jacobian.shape[0]],
        )
        fidelity = pyproximal.VStack([fidelity, pyproximal.L1(sigma=0.0)], nn=[n, size])
    else:
        matrix, prior = gradient, pyproximal.L21(len(axes))
    start = np.zeros(matrix.shape[1])
    start[:n] = f
    tau, sigma, theta = steps(model, 12 if isinstance(model, TGVL1) else 4 * len(axes))

    def look(x: Array) -> None:
        v = x[n:].reshape(-1, *image.shape) if isinstance(model, TGVL1) else None
        watch(lambda: (x[:n].reshape(image.shape), v))

    pyproximal.optimization.primaldual.PrimalDual(
        fidelity, prior, matrix, start, tau, sigma, theta=theta, niter=FOREVER, callback=look
    )
