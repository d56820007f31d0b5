"""The iteration of the paper's published code, step for step: algorithm 1 of Chambolle & Pock with θ = 1.

It exists to reproduce the paper's figures. It is plain NumPy in float64, so that it can be read alongside the
published code, which is part of AiSurf
(https://github.com/QuantumMaterialsModelling/AiSurf-Automated-Identification-of-Surface-images).

References
----------
A. Chambolle, T. Pock, "A First-Order Primal-Dual Algorithm for Convex Problems with Applications to Imaging",
Journal of Mathematical Imaging and Vision 40 (2011) 120–145, doi:10.1007/s10851-010-0251-1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tvtasks.errors import RecipeError
from tvtasks.models import TGVL1, HuberROF, Model
from tvtasks.operators import (
    Array,
    Direction,
    gradient,
    gradient_adjoint,
    jacobian,
    jacobian_adjoint,
    magnitude,
)
from tvtasks.solvers import Solution, certificates
from tvtasks.solvers.certificates import Certificate
from tvtasks.solvers.stopping import Check, Published


def solve(image: Array, model: Model, direction: Direction, rule: Published) -> Solution:
    """Iterate as the published code does, and stop where it stops."""
    if isinstance(model, TGVL1):
        return _tgv_l1(image, model, direction, rule)
    tau, sigma = rule.tau, 1 / (rule.tau * 8)

    def step(u: Array, p: Array) -> tuple[Array, Array]:
        new = _primal(u - tau * gradient_adjoint(p, direction), image, model, tau)
        p = p + sigma * gradient(2 * new - u, direction)
        if isinstance(model, HuberROF):
            p /= 1 + sigma * model.alpha
        return new, p / np.maximum(1, magnitude(p))

    u, p, count, converged = _iterate(step, image, np.zeros((2, *image.shape)), rule)
    certificate = certificates.certify(model, u, None, p, image, direction)
    return _solution(u, None, certificate, count, converged)


def _tgv_l1(image: Array, model: TGVL1, direction: Direction, rule: Published) -> Solution:
    """Iterate TGV-L1 on the stacked variable (u, v_x, v_y); the published code has only the full Jacobian."""
    if model.gradient != "jacobian":
        raise RecipeError(
            "The published code uses the full Jacobian. "
            "With Published(), use TGVL1(..., gradient='jacobian')."
        )
    tau, sigma = rule.tau, 1 / (rule.tau * 12)

    def step(x: Array, y: Array) -> tuple[Array, Array]:
        p, q = y[:2], y[2:]
        slope = x - tau * np.concatenate(
            [gradient_adjoint(p, direction)[None], jacobian_adjoint(q, direction) - p]
        )
        new = slope
        new[0] = _primal(slope[0], image, model, tau)
        bar = 2 * new - x
        p = p + sigma * (gradient(bar[0], direction) - bar[1:])
        q = q + sigma * jacobian(bar[1:], direction)
        p /= np.maximum(1, magnitude(p) / model.alpha1)
        q /= np.maximum(1, magnitude(q) / model.alpha2)
        return new, np.concatenate([p, q])

    start = np.concatenate([image[None], np.zeros((2, *image.shape))])
    x, y, count, converged = _iterate(step, start, np.zeros((6, *image.shape)), rule)
    certificate = certificates.certify(model, x[0], x[1:], y[2:], image, direction)
    return _solution(x[0], x[1:], certificate, count, converged)


def _primal(t: Array, image: Array, model: Model, tau: float) -> Array:
    """Return the proximal map of the fidelity term, with step τ."""
    if isinstance(model, HuberROF):
        return np.asarray((t + tau * model.lam * image) / (1 + tau * model.lam))
    return np.asarray(t - np.clip(t - image, -tau * model.lam, tau * model.lam))


def _iterate(
    step: Callable[[Array, Array], tuple[Array, Array]], primal: Array, dual: Array, rule: Published
) -> tuple[Array, Array, int, bool]:
    """Iterate until two consecutive primal iterates agree; return them with the number of updates."""
    for iteration in range(rule.max_iterations + 1):
        new, dual = step(primal, dual)
        change = float(np.sqrt(np.mean((new - primal) ** 2)))
        primal = new
        if iteration and iteration % rule.check_every == 0 and change < rule.rmse:
            return primal, dual, iteration + 1, True
    return primal, dual, rule.max_iterations + 1, False


def _solution(u: Array, v: Array | None, certificate: Certificate, count: int, converged: bool) -> Solution:
    return certificates.solution(
        certificate,
        u,
        v,
        method="published",
        converged=converged,
        iterations=count,
        history=(Check(count, certificate.energy, certificate.gap),),
    )
