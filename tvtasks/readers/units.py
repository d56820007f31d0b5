"""Convert the vendors' spellings of units to the SI unit and its factor.

Units that are not in the table are not guessed: an image in an unknown unit keeps it, and an image without a
unit of length has no pixel size.
"""

import math
import re
import unicodedata

_PREFIXES = {
    "f": 1e-15,
    "p": 1e-12,
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "": 1.0,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
}
_SYMBOLS = ("m", "A", "V", "N", "Hz", "s", "W", "C", "F", "eV", "Pa", "K", "Ω", "S", "T", "J")
_FACTORS = {
    prefix + symbol: (factor, symbol) for symbol in _SYMBOLS for prefix, factor in _PREFIXES.items()
} | {
    "cm": (1e-2, "m"),
    "inch": (2.54e-2, "m"),
    "in": (2.54e-2, "m"),
    "mil": (2.54e-5, "m"),
    "Å": (1e-10, "m"),
    "Ang": (1e-10, "m"),
    "deg": (math.pi / 180, "rad"),
    "°": (math.pi / 180, "rad"),
    "rad": (1.0, "rad"),
    "mrad": (1e-3, "rad"),
}
_WORDS = {
    f"{prefix}{word}": (factor, symbol)
    for names, symbol in (
        (("meter", "metre"), "m"),
        (("ampere", "amp"), "A"),
        (("volt",), "V"),
        (("newton",), "N"),
        (("hertz",), "Hz"),
        (("second",), "s"),
    )
    for word in names
    for prefix, factor in (
        ("", 1.0),
        ("centi", 1e-2),
        ("milli", 1e-3),
        ("micro", 1e-6),
        ("nano", 1e-9),
        ("pico", 1e-12),
        ("femto", 1e-15),
        ("kilo", 1e3),
    )
} | {
    "micron": (1e-6, "m"),
    "microns": (1e-6, "m"),
    "inches": (2.54e-2, "m"),
    "angstrom": (1e-10, "m"),
    "ångström": (1e-10, "m"),
    "ångstrom": (1e-10, "m"),
    "degree": (math.pi / 180, "rad"),
    "count": (1.0, "counts"),
    "ct": (1.0, "counts"),
}
# If only a length is possible, case does not matter, except for M, which is not a length.
_LENGTHS = {
    symbol.lower(): factor for symbol, (factor, si) in _FACTORS.items() if si == "m" and symbol != "Mm"
}


# Dots per inch of screens and printers; a microscope's scale is none of them.
_PRINTS = (72, 96, 100, 120, 144, 150, 180, 200, 240, 254, 300, 350, 360, 400, 600, 720, 1200, 2400)
_PER_INCH = {"m": 0.0254, "cm": 2.54, "inch": 1.0, "in": 1.0}


def to_si(unit: str, *, length: bool = False) -> tuple[float, str] | None:
    """Return the factor to the SI unit and that unit; None if the unit is unknown.

    Parameters
    ----------
    unit
        As in the file: ``nm``, ``µA``, ``Angstroms``, ``cts`` …
    length
        Whether the value can only be a length (the side of a pixel, a height), so that ``A`` is an ångström
        and not an ampere.

    >>> to_si("nA"), to_si("A"), to_si("A", length=True), to_si("arb. u.")
    ((1e-09, 'A'), (1.0, 'A'), (1e-10, 'm'), None)
    """
    if length:
        factor = metres(unit)
        return None if factor is None else (factor, "m")
    word = _plain(unit)
    low = word.lower()
    return _FACTORS.get(word) or _WORDS.get(low) or _WORDS.get(low.removesuffix("s"))


def metres(unit: str) -> float | None:
    """Return the metres in a unit of length; None if it is not one.

    >>> metres("µm"), metres("Angstroms"), metres("A"), metres("pixel")
    (1e-06, 1e-10, 1e-10, None)
    """
    word = _plain(unit).lower()
    if word == "a":
        return _LENGTHS["å"]
    for spelling in (word, word.removesuffix("s") if len(word) > len("ms") else word):
        if (factor := _LENGTHS.get(spelling)) is not None:
            return factor
        if (found := _WORDS.get(spelling)) and found[1] == "m":
            return found[0]
    return None


def is_for_prints(unit: str, across: float, down: float) -> bool:
    """Return whether so many pixels per unit are a resolution of screens and printers.

    Pictures carry it, and programs take it over from them; it says nothing of what the picture shows.

    >>> is_for_prints("inch", 300, 300), is_for_prints("cm", 1e6, 1e6)
    (True, False)
    """
    inches = _PER_INCH.get(unit)
    if inches is None or not math.isclose(across, down, rel_tol=1e-6):
        return False
    return any(abs(across * inches / dots - 1) < 0.005 for dots in _PRINTS)


def _plain(unit: str) -> str:
    # ImageJ escapes the micro sign; NFKC joins the two signs each for micro, ångström and ohm.
    word = unicodedata.normalize("NFKC", unit.replace("\\u00B5", "µ")).strip().replace("μ", "u")
    # Berkeley's EMD writes [n_m], with a line between the prefix and the unit.
    return re.sub(r"^\[?(\w)_(\w+?)\]?$", r"\1\2", word)


def pixel_size(
    dy: object, dx: object, unit: str = "m", unit_x: str | None = None
) -> tuple[float, float] | None:
    """Return (dy, dx) in metres; None if they are not two positive lengths.

    `unit_x` is the unit of `dx` if it differs from that of `dy`.
    """
    sizes = []
    for size, factor in ((dy, metres(unit)), (dx, metres(unit if unit_x is None else unit_x))):
        try:
            number = float(size) * factor  # type: ignore[arg-type,operator]  # a file may hold anything
        except (TypeError, ValueError, OverflowError):
            return None
        if not (math.isfinite(number) and number > 0):
            return None
        sizes.append(number)
    return sizes[0], sizes[1]
