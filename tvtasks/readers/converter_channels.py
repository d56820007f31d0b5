"""What the channels are that Gwyddion's converter finds: images or curves, their direction and frame."""

import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import ScanDirection
from tvtasks.readers.completeness_spm import SURF, nanosurf_channels
from tvtasks.readers.directions import direction_of, set_direction, undirected

_CURVES = re.compile(r"\bspec\b|spectroscopy", re.IGNORECASE)
_WITH_CURVES = frozenset({"ezdfile", "nid"})  # Nanosurf
_NUMBERED = re.compile(r"(.+?)(?: \((\d+)\))?")
_SURF_KIND_AT = 18
# What an object of Digital Surf holds beside images; the numbers are those of its header.
_SURF_NO_IMAGES = {
    1: "a profile",
    4: "a series of profiles",
    7: "a profile of several layers",
    14: "a force curve",
    15: "force curves",
    17: "a contour",
    20: "a spectrum",
    21: "a spectrum image",
}
_SURF_RGB_IMAGE = 12
_SURF_COLOURED = frozenset({13, 16})  # a surface, and red, green and blue to paint it


class Place(NamedTuple):
    """What a channel is called, in which direction it was scanned, and in which frame."""

    channel: str
    direction: ScanDirection | None
    frame: int = 0


def curves(path: Path, names: list[str], module: str) -> frozenset[str]:
    """Return the names of channels that hold curves, one below the other, and no image."""
    if module not in _WITH_CURVES:
        return frozenset()
    with path.open("rb") as file:
        described = nanosurf_channels(file.read(1 << 22))
    found = {name for name in names if _CURVES.search(name)}
    if len(described) == len(names):  # in the order of the file
        found |= {
            name
            for name, settings in zip(names, described, strict=True)
            if settings.get("Dim0Unit") != settings.get("Dim1Unit")
        }
    return frozenset(found)


def surf_kind(path: Path) -> int:
    """Return what a file of Digital Surf holds, by its number; 0 for other files.

    Raises
    ------
    UnreadableFileError
        It holds no image.
    """
    with path.open("rb") as file:
        head = file.read(_SURF_KIND_AT + 2)
    if not head.startswith(SURF) or len(head) < _SURF_KIND_AT + 2:
        return 0
    (kind,) = struct.unpack_from("<h", head, _SURF_KIND_AT)
    if kind in _SURF_NO_IMAGES:
        raise UnreadableFileError(
            f"{path} contains {_SURF_NO_IMAGES[kind]}, which cannot be restored as an image. "
            "Check that this is the right file."
        )
    return int(kind)


def is_colour(kind: int) -> bool:
    """Return whether a file of Digital Surf is a picture in red, green and blue."""
    return kind == _SURF_RGB_IMAGE


def is_painted(kind: int) -> bool:
    """Return whether the first channel of a file of Digital Surf is a surface, and the others its colours."""
    return kind in _SURF_COLOURED


def places(channels: Mapping[str, Mapping[str, str]], module: str) -> dict[str, Place]:
    """Return name, direction and frame of each channel, by the name that the converter gives it.

    Parameters
    ----------
    channels
        The settings of each channel.
    module
        The module of Gwyddion that read the file.

    Examples
    --------
    >>> list(places({"Z": {}, "Z (2)": {}, "Z (3)": {}, "Z (4)": {}}, "createc").values())[2]
    Place(channel='Z', direction='forward', frame=1)
    """
    if module == "createc":
        return {name: _createc(name, channels) for name in channels}
    called = {name: _without_number(name) if module == "nt-mdt" else name for name in channels}
    told = {
        name: direction_of(called[name]) or set_direction(settings) for name, settings in channels.items()
    }
    ways_back = {undirected(name) for name, direction in told.items() if direction == "backward"}
    return {
        # JPK names only the way back.
        name: Place(called[name], told[name] or ("forward" if name in ways_back else None))
        for name in channels
    }


def _createc(name: str, channels: Mapping[str, object]) -> Place:
    """Return the place of a channel of Createc: forward and backward follow each other, frame by frame."""
    base, number = _split(name)
    if f"{base} (2)" not in channels:
        return Place(name, None)
    backward, frame = number % 2 == 0, (number - 1) // 2
    return Place(f"{base} (2)" if backward else base, "backward" if backward else "forward", frame)


def _without_number(name: str) -> str:
    """Return a name without the number of the frame of NT-MDT, which is another for the way back."""
    return _split(name)[0]


def _split(name: str) -> tuple[str, int]:
    match = _NUMBERED.fullmatch(name)
    return (match[1], int(match[2] or 1)) if match else (name, 1)
