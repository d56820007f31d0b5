"""Which files may be images that are to be restored, and what is said of the others."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from tvtasks import readers

logger = logging.getLogger(__name__)

MOST_KINDS = 100
"""Kinds of ignored files that are told; a program that numbers its endings would fill the log."""


class Candidates:
    """Tells which files may be images that are to be restored; of the others, says once per kind why not.

    Parameters
    ----------
    is_candidate
        Whether a file may be an image, by its name.
    has_recipe
        Whether there is a recipe for a file, by its path.
    """

    def __init__(self, is_candidate: Callable[[Path], bool], has_recipe: Callable[[Path], bool]) -> None:
        self._is_candidate = is_candidate
        self._has_recipe = has_recipe
        # Replaced, never changed: another thread may be reading it.
        self._ignored: dict[str, str] = {}

    @property
    def ignored(self) -> dict[str, str]:
        """A sentence for each kind of file that is left alone, by what the kind is called."""
        return dict(self._ignored)

    def takes(self, path: Path) -> bool:
        """Return whether a file may be an image that is to be restored."""
        if not self._is_candidate(path):
            self._say_not_read(path)
            return False
        if not self._has_recipe(path):
            kind = f"{path.parent}{os.sep}*{path.suffix.lower()}"
            self._say(
                kind,
                f"No recipe is meant for {path}: files like it are left alone. Give one with "
                f'--recipe "*{path.suffix.lower()}=NAME", or ignore them with --ignore.',
                logging.WARNING,
            )
            return False
        return True

    def _say_not_read(self, path: Path) -> None:
        ending = path.suffix.lower()
        if ending in self._ignored or ending in readers.endings() or not path.is_file():
            return
        if not readers.is_companion(path):
            kind = f"files ending in {ending}" if ending else "files without an ending"
            self._say(ending, f"{path.name}: {kind} are not read, and are left alone.", logging.INFO)

    def _say(self, kind: str, sentence: str, level: int) -> None:
        if kind not in self._ignored and len(self._ignored) < MOST_KINDS:
            self._ignored = self._ignored | {kind: sentence}
            logger.log(level, sentence)
