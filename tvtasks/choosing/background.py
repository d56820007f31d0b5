"""λ of a background: what separates the lattice, or what lines have in common, from all the rest."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.special import gamma

from tvtasks.choosing.choice import Choice, Confidence, fallback, lowest
from tvtasks.choosing.coherence import by_coherence
from tvtasks.choosing.size import by_size
from tvtasks.choosing.spectrum import Peak, Spectrum, kappa_along, spectrum
from tvtasks.medians import median_filter
from tvtasks.models import TGVL1, HuberROF, Model
from tvtasks.operators import Array, Direction

PROTECT: dict[Direction, float] = {"both": 5.0, "x": 3.0, "y": 3.0}
"""How much dearer a lost part of the lattice is than a part of the background left: tuned, see the docs."""
_EXPONENT = 0.5  # of the mean of powers: at 1 a few strong modes would stand for all, near 0 for none
LEAST_KEPT = 0.5
"""Of the lattice's amplitude: where the best background would take more, the lattice is no evidence."""
LEAST_SIDE = 32
ATOMIC = 1e-10
"""Metres; waves of atoms are not shorter, those of the electronics often are."""
_CS = np.geomspace(1e-6, 4.0, 120)  # c = αλ
_EDGES = np.concatenate([[0.0], np.geomspace(1e-7, 8.5, 240)])  # of bins of κ
_OF_NOISE = float(gamma(1 + _EXPONENT))  # E[P**e], P exponentially distributed with mean 1
_MIDDLES = np.concatenate([[0.0], np.sqrt(np.maximum(_EDGES[:-1], 1e-8) * _EDGES[1:]), [8.5]])
LINE_L1 = 1.6
"""λ of TV-L1 along lines, over the cut-off in rad/px of Huber-ROF for the same image: tuned, see the docs."""


def choose_background(
    image: Array,
    model: Model,
    *,
    direction: Direction = "both",
    feature_size: float | None = None,
    median: tuple[int, int] | None = None,
    shortest: float = 0.0,
) -> Choice:
    """Choose λ for extracting the background of one image.

    With a feature size, that decides. Else a lattice does: Huber-ROF is a high-pass filter of cut-off
    √(αλ) radians per pixel, and λ minimises the background power that it leaves plus `PROTECT` times the
    lattice power that it takes (after Wiener); for the L1 models λ is π over the lattice's longest period.
    Without a lattice, or with one too faint to go by, lines (direction x or y) are judged by what neighbours
    have in common; in two directions nothing is guessed.

    Parameters
    ----------
    image
        Shape (M, N), real and finite, as the model will see it.
    model
        Its λ is the fallback.
    direction
        As in `solve`.
    feature_size
        Diameter of the largest feature to keep in the flat image, in pixels.
    median
        Rows and columns of the median filter that follows the step: what it takes need not be background.
    shortest
        Length in pixels below which no wave can be of a lattice, as `ATOMIC` tells for a calibrated image.

    Returns
    -------
    Choice
    """
    f = np.asarray(image, np.float64)
    if feature_size is not None:
        return by_size(model, direction, feature_size)
    if min(f.shape) < LEAST_SIDE:
        return fallback(
            model,
            f"An image of {f.shape[0]} × {f.shape[1]} pixels is too small to find its λ: it needs "
            f"{LEAST_SIDE} of each. Give a feature_size.",
        )
    if np.ptp(f) <= 1e-12 * np.abs(f).max():
        return fallback(model, "The image is constant: it has no background to tell from anything.")
    seen = f if median is None else median_filter(f, *median)
    found = spectrum(seen)
    interference = bool(found.peaks) and 1 / found.peaks[0].frequency < shortest
    if found.peaks and not interference:
        choice = by_lattice(seen, found, model, direction)
        if direction == "both" or not choice.fell_back:
            return choice
    if direction == "both":
        lack = "No lattice stands out of the spectrum, so nothing says what is background. "
        if interference:
            lack = (
                f"All waves that stand out of the spectrum are shorter than {ATOMIC * 1e9:g} nm: they are "
                "interference, no lattice. "
            )
        return fallback(model, f"{lack}Give a feature_size: the largest feature to keep.")
    return by_coherence(f, model, direction)


