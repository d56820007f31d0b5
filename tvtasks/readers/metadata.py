"""What vendors write beside the pixels: lengths in many spellings, and values that JSON does not know."""

import math
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

_METRES = {
    "m": 1.0,
    "cm": 1e-2,
    "mm": 1e-3,
    "um": 1e-6,
    "nm": 1e-9,
    "å": 1e-10,
    "pm": 1e-12,
    "meter": 1.0,
    "metre": 1.0,
    "centimeter": 1e-2,
    "centimetre": 1e-2,
    "millimeter": 1e-3,
    "millimetre": 1e-3,
    "micron": 1e-6,
    "micrometer": 1e-6,
    "micrometre": 1e-6,
    "nanometer": 1e-9,
    "nanometre": 1e-9,
    "angstrom": 1e-10,
    "ångström": 1e-10,
    "picometer": 1e-12,
    "picometre": 1e-12,
}


def metres(unit: str) -> float | None:
    """Return how many metres a unit of length is; None where it is not one.

    >>> metres("µm"), metres("Angstroms"), metres("pixel")
    (1e-06, 1e-10, None)
    """
    # ImageJ writes the micro sign as an escape; NFKC joins the two signs each for micro and for ångström.
    word = unicodedata.normalize("NFKC", unit.replace("\\u00B5", "µ")).strip().lower().replace("μ", "u")
    return _METRES.get(word) or (_METRES.get(word.removesuffix("s")) if len(word) > len("ms") else None)


def pixel_size(dy: object, dx: object, unit: str = "m") -> tuple[float, float] | None:
    """Return (dy, dx) in metres; None where they are not two positive lengths."""
    factor = metres(unit)
    if factor is None:
        return None
    sizes = []
    for size in (dy, dx):
        try:
            number = float(size) * factor  # type: ignore[arg-type]  # what a file holds may be anything
        except (TypeError, ValueError):
            return None
        if not (math.isfinite(number) and number > 0):
            return None
        sizes.append(number)
    return sizes[0], sizes[1]


def json_safe(value: object) -> Any:
    """Return `value` with everything that JSON does not know written as text; arrays become lists."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    finite = isinstance(value, float) and math.isfinite(value)
    if finite or value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [json_safe(item) for item in value]
    if isinstance(value, bytes):
        with suppress(UnicodeDecodeError):
            return value.decode()
        value = f"{len(value)} bytes"
    return str(value)
