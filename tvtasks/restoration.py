"""The workflow of the paper's figure 2 on plain arrays: a micrograph and a recipe in, a Restoration out.

f → background b → flat u = f − b → median → u + contrast → denoised u. Each step is a function from one
`Draft` to the next, so a caller can run, watch or retry the steps one by one; `restore` runs them all.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from html import escape
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from tvtasks import memory
from tvtasks.draft import Draft, Made, StepRecord
from tvtasks.errors import MemoryShortError, UnusableImageError
from tvtasks.hot_pixels import hot_pixels, sentence, without
from tvtasks.micrograph import Image, Micrograph, Region
from tvtasks.models import HuberROF
from tvtasks.recipe import Recipe
from tvtasks.scaling import scaling, usable
from tvtasks.scores import ENOUGH
from tvtasks.steps import STEPS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tvtasks.choosing import Choice
    from tvtasks.choosing.checks import Check
    from tvtasks.scores import QualityScores
    from tvtasks.tuning import Tuning

P = ParamSpec("P")
T = TypeVar("T")

AnyRecipe = Recipe | str | Path | Mapping[str, Any] | None
"""What describes a recipe; see `Recipe.of`."""

ALGORITHM_VERSION = 7
"""Raise it whenever the same image and recipe give other numbers than before."""

HELD = 6.5
"""Numbers for each pixel that a restoration holds while a model works.

Measured as the peak of the resident memory with background, median, contrast and denoising, on 1000² and
1500² pixels in float64 and float32."""

WRITTEN = 3.5
"""Numbers for each pixel of each array while a result is written: the array, the content of the file, and
both again when it is read back.

Measured in the same way, on 700² to 1200² pixels: 3.4 to 3.6 for the paper's steps and for a lattice with a
backward scan; 2.1 to 3.3 where arrays can be compressed, as the scars of an image without scars."""


def _above(name: str) -> Any:
    """Return a room above this one: results offer what it does to those who hold a result."""
    return import_module(f"tvtasks.{name}")


class Call(Protocol):
    """How a step is called: directly, or as a task of a workflow engine."""

    def __call__(self, step: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `step` and return what it returns."""
        ...


class Arrays:
    """The arrays of a result by name, and the usual ones as attributes (None if their step was left out).

    Attributes
    ----------
    arrays
        The arrays that the steps made, in the unit of the raw image: ``restored`` always, ``background`` and
        ``flat`` with a background … Each has the shape of the region unless its step says otherwise.
    unitless
        Names of those that are not in the unit of the raw image.
    background
        Everything that was subtracted.
    flat
        raw − background.
    contrast
        The smoothed background that was added again.
    restored
        The result.
    """

    arrays: Mapping[str, Image]
    unitless: frozenset[str]

    @property
    def background(self) -> Image | None:  # noqa: D102 - see above
        return self.arrays.get("background")

    @property
    def flat(self) -> Image | None:  # noqa: D102
        return self.arrays.get("flat")

    @property
    def contrast(self) -> Image | None:  # noqa: D102
        return self.arrays.get("contrast")

    @property
    def restored(self) -> Image:  # noqa: D102
        return self.arrays["restored"]

    def plot(self, arrays: Sequence[str] = (), colour_map: str = "gray") -> Figure:
        """Return a Matplotlib figure of raw, background and restored, or of `arrays`, with colour bars."""
        figure: Figure = _above("figures.plot").panels_figure(self, arrays, colour_map)
        return figure

    def _repr_html_(self) -> str:
        """Show the preview in a notebook."""
        figures = _above("figures")
        picture = base64.b64encode(figures.jpeg(figures.preview(self), max_bytes=90_000)).decode()
        return (
            f'<img src="data:image/jpeg;base64,{picture}" alt="{escape(repr(self))}"><br>{escape(repr(self))}'
        )


