"""Formats of scanning-probe microscopes that Gwyddion's converter reads, as a last resort.

gwyddionpy (Apache-2.0) starts the converter (GPL-2.0-or-later) as a separate program and returns its output,
so none of its code is loaded here. It is not used for electron microscopy, because it scales counts to [0,
1].
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np

from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Micrograph, Source
from tvtasks.readers.completeness_spm import createc_data, doubtful, unfinished
from tvtasks.readers.converter_channels import Place, curves, is_colour, is_painted, places, surf_kind
from tvtasks.readers.gwyddion import per_pixel
from tvtasks.readers.metadata import json_safe
from tvtasks.readers.pixels import grey
from tvtasks.readers.quantities import believed_unit, in_si, numbered, quantity, told_technique
from tvtasks.readers.reader import Reader, require_extra
from tvtasks.readers.units import is_for_prints

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
_TECHNIQUES = {
    "createc": "STM",
    "jpkscan": "AFM",
    "nanoscope": "AFM",
    "nid": "AFM",
    "ezdfile": "AFM",
    "nanosurf": "AFM",
    "mdtfile": "AFM",
    "nt-mdt": "AFM",
    "psia": "AFM",
    "rhk-sm4": "STM",
    "rhk-sm3": "STM",
    "rhk-spm32": "STM",
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

_MOST_NAMES = 12

# A damaged file must not delay the others; the converter needs a second or two for 10 MB.
_PATIENCE_S = 8.0
_BYTES_PER_S = 5e6


def _matches(head: bytes) -> bool:
    return head.startswith(_MAGICS) or head[2:].startswith(_RHK)


def _read(path: Path, source: Source) -> list[Micrograph]:
    require_extra("gwyddionpy", "gwyddion", path)
    import gwyddionpy  # noqa: PLC0415

    colours = surf_kind(path)
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
    curved = curves(path, list(converted.channels), module)
    channels = {name: channel for name, channel in converted.channels.items() if name not in curved}
    if not channels:
        raise UnreadableFileError(
            f"Gwyddion's converter finds no image in {path}; it may contain curves. "
            "Check that this is the right file."
        )
    if is_colour(colours):
        return [_picture(list(channels.values()), module, source)]
    left_out: tuple[str, ...] = (f"Left out, because they are curves: {_listed(curved)}.",) if curved else ()
    if is_painted(colours) and len(channels) > 1:
        left_out += ("Left out: the colours with which the surface was painted.",)
        channels = dict([next(iter(channels.items()))])
    where = places({name: channel.meta for name, channel in channels.items()}, module)
    return numbered(
        [_micrograph(channel, where[name], module, source, left_out) for name, channel in channels.items()]
    )


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:_MOST_NAMES]) + (" …" if len(ordered) > _MOST_NAMES else "")


def _micrograph(
    channel: Any, place: Place, module: str, source: Source, left_out: tuple[str, ...]
) -> Micrograph:
    import gwyddionpy  # noqa: PLC0415

    name = place.channel
    if not np.isfinite(channel.data).any():
        raise UnreadableFileError(
            f"Gwyddion's converter misreads {source.path}: all values of {name} are infinite. "
            "Export it as .gwy, .gsf or TIFF from the program that wrote it."
        )
    data, unit = in_si(channel.data, channel.si_unit_z)
    unit, notes = believed_unit(data, unit, name)
    rows, columns = data.shape
    return Micrograph(
        np.ascontiguousarray(data),
        quantity=quantity(name, unit),
        units=unit,
        channel=name,
        direction=place.direction,
        frame=place.frame,
        # Without a calibration the converter reports an image of width 1 without a unit.
        pixel_size=per_pixel(channel.xreal, channel.yreal, columns, rows, channel.si_unit_xy),
        technique=told_technique(channel.meta) or _TECHNIQUES.get(module),
        source=source,
        reader=(f"gwyddionpy ({module})", gwyddionpy.__version__),
        vendor_metadata=json_safe(channel.meta),
        notes=notes + _FLAWS.get(module, ()) + left_out,
    )


def _picture(channels: list[Any], module: str, source: Source) -> Micrograph:
    """Return the grey of a picture whose red, green and blue are channels."""
    values, note = grey(np.stack([channel.data for channel in channels[:3]], axis=-1))
    first = SimpleNamespace(**(vars(channels[0]) | {"data": values, "si_unit_z": ""}))
    image = _micrograph(first, Place("", None), module, source, (note,))
    image = replace(image, quantity="intensity")
    if image.pixel_size and is_for_prints("m", *(1 / size for size in image.pixel_size)):
        why = "Its resolution is one for prints; the image has no pixel size."
        return replace(image, pixel_size=None, notes=(*image.notes, why))
    return image


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


READER = Reader("a scan in a format that Gwyddion reads", _matches, _read, unfinished, doubtful=doubtful)
