"""What a rule says: a λ, why, and how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tvtasks.models import TVL1, HuberROF, Model

Rule = Literal[
    "feature-size", "lattice-spectrum", "lattice-period", "line-coherence", "sure", "j-invariant", "fallback"
]
Confidence = Literal["high", "medium", "low", "none"]


@dataclass(frozen=True)
class Choice:
    """A λ that was chosen for one image.

    Attributes
    ----------
    lam
        λ, for the image as it was given to the rule (scaled, in a recipe).
    rule
        What it rests on; ``fallback`` where the evidence was too thin and λ is the one that was given.
    confidence
        ``high``, ``medium``, ``low``, or ``none`` for a fallback.
    reason
        A sentence for the person at the microscope.
    lams, values
        The curve that was minimised, if any: the expected squared error (up to a constant) at each λ, in
        the image's unit squared.
    evidence
        The numbers behind it, safe for JSON: lattice periods, noise, what the choice keeps.
    """

    lam: float
    rule: Rule
    confidence: Confidence
    reason: str
    lams: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def fell_back(self) -> bool:
        """Whether nothing was chosen and λ is the one that was given."""
        return self.rule == "fallback"

    @property
    def record(self) -> dict[str, Any]:
        """The same as plain values, safe for JSON, for an archive."""
        return {
            "lam": self.lam, "rule": self.rule, "confidence": self.confidence, "reason": self.reason,
            "curve": {"lams": list(self.lams), "values": list(self.values)}, "evidence": dict(self.evidence),
        }  # fmt: skip


def fallback(model: Model, reason: str, evidence: dict[str, Any] | None = None) -> Choice:
    """Keep the model's own λ, and say why."""
    words = f"{reason} λ = {model.lam:g} was kept."
    return Choice(model.lam, "fallback", "none", words, evidence=evidence or {})


def lowest(places: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Return where a sampled curve is least, between samples by the parabola through up to five about it."""
    i = int(np.argmin(values))
    if not 0 < i < len(values) - 1:
        return float(places[i])
    near = slice(max(i - 2, 0), i + 3)
    scale = float(np.ptp(values[near])) or 1.0
    bend, slope, _ = np.polyfit(places[near] - places[i], (values[near] - values[i]) / scale, 2)
    if bend <= 0:
        return float(places[i])
    return float(np.clip(places[i] - slope / (2 * bend), places[i - 1], places[i + 1]))


def with_lam(model: Model, lam: float) -> Model:
    """Return the same model with another λ."""
    if isinstance(model, HuberROF):
        return HuberROF(lam, model.alpha)
    if isinstance(model, TVL1):
        return TVL1(lam)
    return type(model)(lam, model.alpha1, model.alpha2, model.gradient)
