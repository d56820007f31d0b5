"""The workflow of the paper's figure 2 on plain arrays: a micrograph and a recipe in, a Restoration out.

f → background b → flat u = f − b → median → u + contrast → denoised u. Each step is a function from one
`Draft` to the next, so that a caller can run, watch or retry them one by one; `restore` runs them all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter as scipy_median

from tvtasks.errors import UnusableImageError
from tvtasks.micrograph import Image, Micrograph, Region
from tvtasks.recipe import ModelStep, Recipe, StepName
from tvtasks.solvers import Convergence, Solution, solve

P = ParamSpec("P")
T = TypeVar("T")

ALGORITHM_VERSION = 3
"""Raised whenever the same image and recipe give other numbers than before."""


class Call(Protocol):
    """How a step is called: directly, or as a task of a workflow engine."""

    def __call__(self, step: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `step` and return what it returns."""
        ...


@dataclass(frozen=True)
class StepRecord:
    """What was done in one step.

    Attributes
    ----------
    name
        ``background``, ``median``, ``contrast`` or ``denoise``.
    parameters
        All of them, defaults included, safe for JSON.
    started_at, seconds
        When, and for how long.
    convergence
        How the minimisation went, for the image scaled to [0, 1]; None for the median.
    """

    name: StepName
    parameters: Mapping[str, Any]
    started_at: datetime
    seconds: float
    convergence: Convergence | None = None


@dataclass(frozen=True, eq=False)
class Restoration:
    """A micrograph with what a recipe made of it; arrays in the unit of the raw image.

    Attributes
    ----------
    micrograph, recipe
        What went in.
    region
        The part of the raw image that was worked on; the arrays below have its shape.
    offset, factor
        The scaling: λ and α saw (raw − offset) / factor.
    background
        The background, or None without that step.
    flat
        raw − background, or None without that step.
    contrast
        The smoothed background that was added back, or None without that step.
    restored
        The result.
    steps
        One record for each step, in order.
    notes
        Sentences on what had to be decided (rows left out …).
    """

    micrograph: Micrograph
    recipe: Recipe
    region: Region
    offset: float
    factor: float
    background: Image | None
    flat: Image | None
    contrast: Image | None
    restored: Image
    steps: tuple[StepRecord, ...]
    notes: tuple[str, ...]

    @property
    def gap(self) -> float | None:
        """The largest relative gap of any step; None if no step minimises anything."""
        gaps = [step.convergence.gap for step in self.steps if step.convergence]
        return max(gaps, default=None)

    @property
    def converged(self) -> bool:
        """Whether every step met its stopping rule."""
        return all(step.convergence.converged for step in self.steps if step.convergence)

    @property
    def seconds(self) -> float:
        """Time spent in the steps."""
        return sum(step.seconds for step in self.steps)


@dataclass(frozen=True, eq=False)
class Draft:
    """A restoration under way; arrays scaled as the models want them.

    `current` is what the next step works on; `lifted` says whether it contains the image's zero level, which
    subtracting the background takes away and contrast brings back.
    """

    micrograph: Micrograph
    recipe: Recipe
    region: Region
    offset: float
    factor: float
    current: NDArray[np.floating[Any]]
    lifted: bool = True
    background: NDArray[np.floating[Any]] | None = None
    contrast: NDArray[np.floating[Any]] | None = None
    steps: tuple[StepRecord, ...] = ()
    notes: tuple[str, ...] = ()


