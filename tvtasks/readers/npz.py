"""NumPy's .npz: named arrays, each an image or a stack of images."""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Micrograph, Source
from tvtasks.readers.npy import header_of
from tvtasks.readers.pixels import require_plausible, split
from tvtasks.readers.reader import Reader

_ZIP = b"PK\x03\x04"
_END = b"PK\x05\x06"
_LONGEST_END = 22 + 65535  # including the longest comment
_ARRAY = ".npy"
_LONGEST_SCALE = 4096


def _matches(head: bytes) -> bool:
    # The name of the first entry follows its 30 bytes; other zips (.docx, .ora) contain other files.
    return head.startswith(_ZIP) and _ARRAY.encode() in head[30 : 30 + int.from_bytes(head[26:28], "little")]


def _unfinished(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(4096)
        if not _matches(head):
            return "its header is cut short" if _ZIP.startswith(head[:4]) and len(head) < 30 else None
        size = file.seek(0, 2)
        file.seek(max(0, size - _LONGEST_END))
        if _END not in file.read():
            return f"it ends after {size} bytes, without its list of arrays"
    return None


def _read(path: Path, source: Source) -> list[Micrograph]:
    micrographs = []
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(_ARRAY)]
        scale = _scale(archive, names)
        for name in names:
            with archive.open(name) as entry:
                shape, dtype = header_of(entry)
            if dtype.hasobject or dtype.kind not in "buif" or len(shape) < 2:
                continue  # a scalar or a text beside the images describes them and is not an image
            require_plausible(math.prod(shape) * dtype.itemsize, path)
            with archive.open(name) as entry:
                frames, notes = split(np.lib.format.read_array(entry, allow_pickle=False), path)
            micrographs += [
                Micrograph(
                    data,
                    channel=name.removesuffix(_ARRAY),
                    frame=frame,
                    source=source,
                    reader=("numpy", np.__version__),
                    notes=notes,
                    **scale,
                )
                for frame, data in enumerate(frames)
            ]
    if not micrographs:
        raise UnreadableFileError(
            f"{path} contains no image: none of its arrays ({', '.join(names) or 'there are none'}) has two "
            "dimensions and real numbers."
        )
    return micrographs


def _scale(archive: zipfile.ZipFile, names: list[str]) -> dict[str, Any]:
    """Return the calibration as `tvtasks export` writes it; empty if it is missing or incomplete."""
    found: dict[str, Any] = {}
    for name in ("pixel_size", "pixel_unit", "units"):
        if (entry := name + _ARRAY) in names and archive.getinfo(entry).file_size < _LONGEST_SCALE:
            with archive.open(entry) as file:
                found[name] = np.lib.format.read_array(file, allow_pickle=False)
    scale: dict[str, Any] = {}
    if "units" in found and found["units"].dtype.kind == "U" and found["units"].ndim == 0:
        scale["units"] = str(found["units"])
    size, unit = found.get("pixel_size"), found.get("pixel_unit")
    if size is None or unit is None or size.shape != (2,) or size.dtype.kind not in "iuf" or unit.ndim:
        return scale
    if np.isfinite(size).all() and (size > 0).all():
        scale["pixel_size"] = (float(size[0]), float(size[1]))
        scale["pixel_unit"] = str(unit)
    return scale


READER = Reader("a .npz file", _matches, _read, _unfinished)
