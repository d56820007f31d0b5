"""The workflow of the paper's figure 2 on plain arrays: a micrograph and a recipe in, a Restoration out.

f → background b → flat u = f − b → median → u + contrast → denoised u. Each step is a function from one
`Draft` to the next, so that a caller can run, watch or retry them one by one; `restore` runs them all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from tvtasks import medians
from tvtasks.errors import UnusableImageError
from tvtasks.micrograph import Image, Micrograph, Region
from tvtasks.recipe import ModelStep, Recipe, StepName
from tvtasks.scaling import scaling, usable
from tvtasks.solvers import Convergence, Solution, solve

if TYPE_CHECKING:
    from tvtasks.choosing import Choice
    from tvtasks.quality import Marks

P = ParamSpec("P")
T = TypeVar("T")

ALGORITHM_VERSION = 4
"""Raised whenever the same image and recipe give other numbers than before."""

_DIGITS = 4  # of a λ that was chosen: more would say more than is known


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
        All of them, defaults included, safe for JSON; λ is the one that was used.
    started_at, seconds
        When, and for how long, choosing λ included.
    convergence
        How the minimisation went, for the image scaled to [0, 1]; None for the median.
    choice
        How λ was chosen; None where the recipe gives it.
    """

    name: StepName
    parameters: Mapping[str, Any]
    started_at: datetime
    seconds: float
    convergence: Convergence | None = None
    choice: Choice | None = None


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

    @property
    def choices(self) -> dict[StepName, Choice]:
        """How λ was chosen, by step, where the recipe leaves it open."""
        return {step.name: step.choice for step in self.steps if step.choice}

    @cached_property
    def quality(self) -> Marks:
        """Scores that need no truth, in the unit of the raw image."""
        from tvtasks.quality import assess  # noqa: PLC0415 - not every restoration is judged

        raw = self.micrograph.data[self.region.slices]
        denoised = None
        if "denoise" in self.recipe.steps:
            # With what a median filter took: what denoising takes after one is never white.
            denoised = raw if self.flat is None else self.flat
            if self.contrast is not None:
                denoised = denoised + self.contrast
        return assess(raw, self.restored, self.background, denoised)


@dataclass(frozen=True, eq=False)
class Draft:
    """A restoration under way; arrays scaled as the models want them.

    `current` is what the next step works on, `unfiltered` what the median filter was given; `lifted` says
    whether `current` contains the image's zero level, which subtracting the background takes away and
    contrast brings back.
    """

    micrograph: Micrograph
    recipe: Recipe
    region: Region
    offset: float
    factor: float
    current: NDArray[np.floating[Any]]
    unfiltered: NDArray[np.floating[Any]] | None = None
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
    region, notes = usable(micrograph, recipe.databar)
    values = data[region.slices].astype(np.float64)
    if data.dtype.kind in "iu" and data.dtype.itemsize == 8 and np.abs(values).max() > 2.0**53:
        notes += ("Values beyond 2^53 are restored to 16 digits; the raw image is stored exactly.",)
    offset, factor = scaling(values, recipe, micrograph.name)
    working = np.float32 if np.result_type(data.dtype, np.float32) == np.float32 else np.float64
    scaled: NDArray[np.floating[Any]] = ((values - offset) / factor).astype(working)
    return Draft(micrograph, recipe, region, offset, factor, scaled, notes=notes)


def extract_background(draft: Draft) -> Draft:
    """Minimise the recipe's background model and subtract the result."""
    solution, draft = _minimise("background", draft, draft.current)
    return replace(draft, background=solution.u, current=draft.current - solution.u, lifted=False)


def median_filter(draft: Draft) -> Draft:
    """Median-filter; at the border the window sees the image mirrored."""
    step, started, clock = draft.recipe.median, datetime.now(UTC), time.perf_counter()
    assert step is not None
    filtered = medians.median_filter(draft.current, step.rows, step.columns)
    parameters = draft.recipe.parameters["median"]
    record = StepRecord("median", parameters, started, time.perf_counter() - clock)
    return replace(draft, current=filtered, unfiltered=draft.current, steps=(*draft.steps, record))


def retrieve_contrast(draft: Draft) -> Draft:
    """Smooth the background once more and add it: the contrast between terraces comes back."""
    assert draft.background is not None
    solution, draft = _minimise("contrast", draft, draft.background)
    return replace(draft, contrast=solution.u, current=draft.current + solution.u, lifted=True)


def denoise(draft: Draft) -> Draft:
    """Minimise the recipe's denoising model for what there is by now."""
    solution, draft = _minimise("denoise", draft, draft.current)
    return replace(draft, current=solution.u)


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


def _minimise(name: StepName, draft: Draft, image: NDArray[Any]) -> tuple[Solution, Draft]:
    """Solve a step for an image, and return the draft with its record."""
    step: ModelStep | None = getattr(draft.recipe, name)
    assert step is not None
    started, clock = datetime.now(UTC), time.perf_counter()
    choice, notes = None, draft.notes
    parameters = draft.recipe.parameters[name]
    if step.chooses:
        choice = _choose(name, step, draft)
        if choice.confidence in ("none", "low") and name != "contrast":  # the background's note is enough
            notes += (f"λ of the {name}: {choice.words}",)
        step = replace(step, lam=float(f"{choice.lam:.{_DIGITS}g}"))
        parameters["lam"] = step.lam
    solution = solve(image, step, direction=step.direction, stop=step.stop)
    seconds = time.perf_counter() - clock
    solution = replace(solution, u=solution.u.astype(image.dtype, copy=False))
    record = StepRecord(name, parameters, started, seconds, solution.convergence, choice)
    return solution, replace(draft, steps=(*draft.steps, record), notes=notes)


def _choose(name: StepName, step: ModelStep, draft: Draft) -> Choice:
    """Choose λ for a step from the image as it is by then; contrast has that of the background."""
    from tvtasks import choosing  # noqa: PLC0415 - most recipes have numbers

    if name == "contrast":
        before = next(done for done in draft.steps if done.name == "background")
        return choosing.as_background(before.parameters["lam"], before.choice)
    window = draft.recipe.median
    median = (window.rows, window.columns) if window else None
    if name == "background":
        size, micrograph = step.feature_size, draft.micrograph
        if size is not None:
            size = choosing.size_in_pixels(size, micrograph.pixel_size, micrograph.pixel_unit, step.direction)
        pixel = choosing.metres(micrograph.pixel_size, micrograph.pixel_unit)
        return choosing.choose_background(
            draft.current, step, direction=step.direction, feature_size=size, median=median,
            shortest=choosing.ATOMIC / max(pixel) if pixel else 0.0,
        )  # fmt: skip
    if draft.unfiltered is None:
        return choosing.choose_denoise(draft.current, step, direction=step.direction)
    # After the median the noise is not white any more, so the rule sees the image before it; contrast is
    # smooth, and the median hardly changes it.
    unfiltered = draft.unfiltered if draft.contrast is None else draft.unfiltered + draft.contrast
    return choosing.choose_denoise(unfiltered, step, direction=step.direction, median=median)
