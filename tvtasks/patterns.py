"""Patterns of file names as a shell knows them: ``*.tif``, ``raw/2024*/**``."""

from collections.abc import Sequence
from fnmatch import fnmatchcase


def parts_of(pattern: str) -> tuple[str, ...]:
    """Return the parts of a pattern between its slashes (or backslashes), in lower case.

    A trailing slash stands for the contents of the folder: ``raw/`` is ``raw/**``.
    """
    pattern = pattern.casefold().replace("\\", "/")
    parts = [part for part in pattern.split("/") if part]
    return (*parts, "**") if parts and pattern.endswith("/") else tuple(parts)


def fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether the parts of a path match those of a pattern; both in lower case.

    ``**`` matches any number of folders, including none; at the end it matches everything below.

    Examples
    --------
    >>> fits(("raw", "2024-05", "a.tif"), parts_of("raw/2024*/**"))
    True
    >>> fits(("a.tif",), parts_of("**/*.tif")), fits(("raw",), parts_of("raw/**"))
    (True, False)
    """
    if not pattern:
        return not parts
    first, *others = pattern
    if first == "**" and others:
        return any(fits(parts[start:], others) for start in range(len(parts) + 1))
    if first == "**":
        return bool(parts)
    return bool(parts) and fnmatchcase(parts[0], first) and fits(parts[1:], others)
