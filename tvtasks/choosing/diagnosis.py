"""What is wrong with one image, told from the image itself, and the image without it.

f = u + o(y) + s(y, x) + b + noise: the sample u, offsets of lines o, scars and tip changes in mid-line s, a
background b of tilt, bow and drift. u is what is left. Each part is found by a model of its own and taken
only where the evidence is more than thin; the transposed image is the control, for columns have no
line faults.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tvtasks.choosing.bow import Bow, bow, level
from tvtasks.choosing.checks import Check, checks, measure
from tvtasks.choosing.counts import Stabilised, are_counts, streaks
from tvtasks.choosing.evidence import Bands, KeptOffsets, kept_offsets
from tvtasks.choosing.noise import estimate_noise
from tvtasks.choosing.pairs import Partner, offsets_of_one_scan, partner_of, scars_of_one_scan
from tvtasks.choosing.runs import runs, sharp_areas, true_scars
from tvtasks.choosing.slow import scale_of, surface, tell
from tvtasks.choosing.waves import waves
from tvtasks.operators import Array
from tvtasks.scores import ENOUGH
from tvtasks.solvers.offsets import Offsets, line_offsets, spread
from tvtasks.solvers.scars import Scars, scars

Vector = NDArray[np.float64]
Image = NDArray[np.float64]
Part = Literal["offsets", "scars", "streaks", "tilt", "bow", "drift"]

NOTHING = "Nothing was taken out: the image has no fault that can be told from the sample."
TOO_SMALL = "Nothing was taken out: the image is too small to tell faults from the sample."
_LEAST_SIDE = 32  # px; below, neither lines nor columns say what is usual
_PLANE = 0.02  # of the image's range: a tilt below that, and below the noise, is left
_NO_STREAKS = ("STEM", "TEM")  # whose specimens are thin and do not charge in lines
_FIRST = 150  # iterations of the first look at scars, which only keeps them out of the offsets
_LEAST_SCAR = 0.5  # standard deviations of the differences of lines that a scar must be
_KNOTS = 2.0  # typical wavelengths of what is fine between the knots of a background
_NAMES = {
    "drift": "A slow background was",
    "bow": "A bow was",
    "scars": "What looks like scars was",
    "offsets": "What looks like offsets of lines was",
}
_UNDO: tuple[Part, ...] = ("drift", "bow", "scars", "offsets")


@dataclass(frozen=True)
class Decision:
    """Whether a part was taken out of the image, and why.

    Attributes
    ----------
    part
        ``offsets``, ``scars``, ``streaks``, ``tilt``, ``bow`` or ``drift``.
    taken
        Whether it was.
    reason
        A sentence for the person at the microscope.
    evidence
        The numbers behind it, safe for JSON.
    noted
        Whether the user should read it although the part was left.
    """

    part: Part
    taken: bool
    reason: str
    evidence: dict[str, float] = field(default_factory=dict)
    noted: bool = False


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
    flat
        The image less the three.
    decisions
        What was taken and what was not, in the order in which it was decided.
    checks
        What was kept of the sample.
    direction
        Of the scan lines: ``x`` along rows, ``y`` along columns.
    counts
        Whether the values are counts, whose noise grows with them.
    gaps
        Of the convex problems that were solved, by the part that they found: each energy is at most a factor
        1 + gap above its minimum. Proven.
    disagreement
        Where there is a backward scan: how many standard deviations of their difference the two differ by,
        shape (M, N); None without one.
    """

    offsets: Vector
    scars: Image
    background: Image
    flat: Image
    decisions: tuple[Decision, ...]
    checks: tuple[Check, ...] = ()
    direction: Literal["x", "y"] = "x"
    counts: bool = False
    gaps: dict[str, float] = field(default_factory=dict)
    disagreement: Image | None = None

    @property
    def taken(self) -> tuple[Part, ...]:
        """The parts that were taken out."""
        return tuple(decision.part for decision in self.decisions if decision.taken)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was done and why, and what was kept, for the person at the microscope."""
        done = tuple(decision.reason for decision in self.decisions if decision.taken)
        left = tuple(decision.reason for decision in self.decisions if decision.noted)
        if not done:
            return (NOTHING if self.decisions else TOO_SMALL, *left)
        return (*done, *left, *(check.sentence for check in self.checks))

    @property
    def record(self) -> dict[str, Any]:
        """What was decided and why, safe for JSON."""
        return {
            "direction": self.direction,
            "counts": self.counts,
            "gaps": dict(self.gaps),
            "decisions": [asdict(decision) for decision in self.decisions],
            "checks": [asdict(check) for check in self.checks],
            "sentences": list(self.sentences),
        }

    def without_images(self) -> Diagnosis:
        """Return what was decided, without the arrays of the image's size."""
        none = np.empty((0, 0))
        return replace(self, scars=none, background=none, flat=none, disagreement=None)


