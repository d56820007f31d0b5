"""Pictures of a restoration for people: raw | background | restored, side by side."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

from tvtasks.micrograph import Image, Micrograph
from tvtasks.restoration import Restoration

PANEL_INCHES = 3.2


def preview(restoration: Restoration) -> Figure:
    """Draw raw | background | restored (without a background: raw | restored), with a scale bar.

    Grey values run from the 0.5th to the 99.5th percentile of each panel, so that a single spike does not
    turn the rest black; the background has the raw image's range, so that the two can be compared.
    """
    raw = restoration.micrograph.data[restoration.region.slices]
    panels: list[tuple[str, Image, Image]] = [("raw", raw, raw)]
    if restoration.background is not None:
        panels.append(("background", restoration.background, raw))
    panels.append(("restored", restoration.restored, restoration.restored))
    rows, columns = raw.shape
    dy, dx = restoration.micrograph.pixel_size or (1.0, 1.0)
    # A strip of a few lines is stretched rather than drawn invisibly thin.
    ratio = min(max(rows * dy / (columns * dx), 0.2), 5.0)
    figure = Figure(figsize=(PANEL_INCHES * len(panels), PANEL_INCHES * ratio + 0.75), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (name, image, reference) in zip(axes, panels, strict=True):
        low, high = _limits(reference)
        ax.imshow(
            np.asarray(image, np.float64), cmap="gray", vmin=low, vmax=high,
            extent=(0, columns * dx, rows * dy, 0), aspect="auto",
        )  # fmt: skip
        ax.set_box_aspect(ratio)
        ax.set_title(name, fontsize=10)
        ax.set_xticks([])
        ax.set_yticks([])
    _scale_bar(axes[0], restoration.micrograph, columns * dx)
    figure.suptitle(_caption(restoration), fontsize=8, color="0.35")
    return figure


def write_preview(restoration: Restoration, path: Path, *, dpi: int = 150) -> Path:
    """Write the preview as a PNG and return its path."""
    buffer = io.BytesIO()
    preview(restoration).savefig(buffer, format="png", dpi=dpi)
    path.write_bytes(buffer.getvalue())
    return path


def preview_jpeg(restoration: Restoration, *, max_bytes: int = 45_000) -> bytes:
    """Return the preview as a JPEG of at most `max_bytes`, as large as fits."""
    figure = preview(restoration)
    for dpi, quality in ((100, 85), (100, 70), (80, 70), (60, 60), (40, 50), (25, 40)):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="jpeg", dpi=dpi, pil_kwargs={"quality": quality})
        if buffer.tell() <= max_bytes:
            break
    return buffer.getvalue()


def _limits(image: Image) -> tuple[float, float]:
    values = np.asarray(image, np.float64)
    low, high = np.percentile(values[np.isfinite(values)], [0.5, 99.5])
    return (float(low), float(high)) if high > low else (float(values.min()), float(values.max()))


def _caption(restoration: Restoration) -> str:
    parts = [restoration.micrograph.name]
    if restoration.micrograph.channel:
        parts.append(restoration.micrograph.channel)
    parts.append(restoration.recipe.name)
    if restoration.gap is not None:
        parts.append(f"gap {restoration.gap:.1e}")
    return "  ·  ".join(parts)


def _scale_bar(ax: Axes, micrograph: Micrograph, width: float) -> None:
    """Draw a bar of 1, 2 or 5 times a power of ten, about a quarter of the image's width."""
    if micrograph.pixel_size is None:
        return
    decade = 10.0 ** math.floor(math.log10(width / 4))
    length = next(step * decade for step in (5, 2, 1) if step * decade <= width / 4)
    bar: Any = AnchoredSizeBar(
        ax.transData, length, _with_prefix(length, micrograph.pixel_unit), "lower right", pad=0.3, sep=3,
        frameon=True, size_vertical=0, fill_bar=True,
    )  # fmt: skip
    bar.patch.set(alpha=0.75, linewidth=0)
    ax.add_artist(bar)


def _with_prefix(length: float, unit: str) -> str:
    """Write a length with the prefix that makes its number short: 2e-9 m is 2 nm."""
    if unit == "m":
        for factor, prefix in ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p")):
            if length >= factor * 0.999:
                return f"{length / factor:.3g} {prefix}m"
    return f"{length:.3g} {unit}".strip()
