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

from scipy.ndimage import median_filter

from tvtasks.choosing.bow import bow
from tvtasks.choosing.runs import limit, sharp_areas, true_scars
from tvtasks.choosing.slow import surface, tell
from tvtasks.choosing.waves import waves
from tvtasks.operators import Array
from tvtasks.solvers.offsets import Offsets, line_offsets, roughness, spread
from tvtasks.solvers.scars import scars

Vector = NDArray[np.float64]
Part = Literal["offsets", "scars", "tilt", "bow", "slow background", "streaks"]

_ROUGHER = 1.6  # times what the transposed image shows that offsets must be rough (0.7-1.3 without faults)
_AGREED = 0.75  # of the pixels of a line: what a jump of the whole line has; an edge that wanders has less
_JUMP = 6.0  # times the typical change of offsets
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
    open_offsets = line_offsets(g, certify=False)
    open_control = line_offsets(np.ascontiguousarray(g.T), certify=False)
    rho = min(_rougher(o, control, f.shape), _rougher(open_offsets, open_control, f.shape))
    taken = rho >= _ROUGHER
    decisions.append(
        Decision("offsets", taken, "", {"rougher": rho, "gap": o.gap})
    )
    values = o.values
    if not taken:
        values = _jumps(o, control, f.shape, bool(s.any()))
        decisions.append(Decision("offsets", bool(values.any()), "jumps", {"jumps": float(np.count_nonzero(np.diff(values)))}))
        g = g - values[:, np.newaxis]
        down = bow(np.ascontiguousarray((f - values[:, np.newaxis]).T))
        y = np.linspace(-1, 1, len(f))
        by = (down.coefficients[0] * y + down.coefficients[1] * (y**2 - np.mean(y**2)))[:, np.newaxis]
        b = b + by
        v = g - by
        least = 0.5 * spread(np.diff(v, axis=0))
        upright = np.ascontiguousarray(v.T)
        s = true_scars(v, scars(v).values, sharp_areas(upright, scars(upright).values, least), least)
    decisions.append(Decision("scars", bool(s.any()), ""))
    left = f - b - values[:, np.newaxis] - s
    told = tell(left)
    slow = told.edges < 0.13
    decisions.append(Decision("slow background", slow, "", vars(told)))
    if slow:
        z = surface(left)
        b = b + z
        left = left - z
    return Diagnosis(values, s, b, left, tuple(decisions))


def _jumps(found: Offsets, control: Offsets, shape: tuple[int, ...], others: bool) -> Vector:
    """Offsets that consist of the certain jumps alone; zero where there is none.

    A jump is certain where most pixels of its lines agree on it, and the transposed image hardly has such.
    A single one, with no other fault in the image, may be a flat edge of the sample, and stays.
    """
    ours, theirs = _heights_of_jumps(found), _heights_of_jumps(control)
    least = limit(np.abs(ours), np.sort(np.abs(theirs))[::-1] * shape[0] / shape[1])
    floor = _JUMP * max(spread(ours[ours != 0]) if ours.any() else 0.0, spread(theirs) if theirs.any() else 0.0)
    certain = np.abs(ours) >= max(least, floor)
    if np.count_nonzero(certain) < 2 and not others:
        return np.zeros(len(found.values))
    o = np.cumsum(np.where(certain, ours, 0.0))
    return o - np.median(o)


def _heights_of_jumps(found: Offsets) -> Vector:
    """Change from each line to the next beyond that of the lines around; 0 where few pixels agree on it."""
    change = np.diff(found.values, prepend=found.values[0])
    around = median_filter(change, min(17, len(change)), mode="nearest")
    return np.where(found.agreeing >= _AGREED, change - around, 0.0)


def _rougher(found: Offsets, control: Offsets, shape: tuple[int, ...]) -> float:
    """How many times rougher offsets are than those of the transposed image, noise taken into account."""
    fair = np.sqrt(shape[1] / shape[0])  # offsets of lines of N pixels are noisy as 1/√N
    return float(fair * roughness(found.values) / max(roughness(control.values), 1e-12))


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
