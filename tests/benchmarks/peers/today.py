"""What users have today: the paper's published iteration, with sparse matrices and NumPy vectors.

Chambolle & Pock 2011, algorithm 1, τ = 0.01, σ = 1/(τ L²) with L² = 8 (TGV-L1: 12), in float64.
"""

import numpy as np
from scipy import sparse

from tests.benchmarks.peers import FOREVER
from tests.benchmarks.watch import State, Watch
from tvtasks import TGVL1, HuberROF
from tvtasks.models import Model
from tvtasks.operators import Array, Direction
from tvtasks.solvers import kernels, tgv_kernels
from tvtasks.solvers.grid import Grid, crop, kept, pad
from tvtasks.solvers.wavefront import Wavefront

# Its own stop: two consecutive iterates this close, looked at every 100 iterations, 10000 at the most.
RMSE = 5e-6
LIMIT = 10_000


def refusal(model: Model) -> str:
    second_order = isinstance(model, TGVL1) and model.gradient != "jacobian"
    return "has the full Jacobian only" if second_order else ""


def run(
    image: Array, model: Model, direction: Direction, watch: Watch, rmse: float = 0.0, limit: int = FOREVER
) -> State:
    """Iterate until `watch` raises, or to the published stop."""
    n, f = image.size, image.ravel()
    second_order = isinstance(model, TGVL1)
    matrix = _gradient(image.shape, direction)
    if second_order:
        jacobian = sparse.block_diag([matrix, matrix])
        matrix = sparse.block_array([[matrix, -sparse.eye_array(2 * n)], [None, jacobian]])
    forward, adjoint = sparse.csr_array(matrix), sparse.csr_array(matrix.T)
    tau = 0.01
    sigma = 1 / (tau * (12 if second_order else 8))
    x, y = np.zeros(forward.shape[1]), np.zeros(forward.shape[0])
    x[:n] = f

    def state() -> tuple[Array, Array | None]:
        return x[:n].reshape(image.shape), x[n:].reshape(2, *image.shape) if second_order else None

    for iteration in range(limit + 1):
        new = x - tau * (adjoint @ y)
        if isinstance(model, HuberROF):
            new[:n] = (new[:n] + tau * model.lam * f) / (1 + tau * model.lam)
        else:
            new[:n] -= np.clip(new[:n] - f, -tau * model.lam, tau * model.lam)
        y += sigma * (forward @ (2 * new - x))
        if isinstance(model, HuberROF):
            y /= 1 + sigma * model.alpha
        _project(y[: 2 * n].reshape(2, n), model.alpha1 if second_order else 1.0)
        if second_order:
            _project(y[2 * n :].reshape(4, n), model.alpha2)
        before, x = x, new
        if iteration and iteration % 100 == 0 and np.sqrt(np.mean((x - before) ** 2)) < rmse:
            break
        watch(state)
    return state


def can_be_counted(model: Model) -> bool:
    """Whether `count` has the model."""
    return isinstance(model, TGVL1) or (isinstance(model, HuberROF) and model.alpha > 0)


def count(image: Array, model: Model, direction: Direction, watch: Watch) -> None:
    """Make the same iterations with our compiled kernels, until `watch` raises.

    The kernels of TGV-L1 and Huber-ROF are the published iteration when they are given its steps and no
    relaxation. They make as many in a minute as sparse matrices do in an hour, and so tell how many it takes.
    """
    tau, f = 0.01, pad(image, np.float64)
    sigma = 1 / (tau * (12 if isinstance(model, TGVL1) else 8))
    u, v, p, q = f.copy(), *(np.zeros((n, *f.shape)) for n in (2, 2, 4))
    grid = Grid.of(image.shape, direction, np.float64)

    def block(start: int, iterations: int, rows: Array, first: int, last: int) -> None:
        if isinstance(model, TGVL1):
            tgv_kernels.tgv_l1(
                u,
                v,
                p,
                q,
                f,
                *grid,
                model.lam,
                model.alpha1,
                model.alpha2,
                tau,
                tau,
                sigma,
                sigma,
                1.0,
                means,
                np.zeros((iterations, 2)),
                iterations,
                rows,
                first,
                last,
            )
        else:
            kernels.huber_rof(
                u,
                p,
                f,
                *kept(direction),
                model.lam,
                model.alpha,
                tau,
                sigma,
                1.0,
                iterations,
                rows,
                first,
                last,
            )

    means = np.zeros((2, 4, 1, 1), np.float32)  # of no use here
    front = Wavefront(f.shape, f.dtype, arrays=13, variables=3, lag=2, stages=2)

    def state() -> tuple[Array, Array | None]:
        return crop(u), crop(v) if isinstance(model, TGVL1) else None

    while True:
        due = watch.next - watch.iterations
        front.run(block, due)
        watch.iterations += due - 1
        watch(state)


def _gradient(shape: tuple[int, int], direction: Direction) -> sparse.coo_array:
    """Forward differences along rows, then along columns, of a flattened image; zero at the last position."""
    rows, columns = shape
    x = sparse.kron(sparse.eye_array(rows), _difference(columns, kept=direction != "y"))
    y = sparse.kron(_difference(rows, kept=direction != "x"), sparse.eye_array(columns))
    return sparse.vstack([x, y])


def _difference(n: int, *, kept: bool) -> sparse.csr_array:
    if not kept:
        return sparse.csr_array((n, n))
    minus = np.full(n, -1.0)
    minus[-1] = 0
    return sparse.csr_array(sparse.diags_array([minus, np.ones(n - 1)], offsets=[0, 1]))


def _project(p: Array, radius: float) -> None:
    p /= np.maximum(1, np.sqrt(np.sum(p * p, axis=0)) / radius)