def diagnose(
    image: Array,
    *,
    technique: str | None = None,
    pixel_size: tuple[float, float] | None = None,
    unit: str = "",
    direction: Literal["x", "y"] = "x",
    backward: Array | None = None,
    leave: Collection[str] = (),
) -> Diagnosis:
    """Find what is wrong with an image, and take it out.

    Nothing is asked of the user. Values may be in any unit: the same image scaled or shifted gives the same
    decisions. The same image gives the same numbers.

    Parameters
    ----------
    image
        Shape (M, N), real and finite, as the microscope gave it; rows broken off must be cut off first.
    technique
        As in `Micrograph`; None (or ``other``) where it is not known.
    pixel_size
        (dy, dx) in metres, for the sentences; None where it is not known.
    unit
        Of the values, for the sentences.
    direction
        Of the scan lines: ``x`` along rows, ``y`` along columns.
    backward
        The same lines scanned back, of the same shape and orientation: what both scans show is sample.
    leave
        Parts to leave in the image whatever the evidence; ``scars`` includes streaks.

    Returns
    -------
    Diagnosis
    """
    raw = np.asarray(image)
    if direction == "y":
        turned = diagnose(
            raw.T,
            technique=technique,
            pixel_size=pixel_size and pixel_size[::-1],
            unit=unit,
            backward=None if backward is None else np.asarray(backward).T,
            leave=leave,
        )
        return _turned(turned)
    f = np.ascontiguousarray(raw, np.float64)
    scale, low = float(np.ptp(f)), float(np.median(f))
    if scale == 0.0 or min(f.shape) < _LEAST_SIDE:
        zero = np.zeros(f.shape)
        return Diagnosis(np.zeros(len(f)), zero, zero, f.copy(), ())
    if are_counts(raw, technique):
        return _of_counts(f, streaked=technique not in _NO_STREAKS and "scars" not in leave)
    partner = None
    if backward is not None and np.shape(backward) == f.shape and np.isfinite(backward).all():
        partner = (np.asarray(backward, np.float64) - low) / scale
    found = _of_heights((f - low) / scale, partner, scale, unit, pixel_size, leave)
    o, s, b = scale * found.offsets, scale * found.scars, scale * found.background
    return replace(found, offsets=o, scars=s, background=b, flat=f - o[:, np.newaxis] - s - b)


def _turned(found: Diagnosis) -> Diagnosis:
    return replace(
        found,
        scars=found.scars.T,
        background=found.background.T,
        flat=found.flat.T,
        direction="y",
        disagreement=None if found.disagreement is None else found.disagreement.T,
    )


# --------------------------------------------------------------------------------------- a probe's image


@dataclass(frozen=True, eq=False)
class _Parts:
    """What was found of a probe's image, and what of it is taken."""

    offsets: Vector
    scars: Image
    plane: Image
    bent: Image
    slow: Image

    @property
    def background(self) -> Image:
        return self.plane + self.bent + self.slow

    def of(self, f: Image) -> Image:
        """Return the image without the parts."""
        return f - self.offsets[:, np.newaxis] - self.scars - self.background

    def without(self, *parts: str) -> _Parts:
        names = {"offsets": "offsets", "scars": "scars", "tilt": "plane", "bow": "bent", "drift": "slow"}
        return replace(self, **{names[part]: np.zeros_like(getattr(self, names[part])) for part in parts})


@dataclass(frozen=True, eq=False)
class _Lines:
    """Faults of lines, and what had to be found before they could be.

    Attributes
    ----------
    kept
        Offsets.
    scars
        Shape (M, N).
    gaps
        Of the convex problems.
    across
        Slope and bow along the lines.
    hidden
        The lattice, shape (M, N).
    drift
        Drift under the lattice, shape (M, N).
    partner
        The backward scan, if there is one.
    """

    kept: KeptOffsets
    scars: Image
    gaps: dict[str, float]
    across: Bow
    hidden: Image
    drift: Image
    partner: Partner | None


def _of_heights(
    f: Image,
    backward: Image | None,
    scale: float,
    unit: str,
    pixel_size: tuple[float, float] | None,
    leave: Collection[str],
) -> Diagnosis:
    """Take apart a probe's image, scaled to a range of 1."""
    lines = _lines(f, backward)
    kept, s, gaps, partner = lines.kept, lines.scars, lines.gaps, lines.partner
    all_parts, told = _with_background(f, lines)
    del lines  # three images
    parts, found_checks, taken_back = _harmless(f, all_parts.without(*leave), unit, pixel_size, scale)
    left = parts.of(f)
    return Diagnosis(
        parts.offsets,
        parts.scars,
        parts.background,
        left,
        _decisions(parts, kept, s, told, taken_back, scale, unit),
        found_checks,
        gaps=gaps,
        disagreement=None if partner is None else partner.disagreement(left),
    )


