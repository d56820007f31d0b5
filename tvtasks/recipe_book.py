"""Which recipe each file of a folder gets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic.dataclasses import dataclass

from tvtasks.errors import RecipeError
from tvtasks.models import STRICT
from tvtasks.patterns import fits, parts_of
from tvtasks.recipe import Recipe, canonical_json, preset_names


@dataclass(frozen=True, config=STRICT)
class RecipeBook:
    """Which recipe a file gets: the first whose pattern fits.

    Attributes
    ----------
    rules
        Pairs of a pattern, in lower case, and a recipe. A pattern without a slash is for the file's name
        (``stm_*``); one with a slash is for its path relative to the watched folder (``raw/2024*/**``), where
        ``**`` stands for any number of folders. The case of letters does not matter.
    """

    rules: tuple[tuple[str, Recipe], ...]

    @classmethod
    def load(cls, specifications: Iterable[str | Recipe]) -> RecipeBook:
        """Load from texts of the form ``RECIPE`` or ``PATTERN=RECIPE``, a recipe being a preset or a file.

        A recipe among them is for every file that none before it is for.
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
                    f"The pattern in {specification!r} cannot fit any file: give a file name such as "
                    "'stm_*', or a path relative to the watched folder such as 'raw/2024*/**'."
                )
            rules.append((pattern.casefold().replace("\\", "/"), Recipe.load(name)))
        if not rules:
            raise RecipeError(
                f"Give a recipe: one of {', '.join(preset_names())}, or the path of a TOML file."
            )
        return cls(tuple(rules))

    def choose(self, path: Path, folder: Path | None = None) -> Recipe | None:
        """Return the recipe for a file, None where no pattern fits.

        Parameters
        ----------
        path
            The file.
        folder
            The watched folder that it lies in. If not given, or if the file lies elsewhere, any of the
            folders above the file may be the one that a pattern with a slash is relative to.
        """
        parts = [part.casefold() for part in path.parts]
        starts = range(len(parts))
        if folder is not None and path.is_relative_to(folder):
            starts = range(len(folder.parts), len(folder.parts) + 1)
        return next((recipe for pattern, recipe in self.rules if _is_for(pattern, parts, starts)), None)

    @property
    def digest(self) -> str:
        """SHA-256 of the rules, hexadecimal; of the one recipe alone where it is for every file."""
        if len(self.rules) == 1 and self.rules[0][0] == "*":
            return self.rules[0][1].file_digest
        rules = [(pattern, recipe.file_digest) for pattern, recipe in self.rules]
        return hashlib.sha256(canonical_json(rules).encode()).hexdigest()


def _is_for(pattern: str, parts: Sequence[str], starts: range) -> bool:
    """Return whether a pattern fits the name of a file, or its path from one of some places in it on."""
    wanted = parts_of(pattern)
    if "/" not in pattern:
        return fits(parts[-1:], wanted)
    return any(fits(parts[start:], wanted) for start in starts)
