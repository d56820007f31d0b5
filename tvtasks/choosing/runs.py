"""Runs of scars: which of them are faults, and how high they are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from tvtasks.operators import Array
from tvtasks.solvers.compiling import kept
from tvtasks.solvers.offsets import spread

FALSE = 0.2
"""Share of the scars, by area, that may be the sample's."""
SHARP = 0.6
"""Part of a scar that the lines beyond it must not foresee: a scar has sharp sides, the top of a molecule is
foreseen by its slopes (synthetic molecules, particles)."""
LEAST_LENGTH = 4
"""Pixels along the line; shorter ones are corners of steps as often as scars."""
SHORT = 10
"""Pixels: where shorter ones make up most of the scars, they are dots of the sample that the scan has drawn
out (Si(111) 7×7 at four pixels a cell)."""
_TEXTURE = 0.4  # share of the scars' area
CLEAR = 5.0
"""Standard deviations of its mean that a scar must be high: noise of 10⁶ pixels has such runs, once or so."""
_ROW = np.array([[0, 0, 0], [1, 1, 1], [0, 0, 0]])

Vector = NDArray[np.float64]


class Runs(NamedTuple):
    """Pieces of lines with one sign.

    Attributes
    ----------
    labels
        Shape (M, N); 0 for no run.
    area
        Sum of absolute values of each run, and 0 for label 0.
    """

    labels: NDArray[np.intp]
    area: Vector


def runs(s: Array, least: float) -> Runs:
    """Find the pieces of lines that exceed `least` with one sign."""
    high, n = label(s > least, _ROW)
    low, m = label(s < -least, _ROW)
    labels = high + np.where(low > 0, low + n, 0)
    area = np.bincount(labels.ravel(), np.abs(s).ravel().astype(np.float64), n + m + 1)
    area[0] = 0.0
    return Runs(np.asarray(labels, np.intp), np.asarray(area, np.float64))


def true_scars(
    image: Array, found: Array, control: Array, least: float, false: float = FALSE
) -> NDArray[np.float64]:
    """Keep of the scars what is hardly the sample's, at its full height.

    Runs have sharp sides, and are kept from the largest area down to where the control's, as large and as
    sharp, make up the share `false` of them.

    Parameters
    ----------
    image
        What the scars were found in, shape (M, N).
    found
        The scars.
    control
        The transposed image, and
    least
        What a run must exceed.
    """
    g = np.ascontiguousarray(image, np.float64)
    ours = runs(found, least)
    if len(ours.area) < 2:
        return np.zeros(g.shape)
    long = np.bincount(ours.labels.ravel(), minlength=len(ours.area)) >= LEAST_LENGTH
    above = unforeseen(g, found, ours)
    sharp = ours.area * ((above >= SHARP * ours.area) & long & _clear(g, above, ours))
    sharp[0] = 0.0
    kept = (sharp >= limit(sharp, control, false)) & (sharp > 0)
    # At the border of the image one side is open, and the edge of an island looks the same: such a run is
    # believed where others, with two sides, make up more.
    open_ended = _open_ended(ours)
    kept &= ~open_ended | (sharp <= sharp[kept & ~open_ended].sum())
    length = np.bincount(ours.labels.ravel(), minlength=len(ours.area))
    short = kept & (length < SHORT)
    if ours.area[short].sum() > _TEXTURE * ours.area[kept].sum():
        kept &= ~short
    s = np.where(kept[ours.labels], found, 0.0)
    return at_full_height(g, s)


def _clear(g: NDArray[np.float64], above: Vector, found: Runs) -> NDArray[np.bool_]:
    """Whether a run stands further out of the lines around than noise does anywhere in an image."""
    noise = spread(np.diff(np.diff(g, 2, axis=1), axis=0)) / np.sqrt(12)
    number = np.bincount(found.labels.ravel(), minlength=len(found.area))
    return np.asarray(above >= CLEAR * noise * np.sqrt(1.5 * number))


def sharp_areas(image: Array, found: Array, least: float) -> Vector:
    """Areas of the runs with sharp sides, the largest first: what a control has."""
    ours = runs(found, least)
    if len(ours.area) < 2:
        return np.zeros(0)
    g = np.ascontiguousarray(image, np.float64)
    area = ours.area[sharpness(g, found, ours) >= SHARP]
    return np.sort(area[area > 0])[::-1]


