"""Quantities as text for sentences, and text that is safe to show."""

from __future__ import annotations

import re
from datetime import datetime

# What a terminal may take for a command, or what reorders the line: C0 (ESC begins most commands), DEL, C1,
# the marks of bidirectional text, other line separators, and surrogates of names that are not valid Unicode.
_CONTROLS = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_UNSAFE = re.compile(f"[{_CONTROLS}]")
_UNSAFE_IN_LINE = re.compile(f"[{_CONTROLS}\t\n]")

_TAKES_PREFIX = {"m", "A", "V", "N", "Hz", "s"}


def amount(size: float) -> str:
    """Return a number of bytes as text, in a suitable unit.

    Examples
    --------
    >>> amount(312_000_000), amount(1.2e12)
    ('312 MB', '1.2 TB')
    """
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB" if size < 1000 else f"{size / 1000:.1f} TB"


def duration(seconds: float) -> str:
    """Return a duration as text, in a suitable unit.

    Examples
    --------
    >>> duration(45), duration(720), duration(18_000), duration(260_000)
    ('45 s', '12 min', '5 h', '3 days')
    """
    for unit, size, limit in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < limit:
            return f"{max(seconds, 0) / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def with_prefix(value: float, unit: str) -> str:
    """Write a value with the prefix that makes its number short: 2e-9 m is 2 nm.

    Examples
    --------
    >>> with_prefix(2e-9, "m"), with_prefix(1500, "counts")
    ('2 nm', '1.5e+03 counts')
    """
    factor, prefixed = prefix(value, unit)
    return f"{value / factor:.3g} {prefixed}".strip()


def prefix(value: float, unit: str) -> tuple[float, str]:
    """Return the factor and the prefixed unit that make the number of a value short."""
    if unit in _TAKES_PREFIX and value:
        for factor, letter in ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f")):
            if abs(value) >= factor * 0.999:
                return factor, letter + unit
    return 1.0, unit


def count(number: int, noun: str) -> str:
    """Return a number with its noun as text; the noun takes an s in the plural.

    Examples
    --------
    >>> count(1, "file"), count(12_000, "file")
    ('1 file', '12,000 files')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def moment(when: datetime | str) -> str:
    """Return a time in this computer's time zone as text: hour, minute, and the date unless it is today."""
    if isinstance(when, str):
        when = datetime.fromisoformat(when)
    when = when.astimezone()
    return f"{when:%H:%M}" if when.date() == datetime.now().date() else f"{when:%Y-%m-%d %H:%M}"


def visible(text: str) -> str:
    r"""Return text with control characters as escape sequences; line breaks and tabs stay.

    A file name may hold any character. Printed as it is, it could move the cursor, set the title of the
    window, or show a line in another order than it is.

    Examples
    --------
    >>> print(visible("scan\x1b[2J.tif"), visible("scan\u202efit.exe"))
    scan\x1b[2J.tif scan\u202efit.exe
    """
    return _UNSAFE.sub(_escaped, text)


def in_a_line(text: str) -> str:
    r"""Return text as `visible` does, with line breaks and tabs as escape sequences too.

    Examples
    --------
    >>> print(in_a_line("scan\nAll is well.tif"))
    scan\nAll is well.tif
    """
    return _UNSAFE_IN_LINE.sub(_escaped, text)


def safe_json(text: str) -> str:
    r"""Return JSON with the control characters in its strings as JSON's escape sequences.

    Examples
    --------
    >>> print(safe_json('"scan\x9b1m"'))
    "scan\u009b1m"
    """
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode("ascii")
