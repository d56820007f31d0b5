"""PNG, BMP and JPEG: pictures without a calibration."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from tvtasks.micrograph import Micrograph, Source, file_sha256
from tvtasks.readers.origin import Origin
from tvtasks.readers.pixels import grey, require_room, split
from tvtasks.readers.reader import Reader
from tvtasks.readers.sidecars import sidecar, sidecar_of

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_BMP = b"BM"

_START_OF_SCAN = 0xDA
_END_OF_IMAGE = b"\xff\xd9"


def _matches(head: bytes) -> bool:
    return head.startswith((_PNG, _JPEG, _BMP))


def _read(path: Path, source: Source) -> list[Micrograph]:
    if _is_deep_colour_png(path):
        pictures = [_without_colour(imagecodecs.png_decode(path.read_bytes()))]
        reader = ("imagecodecs", imagecodecs.__version__)
    else:
        with Image.open(path, formats=("PNG", "JPEG", "BMP")) as image:
            require_room(image.width * image.height * len(image.getbands()), path)
            pictures = [_frame(frame) for frame in ImageSequence.Iterator(image)]
        reader = ("Pillow", PIL.__version__)
    micrographs = []
    for number, (values, notes) in enumerate(pictures):
        (data,), more_notes = split(values, path)
        writer = sidecar(path, *data.shape) or Origin("", {})
        if writer.companion:
            source = replace(source, companions={writer.companion.name: file_sha256(writer.companion)})
        valid, bar_notes = writer.valid(data)
        micrographs.append(
            Micrograph(
                data,
                quantity="intensity",
                units="counts",
                frame=number,
                pixel_size=writer.pixel_size,
                valid=valid,
                technique=writer.technique,
                acquired_at=writer.acquired_at,
                source=source,
                reader=reader,
                vendor_metadata={writer.name: writer.metadata} if writer.name else {},
                notes=writer.notes + notes + more_notes + bar_notes,
            )
        )
    return micrographs


def _is_deep_colour_png(path: Path) -> bool:
    """Return whether a PNG has 16-bit colour or transparency, which Pillow would cut to 8 bits."""
    with path.open("rb") as file:
        head = file.read(26)
    depth, colour_type = head[24], head[25]
    return head.startswith(_PNG) and depth == 16 and colour_type != 0


def _frame(frame: Image.Image) -> tuple[NDArray[Any], tuple[str, ...]]:
    if frame.mode in {"P", "PA"}:
        values, notes = _without_colour(np.asarray(frame.convert("RGB")))
        return values, ("The colour table of the image was applied.", *notes)
    return _without_colour(np.asarray(frame.convert("RGB") if frame.mode == "CMYK" else frame))


def _without_colour(values: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return the grey values of a picture, shape (rows, columns) or (rows, columns, 2 to 4), and notes."""
    if values.ndim == 2:
        return values, ()
    notes = ("The transparency of the image was ignored.",) if values.shape[-1] in {2, 4} else ()
    if values.shape[-1] == 2:
        return values[..., 0], notes
    values, note = grey(values[..., :3])
    return values, (note, *notes)


def _unfinished(path: Path) -> str | None:
    content = path.read_bytes()
    for magic, check in ((_PNG, _unfinished_png), (_JPEG, _unfinished_jpeg), (_BMP, _unfinished_bmp)):
        if content.startswith(magic):
            return check(content)
        if magic.startswith(content):
            return "its header is cut short"
    return None


def _unfinished_png(content: bytes) -> str | None:
    at = len(_PNG)
    while at + 12 <= len(content):  # length, name and checksum of a chunk have 12 bytes
        name = content[at + 4 : at + 8]
        if not name.isalpha():
            return None
        at += 12 + int.from_bytes(content[at : at + 4], "big")
        if name == b"IEND" and at <= len(content):
            return None
    return f"it ends after {len(content)} bytes, without the end marker of a PNG"


def _unfinished_jpeg(content: bytes) -> str | None:
    at = 2
    while at + 4 <= len(content):
        if content[at] != 0xFF:
            return None
        marker = content[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        # Thumbnails in the header have their own end marker; that of the picture comes after the start of its
        # scan, where 0xFF in the data is always followed by 0x00. Cameras may append other data.
        if marker == _START_OF_SCAN and _END_OF_IMAGE in content[at:]:
            return None
        if marker == _START_OF_SCAN:
            break
    return f"it ends after {len(content)} bytes, without the end marker of a JPEG"


def _unfinished_bmp(content: bytes) -> str | None:
    expected = int.from_bytes(content[2:6], "little")
    if len(content) < max(expected, 26):
        return f"it ends after {len(content)} of {max(expected, 26)} bytes"
    return None


def _companions(path: Path) -> tuple[Path, ...]:
    beside = sidecar_of(path)
    return (beside,) if beside else ()


READER = Reader("a picture (PNG, BMP, JPEG)", _matches, _read, _unfinished, _companions)