def prepare(micrograph: Micrograph, recipe: Recipe) -> Draft:
    """Choose the part that holds data and scale it.

    Integers of up to 16 bits and float32 are worked on in float32, everything else in float64.

    Raises
    ------
    UnusableImageError
        If nothing in the image can be restored: it is empty, constant, or no row is complete.
    """
    data = micrograph.data
    if data.ndim != 2 or data.size == 0 or data.dtype.kind not in "biuf":
        raise UnusableImageError(
            f"{micrograph.name}: an image of real numbers with rows and columns is needed, "
            f"this is {data.dtype} of shape {data.shape}."
        )
    region, notes = _usable(micrograph, recipe.databar)
    values = data[region.slices].astype(np.float64)
    if data.dtype.kind in "iu" and data.dtype.itemsize == 8 and np.abs(values).max() > 2.0**53:
        notes += ("Values beyond 2^53 are restored to 16 digits; the raw image is stored exactly.",)
    offset, factor = _scaling(values, recipe, micrograph.name)
    working = np.float32 if np.result_type(data.dtype, np.float32) == np.float32 else np.float64
    scaled: NDArray[np.floating[Any]] = ((values - offset) / factor).astype(working)
    return Draft(micrograph, recipe, region, offset, factor, scaled, notes=notes)


def extract_background(draft: Draft) -> Draft:
    """Minimise the recipe's background model and subtract the result."""
    solution, record = _minimise("background", draft.recipe, draft.current)
    flat = draft.current - solution.u
    return replace(
        draft, background=solution.u, current=flat, lifted=False, steps=(*draft.steps, record)
    )  # fmt: skip


def median_filter(draft: Draft) -> Draft:
    """Median-filter; at the border the window sees the image mirrored."""
    step, started, clock = draft.recipe.median, datetime.now(UTC), time.perf_counter()
    assert step is not None
    filtered = scipy_median(draft.current, size=(step.rows, step.columns), mode="reflect")
    parameters = draft.recipe.parameters["median"]
    record = StepRecord("median", parameters, started, time.perf_counter() - clock)
    return replace(draft, current=filtered, steps=(*draft.steps, record))


def retrieve_contrast(draft: Draft) -> Draft:
    """Smooth the background once more and add it: the contrast between terraces comes back."""
    assert draft.background is not None
    solution, record = _minimise("contrast", draft.recipe, draft.background)
    return replace(
        draft, contrast=solution.u, current=draft.current + solution.u, lifted=True,
        steps=(*draft.steps, record),
    )  # fmt: skip


def denoise(draft: Draft) -> Draft:
    """Minimise the recipe's denoising model for what there is by now."""
    solution, record = _minimise("denoise", draft.recipe, draft.current)
    return replace(draft, current=solution.u, steps=(*draft.steps, record))


STEPS: dict[StepName, Callable[[Draft], Draft]] = {
    "background": extract_background,
    "median": median_filter,
    "contrast": retrieve_contrast,
    "denoise": denoise,
}


def finish(draft: Draft) -> Restoration:
    """Bring everything back to the unit of the raw image, in the dtype that was worked in."""
    dtype = draft.current.dtype
    raw = draft.micrograph.data[draft.region.slices].astype(np.float64)

    def in_unit(scaled: NDArray[Any], *, lifted: bool) -> NDArray[Any]:
        return (draft.factor * scaled.astype(np.float64) + (draft.offset if lifted else 0.0)).astype(dtype)

    background = flat = contrast = None
    if draft.background is not None:
        background = in_unit(draft.background, lifted=True)
        flat = (raw - background).astype(dtype)
    if draft.contrast is not None:
        contrast = in_unit(draft.contrast, lifted=True)
    return Restoration(
        micrograph=draft.micrograph,
        recipe=draft.recipe,
        region=draft.region,
        offset=draft.offset,
        factor=draft.factor,
        background=background,
        flat=flat,
        contrast=contrast,
        restored=in_unit(draft.current, lifted=draft.lifted),
        steps=draft.steps,
        notes=(*draft.micrograph.notes, *draft.notes),
    )


