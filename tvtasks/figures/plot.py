"""The panels as a Matplotlib figure, with colour bars in the unit of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tvtasks.figures.panels import Restored, caption, panels, prefix
from tvtasks.figures.sheet import draw_scale_bar, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIDE = 3.4  # inches; the width of a panel


def panels_figure(run: Restored) -> Figure:
    """Draw raw, background and restored side by side, each with the range of its greys."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - half a second
    from matplotlib.figure import Figure  # noqa: PLC0415

    shown = panels(run)
    rows, columns = shown[0].image.shape
    dy, dx = run.micrograph.pixel_size or (1.0, 1.0)
    aspect = min(max(rows * dy / (columns * dx), 0.2), 5.0)
    figure = Figure(figsize=(_SIDE * len(shown), _SIDE * aspect + 1.1), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(shortened(caption(run), 100), fontsize=10, parse_math=False)
    for number, panel in enumerate(shown, 1):
        axes = figure.add_subplot(1, len(shown), number)
        factor, unit = prefix(float(np.abs([panel.low, panel.high]).max()), run.micrograph.units)
        drawn = axes.imshow(
            panel.image.astype(np.float64) / factor,
            cmap="gray",
            vmin=panel.low / factor,
            vmax=panel.high / factor,
            aspect=aspect * columns / rows,
        )
        axes.set(xticks=[], yticks=[])
        axes.set_title(panel.name, fontsize=10)
        bar = figure.colorbar(drawn, ax=axes, orientation="horizontal", pad=0.03, fraction=0.05)
        bar.set_label(unit, parse_math=False)
        draw_scale_bar(axes, run.micrograph, columns, _SIDE * aspect)
    return figure
