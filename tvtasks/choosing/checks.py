"""What a restoration has kept of the sample: steps, lattice and what is fine, before and after."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from tvtasks.choosing.bow import bow, level
from tvtasks.choosing.spectrum import Spectrum, middle, peak_box, power_of, spectrum, surroundings
from tvtasks.operators import Array
from tvtasks.solvers.offsets import spread
from tvtasks.solvers.scars import median_down

_LAG = 8  # px between the two sides of an edge
_COLUMN = 6  # modes from fx = 0 that offsets of lines may reach under a window
_BROAD = 2.5  # times the mean around a peak that its modes may have together by chance
_CLEAR = 8.0  # times the noise that a step must be high to be measured
_PREFIXES = ((1e-12, "p"), (1e-9, "n"), (1e-6, "µ"), (1e-3, "m"), (1.0, ""))


@dataclass(frozen=True)
class Check:
    """One thing of the sample, before and after.

    Attributes
    ----------
    what
        ``step``, ``lattice`` or ``detail``.
    size
        Height of the step in the image's unit, period of the lattice in pixels, contrast of the detail.
    kept
        Part of it that is left.
    sentence
        The same for the person at the microscope.
    """

    what: str
    size: float
    kept: float
    sentence: str


def checks(
    raw: Array, restored: Array, *, unit: str = "", pixel_size: tuple[float, float] | None = None
) -> tuple[Check, ...]:
    """Compare steps, lattice and detail of an image before and after a restoration.

    Steps are measured along the lines, where offsets of lines cannot be seen: the differences of pixels eight
    apart, at the places where they are largest; medians of seven lines keep scars out of it. The lattice is
    what stands out of the spectrum. Detail is what is finer than four pixels or so.

    Parameters
    ----------
    raw, restored
        Shape (M, N), in one unit. Tilt should be taken from both.
    unit
        Of the values, for the sentences.
    pixel_size
        (dy, dx) in metres.
    """
    before, after = np.asarray(raw, np.float64), np.asarray(restored, np.float64)
    found = []
    step = _step(before, after)
    if step is not None:
        size, kept = step
        words = f"Steps and edges of about {measure(size, unit)} are kept to {kept:.0%}."
        found.append(Check("step", size, kept, words))
    lattice = _lattice(before, after)
    if lattice is not None:
        period, kept = lattice
        long = f"{period:.3g} pixels"
        if pixel_size is not None:
            long = measure(period * float(np.sqrt(pixel_size[0] * pixel_size[1])), "m")
        found.append(Check("lattice", period, kept, f"The lattice of {long} is kept to {kept:.0%}."))
    if not found:
        size, kept = _detail(before, after)
        if size > 0:
            found.append(Check("detail", size, kept, f"Fine detail is kept to {kept:.0%}."))
    return tuple(found)


def checks_of_middle(
    raw: Array, restored: Array, *, unit: str = "", pixel_size: tuple[float, float] | None = None
) -> tuple[Check, ...]:
    """Compare the middle of two images as `checks` does, tilt and bow taken from both.

    The middle is enough for a warning, and takes no longer for a large image.
    """
    before, after = (_levelled(np.asarray(middle(image), np.float64)) for image in (raw, restored))
    return checks(before, after, unit=unit, pixel_size=pixel_size)


def _levelled(image: Array) -> Array:
    image = image - bow(image).surface
    tilt_y, tilt_x = level(image)
    y, x = (np.linspace(-1, 1, size) for size in image.shape)
    return np.asarray(image - tilt_y * y[:, np.newaxis] - tilt_x * x)


def measure(value: float, unit: str) -> str:
    """Write a value in a unit with three digits and a prefix that suits it."""
    size = abs(value)
    if unit not in ("m", "A", "V") or not 1e-15 < size < 1e3:
        return f"{value:.3g} {unit}".strip()
    scale, prefix = next(((s, p) for s, p in _PREFIXES if size < 999.5 * s), _PREFIXES[-1])
    return f"{value / scale:.3g} {prefix}{unit}"


def _step(before: Array, after: Array) -> tuple[float, float] | None:
    """Height of the steps across the lines, and the part of it that is kept."""
    if before.shape[1] < 4 * _LAG:
        return None
    a, b = (_across(image) for image in (before, after))
    noise = spread(a)
    high = np.abs(a) > max(_CLEAR * noise, 0.5 * float(np.percentile(np.abs(a), 99.5)))
    if noise == 0 or np.count_nonzero(high) < 4 * len(a) / 10:
        return None
    return float(np.percentile(np.abs(a[high]), 75)), _part(
        float(np.vdot(b[high], b[high])), float(np.vdot(a[high], b[high]))
    )


def _across(image: Array) -> Array:
    smooth = gaussian_filter1d(image, 1.0, axis=1)
    steps = smooth[:, _LAG:] - smooth[:, :-_LAG]
    return median_down(np.ascontiguousarray(steps - np.median(steps)))


def _lattice(before: Array, after: Array) -> tuple[float, float] | None:
    """Period of the lattice in pixels, and the part of its amplitude that is kept, in phase."""
    if min(before.shape) < 32:
        return None
    found = spectrum(before)
    # Offsets of lines fill the column fx = 0 of the spectrum; a wave there is judged where offsets are.
    peaks = tuple(peak for peak in found.peaks if abs(peak.fx) * before.shape[1] > _COLUMN)
    # A lattice has waves in two directions; hum and line noise have one.
    if not any(
        abs(a.fy * b.fx - a.fx * b.fy) > 0.2 * a.frequency * b.frequency for a in peaks for b in peaks
    ):
        return None
    found = replace(found, peaks=peaks)
    left, taken = _waves_at(after, found), _waves_at(before - after, found)
    if left == 0:
        return None if taken == 0 else (1 / found.peaks[0].frequency, 0.0)
    return 1 / found.peaks[0].frequency, left / (left + taken)


def _waves_at(image: Array, lattice: Spectrum) -> float:
    """Amplitude of the waves of a lattice in an image, beyond what the spectrum has around them.

    What is taken of faults has power at the lattice's frequencies too, but no more than beside them.
    """
    power = power_of(image)
    total = 0.0
    for peak in lattice.peaks:
        box = peak_box(peak, lattice.shape)
        around = surroundings(power, peak, lattice.shape)
        total += max(float(power[box].sum()) - _BROAD * around * power[box].size, 0.0)
    return float(np.sqrt(total))


def _detail(before: Array, after: Array) -> tuple[float, float]:
    """Contrast along the lines of what is fine, and the part of it that is kept."""
    fine, left = (
        median_down(np.ascontiguousarray(image - gaussian_filter1d(image, 4.0, axis=1)))
        for image in (before, after)
    )
    power = float(np.vdot(fine, fine))
    if power == 0:
        return 0.0, 1.0
    return float(np.sqrt(power / fine.size)), _part(float(np.vdot(left, left)), float(np.vdot(fine, left)))


def _part(power_after: float, shared: float) -> float:
    """Part that is kept: faults in the raw image, which the restored one does not have, do not lessen it."""
    return power_after / shared if shared > 0 else 0.0
