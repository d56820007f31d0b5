"""Formats of scanning-probe microscopes that Gwyddion's converter reads, as a last resort.

gwyddionpy (Apache-2.0) starts the converter (GPL-2.0-or-later) as a separate program and returns its output,
so none of its code is loaded here. It is not used for electron microscopy, because it scales counts to [0,
1].
"""

import re
from collections import Counter
from pathlib import Path

import numpy as np

from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Micrograph, ScanDirection, Source
from tvtasks.readers.gwyddion import direction_of, per_pixel
from tvtasks.readers.metadata import json_safe
from tvtasks.readers.quantities import believed_unit, in_si, quantity
from tvtasks.readers.reader import Reader, require_extra

_MAGICS = (
    b"[Paramet",  # Createc, older
    b"[Paramco32]",  # Createc
    b"\\*File list",  # Bruker Nanoscope
    b"WSxM file copyright",
    b"DIGITAL SURF",
    b"DSCOMPRESSED",
    b"[DataSet]",  # Nanosurf
    b"\x01\xb0\x93\xff",  # NT-MDT
    # A JPK scan is a TIFF that only its vendor's format description explains; other TIFFs never get here.
    b"II*\0",
    b"MM\0*",
)
_RHK = b"S\0T\0i\0M\0a\0g\0e"

# Technique, by the module of Gwyddion that recognised the file.
_TECHNIQUES = {"createc": "STM", "jpkscan": "AFM", "nanoscope": "AFM", "nid": "AFM", "rhk-sm4": "STM"}

# Formats for which its values differ from those in the file, as found by comparison with RosettaSciIO.
_FLAWS = {
    "surffile": (
        "Gwyddion's converter omits a constant that Digital Surf files add to every value: "
        "differences between values are right, the values themselves are not.",
    )
}

# A damaged file must not delay the others; the converter needs a second or two for 10 MB.
_PATIENCE_S = 8.0
_BYTES_PER_S = 5e6


def _matches(head: bytes) -> bool:
    return head.startswith(_MAGICS) or head[2:].startswith(_RHK)


def _read(path: Path, source: Source) -> list[Micrograph]:
    require_extra("gwyddionpy", "gwyddion", path)
    import gwyddionpy  # noqa: PLC0415

    try:
        converted = gwyddionpy.load(path, timeout=_PATIENCE_S + source.size / _BYTES_PER_S)
    except gwyddionpy.ConverterNotFoundError as error:
        raise UnreadableFileError(
            f"{path} needs Gwyddion's converter, which is not installed. "
            "Install it: pip install 'tvtasks[gwyddion]'"
        ) from error
    except gwyddionpy.GwyddionPyError as error:
        # Its message begins with the name of the program and repeats that of the file.
        reason = str(error).splitlines()[0].rpartition(f"'{path}': ")[2].rstrip(". ")
        raise UnreadableFileError(
            f"Gwyddion's converter cannot read {path}: {reason}. Open it in the program that wrote it, "
            "and export it as .gwy, .gsf or TIFF."
        ) from error
    if not converted.channels:
        raise UnreadableFileError(
            f"Gwyddion's converter finds no image in {path}; it may contain curves. "
            "Check that this is the right file."
        )
    module = converted.source_format or "?"
    directions = _directions(list(converted.channels), module)
    micrographs = []
    for name, channel in converted.channels.items():
        if not np.isfinite(channel.data).any():
            raise UnreadableFileError(
                f"Gwyddion's converter misreads {path}: all values of {name} are infinite. "
                "Export it as .gwy, .gsf or TIFF from the program that wrote it."
            )
        data, unit = in_si(channel.data, channel.si_unit_z)
        unit, notes = believed_unit(data, unit, name)
        rows, columns = data.shape
        micrographs.append(
            Micrograph(
                np.ascontiguousarray(data),
                quantity=quantity(name, unit),
                units=unit,
                channel=name,
                direction=directions[name],
                # Without a calibration the converter reports an image of width 1 without a unit.
                pixel_size=per_pixel(channel.xreal, channel.yreal, columns, rows, channel.si_unit_xy),
                technique=_technique(module, channel.meta),
                source=source,
                reader=(f"gwyddionpy ({module})", gwyddionpy.__version__),
                vendor_metadata=json_safe(channel.meta),
                notes=notes + _FLAWS.get(module, ()),
            )
        )
    return micrographs


def _directions(names: list[str], module: str) -> dict[str, ScanDirection | None]:
    """Return the direction of each channel, from its name or because two channels share a name."""
    stems = Counter(_stem(name) for name in names)
    directions: dict[str, ScanDirection | None] = {}
    for name in names:
        told = direction_of(name)
        if told is None and stems[_stem(name)] == 2:
            second = module == "createc" and name.endswith(" (2)")
            told = "backward" if second else "forward"
        directions[name] = told
    return directions


def _stem(name: str) -> str:
    return re.sub(r" \((2|retrace|trace)\)", "", name, flags=re.IGNORECASE)


def _technique(module: str, metadata: dict[str, str]) -> str | None:
    told = metadata.get("General Info::Head type", "")
    return told if told in {"AFM", "STM"} else _TECHNIQUES.get(module)


READER = Reader("a scan in a format that Gwyddion reads", _matches, _read, lambda path: None)
