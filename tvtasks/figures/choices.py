"""A proposal drawn: the images, the spectrum with lattice and cut-off, and the curves that λ minimises."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

import numpy as np

from tvtasks.choosing import Choice
from tvtasks.choosing.spectrum import power_of, without_plane
from tvtasks.figures.panels import drawn, panels
from tvtasks.figures.sheet import shortened
from tvtasks.models import HuberROF
from tvtasks.steps import Minimised
from tvtasks.words import with_prefix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tvtasks.draft import Settings
    from tvtasks.micrograph import Micrograph
    from tvtasks.proposal import Proposal

_SIDE = 480
_SHOWN = 50.0  # the curve is shown from λ / 50 to 50 λ


def proposal_figure(proposal: Proposal) -> Figure:
    """Draw a proposal: the evidence, and the restored image."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - half a second
    from matplotlib.figure import Figure  # noqa: PLC0415

    shown = panels(proposal.restoration)
    micrograph = proposal.restoration.micrograph
    figure = Figure(figsize=(11, 7.4), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    title = f"{micrograph.name}  ·  {proposal.recipe.name}"
    figure.suptitle(shortened(title, 100), fontsize=11, parse_math=False)
    grid = figure.add_gridspec(2, 3, height_ratios=(1, 0.85))
    for column, panel in enumerate(shown):
        axes = figure.add_subplot(grid[0, column])
        rows, columns = panel.image.shape
        height = min(max(round(_SIDE * rows / columns), _SIDE // 5), 5 * _SIDE)
        axes.imshow(np.asarray(drawn(panel, (_SIDE, height))), cmap="gray", vmin=0, vmax=255)
        axes.set(xticks=[], yticks=[])
        axes.set_title(panel.name, fontsize=10)
    column = 0
    for name, choice in proposal.choices.items():
        if "lattice_waves" in choice.evidence:
            _spectrum(figure.add_subplot(grid[1, column]), proposal, choice, micrograph)
            column += 1
        if column < 3 and (choice.lams or choice.fell_back):
            draw = _curve if choice.lams else _reason
            draw(figure.add_subplot(grid[1, column]), name, choice)
            column += 1
    return figure


def _spectrum(axes: Axes, proposal: Proposal, choice: Choice, micrograph: Micrograph) -> None:
    """Draw the spectrum up to twice the highest lattice wave, the waves ringed and the cut-off dashed."""
    raw = micrograph.data[proposal.restoration.region.slices].astype(np.float64)
    half = power_of(without_plane(raw))
    columns = raw.shape[1]
    # The other half follows by symmetry: the mode at −f has the power of the mode at f.
    other = np.roll(half[::-1, 1 : (columns + 1) // 2][:, ::-1], 1, axis=0)
    full = np.fft.fftshift(np.concatenate([half, other], axis=1)[:, :columns], axes=0)
    full = np.roll(full, columns // 2, axis=1)
    logs = np.log10(full + np.finfo(float).tiny)
    low, high = np.percentile(logs, [30, 99.9])
    axes.imshow(
        logs,
        cmap="gray",
        vmin=low,
        vmax=max(high, low + 1),
        extent=(-0.5, 0.5, 0.5, -0.5),
        aspect="equal",
        interpolation="antialiased",
    )
    waves = np.array(choice.evidence["lattice_waves"])
    both = np.concatenate([waves, -waves])
    axes.plot(
        both[:, 1],
        both[:, 0],
        "o",
        markersize=10,
        markerfacecolor="none",
        markeredgecolor="#ffb000",
        label="waves found" if choice.fell_back else "lattice",
    )
    cut = _cut_off(proposal.recipe.background, choice) / (2 * math.pi)
    turn = np.linspace(0, 2 * np.pi, 200)
    step = proposal.recipe.background
    direction = step.direction if isinstance(step, Minimised) else "both"
    if direction == "both":
        axes.plot(cut * np.cos(turn), cut * np.sin(turn), "--", color="#4fc3f7", label="cut-off")
    else:
        for sign in (-cut, cut):
            line = axes.axvline if direction == "x" else axes.axhline
            line(sign, linestyle="--", color="#4fc3f7", label="cut-off" if sign > 0 else None)
    reach = min(0.5, 2 * float(np.abs(waves).max()))
    axes.set(xlim=(-reach, reach), ylim=(reach, -reach), xlabel="cycles per pixel")
    period = choice.evidence["lattice_period_px"]
    text = f"spectrum; longest wave {period:.3g} px"
    if micrograph.pixel_size:
        pixel = math.sqrt(micrograph.pixel_size[0] * micrograph.pixel_size[1])
        text += f" = {with_prefix(period * pixel, micrograph.pixel_unit)}"
    axes.set_title(text, fontsize=10, parse_math=False)
    axes.legend(loc="lower right", fontsize=8)


def _cut_off(step: Settings | None, choice: Choice) -> float:
    """Return the cut-off of the background in rad/px; NaN, which draws nothing, if there is none."""
    if not choice.fell_back:
        return float(choice.evidence["cut_off_rad_per_px"])
    return math.sqrt(step.alpha * step.lam) if isinstance(step, HuberROF) and step.alpha > 0 else math.nan


def _reason(axes: Axes, name: str, choice: Choice) -> None:
    """Write why there is nothing to draw."""
    axes.axis("off")
    axes.set_title(f"{name}: λ = {choice.lam:.3g}, {choice.rule}", fontsize=10)
    words = textwrap.fill(choice.reason, 46)
    axes.text(0, 0.95, words, va="top", fontsize=10, transform=axes.transAxes).set_in_layout(False)


def _curve(axes: Axes, name: str, choice: Choice) -> None:
    from matplotlib.ticker import LogLocator  # noqa: PLC0415 - half a second

    lams, values = np.array(choice.lams), np.array(choice.values)
    near = (lams > choice.lam / _SHOWN) & (lams < choice.lam * _SHOWN)
    if np.count_nonzero(near) < 3:
        near[:] = True
    values = values - values[near].min()
    style = "-" if np.count_nonzero(near) > 20 else "o-"
    axes.plot(lams[near], values[near] / max(float(values[near].max()), 1e-300), style, color="#1b6ca8")
    axes.axvline(choice.lam, color="#d95f02")
    axes.set_xscale("log")
    wide = lams[near].max() > 50 * lams[near].min()
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=9))
    axes.xaxis.set_major_formatter(lambda lam, _: f"{lam:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set(xlabel="λ", ylabel="expected error above the least", yticks=[])
    axes.set_title(f"{name}: λ = {choice.lam:.3g}, {choice.rule} ({choice.confidence})", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
