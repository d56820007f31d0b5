"""One image restored by many recipes that differ in a few parameters, to see what each parameter does.

The paper's figures 3 (three models) and 4 (four values of λ) show such sweeps.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from tvtasks import quality
from tvtasks.errors import ConfigurationError, RecipeError, TvtasksError
from tvtasks.micrograph import Micrograph
from tvtasks.recipe import Recipe, sentences
from tvtasks.restoration import Restoration, restore, within_memory
from tvtasks.steps import MODELS, STEPS, parameters_of, symbols

MOST_POINTS = 256
"""A sheet with more points is too large to look at."""


@dataclass(frozen=True)
class Point:
    """One recipe of a sweep.

    Attributes
    ----------
    recipe
        The recipe.
    varied
        The parameters that differ within the sweep, by their keys in a recipe (``background.lam``), with
        their values at this point.
    """

    recipe: Recipe
    varied: Mapping[str, Any]

    @property
    def label(self) -> str:
        """The title above the images: ``Huber-ROF  λ 0.1``."""
        words = []
        for key, value in self.varied.items():
            name = key.rpartition(".")[2]
            if name == "model":
                words.append(MODELS[value].title)
            elif name == "direction":
                words.append({"both": "x and y"}.get(value, f"{value} only"))
            else:
                shown = f"{value:g}" if isinstance(value, float) else str(value)
                words.append(f"{symbols().get(name, name)} {shown}")
        return "  ".join(words) or self.recipe.name


@dataclass(frozen=True)
class Trial:
    """The result at one point.

    Attributes
    ----------
    point
        The point.
    archive
        The result file of the run; None if it failed.
    metrics
        The value of each of `METRICS`, by name.
    gap, seconds, iterations
        Largest proven gap, time and iterations of the steps; the gap is None if nothing was minimised.
    converged
        Whether all steps met their stopping rule.
    fault
        Why it failed, as a sentence.
    """

    point: Point
    archive: Path | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    gap: float | None = None
    seconds: float = math.nan
    iterations: int = 0
    converged: bool = True
    fault: str = ""


def residual(result: Restoration) -> float:
    """Return the RMS of raw − restored about its mean, in the unit of the image: how much was removed."""
    raw = result.micrograph.data[result.region.slices].astype(np.float64)
    return float(np.std(raw - result.restored))


def line_jumps(result: Restoration) -> float:
    """Return the RMS of the remaining jumps between neighbouring rows, in the unit of the image."""
    return quality.line_jumps(result.restored)


METRICS: dict[str, Callable[[Restoration], float]] = {"residual": residual, "line jumps": line_jumps}
"""Measures of each result, in the unit of the image, without a truth.

A further measure is a function and an entry here; it then appears in the table, below the images and in the
CSV.
"""


def build_points(
    base: Recipe | None,
    models: Mapping[str, Sequence[float]],
    axes: Mapping[str, Sequence[Any]],
    step: str | None = None,
) -> list[Point]:
    """Return every combination of models and values, each recipe once.

    Parameters
    ----------
    base
        The recipe whose other parameters are kept; None to start from nothing.
    models
        Models to compare, each with its own values of λ, or with none to take those of `axes`. If empty, the
        model of `base`.
    axes
        Parameters and their values. A bare name (``lam``) is a parameter of `step`; models without it ignore
        it. ``scale``, and names that begin with a step (``median.rows``), are keys of the recipe.
    step
        The step to vary; by default the first step of `base` that has a λ of its own, and without a base
        ``background``.

    Returns
    -------
    list of Point

    Raises
    ------
    RecipeError, ConfigurationError
        A value is not allowed, or there is nothing to vary.
    """
    start = base.model_dump(mode="json", exclude_none=True) if base else {}
    varied_by_model = [name for name, one in STEPS.items() if one.has_lam and not one.follows]
    step = step or next((name for name in varied_by_model if name in start), varied_by_model[0])
    possible = STEPS[step].models
    if not possible:
        raise ConfigurationError(f"The step {step} has no model. Vary it with --set {step}.KEY=VALUE,VALUE.")
    given = start.get(step, {})
    if not models and "model" not in given:
        raise ConfigurationError(f"Choose a model for the step {step}: --model {', '.join(possible)}.")
    found: dict[str, Point] = {}
    for model, own in (models or {given["model"]: ()}).items():
        if model not in possible:
            raise ConfigurationError(
                f"There is no model {model!r} for the step {step}. Use {', '.join(possible)}."
            )
        known = parameters_of(model)
        mine = {"model": [model]} | {key: v for key, v in axes.items() if _is_for(key, known)}
        if own:
            mine["lam"] = list(own)
        start[step] = {key: value for key, value in given.items() if key in known}
        keys = [_full(key, step) for key in mine]
        for values in itertools.product(*mine.values()):
            point = Point(_recipe(start, varied := dict(zip(keys, values, strict=True))), varied)
            found.setdefault(point.recipe.digest, point)
            if len(found) > MOST_POINTS:
                raise ConfigurationError(
                    f"These values make more than {MOST_POINTS} points. Give fewer values."
                )
    points = list(found.values())
    for key in axes:
        if not any(_full(key, step) in point.varied for point in points):
            chosen = ", ".join(models) or given["model"]
            raise ConfigurationError(
                f"{chosen} has no parameter {key}. Leave it out, or add another --model."
            )
    # Parameters that are the same at all points are not repeated above each image.
    different = {
        key
        for point in points
        for key in point.varied
        if len({str(other.varied.get(key)) for other in points}) > 1
    }
    return [
        Point(point.recipe, {key: value for key, value in point.varied.items() if key in different})
        for point in points
    ]


def _is_for(key: str, known: set[str]) -> bool:
    first = key.partition(".")[0]
    return first in known or first in STEPS or first == "scale"


def _full(key: str, step: str) -> str:
    """Return a parameter's key in a recipe."""
    return key if key.partition(".")[0] in {*STEPS, "scale"} else f"{step}.{key}"


