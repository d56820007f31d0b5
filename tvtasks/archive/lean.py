"""What keeps results small: arrays rounded far below the noise, and arrays that follow from others.

An array is rounded to multiples of a power of two, so its last bits are zeros, which compress to nothing. An
array that is a difference of others is not stored; its formula is, and `tvtasks.archive.load` computes it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvtasks.micrograph import Region
from tvtasks.restoration import Restoration

INPUTS = frozenset({"raw", "opposite_scan"})
"""Arrays that the instrument wrote; they keep all bits."""

_FRACTION = 1 / 16  # of the noise, whose variance rounding raises by 0.03 %
_SIGNIFICANT = 1 / 32  # of a value; an error estimate is uncertain by more
_LEAST_SIDE = 8  # pixels; in smaller images the noise is unknown
_SIDE = 1024  # pixels; the noise is measured in the middle
_DARK = 5  # percentile of brightness at which the noise is taken: of counts, what is dark has less
_TERM = re.compile(r"(\w+)(\[.*\])?")


@dataclass(frozen=True)
class Rounding:
    """How the derived arrays of a run are rounded.

    Attributes
    ----------
    noise
        Standard deviation of the noise where the raw image is dark, in its unit.
    quantum
        A power of two, at most `fraction` of `noise`; arrays in the unit of the image are multiples of it.
    fraction
        The most that `quantum` is, in units of `noise`.
    significant
        The most that errors, and arrays in other units, change, as a fraction of each value.
    """

    noise: float
    quantum: float
    fraction: float = _FRACTION
    significant: float = _SIGNIFICANT

    @property
    def record(self) -> dict[str, float]:
        """The rounding, safe for JSON."""
        return asdict(self)

    def rounded(self, array: NDArray[Any], *, relative: bool) -> NDArray[Any]:
        """Return an array of floats, rounded; `relative` for errors and arrays in other units.

        Examples
        --------
        >>> Rounding(noise=1.0, quantum=0.25).rounded(np.array([0.3, 7.2]), relative=False)
        array([0.25, 7.25])
        """
        values = array.astype(np.float64)
        if relative:
            part, exponent = np.frexp(values)
            with np.errstate(over="ignore"):  # next to the largest number
                near_it = np.ldexp(np.rint(part / self.significant) * self.significant, exponent)
            return np.where(np.isfinite(near_it), near_it, values).astype(array.dtype)
        near = np.abs(values) < self.quantum * 2.0**52  # beyond, neighbouring numbers are further apart
        steps = np.divide(values, self.quantum, out=np.zeros_like(values), where=near)
        return np.where(near, np.rint(steps) * self.quantum + 0.0, values).astype(array.dtype)  # no -0.0


def rounding_for(restoration: Restoration) -> Rounding | None:
    """Return how to round the arrays of a restoration; None if its image shows no noise."""
    from tvtasks.choosing.noise import estimate_noise  # noqa: PLC0415 - brings in scipy
    from tvtasks.choosing.spectrum import middle  # noqa: PLC0415

    raw = restoration.micrograph.data[restoration.region.slices]
    if min(raw.shape) < _LEAST_SIDE:
        return None
    values = middle(raw, _SIDE).astype(np.float64)
    with np.errstate(all="ignore"):  # values near the largest number overflow, and have no noise then
        found = estimate_noise(values)
        dark = np.sqrt(found.variance(np.asarray(np.percentile(values, _DARK))))
    noise = min(found.sigma, float(dark))
    if raw.dtype.kind in "iu":
        noise = max(noise, 1 / math.sqrt(12))  # that of whole numbers
    if not (math.isfinite(noise) and noise > np.finfo(np.float32).tiny):
        return None
    return Rounding(noise, 2.0 ** math.floor(math.log2(noise * _FRACTION)))


def stored_arrays(restoration: Restoration, rounding: Rounding | None = None) -> dict[str, NDArray[Any]]:
    """Return the arrays of a result, in this machine's byte order and with booleans as 0 and 1.

    HDF5 has no booleans; viewers do not show the enumeration that h5py writes in their place.

    Parameters
    ----------
    restoration
        The restoration.
    rounding
        How to round all but the inputs; None keeps all bits.
    """
    found = {
        name: array.astype(np.uint8 if array.dtype == bool else array.dtype.newbyteorder("="), copy=False)
        for name, array in {"raw": restoration.micrograph.data, **restoration.arrays}.items()
    }
    if rounding is None:
        return found
    return {
        name: array
        if name in INPUTS or array.dtype.kind != "f"
        else rounding.rounded(array, relative=name in restoration.unitless or name.endswith("_errors"))
        for name, array in found.items()
    }


def lean(
    restoration: Restoration, rounding: Rounding | None
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return the arrays of a result, and the formula of each that follows from the others.

    An array that differs from its formula by more than rounding explains has none, and is stored.
    """
    arrays = stored_arrays(restoration, rounding)
    formulas: dict[str, str] = {}
    allowed = 3 * rounding.quantum if rounding else 0.0
    for name, formula in _candidates(restoration, arrays):
        made = computed(formula, arrays, restoration.region, arrays[name].dtype)
        if made.shape == arrays[name].shape and _distance(made, arrays[name]) <= allowed:
            arrays[name], formulas[name] = made, formula
    return arrays, formulas


def formulas_of(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the formulas of the arrays of a run that follow from others, by name."""
    return {name: about["formula"] for name, about in record["arrays"].items() if "formula" in about}


def as_recorded(restoration: Restoration, record: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a restoration rounded and computed as those of a run were, to compare the two."""
    rounding = record.get("rounding")  # that of then: the noise is not measured again
    found = stored_arrays(restoration, Rounding(**rounding) if rounding else None)
    for name, formula in formulas_of(record).items():
        found[name] = computed(formula, found, restoration.region, found[name].dtype)
    return found


def computed(
    formula: str, arrays: Mapping[str, NDArray[Any]], region: Region, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Return what a formula gives: a difference of arrays, computed in float64.

    Parameters
    ----------
    formula
        Names of arrays with minus signs between them. A name may be followed by an index: the region of the
        raw image, or ``[:, newaxis]`` for a column.
    arrays
        The arrays, by name.
    region
        The part of the raw image that was restored.
    dtype
        Of the result.

    Raises
    ------
    KeyError, ValueError
        The formula cannot be computed from these arrays.
    """
    first, *rest = (_term(term, arrays, region) for term in formula.split(" - "))
    total = first.astype(np.float64)
    for term in rest:
        total = total - term
    return total.astype(dtype)


def _term(text: str, arrays: Mapping[str, NDArray[Any]], region: Region) -> NDArray[Any]:
    match = _TERM.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no array of a formula")
    name, index = match.groups()
    if name == "raw":
        return arrays[name][region.slices]
    return arrays[name][:, np.newaxis] if index else arrays[name]


def _candidates(restoration: Restoration, arrays: Mapping[str, NDArray[Any]]) -> Iterable[tuple[str, str]]:
    top, bottom, left, right = restoration.region
    if {"flat", "background"} <= arrays.keys():
        yield "flat", f"raw[{top}:{bottom}, {left}:{right}] - background"
    if {"surface", "background", "offsets", "scars"} <= arrays.keys():
        rows = getattr(restoration.recipe.lines, "fast_axis", "x") == "x"
        yield "surface", f"background - offsets{'[:, newaxis]' if rows else ''} - scars"


def _distance(one: NDArray[Any], other: NDArray[Any]) -> float:
    with np.errstate(invalid="ignore"):
        return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0.0))
