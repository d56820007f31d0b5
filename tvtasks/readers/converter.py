"""Formats of scanning-probe microscopes that Gwyddion's converter reads, as a last resort.

gwyddionpy (Apache-2.0) starts the converter (GPL-2.0-or-later) as a separate program and returns its output,
so none of its code is loaded here. It is not used for electron microscopy, because it scales counts to [0,
1].
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Micrograph, ScanDirection, Source
from tvtasks.readers.completeness_spm import createc_data, doubtful, unfinished
from tvtasks.readers.directions import direction_of, set_direction, undirected
from tvtasks.readers.gwyddion import per_pixel
from tvtasks.readers.metadata import json_safe
from tvtasks.readers.quantities import believed_unit, in_si, quantity, told_technique
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
_CURVES = re.compile(r"\bspec\b|spectroscopy", re.IGNORECASE)
_WITH_CURVES = frozenset({"ezdfile", "nid"})  # Nanosurf
_RHK = b"S\0T\0i\0M\0a\0g\0e"

# Technique, by the module of Gwyddion that recognised the file.
_TECHNIQUES = {
    "createc": "STM",
    "jpkscan": "AFM",
    "nanoscope": "AFM",
    "nid": "AFM",
    "ezdfile": "AFM",
    "nanosurf": "AFM",
    "mdtfile": "AFM",
    "rhk-sm4": "STM",
}

# Formats for which its values differ from those in the file, as found by comparison with RosettaSciIO.
_FLAWS = {
    "surffile": (
        "Gwyddion's converter omits a constant that Digital Surf files add to every value: "
        "differences between values are right, the values themselves are not.",
    )
}

_CREATEC = b"[Paramco32]"
_CREATEC_HEADER = 16384

_SECOND = 2  # the converter's number for the second channel of a name

# A damaged file must not delay the others; the converter needs a second or two for 10 MB.
_PATIENCE_S = 8.0
_BYTES_PER_S = 5e6


def _matches(head: bytes) -> bool:
    return head.startswith(_MAGICS) or head[2:].startswith(_RHK)


def _read(path: Path, source: Source) -> list[Micrograph]:
    require_extra("gwyddionpy", "gwyddion", path)
    import gwyddionpy  # noqa: PLC0415

    try:
        with _readable(path) as copy:
            converted = gwyddionpy.load(copy, timeout=_PATIENCE_S + source.size / _BYTES_PER_S)
    except gwyddionpy.ConverterNotFoundError as error:
        raise UnreadableFileError(
            f"{path} needs Gwyddion's converter, which is not installed. "
            "Install it: pip install 'tvtasks[gwyddion]'"
        ) from error
    except gwyddionpy.GwyddionPyError as error:
        # Its message begins with the name of the program and repeats that of the file.
        reason = str(error).splitlines()[0].rpartition("': ")[2].rstrip(". ")
        raise UnreadableFileError(
            f"Gwyddion's converter cannot read {path}: {reason}. Open it in the program that wrote it, "
            "and export it as .gwy, .gsf or TIFF."
        ) from error
    module = converted.source_format or "?"
    channels = {
        name: channel
        for name, channel in converted.channels.items()
        if not (module in _WITH_CURVES and _CURVES.search(name))
    }
    if not channels:
        raise UnreadableFileError(
            f"Gwyddion's converter finds no image in {path}; it may contain curves. "
            "Check that this is the right file."
        )
    directions = _directions({name: channel.meta for name, channel in channels.items()}, module)
    micrographs = []
    left = [name for name in converted.channels if name not in channels]
    left_out = (f"Left out, because they are curves: {', '.join(left)}.",) if left else ()
    for name, channel in channels.items():
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
                notes=notes + _FLAWS.get(module, ()) + left_out,
            )
        )
    return micrographs


@contextmanager
def _readable(path: Path) -> Iterator[Path]:
    """Provide the file, or a copy in which the converter finds the values.

    It expects those of Createc after 16384 bytes, but some headers are shorter.
    """
    head = path.read_bytes()[:_CREATEC_HEADER] if path.suffix.lower() == ".dat" else b""
    at = createc_data(head) if head.startswith(_CREATEC) else None
    if at is None or at >= _CREATEC_HEADER - 4:
        yield path
        return
    content = path.read_bytes()
    with TemporaryDirectory(prefix="tvtasks-") as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(content[:at].ljust(_CREATEC_HEADER - 4, b"\r") + content[at:])
        yield copy


def _directions(channels: dict[str, dict[str, str]], module: str) -> dict[str, ScanDirection | None]:
    """Return the direction of each channel, by name, from its name, its settings, or its twin's name."""
    told = {name: direction_of(name) or set_direction(settings) for name, settings in channels.items()}
    ways_back = {undirected(name) for name, direction in told.items() if direction == "backward"}
    for name in channels:
        second = f"{name} ({_SECOND})"
        if told[name] is None and name in ways_back:  # JPK names only the way back
            told[name] = "forward"
        elif module == "createc" and second in channels:
            told[name], told[second] = "forward", "backward"
    return told


def _technique(module: str, metadata: dict[str, str]) -> str | None:
    return told_technique(metadata) or _TECHNIQUES.get(module)


READER = Reader("a scan in a format that Gwyddion reads", _matches, _read, unfinished, doubtful=doubtful)
