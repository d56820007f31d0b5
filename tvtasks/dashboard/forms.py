"""What the dashboard's form says of the parameters of a flow, and a recipe that is put together there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tvtasks.errors import RecipeError
from tvtasks.recipe import Recipe, sentences

_NUMBERS: dict[str, Any] = {
    "lam": {"exclusiveMinimum": 0},
    "alpha": {"minimum": 0},
    "alpha1": {"exclusiveMinimum": 0},
    "alpha2": {"exclusiveMinimum": 0},
    "gap": {"exclusiveMinimum": 0, "maximum": 1},
}


@dataclass(frozen=True)
class Help:
    """Annotates a parameter with the words that stand above its field in the form.

    Not pydantic's Field, whose description gets lost there: Prefect makes another one of each parameter,
    with the description that it finds in a docstring of another style, and that is none.
    """

    words: str

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Return the schema of what is annotated, with the words."""
        return {**handler(core_schema), "description": self.words}


class _Within:
    """Help what the numbers of a step have to be, beside the choice of its model and not within that.

    Of a choice none of which fits, Prefect says just that, with all that was filled in. So any number fits
    there, and what is wrong with it is found here, and said with its name.
    """

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        schema: dict[str, Any] = handler(core_schema)
        models = schema.pop("oneOf")
        schema.pop("discriminator")  # the buttons have no labels where there is one
        return {**schema, "anyOf": models, "if": {}, "then": {"properties": _NUMBERS}}


# The form shows each of these as a button. Choices of another kind it shows as lists, and those do not open
# with the mouse: one click opens and closes them (Prefect 3.8.8; the key ↓ does). What was filled in for one
# model is still sent after another was chosen, so it is ignored.
class _Step(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class NoStep(_Step):
    """A step that is left out."""

    model_config = ConfigDict(title="None")
    model: Literal["none"] = "none"


class _Solved(_Step):
    lam: Annotated[float, Field(title="λ")]
    """How faithful to the image; a large one keeps more of it."""
    choose: Annotated[bool, Field(title="λ from the image")] = False
    """Let each image say what λ is; the one above is then for those that do not tell."""
    rows: Annotated[bool, Field(title="Row by row")] = False
    """Every row for itself, as for jumps and streaks between scan lines."""
    columns: Annotated[bool, Field(title="Column by column")] = False
    """Every column for itself. With neither: the image as a whole."""
    gap: Annotated[float, Field(title="Relative gap")] = 1e-4
    """How far from the best the result may be."""


class HuberROFStep(_Solved):
    """Smooth slopes and sharp edges."""

    model_config = ConfigDict(title="Huber-ROF")
    model: Literal["huber-rof"] = "huber-rof"
    lam: Annotated[float, Field(title="λ")] = 0.5
    """How faithful to the image; a large one keeps more of it. Usual: .5 for a background, 4 to denoise."""
    alpha: Annotated[float, Field(title="α")] = 0.05
    """Changes up to this much a pixel are smoothed; larger ones are edges."""


class TVL1Step(_Solved):
    """Takes out what is small, however strong it is."""

    model_config = ConfigDict(title="TV-L1")
    model: Literal["tv-l1"] = "tv-l1"
    lam: Annotated[float, Field(title="λ")] = 0.2
    """A feature thinner than about 2/λ pixels goes. Usual: .2 for a background, 1 to denoise."""


class TGVL1Step(_Solved):
    """The same, with slopes kept."""

    model_config = ConfigDict(title="TGV-L1")
    model: Literal["tgv-l1"] = "tgv-l1"
    lam: Annotated[float, Field(title="λ")] = 0.2
    """How faithful to the image; a large one keeps more of it. Usual: .2 for a background, 1.5 to denoise."""
    alpha1: Annotated[float, Field(title="α1")] = 1.0
    """Weight of slopes."""
    alpha2: Annotated[float, Field(title="α2")] = 2.0
    """Weight of changes of slope."""


Step = Annotated[NoStep | HuberROFStep | TVL1Step | TGVL1Step, Field(discriminator="model"), _Within()]
Odd = Annotated[int, Field(ge=1, le=99)]


class OwnRecipe(BaseModel):
    """A recipe that is put together in the form; with no step, there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: Annotated[str, Field(min_length=1, max_length=80)] = "own"
    """What to call it."""
    background: Step = NoStep()
    """Extract a background and subtract it."""
    median_rows: Odd = 1
    """Rows of the median filter, an odd number; 3, with 1 column, take out scratches of one row."""
    median_columns: Odd = 1
    """Its columns."""
    contrast: Step = NoStep()
    """Smooth the background once more and add it, which gives contrast between terraces back."""
    denoise: Step = NoStep()
    """Denoise what there is by then."""

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """The recipe, or nothing where it has no step.

        Raises
        ------
        RecipeError
            Its steps do not go together.
        """
        steps = {name: _content(getattr(self, name)) for name in ("background", "contrast", "denoise")}
        if self.median_rows * self.median_columns > 1:
            steps["median"] = {"rows": self.median_rows, "columns": self.median_columns}
        if not any(steps.values()):
            return ()
        try:
            return (Recipe.model_validate({"name": self.name, **steps}),)
        except ValidationError as error:
            raise RecipeError(f"The recipe {self.name}: {' '.join(sentences(error))}") from error


NONE_OF_MY_OWN = OwnRecipe()


def _content(step: NoStep | HuberROFStep | TVL1Step | TGVL1Step) -> dict[str, Any] | None:
    """Return a step as it stands in a recipe."""
    if isinstance(step, NoStep):
        return None
    if step.rows and step.columns:
        raise RecipeError("A step works row by row or column by column: choose one of the two, or neither.")
    direction = "x" if step.rows else "y" if step.columns else "both"
    own = step.model_dump(exclude={"choose", "rows", "columns", "gap"})
    chosen = {"choose": "auto"} if step.choose else {}
    return {**own, **chosen, "direction": direction, "stop": {"rtol": step.gap}}
