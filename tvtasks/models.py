"""The three variational models of Corrias et al. 2025 (arXiv 2505.08843): parameters and energies.

λ (`lam`) weighs fidelity to the image: a large λ keeps more of it. The paper's values refer to an image
scaled to [0, 1]; `tvtasks.restore` scales, `tvtasks.solve` takes the image as it is.
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

# extra="forbid": a misspelt parameter in a recipe must not be dropped in silence.
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
# Titles and descriptions are for forms; the titles are the symbols in sweeps and pictures, too.
Lam = Annotated[
    float, Field(gt=0, title="λ", description="How faithful to the image; a large one keeps more of it.")
]


@dataclass(frozen=True, config=STRICT)
class HuberROF:
    """Σ h_α(|∇u|) + λ/2 ‖u − f‖², with h_α(t) = t²/2α for t ≤ α and t − α/2 above.

    Parameters
    ----------
    lam
        λ > 0, fidelity; unit 1/(image unit).
    alpha
        α ≥ 0, the gradient up to which changes are smoothed rather than kept as edges; in the image's unit
        per pixel. α = 0 is the model of Rudin, Osher & Fatemi.
    """

    name: ClassVar[str] = "huber-rof"
    title: ClassVar[str] = "Huber-ROF"
    summary: ClassVar[str] = "Smooth slopes and sharp edges."
    usual_lam: ClassVar[Mapping[str, float | None]] = {"background": 0.5, "contrast": 0.5, "denoise": 4.0}

    lam: Lam
    alpha: Annotated[
        NonNegative,
        Field(title="α", description="Changes up to this much a pixel are smoothed; larger ones are edges."),
    ] = 0.05

    def energy(self, u: Array, image: Array, direction: Direction = "both") -> float:
        """Value of the objective at `u`, in float64."""
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
        λ > 0, fidelity; a feature thinner than about 2/λ px goes.
    """

    name: ClassVar[str] = "tv-l1"
    title: ClassVar[str] = "TV-L1"
    summary: ClassVar[str] = "Takes out what is small, however strong it is."
    usual_lam: ClassVar[Mapping[str, float | None]] = {"background": 0.2, "contrast": 0.2, "denoise": 1.0}

    lam: Lam

    def energy(self, u: Array, image: Array, direction: Direction = "both") -> float:
        """Value of the objective at `u`, in float64."""
        u = np.asarray(u, np.float64)
        return float(np.sum(magnitude(gradient(u, direction))) + self.lam * np.sum(np.abs(u - image)))


@dataclass(frozen=True, config=STRICT)
class TGVL1:
    """α1 Σ |∇u − v| + α2 Σ |E v| + λ ‖u − f‖₁, over u and the vector field v.

    Parameters
    ----------
    lam
        λ > 0, fidelity.
    alpha1, alpha2
        Weights of the first and second order terms.
    gradient
        What E is: the ``symmetrised`` gradient of the paper's equation (4), for which an affine ramp costs
        nothing, or the full ``jacobian`` of its published code.
    """

    name: ClassVar[str] = "tgv-l1"
    title: ClassVar[str] = "TGV-L1"
    summary: ClassVar[str] = "The same, with slopes kept."
    usual_lam: ClassVar[Mapping[str, float | None]] = {"background": 0.2, "contrast": 0.2, "denoise": 1.5}

    lam: Lam
    alpha1: Annotated[Positive, Field(title="α₁", description="Weight of slopes.")] = 1.0
    alpha2: Annotated[Positive, Field(title="α₂", description="Weight of changes of slope.")] = 2.0
    gradient: Annotated[
        Literal["symmetrised", "jacobian"],
        Field(description="Of the slopes: symmetrised as in the paper, or jacobian as in its code."),
    ] = "symmetrised"

    def energy(self, u: Array, v: Array, image: Array, direction: Direction = "both") -> float:
        """Value of the objective at `u` (M, N) and `v` (2, M, N), in float64."""
        u, v = np.asarray(u, np.float64), np.asarray(v, np.float64)
        second = (symmetrised_gradient if self.gradient == "symmetrised" else jacobian)(v, direction)
        return float(
            self.alpha1 * np.sum(magnitude(gradient(u, direction) - v))
            + self.alpha2 * np.sum(magnitude(second))
            + self.lam * np.sum(np.abs(u - image))
        )


Model = HuberROF | TVL1 | TGVL1
