"""The contact sheet of a sweep: background and result at each point, as in the paper's figures 3 and 4."""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tvtasks.figures.panels import Panel, drawn, limits, panels, scale_bar
from tvtasks.micrograph import Micrograph
from tvtasks.words import with_prefix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tvtasks.sweep.points import Trial

_SIDE = 2.3  # inches; the width of an image
_PIXELS = 600  # pixels of that width: 260 dots per inch
_MOST_COLUMNS = 5
_TOP, _TITLE, _FOOT, _GAP = 0.55, 0.30, 0.36, 0.12  # inches: caption, label, measures, space between images
_GREY = "0.35"


def contact_sheet(micrograph: Micrograph, trials: Sequence[Trial], title: str, columns: int = 0) -> Figure:
    """Draw the raw image, and for each trial its background above its result.

    The grey ranges are those of the preview: each result has its own, and a background that of the raw image.
    A failed trial shows its error message.

    Parameters
    ----------
    micrograph
        The image.
    trials
        The trials; their result files are read one at a time.
    title
        The title of the sheet.
    columns
        Trials per row; 0 for as many as look good.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - half a second
    from matplotlib.figure import Figure  # noqa: PLC0415

    across = columns or _columns(len(trials))
    down = math.ceil(len(trials) / across)
    stacked = 1 + any("background" in trial.point.recipe.steps for trial in trials)
    dy, dx = micrograph.pixel_size or (1.0, 1.0)
    rows, cols = micrograph.data.shape
    height = _SIDE * min(max(rows * dy / (cols * dx), 0.2), 3.0)
    cell = _TITLE + stacked * (height + _GAP) + _FOOT
    width, total = (across + 1) * (_SIDE + _GAP) + 0.3, _TOP + down * cell
    figure = Figure(figsize=(width, total), facecolor="white")
    FigureCanvasAgg(figure)
    _text(figure, 0.5, 1 - 0.3 / total, title, size=11, width=int(width * 12))

    def place(column: int, row: int, layer: int) -> Axes:
        left = 0.15 + column * (_SIDE + _GAP)
        bottom = total - _TOP - row * cell - _TITLE - layer * (height + _GAP) - height
        axes = figure.add_axes((left / width, bottom / total, _SIDE / width, height / total))
        axes.set(xticks=[], yticks=[])
        return axes

    raw = micrograph.data
    if raw.dtype.kind == "f" and not np.isfinite(raw).all():
        raw = np.where(np.isfinite(raw), raw, np.nanmin(np.where(np.isfinite(raw), raw, np.nan)))
    first = place(0, 0, 0)
    _show(first, Panel("raw", raw, *limits(raw)), height)
    _label(first, "raw")
    draw_scale_bar(first, micrograph, cols, height)
    for number, trial in enumerate(trials):
        row, column = divmod(number, across)
        top = place(column + 1, row, 0)
        _label(top, trial.point.label)
        if trial.archive is None:
            _fault(top, trial.fault)
            continue
        shown = _panels(trial)
        below = top
        for layer, panel in enumerate(shown):
            below = top if layer == 0 else place(column + 1, row, layer)
            _show(below, panel, height)
            if column == 0:
                _name(below, panel.name)
        _measures(below, trial, micrograph.units)
    return figure


def rendered(figure: Figure, form: str, dpi: int = 200) -> bytes:
    """Return a figure as a PNG, PDF or SVG, with the same bytes each time."""
    from matplotlib import rc_context  # noqa: PLC0415

    buffer = io.BytesIO()
    dated: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
    with warnings.catch_warnings(), rc_context({"svg.hashsalt": "tvtasks"}):
        warnings.filterwarnings("ignore", message="Glyph")  # a name may have letters that no font here has
        figure.savefig(buffer, format=form, dpi=dpi, metadata=dated.get(form, {}))
    return buffer.getvalue()


def _columns(number: int) -> int:
    """Return the columns that fill the last row best."""
    if number <= _MOST_COLUMNS:
        return max(number, 1)
    return min(range(_MOST_COLUMNS, 2, -1), key=lambda columns: -number % columns)


def _panels(trial: Trial) -> list[Panel]:
    from tvtasks.archive import load  # noqa: PLC0415 - needs HDF5

    assert trial.archive is not None
    return panels(load(trial.archive))[1:]


def _show(axes: Axes, panel: Panel, height: float) -> None:
    picture = drawn(panel, (_PIXELS, max(round(_PIXELS * height / _SIDE), 1)))
    axes.imshow(np.asarray(picture), cmap="gray", vmin=0, vmax=255, aspect="auto", interpolation="nearest")
    axes.set(xticks=[], yticks=[])


def _label(axes: Axes, text: str) -> None:
    # Letters of 10 points are about 0.075 inches wide.
    axes.set_title(shortened(text, int(_SIDE / 0.075)), fontsize=10, pad=4, parse_math=False)


def _name(axes: Axes, text: str) -> None:
    """Write the name of a row of images into its first image."""
    axes.text(
        0.02,
        0.97,
        text,
        transform=axes.transAxes,
        va="top",
        fontsize=8,
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5},
    )


def _measures(axes: Axes, trial: Trial, units: str) -> None:
    parts = (
        [] if trial.gap is None else [f"gap {trial.gap:.1e}" + ("" if trial.converged else " not reached")]
    )
    parts.append(with_prefix(trial.seconds, "s"))
    if trial.iterations:
        parts.append(f"{trial.iterations} it")
    metrics = " · ".join(f"{name} {with_prefix(value, units)}" for name, value in trial.metrics.items())
    axes.set_xlabel(f"{' · '.join(parts)}\n{metrics}", fontsize=7, color=_GREY, parse_math=False)


def draw_scale_bar(axes: Axes, micrograph: Micrograph, columns: int, height: float) -> None:
    """Draw a scale bar into the lower right corner of an image of `columns` pixels and `height` inches."""
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    bar = scale_bar(micrograph, columns)
    if bar is None:
        return
    # On the same light ground as in the preview, and wide enough for the label.
    wide, high = max(bar.part, 0.24) + 0.05, 0.36 / height
    centre = 0.98 - wide / 2
    on_image: dict[str, Any] = {"transform": axes.transAxes, "clip_on": True}
    corner = (centre - wide / 2, 0.02)
    axes.add_patch(Rectangle(corner, wide, high, facecolor="white", alpha=0.75, zorder=2.5, **on_image))
    ends = [centre - bar.part / 2, centre + bar.part / 2]
    axes.plot(ends, [0.02 + 0.8 * high] * 2, color="black", linewidth=1.6, zorder=3, **on_image)
    axes.text(
        centre,
        0.02 + 0.35 * high,
        shortened(bar.label, 12),
        ha="center",
        va="center",
        fontsize=8,
        parse_math=False,
        **on_image,
    )


def _fault(axes: Axes, text: str) -> None:
    axes.text(
        0.5,
        0.5,
        "\n".join(textwrap.wrap(text, 38)[:10]),
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=7,
        color="darkred",
        parse_math=False,
    )


def _text(figure: Figure, x: float, y: float, text: str, *, size: float, width: int) -> None:
    figure.text(x, y, shortened(text, width), ha="center", va="center", fontsize=size, parse_math=False)


def shortened(text: str, length: int) -> str:
    """Return a text without unprintable characters; a long text loses its middle."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    half = length // 2
    return line if len(line) <= length else f"{line[:half]}…{line[-half:]}"
