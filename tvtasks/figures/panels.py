"""The grey panels of all pictures, and the preview: raw | background | restored, side by side."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from tvtasks.micrograph import Image, Micrograph, Region
from tvtasks.recipe import Recipe
from tvtasks.steps import STEPS
from tvtasks.words import prefix, with_prefix

if TYPE_CHECKING:
    from tvtasks.choosing import Choice

PANEL_WIDTH = 470
"""Pixels; the panels of a small image, which this size would only interpolate, have half of it."""

_SMALL = 330  # columns; an image of fewer is small
_QUICK = 800  # pixels
_WIDTHS = (PANEL_WIDTH, PANEL_WIDTH // 2)
_GREYS = 128  # levels, which the eye cannot tell from more; the last bit of noise is what takes most space

USUAL = ("raw", "background", "restored")
"""The arrays of a picture, unless others are asked for."""

_MARGIN, _GAP, _HEADER = 6, 10, 66  # the header has the caption and the panels' names
_TITLE_SIZE, _CAPTION_SIZE, _CAPTION_GREY = 21, 17, 89
_BAR_FONT_SIZE, _BAR_GROUND = 20, 0.75  # how opaque the ground of the scale bar is

_ENOUGH = 50_000
"""Pixels to take percentiles from: the error is invisible."""

_COARSE = 3
"""From this size in the picture, a pixel is drawn as a square; smaller ones are interpolated."""


class Restored(Protocol):
    """What can be drawn: a `Restoration`, or an `ArchivedRun` read from a file."""

    @property
    def micrograph(self) -> Micrograph: ...  # noqa: D102
    @property
    def recipe(self) -> Recipe: ...  # noqa: D102
    @property
    def region(self) -> Region: ...  # noqa: D102
    @property
    def arrays(self) -> Mapping[str, Image]: ...  # noqa: D102
    @property
    def unitless(self) -> frozenset[str]: ...  # noqa: D102
    @property
    def background(self) -> Image | None: ...  # noqa: D102
    @property
    def restored(self) -> Image: ...  # noqa: D102
    @property
    def gap(self) -> float | None: ...  # noqa: D102
    @property
    def choices(self) -> Mapping[str, Choice]: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class Panel:
    """One array of a picture.

    Attributes
    ----------
    name
        The title above it.
    image
        The values, shape (rows, columns).
    low, high
        The values drawn black and white.
    unit
        The unit of the values.
    """

    name: str
    image: Image
    low: float
    high: float
    unit: str = ""


class ScaleBar(NamedTuple):
    """A length in an image: the fraction of the image's width that it takes, and its label."""

    part: float
    label: str


Box = tuple[int, int, int, int]
"""A rectangle in a picture: left, top, right and bottom."""


def panels(restoration: Restored, arrays: Sequence[str] = ()) -> list[Panel]:
    """Return arrays with their grey ranges: raw | background | restored, without a background raw | restored.

    `arrays` names others, such as ``disagreement`` and ``restored_errors``; those that the result does not
    have, and those that are no images, are left out.

    Each range runs from the 0.5th to the 99.5th percentile of its panel, so that a spike does not turn the
    rest black. The background has the range of the raw image, so that the two can be compared, unless it is a
    difference that lies outside of it.
    """
    raw = restoration.micrograph.data[restoration.region.slices]
    range_of_raw = limits(raw)
    present = {"raw": raw, **restoration.arrays}

    def panel(name: str) -> Panel:
        image = present[name]
        low, high = _range_of_background(image, range_of_raw) if name == "background" else limits(image)
        return Panel(name, image, low, high, "" if name in restoration.unitless else unit)

    unit = restoration.micrograph.units
    wanted = arrays or USUAL
    return [panel(name) for name in wanted if name in present and present[name].ndim == 2]


def _range_of_background(removed: Image, range_of_raw: tuple[float, float]) -> tuple[float, float]:
    """Return the range of the raw image if the two can be compared, else the background's own."""
    low, high = limits(removed)
    return range_of_raw if low <= sum(range_of_raw) / 2 <= high else (low, high)


