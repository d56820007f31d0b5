"""Read files with RosettaSciIO in a child process. No other module imports it."""

import shutil
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tvtasks.readers.isolated import Signal

_SPECTRA = {
    "Spectrum": "spectra",
    "SpectrumStream": "a spectrum stream",
    "SpectrumImage": "a spectrum image",
    "EdsSpectrum": "spectra",
}


def digital_micrograph(path: Path) -> Iterator[Signal]:
    """Read a DM3 or DM4 file."""
    return _signals("rsciio.digitalmicrograph", path)


def emd(path: Path) -> Iterator[Signal]:
    """Read the images of a Velox EMD, or the data of a Berkeley EMD."""
    spectra = _spectra_of(path)
    for signal in _signals("rsciio.emd", path, select_type="images"):
        yield Signal(signal.data, {**signal.about, "left_out": spectra})


def _spectra_of(path: Path) -> list[str]:
    """Return what a Velox file holds besides images, whose reading takes long and gives no image."""
    import h5py  # noqa: PLC0415

    with h5py.File(path, "r", locking=False) as file:
        data = file.get("Data")
        groups = list(data) if isinstance(data, h5py.Group) else []
    return [_SPECTRA[group] for group in groups if group in _SPECTRA]


def mrc(path: Path) -> Iterator[Signal]:
    """Read an MRC file."""
    return _signals("rsciio.mrc", path)


def jeol(path: Path) -> Iterator[Signal]:
    """Read an image of JEOL's Analysis Station."""
    return _signals("rsciio.jeol", path)


def ser(path: Path) -> list[Signal]:
    """Read a series of TIA, with the description in the .emi beside it if there is one.

    The library reads an .emi with every series beside it, and fails if one of the others is being written. So
    it gets a folder where this one is alone.
    """
    from tvtasks.readers.completeness import emi_beside  # noqa: PLC0415 - not needed for the other formats

    description = next((beside for beside in emi_beside(path) if beside.is_file()), None)
    if description is None:
        return list(_signals("rsciio.tia", path))
    with TemporaryDirectory(prefix="tvtasks-") as name:
        alone = Path(name)
        for file in (path, description):
            _put(file.resolve(), alone / file.name)
        return list(_signals("rsciio.tia", alone / description.name))


def _put(file: Path, place: Path) -> None:
    try:
        place.symlink_to(file)
    except OSError:  # on Windows, only administrators and developers may
        shutil.copyfile(file, place)


def emi(path: Path) -> Iterator[Signal]:
    """Read all series beside an .emi."""
    return _signals("rsciio.tia", path)


def _signals(plugin: str, path: Path, **options: Any) -> Iterator[Signal]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: list[dict[str, Any]] = import_module(plugin).file_reader(str(path), **options)
    for signal in found:
        data = np.asarray(signal["data"])
        if data.dtype.names and set(data.dtype.names) >= {"R", "G", "B"}:
            data = np.stack([data[name] for name in "RGB"], axis=-1)
        if data.dtype.kind not in "buifc":
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
                        "size": int(axis.get("size", 0)),
                        "navigate": bool(axis.get("navigate")),
                    }
                    for axis in signal["axes"]
                ],
                "signal_type": str(signal["metadata"].get("Signal", {}).get("signal_type", "")),
                "colour": data.ndim == len(signal["axes"]) + 1,
                "file": str(general.get("original_filename", "")),
                "title": str(general.get("title", "")),
                "time": [str(general.get(key, "")) for key in ("date", "time", "time_zone")],
                "metadata": signal["original_metadata"],
            },
        )
