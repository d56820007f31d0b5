"""The answer of a rule: a λ, its reason, and how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from tvtasks.models import Model

RULES = 2
"""Version of all rules; raise it whenever the same image and model give another λ than before."""

Rule = Literal[
    "feature-size",
    "lattice-spectrum",
    "lattice-period",
    "line-coherence",
    "sure",
    "j-invariant",
    "as-background",
    "fallback",
]
Confidence = Literal["high", "medium", "low", "none"]
_DIGITS = 6  # digits of the curve, which is only drawn


@dataclass(frozen=True)
class Choice:
    """A λ that was chosen for one image.

    Attributes
    ----------
    lam
        λ, for the image as the rule saw it (scaled, in a recipe).
    rule
        The rule that chose it; ``fallback`` if the evidence was too weak and λ is the given one.
    confidence
        ``high``, ``medium``, ``low``, or ``none`` for a fallback.
    reason
        A sentence for the user.
    lams, values
        The curve that was minimised, if any: the expected squared error (up to a constant) at each λ, in
        squared units of the image.
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
        """Whether nothing was chosen and λ is the given one."""
        return self.rule == "fallback"

    @property
    def words(self) -> str:
        """The choice in a line or two."""
        if self.fell_back:
            return f"λ was not chosen from the image. {self.reason}"
        return f"λ {self.lam:.4g}, chosen by {self.rule} with {self.confidence} confidence. {self.reason}"

    @property
    def record(self) -> dict[str, Any]:
        """The choice as plain values, safe for JSON."""
        return {
            "lam": self.lam,
            "rule": self.rule,
            "confidence": self.confidence,
            "reason": self.reason,
            "rules": RULES,
            "evidence": dict(self.evidence),
            "curve": {
                name: [float(f"{value:.{_DIGITS}g}") for value in values]
                for name, values in (("lams", self.lams), ("values", self.values))
            },
        }

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Choice:
        """Return the choice of a record."""
        curve = {name: tuple(values) for name, values in record["curve"].items()}
        return cls(
            record["lam"],
            record["rule"],
            record["confidence"],
            record["reason"],
            **curve,
            evidence=record["evidence"],
        )


def fallback(model: Model, reason: str, evidence: dict[str, Any] | None = None) -> Choice:
    """Keep the model's own λ, for a reason."""
    words = f"{reason} λ stays {model.lam:g}."
    return Choice(model.lam, "fallback", "none", words, evidence=evidence or {})


def as_background(lam: float, choice: Choice | None) -> Choice:
    """Use the λ of the background for the contrast, as the paper does; `choice` is how it was chosen."""
    if choice is None:
        return Choice(lam, "as-background", "high", "This is the λ that the recipe gives for the background.")
    reason = "This is the λ of the background."
    if choice.fell_back:
        return Choice(lam, "fallback", "none", f"{reason} λ stays {lam:g}.")
    return Choice(lam, "as-background", choice.confidence, reason)


def lowest(places: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Return where a sampled curve is lowest: the vertex of a parabola through up to five samples."""
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
    """Return the same model with another λ, without what the table of a recipe adds to it."""
    kind = next(kind for kind in get_args(Model) if isinstance(model, kind))
    return cast(Model, kind(**{key.name: getattr(model, key.name) for key in fields(kind)} | {"lam": lam}))
