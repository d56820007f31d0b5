"""The iterations of TGV-L1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tvtasks.models import TGVL1
from tvtasks.operators import Array, Direction
from tvtasks.solvers import linear, tgv_kernels
from tvtasks.solvers.certificates import Iterates
from tvtasks.solvers.grid import Grid, crop
from tvtasks.solvers.iteration import EPS, NORM, RELAXATION, Iteration, RecentMeans
from tvtasks.solvers.wavefront import Threads, Wavefront, duplicate, zeros

# Primal steps for u and, at λ = α1, for v, for images in [0, 1]; like those of TV-L1 they were tuned on the
# terraces, the lattice and the noisy image of tests.benchmarks.cases. The first of the three bring the energy
# down, the second the proof, the third both.
_TAU_U, _TAU_V = (0.00125, 0.02, 0.005), (0.0002, 0.0032, 0.0008)
# From this λ/α1 on, steps in proportion to the mean distance from the image replace the phases, from the
# second one on for every image.
OWN_STEPS, OWN_ALWAYS = 0.55, 1.4
# The first phase is preconditioned up to this λ/α1; below, its dual step for ∇u − v at λ = α1.
_PRECONDITIONED = 0.2
_SIGMA_P = 100.0


def start(
    f: Array,
    model: TGVL1,
    direction: Direction,
    threads: Threads | None,
    phase: int,
    state: Sequence[Array] | None,
    mean: RecentMeans | None,
    pace: float | None,
) -> Iteration:
    """Start an iteration from the image and v = 0, or continue from the `state` of another."""
    if state is None:
        u = duplicate(f, threads)
        v, p = zeros(threads, (2, 2, *f.shape), f.dtype)
        q = zeros(threads, (4 if model.gradient == "jacobian" else 3, *f.shape), f.dtype)
        state = u, v, p, q
    if phase == 0 and model.lam <= _PRECONDITIONED * model.alpha1:
        return _preconditioned(f, model, direction, threads, state)
    return _plain(f, model, direction, threads, phase, state, mean, pace)


def _preconditioned(
    f: Array, model: TGVL1, direction: Direction, threads: Threads | None, state: Sequence[Array]
) -> Iteration:
    """Bring the energy down with steps that take every wavelength of u and v as far as it should go.

    Primal–dual with a dual variable s for the fidelity as well, and preconditioned: because ‖∇u − v‖² ≤
    2‖∇u‖² + 2‖v‖², steps by the inverses of ω + 2σp ∇ᵀ∇ for u and 2σp + σq ∇ᵀ∇ for each component of v
    converge, and those are the equations of linear Huber-ROF. An iteration costs as much as five plain ones;
    where the image has little weight and must be smoothed far, it needs a twentieth of them.

    References
    ----------
    K. Bredies, H. Sun, "Preconditioned Douglas–Rachford Algorithms for TV- and TGV-Regularized Variational
    Imaging Problems", Journal of Mathematical Imaging and Vision 52 (2015) 317–344,
    doi:10.1007/s10851-015-0564-1.
    """
    grid = Grid.of(crop(f).shape, direction, f.dtype)
    u, v, p, q = state
    s, z = zeros(threads, f.shape, f.dtype), zeros(threads, (3, *f.shape), f.dtype)
    tgv_kernels.residuals(s, p, q, *grid, z)
    np.clip(-z[0], -model.lam, model.lam, out=s)  # the value of s at a solution
    sigma_p = _SIGMA_P * (model.lam / model.alpha1) ** -0.5 * model.alpha1
    sigma_q, omega = 10 * sigma_p, 0.03 * sigma_p
    fields = ((u, omega, 2 * sigma_p), (v[0], 2 * sigma_p, sigma_q), (v[1], 2 * sigma_p, sigma_q))

    def go(n: int) -> None:
        field, own, sloping = fields[n]
        move = linear.smooth(crop(z[n]), own / sloping, direction)
        tgv_kernels.move(field, move, 1 / own, RELAXATION, z[n])

    def advance(iterations: int) -> None:
        for _ in range(iterations):
            tgv_kernels.residuals(s, p, q, *grid, z)
            list((threads.pool.map if threads and threads.pool else map)(go, range(3)))
            tgv_kernels.duals(
                s,
                p,
                q,
                z,
                f,
                *grid,
                model.lam,
                model.alpha1,
                model.alpha2,
                omega,
                sigma_p,
                sigma_q,
                RELAXATION,
            )

    return Iteration(
        advance,
        (u, v, p, q),
        lambda of_mean: Iterates(u, v, q),
        # Where u is affine, rounding creates a gradient in each pixel.
        blur=lambda energy: 4 * EPS * model.alpha1 / energy,
        refines=True,
        last_phase=False,
    )


def _plain(
    f: Array,
    model: TGVL1,
    direction: Direction,
    threads: Threads | None,
    phase: int,
    state: Sequence[Array],
    mean: RecentMeans | None,
    pace: float | None,
) -> Iteration:
    """Over-relaxed primal–dual iteration with separate steps for u and v."""
    grid = Grid.of(crop(f).shape, direction, f.dtype)
    front = Wavefront(f.shape, f.dtype, arrays=13, variables=3, lag=2, stages=2, threads=threads)
    u, v, p, q = state
    # The less the image weighs, the slower is the slope v.
    weight = float(np.clip(model.lam / model.alpha1, 1e-2, 10))
    own = (_TAU_U[phase], _TAU_V[phase]) if pace is None else _own_steps(pace, model)
    tau_u, tau_v = own[0] / model.alpha1, own[1] / model.alpha1 * weight**-0.7
    sigma_p, sigma_q = _dual_steps(NORM[direction], tau_u, tau_v)

    recent = mean or RecentMeans(q.shape, threads)
    shares = np.zeros((0, 2))

    def iterate(start: int, iterations: int, rows: Array, first: int, last: int) -> None:
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
            tau_u,
            tau_v,
            sigma_p,
            sigma_q,
            RELAXATION,
            recent.fields,
            shares[start : start + iterations],
            iterations,
            rows,
            first,
            last,
        )

    def advance(iterations: int) -> None:
        nonlocal shares
        shares = recent.shares(iterations)
        front.run(iterate, iterations)

    return Iteration(
        advance,
        (u, v, p, q),
        lambda of_mean: Iterates(u, v, recent.field if of_mean else q),
        recent,
        # The dual equation holds up to the rounding of u divided by τ, and the gap measures that against λ.
        lambda energy: 10 * EPS / (tau_u * model.lam),
        last_phase=phase >= 2,
        enough=1.0,
    )


def _own_steps(pace: float, model: TGVL1) -> tuple[float, float]:
    """Return primal steps for u and, at λ = α1, for v; the more the image weighs, the longer."""
    tau = 0.45 * min(model.lam / model.alpha1, 4.0) * pace
    return tau, 0.2 * tau


def _dual_steps(norm: float, tau_u: float, tau_v: float) -> tuple[float, float]:
    """Return the dual steps for which the preconditioned operator [[∇, −1], [0, E]] has norm 1."""
    sigma_p, sigma_q = 1 / (norm * tau_u + tau_v), 1 / (norm * tau_v)
    bound = np.linalg.norm(
        [[(norm * sigma_p * tau_u) ** 0.5, (sigma_p * tau_v) ** 0.5], [0, (norm * sigma_q * tau_v) ** 0.5]], 2
    )
    return float(sigma_p / bound**2), float(sigma_q / bound**2)
