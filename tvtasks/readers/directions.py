"""The fast-scan direction that the name of a channel, or its settings, give."""

import re
from collections.abc import Mapping
from typing import Any

from tvtasks.micrograph import ScanDirection

_BACKWARD = r"backwards?|retrace|(?<![a-z])bwd?(?![a-z])|right to left|←|<-|(?<=^\d)b(?=:)"
_FORWARD = r"forwards?|trace|(?<![a-z])fwd?(?![a-z])|left to right|→|->|(?<=^\d)f(?=:)"
_IS_BACKWARD = re.compile(_BACKWARD, re.IGNORECASE)
_IS_FORWARD = re.compile(_FORWARD, re.IGNORECASE)
_WITH_BRACKETS = re.compile(rf"[\s_(\[-]*(?:{_BACKWARD}|{_FORWARD})[)\]]*", re.IGNORECASE)
# "Scan direction" is not among them: for some vendors it is that of the slow axis, up or down.
_SETTING = re.compile(r"(^|::)(line|fast.?scan).direction$", re.IGNORECASE)


def direction_of(title: str) -> ScanDirection | None:
    """Return the fast-scan direction in the title of a channel; None if it names none.

    >>> direction_of("Z (Backward)"), direction_of("HeightTrace"), direction_of("Topography")
    ('backward', 'forward', None)
    """
    if _IS_BACKWARD.search(title):
        return "backward"
    return "forward" if _IS_FORWARD.search(title) else None


def set_direction(settings: Mapping[str, Any]) -> ScanDirection | None:
    """Return the fast-scan direction in the settings of a channel; None if there is none.

    >>> set_direction({"Line Direction": "Retrace"})
    'backward'
    """
    found = (direction_of(str(value)) for key, value in settings.items() if _SETTING.search(key))
    return next(found, None)


def undirected(title: str) -> str:
    """Return the title of a channel without its direction.

    >>> undirected("Z (Backward)"), undirected("HeightTrace"), undirected("Height (measured) (retrace)")
    ('Z', 'Height', 'Height (measured)')
    """
    return _WITH_BRACKETS.sub("", title).strip()
