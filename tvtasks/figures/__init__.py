"""Pictures: the preview of a restoration, the contact sheet of a sweep, profiles along a line.

Pillow draws the preview, for every image; matplotlib draws the others, on request.
"""

from tvtasks.figures.panels import (
    PANEL_WIDTH,
    Box,
    Panel,
    Restored,
    ScaleBar,
    bar_within,
    caption,
    drawn,
    grey_range,
    jpeg,
    limits,
    panels,
    png,
    preview,
    preview_boxes,
    scale_bar,
)
from tvtasks.words import prefix, with_prefix

__all__ = [
    "PANEL_WIDTH",
    "Box",
    "Panel",
    "Restored",
    "ScaleBar",
    "bar_within",
    "caption",
    "drawn",
    "grey_range",
    "jpeg",
    "limits",
    "panels",
    "png",
    "prefix",
    "preview",
    "preview_boxes",
    "scale_bar",
    "with_prefix",
]
