"""The model that averages noise away over what looks the same in an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from tvtasks.draft import Applied, Draft, Floats, ModelSettings
from tvtasks.models import STRICT


@dataclass(frozen=True, config=STRICT | {"title": "By what the image is"}, kw_only=True)
class Averaged(ModelSettings):
    """Averages the noise of an image of counts over what looks the same; leaves other images alone."""

    name: ClassVar[str] = "auto"
    title: ClassVar[str] = "By what the image is"
    summary: ClassVar[str] = "Averages noise over what looks the same, if the image allows."
    usual_lam: ClassVar[Mapping[str, float | None]] = {"denoise": None}

    model: Annotated[Literal["auto"], Field(json_schema_extra={"default": "auto"})]

    def apply(self, step: str, draft: Draft, image: Floats) -> Applied:
        """Return the image with less noise."""
        from tvtasks.choosing.counts import Stabilised, are_counts, averaged  # noqa: PLC0415 - brings in scipy
        from tvtasks.choosing.noise import estimate_noise  # noqa: PLC0415

        raw = draft.raw
        if not are_counts(raw, draft.micrograph.technique):
            return Applied(image)
        values = image.astype(np.float64) * draft.factor + (draft.offset if draft.lifted else 0.0)
        noise = estimate_noise(raw.astype(np.float64))
        u = averaged(values, noise, Stabilised.of(noise))
        if u is None:
            words = "The noise was left: neighbouring pixels share it, and averaging would mostly blur."
            return Applied(image, notes=(words,))
        words = "Noise was averaged over what looks the same."
        return Applied((u - (draft.offset if draft.lifted else 0.0)) / draft.factor, notes=(words,))
