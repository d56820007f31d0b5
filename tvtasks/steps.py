"""The steps of the workflow and the models that they use: the two tables from which everything else derives.

Recipes, forms, sweeps, results and figures derive from `STEPS` and `MODELS` at the end of this module. A step
is a function from one `Draft` to the next. A model is a dataclass of its parameters: the variational ones are
in `tvtasks.models` and solved by `tvtasks.solvers`; any other model has an `apply` of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self, Union, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from pydantic.dataclasses import dataclass as validated

from tvtasks.micrograph import Micrograph, Region
from tvtasks.models import STRICT, TGVL1, TVL1, HuberROF, Lam, Model, Positive
from tvtasks.operators import Direction
from tvtasks.solvers import Convergence, solve
from tvtasks.solvers.stopping import Gap, Published, StoppingRule

if TYPE_CHECKING:
    from tvtasks.choosing import Choice
    from tvtasks.recipe import Recipe

Floats = NDArray[np.floating[Any]]
Kind = Literal["level", "difference", "plain"]

_WIDEST = 999  # rows or columns of a median filter: sorting more for each pixel takes days and gigabytes
_DIGITS = 4  # of a chosen λ: the image does not determine more


class Made(NamedTuple):
    """An array that a step made.

    Attributes
    ----------
    values
        The array, scaled as the models see the image.
    kind
        A ``level`` contains the zero level of the raw image, a ``difference`` does not, and ``plain`` values
        are not in the unit of the image.
    step
        Name of the step that made it or changed it last.
    """

    values: NDArray[Any]
    kind: Kind
    step: str


@dataclass(frozen=True)
class StepRecord:
    """What one step did.

    Attributes
    ----------
    name
        Its name in `STEPS`.
    parameters
        All parameters, defaults included, safe for JSON; λ is the one that was used.
    started_at, seconds
        When the step started and how long it took, choosing λ included.
    convergence
        How the minimisation went, for the image scaled to [0, 1]; None if the step minimises nothing.
    choice
        How λ was chosen; None if the recipe gives it.
    evidence
        Further numbers that the step found in the image, safe for JSON.
    arrays
        Names of the arrays that it made; filled in when the restoration is finished.
    """

    name: str
    parameters: Mapping[str, Any]
    started_at: datetime
    seconds: float
    convergence: Convergence | None = None
    choice: Choice | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    arrays: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Draft:
    """A restoration in progress; its arrays are scaled as the models see the image.

    Attributes
    ----------
    micrograph, recipe, region, offset, factor
        As in `tvtasks.restoration.Restoration`.
    current
        The image that the next step works on, shape (M, N), float32 or float64.
    lifted
        Whether `current` contains the zero level of the image: subtracting the background removes it, and
        contrast brings it back.
    arrays
        The arrays that the steps have made so far, by name.
    unfiltered
        The input of the median filter, in which the noise is still white.
    steps, notes
        A record of each finished step, and sentences for the user.
    """

    micrograph: Micrograph
    recipe: Recipe
    region: Region
    offset: float
    factor: float
    current: Floats
    lifted: bool = True
    arrays: Mapping[str, Made] = field(default_factory=dict)
    unfiltered: Floats | None = None
    steps: tuple[StepRecord, ...] = ()
    notes: tuple[str, ...] = ()

    def without(self, taken: Floats, step: str, *, level: bool) -> Draft:
        """Subtract something from the image and add it to the background.

        The background is everything that was ever subtracted, so raw = background + flat whatever the steps.

        Parameters
        ----------
        taken
            What to subtract, shape (M, N).
        step
            Name of the step that subtracts it.
        level
            Whether `taken` contains the zero level of the image.
        """
        before = self.arrays.get("background")
        total = taken if before is None else before.values + taken
        kind: Kind = "level" if level or (before and before.kind == "level") else "difference"
        return replace(
            self,
            current=self.current - taken,
            lifted=self.lifted and not level,
            arrays={**self.arrays, "background": Made(total, kind, step)},
        )


@dataclass(frozen=True, eq=False)
class Applied:
    """What a model makes of an image.

    Attributes
    ----------
    u
        The result, shape (M, N).
    used
        Parameters that were determined from the image, in place of those of the recipe.
    convergence, choice, evidence
        As in `StepRecord`.
    arrays
        Further arrays by name, each with its kind; the model lists the names in its `arrays`.
    notes
        Sentences for the user.
    """

    u: NDArray[Any]
    used: Mapping[str, Any] = field(default_factory=dict)
    convergence: Convergence | None = None
    choice: Choice | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, tuple[NDArray[Any], Kind]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Settings:
    """One table of a recipe: the parameters of a step. All such classes derive from this one.

    Attributes
    ----------
    arrays
        Names of the arrays that a step with these settings makes, besides those of every such step.
    chooses
        Whether λ is chosen for each image.
    """

    arrays: ClassVar[tuple[str, ...]] = ()

    @property
    def chooses(self) -> bool:  # noqa: D102 - see above
        return False


class ModelSettings(Settings):
    """The table of a step that uses a model.

    Attributes
    ----------
    name, title, summary
        The model's name in a recipe, its title on pages, and what it does, for the form.
    usual_lam
        The steps that can use the model, each with the λ that is usual there; None for a model without λ.
    memory
        Bytes that it needs for each pixel, besides its input. Measured for the variational models as the peak
        of the resident memory, on 500² to 1500² pixels of noise; where an iteration goes over to float64,
        that counts. A model that does not say so counts like Huber-ROF.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    usual_lam: ClassVar[Mapping[str, float | None]]
    memory: ClassVar[int]
    model: str

    def apply(self, step: str, draft: Draft, image: Floats) -> Applied:
        """Return what the model makes of an image.

        Parameters
        ----------
        step
            Name of the step.
        draft
            The restoration so far.
        image
            What to apply the model to, shape (M, N), scaled.
        """
        raise NotImplementedError


