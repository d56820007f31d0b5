"""A step and a model that are not in tvtasks, registered as one would register them; see test_toy.py.

The step levels the lines before the background and has arrays of its own; the model denoises without a λ.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass
from scipy.ndimage import uniform_filter

from tvtasks import steps
from tvtasks.draft import Applied, Draft, Floats, Made, ModelSettings, Settings, StepRecord
from tvtasks.models import STRICT
from tvtasks.steps import Step

assert "tvtasks.recipe" not in sys.modules, "recipes are made from the tables when they are first imported"


@dataclass(frozen=True, config=STRICT)
class Levels(Settings):
    """Bring every line to one level."""

    strength: Annotated[float, Field(gt=0, le=1, description="How much of each offset is taken away.")] = 1.0


def level_lines(draft: Draft) -> Draft:
    started, clock = datetime.now(UTC), time.perf_counter()
    parameters = draft.recipe.parameters["levels"]
    means = draft.current.mean(axis=1)
    offsets = ((means - means.mean()) * parameters["strength"]).astype(draft.current.dtype)
    scars = np.abs(draft.current - np.median(draft.current)) > 0.4
    record = StepRecord(
        "levels",
        parameters,
        started,
        time.perf_counter() - clock,
        evidence={"spread": float(np.ptp(offsets))},
    )
    after = draft.without(np.repeat(offsets[:, None], draft.current.shape[1], 1), "levels", level=False)
    own = {"offsets": Made(offsets, "difference", "levels"), "bright": Made(scars, "plain", "levels")}
    return replace(
        after,
        arrays={**after.arrays, **own},
        steps=(*after.steps, record),
        notes=(*after.notes, f"{len(offsets)} lines were levelled."),
    )


@dataclass(frozen=True, config=STRICT, kw_only=True)
class BoxMean(ModelSettings):
    """Replaces each pixel by the mean of a box."""

    name: ClassVar[str] = "box-mean"
    title: ClassVar[str] = "Box mean"
    summary: ClassVar[str] = "Replaces each pixel by the mean of a box."
    usual_lam: ClassVar[Mapping[str, float | None]] = {"denoise": None}
    arrays: ClassVar[tuple[str, ...]] = ("restored_errors", "looks")

    side: Annotated[int, Field(ge=1, title="s", description="Pixels along each side of the box.")] = 3
    model: Annotated[Literal["box-mean"], Field(json_schema_extra={"default": "box-mean"})]

    def apply(self, step: str, draft: Draft, image: Floats) -> Applied:
        u = uniform_filter(image, self.side)
        spread = np.sqrt(np.maximum(uniform_filter(image * image, self.side) - u * u, 0)) / self.side
        looks = np.full(image.shape, self.side**2, np.uint16)
        return Applied(u, arrays={"restored_errors": (spread, "difference"), "looks": (looks, "plain")})


steps.MODELS[BoxMean.name] = BoxMean
levels = Step(
    "levels", "level lines", "Bring every line to one level.", level_lines, Levels, ("offsets", "bright")
)
tables = {"levels": levels, **steps.STEPS}
steps.STEPS.clear()
steps.STEPS.update(tables)