def preview(restoration: Restored) -> Pillow.Image:
    """Draw the panels side by side, with a scale bar and a caption, in black on white."""
    shown = panels(restoration)
    rows, columns = shown[0].image.shape
    dy, dx = restoration.micrograph.pixel_size or (1.0, 1.0)
    width = _WIDTHS[_COARSE * columns > PANEL_WIDTH and columns < _SMALL]
    # A strip of a few lines is stretched to be visible.
    height = round(width * min(max(rows * dy / (columns * dx), 0.2), 5.0))
    pitch = width + _GAP
    size = (2 * _MARGIN + len(shown) * pitch - _GAP, _HEADER + height + _MARGIN)
    picture = Pillow.new("L", size, 255)
    draw = ImageDraw.Draw(picture)
    _write(draw, (size[0] / 2, 22), caption(restoration), _CAPTION_SIZE, _CAPTION_GREY, size[0] - 2 * _MARGIN)
    for number, panel in enumerate(shown):
        left = _MARGIN + number * pitch
        title = f"{panel.name}   {grey_range(panel)}"
        _write(draw, (left + width / 2, 56), title, _TITLE_SIZE, width=width)
        picture.paste(drawn(panel, (width, height)).point(_few_greys), (left, _HEADER))
        if bar := scale_bar(restoration.micrograph, columns):
            _draw_scale_bar(picture, draw, bar, (left, left + width), _HEADER + height)
        draw.rectangle((left, _HEADER, left + width - 1, _HEADER + height - 1), outline=0)
    return picture


def grey_range(panel: Panel) -> str:
    """Return the values drawn black and white, as text: ``-0.1 to 1.3 nm``."""
    factor, prefixed = prefix(max(abs(panel.low), abs(panel.high)), panel.unit)
    return f"{panel.low / factor:.3g} to {panel.high / factor:.3g} {prefixed}".strip()


def preview_boxes(size: tuple[int, int]) -> tuple[Box, Box]:
    """Return where raw and restored are in a preview of `size` = (columns, rows)."""
    columns, rows = size
    length = columns - 2 * _MARGIN + _GAP
    width = next((width for width in _WIDTHS if length % (width + _GAP) == 0), PANEL_WIDTH)
    lefts = (_MARGIN, columns - _MARGIN - width)
    raw, restored = ((left, _HEADER, left + width, rows - _MARGIN) for left in lefts)
    return raw, restored


def png(picture: Pillow.Image) -> bytes:
    """Return a picture as a PNG."""
    buffer = io.BytesIO()
    # In a large picture, more effort takes long and saves little.
    picture.save(buffer, "PNG", compress_level=6 if picture.width < _QUICK else 1)
    return buffer.getvalue()


def jpeg(picture: Pillow.Image, *, max_bytes: int = 45_000) -> bytes:
    """Return a picture as a JPEG of at most `max_bytes`, as large as fits."""
    for width, qualities in ((960, (85, 70)), (768, (70,)), (576, (60,)), (384, (50,)), (240, (40,))):
        part = min(width / picture.width, 1.0)
        size = (round(picture.width * part), max(round(picture.height * part), 1))
        smaller = picture.resize(size, Pillow.Resampling.HAMMING)
        for quality in qualities:
            buffer = io.BytesIO()
            smaller.save(buffer, "JPEG", quality=quality)
            if buffer.tell() <= max_bytes:
                return buffer.getvalue()
    return buffer.getvalue()


def caption(restoration: Restored) -> str:
    """Return the text above a picture: names of image, channel and recipe, each λ, and the gap."""
    parts = [restoration.micrograph.name]
    if restoration.micrograph.channel:
        parts.append(restoration.micrograph.channel)
    parts.append(restoration.recipe.name)
    for step, table in restoration.recipe.tables.items():
        choice = restoration.choices.get(step)
        if STEPS[step].follows:  # it has the λ of another step
            continue
        if choice:
            parts.append(f"{step} λ {choice.lam:.3g} {'kept' if choice.fell_back else 'auto'}")
        elif (lam := getattr(table, "lam", None)) is not None:
            parts.append(f"{step} λ {lam:g}")
    if restoration.gap is not None:
        parts.append(f"gap {restoration.gap:.1e}")
    return "  ·  ".join(parts)


def scale_bar(micrograph: Micrograph, columns: int) -> ScaleBar | None:
    """Return 1, 2 or 5 times a power of ten, about a quarter of the width; None if not calibrated."""
    return micrograph.pixel_size and bar_within(columns * micrograph.pixel_size[1], micrograph.pixel_unit)


