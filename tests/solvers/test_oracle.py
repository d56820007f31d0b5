"""Small problems solved by an interior-point method too, from matrices that share no code with tvtasks."""

from itertools import product

import cvxpy as cp
import numpy as np
import pytest

from tvtasks import TGVL1, TVL1, Gap, HuberROF, solve
from tvtasks.operators import jacobian, symmetrised_gradient

DIRECTIONS = ("both", "x", "y")
RTOL = {HuberROF: 1e-6, TVL1: 1e-6, TGVL1: 1e-4}
# What Clarabel's minimum may be wrong by, relative; TGV-L1 is the hardest for it.
ORACLE_ERROR = {HuberROF: 1e-8, TVL1: 1e-7, TGVL1: 2e-6}


def picture():
    """A terrace step on a slope, one outlier and some noise; 9 rows, 11 columns, in [0, 1]."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:9, :11]
    image = 0.04 * x - 0.02 * y + 0.5 * (x + y > 9) + 0.05 * rng.standard_normal((9, 11))
    image[3, 2] += 0.8
    return (image - image.min()) / np.ptp(image)


IMAGE = picture()


def differences(size):
    """For a line: forward, zero last; backward, zero first; backward, zero at both ends; all but the last."""
    forward = np.eye(size, k=1) - np.eye(size)
    forward[-1] = 0
    backward = np.eye(size) - np.eye(size, k=-1)
    backward[0] = 0
    inner = backward.copy()
    inner[-1] = 0
    but_last = np.eye(size)
    but_last[-1, -1] = 0
    return forward, backward, inner, but_last


def gradient_matrices(shape, direction):
    """Matrices of ∂x and ∂y for images read row by row."""
    rows, columns = shape
    along_x = np.kron(np.eye(rows), differences(columns)[0])
    along_y = np.kron(differences(rows)[0], np.eye(columns))
    return along_x * (direction != "y"), along_y * (direction != "x")


def second_order_matrices(shape, direction, kind):
    """Pairs of matrices for v_x and v_y, one pair for each component of E v."""
    rows, columns = shape
    if kind == "jacobian":
        along_x, along_y = gradient_matrices(shape, direction)
        zero = 0 * along_x
        return [(along_x, zero), (along_y, zero), (zero, along_x), (zero, along_y)]
    _, back_x, inner_x, but_last_x = differences(columns)
    _, back_y, inner_y, but_last_y = differences(rows)
    xx = np.kron(np.eye(rows), inner_x) * (direction != "y")
    yy = np.kron(inner_y, np.eye(columns)) * (direction != "x")
    # Half the sum of the mixed differences, which the norm counts twice: a factor √2/2.
    half = (0.5**0.5) * (direction == "both")
    mixed = (half * np.kron(back_y, but_last_x), half * np.kron(but_last_y, back_x))
    return [(xx, 0 * xx), (0 * yy, yy), mixed]


def lengths(*components):
    return cp.norm(cp.vstack(components), 2, axis=0)


def minimum(image, model, direction):
    """The model's least energy, and a function that evaluates the energy at any u (and v)."""
    f = image.ravel()
    u, vx, vy = cp.Variable(f.size), cp.Variable(f.size), cp.Variable(f.size)
    along_x, along_y = gradient_matrices(image.shape, direction)
    if isinstance(model, TGVL1):
        second = second_order_matrices(image.shape, direction, model.gradient)
        energy = model.alpha1 * cp.sum(lengths(along_x @ u - vx, along_y @ u - vy))
        energy += model.alpha2 * cp.sum(lengths(*(a @ vx + b @ vy for a, b in second)))
    else:
        length = lengths(along_x @ u, along_y @ u)
        smoothed = isinstance(model, HuberROF) and model.alpha > 0
        energy = cp.sum(cp.huber(length, model.alpha)) / (2 * model.alpha) if smoothed else cp.sum(length)
    if isinstance(model, HuberROF):
        energy += model.lam / 2 * cp.sum_squares(u - f)
    else:
        energy += model.lam * cp.norm1(u - f)
    problem = cp.Problem(cp.Minimize(energy))
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10, max_iter=100)
    assert problem.status in ("optimal", "optimal_inaccurate")

    def evaluate(at_u, at_v=None):
        u.value = at_u.ravel()
        if at_v is not None:
            vx.value, vy.value = at_v[0].ravel(), at_v[1].ravel()
        return float(energy.value)

    return float(problem.value), evaluate


HUBER_ROF = [HuberROF(lam, alpha) for lam, alpha in product((0.05, 0.5, 5.0), (0.0, 0.05, 0.4))]
TV_L1 = [TVL1(lam) for lam in (0.2, 0.7, 1.5)]
TGV_L1 = [TGVL1(lam, gradient=kind) for kind in ("symmetrised", "jacobian") for lam in (0.2, 1.0)]
TGV_L1.append(TGVL1(0.5, alpha1=0.7, alpha2=0.5))


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("model", [*HUBER_ROF, *TV_L1, *TGV_L1], ids=str)
def test_energy_is_the_least_and_the_gap_bounds_what_is_left(model, direction):
    rtol, error = RTOL[type(model)], ORACLE_ERROR[type(model)]
    solution = solve(IMAGE, model, direction=direction, stop=Gap(rtol))
    least, evaluate = minimum(IMAGE, model, direction)
    assert solution.converged
    assert 0 <= solution.gap <= rtol
    assert least * (1 - error) <= solution.energy <= least * (1 + solution.gap + error)
    energy = evaluate(solution.u, solution.v)
    assert solution.energy == pytest.approx(energy, rel=1e-12)
    own = (solution.u,) if solution.v is None else (solution.u, solution.v)
    assert model.energy(*own, IMAGE, direction) == pytest.approx(energy, rel=1e-12)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("shape", [(9, 11), (1, 6), (6, 1), (2, 2)], ids=str)
@pytest.mark.parametrize("kind", ["symmetrised", "jacobian"])
def test_second_order_operators_are_their_matrices(kind, shape, direction):
    v = np.random.default_rng(0).standard_normal((2, *shape))
    pairs = second_order_matrices(shape, direction, kind)
    expected = [(a @ v[0].ravel() + b @ v[1].ravel()).reshape(shape) for a, b in pairs]
    operator = {"symmetrised": symmetrised_gradient, "jacobian": jacobian}[kind]
    np.testing.assert_allclose(operator(v, direction), expected, rtol=0, atol=1e-14)
