"""Read files with RosettaSciIO in a child process. No other module imports it."""

import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from tvtasks.readers.isolated import Signal


def digital_micrograph(path: Path) -> Iterator[Signal]:
    """Read a DM3 or DM4 file."""
    return _signals("rsciio.digitalmicrograph", path)


def emd(path: Path) -> Iterator[Signal]:
    """Read the images of a Velox EMD, or the data of a Berkeley EMD."""
    return _signals("rsciio.emd", path, select_type="images")


def mrc(path: Path) -> Iterator[Signal]:
    """Read an MRC file."""
    return _signals("rsciio.mrc", path)


def jeol(path: Path) -> Iterator[Signal]:
    """Read an image of JEOL's Analysis Station."""
    return _signals("rsciio.jeol", path)


def ser(path: Path) -> Iterator[Signal]:
    """Read a series of TIA, with the description in the .emi beside it if there is one."""
    emi = next((companion for companion in _emi_of(path) if companion.is_file()), None)
    if emi is None:
        return _signals("rsciio.tia", path)
    return (one for one in _signals("rsciio.tia", emi) if one.about["file"].lower() == path.name.lower())


def emi(path: Path) -> Iterator[Signal]:
    """Read all series beside an .emi."""
    return _signals("rsciio.tia", path)


def _emi_of(path: Path) -> tuple[Path, ...]:
    from tvtasks.readers.completeness import emi_beside  # noqa: PLC0415 - not needed for the other formats

    return emi_beside(path)


def _signals(plugin: str, path: Path, **options: Any) -> Iterator[Signal]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: list[dict[str, Any]] = import_module(plugin).file_reader(str(path), **options)
    for signal in found:
        data = np.asarray(signal["data"])
        if data.dtype.kind not in "buifc":  # colours, stored as a structured dtype
            continue
        general: Mapping[str, Any] = signal["metadata"].get("General", {})
        yield Signal(
            data,
            {
                "axes": [
                    {
                        "name": str(axis.get("name", "")),
                        "units": "" if axis.get("units") is None else str(axis["units"]),
                        "scale": axis.get("scale"),
                        "navigate": bool(axis.get("navigate")),
                    }
                    for axis in signal["axes"]
                ],
                "file": str(general.get("original_filename", "")),
                "title": str(general.get("title", "")),
                "time": [str(general.get(key, "")) for key in ("date", "time", "time_zone")],
                "metadata": signal["original_metadata"],
            },
        )
