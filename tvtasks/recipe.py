"""A recipe: the steps of the paper's workflow (its figure 2) and their parameters.

Recipes are TOML files; the presets of tvtasks are such files, too.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import is_dataclass
from functools import cached_property
from importlib import resources
from itertools import chain
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

from tvtasks.draft import ModelSettings, Settings
from tvtasks.errors import ConfigurationError, RecipeError
from tvtasks.models import Positive
from tvtasks.steps import MODELS, STEPS, HuberROFStep, Median, TGVL1Step, TVL1Step, parameters_of

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

_SELECTION = ("channel", "direction", "frames")
NOT_PARAMETERS = {"name", "description", *_SELECTION}
"""Keys of a recipe that do not influence the result."""
Technique = Literal["STM", "AFM", "SEM", "STEM", "TEM", "other"]
_LONGEST_NAME = 80
FRAMES = r"^\s*(all|\d+(\s*-\s*\d+)?(\s*,\s*\d+(\s*-\s*\d+)?)*)\s*$"
"""What `Recipe.frames` may be."""


class _SideBySide:
    """Lists the models next to "None" in the dashboard's form, which cannot show a choice within a choice."""

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        schema = handler(core_schema)
        choices = [inner for choice in schema["anyOf"] for inner in choice.get("oneOf", [choice])]
        return {**schema, "anyOf": choices}


class _Head(BaseModel):
    # The dashboard's form shows the texts below the fields.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    name: Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME)] = "recipe"
    """Name of the recipe."""
    description: str = ""
    """When to use it, in one line."""
    scale: Literal["range", "max", "percentile"] | Positive = "range"
    """How to bring the image to [0, 1], to which λ and α refer: range (lowest and highest value), max (divide
    by the highest value, as the paper's code does), percentile (0.1 and 99.9 %, robust against spikes), or a
    number in the unit of the image: the lowest value becomes 0, and that much more becomes 1.
    """
    databar: Annotated[int, Field(ge=0)] | None = None
    """Height of a data bar at the bottom, in rows; if empty, as the file says."""


