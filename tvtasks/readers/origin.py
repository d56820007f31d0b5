"""What is known about an image beside its pixels, however it was stored."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tvtasks.micrograph import Image, Region
from tvtasks.readers.databar import databar_top


@dataclass(frozen=True)
class Origin:
    """What the instrument or the program that wrote a file records about its images.

    Attributes
    ----------
    name
        The vendor or the program.
    metadata
        All its metadata; values that JSON can store.
    pixel_size
        (dy, dx) in m; None if it is not recorded.
    image_rows
        Rows that belong to the image; a data bar follows below. None for all, or if it is not recorded.
    seek_databar
        Whether the image may include a data bar that is not recorded.
    technique
        ``SEM``, or None for a program that writes images of any kind.
    acquired_at
        Time of acquisition.
    companion
        A file beside the image from which this was read.
    shape
        Rows and columns of the pages to which pixel size and data bar apply; None for all.
    palette_is_data
        Whether a colour table belongs to the image; otherwise it only determines how the values are shown.
    notes
        Sentences on decisions that the file left open.
    """

    name: str
    metadata: Mapping[str, Any]
    pixel_size: tuple[float, float] | None = None
    image_rows: int | None = None
    seek_databar: bool = False
    technique: str | None = None
    acquired_at: datetime | None = None
    companion: Path | None = None
    shape: tuple[int, int] | None = None
    palette_is_data: bool = False
    notes: tuple[str, ...] = ()

    def at(self, shape: tuple[int, ...]) -> Origin:
        """Return what applies to a page of this shape: a page of another size has another scale or none."""
        if self.shape is None or self.shape == shape[:2] or self.pixel_size is None:
            return self
        rows, columns = self.shape
        note = (
            f"Its pixel size is unknown: the file gives that of its image of {rows} × {columns} pixels only."
        )
        return replace(self, pixel_size=None, image_rows=None, seek_databar=False, notes=(*self.notes, note))

    def valid(self, image: Image) -> tuple[Region | None, tuple[str, ...]]:
        """Return the part of an image that holds data, None for all of it, and notes on how it was found."""
        rows, columns = image.shape
        if self.image_rows is not None and 0 < self.image_rows < rows:
            return Region(0, self.image_rows, 0, columns), ()
        if self.seek_databar and (top := databar_top(image)) is not None:
            note = f"The file does not record where its data bar begins; it was detected from row {top} on."
            return Region(0, top, 0, columns), (note,)
        return None, ()


def parsed_time(text: str, *layouts: str) -> datetime | None:
    """Return a time in one of the strptime layouts, in ISO 8601 without layouts; None for other text."""
    for layout in layouts:
        with suppress(ValueError):
            return datetime.strptime(text, layout)
    if not layouts:
        with suppress(ValueError):
            return datetime.fromisoformat(text)
    return None
