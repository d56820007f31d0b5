"""Pictures for people: the preview of a restoration, the contact sheet of a sweep, profiles along a line.

The preview is drawn with Pillow, for every image; sheet and profiles with matplotlib, where somebody asks.
"""

from tvtasks.figures.panels import (
    PANEL_WIDTH,
    Panel,
    Restored,
    ScaleBar,
    caption,
    drawn,
    jpeg,
    limits,
    panels,
    png,
    prefix,
    preview,
    scale_bar,
    with_prefix,
)

__all__ = [
    "PANEL_WIDTH",
    "Panel",
    "Restored",
    "ScaleBar",
    "caption",
    "drawn",
    "jpeg",
    "limits",
    "panels",
    "png",
    "prefix",
    "preview",
    "scale_bar",
    "with_prefix",
]
