"""What is checked of every image, whatever its format: values beyond reason, rows that were never scanned."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Micrograph, Region

_LARGEST = 1e30
_HIGHEST = 1.0  # metres
_SCANNING_PROBES = frozenset({"STM", "AFM", "SPM"})
_WITHOUT_SCALE = frozenset({"", "Pillow", "imagecodecs", "numpy", "SPIEPy", "h5py"})
_PLAIN_TIFF = "TIFF"
_NO_SCALE = "The file gives no pixel size; lengths are in pixels."


def checked(micrographs: Sequence[Micrograph], path: Path) -> list[Micrograph]:
    """Return the images of a file with notes on what cannot be believed.

    Raises
    ------
    UnreadableFileError
        An image has values that no instrument measures, so the file is damaged or cut short.
    """
    return [_with_scale_note(_without_unscanned(_believed(one, path))) for one in micrographs]


def _believed(micrograph: Micrograph, path: Path) -> Micrograph:
    data = micrograph.data
    if data.dtype.kind != "f" or data.dtype.itemsize < 4:
        return micrograph
    with np.errstate(invalid="ignore"):
        absurd = np.isfinite(data) & (np.abs(data) > _LARGEST)
    if absurd.any():
        sentinels = np.unique(data[absurd])
        if len(sentinels) > 1:
            raise UnreadableFileError(
                f"{path} is damaged or incomplete: {micrograph.channel or 'its image'} has values up to "
                f"{np.abs(sentinels).max():.1e}, which no instrument measures. Copy it again from the "
                "microscope."
            )
        note = f"The value {sentinels[0]:g} in the file stands for no data; it was read as NaN."
        micrograph = replace(micrograph, data=np.where(absurd, np.nan, data), notes=(*micrograph.notes, note))
    highest = float(np.nanmax(np.abs(micrograph.data), initial=0.0, where=np.isfinite(micrograph.data)))
    if micrograph.quantity == "height" and micrograph.units == "m" and highest > _HIGHEST:
        note = f"Its heights reach {highest:g} m, which no scanner does: the file or its unit is wrong."
        micrograph = replace(micrograph, notes=(*micrograph.notes, note))
    return micrograph


def _without_unscanned(micrograph: Micrograph) -> Micrograph:
    """Leave out rows of zeros at an end: scans that were stopped hold zeros where nothing was measured."""
    data = micrograph.data
    if micrograph.valid is not None or data.dtype.kind not in "iuf" or not data.size:
        return micrograph
    measured = np.flatnonzero(data.any(axis=1))  # NaN counts as True
    if not measured.size or len(data) == measured[-1] - measured[0] + 1:
        return micrograph
    top, bottom = int(measured[0]), int(measured[-1]) + 1
    zeros = len(data) - (bottom - top)
    if micrograph.technique in _SCANNING_PROBES and data.dtype.kind == "f":
        note = f"{zeros} of {len(data)} rows hold nothing but zeros: not scanned, so they are no data."
        region = Region(top, bottom, 0, data.shape[1])
        return replace(micrograph, valid=region, notes=(*micrograph.notes, note))
    note = f"{zeros} of {len(data)} rows at an end of the image hold nothing but zeros."
    return replace(micrograph, notes=(*micrograph.notes, note))


def _with_scale_note(micrograph: Micrograph) -> Micrograph:
    if micrograph.technique is None and _is_plain(micrograph):
        return micrograph
    if micrograph.pixel_size or any("pixel size" in note for note in micrograph.notes):
        return micrograph
    return replace(micrograph, notes=(*micrograph.notes, _NO_SCALE))


def _is_plain(micrograph: Micrograph) -> bool:
    """Return whether an image is a picture or an array, of which no scale is expected."""
    return micrograph.reader[0] in _WITHOUT_SCALE or _PLAIN_TIFF in micrograph.vendor_metadata
