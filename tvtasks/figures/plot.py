"""The panels as a Matplotlib figure, with scale bar, colour map and colour bars in the unit of the image."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tvtasks.errors import ConfigurationError
from tvtasks.figures.panels import Panel, Restored, caption, panels
from tvtasks.figures.sheet import draw_scale_bar, rendered, shortened
from tvtasks.words import prefix

_SIDE = 3.4  # inches; the width of a panel

_COUNTED = {"disagreement": "standard deviations", "looks": "pixels averaged"}
"""What the values of arrays without a unit count."""


class _ShownFigure(Figure):
    """A figure that a notebook shows, also one in which nobody has imported pyplot."""

    def _repr_png_(self) -> bytes:
        return rendered(self, "png", 110)


def panels_figure(run: Restored, arrays: Sequence[str] = (), colour_map: str = "gray") -> Figure:
    """Draw arrays side by side, each with a scale bar, and a colour bar for its values.

    Parameters
    ----------
    run
        The result.
    arrays
        Names of the arrays; raw, background and restored if not given. Those that the run lacks are left out.
    colour_map
        A colour map of Matplotlib.

    Raises
    ------
    ConfigurationError
        The run has none of the arrays, or there is no such colour map.
    """
    _check_colour_map(colour_map)
    shown = panels(run, arrays)
    if not shown:
        there = ", ".join(["raw", *run.arrays])
        raise ConfigurationError(
            f"{run.micrograph.name} has no {' or '.join(arrays)} to draw. It has: {there}."
        )
    rows, columns = shown[0].image.shape
    dy, dx = run.micrograph.pixel_size or (1.0, 1.0)
    aspect = min(max(rows * dy / (columns * dx), 0.2), 5.0)
    figure = _ShownFigure(figsize=(_SIDE * len(shown), _SIDE * aspect + 1.1), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(shortened(caption(run), 33 * len(shown)), fontsize=10, parse_math=False)
    for number, panel in enumerate(shown, 1):
        axes = figure.add_subplot(1, len(shown), number)
        factor, unit = prefix(float(np.abs([panel.low, panel.high]).max()), panel.unit)
        drawn = axes.imshow(
            panel.image.astype(np.float64) / factor,
            cmap=colour_map,
            vmin=panel.low / factor,
            vmax=panel.high / factor,
            aspect=aspect * columns / rows,
            interpolation="none",
        )
        axes.set(xticks=[], yticks=[])
        axes.set_title(panel.name, fontsize=10)
        bar = figure.colorbar(drawn, ax=axes, orientation="horizontal", pad=0.03, fraction=0.05)
        bar.set_label(_label(run, panel, unit), parse_math=False)
        draw_scale_bar(axes, run.micrograph, columns, _SIDE * aspect)
    return figure


def _label(run: Restored, panel: Panel, unit: str) -> str:
    """Return what the values of a panel are, with their unit."""
    if panel.name in run.unitless:
        return _COUNTED.get(panel.name, "")
    quantity = "standard error" if panel.name == "restored_errors" else run.micrograph.quantity
    return f"{quantity} ({unit})" if quantity and unit else quantity or unit


def _check_colour_map(name: str) -> None:
    if name not in matplotlib.colormaps:
        near = difflib.get_close_matches(name, matplotlib.colormaps, 1)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise ConfigurationError(
            f"There is no colour map {name!r}.{meant} Use one of Matplotlib's, such as gray, "
            "viridis, cividis, afmhot or inferno; _r behind a name turns it round."
        )
