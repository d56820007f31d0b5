"""The dashboard's forms: help for the parameters of a flow, and a recipe that a user fills in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from tvtasks.draft import Settings
from tvtasks.errors import RecipeError
from tvtasks.recipe import Recipe, sentences
from tvtasks.steps import STEPS, Step


@dataclass(frozen=True)
class Help:
    """Annotates a parameter with the text above its field in the form.

    A description in pydantic's Field would get lost: Prefect makes a new Field for each parameter and looks
    for its description in a docstring of another style, where there is none.
    """

    words: str

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Return the schema of the annotated type, with the text."""
        return {**handler(core_schema), "description": self.words}


class _Within:
    """Checks the limits of a step's numbers next to the choice of its model instead of inside it.

    If no alternative of a choice matches, Prefect reports only that, with everything that was filled in. So
    every alternative accepts any number, and the limits here report a wrong one with its name.
    """

    def __init__(self, limits: Mapping[str, Mapping[str, float]]) -> None:
        self._limits = limits

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        schema: dict[str, Any] = handler(core_schema)
        models = schema.pop("oneOf")
        schema.pop("discriminator")  # with a discriminator the buttons have no labels
        return {**schema, "anyOf": models, "if": {}, "then": {"properties": self._limits}}


# The form shows each of these as a button. It shows other choices as lists, which do not open with the
# mouse: one click opens and closes them (Prefect 3.8.8; the key ↓ works). The form still sends values that
# were filled in for one model after the user has chosen another, so extra values are ignored.
class _Button(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class NoStep(_Button):
    """A step that the recipe leaves out."""

    model_config = ConfigDict(title="None")
    model: Literal["none"] = "none"


# What the form shows instead of a direction, a stopping rule and a way to choose λ.
_IN_PLACE: dict[str, dict[str, Any]] = {
    "direction": {
        "rows": (
            bool,
            Field(
                default=False,
                title="Row by row",
                description="Treat each row on its own, against jumps and streaks between scan lines.",
            ),
        ),
        "columns": (
            bool,
            Field(
                default=False,
                title="Column by column",
                description="Treat each column on its own. With neither, the image is treated as a whole.",
            ),
        ),
    },
    "stop": {
        "gap": (
            float,
            Field(
                default=1e-4,
                title="Relative gap",
                description="How far above the minimum the energy of the result may be.",
            ),
        )
    },
    "choose": {
        "choose": (
            bool,
            Field(
                default=False,
                title="λ from the image",
                description="Choose λ for each image; the λ above is used if an image does not determine it.",
            ),
        )
    },
}
_LIMITS = {"exclusiveMinimum": "gt", "minimum": "ge", "exclusiveMaximum": "lt", "maximum": "le"}


def _button(step: str, name: str, title: str, settings: type[Settings]) -> type[_Button]:
    """Return the button of a step for one model, with the settings that the form can show."""
    shown: dict[str, Any] = {"model": (Literal[name], name)}
    for key, about in settings.__pydantic_fields__.items():  # type: ignore[attr-defined]
        if key in _IN_PLACE:
            shown |= _IN_PLACE[key]
        elif about.annotation in {int, float, bool}:
            default, words = about.get_default(), about.description or ""
            if key == "lam":
                default = settings.usual_lam[step]  # type: ignore[attr-defined]
                words += f" Usual: {default:g}."
            shown[key] = (about.annotation, Field(default=default, title=about.title, description=words))
    own = create_model(
        f"{step.capitalize()}{settings.__name__}", __base__=_Button, __doc__=settings.__doc__, **shown
    )
    own.model_config["title"] = title
    own.model_rebuild(force=True)
    return own


def _limits(settings: type[Settings]) -> dict[str, dict[str, float]]:
    """Return the limits of the numbers among some settings, as in a JSON schema."""
    found: dict[str, dict[str, float]] = {}
    for key, about in settings.__pydantic_fields__.items():  # type: ignore[attr-defined]
        if about.annotation in {int, float}:
            found[key] = {
                word: getattr(limit, short)
                for limit in about.metadata
                for word, short in _LIMITS.items()
                if hasattr(limit, short)
            }
        elif key == "stop":
            found["gap"] = {"exclusiveMinimum": 0, "maximum": 1}
    return found


def _choice(step: Step) -> Any:
    """Return the buttons of a step: one for no step, and one for each of its models or for its settings."""
    kinds = {name: (model.title, model) for name, model in step.models.items()}
    if step.settings:
        kinds = {step.name: (step.name.capitalize(), step.settings)}  # type: ignore[dict-item]
    buttons = (
        NoStep,
        *(_button(step.name, name, title, settings) for name, (title, settings) in kinds.items()),
    )
    limits = {key: limit for _, settings in kinds.values() for key, limit in _limits(settings).items()}
    return Annotated[Union[buttons], Field(discriminator="model"), _Within(limits)]  # noqa: UP007


class _Named(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: Annotated[str, Field(max_length=80)] = ""
    """Name of the recipe; if empty, what is not as usual in it."""


class OwnRecipe(
    create_model(  # type: ignore[misc]
        "_OwnSteps",
        __base__=_Named,
        **{
            step.name: (_choice(step), Field(default=NoStep(), description=step.summary))
            for step in STEPS.values()
        },
    )
):
    """A recipe that the user fills in; without any step, it is no recipe."""

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """The recipe; empty if it has no step.

        Raises
        ------
        RecipeError
            Its steps do not fit together.
        """
        steps = {name: _content(name, getattr(self, name)) for name in STEPS}
        if not any(steps.values()):
            return ()
        try:
            made = Recipe.model_validate(steps | ({"name": self.name} if self.name else {}))
        except ValidationError as error:
            raise RecipeError(
                f"The recipe {self.name or 'of your own'}: {' '.join(sentences(error))}"
            ) from error
        return (made if self.name else made.model_copy(update={"name": made.differences}),)

    @property
    def title(self) -> str:
        """Its name, also if its steps do not fit together; empty without any step."""
        try:
            return ", ".join(recipe.name for recipe in self.recipes)
        except RecipeError:
            return self.name or "own"


NONE_OF_MY_OWN = OwnRecipe()


def in_order(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a form with the position of each field, also in models within the form.

    The form sorts by it. Prefect numbers the parameters alone, and PostgreSQL keeps the keys of JSON in an
    order of its own.
    """

    def numbered(model: Mapping[str, Any]) -> dict[str, Any]:
        fields = {
            name: {**about, "position": about.get("position", number)}
            for number, (name, about) in enumerate(model.get("properties", {}).items())
        }
        return {**model, "properties": fields} if fields else dict(model)

    models = {name: numbered(model) for name, model in schema.get("definitions", {}).items()}
    return {**numbered(schema), "definitions": models}


def _content(name: str, button: BaseModel) -> dict[str, Any] | None:
    """Return a step as a table of a recipe."""
    if isinstance(button, NoStep):
        return None
    table: dict[str, Any] = button.model_dump()
    if STEPS[name].settings:
        del table["model"]
        return table
    if "gap" in table:
        table["stop"] = {"rtol": table.pop("gap")}
    if "rows" in table:
        rows, columns = table.pop("rows"), table.pop("columns")
        if rows and columns:
            raise RecipeError(
                "A step works row by row or column by column: choose one of the two, or neither."
            )
        table["direction"] = "x" if rows else "y" if columns else "both"
    if "choose" in table and table.pop("choose"):
        table["choose"] = "auto"
    return table