if TYPE_CHECKING:

    class _Steps(_Head):
        lines: ModelSettings | None = None
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
    """The steps to run, in the order of `tvtasks.steps.STEPS`; None for a step that is left out.

    Examples
    --------
    >>> Recipe.load("afm-background").steps
    ('background', 'median')
    >>> Recipe.model_validate({"denoise": {"model": "tv-l1", "lam": 1.0}}).arrays
    ('restored',)
    """

    channel: str | tuple[str, ...] | None = None
    """Images to take from a file: the name of a channel (Z), a quantity (height), a pattern for either
    (Frequency*), or several of these; if empty, the usual ones for the technique.
    """
    direction: Literal["forward", "backward", "both"] | None = None
    """Fast-scan direction to take; forward if empty."""
    frames: Annotated[str, Field(pattern=FRAMES)] | None = None
    """Frames to take from a stack or series, counted from 0: all, or numbers and ranges such as 0-9, 20; if
    empty, all, unless that makes more than 64 images.
    """
    # Recipes as in TOML and not as models: Prefect cannot make a form of a model that contains itself.
    by_technique: dict[Technique, dict[str, Any]] | None = None
    """Instead of steps, a recipe for each technique: the name of a preset, a TOML file, or the recipe itself;
    `other` applies where the file names no technique or one that is not listed.
    """

    @field_validator("frames", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return ", ".join(map(str, value))
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("by_technique", mode="before")
    @classmethod
    def _loaded(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        recipes = {}
        for technique, given in value.items():
            recipe = cls.load(given) if isinstance(given, str) else cls.model_validate(given)
            if recipe.by_technique:
                raise ValueError(
                    f"must name a recipe with steps for {technique}, not another list of techniques"
                )
            recipes[technique] = recipe.model_dump(mode="json", exclude_none=True)
        return recipes

    @model_validator(mode="before")
    @classmethod
    def _with_numbers(cls, content: Any) -> Any:
        """Replace ``lam = "auto"``, or a size without λ, by the usual λ and the request to choose another."""
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
                raise ValueError("it has both steps and by_technique: leave out one of the two")
            return self
        if not self.steps:
            possible = ", ".join(name for name, step in STEPS.items() if not step.follows)
            raise ValueError(f"it has no step: give at least one of {possible}")
        for name, table in self.tables.items():
            step, other = STEPS[name], STEPS[name].follows
            if other:
                before = self.tables.get(other)
                if before is None:
                    raise ValueError(f"{name} works on the {other}: add a [{other}] step")
                if table.chooses and getattr(table, "model", "") != getattr(before, "model", ""):
                    raise ValueError(
                        f'{name} with lam = "auto" takes the λ of the {other}: give both the same model'
                    )
            if getattr(table, "feature_size", None) is not None and not step.sized:
                raise ValueError(
                    f"{name} has a feature_size, which only the background can have: leave it out"
                )
        return self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some fields changed, as pydantic does."""
        copy = super().model_copy(update=update, deep=deep)
        for derived in ("parameters", "digest"):
            copy.__dict__.pop(derived, None)
        return copy

    def __repr__(self) -> str:
        """Name the recipe and its steps, with their models and values of λ."""
        words = [_step_in_words(name, table) for name, table in self.tables.items()]
        words += [f"{key}: {one.get('name', '')}" for key, one in (self.by_technique or {}).items()]
        return f"Recipe {self.name}: {', '.join(words)}"

    __str__ = __repr__

    @property
    def differences(self) -> str:
        """The steps with λ and what is not as usual in them, short enough for a name."""
        words = [
            " ".join([_step_in_words(name, table), *_unusual(table)]) for name, table in self.tables.items()
        ]
        return ", ".join(words)[:_LONGEST_NAME]

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the steps to run, in order."""
        return tuple(self.tables)

    @property
    def tables(self) -> dict[str, Settings]:
        """The settings of each step to run, by name, in order."""
        return {name: table for name in STEPS if (table := getattr(self, name)) is not None}

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the arrays that a result can have, without the raw image."""
        made = [(*STEPS[name].arrays, *table.arrays) for name, table in self.tables.items()]
        return (*dict.fromkeys(name for names in made for name in names), "restored")

    @property
    def chooses(self) -> bool:
        """Whether the λ of any step is chosen for each image."""
        return any(table.chooses for table in self.tables.values())

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Everything that influences the result, defaults included, safe for JSON. Do not change it.

        Name and description are left out, and so are the images that the recipe takes from a file.
        """
        return self.model_dump(mode="json", exclude=NOT_PARAMETERS, exclude_none=True)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of `parameters`, hexadecimal: equal for recipes that give the same results."""
        return hashlib.sha256(canonical_json(self.parameters).encode()).hexdigest()

    @property
    def file_digest(self) -> str:
        """SHA-256 of `parameters` and of the images to take: equal if files give the same results."""
        selection = self.model_dump(mode="json", include=set(_SELECTION), exclude_none=True)
        if not selection:
            return self.digest
        return hashlib.sha256(canonical_json([self.digest, selection]).encode()).hexdigest()

    def for_technique(self, technique: str | None, image: str = "The image") -> Recipe:
        """Return the recipe for an image: this one, or the one that it lists for the image's technique.

        Parameters
        ----------
        technique
            As the file gives it: ``STM``, ``SEM`` …; None if it gives none.
        image
            Name of the image, for a message.

        Raises
        ------
        RecipeError
            The recipe lists techniques, and not this one.
        """
        if self.by_technique is None:
            return self
        choices: dict[str, dict[str, Any]] = dict(self.by_technique.items())
        found = choices.get(technique or "other") or choices.get("other")
        if found is None:
            why = f"was taken by {technique}" if technique else "names no technique"
            raise RecipeError(
                f"{image} {why}, and the recipe {self.name} has no entry for that. Use one of the recipes "
                f"{', '.join(name for name in preset_names() if name != self.name)}, or a TOML file."
            )
        chosen = Recipe.model_validate(found)
        own = {
            key: value
            for key in ("channel", "direction", "frames")
            if (value := getattr(self, key)) is not None
        }
        return chosen.model_copy(update=own)

    @classmethod
    def of(cls, given: Recipe | str | Path | Mapping[str, Any] | None = None, **steps: Any) -> Recipe:
        """Return a recipe from whatever describes one.

        Parameters
        ----------
        given
            A recipe, the name of a preset, the path of a TOML file, or a mapping as in TOML.
        **steps
            Steps to set or to change: a mapping as in TOML, a model such as ``HuberROF(0.5)``, or None to
            leave the step out.

        Raises
        ------
        RecipeError
            There is no such recipe, or it is invalid; the message names key and value.

        Examples
        --------
        >>> Recipe.of("afm-background", median=None).steps
        ('background',)
        >>> from tvtasks import HuberROF
        >>> Recipe.of(denoise=HuberROF(4.0)).denoise.lam
        4.0
        """
        if isinstance(given, Recipe) and not steps:
            return given
        if isinstance(given, str | Path):
            given = cls.load(given)
        content: dict[str, Any] = {}
        if isinstance(given, Recipe):
            content = given.model_dump(mode="json", exclude_none=True)
        elif given is not None:
            content = dict(given)
        content |= {name: _table(step) for name, step in steps.items()}
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise RecipeError("The recipe is not valid: " + " ".join(sentences(error))) from error

    @classmethod
    def load(cls, name_or_path: str | Path) -> Recipe:
        """Load a preset by its name, or a TOML file.

        Raises
        ------
        RecipeError
            There is no such recipe, or it is invalid; the message names key and value.
        """
        text, place = _find(name_or_path)
        if place in (loading := _loading.get()):
            raise RecipeError(f"{place} names itself in by_technique. Name a recipe with steps there.")
        token = _loading.set((*loading, place))
        try:
            return cls._parsed(text, place, name_or_path)
        except RecursionError as error:
            raise RecipeError(f"{place} is nested too deeply. Remove the innermost tables.") from error
        finally:
            _loading.reset(token)

    @classmethod
    def _parsed(cls, text: str, place: str, name_or_path: str | Path) -> Recipe:
        try:
            content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise RecipeError(f"{place} is not valid TOML: {error}.") from error
        content.setdefault("name", Path(name_or_path).stem[:_LONGEST_NAME])
        choices = content.get("by_technique")
        if isinstance(choices, dict):  # a file name is relative to this file
            for technique, given in choices.items():
                if isinstance(given, str) and given not in preset_names():
                    choices[technique] = str(Path(name_or_path).parent / given)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise RecipeError(f"{place}: " + " ".join(sentences(error))) from error


_loading: ContextVar[tuple[str, ...]] = ContextVar("recipes being loaded", default=())


def _table(step: Any) -> Any:
    """Return a step as in TOML, from a model or a mapping."""
    model = getattr(step, "name", "")
    if model in MODELS and is_dataclass(step) and not isinstance(step, type):
        return {"model": model} | {
            key: getattr(step, key) for key in parameters_of(model) if hasattr(step, key)
        }
    return step


def canonical_json(value: Any) -> str:
    """Return JSON in one definite form (sorted keys, no spaces), so that equal content has equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def preset_names() -> list[str]:
    """Return the names of the recipes that come with tvtasks."""
    return sorted(entry.name[:-5] for entry in _presets() if entry.name.endswith(".toml"))


def _step_in_words(name: str, table: Settings) -> str:
    model, lam = getattr(table, "model", ""), getattr(table, "lam", None)
    chosen = "" if lam is None else " λ auto" if table.chooses else f" λ {lam:g}"
    return name if model == name else f"{name} {model}{chosen}".strip()


def _unusual(table: Settings) -> Iterator[str]:
    """Yield the parameters that are not as usual, except for model and λ."""
    for key, about in type(table).__pydantic_fields__.items():  # type: ignore[attr-defined]
        value = getattr(table, key)
        if key not in {"model", "lam", "choose", "stop"} and value != about.get_default():
            yield f"{about.title or key} {value}"


def preset_text(name: str) -> str:
    """Return the TOML of a preset, comments included."""
    if name not in preset_names():
        raise RecipeError(
            f"There is no preset {name!r}.{_meant(name, preset_names())} "
            f"Presets: {', '.join(preset_names())}."
        )
    return (resources.files("tvtasks") / "presets" / f"{name}.toml").read_text("utf-8")


def _presets() -> list[Any]:
    return list((resources.files("tvtasks") / "presets").iterdir())


def _find(name_or_path: str | Path) -> tuple[str, str]:
    """Return the text of a recipe, and its name for a message."""
    if str(name_or_path) in preset_names():
        return preset_text(str(name_or_path)), f"Preset {name_or_path}"
    path = Path(name_or_path)
    try:
        return path.read_text("utf-8-sig"), f"Recipe {path}"  # Notepad may write a byte-order mark
    except FileNotFoundError:
        raise RecipeError(
            f"There is no recipe {str(name_or_path)!r}, neither as a file nor as a preset."
            f"{_meant(str(name_or_path), preset_names())} Presets: {', '.join(preset_names())}."
        ) from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or an impossible path
        reason = getattr(error, "strerror", None) or "it is not a text file in UTF-8"
        raise RecipeError(f"Recipe {path} cannot be read: {reason}.") from error


def _meant(word: str, known: Iterable[str]) -> str:
    """Return a question that names the known word nearest to a misspelt one; empty if none is near."""
    place, dot, last = word.rpartition(".")
    near = difflib.get_close_matches(last.lower(), list(known), n=1)
    return f" Did you mean {place}{dot}{near[0]}?" if near else ""


def _keys() -> set[str]:
    """Return all keys that a recipe or one of its steps can have."""
    tables = [step.settings for step in STEPS.values() if step.settings]
    return {*Recipe.model_fields, *chain.from_iterable(map(parameters_of, MODELS))}.union(
        *(table.__pydantic_fields__ for table in tables)  # type: ignore[attr-defined]
    )


def read_settings(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file of other settings than a recipe's; `what` begins the message of a fault.

    Raises
    ------
    ConfigurationError
        It cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))  # Notepad may write a byte-order mark
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"{what} {path} cannot be read: {reason}.") from error