@validated(frozen=True, config=STRICT, kw_only=True)
class Minimised(ModelSettings):
    """The settings of every variational model; each adds its own parameters."""

    lam: Lam
    choose: Annotated[
        Literal["auto"] | None,
        Field(description="auto: choose λ for each image. Where that fails, the λ above is used."),
    ] = None
    feature_size: Annotated[
        Positive | str | None,
        Field(
            description="The largest feature to keep in the flat image, in pixels or as a length ('2 nm'). "
            "It sets the λ of the background.",
        ),
    ] = None
    direction: Annotated[
        Direction,
        Field(description="x: each row by itself; y: each column by itself; both: the whole image."),
    ] = "both"
    stop: Annotated[StoppingRule, Field(description="When the iteration stops.")] = Field(default_factory=Gap)

    @field_validator("feature_size")
    @classmethod
    def _is_a_size(cls, value: float | str | None) -> float | str | None:
        if isinstance(value, str):
            from tvtasks.choosing.size import parsed  # noqa: PLC0415 - few recipes have one

            parsed(value)
        return value

    @model_validator(mode="after")
    def _is_in_the_published_code(self) -> Self:
        if isinstance(self.stop, Published) and getattr(self, "gradient", "jacobian") != "jacobian":
            raise ValueError(
                'stop.rule = "published" repeats the published code, which uses the full Jacobian: add '
                'gradient = "jacobian"'
            )
        return self

    @property
    def chooses(self) -> bool:  # noqa: D102
        return self.choose is not None or self.feature_size is not None

    def apply(self, step: str, draft: Draft, image: Floats) -> Applied:
        """Choose λ for the image if the recipe leaves it open, and minimise the model."""
        choice, settings = None, self
        notes: tuple[str, ...] = ()
        if self.chooses:
            choice = _choose(STEPS[step], self, draft)
            # the step that it follows has the note already
            if choice.confidence in ("none", "low") and not STEPS[step].follows:
                notes = (f"Step {step}: {choice.words}",)
            settings = replace(self, lam=float(f"{choice.lam:.{_DIGITS}g}"))
        model = cast(Model, settings)
        solution = solve(image, model, direction=self.direction, stop=self.stop)
        used = {"lam": settings.lam} if choice else {}
        return Applied(solution.u, used, solution.convergence, choice, notes=notes)