def by_lattice(image: Array, found: Spectrum, model: Model, direction: Direction) -> Choice:
    """Choose the λ that parts the background best from the lattice that was found."""
    first = found.peaks[0]
    evidence: dict[str, Any] = {
        "lattice_period_px": 1 / first.frequency,
        "lattice_waves": [[p.fy, p.fx] for p in found.peaks],
        "prominence": max(p.prominence for p in found.peaks),
    }
    apart = any(
        abs(first.fy * p.fx - first.fx * p.fy) > 0.2 * first.frequency * p.frequency for p in found.peaks
    )
    words = f"a lattice whose longest wave has {1 / first.frequency:.3g} pixels"
    if isinstance(model, HuberROF) and model.alpha == 0:
        return fallback(model, f"There is {words}, but α = 0 has no cut-off to fit to it.", evidence)
    lattice = _waves(found.peaks, direction)
    c, values = _least(_background(image, found, direction), lattice, PROTECT[direction])
    kept = math.sqrt(np.sum((lattice.kappa / (lattice.kappa + c)) ** 2 * lattice.power) / lattice.power.sum())
    evidence |= {"cut_off_rad_per_px": math.sqrt(c), "lattice_amplitude_kept": kept}
    if kept < LEAST_KEPT or c >= _CS[-1]:
        return fallback(
            model,
            f"There is {words}, but it is so faint beside the rest that it may be interference, and a "
            f"background to go with it would leave {kept:.0%} of it. Give a feature_size.",
            evidence,
        )
    if isinstance(model, HuberROF):
        confidence: Confidence = "low" if kept < 0.7 or not apart else "high" if kept > 0.8 else "medium"
        cut_off = 2 * math.pi / math.sqrt(c)
        reason = f"There is {words}; a cut-off at {cut_off:.3g} pixels keeps {kept:.0%} of its amplitude."
        lams = tuple((_CS / model.alpha).tolist())
        return Choice(
            c / model.alpha, "lattice-spectrum", confidence, reason, lams, tuple(values.tolist()), evidence
        )
    # TV-L1 tells by width, not by wavelength; the constants are measured (docs/choosing-lambda.md).
    scale = model.alpha1 if isinstance(model, TGVL1) else 1.0
    lam = scale * (math.pi * first.frequency if direction == "both" else LINE_L1 * math.sqrt(c))
    reason = f"There is {words}; thinner than it is what stays in the flat image."
    del evidence["lattice_amplitude_kept"]
    return Choice(lam, "lattice-period", "medium" if apart else "low", reason, evidence=evidence)


class _Bins(NamedTuple):
    kappa: NDArray[np.float64]
    power: NDArray[np.float64]


def _background(image: Array, found: Spectrum, direction: Direction) -> _Bins:
    """Power of everything but the lattice by κ along the direction, per pixel.

    What is slower than the lattice is taken from the cosine transform, whose modes the models damp exactly;
    the rest from the windowed spectrum, in which a lattice does not leak. In two directions the square
    roots of the power at equal κ are averaged: a few strong modes, of a step's straight edge, should not
    stand for the many.
    """
    limit = 0.6 * found.peaks[0].frequency
    rows, columns = (math.ceil(2 * size * limit) + 1 for size in image.shape)
    down = dct(image - image.mean(), axis=0, norm="ortho", overwrite_x=True)[:rows]
    slow = dct(down, axis=1, norm="ortho")[:, :columns] ** 2
    y, x = (np.arange(part) / (2 * full) for part, full in zip(slow.shape, image.shape, strict=True))
    fy, fx = np.fft.fftfreq(image.shape[0]), np.fft.rfftfreq(image.shape[1])
    near = np.hypot(y[:, np.newaxis], x) < limit
    far = np.hypot(fy[:, np.newaxis], fx) >= limit
    total = np.zeros(_EDGES.size + 1)
    for kappas, powers, weights in (
        (kappa_along(y, x, direction)[near], slow[near], np.ones(slow.shape)[near]),
        (
            kappa_along(fy, fx, direction)[far],
            found.rest[far],
            np.broadcast_to(found.weights, far.shape)[far],
        ),
    ):
        place = np.searchsorted(_EDGES, kappas)
        if direction == "both":
            number = np.bincount(place, weights, total.size)
            roots = np.bincount(place, weights * powers**_EXPONENT, total.size)
            full = number > 0
            total[full] += number[full] * (roots[full] / number[full] / _OF_NOISE) ** (1 / _EXPONENT)
        else:
            total += np.bincount(place, weights * powers, total.size)
    return _Bins(_MIDDLES, total / image.size)


def _waves(peaks: tuple[Peak, ...], direction: Direction) -> _Bins:
    """Return κ and power of the waves of the lattice."""
    y, x = (np.array([getattr(peak, name) for peak in peaks]) for name in ("fy", "fx"))
    zero = np.zeros(1)
    kappas = kappa_along(y, zero, direction)[:, 0] + kappa_along(zero, x, direction)[0]
    return _Bins(kappas, np.array([peak.power for peak in peaks]))


def _least(background: _Bins, lattice: _Bins, protect: float) -> tuple[float, NDArray[np.float64]]:
    """Return the c with the least expected error, and the error at every one of `_CS`."""
    left = (background.kappa / (background.kappa + _CS[:, np.newaxis])) ** 2 @ background.power
    lost = (_CS[:, np.newaxis] / (lattice.kappa + _CS[:, np.newaxis])) ** 2 @ lattice.power
    values = left + protect * lost
    return math.exp(lowest(np.log(_CS), values)), values
