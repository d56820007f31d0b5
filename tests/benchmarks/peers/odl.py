"""ODL: its `pdhg` with its own operators and functionals."""

import numpy as np
import odl

from tests.benchmarks.peers import FOREVER, steps
from tests.benchmarks.watch import Watch
from tvtasks import TGVL1, HuberROF
from tvtasks.models import Model
from tvtasks.operators import Array, Direction


def refusal(_: Model) -> str:
    return ""


def run(image: Array, model: Model, direction: Direction, watch: Watch) -> None:
    space = odl.uniform_discr([0, 0], image.shape, image.shape)
    f = space.element(image)
    axes = {"both": (1, 0), "x": (1,), "y": (0,)}[direction]
    partial = [odl.PartialDerivative(space, axis, method="forward", pad_mode="symmetric") for axis in axes]
    gradient = odl.BroadcastOperator(*partial)
    norm = odl.functionals.GroupL1Norm
    acceleration = {}
    if isinstance(model, HuberROF):
        fidelity = model.lam / 2 * odl.functionals.L2NormSquared(space).translated(f)
        prior = odl.functionals.Huber(gradient.range, model.alpha) if model.alpha else norm(gradient.range)
        if not model.alpha:
            acceleration = {"gamma_primal": model.lam}
    else:
        fidelity = model.lam * odl.functionals.L1Norm(space).translated(f)
        prior = norm(gradient.range)
    operator, x = gradient, f.copy()
    if isinstance(model, TGVL1):
        vectors, blocks = gradient.range, range(len(axes))
        jacobian = odl.ProductSpaceOperator(
            [[d if column == row else None for column in blocks] for row in blocks for d in partial]
        )
        u, v = (odl.ComponentProjection(odl.ProductSpace(space, vectors), part) for part in (0, 1))
        operator = odl.BroadcastOperator(gradient * u - v, jacobian * v)
        fidelity = odl.functionals.SeparableSum(fidelity, odl.functionals.ZeroFunctional(vectors))
        prior = odl.functionals.SeparableSum(model.alpha1 * prior, model.alpha2 * norm(jacobian.range))
        x = operator.domain.element([f.copy(), vectors.zero()])  # pdhg works in place
    tau, sigma, theta = steps(model, 12 if isinstance(model, TGVL1) else 4 * len(axes))

    def state() -> tuple[Array, Array | None]:
        if isinstance(model, TGVL1):
            return x[0].asarray(), np.stack([component.asarray() for component in x[1]])
        return x.asarray(), None

    odl.solvers.pdhg(
        x,
        fidelity,
        prior,
        operator,
        FOREVER,
        tau,
        sigma,
        theta=theta,
        callback=lambda _: watch(state),
        **acceleration,
    )