def _settings(model: type[Any]) -> Any:
    """Return the class of a variational model's table in a recipe."""
    key = Annotated[Literal[model.name], Field(json_schema_extra={"default": model.name})]  # type: ignore[name-defined]
    members = {"__module__": __name__, "__doc__": model.summary, "__annotations__": {"model": key}}
    made = type(f"{model.__name__}Step", (Minimised, model), members)
    return validated(frozen=True, config=STRICT | {"title": model.title}, kw_only=True)(made)


HuberROFStep, TVL1Step, TGVL1Step = _settings(HuberROF), _settings(TVL1), _settings(TGVL1)


@validated(frozen=True, config=STRICT)
class Median(Settings):
    """A median filter; 3 rows × 1 column remove scratches that are one row thin."""

    rows: Annotated[int, Field(ge=1, le=_WIDEST, description="An odd number of rows.")] = 3
    columns: Annotated[int, Field(ge=1, le=_WIDEST, description="An odd number of columns.")] = 1

    @field_validator("rows", "columns")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd, so that the window has a centre")
        return value


def extract_background(draft: Draft) -> Draft:
    """Minimise the recipe's background model and subtract the result."""
    u, draft = _apply("background", draft, draft.current)
    return draft.without(u, "background", level=True)


def median_filter(draft: Draft) -> Draft:
    """Median-filter the image; at the border the window sees it mirrored."""
    from tvtasks import medians  # noqa: PLC0415 - brings in scipy.ndimage

    started, clock = datetime.now(UTC), time.perf_counter()
    window = draft.recipe.median
    assert window is not None
    filtered = medians.median_filter(draft.current, window.rows, window.columns)
    record = StepRecord("median", draft.recipe.parameters["median"], started, time.perf_counter() - clock)
    return replace(draft, current=filtered, unfiltered=draft.current, steps=(*draft.steps, record))


def retrieve_contrast(draft: Draft) -> Draft:
    """Smooth the background once more and add it, which restores the contrast between terraces."""
    u, draft = _apply("contrast", draft, draft.arrays["background"].values)
    arrays = {**draft.arrays, "contrast": Made(u, "level", "contrast")}
    return replace(draft, current=draft.current + u, lifted=True, arrays=arrays)


def denoise(draft: Draft) -> Draft:
    """Minimise the recipe's denoising model for the image so far."""
    u, draft = _apply("denoise", draft, draft.current)
    return replace(draft, current=u)


def _apply(name: str, draft: Draft, image: Floats) -> tuple[Floats, Draft]:
    """Run a step by its model; return the result, and the draft with a record of the step."""
    settings: ModelSettings = getattr(draft.recipe, name)
    started, clock = datetime.now(UTC), time.perf_counter()
    done = settings.apply(name, draft, image)
    record = StepRecord(
        name,
        {**draft.recipe.parameters[name], **done.used},
        started,
        time.perf_counter() - clock,
        done.convergence,
        done.choice,
        done.evidence,
    )
    further = {key: Made(values, kind, name) for key, (values, kind) in done.arrays.items()}
    return done.u.astype(image.dtype, copy=False), replace(
        draft,
        arrays={**draft.arrays, **further},
        steps=(*draft.steps, record),
        notes=(*draft.notes, *done.notes),
    )