@dataclass(frozen=True, eq=False)
class Restoration(Arrays):
    """A micrograph and what a recipe made of it.

    Attributes
    ----------
    micrograph, recipe
        The input.
    region
        The part of the raw image that was restored.
    offset, factor
        The scaling: λ and α refer to (raw − offset) / factor.
    steps
        One record per step, in order.
    notes
        Sentences on what had to be decided (rows were left out …).
    quality
        Scores that need no truth, in the unit of the raw image.
    """

    micrograph: Micrograph
    recipe: Recipe
    region: Region
    offset: float
    factor: float
    arrays: Mapping[str, Image]
    steps: tuple[StepRecord, ...]
    notes: tuple[str, ...]
    quality: QualityScores
    unitless: frozenset[str] = frozenset()

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
    def choices(self) -> dict[str, Choice]:
        """How λ was chosen, by step, where the recipe leaves it open."""
        return {step.name: step.choice for step in self.steps if step.choice}

    def __repr__(self) -> str:
        """Describe the restoration in one line."""
        gap = "" if self.gap is None else f", gap {self.gap:.1e}"
        arrays = ", ".join(self.arrays)
        return f"Restoration of {self.micrograph.name} by {self.recipe.name}{gap}: {arrays}"

    def explore(self, **options: Any) -> Tuning:
        """Return a page with a slider over λ, which a notebook shows; options of `tuning.tune`."""
        made: Tuning = _above("tuning").tune(self.micrograph, self.recipe, **options)
        return made


def prepare(micrograph: Micrograph, recipe: Recipe) -> Draft:
    """Select the part of the image that holds data, and scale it.

    Integers of up to 16 bits and float32 are restored in float32, everything else in float64.

    Raises
    ------
    UnusableImageError
        The image is empty or constant, or no row is complete.
    """
    data = micrograph.data
    if data.ndim != 2 or data.size == 0 or data.dtype.kind not in "biuf":
        raise UnusableImageError(
            f"{micrograph.name}: only an image of real numbers with rows and columns can be restored, "
            f"and this is {data.dtype} of shape {data.shape}."
        )
    region, notes = usable(micrograph, recipe.databar)
    values = data[region.slices].astype(np.float64)
    if data.dtype.kind in "iu" and data.dtype.itemsize == 8 and np.abs(values).max() > 2.0**53:
        notes += ("Values beyond 2^53 are restored with 16 digits; the raw image is stored exactly.",)
    if len(hot := hot_pixels(values)):
        notes += (sentence(values, hot, (region.top, region.left)),)
        values = without(values, hot)
    offset, factor = scaling(values, recipe, micrograph.name)
    working = np.float32 if np.result_type(data.dtype, np.float32) == np.float32 else np.float64
    scaled: NDArray[np.floating[Any]] = ((values - offset) / factor).astype(working)
    return Draft(micrograph, recipe, region, offset, factor, scaled, notes=notes, hot=hot)