def _lines(f: Image, backward: Image | None) -> _Lines:
    """Find offsets and scars, the lattice hidden."""
    across = bow(f)
    h = f - across.surface
    hidden = waves(h).values
    h -= hidden
    # Drift under a lattice would be taken for slow offsets, in the control as well.
    first = line_offsets(h, certify=False)
    drift = _drift(h - first.values[:, np.newaxis], hidden)
    if drift.any():
        h -= drift
        first = line_offsets(h, certify=False)
    upright = np.ascontiguousarray(h.T)
    control = line_offsets(upright, certify=False)
    upright -= control.values[:, np.newaxis]
    theirs = scars(upright).values
    partner = None if backward is None else partner_of(f, backward)

    def believed(v: Image, found: Scars) -> Image:
        least = _LEAST_SCAR * spread(np.diff(v, axis=0))
        s = true_scars(v, found.values, sharp_areas(upright, theirs, least), least)
        return s if partner is None else scars_of_one_scan(s, partner, least)

    bands = Bands.of(h)
    s = np.zeros(f.shape)
    for turn in range(2):
        o = line_offsets(h - s) if turn else first
        v = h - bands.believed(o)[:, np.newaxis]
        found = scars(v, certify=True) if turn else scars(v, iterations=_FIRST)
        s = believed(v, found)
    kept = _kept(o, control, bands, h, s, hidden)
    if partner is not None:
        kept = offsets_of_one_scan(kept, o, partner)
    if not np.array_equal(kept.values, o.values):
        v = h - kept.values[:, np.newaxis]
        found = scars(v, certify=True)
        s = believed(v, found)
    return _Lines(kept, s, {"offsets": o.gap, "scars": found.gap}, across, hidden, drift, partner)


def _drift(h: Image, hidden: Image) -> Image:
    """Find the drift under a lattice that is hidden, lines levelled; 0 without a lattice, or with edges."""
    if not hidden.any() or not tell(h + hidden, hidden).drifts:
        return np.zeros(h.shape)
    return surface(h)


def _kept(o: Offsets, control: Offsets, bands: Bands, h: Image, s: Image, hidden: Image) -> KeptOffsets:
    """Keep the offsets that are faults, with the lattice hidden and with it in sight."""
    kept = kept_offsets(o, control, bands, h.shape[1], other_faults=bool(s.any()))
    if not hidden.any() or not kept.values.any():
        return kept
    g = h + hidden
    in_sight = line_offsets(np.ascontiguousarray(g.T), certify=False)
    seen = line_offsets(g - s, certify=False)
    plain = kept_offsets(seen, in_sight, bands, g.shape[1], other_faults=bool(s.any()))
    return kept if plain.values.any() else replace(kept, values=np.zeros(len(o.values)), share=0.0)


def _with_background(f: Image, lines: _Lines) -> tuple[_Parts, dict[str, float]]:
    """Find tilt, bow and drift of what is left."""
    y, x = (np.linspace(-1, 1, size) for size in f.shape)
    across, hidden, drift = lines.across, lines.hidden, lines.drift
    left = f - drift + drift.mean()
    noise = spread(np.diff(np.diff(left, axis=0), axis=1)) / 2
    left -= lines.kept.values[:, np.newaxis] + lines.scars
    down = bow(np.ascontiguousarray((left - across.surface).T)).coefficients[1]
    slope = across.coefficients[0] * x
    bent = across.surface - slope if across.bent else np.zeros(f.shape)
    bent += (down * (y**2 - np.mean(y**2)))[:, np.newaxis]
    left -= bent
    more = level(left - slope)
    plane = slope + more[0] * y[:, np.newaxis] + more[1] * x
    if float(np.ptp(plane)) < max(_PLANE * float(np.ptp(left)), noise):
        plane = np.zeros(f.shape)
    left -= plane
    told = tell(left, hidden)
    slow = drift - drift.mean()
    if slow.any() or (told.drifts and told.lattice):
        slow += surface(left - hidden)
    elif told.drifts:
        slow = surface(left, float(np.clip(_KNOTS * scale_of(left - surface(left, 48.0)), 32, 96)))
    return _Parts(lines.kept.values, lines.scars, plane, bent, slow), asdict(told)


def _checked(
    f: Image, parts: _Parts, unit: str, pixel_size: tuple[float, float] | None, scale: float
) -> tuple[Check, ...]:
    """Compare the image, with its tilt and bow taken and in its unit, with what is left of it."""
    before = f - parts.plane - parts.bent
    return checks(scale * before, scale * parts.of(f), unit=unit, pixel_size=pixel_size)


