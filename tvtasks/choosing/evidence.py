"""What of the offsets of lines is a fault.

Two things tell: the transposed image, whose lines have none, is the control; and an offset moves the whole
line, so the left of an image shows it as the right does, while the sample differs from place to place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct, idct
from scipy.ndimage import median_filter
from scipy.special import fdtri  # scipy.stats would take half a second to import

from tvtasks.choosing.runs import limit
from tvtasks.operators import Array
from tvtasks.solvers.offsets import Offsets, line_offsets, roughness, spread

Vector = NDArray[np.float64]

_JUMP = 6.0  # times the typical change from line to line that a change must be to stand alone
_AGREED = 0.6  # of the pixels of a line: what a jump of the whole line has; an edge that wanders has less
_SURE = 0.995  # that an octave's power is more than the control's
_TWICE = 2.0
_ROUGHER = 1.15  # times the control, below which nothing but jumps is taken (synthetic molecules .99, 1.07)
_DENSE = 0.5  # of the fast half of the spectrum that is kept, above which all jumps are faults
_BANDS = 4
_FAST = 0.25  # of the spectrum that is too slow to tell offsets from what lies across the whole image
_SHARED = 0.15  # coherence of the bands: see `Bands`
_SAME = 0.75  # of the bands that must show a jump where nothing else is shared
_WIDE = 17  # lines around a line whose typical change is no jump


@dataclass(frozen=True, eq=False)
class KeptOffsets:
    """Offsets that are faults.

    Attributes
    ----------
    values
        One for each line; zero where the evidence is thin.
    share
        Of the power of the offsets that were found.
    rougher
        How many times rougher they were than the control's, by the typical change of slope; 0.7–1.3 without
        faults, 8–149 with them (synthetic scans).
    jumps
        Lines at which a certain jump begins.
    left
        Lines at which a jump was left, as it may be an edge of the sample.
    coherence
        Of the offsets of four bands of columns: 1 if all show the same.
    """

    values: Vector
    share: float
    rougher: float
    jumps: tuple[int, ...]
    left: tuple[int, ...]
    coherence: float


@dataclass(frozen=True, eq=False)
class Bands:
    """Offsets of the lines of a few bands of columns.

    Attributes
    ----------
    offsets
        Those of each band.
    coherence
        How much of their fast changes all bands share: 1 for all, 0 by chance. On 50 synthetic scans of five
        families it was .13 to .97 with faults (less in two lattices of many waves) and −.25 to .15 without;
        on real scans .4 to .97 where lines were out of place, −.3 to 0 where none was.
    """

    offsets: tuple[Vector, ...]
    coherence: float

    @classmethod
    def of(cls, image: Array) -> Bands:
        """Find the offsets of the bands of an image of shape (M, N), and compare them."""
        number = max(min(_BANDS, image.shape[1] // 8), 1)
        parts = np.array_split(image, number, axis=1)
        offsets = tuple(line_offsets(np.ascontiguousarray(part), certify=False).values for part in parts)
        return cls(offsets, _coherence(offsets))

    @property
    def agree(self) -> bool:
        """Whether whole lines are out of place."""
        return self.coherence >= _SHARED

    def share_of(self, jumps: Vector) -> Vector:
        """Return for each jump the part of the bands that show it, to half its height."""
        changes = np.array([np.diff(band, prepend=band[0]) for band in self.offsets])
        return np.asarray(np.mean(np.abs(changes - jumps) < 0.5 * np.abs(jumps), axis=0))

    def believed(self, found: Offsets) -> Vector:
        """Return the offsets if the bands agree, else only the jumps that most bands show."""
        if self.agree:
            return found.values
        jumps = _jumps(found)
        return np.cumsum(np.where(self.share_of(jumps) >= _SAME, jumps, 0.0))


def _coherence(bands: Sequence[Vector]) -> float:
    number = len(bands)
    if number < 2:
        return 1.0
    modes = np.array([dct(_without_trend(band), norm="ortho") for band in bands])
    fast = modes[:, int(_FAST * modes.shape[1]) :]
    own = float((fast**2).sum())
    if own == 0.0:
        return 0.0
    shared = float((fast.sum(axis=0) ** 2).sum()) - own
    return shared / (own * (number - 1))


def kept_offsets(
    found: Offsets, control: Offsets, bands: Bands, columns: int, *, other_faults: bool
) -> KeptOffsets:
    """Keep of the offsets what the transposed image does not show just as well.

    Jumps are looked at one by one: most pixels of the line must agree on it, and the control must hardly have
    any as high. A single jump in an image without other faults may be a flat edge, and stays. What is left
    after the jumps is filtered: each band of the spectrum is kept as far as its power exceeds the control's.

    Parameters
    ----------
    found, control
        Offsets of the image and of the transposed image, in one unit.
    bands
        Those of bands of columns.
    columns
        Of the image.
    other_faults
        Whether there are scars.
    """
    rows = len(found.values)
    fair = columns / rows  # offsets of lines of N pixels are noisy as 1/√N
    rougher = float(np.sqrt(fair) * roughness(found.values) / max(roughness(control.values), 1e-300))
    ours = _jumps(found)
    theirs = _jumps(control)
    rest = _without_trend(found.values - np.cumsum(ours))
    theirs_rest = _without_trend(control.values - np.cumsum(theirs))
    gain = _gain(rest, theirs_rest, fair)
    if rougher < _ROUGHER and not ours.any():
        gain[:] = 0.0  # no line stands out of its neighbours: what changes slowly may be rows of molecules
    if not bands.agree:
        gain[:] = 0.0
        ours = np.where(bands.share_of(ours) >= _SAME, ours, 0.0)
    fast = gain[len(gain) // 2 :]
    dense = bool(fast.size and fast.mean() > _DENSE)
    least = limit(np.abs(ours), np.abs(theirs) / np.sqrt(fair))
    certain = (np.abs(ours) >= least) & (found.agreeing >= _AGREED)
    lone = np.zeros(rows, bool)
    if np.count_nonzero(certain) < 2 and not other_faults:
        lone, certain = certain, lone
    if dense:
        certain, lone = ours != 0, np.zeros(rows, bool)
    values = idct(gain * dct(rest, norm="ortho"), norm="ortho") + np.cumsum(np.where(certain, ours, 0.0))
    values = np.asarray(values - np.median(values))
    power = float(np.mean(_without_trend(found.values) ** 2))
    share = float(np.mean(_without_trend(values) ** 2)) / power if power > 0 else 0.0
    return KeptOffsets(
        values,
        share,
        rougher,
        tuple(np.flatnonzero(certain).tolist()),
        tuple(np.flatnonzero(lone).tolist()),
        bands.coherence,
    )


def _without_trend(offsets: Vector) -> Vector:
    """Subtract the straight line that fits best: tilt is found elsewhere."""
    y = np.linspace(-1, 1, len(offsets))
    centred = offsets - offsets.mean()
    return np.asarray(centred - y * (y @ centred) / (y @ y))


def _jumps(found: Offsets) -> Vector:
    """Return the changes from line to line that stand alone, beyond those of the lines around; else 0."""
    change = np.diff(found.values, prepend=found.values[0])
    beyond = change - median_filter(change, min(_WIDE, len(change)), mode="nearest")
    return np.where(np.abs(beyond) > _JUMP * max(spread(beyond), 1e-300), beyond, 0.0)


def _gain(ours: Vector, control: Vector, fair: float) -> Vector:
    """For each mode of the cosine transform, the part of the power of its octave that is not the control's.

    An octave is kept where its power exceeds the control's by more than chance has it (an F test with half
    the degrees of freedom, as the modes are not quite independent), or where it is twice as high and the
    octave above, of faster changes, is kept.
    """
    mine, other = (dct(a - a.mean(), norm="ortho") ** 2 for a in (ours, control))
    n, m = len(mine), len(other)
    gain = np.zeros(n)
    level, number, above = 0.0, 1, False
    high = 1.0
    places, places_of_control = np.arange(n) / n, np.arange(m) / m
    while high * n >= 1:
        low = high / 2
        here = (places > low) & (places <= high) & (places > 0)
        there = (places_of_control > low) & (places_of_control <= high) & (places_of_control > 0)
        if here.any():
            if there.any():
                level, number = float(other[there].mean()) / fair, int(np.count_nonzero(there))
            power = float(mine[here].mean())
            chance = float(fdtri(max(np.count_nonzero(here) / 2, 0.5), max(number / 2, 0.5), _SURE))
            ratio = power / level if level > 0 else np.inf
            above = power > 0 and (ratio > max(chance, _TWICE) or (above and ratio > _TWICE))
            gain[here] = 1 - 1 / ratio if above else 0.0
        high = low
    return gain