def call_directly(step: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `step`, and nothing else."""
    return step(*args, **kwargs)


def restore(
    image: Micrograph | Image, recipe: Recipe | str | Path, *, call: Call = call_directly
) -> Restoration:
    """Restore one image by a recipe.

    Parameters
    ----------
    image
        A `Micrograph`, or an array of shape (rows, columns).
    recipe
        A `Recipe`, the name of a preset, or the path of a TOML file.
    call
        How each step is called.

    Raises
    ------
    UnusableImageError, RecipeError
        With a sentence that says what to do.
    """
    micrograph = image if isinstance(image, Micrograph) else Micrograph(np.asarray(image))
    chosen = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    chosen = chosen.for_technique(micrograph.technique, micrograph.name)
    draft = call(prepare, micrograph, chosen)
    for name in chosen.steps:
        draft = call(STEPS[name], draft)
    return finish(draft)


def _minimise(name: StepName, recipe: Recipe, image: NDArray[Any]) -> tuple[Solution, StepRecord]:
    step: ModelStep | None = getattr(recipe, name)
    assert step is not None
    started, clock = datetime.now(UTC), time.perf_counter()
    solution = solve(image, step, direction=step.direction, stop=step.stop)
    seconds = time.perf_counter() - clock
    solution = replace(solution, u=solution.u.astype(image.dtype, copy=False))
    return solution, StepRecord(name, recipe.parameters[name], started, seconds, solution.convergence)


def _usable(micrograph: Micrograph, databar: int | None) -> tuple[Region, tuple[str, ...]]:
    """Return the part above the data bar, cut to its longest run of rows without NaN or infinity."""
    rows, columns = micrograph.data.shape
    valid = micrograph.valid or Region(0, rows, 0, columns)
    if databar is not None:
        if databar >= rows:
            raise UnusableImageError(
                f"{micrograph.name}: databar = {databar} in the recipe leaves nothing of its {rows} rows. "
                "Give the rows that the bar has, or leave it out."
            )
        valid = Region(0, rows - databar, 0, columns)
    if not (0 <= valid.top < valid.bottom <= rows and 0 <= valid.left < valid.right <= columns):
        raise UnusableImageError(
            f"{micrograph.name}: its data is said to be in rows {valid.top}:{valid.bottom} and columns "
            f"{valid.left}:{valid.right}, which is no part of the {rows} × {columns} pixels there are. "
            "Check that the file is whole."
        )
    complete = np.isfinite(micrograph.data[valid.slices]).all(axis=1)
    if complete.all():
        return valid, ()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], complete, [False]])))
    if edges.size == 0:
        raise UnusableImageError(
            f"{micrograph.name}: no row is complete, every one holds NaN or infinite values. "
            "Check that the scan was saved, and that this is the right channel."
        )
    starts, stops = edges[::2], edges[1::2]
    longest = int(np.argmax(stops - starts))
    region = valid._replace(top=valid.top + int(starts[longest]), bottom=valid.top + int(stops[longest]))
    left_out = valid.shape[0] - region.shape[0]
    return region, (
        f"{left_out} of {valid.shape[0]} rows were left out because rows among them hold NaN or infinite "
        f"values (an unfinished scan?); rows {region.top} to {region.bottom - 1} were restored.",
    )


def _scaling(values: NDArray[np.float64], recipe: Recipe, name: str) -> tuple[float, float]:
    """Offset and factor that bring the values to [0, 1] as the recipe asks."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise UnusableImageError(
            f"{name}: every pixel has the value {low:g}, so there is nothing to restore. "
            "Check the channel, and that the instrument was measuring."
        )
    if recipe.scale == "range":
        offset, factor = low, high - low
    elif recipe.scale == "max":
        offset, factor = 0.0, high
    elif recipe.scale == "percentile":
        offset, top = (float(value) for value in np.percentile(values, [0.1, 99.9]))
        factor = top - offset
    else:
        offset, factor = low, float(recipe.scale)
    if not np.isfinite(factor) or factor <= 0:
        raise UnusableImageError(
            f"{name}: scale = {recipe.scale!r} does not fit values from {low:g} to {high:g}. "
            'Use scale = "range", or a number in the unit of the image.'
        )
    return offset, factor
