"""What the channels of scanning-probe microscopes measure, by the names that vendors give them."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from tvtasks.micrograph import Image, Micrograph
from tvtasks.readers.units import to_si

# The first that fits counts, so the narrower come first. A unit that a quantity cannot have speaks against
# it; an empty one does not.
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

# Controllers of an AFM hold the frequency, the amplitude, the phase or the bending of the cantilever.
_FORCE_FEEDBACK = re.compile(r"freq|ampl|excit|deflect|force|phase|cantilever|\bdf\b", re.IGNORECASE)
_MOST_METRES = 1e-3


def quantity(name: str, unit: str) -> str | None:
    """Return what a channel measures; None where neither its name nor its unit tells.

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
    """Return ``AFM`` or ``STM``: for AFM speaks what the feedback holds, or an oscillation that is recorded.

    Parameters
    ----------
    names
        The channels.
    feedback
        The name of the controller that moves the tip up and down.
    oscillates
        Whether the cantilever is driven.
    """
    if _FORCE_FEEDBACK.search(feedback):
        return "AFM"
    recorded = any(quantity(name, "") in {"frequency_shift", "deflection", "adhesion"} for name in names)
    return "AFM" if oscillates and recorded else "STM"


def numbered(micrographs: list[Micrograph]) -> list[Micrograph]:
    """Return images of which no two are called the same: of those with one name, the frames are counted."""
    seen: Counter[tuple[str, str | None, int]] = Counter()
    found = []
    for micrograph in micrographs:
        called = (micrograph.channel, micrograph.direction, micrograph.frame)
        found.append(replace(micrograph, frame=micrograph.frame + seen[called]))
        seen[called] += 1
    return found


def in_si(data: Image, unit: str) -> tuple[Image, str]:
    """Return values and their unit in SI; as they are where that needs no factor, or is not known.

    Degrees stay degrees, which is what everyone reads a phase in.
    """
    factor, si = to_si(unit) or (1.0, unit)
    if factor == 1.0 or si == "rad":
        return data, unit if si == "rad" else si
    return data.astype(np.float64) * factor, si


def believed_unit(data: Image, unit: str, name: str) -> tuple[str, tuple[str, ...]]:
    """Return a channel's unit, empty where the values belie it, and a note then.

    No scanner moves a tip by more than a millimetre: such "metres" are a sensor's volts with a wrong label.
    """
    if unit != "m":
        return unit, ()
    finite = data[np.isfinite(data)]
    span = float(np.ptp(finite)) if finite.size else 0.0
    if not math.isfinite(span) or span <= _MOST_METRES:
        return unit, ()
    return "", (
        f"The file says that {name} is in m, but its values span {span:g} m, which no scanner does; "
        "its unit was left open.",
    )
