"""Which files may be images to restore, and why the others are left alone."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from tvtasks import readers

logger = logging.getLogger(__name__)

MOST_KINDS = 100
"""Kinds of ignored files to report; a program that numbers its endings would fill the log."""


class Candidates:
    """Selects the files that may be images to restore; reports once for each other kind why it is left alone.

    Parameters
    ----------
    is_candidate
        Returns whether a file may be an image, by its name.
    has_recipe
        Returns whether there is a recipe for a path.
    """

    def __init__(self, is_candidate: Callable[[Path], bool], has_recipe: Callable[[Path], bool]) -> None:
        self._is_candidate = is_candidate
        self._has_recipe = has_recipe
        # Replaced, never changed: another thread may be reading it.
        self._ignored: dict[str, str] = {}

    @property
    def ignored(self) -> dict[str, str]:
        """A sentence for each kind of file that is left alone, by the name of the kind."""
        return dict(self._ignored)

    def takes(self, path: Path) -> bool:
        """Return whether a file may be an image to restore."""
        if not self._is_candidate(path):
            self._say_not_read(path)
            return False
        if not self._has_recipe(path):
            kind = f"{path.parent}{os.sep}*{path.suffix.lower()}"
            self._say(
                kind,
                f"No --recipe pattern matches {path}: files like it are left alone. Give them a recipe with "
                f'--recipe "*{path.suffix.lower()}=NAME", or exclude them with --ignore.',
                logging.WARNING,
            )
            return False
        return True

    def _say_not_read(self, path: Path) -> None:
        ending = path.suffix.lower()
        if readers.is_result(path):
            sentence = f"{path.name} is a result of tvtasks and no image: files like it are left alone."
            self._say("results", sentence, logging.INFO)
            return
        if ending in self._ignored or ending in readers.endings() or not path.is_file():
            return
        if not readers.is_companion(path):
            kind = f"files ending in {ending}" if ending else "files without an ending"
            self._say(
                ending, f"{path.name}: tvtasks does not read {kind} and leaves them alone.", logging.INFO
            )

    def _say(self, kind: str, sentence: str, level: int) -> None:
        if kind not in self._ignored and len(self._ignored) < MOST_KINDS:
            self._ignored = self._ignored | {kind: sentence}
            logger.log(level, sentence)