def _harmless(
    f: Image, parts: _Parts, unit: str, pixel_size: tuple[float, float] | None, scale: float
) -> tuple[_Parts, tuple[Check, ...], tuple[Part, ...]]:
    """Leave out the parts that took more than a tenth of a step, of the lattice or of the detail."""

    def looked_at(of: _Parts) -> tuple[float, tuple[Check, ...]]:
        found = _checked(f, of, unit, pixel_size, scale)
        return min((min(check.kept, 2 - check.kept) for check in found), default=1.0), found

    left_out: list[Part] = []
    now, found = looked_at(parts)
    for part in _UNDO:
        if now >= ENOUGH:
            break
        if part == "scars" and all(c.what == "lattice" for c in found if not 2 - ENOUGH > c.kept >= ENOUGH):
            continue  # faults make waves of their own; scars have stood the control already
        trial = parts.without(part)
        then, found_then = looked_at(trial)
        if then > now + 0.02:
            parts, now, found = trial, then, found_then
            left_out.append(part)
    return parts, found, tuple(left_out)


def _decisions(
    parts: _Parts,
    kept: KeptOffsets,
    s: Image,
    told: dict[str, float],
    taken_back: tuple[Part, ...],
    scale: float,
    unit: str,
) -> tuple[Decision, ...]:
    """Say what was taken, and what was left and why."""
    rms = measure(scale * float(np.sqrt(np.mean(np.diff(parts.offsets) ** 2))), unit)
    found = runs(parts.scars, 0.0)
    number = int(np.count_nonzero(found.area))
    evidence = {
        "rougher": kept.rougher,
        "share": kept.share,
        "jumps": float(len(kept.jumps)),
        "coherence": kept.coherence,
    }
    if parts.offsets.any():
        some = f" They include {_jumps(len(kept.jumps))}." if kept.jumps else ""
        offsets = Decision(
            "offsets",
            True,
            f"Offsets of lines were taken out, which change by {rms} (rms) from line to line.{some}",
            evidence,
        )
    elif kept.left:
        at = kept.left[0]
        offsets = Decision(
            "offsets",
            False,
            f"A jump between lines {at} and {at + 1} may be a flat edge of the sample: it was left.",
            evidence,
            noted=True,
        )
    else:
        offsets = Decision("offsets", False, "The lines are as even as the columns.", evidence)
    scar = Decision("scars", False, "No scar stands out of what the columns show as well.", {"pieces": 0.0})
    if number:
        high = measure(scale * float(np.median(np.abs(parts.scars[parts.scars != 0]))), unit)
        scar = Decision(
            "scars",
            True,
            f"{_pieces(number)} taken out as scars or tip changes, typically {high} high.",
            {"pieces": float(number), "pixels": float(np.mean(parts.scars != 0))},
        )
    tilt, bent, slow = (bool(part.any()) for part in (parts.plane, parts.bent, parts.slow))

    def height(part: Image) -> str:
        return measure(scale * float(np.ptp(part)), unit)

    found_all = [
        offsets,
        scar,
        Decision(
            "tilt", tilt, f"A tilt of {height(parts.plane)} was taken out." if tilt else "No tilt is certain."
        ),
        Decision(
            "bow", bent, f"A bow of {height(parts.bent)} was taken out." if bent else "No bow is certain."
        ),
        Decision(
            "drift",
            slow,
            f"A slow background of {height(parts.slow)} was taken out: it has no edges, and "
            "something fine lies all over it."
            if slow
            else "Nothing slow can be told from the sample.",
            told,
        ),
    ]
    for part in taken_back:
        i = next(i for i, decision in enumerate(found_all) if decision.part == part)
        found_all[i] = replace(
            found_all[i],
            taken=False,
            reason=f"{_NAMES[part]} left in the image: taking it would have taken some of the sample.",
            noted=True,
        )
    return tuple(found_all)


def _jumps(number: int) -> str:
    return "one jump that lasts" if number == 1 else f"{number} jumps that last"


def _pieces(number: int) -> str:
    return "A piece of a line was" if number == 1 else f"{number} pieces of lines were"


# ---------------------------------------------------------------------------------------------- counts


def _of_counts(f: Image, *, streaked: bool) -> Diagnosis:
    """Take streaks out of an image of counts."""
    scale = Stabilised.of(estimate_noise(f))
    s, gaps = np.zeros(f.shape), {}
    if streaked:
        s, found = streaks(f, scale)
        gaps = {"streaks": found.gap}
    flat = f - s
    number = int(np.count_nonzero(runs(s, 0.0).area))
    reason = (
        f"{_pieces(number)} taken out as streaks." if number else "No streak can be told from the sample."
    )
    decisions = (Decision("streaks", bool(number), reason, {"pieces": float(number)}),)
    zero = np.zeros(f.shape)
    return Diagnosis(
        np.zeros(len(f)),
        s,
        zero,
        flat,
        decisions,
        counts=True,
        gaps=gaps,
    )
