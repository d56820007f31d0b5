"""What the channels of scanning-probe microscopes measure, according to the names that vendors give them."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tvtasks.micrograph import Image, Micrograph
from tvtasks.readers.units import to_si

# The first match counts, so narrower patterns come first. A unit that a quantity cannot have rules it out; an
# empty one does not.
_QUANTITIES: tuple[tuple[str, str, frozenset[str]], ...] = (
    ("frequency_shift", r"freq|\bdf\b|Δf", frozenset({"Hz"})),
    ("excitation", r"excitation|drive|dissipation", frozenset({"V", "J", "m"})),
    ("phase", r"phase", frozenset({"deg", "rad", "°", "V"})),
    ("amplitude", r"amplitude|\bampl?\b", frozenset({"m", "V"})),
    ("adhesion", r"adhesion", frozenset({"N"})),
    ("deflection", r"deflection|error", frozenset({"m", "V", "A"})),
    ("deformation", r"deformation|indentation", frozenset({"m"})),
    ("lock_in", r"\bli[xy]?\b|lock.?in|di.?dv|demod", frozenset({"A", "V", "S", "m"})),
    ("current", r"current|\bi\b|\bitunnel", frozenset({"A"})),
    ("height", r"height|topo|z.?sensor|\bz\b|\bz[_ ]|z$", frozenset({"m"})),
)
_BY_UNIT = {"m": "height", "A": "current", "V": "voltage", "Hz": "frequency_shift", "N": "force"}

# Controllers of an AFM regulate frequency, amplitude, phase or deflection of the cantilever.
_FORCE_FEEDBACK = re.compile(r"freq|ampl|excit|deflect|force|phase|cantilever|\bdf\b", re.IGNORECASE)
_TELLS_TECHNIQUE = re.compile(
    r"head type|mode|technique|microscope|instrument|scan ?head|file type|source|experiment", re.IGNORECASE
)
_TECHNIQUE = re.compile(
    r"\b(STM|AFM|SFM|AC mode|tapping|contact|non-contact|peak ?force)\b|tunnel", re.IGNORECASE
)
_CANTILEVER = re.compile(r"cantilever|spring ?const|tip voltage|setpoint amplitude", re.IGNORECASE)
_MOST_METRES = 1e-3


def quantity(name: str, unit: str) -> str | None:
    """Return what a channel measures; None if neither its name nor its unit reveals it.

    >>> quantity("Z", "m"), quantity("OC_M1_Freq._Shift", "Hz"), quantity("Input_4", "V")
    ('height', 'frequency_shift', 'voltage')
    """
    # CamelCase and underscores become words: ZSensorRetrace, HeightTrace, LIX_1_omega.
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").lower()
    for found, pattern, units in _QUANTITIES:
        if (not unit or unit in units) and re.search(pattern, words):
            return found
    return _BY_UNIT.get(unit)


def technique(names: Iterable[str], *, feedback: str = "", oscillates: bool = False) -> str:
    """Return ``AFM`` if the feedback or a recorded oscillation indicates it, otherwise ``STM``.

    Parameters
    ----------
    names
        The channels.
    feedback
        The name of the controller of the tip's height.
    oscillates
        Whether the cantilever is driven.
    """
    if _FORCE_FEEDBACK.search(feedback):
        return "AFM"
    recorded = any(quantity(name, "") in {"frequency_shift", "deflection", "adhesion"} for name in names)
    return "AFM" if oscillates and recorded else "STM"


def told_technique(settings: Mapping[str, Any]) -> str | None:
    """Return the technique that the settings of a channel name; None if they name none, or several.

    >>> told_technique({"General Info::Head type": "STM"}), told_technique({"Op. mode": "Dynamic AFM"})
    ('STM', 'AFM')
    """
    told = {
        "STM" if "STM" in words or "tunnel" in words.lower() else "AFM"
        for key, value in settings.items()
        if _TELLS_TECHNIQUE.search(key) and _TECHNIQUE.search(words := str(value))
    }
    if len(told) == 1:
        return told.pop()
    return "AFM" if not told and any(_CANTILEVER.search(key) for key in settings) else None


def numbered(micrographs: list[Micrograph]) -> list[Micrograph]:
    """Return the images with distinct names: images of the same name are numbered by frame."""
    seen: Counter[tuple[str, str | None, int]] = Counter()
    found = []
    for micrograph in micrographs:
        called = (micrograph.channel, micrograph.direction, micrograph.frame)
        found.append(replace(micrograph, frame=micrograph.frame + seen[called]))
        seen[called] += 1
    return found


def in_si(data: Image, unit: str) -> tuple[Image, str]:
    """Return values and their unit in SI, unchanged if that needs no factor or if the unit is unknown.

    Degrees stay degrees, the usual unit of a phase.
    """
    factor, si = to_si(unit) or (1.0, unit)
    if factor == 1.0 or si == "rad":
        return data, unit if si == "rad" else si
    return data.astype(np.float64) * factor, si


def believed_unit(data: Image, unit: str, name: str) -> tuple[str, tuple[str, ...]]:
    """Return a channel's unit; empty, with a note, if its values contradict it.

    No scanner moves a tip by more than a millimetre: such "metres" are the volts of a sensor with a wrong
    label.
    """
    if unit != "m":
        return unit, ()
    finite = data[np.isfinite(data)]
    span = float(np.ptp(finite)) if finite.size else 0.0
    if not math.isfinite(span) or span <= _MOST_METRES:
        return unit, ()
    return "", (
        f"The file gives {name} in m, but its values span {span:g} m, more than any scanner can move; "
        "its unit was left empty.",
    )
