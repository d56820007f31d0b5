"""Quantities as text for sentences."""

from __future__ import annotations

from datetime import datetime


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