def run(
    micrograph: Micrograph,
    points: Sequence[Point],
    directory: Path,
    *,
    workers: int = 2,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, Trial]]:
    """Restore an image at each point, several at a time; a failed point does not stop the others.

    Parameters
    ----------
    micrograph
        The image.
    points
        The recipes.
    directory
        Folder for the result file of each run, so that no more than `workers` results are in memory.
    workers
        Points to work on at a time.
    is_stopped
        Once it returns true, no further point starts.

    Yields
    ------
    tuple of int and Trial
        The number of a point and its result, in the order in which they finish; points that did not start are
        left out.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="sweep") as pool:
        futures = {
            pool.submit(
                lambda point: None if is_stopped() else _trial(micrograph, point, directory), point
            ): n
            for n, point in enumerate(points)
        }
        for future in as_completed(futures):
            if trial := future.result():
                yield futures[future], trial


def records(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return the trials as rows of a table, safe for JSON."""
    rows = []
    for trial in trials:
        row = asdict(trial) | {"gap": trial.gap if trial.gap is None or math.isfinite(trial.gap) else None}
        del row["point"], row["archive"], row["metrics"]
        row["seconds"] = None if math.isnan(trial.seconds) else trial.seconds
        metrics = {name.replace(" ", "_"): trial.metrics.get(name) for name in METRICS}
        rows.append({"label": trial.point.label, **trial.point.varied, **metrics, **row})
    return rows


def stem(micrograph: Micrograph, points: Sequence[Point]) -> str:
    """Return the name of a sweep's files: the same sweep of the same image has the same name."""
    from tvtasks.archive.identity import Identity, content_sha256  # noqa: PLC0415 - the grid does without

    content = content_sha256(micrograph)
    found = [Identity.of(micrograph, point.recipe, content) for point in points]
    digest = hashlib.sha256("".join(identity.run_id for identity in found).encode()).hexdigest()
    return f"{found[0].stem.rpartition('__')[0]}__sweep_{digest[:8]}"


def _recipe(content: Mapping[str, Any], varied: Mapping[str, Any]) -> Recipe:
    """Return a recipe with some values changed."""
    changed = {"name": "sweep", **copy.deepcopy(dict(content))}
    for key, value in varied.items():
        *tables, last = key.split(".")
        place = changed
        for name in tables:
            place = place.setdefault(name, {})
        place[last] = value
        if last == "lam":  # a number replaces a chosen λ
            place.pop("choose", None)
            place.pop("feature_size", None)
    try:
        return Recipe.model_validate(changed)
    except ValidationError as error:
        raise RecipeError(" ".join(sentences(error))) from error


def _trial(micrograph: Micrograph, point: Point, directory: Path) -> Trial:
    from tvtasks import archive  # noqa: PLC0415 - needs HDF5, the grid does not

    try:
        with within_memory(micrograph, point.recipe):
            result = restore(micrograph, point.recipe)
            path = archive.write(result, directory)
    except TvtasksError as error:
        return Trial(point, fault=str(error))
    except Exception as error:  # a defect at one point does not spoil the others
        return Trial(point, fault=f"A defect in tvtasks: {type(error).__name__}: {error}")
    return Trial(
        point=point,
        archive=path,
        metrics={name: measure(result) for name, measure in METRICS.items()},
        gap=result.gap,
        seconds=result.seconds,
        iterations=sum(step.convergence.iterations for step in result.steps if step.convergence),
        converged=result.converged,
    )