def finish(draft: Draft) -> Restoration:
    """Convert all arrays to the unit of the raw image and the working dtype, and score the result."""
    from tvtasks.quality import assess  # noqa: PLC0415 - brings in scipy.ndimage

    dtype = draft.current.dtype
    raw = draft.micrograph.data[draft.region.slices]

    def in_unit(made: Made) -> NDArray[Any]:
        if made.kind in ("plain", "input"):
            return made.values
        offset = draft.offset if made.kind == "level" else 0.0
        return (draft.factor * made.values.astype(np.float64) + offset).astype(dtype)

    arrays: dict[str, NDArray[Any]] = {}
    names: dict[str, list[str]] = defaultdict(list)
    for name, made in draft.arrays.items():
        arrays[name] = in_unit(made)
        names[made.step].append(name)
        if name == "background":
            arrays["flat"] = (raw.astype(np.float64) - arrays[name]).astype(dtype)
            names[made.step].append("flat")
    raw = draft.raw  # hot pixels would spoil every score
    last = draft.steps[-1].name
    arrays["restored"] = in_unit(Made(draft.current, "level" if draft.lifted else "difference", last))
    names[last].append("restored")
    _require_finite(arrays, draft.micrograph.name)
    denoised = None
    if "denoise" in draft.recipe.steps:
        # What the median filter removed is included: what denoising removes after a median is never white.
        denoised = raw - arrays["background"] if "background" in arrays else raw
        if "contrast" in arrays:
            denoised = denoised + arrays["contrast"]
    found = _checks(draft, raw, arrays["restored"])
    scores = assess(raw, arrays["restored"], arrays.get("background"), denoised)
    return Restoration(
        micrograph=draft.micrograph,
        recipe=draft.recipe,
        region=draft.region,
        offset=draft.offset,
        factor=draft.factor,
        arrays=arrays,
        steps=tuple(replace(step, arrays=tuple(names[step.name])) for step in draft.steps),
        notes=(*draft.micrograph.notes, *draft.notes, *_warnings(draft, found)),
        quality=replace(scores, **{f"{check.what}_kept": check.kept for check in found}),
        unitless=frozenset(name for name, made in draft.arrays.items() if made.kind == "plain"),
    )


def _checks(draft: Draft, raw: Image, restored: Image) -> tuple[Check, ...]:
    """Return what was kept of steps, lattice and detail."""
    from tvtasks.choosing.checks import checks_of_middle  # noqa: PLC0415 - brings in scipy.ndimage
    from tvtasks.choosing.size import metres  # noqa: PLC0415

    if draft.diagnosis is not None and _checks_itself(draft.recipe):
        return draft.diagnosis.checks
    micrograph = draft.micrograph
    pixel_size = metres(micrograph.pixel_size, micrograph.pixel_unit)
    return checks_of_middle(raw, restored, unit=micrograph.units, pixel_size=pixel_size)


def _warnings(draft: Draft, found: tuple[Check, ...]) -> tuple[str, ...]:
    """Return a sentence for each part of the sample of which a recipe took much."""
    if _checks_itself(draft.recipe):
        return ()
    return tuple(
        f"{check.sentence} The recipe {draft.recipe.name} changes the sample: compare with the recipe auto."
        for check in found
        if check.kept < ENOUGH
    )


def _checks_itself(recipe: Recipe) -> bool:
    """Return whether every step checks what it takes, and notes it."""
    return all(table.checks_itself for table in recipe.tables.values())


def _require_finite(arrays: Mapping[str, NDArray[Any]], name: str) -> None:
    """Refuse a result that is not finite.

    Raises
    ------
    UnusableImageError
        The result, or what was taken from the image, holds NaN or infinity.
    """
    for array in ("background", "flat", "contrast", "restored"):  # others are evidence, or input
        if array in arrays and not np.isfinite(arrays[array]).all():
            raise UnusableImageError(
                f"{name}: the array {array} of its result is not finite, so nothing was archived. Check the "
                "values of the image and the scale of the recipe; if both are usual, report it."
            )


@contextmanager
def within_memory(micrograph: Micrograph, recipe: Recipe) -> Iterator[None]:
    """Take the memory that restoring an image needs from this process's budget, for the time of the block.

    Raises
    ------
    UnusableImageError
        It needs more memory than it may ever have.
    MemoryShortError
        It needs more than is free at present.
    """
    try:
        with memory.BUDGET.taking(memory_needed(micrograph, recipe), micrograph.name):
            yield
    except MemoryError as error:
        raise MemoryShortError(
            f"{micrograph.name}: there was too little memory to restore it. Close other programs, or restore "
            "fewer images at a time (--workers 1). A watch retries by itself."
        ) from error


