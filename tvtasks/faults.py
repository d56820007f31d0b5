"""The models that take faults of the scan out: offsets and scars of lines, tilt, bow and drift.

Both ask `tvtasks.choosing.diagnosis`, which finds all of these together, because each hides the others. A
part stays in the image unless the evidence for it is clear.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from tvtasks.draft import Applied, Draft, Floats, Kind, ModelSettings
from tvtasks.models import STRICT

if TYPE_CHECKING:
    from tvtasks.choosing.diagnosis import Diagnosis
    from tvtasks.micrograph import Micrograph


@dataclass(frozen=True, config=STRICT | {"title": "Offsets and scars"}, kw_only=True)
class OffsetsAndScars(ModelSettings):
    """Takes offsets of lines, scars and charging streaks out of an image, where they are certain."""

    name: ClassVar[str] = "offsets-scars"
    title: ClassVar[str] = "Offsets and scars"
    summary: ClassVar[str] = "Takes out offsets of lines, scars and charging streaks that are certain."
    checks_itself: ClassVar[bool] = True
    usual_lam: ClassVar[Mapping[str, float | None]] = {"lines": None}
    memory: ClassVar[int] = 96
    arrays: ClassVar[tuple[str, ...]] = ("offsets", "scars", "opposite_scan", "disagreement")

    offsets: Annotated[bool, Field(description="Take out offsets of lines.")] = True
    scars: Annotated[bool, Field(description="Take out scars, tip changes and charging streaks.")] = True
    fast_axis: Annotated[
        Literal["x", "y"], Field(description="Fast-scan axis: x if scan lines are rows, y if columns.")
    ] = "x"
    model: Annotated[Literal["offsets-scars"], Field(json_schema_extra={"default": "offsets-scars"})]

    def apply(self, step: str, draft: Draft, image: Floats) -> Applied:
        """Return the offsets and scars, each also as an array of its own."""
        found, notes = _diagnosed(draft)
        along = found.offsets[:, np.newaxis] if found.direction == "x" else found.offsets
        return Applied(
            (along + found.scars) / draft.factor,
            evidence=_evidence(found, ("offsets", "scars", "streaks")),
            arrays={
                "offsets": (found.offsets / draft.factor, "difference"),
                "scars": ((found.scars / draft.factor).astype(image.dtype), "difference"),
                **_pair(draft.micrograph, found),
            },
            notes=notes,
            level=False,
            diagnosis=found,
        )


@dataclass(frozen=True, config=STRICT | {"title": "Tilt, bow and drift"}, kw_only=True)
class TiltBowDrift(ModelSettings):
    """Takes tilt, bow and drift out of an image, where they are certain; steps and islands stay."""

    name: ClassVar[str] = "tilt-bow-drift"
    title: ClassVar[str] = "Tilt, bow and drift"
    summary: ClassVar[str] = "Takes out tilt, bow and drift that are certain; terraces stay, and lie flat."
    checks_itself: ClassVar[bool] = True
    usual_lam: ClassVar[Mapping[str, float | None]] = {"background": None}
    memory: ClassVar[int] = 96

    tilt: Annotated[bool, Field(description="Take out the tilt of the terraces.")] = True
    bow: Annotated[bool, Field(description="Take out the bow of the scanner.")] = True
    drift: Annotated[
        bool, Field(description="Take out a slow background without edges, such as drift under a lattice.")
    ] = True
    model: Annotated[Literal["tilt-bow-drift"], Field(json_schema_extra={"default": "tilt-bow-drift"})]

    def apply(self, step: str, draft: Draft, image: Floats) -> Applied:
        """Return the sum of tilt, bow and drift."""
        found, notes = _diagnosed(draft)
        return Applied(
            found.background / draft.factor,
            evidence=_evidence(found, ("tilt", "bow", "drift")),
            notes=notes,
            level=False,
            diagnosis=found.without_images(),  # the draft has them now, and denoising needs the memory
        )


def _diagnosed(draft: Draft) -> tuple[Diagnosis, tuple[str, ...]]:
    """Return the diagnosis of the raw image, and the paragraph for the user if it is a new one."""
    from tvtasks.choosing.diagnosis import diagnose  # noqa: PLC0415 - brings in scipy
    from tvtasks.choosing.size import metres  # noqa: PLC0415

    if draft.diagnosis is not None:
        return draft.diagnosis, ()
    micrograph, lines = draft.micrograph, draft.recipe.lines
    other = micrograph.opposite_scan
    found = diagnose(
        draft.raw,
        technique=micrograph.technique,
        pixel_size=metres(micrograph.pixel_size, micrograph.pixel_unit),
        unit=micrograph.units,
        direction=lines.fast_axis if isinstance(lines, OffsetsAndScars) else "x",
        backward=None if other is None else other[draft.region.slices],
        leave=_left(draft),
    )
    return found, (" ".join(found.sentences),)


def _pair(micrograph: Micrograph, found: Diagnosis) -> dict[str, tuple[NDArray[Any], Kind]]:
    """Return the scan in the other direction, and where the two disagree, if that scan was used."""
    other, disagreement = micrograph.opposite_scan, found.disagreement
    if other is None or disagreement is None:
        return {}
    return {"opposite_scan": (other, "input"), "disagreement": (disagreement.astype(np.float32), "plain")}


def _left(draft: Draft) -> frozenset[str]:
    """Return the parts that the recipe leaves in the image."""
    wanted = set()
    for table in (draft.recipe.lines, draft.recipe.background):
        if isinstance(table, OffsetsAndScars | TiltBowDrift):
            wanted |= {key.name for key in fields(cast(Any, table)) if getattr(table, key.name) is True}
    return frozenset({"offsets", "scars", "tilt", "bow", "drift"} - wanted)


def _evidence(found: Diagnosis, parts: tuple[str, ...]) -> dict[str, Any]:
    """Return what the diagnosis records on some parts."""
    record = found.record
    return {
        **record,
        "decisions": [one for one in record["decisions"] if one["part"] in parts],
        "gaps": {part: gap for part, gap in record["gaps"].items() if part in parts},
    }
