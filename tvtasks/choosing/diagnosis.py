"""What is wrong with one image, told from the image itself, and the image without it.

f = u + o(y) + s(y, x) + b + noise: the sample u, offsets of lines o, scars and tip changes in mid-line s, a
background b of tilt, bow and drift. u is what is left. Each part is found by a model of its own and taken only
where the evidence is more than thin; the transposed image is the control, for columns have no line faults.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


from tvtasks.choosing.bow import bow, level
from tvtasks.choosing.evidence import kept_offsets
from tvtasks.choosing.runs import sharp_areas, true_scars
from tvtasks.choosing.slow import surface, tell
from tvtasks.choosing.waves import waves
from tvtasks.operators import Array
from tvtasks.solvers.offsets import line_offsets, spread
from tvtasks.solvers.scars import scars

Vector = NDArray[np.float64]
Part = Literal["offsets", "scars", "tilt", "bow", "slow background", "streaks"]

_ROUGHER = 1.6  # times what the transposed image shows that offsets must be rough (0.7-1.3 without faults)
_EM = ("SEM", "STEM", "TEM")


@dataclass(frozen=True)
class Decision:
    """Whether a part was taken out of the image, and why.

    Attributes
    ----------
    part
        ``offsets``, ``scars``, ``tilt``, ``bow``, ``slow background`` or ``streaks``.
    taken
        Whether it was.
    reason
        A sentence for the person at the microscope.
    evidence
        The numbers behind it, safe for JSON.
    """

    part: Part
    taken: bool
    reason: str
    evidence: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """An image taken apart; all arrays in the image's unit, float64.

    Attributes
    ----------
    offsets
        One for each scan line; zero where none was taken.
    scars
        Scars, tip changes in mid-line or streaks, shape (M, N).
    background
        Tilt, bow and drift, shape (M, N).
    restored
        The image less the three.
    decisions
        What was taken and what was not, in the order in which it was decided.
    direction
        Of the scan lines: ``x`` along rows, ``y`` along columns.
    counts
        Whether the values are counts, whose noise grows with them.
    """

    offsets: Vector
    scars: Array
    background: Array
    restored: Array
    decisions: tuple[Decision, ...]
    direction: Literal["x", "y"] = "x"
    counts: bool = False

    @property
    def taken(self) -> tuple[Part, ...]:
        """The parts that were taken out."""
        return tuple(decision.part for decision in self.decisions if decision.taken)

    @property
    def record(self) -> dict[str, Any]:
        """What was decided and why, safe for JSON."""
        return {
            "direction": self.direction, "counts": self.counts,
            "decisions": [vars(decision) for decision in self.decisions],
        }  # fmt: skip


def diagnose(
    image: Array,
    *,
    technique: str | None = None,
    pixel_size: tuple[float, float] | None = None,
    direction: Literal["x", "y"] = "x",
) -> Diagnosis:
    """Find what is wrong with an image, and take it out.

    Parameters
    ----------
    image
        Shape (M, N), real and finite, as the microscope gave it.
    technique
        As in `Micrograph`; None where it is not known.
    pixel_size
        (dy, dx) in metres; None where it is not known.
    direction
        Of the scan lines.

    Returns
    -------
    Diagnosis
    """
    f = np.asarray(image, np.float64)
    if direction == "y":
        turned = diagnose(f.T, technique=technique, pixel_size=pixel_size and pixel_size[::-1])
        return Diagnosis(
            turned.offsets, turned.scars.T, turned.background.T, turned.restored.T, turned.decisions, "y",
            turned.counts,
        )  # fmt: skip
    unit, level = float(np.ptp(f)), float(np.median(f))
    if unit == 0.0 or min(f.shape) < 16:
        zero = np.zeros(f.shape)
        return Diagnosis(zero[:, 0].copy(), zero, zero, f, ())
    if technique in _EM:
        return _of_counts(f)
    found = _of_heights((f - level) / unit)
    o, s, b = unit * found.offsets, unit * found.scars, unit * found.background
    return Diagnosis(o, s, b, f - o[:, np.newaxis] - s - b, found.decisions)


def _of_heights(f: Array) -> Diagnosis:
    """A probe's image, scaled to a range of 1."""
    decisions = []
    curved = bow(f)
    b = curved.surface
    g = f - b
    hidden = waves(g).values
    h = g - hidden
    turned = np.ascontiguousarray(h.T)
    control = line_offsets(turned, certify=False)
    upright = turned - control.values[:, np.newaxis]
    across = scars(upright).values
    s = np.zeros(f.shape)
    for _ in range(2):
        o = line_offsets(h - s)
        v = h - o.values[:, np.newaxis]
        found = scars(v).values
        least = 0.5 * spread(np.diff(v, axis=0))
        s = true_scars(v, found, sharp_areas(upright, across, least), least)
    kept = kept_offsets(o, control, f.shape, other_faults=bool(s.any()))
    if hidden.any():
        open_control = line_offsets(np.ascontiguousarray(g.T), certify=False)
        plain = kept_offsets(
            line_offsets(g - s, certify=False), open_control, f.shape, other_faults=bool(s.any())
        )
        if plain.share < kept.share:
            kept = plain
    values = kept.values
    decisions.append(
        Decision(
            "offsets", bool(values.any()), "",
            {"rougher": kept.rougher, "share": kept.share, "jumps": float(len(kept.jumps)), "gap": o.gap},
        )
    )  # fmt: skip
    if not np.array_equal(values, o.values):
        v = h - values[:, np.newaxis]
        least = 0.5 * spread(np.diff(v, axis=0))
        s = true_scars(v, scars(v).values, sharp_areas(upright, across, least), least)
    decisions.append(Decision("scars", bool(s.any()), ""))
    left = f - b - values[:, np.newaxis] - s
    down = bow(np.ascontiguousarray(left.T))
    y, x = (np.linspace(-1, 1, size) for size in f.shape)
    by = (down.coefficients[1] * (y**2 - np.mean(y**2)))[:, np.newaxis]
    left = left - by
    tilt = level(left)
    by = by + tilt[0] * y[:, np.newaxis] + tilt[1] * x
    b = b + by
    left = f - b - values[:, np.newaxis] - s
    decisions.append(Decision("bow", curved.bent or bool(down.coefficients[1]), ""))
    told = tell(left, hidden)
    decisions.append(Decision("slow background", told.drifts, "", vars(told)))
    if told.drifts:
        z = surface(left)
        b = b + z
        left = left - z
    return Diagnosis(values, s, b, left, tuple(decisions))


def _of_counts(f: Array) -> Diagnosis:
    a = 2 * np.sqrt(np.maximum(f, 0) + 0.375)
    s0 = scars(a, along=4.0, size=0.1, iterations=400).values
    upright = np.ascontiguousarray(a.T)
    control = scars(upright, along=4.0, size=0.1, iterations=400).values
    least = 0.3 * spread(np.diff(a, axis=0))
    s = true_scars(a, s0, sharp_areas(upright, control, least), least)
    restored = np.where(s != 0, ((a - s) / 2) ** 2 - 0.375, f)
    return Diagnosis(
        np.zeros(len(f)), f - restored, np.zeros(f.shape), restored, (Decision("streaks", bool(s.any()), ""),),
        counts=True,
    )  # fmt: skip