def _choose(step: Step, settings: Minimised, draft: Draft) -> Choice:
    """Choose λ for a step from the image so far; a step that follows another takes the other's λ."""
    from tvtasks import choosing  # noqa: PLC0415 - most recipes have numbers

    model, direction = cast(Model, settings), settings.direction
    if step.follows:
        before = next(done for done in draft.steps if done.name == step.follows)
        return choosing.as_background(before.parameters["lam"], before.choice)
    window = draft.recipe.median
    median = (window.rows, window.columns) if window else None
    if step.sized:
        size, micrograph = settings.feature_size, draft.micrograph
        if size is not None:
            size = choosing.size_in_pixels(size, micrograph.pixel_size, micrograph.pixel_unit, direction)
        pixel = choosing.metres(micrograph.pixel_size, micrograph.pixel_unit)
        shortest = choosing.ATOMIC / max(pixel) if pixel else 0.0
        return choosing.choose_background(
            draft.current, model, direction=direction, feature_size=size, median=median, shortest=shortest
        )
    if draft.unfiltered is None:
        return choosing.choose_denoise(draft.current, model, direction=direction)
    # After the median the noise is no longer white, so the rule sees the image before it. Contrast is smooth,
    # and the median hardly changes it.
    contrast = draft.arrays.get("contrast")
    unfiltered = draft.unfiltered if contrast is None else draft.unfiltered + contrast.values
    return choosing.choose_denoise(unfiltered, model, direction=direction, median=median)


@dataclass(frozen=True)
class Step:
    """A step of the workflow.

    Attributes
    ----------
    name
        The name of its table in a recipe.
    title
        The name of its task on the dashboard.
    summary
        What it does, for the form.
    run
        The function that does it.
    settings
        The class of its table; None if the table is that of one of its `models`.
    arrays
        Names of the arrays that it makes, besides those of its model.
    follows
        The step whose array it works on. A recipe must have that step, too, and ``lam = "auto"`` takes its λ.
    sized
        Whether a `feature_size` can set its λ.
    """

    name: str
    title: str
    summary: str
    run: Callable[[Draft], Draft]
    settings: type[Settings] | None = None
    arrays: tuple[str, ...] = ()
    follows: str = ""
    sized: bool = False

    @cached_property
    def models(self) -> dict[str, type[ModelSettings]]:
        """The models that it can use, by name; empty for a step without a model."""
        if self.settings is not None:
            return {}
        return {name: model for name, model in MODELS.items() if self.name in model.usual_lam}

    @property
    def table(self) -> Any:
        """The type that pydantic validates its table in a recipe with."""
        if self.settings is not None:
            return self.settings
        kinds = tuple(self.models.values())
        return kinds[0] if len(kinds) == 1 else Annotated[Union[kinds], Field(discriminator="model")]  # noqa: UP007


MODELS: dict[str, type[ModelSettings]] = {model.name: model for model in (HuberROFStep, TVL1Step, TGVL1Step)}
"""All models by name. A new model is a class and an entry here."""

STEPS: dict[str, Step] = {
    step.name: step
    for step in (
        Step(
            "background",
            "extract background",
            "Extract the background and subtract it.",
            extract_background,
            arrays=("background", "flat"),
            sized=True,
        ),
        Step("median", "median", "Remove thin scratches with a median filter.", median_filter, Median),
        Step(
            "contrast",
            "contrast",
            "Smooth the background once more and add it, which restores the contrast between terraces.",
            retrieve_contrast,
            arrays=("contrast",),
            follows="background",
        ),
        Step("denoise", "denoise", "Denoise the result of the steps before.", denoise),
    )
}
"""All steps by name, in the order in which they run. A new step is a function and an entry here."""


def parameters_of(model: str) -> set[str]:
    """Return the keys that a recipe can set for a model, without the key ``model``."""
    return {key.name for key in fields(cast(Any, MODELS[model]))} - {"model"}


def symbols() -> dict[str, str]:
    """Return the symbols of the parameters, by name: ``lam`` is λ."""
    fields = (model.__pydantic_fields__ for model in MODELS.values())  # type: ignore[attr-defined]
    return {name: about.title for known in fields for name, about in known.items() if about.title}
