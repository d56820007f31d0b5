"""λ of a background: what separates the lattice, or the part that lines share, from everything else."""

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
"""How much more a lost part of the lattice counts than a remaining part of the background: tuned."""
_EXPONENT = 0.5  # exponent of the mean of powers, tuned: at 1 a few strong modes decide, near 0 none
LEAST_KEPT = 0.5
"""Fraction of the lattice's amplitude: if the best background leaves less, the lattice is no evidence."""
LEAST_SIDE = 32
ATOMIC = 1e-10
"""Metres; waves of atoms are longer, those of the electronics often are not."""
_CS = np.geomspace(1e-6, 4.0, 120)  # c = αλ
_EDGES = np.concatenate([[0.0], np.geomspace(1e-7, 8.5, 240)])  # edges of the bins of κ
_OF_NOISE = float(gamma(1 + _EXPONENT))  # E[P**e] for an exponentially distributed P of mean 1
_MIDDLES = np.concatenate([[0.0], np.sqrt(np.maximum(_EDGES[:-1], 1e-8) * _EDGES[1:]), [8.5]])
LINE_L1 = 1.6
"""λ of TV-L1 along lines, divided by the cut-off in rad/px of Huber-ROF for the same image: tuned."""


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

    A feature size decides if it is given. Otherwise a lattice does: Huber-ROF is a high-pass filter with the
    cut-off √(αλ) radians per pixel, and λ minimises the power of the background that it leaves plus `PROTECT`
    times the power of the lattice that it removes (after Wiener); for the L1 models, λ is π divided by the
    longest period of the lattice. Without a lattice, or with one that is too weak, directions x and y use
    what neighbouring lines have in common; for both directions nothing is guessed.

    Parameters
    ----------
    image
        Shape (M, N), real and finite, scaled as the model will see it.
    model
        Its λ is the fallback.
    direction
        As in `tvtasks.solvers.solve`.
    feature_size
        Diameter of the largest feature to keep in the flat image, in pixels.
    median
        Rows and columns of a median filter that follows the step: the background need not contain what it
        removes.
    shortest
        Length in pixels below which no wave can belong to a lattice, as `ATOMIC` gives it for a calibrated
        image.

    Returns
    -------
    Choice

    Examples
    --------
    >>> import numpy as np
    >>> from tvtasks import HuberROF
    >>> choice = choose_background(np.eye(64), HuberROF(lam=0.5), feature_size=20)
    >>> choice.rule, round(choice.lam, 2)
    ('feature-size', 1.97)
    """
    f = np.asarray(image, np.float64)
    if feature_size is not None:
        return by_size(model, direction, feature_size)
    if min(f.shape) < LEAST_SIDE:
        return fallback(
            model,
            f"An image of {f.shape[0]} × {f.shape[1]} pixels is too small to find its λ; it needs at least "
            f"{LEAST_SIDE} × {LEAST_SIDE}. Give a feature_size.",
        )
    if np.ptp(f) <= 1e-12 * np.abs(f).max():
        return fallback(model, "The image is constant, so it has no background.")
    seen = f if median is None else median_filter(f, *median)
    found = spectrum(seen)
    interference = bool(found.peaks) and 1 / found.peaks[0].frequency < shortest
    if found.peaks and not interference:
        choice = by_lattice(seen, found, model, direction)
        if direction == "both" or not choice.fell_back:
            return choice
    if direction == "both":
        lack = "The spectrum shows no lattice, so it is unclear what the background is. "
        if interference:
            lack = (
                f"All waves in the spectrum are shorter than {ATOMIC * 1e9:g} nm: they are interference and "
                "not a lattice. "
            )
        return fallback(model, f"{lack}Give a feature_size: the largest feature to keep.")
    return by_coherence(f, model, direction)


def by_lattice(image: Array, found: Spectrum, model: Model, direction: Direction) -> Choice:
    """Choose the λ that best separates the background from the lattice."""
    first = found.peaks[0]
    evidence: dict[str, Any] = {
        "lattice_period_px": 1 / first.frequency,
        "lattice_waves": [[p.fy, p.fx] for p in found.peaks],
        "prominence": max(p.prominence for p in found.peaks),
    }
    apart = any(
        abs(first.fy * p.fx - first.fx * p.fy) > 0.2 * first.frequency * p.frequency for p in found.peaks
    )
    words = f"a lattice with a longest wave of {1 / first.frequency:.3g} pixels"
    if isinstance(model, HuberROF) and model.alpha == 0:
        return fallback(
            model, f"There is {words}, but with α = 0 there is no cut-off to adapt to it.", evidence
        )
    lattice = _waves(found.peaks, direction)
    c, values = _least(_background(image, found, direction), lattice, PROTECT[direction])
    kept = math.sqrt(np.sum((lattice.kappa / (lattice.kappa + c)) ** 2 * lattice.power) / lattice.power.sum())
    evidence |= {"cut_off_rad_per_px": math.sqrt(c), "lattice_amplitude_kept": kept}
    if kept < LEAST_KEPT or c >= _CS[-1]:
        return fallback(
            model,
            f"There is {words}, but it is so weak that it may be interference: the best background would "
            f"leave only {kept:.0%} of it. Give a feature_size.",
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
    # TV-L1 separates by width, not by wavelength; the constants are measured (docs/choosing-lambda.md).
    scale = model.alpha1 if isinstance(model, TGVL1) else 1.0
    lam = scale * (math.pi * first.frequency if direction == "both" else LINE_L1 * math.sqrt(c))
    reason = f"There is {words}; thinner features stay in the flat image."
    del evidence["lattice_amplitude_kept"]
    return Choice(lam, "lattice-period", "medium" if apart else "low", reason, evidence=evidence)


class _Bins(NamedTuple):
    kappa: NDArray[np.float64]
    power: NDArray[np.float64]


def _background(image: Array, found: Spectrum, direction: Direction) -> _Bins:
    """Return the power of everything except the lattice, by κ along the direction, per pixel.

    The cosine transform, whose modes the models damp exactly, gives the power of waves slower than the
    lattice; the windowed spectrum, in which a lattice does not leak, gives the rest. For both directions the
    square roots of the power at equal κ are averaged, so that a few strong modes of a step's straight edge do
    not stand for all.
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
