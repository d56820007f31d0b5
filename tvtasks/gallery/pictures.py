"""The pictures of the page: a thumbnail of each run, and raw beside restored to compare with a slider."""

from __future__ import annotations

import base64
import io

from PIL import Image as Pillow

from tvtasks.archive.catalogue import CatalogueEntry
from tvtasks.errors import TvtasksError
from tvtasks.figures import drawn, jpeg, panels, preview_boxes

THUMBNAIL = 200
"""Pixels of the longer side of a thumbnail."""

_LEAST, _MOST = 512, 1024  # px; width of an image in the large picture
_UNREADABLE = (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError)

Pair = tuple[Pillow.Image, Pillow.Image]


def picture_bytes(number: int) -> int:
    """Return the largest size of each JPEG on a page of `number` images in one file."""
    return 40_000 if number <= 200 else 16_000 if number <= 1000 else 7_000


def sharp(entry: CatalogueEntry) -> Pair | None:
    """Draw raw and restored from the result; None if the result cannot be read."""
    from tvtasks.archive import load  # noqa: PLC0415 - loads HDF5

    try:
        run = load(entry.path)
    except TvtasksError:
        return None
    shown = panels(run)
    rows, columns = shown[0].image.shape
    dy, dx = run.micrograph.pixel_size or (1.0, 1.0)
    width = min(max(columns, _LEAST), _MOST)
    size = (width, round(width * min(max(rows * dy / (columns * dx), 0.2), 5.0)))
    return drawn(shown[0], size), drawn(shown[-1], size)


def from_preview(entry: CatalogueEntry) -> Pair | None:
    """Cut raw and restored out of the preview beside the result; None if there is no preview."""
    try:
        with Pillow.open(entry.preview) as beside:
            raw, restored = preview_boxes(beside.size)
            grey = beside.convert("L")
        return grey.crop(raw), grey.crop(restored)
    except _UNREADABLE:
        return None


def pair_of(entry: CatalogueEntry) -> Pair | None:
    """Return raw and restored, from the preview if there is one; None if neither can be read."""
    if entry.fault:
        return None
    return from_preview(entry) or sharp(entry)


def beside(pair: Pair) -> Pillow.Image:
    """Return raw and restored side by side as one picture."""
    width, height = pair[0].size
    both = Pillow.new("L", (2 * width, height))
    both.paste(pair[0], (0, 0))
    both.paste(pair[1], (width, 0))
    return both


def thumbnail(pair: Pair) -> bytes:
    """Return the restored image as a small JPEG."""
    small = pair[1].copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL), Pillow.Resampling.HAMMING)
    return as_jpeg(small, 75)


def as_jpeg(picture: Pillow.Image, quality: int) -> bytes:
    """Return a picture as a JPEG."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def embedded(pair: Pair, limit: int) -> str:
    """Return raw beside restored as a JPEG in an address, of at most `limit` bytes before encoding."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg(beside(pair), max_bytes=limit)).decode()}"
