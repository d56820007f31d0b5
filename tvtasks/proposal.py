"""A recipe for one image: the steps of another recipe, each with a λ chosen for this image."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from tvtasks.choosing import Choice, size_in_pixels
from tvtasks.micrograph import Micrograph
from tvtasks.recipe import Recipe
from tvtasks.restoration import Restoration, restore, within_memory
from tvtasks.steps import STEPS, Minimised

NAMELESS = {"name": "recipe", "description": ""}
"""What a recipe changes to take the name of its file."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """What tvtasks proposes for an image.

    Attributes
    ----------
    recipe
        The recipe, with a number for every λ.
    choices
        How each λ was chosen, by step; a fallback where none could be chosen.
    restoration
        The image restored by the recipe.
    """

    recipe: Recipe
    choices: Mapping[str, Choice]
    restoration: Restoration


def propose(
    micrograph: Micrograph,
    recipe: Recipe,
    *,
    steps: Collection[str] = tuple(STEPS),
    feature_size: str | float | None = None,
) -> Proposal:
    """Restore an image with ``lam = "auto"`` in some steps, and keep the numbers.

    Contrast gets the λ of the background, as in the paper, if both have the same model.

    Parameters
    ----------
    micrograph
        The image.
    recipe
        Its steps, models and directions are kept; its values of λ are the fallback.
    steps
        Steps whose λ is chosen, besides those whose λ the recipe itself leaves open.
    feature_size
        The largest feature to keep in the flat image: pixels, or a length such as ``"2 nm"``. It sets the λ
        of the background.

    Returns
    -------
    Proposal

    Raises
    ------
    UnusableImageError, RecipeError
        As `tvtasks.restore` raises them, or because of an impossible size.
    """
    recipe = recipe.for_technique(micrograph.technique, micrograph.name)
    asked: dict[str, Minimised] = {}
    for name, table in recipe.tables.items():
        step = STEPS[name]
        if not isinstance(table, Minimised):
            continue
        if step.follows:
            if step.follows in asked and asked[step.follows].model == table.model:
                asked[name] = replace(table, choose="auto")
        elif name in steps:
            size = table.feature_size
            if feature_size is not None and step.sized:
                size = size_in_pixels(
                    feature_size, micrograph.pixel_size, micrograph.pixel_unit, table.direction
                )
            asked[name] = replace(table, choose="auto", feature_size=size)
    asking = recipe.model_copy(update=asked)
    with within_memory(micrograph, asking):
        restoration = restore(micrograph, asking)
    found = {
        step.name: replace(
            getattr(recipe, step.name), lam=step.parameters["lam"], choose=None, feature_size=None
        )
        for step in restoration.steps
        if step.choice
    }
    proposed = recipe.model_copy(update=found)
    choices = {name: choice for name, choice in restoration.choices.items() if not STEPS[name].follows}
    return Proposal(proposed, choices, replace(restoration, recipe=proposed))


def toml(proposal: Proposal, *, named: bool = True) -> str:
    """Return the recipe as a TOML file, with the reasons for each λ as comments.

    Without a name of its own (`named`), the recipe takes that of the file.
    """
    comments = {
        name: f"{choice.rule}, confidence {choice.confidence}: {choice.reason}"
        for name, choice in proposal.choices.items()
    }
    recipe = proposal.recipe if named else proposal.recipe.model_copy(update=NAMELESS)
    return as_toml(recipe, comments)


def as_toml(recipe: Recipe, comments: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return a recipe as a TOML file; `comments` has a line for steps, by name."""
    content = recipe.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    tables = {key: content.pop(key) for key in STEPS if key in content}
    lines = [f"{key} = {_value(value)}" for key, value in content.items()]
    for name, table in tables.items():
        lines += ["", f"[{name}]"]
        lines += [f"# {comments[name]}"] if name in comments else []
        lines += [f"{key} = {_value(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    # TOML writes strings, numbers, booleans and lists as JSON does
    return json.dumps(value, ensure_ascii=False)
