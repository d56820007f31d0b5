"""Scores of a result: what they are, and which of them someone should look at. `quality` computes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Final

from tvtasks.words import with_prefix

ENOUGH = 0.9
"""Part of a step, a lattice or what is fine that must be left; else what took the rest is left out."""

_SATURATED = 0.05  # of the pixels; where few electrons are counted, many pixels have none
_LATTICE_LOST = 0.2  # of its amplitude
_WHITE = 0.9


@dataclass(frozen=True)
class QualityScores:
    """Scores of a restoration that need no truth; None where a score cannot be determined.

    Attributes
    ----------
    whiteness
        1 if what denoising removed is structureless, as noise is; below 0.9 it removed part of the sample.
    line_jumps_before, line_jumps_after
        RMS difference between the levels of neighbouring scan lines, in the unit of the image: stripes.
    lattice_before, lattice_after
        How many times the strongest wave of the lattice stands above the noise around it in the spectrum.
    lattice_in_background
        Fraction of the lattice's amplitude that went into the background: above 0.2, λ is too large.
    saturated
        Fraction of the raw pixels at the lowest or highest value, where the detector saw no difference.
    step_kept, lattice_kept, detail_kept
        Fraction that is left of the steps, of the lattice's amplitude, and, in an image without either, of
        what is finer than four pixels.
    """

    whiteness: float | None
    line_jumps_before: float | None
    line_jumps_after: float | None
    lattice_before: float | None
    lattice_after: float | None
    lattice_in_background: float | None
    saturated: float
    step_kept: float | None = None
    lattice_kept: float | None = None
    detail_kept: float | None = None

    @property
    def record(self) -> dict[str, float | None]:
        """The scores by name, safe for JSON."""
        return asdict(self)

    @property
    def lines_left(self) -> float | None:
        """Fraction of the line jumps that is left.

        A surface that changes from line to line jumps, too: 1 is right for an image without faulty lines.
        """
        before, after = self.line_jumps_before, self.line_jumps_after
        return after / before if before and after is not None else None

    @property
    def fractions(self) -> dict[str, float]:
        """The scores that have no unit, without those that could not be determined; see `FRACTIONS`."""
        return {name: value for name in FRACTIONS if (value := getattr(self, name)) is not None}

    @property
    def flags(self) -> tuple[str, ...]:
        """What someone should look at; see `FLAGS`."""
        return tuple(flag for flag, applies in FLAGS.items() if applies(self))

    def facts(self, units: str) -> dict[str, str]:
        """Return the scores as text, by subject; `units` is the unit of the image."""
        before, after = self.line_jumps_before, self.line_jumps_after
        texts = {}
        if before is not None and after is not None:
            texts["line jumps"] = f"{with_prefix(before, units)} before, {with_prefix(after, units)} after"
        if self.lattice_before is not None and self.lattice_after is not None:
            texts["lattice"] = (
                f"{self.lattice_before:.3g} times above the noise of the spectrum before, "
                f"{self.lattice_after:.3g} after"
            )
        if self.lattice_in_background is not None:
            texts["lattice in the background"] = f"{self.lattice_in_background:.1%} of its amplitude"
        if self.step_kept is not None:
            texts["step height"] = f"changed by {round(100 * (self.step_kept - 1), 1) + 0.0:+.1f} %"
        kept = {"steps": self.step_kept, "lattice": self.lattice_kept, "fine detail": self.detail_kept}
        if parts := [f"{value:.0%} of the {name}" for name, value in kept.items() if value is not None]:
            texts["kept"] = ", ".join(parts)
        if self.whiteness is not None:
            texts["whiteness"] = f"{self.whiteness:.3f} for the removed part (1: pure noise)"
        texts["saturated"] = f"{self.saturated:.2%} of the raw pixels"
        return texts


FRACTIONS: Final = (
    "lines_left",
    "step_kept",
    "lattice_kept",
    "detail_kept",
    "lattice_in_background",
    "whiteness",
    "saturated",
)
"""Names of the scores without unit, for filters and metrics."""


def _changed(kept: float | None) -> bool:
    return kept is not None and not ENOUGH <= kept <= 2 - ENOUGH


FLAGS: Final[Mapping[str, Callable[[QualityScores], bool]]] = MappingProxyType(
    {
        "steps changed": lambda scores: _changed(scores.step_kept),
        # What the background took from the lattice, the contrast may have brought back.
        "lattice changed": lambda scores: (
            _changed(scores.lattice_kept)
            or (scores.lattice_kept is None and (scores.lattice_in_background or 0.0) > _LATTICE_LOST)
        ),
        "detail lost": lambda scores: scores.detail_kept is not None and scores.detail_kept < ENOUGH,
        "structure removed": lambda scores: scores.whiteness is not None and scores.whiteness < _WHITE,
        "saturated": lambda scores: scores.saturated > _SATURATED,
    }
)
"""What is suspicious about a result, and the scores by which it is."""
