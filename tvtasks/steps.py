"""The steps of the workflow and the models that they use: the two tables from which everything else derives.

Recipes, forms, sweeps, results and figures derive from `STEPS` and `MODELS` at the end of this module. A step
is a function from one `Draft` to the next. A model is a dataclass of its parameters: the variational ones are
in `tvtasks.models` and solved by `tvtasks.solvers`; any other model has an `apply` of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, Union, cast

from pydantic import Field, field_validator, model_validator
from pydantic.dataclasses import dataclass as validated

from tvtasks.averaging import ByWhatRepeats
from tvtasks.draft import Applied, Draft, Floats, Kind, Made, ModelSettings, Settings, StepRecord
from tvtasks.faults import OffsetsAndScars, TiltBowDrift
from tvtasks.models import STRICT, TGVL1, TVL1, HuberROF, Lam, Model, Positive
from tvtasks.operators import Direction
from tvtasks.solvers import solve
from tvtasks.solvers.stopping import Gap, Published, StoppingRule

if TYPE_CHECKING:
    from tvtasks.choosing import Choice

_WIDEST = 999  # rows or columns of a median filter: sorting more for each pixel takes days and gigabytes
_DIGITS = 4  # of a chosen λ: the image does not determine more


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


def correct_lines(draft: Draft) -> Draft:
    """Find the faults of scan lines by the recipe's model and subtract them."""
    done, draft = _apply("lines", draft, draft.current)
    return draft.without(done.u, "lines", level=done.level)


def extract_background(draft: Draft) -> Draft:
    """Find the background by the recipe's model and subtract it."""
    done, draft = _apply("background", draft, draft.current)
    own = {} if "background" not in draft.arrays else {"surface": Made(done.u, _kind(done), "background")}
    draft = replace(draft, surface=done.u, arrays={**draft.arrays, **own})
    return draft.without(done.u, "background", level=done.level)


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
    assert draft.surface is not None
    done, draft = _apply("contrast", draft, draft.surface)
    arrays = {**draft.arrays, "contrast": Made(done.u, "level", "contrast")}
    return replace(draft, current=draft.current + done.u, lifted=True, arrays=arrays)


def denoise(draft: Draft) -> Draft:
    """Minimise the recipe's denoising model for the image so far."""
    done, draft = _apply("denoise", draft, draft.current)
    return replace(draft, current=done.u)


def _kind(done: Applied) -> Kind:
    return "level" if done.level else "difference"


def _apply(name: str, draft: Draft, image: Floats) -> tuple[Applied, Draft]:
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
    return replace(done, u=done.u.astype(image.dtype, copy=False)), replace(
        draft,
        diagnosis=done.diagnosis or draft.diagnosis,
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
        Names of the arrays that it can make, besides those of its model.
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
    def has_lam(self) -> bool:
        """Whether any of its models has a λ."""
        return any(model.usual_lam[self.name] is not None for model in self.models.values())

    @property
    def table(self) -> Any:
        """The type that pydantic validates its table in a recipe with."""
        if self.settings is not None:
            return self.settings
        kinds = tuple(self.models.values())
        return kinds[0] if len(kinds) == 1 else Annotated[Union[kinds], Field(discriminator="model")]  # noqa: UP007


MODELS: dict[str, type[ModelSettings]] = {
    model.name: model
    for model in (HuberROFStep, TVL1Step, TGVL1Step, OffsetsAndScars, TiltBowDrift, ByWhatRepeats)
}
"""All models by name. A new model is a class and an entry here."""

STEPS: dict[str, Step] = {
    step.name: step
    for step in (
        Step(
            "lines",
            "correct lines",
            "Take out faults of scan lines: offsets, scars, charging streaks.",
            correct_lines,
            arrays=("background", "flat"),
        ),
        Step(
            "background",
            "extract background",
            "Extract the background and subtract it.",
            extract_background,
            arrays=("background", "flat", "surface"),
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