def limit(ours: Vector, control: Vector, false: float = FALSE) -> float:
    """Return the size down to which ours are hardly the sample's; infinite where even the largest may be.

    Octave by octave from the largest: a size is kept while the control's of that size, and of all sizes from
    there on, make up at most the share `false` of ours.
    """
    ours = np.sort(ours[ours > 0])[::-1]
    if not ours.size:
        return np.inf
    found = np.inf
    high = float(ours[0]) * (1 + 1e-9)
    while high >= ours[-1]:
        low = high / 2
        here, there = (
            ours[(ours >= low) & (ours < high)].sum(),
            control[(control >= low) & (control < high)].sum(),
        )
        if control[control >= low].sum() > false * ours[ours >= low].sum() or there > false * max(
            here, 1e-300
        ):
            break
        if here > 0:
            found = float(ours[ours >= low][-1])
        high = low
    return found


def _open_ended(found: Runs) -> NDArray[np.bool_]:
    """Whether most of a run is joined to the first or the last line of the image by other runs."""
    on = found.labels > 0
    open_ = np.logical_and.accumulate(on, axis=0) | np.logical_and.accumulate(on[::-1], axis=0)[::-1]
    number = np.bincount(found.labels.ravel(), minlength=len(found.area))
    return np.asarray(np.bincount(found.labels[open_], minlength=len(found.area)) > number / 2)


def sharpness(image: Array, s: Array, found: Runs) -> Vector:
    """For each run, the part of it that its neighbours across do not foresee by their levels and slopes."""
    return unforeseen(image, s, found) / np.maximum(found.area, 1e-300)


def unforeseen(image: Array, s: Array, found: Runs) -> Vector:
    """For each run, how much of an image at its pixels the lines beyond it do not foresee; its sign is +."""
    g = np.ascontiguousarray(image, np.float64)
    above = _unforeseen(g, np.ascontiguousarray(s, np.float64), found.labels > 0)
    return np.asarray(np.bincount(found.labels.ravel(), above.ravel(), len(found.area)), np.float64)


@kept(nogil=True, error_model="numpy")
def _unforeseen(g: Array, s: Array, on: Array) -> Array:
    """Return what a pixel of a scar stands above the mean of two straight lines, from above and below."""
    rows, columns = g.shape
    out = np.zeros_like(g)
    for x in range(columns):
        top = 0
        while top < rows:
            if not on[top, x]:
                top += 1
                continue
            end = top
            sign = s[top, x] > 0
            while end < rows and on[end, x] and (s[end, x] > 0) == sign:
                end += 1
            for y in range(top, end):
                level, seen = 0.0, 0
                if top >= 2:
                    level += g[top - 1, x] + (y - top + 1) * (g[top - 1, x] - g[top - 2, x])
                    seen += 1
                if end + 1 < rows:
                    level += g[end, x] + (end - y) * (g[end, x] - g[end + 1, x])
                    seen += 1
                if seen:
                    out[y, x] = (g[y, x] - level / seen) * (1.0 if sign else -1.0)
            top = end
    return out


def at_full_height(g: Array, s: Array) -> NDArray[np.float64]:
    """Move each run to where it joins the lines above and below: its price for size has drawn it to zero."""
    full = runs(s, 0.0)
    if len(full.area) < 2:
        return s
    return np.asarray(_moved(g, s, full.labels, len(full.area)))


@kept(nogil=True, error_model="numpy")
def _moved(g: Array, s: Array, labels: Array, number: int) -> Array:
    rows, columns = g.shape
    out = s.copy()
    gap = np.empty(columns)
    for y in range(rows):
        x = 0
        while x < columns:
            if labels[y, x] == 0:
                x += 1
                continue
            first = x
            n = 0
            while x < columns and labels[y, x] == labels[y, first]:
                up, down = y - 1, y + 1
                while up >= 0 and labels[up, x] > 0:
                    up -= 1
                while down < rows and labels[down, x] > 0:
                    down += 1
                if up >= 0 and down < rows:
                    part = (y - up) / (down - up)
                    gap[n] = g[y, x] - s[y, x] - ((1 - part) * g[up, x] + part * g[down, x])
                    n += 1
                x += 1
            if n >= 5:
                move = np.median(gap[:n])
                for j in range(first, x):
                    if out[y, j] != 0:
                        out[y, j] += move
    return out