def memory_needed(micrograph: Micrograph, recipe: Recipe) -> int:
    """Return about how many bytes of memory restoring and archiving an image takes at most.

    Parameters
    ----------
    micrograph
        The image.
    recipe
        The recipe for its technique.
    """
    tables = recipe.tables
    names = {"raw", "restored", *(name for step in tables for name in STEPS[step].arrays)}
    names |= {name for table in tables.values() for name in table.arrays}
    if micrograph.opposite_scan is None:
        names -= {"opposite_scan", "disagreement"}
    number = np.result_type(micrograph.data.dtype, np.float32).itemsize
    models = max((getattr(table, "memory", HuberROF.memory) for table in tables.values()), default=0)
    return int(micrograph.data.size * max(number * HELD + models, number * WRITTEN * len(names)))


def call_directly(step: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `step`, nothing else."""
    return step(*args, **kwargs)


@overload
def restore(image: Micrograph, recipe: AnyRecipe = ..., *, call: Call = ..., **steps: Any) -> Restoration: ...
@overload
def restore(
    image: Image | str | Path | Sequence[Any], recipe: AnyRecipe = ..., *, call: Call = ..., **steps: Any
) -> Any: ...
def restore(
    image: Micrograph | Image | str | Path | Sequence[Any],
    recipe: AnyRecipe = None,
    *,
    call: Call = call_directly,
    **steps: Any,
) -> Any:
    """Restore an image, or several.

    Parameters
    ----------
    image
        A `Micrograph`; an array of shape (rows, columns) of real numbers, or a stack of shape (frames, rows,
        columns); the path of an image file; or a list of any of these.
    recipe
        A `Recipe`, the name of a preset, the path of a TOML file, or a mapping as in TOML. Without a recipe
        and without `steps`, ``auto``.
    call
        How each step is called.
    **steps
        Steps of the recipe, which set or replace those of `recipe`: ``denoise=TVL1(1.0)``, or
        ``background={"model": "huber-rof", "lam": "auto"}``.

    Returns
    -------
    Restoration or list of Restoration
        A list for a stack, for a list, and for a file from which several images are restored.

    Raises
    ------
    UnusableImageError, RecipeError, UnreadableFileError
        The message says what to do.

    Examples
    --------
    >>> import numpy as np
    >>> from tvtasks import TVL1, restore
    >>> y, x = np.mgrid[:32, :32]
    >>> result = restore(0.1 * y + np.sin(x), "afm-background")
    >>> bool(np.allclose(result.background + result.flat, 0.1 * y + np.sin(x)))
    True
    >>> result.gap <= 1e-4
    True
    >>> [one.restored.shape for one in restore(np.ones((2, 8, 8)) * np.arange(8), denoise=TVL1(1.0))]
    [(8, 8), (8, 8)]
    """
    chosen = Recipe.of("auto" if recipe is None and not steps else recipe, **steps)
    if isinstance(image, Micrograph):
        return _restore(image, chosen, call)
    if isinstance(image, str | Path):
        from tvtasks import channels, readers  # noqa: PLC0415 - arrays need no file formats

        found = channels.choose(readers.read(image), chosen)[0]
        made = [_restore(micrograph, chosen, call) for micrograph in found]
        return made[0] if len(made) == 1 else made
    if isinstance(image, list | tuple) and not _is_array(image):
        return [restore(one, chosen, call=call) for one in image]
    data = np.asanyarray(image)
    if data.ndim == 3:
        return [_restore(Micrograph(frame, frame=n), chosen, call) for n, frame in enumerate(data)]
    return _restore(Micrograph(data), chosen, call)


def _is_array(values: Sequence[Any]) -> bool:
    """Return whether nested lists are the rows of one image."""
    return bool(values) and isinstance(values[0], list | tuple) and np.isscalar(values[0][0])


def _restore(micrograph: Micrograph, recipe: Recipe, call: Call) -> Restoration:
    chosen = recipe.for_technique(micrograph.technique, micrograph.name)
    draft = call(prepare, micrograph, chosen)
    for name in chosen.steps:
        draft = call(STEPS[name].run, draft)
    return finish(draft)
