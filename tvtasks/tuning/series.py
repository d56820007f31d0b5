"""The restorations of a page to tune: one step of a recipe at many values of λ."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from html import escape
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tvtasks.draft import Draft
from tvtasks.errors import ConfigurationError
from tvtasks.micrograph import Micrograph, Region
from tvtasks.models import HuberROF, Model
from tvtasks.recipe import Recipe
from tvtasks.restoration import prepare, within_memory
from tvtasks.solvers import Gap, solve
from tvtasks.steps import MODELS, STEPS, Minimised

LAMS = 25
"""Number of values of λ; the middle one is that of the recipe."""

_SPAN = 30.0  # the values of λ run from a thirtieth to thirty times the middle one
_SIDES = (512, 384, 256, 192, 128)  # px; the part of the image that is shown
_SECONDS = 3.5  # for all restorations together
_STOP = Gap(1e-2, max_iterations=400)  # the eye sees no difference to a smaller gap

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Series:
    """The step at all values of λ, everything else fixed.

    Attributes
    ----------
    settings
        What distinguishes the series: model, direction and the like, by their names in a recipe.
    recipes
        The recipe at each value of λ.
    lams
        The values of λ, ascending.
    images
        The minimiser at each value of λ, scaled as the models see the image; each has the shape of the part.
    """

    settings: dict[str, Any]
    recipes: tuple[Recipe, ...]
    lams: tuple[float, ...]
    images: tuple[Floats, ...]


@dataclass(frozen=True, eq=False)
class Tuning:
    """A step of a recipe at many values of λ.

    Attributes
    ----------
    micrograph, step
        The image, and the name of the step.
    part
        The part of the raw image that is shown.
    input
        What the step works on, scaled, of the shape of the part.
    factor
        What a difference of 1 in the scaled image is, in the unit of the image.
    series
        One series for each combination of model, direction and the like.
    after
        Names of the steps that follow in the recipe and are not shown.
    """

    micrograph: Micrograph
    step: str
    part: Region
    input: Floats
    factor: float
    series: tuple[Series, ...]
    after: tuple[str, ...]

    def _repr_html_(self) -> str:
        """Show the page in a notebook."""
        from tvtasks.tuning.write import html  # noqa: PLC0415 - it needs this module

        return f'<iframe srcdoc="{escape(html(self))}" width="100%" height="900" frameborder="0"></iframe>'

    def __repr__(self) -> str:
        lams = self.series[0].lams
        return f"Tuning of {self.micrograph.name}: {self.step}, λ {lams[0]:g} to {lams[-1]:g}"


def tune(
    micrograph: Micrograph,
    recipe: Recipe,
    *,
    step: str | None = None,
    models: Sequence[str] = (),
    directions: Sequence[str] = (),
    alphas: Sequence[float] = (),
    lams: int = LAMS,
    side: int | None = None,
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> Tuning:
    """Minimise the model of one step at many values of λ, in the middle of an image.

    Parameters
    ----------
    micrograph
        The image.
    recipe
        Its steps before `step` run as they are.
    step
        The step; the first with a model if not given.
    models, directions, alphas
        Alternatives to those of the recipe. `alphas` are for huber-rof.
    lams
        Number of values of λ in each series, odd.
    side
        Pixels of the longest side of the part that is shown; as large as takes a few seconds if not given.
    progress
        Called with the number of finished restorations and of all.

    Raises
    ------
    ConfigurationError, RecipeError, UnusableImageError
        The recipe has no such step, or the image or a parameter cannot work.
    """
    recipe = recipe.for_technique(micrograph.technique, micrograph.name)
    step = step or _first(recipe)
    recipe = _with_lam(recipe, step, models)
    with within_memory(micrograph, recipe):
        draft = _until(micrograph, recipe, step)
        recipe = _with_number(draft, step)
    variants = _variants(recipe, step, models, directions, alphas, lams)
    points = [(n, m) for n, (_, recipes) in enumerate(variants) for m in range(len(recipes))]
    part = part_of(
        draft.current, side or _affordable(draft.current, [variants[n][1][m] for n, m in points], step)
    )
    image = np.ascontiguousarray(draft.current[part.slices])
    found: dict[tuple[int, int], Floats] = {}
    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="tune") as pool:
        futures = {pool.submit(_solved, image, variants[n][1][m], step): (n, m) for n, m in points}
        for future in as_completed(futures):
            found[futures[future]] = future.result()
            progress(len(found), len(points))
    series = tuple(
        Series(
            settings,
            tuple(recipes),
            tuple(_table(one, step).lam for one in recipes),
            tuple(found[n, m] for m in range(len(recipes))),
        )
        for n, (settings, recipes) in enumerate(variants)
    )
    top, left = draft.region.top, draft.region.left
    return Tuning(
        micrograph,
        step,
        Region(part.top + top, part.bottom + top, part.left + left, part.right + left),
        image,
        draft.factor,
        series,
        recipe.steps[recipe.steps.index(step) + 1 :],
    )


def _first(recipe: Recipe) -> str:
    """Return the first step with λ; the denoising if the recipe has none."""
    for name, table in recipe.tables.items():
        if isinstance(table, Minimised) and not STEPS[name].follows:
            return name
    return "denoise"


def _with_lam(recipe: Recipe, step: str, models: Sequence[str]) -> Recipe:
    """Return the recipe with a model with λ in a step that has another model there.

    The model is the first of `models`, or the usual one; λ is chosen for the image.
    """
    if isinstance(recipe.tables.get(step), Minimised) or step not in recipe.tables | {"denoise": None}:
        return recipe
    possible = [name for name, model in STEPS[step].models.items() if model.usual_lam[step] is not None]
    model = next((name for name in models if name in possible), next(iter(possible), ""))
    if not model:
        return recipe
    content = recipe.model_dump(mode="json", exclude_none=True)
    return Recipe.model_validate(content | {step: {"model": model, "lam": "auto"}})


def _table(recipe: Recipe, step: str) -> Minimised:
    return cast(Minimised, getattr(recipe, step))


def _until(micrograph: Micrograph, recipe: Recipe, step: str) -> Draft:
    """Run the steps before a step."""
    if not isinstance(recipe.tables.get(step), Minimised):
        possible = [name for name, table in recipe.tables.items() if isinstance(table, Minimised)]
        raise ConfigurationError(
            f"The recipe {recipe.name} has no step {step} with λ. It has: {', '.join(possible)}."
        )
    draft = prepare(micrograph, recipe)
    for name in recipe.steps[: recipe.steps.index(step)]:
        draft = STEPS[name].run(draft)
    return draft


def _with_number(draft: Draft, step: str) -> Recipe:
    """Return the recipe with a number for λ of the step, chosen for the image if the recipe has none."""
    table = _table(draft.recipe, step)
    if not table.chooses:
        return draft.recipe
    lam = STEPS[step].run(draft).steps[-1].parameters["lam"]
    return draft.recipe.model_copy(update={step: replace(table, lam=lam, choose=None, feature_size=None)})


def _variants(
    recipe: Recipe,
    step: str,
    models: Sequence[str],
    directions: Sequence[str],
    alphas: Sequence[float],
    lams: int,
) -> list[tuple[dict[str, Any], list[Recipe]]]:
    """Return the recipes of each series, with what distinguishes the series."""
    from tvtasks.sweep.points import build_points  # noqa: PLC0415 - needs HDF5

    own = _table(recipe, step)
    found = []
    for model in dict.fromkeys([own.model, *models]):
        if model not in STEPS[step].models:
            possible = ", ".join(STEPS[step].models)
            raise ConfigurationError(f"There is no model {model!r} for the step {step}. Use {possible}.")
        middle = own.lam if model == own.model else float(MODELS[model].usual_lam[step] or 1.0)
        exponents = np.linspace(-1, 1, lams)
        axes: dict[str, list[Any]] = {
            "direction": list(dict.fromkeys([own.direction, *directions])),
            "lam": [float(f"{middle * _SPAN**exponent:.4g}") for exponent in exponents],
        }
        if alphas and hasattr(MODELS[model], "alpha"):
            axes["alpha"] = list(dict.fromkeys([*_own_alpha(own, model), *alphas]))
        points = build_points(recipe, {model: []}, axes, step)
        groups: dict[tuple[Any, ...], list[Recipe]] = {}
        for point in points:
            table = _table(point.recipe, step)
            key = tuple(getattr(table, name) for name in axes if name != "lam")
            groups.setdefault(key, []).append(point.recipe.model_copy(update={"name": recipe.name}))
        names = [name for name in axes if name != "lam"]
        found += [
            ({"model": model, **dict(zip(names, key, strict=True))}, group) for key, group in groups.items()
        ]
    return found


def _own_alpha(own: Minimised, model: str) -> list[float]:
    return [own.alpha] if isinstance(own, HuberROF) and model == own.model else []


def part_of(image: Floats, side: int) -> Region:
    """Return the middle of an image, at most `side` pixels wide and high."""
    rows, columns = (min(size, side) for size in image.shape)
    top, left = (image.shape[0] - rows) // 2, (image.shape[1] - columns) // 2
    return Region(top, top + rows, left, left + columns)


def _affordable(image: Floats, recipes: Sequence[Recipe], step: str) -> int:
    """Return the largest side of the part whose restorations take a few seconds, as a trial tells."""
    least = _SIDES[-1]
    small = np.ascontiguousarray(image[part_of(image, least).slices])
    some = [recipes[n] for n in sorted({0, len(recipes) // 2, len(recipes) - 1})]
    _solved(small, some[0], step)  # compiles, where that is still to do
    began = time.perf_counter()
    for recipe in some:
        _solved(small, recipe, step)
    each = (time.perf_counter() - began) / len(some) * len(recipes) / (os.cpu_count() or 1)
    return next((side for side in _SIDES if each * (side / least) ** 2 <= _SECONDS), least)


def _solved(image: Floats, recipe: Recipe, step: str) -> Floats:
    table = _table(recipe, step)
    return cast(Floats, solve(image, cast(Model, table), direction=table.direction, stop=_STOP).u)