def bar_within(width: float, unit: str) -> ScaleBar:
    """Return the scale bar of an image that is `width` of a unit wide."""
    decade = 10.0 ** math.floor(math.log10(width / 4))
    length = next(step * decade for step in (5, 2, 1) if step * decade <= width / 4)
    return ScaleBar(length / width, with_prefix(length, unit))


def limits(image: Image) -> tuple[float, float]:
    """Return the 0.5th and 99.5th percentile, which are drawn black and white."""
    # An odd stride samples both halves of an interlaced scan.
    stride = math.isqrt(image.size // _ENOUGH) | 1
    low, high = np.percentile(image[::stride, ::stride].astype(np.float64), [0.5, 99.5])
    return (float(low), float(high)) if high > low else (float(image.min()), float(image.max()))


def drawn(panel: Panel, size: tuple[int, int]) -> Pillow.Image:
    """Draw the values of a panel with `size` = (columns, rows) grey pixels."""
    # First average down to at least twice the size: that is fast, and its roughness is invisible in the end.
    image = _averaged(panel.image, panel.image.shape[0] // (2 * size[1]))
    image = _averaged(image.T, image.shape[1] // (2 * size[0])).T
    grey = image.astype(np.result_type(image, np.float32))
    step = grey.dtype.type((panel.high / 2 - panel.low / 2) / 255)
    if step > 0:
        grey *= 0.5  # halves, because the whole range may overflow the dtype
        grey -= grey.dtype.type(panel.low / 2)
        grey /= step
        np.clip(grey, 0, 255, out=grey)
    else:
        grey[:] = 127
    picture = Pillow.fromarray(grey.astype(np.uint8))
    coarse = size[0] >= _COARSE * picture.width and size[1] >= _COARSE * picture.height
    return picture.resize(size, Pillow.Resampling.NEAREST if coarse else Pillow.Resampling.HAMMING)


def _few_greys(grey: int) -> int:
    """Return the nearest of the greys that a preview has, black and white among them."""
    step = 255 / (_GREYS - 1)
    return round(round(grey / step) * step)


def _averaged(image: Image, factor: int) -> Image:
    """Return the means of groups of `factor` rows; rows left over at the end are dropped."""
    if factor <= 1:
        return image
    rows = image.shape[0] // factor * factor
    share = np.float32(1 / factor)
    mean: Image = image[0:rows:factor] * share
    for row in range(1, factor):
        mean += image[row:rows:factor] * share
    return mean


def _draw_scale_bar(
    picture: Pillow.Image, draw: ImageDraw.ImageDraw, bar: ScaleBar, sides: tuple[int, int], bottom: int
) -> None:
    """Draw a bar above its label on a light ground in the lower right corner of a panel."""
    left, right = sides
    length = round(bar.part * (right - left))
    width = min(max(length, round(_font(_BAR_FONT_SIZE).getlength(bar.label))) + 16, right - left)
    box = (right - width, bottom - 42, right, bottom)
    ground = picture.crop(box)
    picture.paste(Pillow.blend(ground, Pillow.new("L", ground.size, 255), _BAR_GROUND), box)
    centre = right - width / 2
    draw.rectangle((centre - length / 2, bottom - 35, centre + length / 2, bottom - 34), fill=0)
    _write(draw, (centre, bottom - 11), bar.label, _BAR_FONT_SIZE)


def _write(
    draw: ImageDraw.ImageDraw,
    base: tuple[float, float],
    text: str,
    size: int,
    grey: int = 0,
    width: float = PANEL_WIDTH,
) -> None:
    """Write a line of text centred on a point of its base line; a line that is too wide loses its middle."""
    font = _font(size)
    # Names from a file may hold line breaks, and bytes that no font can show.
    line = whole = "".join(letter if letter.isprintable() else " " for letter in text)
    half = len(whole) // 2
    while font.getlength(line) > width:
        half = min(half - 1, int(half * width / font.getlength(line)))
        line = f"{whole[:half]}…{whole[-half:]}"
    draw.text(base, line, grey, font, anchor="ms")


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, because Pillow's own font has no µ."""
    spec = find_spec("matplotlib")  # importing it takes half a second
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin).with_name("mpl-data") / "fonts" / "ttf" / "DejaVuSans.ttf"
    # Pictures are the same whether or not the system has a library for complex scripts.
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
