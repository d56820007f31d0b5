"""A recipe: which steps of the paper's workflow (its figure 2) are done, and with what parameters.

Recipes are TOML files; the presets that come with tvtasks are files of the same kind.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from tvtasks.errors import RecipeError
from tvtasks.models import Positive
from tvtasks.steps import MODELS, STEPS, HuberROFStep, Median, ModelSettings, Settings, TGVL1Step, TVL1Step

__all__ = [
    "HuberROFStep",
    "Median",
    "Recipe",
    "TGVL1Step",
    "TVL1Step",
    "canonical_json",
    "preset_names",
    "preset_text",
    "sentences",
]

NOT_PARAMETERS = {"name", "description", "channel", "direction"}
"""Keys of a recipe that do not decide what becomes of an image."""
Technique = Literal["STM", "AFM", "SEM", "STEM", "TEM", "other"]
_LONGEST_NAME = 80


class _SideBySide:
    """Puts the models beside "None" in the dashboard's form, which cannot name a choice within a choice."""

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        schema = handler(core_schema)
        choices = [inner for choice in schema["anyOf"] for inner in choice.get("oneOf", [choice])]
        return {**schema, "anyOf": choices}


class _Head(BaseModel):
    # The words beside the fields are shown in the dashboard's form.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    name: Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME)] = "recipe"
    """What to call it."""
    description: str = ""
    """When to use it, in a line."""
    scale: Literal["range", "max", "percentile"] | Positive = "range"
    """How the image is brought to the [0, 1] that λ and α refer to: range (least and greatest value), max
    (divide by the greatest value, as the paper's code does), percentile (0.1 and 99.9 %, robust against
    spikes), or a number: the least value becomes 0, and so much more, in the image's own unit, becomes 1."""
    databar: Annotated[int, Field(ge=0)] | None = None
    """Rows at the bottom that are no image but a bar with text; if not given, as the file says."""


if TYPE_CHECKING:

    class _Steps(_Head):
        background: ModelSettings | None = None
        median: Median | None = None
        contrast: ModelSettings | None = None
        denoise: ModelSettings | None = None

else:
    _Steps = create_model(
        "_Steps",
        __base__=_Head,
        **{
            step.name: (
                Annotated[step.table | None, _SideBySide()],
                Field(default=None, description=step.summary),
            )
            for step in STEPS.values()
        },
    )


