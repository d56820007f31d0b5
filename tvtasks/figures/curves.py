"""A profile drawn: the position of the line, and the values along it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tvtasks.figures.panels import drawn, panels
from tvtasks.figures.sheet import draw_scale_bar, shortened
from tvtasks.words import prefix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tvtasks.archive import ArchivedRun
    from tvtasks.profile import Profile

# Other curves take matplotlib's own colours in turn.
_COLOURS = {
    "raw": "0.55",
    "background": "#d95f02",
    "flat": "0.55",
    "contrast": "#7570b3",
    "restored": "#1b6ca8",
}
_ABOVE = ("raw", "background")
_SIDE = 600


def profile_figure(run: ArchivedRun, found: Profile) -> Figure:
    """Draw the restored image with the line; beside it raw and background, and below flat and restored."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - half a second
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(10.5, 4.6), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    title = f"{run.micrograph.name}  ·  {run.recipe.name}"
    figure.suptitle(shortened(title, 100), fontsize=11, parse_math=False)
    grid = figure.add_gridspec(2, 2, width_ratios=(1, 1.55))
    # If no step changed the flat image, the lower plot shows the result alone.
    above = [name for name in _ABOVE if name in found.curves]
    below = [name for name in found.curves if name not in _ABOVE]
    if "flat" in found.curves and np.array_equal(
        found.curves["flat"], found.curves["restored"], equal_nan=True
    ):
        below.remove("flat")
    image = figure.add_subplot(grid[:, 0])
    panel = panels(run)[-1]
    dy, dx = run.micrograph.pixel_size or (1.0, 1.0)
    rows, columns = panel.image.shape
    aspect = min(max(rows * dy / (columns * dx), 0.2), 5.0)
    size = (_SIDE, round(_SIDE * aspect)) if aspect <= 1 else (round(_SIDE / aspect), _SIDE)
    left, top = run.region.left - 0.5, run.region.top - 0.5
    image.imshow(
        np.asarray(drawn(panel, size)),
        cmap="gray",
        vmin=0,
        vmax=255,
        interpolation="nearest",
        extent=(left, left + columns, top + rows, top),
        aspect=aspect * columns / rows,
    )
    image.set(xticks=[], yticks=[])
    image.set_title("restored", fontsize=10)
    x0, y0, x1, y1 = found.pixels
    image.plot([x0, x1], [y0, y1], color="#ffb000", linewidth=1.6)
    image.plot([x0], [y0], color="#ffb000", marker="o", markersize=4)
    image.set(xlim=(left, left + columns), ylim=(top + rows, top))
    draw_scale_bar(image, run.micrograph, columns, 3.6 * min(aspect, 1.0))
    unit = "µm" if found.unit == "um" else found.unit
    first: Axes | None = None
    for row, names in ((0, above), (1, below)):
        plot = first = figure.add_subplot(grid[row, 1], sharex=first)
        largest = max(np.nanmax(np.abs(found.curves[name]), initial=0.0) for name in names)
        factor, shown_unit = prefix(float(largest), found.value_unit)
        for name in names:
            colour, curve = _COLOURS.get(name), found.curves[name] / factor
            plot.plot(found.distance, curve, label=name, color=colour, linewidth=1.1)
        label = run.micrograph.quantity or "value"
        plot.set_ylabel(shortened(f"{label} ({shown_unit})" if shown_unit else label, 30), parse_math=False)
        plot.margins(x=0)
        plot.spines[["top", "right"]].set_visible(False)
        plot.legend(
            loc="lower right",
            bbox_to_anchor=(1, 1),
            ncols=len(names),
            frameon=False,
            fontsize=8,
            borderaxespad=0,
        )
        if row == 0:
            plot.tick_params(labelbottom=False)
        else:
            plot.set_xlabel(f"distance ({unit})", parse_math=False)
    return figure
