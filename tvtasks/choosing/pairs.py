"""Forward and backward scans of the same lines: the sample is what both show."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft
from scipy.ndimage import gaussian_filter1d, map_coordinates, uniform_filter1d

from tvtasks.choosing.bow import bow
from tvtasks.choosing.evidence import KeptOffsets
from tvtasks.choosing.runs import runs, unforeseen
from tvtasks.operators import Array
from tvtasks.solvers.offsets import Offsets, line_offsets, spread

_FARTHEST = 0.1  # of a line that hysteresis may shift it
_BANDS = 8  # groups of lines whose shift is found; between them it changes evenly
_SHARED = 0.5  # of a scar or a jump that the other scan shows: more, and it is the sample's
_LARGE = 4.0  # times the typical change from line to line that a jump is
_FEW = 5  # lines on each side of a jump that its height is taken from
_ALIKE = 0.5  # correlation of the changes from line to line above which the faults themselves are common
Image = NDArray[np.float64]
Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Partner:
    """The other scan, brought over the first.

    Attributes
    ----------
    image
        Shape (M, N), shifted along its lines; tilt and bow along them are taken away.
    shift
        Pixels that each line was moved to the right by.
    offsets
        Of its lines.
    """

    image: Image
    shift: Vector
    offsets: Offsets

    def disagreement(self, restored: Array) -> Image:
        """Return how many standard deviations of their difference the two scans differ by, pixel by pixel."""
        other = self.image - self.offsets.values[:, np.newaxis]
        difference = np.asarray(restored, np.float64) - other
        difference = difference - np.median(difference, axis=1, keepdims=True)
        return np.asarray(np.abs(difference) / max(spread(difference), 1e-300))


def partner_of(forward: Array, backward: Array) -> Partner:
    """Bring a backward scan over a forward one."""
    shift = hysteresis(forward, backward)
    moved = shifted(backward, shift)
    moved = moved - bow(moved).surface
    return Partner(moved, shift, line_offsets(moved, certify=False))


def hysteresis(forward: Array, backward: Array) -> Vector:
    """Find by how many pixels each line of a backward scan must be moved to the right.

    Lines are compared in eight bands, by the correlation of what is not slow along them, to a fraction of a
    pixel; between the bands the shift changes evenly. A band that shows nothing takes the shift of all.
    """
    rows, columns = np.shape(forward)
    a, b = (_fine(np.asarray(image, np.float64)) for image in (forward, backward))
    product = rfft(a, 2 * columns, axis=1) * np.conj(rfft(b, 2 * columns, axis=1))
    every = irfft(product, axis=1)
    most = max(int(_FARTHEST * columns), 2)
    whole, _ = _peak(every.sum(axis=0), most)
    bands = np.array_split(np.arange(rows), min(_BANDS, max(rows // 16, 1)))
    middles, shifts = [], []
    for lines in bands:
        found, clear = _peak(every[lines].sum(axis=0), most)
        middles.append(float(lines.mean()))
        shifts.append(found if clear and abs(found - whole) < 2 else whole)
    return np.interp(np.arange(rows), middles, shifts)


def shifted(image: Array, shift: Vector) -> Image:
    """Move each line to the right by its shift, between pixels by cubic splines; the ends are repeated."""
    rows, columns = np.shape(image)
    y, x = np.mgrid[:rows, :columns].astype(np.float64)
    return np.asarray(
        map_coordinates(np.asarray(image, np.float64), (y, x - shift[:, np.newaxis]), order=3, mode="nearest")
    )


def scars_of_one_scan(s: Image, partner: Partner, least: float) -> Image:
    """Leave in the image what the other scan shows as well: it is the sample's."""
    found = runs(s, 0.0)
    if not found.area.any():
        return s
    there = unforeseen(partner.image - partner.offsets.values[:, np.newaxis], s, found)
    return np.where((there / np.maximum(found.area, 1e-300) < _SHARED)[found.labels], s, 0.0)


def offsets_of_one_scan(kept: KeptOffsets, found: Offsets, partner: Partner) -> KeptOffsets:
    """Leave in the image the jumps that both scans show, unless their faults are common in general.

    A flat edge of the sample is a jump of both. A tip that changes for good is one of both, too; but then the
    slower changes of both are alike as well.
    """
    ours, theirs = (_beyond(o.values) for o in (found, partner.offsets))
    theirs = np.where(np.abs(np.roll(theirs, -1)) > np.abs(theirs), np.roll(theirs, -1), theirs)
    large = np.abs(ours) > _LARGE * spread(ours)
    shared = large & (np.abs(theirs - ours) < _SHARED * np.abs(ours))
    if not shared.any():
        return kept
    rest = [
        _slower(np.where(large, 0.0, np.diff(values, prepend=values[0])))
        for values in (kept.values, partner.offsets.values)
    ]
    power = float(np.sqrt(np.vdot(rest[0], rest[0]) * np.vdot(rest[1], rest[1])))
    if power > 0 and float(np.vdot(rest[0], rest[1])) / power > _ALIKE:
        return kept
    stay = tuple(np.flatnonzero(shared).tolist())
    values = kept.values.copy()
    if values.any():
        for line in stay:
            both = [_height(o.values, line) for o in (found, partner.offsets)]
            values[line:] -= sum(both) / 2
    return replace(
        kept,
        values=values - np.median(values),
        jumps=tuple(line for line in kept.jumps if line not in stay),
        left=tuple(sorted({*kept.left, *stay})),
    )


def _height(offsets: Vector, line: int) -> float:
    """Height of a jump from the lines around it: each has an offset of its own."""
    before, after = offsets[max(line - _FEW, 0) : line], offsets[line : line + _FEW]
    return float(after.mean() - before.mean()) if before.size and after.size else 0.0


def _slower(changes: Vector) -> Vector:
    """Return the changes over a few lines, beyond the typical one: noise of single lines averages out."""
    over = uniform_filter1d(changes, 2 * _FEW, mode="nearest")
    return np.asarray(over - over.mean())


def _beyond(offsets: Vector) -> Vector:
    """Return the changes from line to line beyond the typical one."""
    change = np.diff(offsets, prepend=offsets[0])
    return np.asarray(change - np.median(change))


def _fine(image: Image) -> Image:
    """Without what is slow along the lines, and without what stands far out."""
    high = image - gaussian_filter1d(image, 8.0, axis=1)
    limit = 4 * spread(high)
    return np.clip(high, -limit, limit) if limit > 0 else high


def _peak(correlation: Vector, most: int) -> tuple[float, bool]:
    """Place of the highest correlation within reach, and whether it stands out."""
    places = np.arange(-most, most + 1)
    values = correlation[places]
    i = int(np.argmax(values))
    clear = bool(values[i] > 4 * np.median(np.abs(values)) and 0 < i < len(values) - 1)
    if not 0 < i < len(values) - 1:
        return 0.0, False
    left, middle, right = values[i - 1 : i + 2]
    bend = left - 2 * middle + right
    return float(places[i] + (0.5 * (left - right) / bend if bend < 0 else 0.0)), clear
