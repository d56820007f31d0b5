"""The model that averages noise away over what looks the same in an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from tvtasks.draft import Applied, Draft, Floats, ModelSettings
from tvtasks.models import STRICT
from tvtasks.scores import ENOUGH

NO_LATTICE = "The noise was left: without counts or a plain lattice it cannot be told from detail."
_CRYSTALS = ("STEM", "TEM")  # whose lattices may cover a small part of the image
_LATTICE = 0.4
"""Share of an image's variance, noise aside, that a lattice explains: .5 and more for lattices (synthetic and
real), .24 at most for molecules in rows, terraces, and textures of SEM whose spectra have peaks, too."""


@dataclass(frozen=True, config=STRICT | {"title": "By what repeats"}, kw_only=True)
class ByWhatRepeats(ModelSettings):
    """Averages noise over what looks the same: the cells of a lattice, or similar patches of counts."""

    name: ClassVar[str] = "auto"
    title: ClassVar[str] = "By what repeats"
    summary: ClassVar[str] = (
        "Averages noise over what looks the same: cells of a lattice, or similar patches."
    )
    checks_itself: ClassVar[bool] = True
    usual_lam: ClassVar[Mapping[str, float | None]] = {"denoise": None}
    memory: ClassVar[int] = 80
    arrays: ClassVar[tuple[str, ...]] = ("restored_errors", "looks")

    patches: Annotated[
        bool,
        Field(description="Where no lattice is, average similar patches, in images that are no counts, too."),
    ] = False
    model: Annotated[Literal["auto"], Field(json_schema_extra={"default": "auto"})]

    def apply(self, step: str, draft: Draft, image: Floats) -> Applied:
        """Return the image with less noise, the standard error of each pixel, and its number of looks."""
        from tvtasks.choosing.checks import checks  # noqa: PLC0415 - brings in scipy
        from tvtasks.choosing.counts import are_counts  # noqa: PLC0415
        from tvtasks.choosing.denoising import denoise_auto  # noqa: PLC0415
        from tvtasks.choosing.noise import estimate_noise  # noqa: PLC0415
        from tvtasks.choosing.waves import waves  # noqa: PLC0415

        level = draft.offset if draft.lifted else 0.0
        values = image.astype(np.float64) * draft.factor + level
        technique = draft.micrograph.technique
        patches = self.patches or are_counts(draft.raw, technique)
        noise = estimate_noise(values)
        sample = max(float(values.var()) - noise.sigma**2, 0.0)
        lattice = technique in _CRYSTALS or bool(waves(values).values.var() > _LATTICE * sample > 0)
        if not patches and not lattice:
            return Applied(image, notes=(NO_LATTICE,))
        done = denoise_auto(values, noise=noise, lattice=lattice, patches=patches, total_variation=False)
        if done.method == "none":
            return Applied(image, evidence=done.evidence, notes=(done.reason,))
        lost = [check.sentence for check in checks(values, done.image) if check.kept < ENOUGH]
        return Applied(
            (done.image - level) / draft.factor,
            evidence={"method": done.method, **done.evidence},
            arrays={
                "restored_errors": ((done.errors / draft.factor).astype(image.dtype), "difference"),
                "looks": (done.looks.astype(np.float32), "plain"),
            },
            notes=(done.reason, *lost),
        )