class Recipe(_Steps):
    """The steps to do, in the order of `tvtasks.steps.STEPS`; None for a step left out."""

    channel: str | tuple[str, ...] | None = None
    """Which images of a file: the name of a channel (Z), what it measures (height), a pattern for either
    (Frequency*), or several of these; if not given, what is usual for the technique."""
    direction: Literal["forward", "backward", "both"] | None = None
    """Which fast-scan direction; forward if not given."""
    # Recipes as they are in TOML, not as models: Prefect cannot make a form out of a model within itself.
    by_technique: dict[Technique, dict[str, Any]] | None = None
    """Instead of steps, the recipe for each technique: the name of a preset, a TOML file, or the recipe
    itself; other is for what names no technique, or one that is not there."""

    @field_validator("by_technique", mode="before")
    @classmethod
    def _loaded(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        recipes = {}
        for technique, given in value.items():
            recipe = cls.load(given) if isinstance(given, str) else cls.model_validate(given)
            if recipe.by_technique:
                raise ValueError(f"must name a recipe with steps for {technique}, not one that chooses again")
            recipes[technique] = recipe.model_dump(mode="json", exclude_none=True)
        return recipes

    @model_validator(mode="before")
    @classmethod
    def _with_numbers(cls, content: Any) -> Any:
        """Write ``lam = "auto"``, or a size without λ, as the λ that is usual and that another is chosen."""
        if not isinstance(content, dict):
            return content
        changed = {}
        for name, step in STEPS.items():
            table = content.get(name)
            if not isinstance(table, dict) or (model := step.models.get(str(table.get("model")))) is None:
                continue
            if (usual := model.usual_lam[name]) is not None:
                lam = table.get("lam", "auto" if "feature_size" in table else None)
                if lam == "auto":
                    changed[name] = {**table, "lam": usual, "choose": "auto"}
        return content | changed

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.by_technique:
            if self.steps:
                raise ValueError("it has steps of its own beside by_technique: leave out one of the two")
            return self
        if not self.steps:
            possible = ", ".join(name for name, step in STEPS.items() if not step.follows)
            raise ValueError(f"it has no step: give at least one of {possible}")
        for name, table in self.tables.items():
            step, other = STEPS[name], STEPS[name].follows
            if other:
                before = self.tables.get(other)
                if before is None:
                    raise ValueError(f"{name} is given back from the {other}: add a [{other}] step")
                if table.chooses and getattr(table, "model", "") != getattr(before, "model", ""):
                    raise ValueError(
                        f'{name} with lam = "auto" takes the λ of the {other}, so give both the same model'
                    )
            if getattr(table, "feature_size", None) is not None and not step.sized:
                raise ValueError(f"{name} has a feature_size, which only a background can have: leave it out")
        return self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, some fields changed; see pydantic."""
        copy = super().model_copy(update=update, deep=deep)
        for derived in ("parameters", "digest"):
            copy.__dict__.pop(derived, None)
        return copy

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the steps that are done, in order."""
        return tuple(self.tables)

    @property
    def tables(self) -> dict[str, Settings]:
        """What it says of each step that is done, by name, in order."""
        return {name: table for name in STEPS if (table := getattr(self, name)) is not None}

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the arrays that a result has, beside the raw image."""
        made = [(*STEPS[name].arrays, *table.arrays) for name, table in self.tables.items()]
        return (*dict.fromkeys(name for names in made for name in names), "restored")

    @property
    def chooses(self) -> bool:
        """Whether λ of any step is chosen for each image."""
        return any(table.chooses for table in self.tables.values())

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Everything that decides what becomes of an image, defaults included, safe for JSON; not to change.

        Not its name and description, nor which images of a file it is for.
        """
        return self.model_dump(mode="json", exclude=NOT_PARAMETERS, exclude_none=True)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of `parameters`, hexadecimal: equal for recipes that do the same."""
        return hashlib.sha256(canonical_json(self.parameters).encode()).hexdigest()

    @property
    def file_digest(self) -> str:
        """SHA-256 of `parameters` and of which images it takes: equal where files end up the same."""
        selection = self.model_dump(mode="json", include={"channel", "direction"}, exclude_none=True)
        if not selection:
            return self.digest
        return hashlib.sha256(canonical_json([self.digest, selection]).encode()).hexdigest()

    def for_technique(self, technique: str | None, image: str = "The image") -> Recipe:
        """Return the recipe for an image: this one, or what it has chosen for the image's technique.

        Parameters
        ----------
        technique
            What the file says: ``STM``, ``SEM`` …; None where it says nothing.
        image
            What to call the image in a message.

        Raises
        ------
        RecipeError
            Where it chooses by technique and has nothing for this one.
        """
        if self.by_technique is None:
            return self
        choices: dict[str, dict[str, Any]] = dict(self.by_technique.items())
        found = choices.get(technique or "other") or choices.get("other")
        if found is None:
            says = (
                f"was taken by {technique}" if technique else "does not say by which technique it was taken"
            )
            raise RecipeError(
                f"{image} {says}, so the recipe {self.name} cannot choose for it. Name one of "
                f"{', '.join(name for name in preset_names() if name != self.name)}, or a TOML file."
            )
        chosen = Recipe.model_validate(found)
        own = {key: value for key in ("channel", "direction") if (value := getattr(self, key)) is not None}
        return chosen.model_copy(update=own)

    @classmethod
    def load(cls, name_or_path: str | Path) -> Recipe:
        """Load a preset by its name, or a TOML file.

        Raises
        ------
        RecipeError
            If there is neither, or if it holds what a recipe cannot hold; the message names key and value.
        """
        text, place = _find(name_or_path)
        try:
            content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise RecipeError(f"{place} is not valid TOML: {error}.") from error
        content.setdefault("name", Path(name_or_path).stem[:_LONGEST_NAME])
        choices = content.get("by_technique")
        if isinstance(choices, dict):  # a file that it names lies beside it
            for technique, given in choices.items():
                if isinstance(given, str) and given not in preset_names():
                    choices[technique] = str(Path(name_or_path).parent / given)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise RecipeError(f"{place}: " + " ".join(sentences(error))) from error


def canonical_json(value: Any) -> str:
    """JSON in one definite form: keys sorted, no spaces, so that equal content has equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def preset_names() -> list[str]:
    """Names of the recipes that come with tvtasks."""
    return sorted(entry.name[:-5] for entry in _presets() if entry.name.endswith(".toml"))


def preset_text(name: str) -> str:
    """TOML of a preset, comments included."""
    if name not in preset_names():
        raise RecipeError(f"There is no preset named {name!r}. Presets: {', '.join(preset_names())}.")
    return (resources.files("tvtasks") / "presets" / f"{name}.toml").read_text("utf-8")


def _presets() -> list[Any]:
    return list((resources.files("tvtasks") / "presets").iterdir())


def _find(name_or_path: str | Path) -> tuple[str, str]:
    """Text of a recipe, and what to call it in a message."""
    if str(name_or_path) in preset_names():
        return preset_text(str(name_or_path)), f"Preset {name_or_path}"
    path = Path(name_or_path)
    try:
        return path.read_text("utf-8-sig"), f"Recipe {path}"  # Windows' Notepad may write a byte-order mark
    except FileNotFoundError:
        raise RecipeError(
            f"There is no recipe {str(name_or_path)!r}: it is neither a file nor a preset. "
            f"Presets: {', '.join(preset_names())}."
        ) from None
    except (OSError, ValueError) as error:  # ValueError: bytes that are not UTF-8, or a path no file can have
        reason = getattr(error, "strerror", None) or "a recipe is a text file in UTF-8, and this is none"
        raise RecipeError(f"Recipe {path} cannot be read: {reason}.") from error


def sentences(error: ValidationError) -> list[str]:
    """Say each fault with its key, its value and what is allowed."""
    found = []
    for fault in error.errors():
        # Tags of the unions stand in the location too; they are not keys of the file.
        tags = {*MODELS, "gap", "published"}
        key = ".".join(str(part) for part in fault["loc"] if part not in tags and "[" not in str(part))
        value, kind = fault["input"], fault["type"]
        if fault["loc"] and fault["loc"][0] == "scale":
            allowed = "'range', 'max', 'percentile' or a number greater than 0"
            found.append(f"scale = {value!r} is not allowed: it can be {allowed}.")
        elif kind in ("missing", "union_tag_not_found"):
            missing = key if kind == "missing" else f"{key}.model"
            allowed = "" if kind == "missing" else f" (one of {', '.join(map(repr, STEPS[key].models))})"
            found.append(f"{missing} is missing{allowed}.")
        elif kind in ("extra_forbidden", "unexpected_keyword_argument"):
            found.append(f"{key} is not a key that is known there; check its spelling.")
        elif kind in ("model_attributes_type", "dataclass_type") or (
            kind == "union_tag_invalid" and not isinstance(value, dict)
        ):
            found.append(f"{key} = {value!r} is not allowed: it must be a table of its own keys.")
        elif kind == "union_tag_invalid":
            which = "rule" if key.endswith("stop") else "model"
            tag = value.get(which)
            allowed = str(fault.get("ctx", {}).get("expected_tags", ""))
            found.append(f"{key}.{which} = {tag!r} is not allowed: it can be {allowed}.")
        else:
            reason = fault["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("String ")
            if kind == "float_parsing" and key.endswith(".lam"):
                reason = 'must be a number greater than 0, or "auto"'
            if isinstance(value, dict | Recipe):
                found.append(f"{key}: {reason}." if key else f"{reason}.")
            else:
                found.append(f"{key} = {value!r} is not allowed: it {reason}.")
    return list(dict.fromkeys(found))
