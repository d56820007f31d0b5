"""Which files and folders below the watched folder are ignored."""

import re
from collections.abc import Iterable, Sequence
from fnmatch import translate
from pathlib import Path

from tvtasks.errors import ConfigurationError
from tvtasks.patterns import fits, parts_of

JUNK = (
    ".*",
    "~*",
    "*~",
    "*.tmp",
    "*.part",
    "*.partial*",
    "*.crdownload",
    "thumbs.db",
    "desktop.ini",
    "@eadir",
    "@recycle",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "system volume information",
    "lost+found",
)
"""Names, in lower case, of files and folders that never hold a finished image."""


class IgnoreRules:
    """Decides which paths to ignore: junk, and what the user excludes.

    Parameters
    ----------
    folder
        The watched folder, absolute and without symbolic links.
    patterns
        What to ignore besides `JUNK`, in upper or lower case. A pattern without a slash matches files and
        folders of that name anywhere (``*_test*``); a pattern with a slash matches a path relative to
        `folder` (``calibration/*.tif``, ``old/**``). An ignored folder is ignored with its contents.
    excluded
        Further folders to ignore; relative to `folder`, or absolute.

    Raises
    ------
    ConfigurationError
        A pattern can never match.
    """

    def __init__(self, folder: Path, patterns: Sequence[str] = (), excluded: Iterable[Path] = ()) -> None:
        self._folder = folder
        names = [*JUNK]
        self._paths: list[tuple[str, ...]] = []
        for pattern in patterns:
            if not (parts := parts_of(pattern)) or Path(pattern).is_absolute():
                raise ConfigurationError(
                    f"The --ignore pattern {pattern!r} can never match a file: give a name such as "
                    f"'*_test*', or a path relative to {folder} such as 'calibration/*.tif'."
                )
            if len(parts) == 1 and parts != ("**",):
                names.append(parts[0])
            else:
                self._paths.append(parts)
        self._names = re.compile("|".join(translate(name) for name in names))
        self._excluded = [(folder / other).resolve() for other in excluded]

    def ignored(self, path: Path) -> bool:
        """Return whether a path is ignored, is inside an ignored folder, or is outside the watched one."""
        if not path.is_relative_to(self._folder):
            return True
        parts = path.relative_to(self._folder).parts
        return any(self._hit(parts[:depth]) for depth in range(1, len(parts) + 1)) or self._is_excluded(path)

    def ignored_in(self, folder: Path, name: str) -> bool:
        """Return the same for a name in a folder that is not ignored itself; faster."""
        parts = (*folder.relative_to(self._folder).parts, name) if self._paths else (name,)
        return self._hit(parts) or (bool(self._excluded) and self._is_excluded(folder / name))

    def _hit(self, parts: tuple[str, ...]) -> bool:
        parts = tuple(part.casefold() for part in parts)
        return bool(self._names.match(parts[-1])) or any(fits(parts, pattern) for pattern in self._paths)

    def _is_excluded(self, path: Path) -> bool:
        return any(path.is_relative_to(other) for other in self._excluded)
