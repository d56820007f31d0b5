"""A recipe for one image: the steps of another, each with the λ that was chosen for this image."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tvtasks.choosing import Choice, choose_background, choose_denoise, size_in_pixels
from tvtasks.micrograph import Micrograph
from tvtasks.models import TGVL1, TVL1, HuberROF, Model
from tvtasks.recipe import ModelStep, Recipe, StepName
from tvtasks.restoration import STEPS, Draft, Restoration, finish, prepare

DIGITS = 4  # of λ in a recipe: more would say more than is known


@dataclass(frozen=True, eq=False)
class Proposal:
    """What is proposed for an image.

    Attributes
    ----------
    recipe
        With numbers for every λ.
    choices
        How each came about, by step; a fallback where nothing could be chosen.
    restoration
        What the recipe makes of the image.
    """

    recipe: Recipe
    choices: Mapping[StepName, Choice]
    restoration: Restoration


def propose(
    micrograph: Micrograph, recipe: Recipe, *, steps: Collection[StepName] = ("background", "denoise"),
    feature_size: str | float | None = None,
) -> Proposal:  # fmt: skip
    """Choose λ for the steps of a recipe that are asked for, and restore the image by them.

    Contrast gets the λ of the background, as in the paper, where both have the same model.

    Parameters
    ----------
    micrograph
        The image.
    recipe
        Its steps, models and directions are kept; its values of λ are the fallback.
    steps
        For which λ is chosen.
    feature_size
        The largest feature to keep in the flat image: pixels, or a length such as ``"2 nm"``. It decides the
        λ of the background.

    Raises
    ------
    UnusableImageError, RecipeError
        As `restore` does; or if the size cannot be.
    """
    recipe = recipe.for_technique(micrograph.technique, micrograph.name)
    draft = prepare(micrograph, recipe)
    unfiltered = draft.current
    choices: dict[StepName, Choice] = {}
    for name in recipe.steps:
        step: ModelStep | None = getattr(recipe, name) if name != "median" else None
        if step is not None and name in steps and name != "contrast":
            size = None
            if feature_size is not None and name == "background":
                size = size_in_pixels(
                    feature_size, micrograph.pixel_size, micrograph.pixel_unit, step.direction
                )
            choices[name] = _choose(name, draft, unfiltered, step, size)
            recipe = _with(recipe, name, choices[name].lam)
            if name == "background" and recipe.contrast and recipe.contrast.model == step.model:
                recipe = _with(recipe, "contrast", choices[name].lam)
            draft = replace(draft, recipe=recipe)
        draft = STEPS[name](draft)
        if name == "background":
            unfiltered = draft.current
    return Proposal(recipe, choices, finish(draft))


def toml(proposal: Proposal) -> str:
    """Return the recipe as a TOML file, with the reasons as comments."""
    content = proposal.recipe.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    tables = {
        key: content.pop(key) for key in ("background", "median", "contrast", "denoise") if key in content
    }
    lines = [f"{key} = {_value(value)}" for key, value in content.items()]
    for name, table in tables.items():
        choice = proposal.choices.get(name)
        lines += ["", f"[{name}]"]
        if choice:
            lines += [f"# {choice.rule}, confidence {choice.confidence}: {choice.reason}"]
        lines += [f"{key} = {_value(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def _choose(
    name: StepName, draft: Draft, unfiltered: Any, step: ModelStep, feature_size: float | None
) -> Choice:
    """Choose for one step, from the image as it is at that point."""
    window = draft.recipe.median
    median = (window.rows, window.columns) if window else None
    if name == "background":
        return choose_background(
            draft.current, _model(step), direction=step.direction, feature_size=feature_size, median=median
        )
    if draft.contrast is not None:
        return choose_denoise(draft.current, _model(step), direction=step.direction)
    return choose_denoise(unfiltered, _model(step), direction=step.direction, median=median)


def _model(step: ModelStep) -> Model:
    """Return the model of a step without what else the step says."""
    kind = next(kind for kind in (HuberROF, TVL1, TGVL1) if isinstance(step, kind))
    return kind(**{key: getattr(step, key) for key in kind.__dataclass_fields__})


def _with(recipe: Recipe, name: StepName, lam: float) -> Recipe:
    return recipe.model_copy(update={name: replace(getattr(recipe, name), lam=float(f"{lam:.{DIGITS}g}"))})


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)  # TOML's strings, numbers, booleans and lists are JSON's
