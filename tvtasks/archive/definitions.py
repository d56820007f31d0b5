"""Which NeXus application definition a run fits: NXem, NXspm or none; and what it lacks for one.

NXspm requires the name of the person who measured (it extends NXsensor_scan), the vendor, and lengths. NXstm
is not used because it requires the lock-in amplifier of every image, NXafm because few files name its scan
mode; both extend NXspm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ELECTRONS = {"SEM", "STEM", "TEM"}
_PROBES = {"STM", "AFM"}
_VENDORS = {
    "nanonis": "Nanonis",
    "access2theMatrix": "Scienta Omicron",
    "gwyddionpy (createc)": "Createc",
    "gwyddionpy (nanoscope)": "Bruker",
    "gwyddionpy (jpkscan)": "JPK",
    "gwyddionpy (wsxmfile)": "WSxM",
    "gwyddionpy (nanosurf)": "Nanosurf",
    "gwyddionpy (nt-mdt)": "NT-MDT",
}
"""The maker of controller and software, by the format that they write."""


def definition_of(record: Mapping[str, Any]) -> str:
    """Return the definition that a run fits; empty if none.

    Parameters
    ----------
    record
        The run record, or the part of it that `missing` takes.
    """
    technique = record["image"]["technique"]
    if technique in _ELECTRONS:
        return "NXem" if record["sample"] and not missing(record) else ""
    return "NXspm" if technique in _PROBES and not missing(record) else ""


def missing(record: Mapping[str, Any]) -> str:
    """Return why a run fits no definition, as a clause; empty if it fits one, given sample data.

    Parameters
    ----------
    record
        The run record; ``image`` with ``technique``, ``acquired_at``, ``pixel_size``, ``pixel_unit`` and
        ``reader``, and ``session`` are enough.
    """
    image = record["image"]
    technique = image["technique"]
    if technique is None or technique == "other":
        return "its file does not name a microscope"
    if technique in _ELECTRONS:
        return (
            "" if image["acquired_at"] else "NXem needs the time of acquisition, which its file does not have"
        )
    if technique not in _PROBES:
        return f"no definition is for images of {technique}"
    lacks = [
        what
        for what, known in (
            ("the operator (--operator)", (record.get("session") or {}).get("operator")),
            ("the pixel size in metres", image["pixel_size"] and image["pixel_unit"] == "m"),
            ("the vendor", vendor(image["reader"])),
        )
        if not known
    ]
    return f"NXspm needs {' and '.join(lacks)}" if lacks else ""


def vendor(reader: Any) -> str:
    """Return the maker of a microscope's controller, by the reader of its file; empty if unknown."""
    return next((maker for part in reader if (maker := _VENDORS.get(str(part)))), "")
