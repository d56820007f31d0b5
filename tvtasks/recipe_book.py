"""Which recipe each file of a folder gets."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic.dataclasses import dataclass

from tvtasks.errors import RecipeError
from tvtasks.models import STRICT
from tvtasks.patterns import fits, parts_of
from tvtasks.recipe import FRAMES, Recipe, canonical_json, preset_names


@dataclass(frozen=True, config=STRICT)
class RecipeBook:
    """Which recipe a file gets: the first whose pattern matches.

    Attributes
    ----------
    rules
        Pairs of a pattern, in lower case, and a recipe. A pattern without a slash matches the file's name
        (``stm_*``); a pattern with a slash matches its path relative to the watched folder
        (``raw/2024*/**``), where ``**`` stands for any number of folders. Upper and lower case do not matter.
    """

    rules: tuple[tuple[str, Recipe], ...]

    @classmethod
    def load(cls, specifications: Iterable[str | Recipe], *, frames: str = "") -> RecipeBook:
        """Load from texts of the form ``RECIPE`` or ``PATTERN=RECIPE``, where RECIPE is a preset or a file.

        A recipe without a pattern is for every file that matches nothing before it. `frames`, if it is not
        empty, takes the place of that of every recipe.

        Raises
        ------
        RecipeError
            A recipe does not exist or is invalid, or `frames` is.
        """
        rules = []
        for specification in specifications:
            if isinstance(specification, Recipe):
                rules.append(("*", specification))
                continue
            pattern, equals, name = specification.partition("=")
            if not equals or Path(specification).exists():
                pattern, name = "*", specification
            elif not parts_of(pattern) or Path(pattern).is_absolute():
                raise RecipeError(
                    f"The pattern in {specification!r} can never match a file: give a file name such as "
                    "'stm_*', or a path relative to the watched folder such as 'raw/2024*/**'."
                )
            rules.append((pattern.casefold().replace("\\", "/"), Recipe.load(name)))
        if not rules:
            raise RecipeError(
                f"Give a recipe: one of {', '.join(preset_names())}, or the path of a TOML file."
            )
        if not frames:
            return cls(tuple(rules))
        if not re.fullmatch(FRAMES, frames):
            raise RecipeError(
                f'frames = {frames!r} is not allowed: give "all", or numbers such as "0-9, 20".'
            )
        return cls(
            tuple((pattern, recipe.model_copy(update={"frames": frames})) for pattern, recipe in rules)
        )

    def choose(self, path: Path, folder: Path | None = None) -> Recipe | None:
        """Return the recipe for a file; None if no pattern matches.

        Parameters
        ----------
        path
            The file.
        folder
            The watched folder. If not given, or if the file is elsewhere, a pattern with a slash may be
            relative to any of the folders above the file.
        """
        parts = [part.casefold() for part in path.parts]
        starts = range(len(parts))
        if folder is not None and path.is_relative_to(folder):
            starts = range(len(folder.parts), len(folder.parts) + 1)
        return next((recipe for pattern, recipe in self.rules if _is_for(pattern, parts, starts)), None)

    @property
    def digest(self) -> str:
        """SHA-256 of the rules, hexadecimal; if there is a single recipe for every file, of that recipe."""
        if len(self.rules) == 1 and self.rules[0][0] == "*":
            return self.rules[0][1].file_digest
        rules = [(pattern, recipe.file_digest) for pattern, recipe in self.rules]
        return hashlib.sha256(canonical_json(rules).encode()).hexdigest()


def _is_for(pattern: str, parts: Sequence[str], starts: range) -> bool:
    """Return whether a pattern matches the name of a file, or its path from one of the given starts."""
    wanted = parts_of(pattern)
    if "/" not in pattern:
        return fits(parts[-1:], wanted)
    return any(fits(parts[start:], wanted) for start in starts)
