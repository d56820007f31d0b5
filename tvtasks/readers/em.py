"""Formats of electron microscopes that RosettaSciIO reads: DM3, DM4, EMD, TIA, MRC, JEOL.

RosettaSciIO is licensed under the GPL and is not part of tvtasks: it comes with the extra ``em`` and runs in
a separate process (`isolated`). This module translates its results into `Micrograph` objects.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Micrograph, Source, file_sha256
from tvtasks.readers import completeness, isolated
from tvtasks.readers.kinds import Axis, why_no_image
from tvtasks.readers.metadata import json_safe
from tvtasks.readers.pixels import grey, split
from tvtasks.readers.reader import Reader, require_extra
from tvtasks.readers.units import metres, pixel_size

_EMI = b"JK\0\2"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_JEOL = b"4\0\0\0"
_DM_VERSIONS = (b"\0\0\0\3", b"\0\0\0\4")
_FILETIME_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


def _read(
    path: Path,
    source: Source,
    *,
    function: str,
    others: Callable[[Path], tuple[Path, ...]],
    more_notes: Callable[[Path], tuple[str, ...]],
) -> list[Micrograph]:
    require_extra("rsciio", "em", path)
    beside = {other.name: file_sha256(other) for other in others(path) if other.is_file()}
    source = replace(source, companions=beside)
    signals = isolated.call(f"tvtasks.readers.em_rosettasciio:{function}", path)
    faults = [_why_no_image(signal) for signal in signals]
    images = [signal for signal, fault in zip(signals, faults, strict=True) if fault is None]
    if not images:
        raise UnreadableFileError(
            f"{path} contains {faults[0] if faults else 'no image'}, which cannot be restored as an image. "
            "Check that this is the right file."
        )
    left_out = tuple(
        f"{_called(signal, path)} was left out: it is {fault}."
        for signal, fault in zip(signals, faults, strict=True)
        if fault is not None
    )
    if unread := [name for signal in signals for name in signal.about.get("left_out", ())]:
        left_out += (f"Left out: {' and '.join(dict.fromkeys(unread))} in the file.",)
    version = metadata.version("rosettasciio")
    micrographs: list[Micrograph] = []
    for signal in images:
        about = signal.about
        pixels, colour = grey(signal.data) if about["colour"] else (signal.data, "")
        frames, notes = split(pixels, path)
        original = about["metadata"]
        size, size_notes = _pixel_size(about["axes"][-2:])
        micrographs += [
            Micrograph(
                data,
                quantity="intensity",
                units="counts" if data.dtype.kind in "ui" else "",
                channel=_channel(about, path),
                frame=frame,
                pixel_size=size,
                technique="STEM" if _is_scanned(original) else None,
                acquired_at=_acquired_at(about),
                source=source,
                reader=("rosettasciio", version),
                vendor_metadata=json_safe(original),
                notes=(*notes, *([colour] if colour else []), *size_notes, *left_out, *more_notes(path)),
            )
            for frame, data in enumerate(frames)
        ]
    return _told_apart(micrographs)


def _why_no_image(signal: isolated.Signal) -> str | None:
    """Return what a signal is if it is no image, in words; None if it is an image or a stack of them."""
    if signal.data.dtype.kind == "c":
        return "complex numbers: export the amplitude or the phase"
    axes = [Axis(axis["name"], axis["units"].strip("[]"), axis["size"]) for axis in signal.about["axes"]]
    tags = _at(signal.about["metadata"], "ImageList", "TagGroup0", "ImageTags", "Meta Data", "Format")
    about = str(tags) if tags else ""
    fault = why_no_image(axes, signal_type=signal.about["signal_type"], about=about)
    navigate = [axis["navigate"] for axis in signal.about["axes"]]
    if fault is None and navigate[-2:] != [False, False]:
        return "a list of spectra or profiles"
    return fault


def _called(signal: isolated.Signal, path: Path) -> str:
    return _channel(signal.about, path) or "A part of the file"


def _channel(about: Mapping[str, Any], path: Path) -> str:
    title = str(about["title"])
    # If a format has no names, the library uses the name of the file.
    return "" if title in {path.stem, "__unnamed__"} or Path(about["file"]).stem == title else title


def _told_apart(micrographs: list[Micrograph]) -> list[Micrograph]:
    """Return the images with a frame of their own if several signals of a channel share a name."""
    seen: dict[str, int] = {}
    numbered = []
    for micrograph in micrographs:
        frame = seen.get(micrograph.channel, 0)
        seen[micrograph.channel] = frame + 1
        numbered.append(replace(micrograph, frame=frame))
    return numbered


def _pixel_size(axes: list[Mapping[str, Any]]) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    rows, columns = axes
    for axis in axes:
        unit = axis["units"]
        if metres(unit) is None:
            known = unit.strip("[]") not in {"", "None", "px", "pixel", "pixels"}
            note = f"The unit of axis {axis['name']} is '{unit}', not a length; the image has no pixel size."
            return None, (note,) if known else ()
    return pixel_size(rows["scale"], columns["scale"], rows["units"], columns["units"]), ()


def _at(tree: Any, *names: str) -> Any:
    """Return the value at the end of a path of names; None if a name is missing."""
    for name in names:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree


def _is_scanned(original: Mapping[str, Any]) -> bool:
    tags = _at(original, "ImageList", "TagGroup0", "ImageTags")
    modes = (
        _at(tags, "Microscope Info", "Illumination Mode"),
        _at(tags, "Microscope Info", "Operation Mode"),
        _at(original, "ObjectInfo", "ExperimentalDescription", "Mode"),
    )
    # Beside a camera image, Velox writes a scan of width zero.
    velox = _at(original, "Scan", "ScanSize", "width")
    return (
        any(word in str(mode).upper() for mode in modes for word in ("STEM", "SCANNING"))
        or _at(tags, "DigiScan") is not None
        or velox not in {None, "0"}
    )


def _acquired_at(about: Mapping[str, Any]) -> datetime | None:
    day, time, zone = about["time"]
    with suppress(ValueError, ZoneInfoNotFoundError):
        found = datetime.fromisoformat(f"{day}T{time}")
        return found.replace(tzinfo=UTC if zone == "UTC" else ZoneInfo(zone)) if zone else found
    filetime = _at(
        about["metadata"], "ImageList", "TagGroup0", "ImageTags", "DataBar", "Acquisition Time (OS)"
    )
    with suppress(TypeError, ValueError, OverflowError):
        return _FILETIME_EPOCH + timedelta(microseconds=float(filetime) / 10)
    return None


def _is_dm(head: bytes) -> bool:
    # The version is followed by the length of the file, then by the byte order.
    at = 8 if head[:4] == _DM_VERSIONS[0] else 12
    return head[:4] in _DM_VERSIONS and head[at : at + 4] in {b"\0\0\0\0", b"\0\0\0\1"}


def _is_mrc(head: bytes) -> bool:
    return head[208:212] == b"MAP " or completeness.mrc_bytes(head) is not None


def _unfinished_emd(path: Path) -> str | None:
    from tvtasks.readers.hdf5 import READER as HDF5  # noqa: PLC0415 - for it only, h5py is imported

    return HDF5.unfinished(path)


def _series_of(path: Path) -> tuple[Path, ...]:
    return tuple(sorted(path.parent.glob(f"{path.stem}_*.ser")))


def _reader(
    name: str,
    function: str,
    matches: Callable[[bytes], bool],
    unfinished: Callable[[Path], str | None],
    others: Callable[[Path], tuple[Path, ...]] = lambda path: (),
    doubtful: Callable[[Path], str | None] = lambda path: None,
) -> Reader:
    def notes(path: Path) -> tuple[str, ...]:
        return (f"It may be incomplete: {why}.",) if (why := doubtful(path)) else ()

    read = partial(_read, function=function, others=others, more_notes=notes)
    return Reader(name, matches, read, unfinished, others, doubtful=doubtful)


DIGITAL_MICROGRAPH = _reader("a DigitalMicrograph file", "digital_micrograph", _is_dm, completeness.dm)
EMD = _reader("an EMD file", "emd", lambda head: head.startswith(_HDF5), _unfinished_emd)
SER = _reader(
    "a TIA series",
    "ser",
    lambda head: head.startswith(completeness.SER),
    completeness.ser,
    completeness.emi_beside,
    completeness.ser_stopped,
)
EMI = _reader("a TIA file", "emi", lambda head: head.startswith(_EMI), lambda path: None, _series_of)
MRC = _reader("an MRC file", "mrc", _is_mrc, completeness.mrc)
JEOL = _reader(
    "a JEOL image",
    "jeol",
    lambda head: head.startswith(_JEOL),
    lambda path: None,
    doubtful=lambda path: "its format does not record how long it is",
)
