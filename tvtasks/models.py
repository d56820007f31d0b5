"""The three variational models of the paper: their parameters and energies.

λ (`lam`) weighs fidelity to the image: a large λ keeps more of it. The paper's values refer to an image
scaled to [0, 1]; `tvtasks.restore` scales the image, `tvtasks.solve` takes it as it is.

References
----------
M. Corrias, G. Franceschi, M. Riva, A. Tampieri, K. Föttinger, U. Diebold, T. Pock, C. Franchini, "Total
Variation-Based Image Decomposition and Denoising for Microscopy Images", arXiv:2505.08843 (2025),
doi:10.48550/arXiv.2505.08843.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from tvtasks.operators import (
    Array,
    Direction,
    gradient,
    jacobian,
    magnitude,
    symmetrised_gradient,
)

# extra="forbid": a misspelt parameter in a recipe is an error and not silently ignored.
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
# Forms show titles and descriptions; sweeps and pictures use the titles as symbols.
Lam = Annotated[
    float, Field(gt=0, title="λ", description="Fidelity to the image: the larger, the more of it is kept.")
]


@dataclass(frozen=True, config=STRICT)
class HuberROF:
    """Σ h_α(|∇u|) + λ/2 ‖u − f‖², with h_α(t) = t²/2α for t ≤ α and t − α/2 above.

    Parameters
    ----------
    lam
        λ > 0, fidelity, in 1/(unit of the image).
    alpha
        α ≥ 0, the gradient that separates slopes, which are smoothed, from edges, which are kept; in the unit
        of the image per pixel. α = 0 is the ROF model.

    References
    ----------
    L. I. Rudin, S. Osher, E. Fatemi, "Nonlinear total variation based noise removal algorithms", Physica D 60
    (1992) 259–268, doi:10.1016/0167-2789(92)90242-F.

    Examples
    --------
    >>> import numpy as np
    >>> edge = np.array([[0.0, 1.0]])
    >>> HuberROF(lam=2.0, alpha=0.0).energy(edge, edge)
    1.0
    """

    name: ClassVar[str] = "huber-rof"
    title: ClassVar[str] = "Huber-ROF"
    summary: ClassVar[str] = "Keeps slopes smooth and edges sharp."
    usual_lam: ClassVar[Mapping[str, float | None]] = {"background": 0.5, "contrast": 0.5, "denoise": 4.0}
    memory: ClassVar[int] = 24

    lam: Lam
    alpha: Annotated[
        NonNegative,
        Field(
            le=1e15,  # its square must be a number
            title="α",
            description="Changes of up to this much per pixel are smoothed; larger ones are kept as edges.",
        ),
    ] = 0.05

    def energy(self, u: Array, image: Array, direction: Direction = "both") -> float:
        """Return the value of the objective at `u`, computed in float64; both arrays have shape (M, N)."""
        t = magnitude(gradient(np.asarray(u, np.float64), direction))
        if self.alpha > 0:
            t = np.where(t <= self.alpha, t * t / (2 * self.alpha), t - self.alpha / 2)
        distance = np.asarray(u, np.float64) - image
        return float(np.sum(t) + self.lam / 2 * np.sum(distance * distance))


@dataclass(frozen=True, config=STRICT)
class TVL1:
    """Σ |∇u| + λ ‖u − f‖₁.

    Parameters
    ----------
    lam
        λ > 0, fidelity, in 1/px; a feature thinner than about 2/λ pixels disappears.

    References
    ----------
    T. F. Chan, S. Esedoglu, "Aspects of total variation regularized L1 function approximation", SIAM Journal
    on Applied Mathematics 65 (2005) 1817–1837, doi:10.1137/040604297.
    """

    name: ClassVar[str] = "tv-l1"
    title: ClassVar[str] = "TV-L1"
    summary: ClassVar[str] = "Removes small features, however bright they are."
    usual_lam: ClassVar[Mapping[str, float | None]] = {"background": 0.2, "contrast": 0.2, "denoise": 1.0}
    memory: ClassVar[int] = 48

    lam: Lam

    def energy(self, u: Array, image: Array, direction: Direction = "both") -> float:
        """Return the value of the objective at `u`, computed in float64; both arrays have shape (M, N)."""
        u = np.asarray(u, np.float64)
        return float(np.sum(magnitude(gradient(u, direction))) + self.lam * np.sum(np.abs(u - image)))


@dataclass(frozen=True, config=STRICT)
class TGVL1:
    """α1 Σ |∇u − v| + α2 Σ |E v| + λ ‖u − f‖₁, minimised over u and the vector field v.

    Parameters
    ----------
    lam
        λ > 0, fidelity, in 1/px.
    alpha1, alpha2
        Weights of the first-order and the second-order term.
    gradient
        The operator E: the ``symmetrised`` gradient of the paper's equation 4, for which an affine ramp costs
        nothing, or the full ``jacobian`` of its published code.

    References
    ----------
    K. Bredies, K. Kunisch, T. Pock, "Total generalized variation", SIAM Journal on Imaging Sciences 3 (2010)
    492–526, doi:10.1137/090769521.
    """

    name: ClassVar[str] = "tgv-l1"
    title: ClassVar[str] = "TGV-L1"
    summary: ClassVar[str] = "Removes small features and keeps slopes."
    usual_lam: ClassVar[Mapping[str, float | None]] = {"background": 0.2, "contrast": 0.2, "denoise": 1.5}
    memory: ClassVar[int] = 108

    lam: Lam
    alpha1: Annotated[Positive, Field(title="α₁", description="Weight of slopes.")] = 1.0
    alpha2: Annotated[Positive, Field(title="α₂", description="Weight of changes in slope.")] = 2.0
    gradient: Annotated[
        Literal["symmetrised", "jacobian"],
        Field(
            description="Derivative of the slopes: symmetrised as in the paper, or jacobian as in its code."
        ),
    ] = "symmetrised"

    def energy(self, u: Array, v: Array, image: Array, direction: Direction = "both") -> float:
        """Return the value of the objective at `u` (M, N) and `v` (2, M, N), computed in float64."""
        u, v = np.asarray(u, np.float64), np.asarray(v, np.float64)
        second = (symmetrised_gradient if self.gradient == "symmetrised" else jacobian)(v, direction)
        return float(
            self.alpha1 * np.sum(magnitude(gradient(u, direction) - v))
            + self.alpha2 * np.sum(magnitude(second))
            + self.lam * np.sum(np.abs(u - image))
        )


Model = HuberROF | TVL1 | TGVL1