def sentences(error: ValidationError) -> list[str]:
    """Describe each fault by its key, its value and what is allowed."""
    found = []
    for fault in error.errors():
        # The location includes the tags of unions, which are not keys of the file.
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
            found.append(f"{key} is an unknown key; check its spelling.{_meant(key, _keys())}")
        elif kind in ("model_attributes_type", "dataclass_type") or (
            kind == "union_tag_invalid" and not isinstance(value, dict)
        ):
            found.append(f"{key} = {value!r} is not allowed: it must be a table with keys of its own.")
        elif kind == "union_tag_invalid":
            which = "rule" if key.endswith("stop") else "model"
            tag = value.get(which)
            allowed = str(fault.get("ctx", {}).get("expected_tags", ""))
            found.append(f"{key}.{which} = {tag!r} is not allowed: it can be {allowed}.")
        else:
            reason = fault["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("String ")
            reason = reason.removesuffix(".")
            if kind == "float_parsing" and key.endswith(".lam"):
                reason = 'must be a number greater than 0, or "auto"'
            if isinstance(value, dict | Recipe):
                found.append(f"{key}: {reason}." if key else f"{reason}.")
            else:
                found.append(f"{key} = {value!r} is not allowed: it {reason}.")
    return list(dict.fromkeys(found))
