"""λ from the size of the features to keep."""

from __future__ import annotations

import math
import re

from tvtasks.choosing.choice import Choice, fallback
from tvtasks.errors import RecipeError
from tvtasks.models import TGVL1, HuberROF, Model
from tvtasks.operators import Direction

_METRES = {"m": 1.0, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "μm": 1e-6, "nm": 1e-9, "å": 1e-10, "pm": 1e-12}


def by_size(model: Model, direction: Direction, size: float) -> Choice:
    """Choose the λ at which a feature of this diameter, in pixels, just stays in the flat image.

    Huber-ROF, where it is linear, halves a wave of this wavelength: λ = (2π/size)²/α. The L1 models keep a
    disc out of the background below λ = 4/size, and a piece of a line below 2/size (TGV-L1: times α1).

    References
    ----------
    T. F. Chan, S. Esedoglu, "Aspects of total variation regularized L1 function approximation", SIAM Journal
    on Applied Mathematics 65 (2005) 1817–1837, doi:10.1137/040604297.
    """
    evidence = {"feature_size_px": size}
    if isinstance(model, HuberROF):
        if model.alpha == 0:
            return fallback(model, "With α = 0, Huber-ROF has no cut-off that a size could set.", evidence)
        lam = (2 * math.pi / size) ** 2 / model.alpha
    else:
        lam = (4 if direction == "both" else 2) / size * (model.alpha1 if isinstance(model, TGVL1) else 1)
    reason = f"Features of up to {size:.3g} pixels stay in the flat image."
    return Choice(lam, "feature-size", "high", reason, evidence=evidence)


def size_in_pixels(
    size: str | float, pixel_size: tuple[float, float] | None, pixel_unit: str, direction: Direction = "both"
) -> float:
    """Return a size such as ``"2 nm"`` in pixels; a bare number, or one with ``px``, is in pixels already.

    Parameters
    ----------
    size
        The size as a user writes it.
    pixel_size, pixel_unit
        (dy, dx) and their unit, as in `Micrograph`.
    direction
        Direction of the size; for ``both``, the geometric mean of dy and dx is used.

    Raises
    ------
    RecipeError
        It is not a size, or it is a length and the image is not calibrated.

    Examples
    --------
    >>> size_in_pixels("2 nm", (1e-10, 1e-10), "m")
    20.0
    """
    try:
        value, unit = parsed(size)
    except ValueError as error:
        raise RecipeError(f"feature_size = {size!r} is not allowed: it {error}.") from None
    if unit in ("", "px"):
        return value
    sides = metres(pixel_size, pixel_unit)
    if sides is None:
        raise RecipeError(
            f"feature_size = {size!r} is a length, but the image is not calibrated. Give the size in pixels."
        )
    dy, dx = sides
    return value * _METRES[unit] / {"x": dx, "y": dy, "both": math.sqrt(dy * dx)}[direction]


def metres(pixel_size: tuple[float, float] | None, pixel_unit: str) -> tuple[float, float] | None:
    """Return the sides of a pixel in metres; None if the image is not calibrated."""
    if pixel_size is None or pixel_unit.lower() not in _METRES:
        return None
    dy, dx = pixel_size
    return dy * _METRES[pixel_unit.lower()], dx * _METRES[pixel_unit.lower()]


def parsed(size: str | float) -> tuple[float, str]:
    """Return the number and the unit, in lower case, of a size; a ValueError describes what it must be."""
    found = re.fullmatch(r"\s*([0-9.]+(?:e[-+]?[0-9]+)?)\s*([a-zµμå]*)\s*", str(size), re.IGNORECASE)
    try:
        value, unit = (float(found[1]), found[2].lower()) if found else (math.nan, "")
    except ValueError:
        value, unit = math.nan, ""
    if not (0 < value < math.inf) or unit not in ("", "px", *_METRES):
        raise ValueError("must be a number of pixels, or a length such as '2 nm'")
    return value, unit
