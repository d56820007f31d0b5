"""The iteration of the paper's published code, step for step: Chambolle & Pock 2011, algorithm 1, θ = 1.

It exists to reproduce the paper's figures and is plain NumPy in float64, so that it can be read beside them.
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
    """TGV-L1 on the stacked variable (u, v_x, v_y). The published code has the full Jacobian only."""
    if model.gradient != "jacobian":
        raise RecipeError(
            "The published code has the full Jacobian: give TGVL1(..., gradient='jacobian') with Published()."
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
    """Proximal map of the fidelity term, of step τ."""
    if isinstance(model, HuberROF):
        return np.asarray((t + tau * model.lam * image) / (1 + tau * model.lam))
    return np.asarray(t - np.clip(t - image, -tau * model.lam, tau * model.lam))


def _iterate(
    step: Callable[[Array, Array], tuple[Array, Array]], primal: Array, dual: Array, rule: Published
) -> tuple[Array, Array, int, bool]:
    """Run until two consecutive primal iterates agree; returns them with the updates made."""
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
