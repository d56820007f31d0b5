"""A restoration in progress: what a step takes and returns, and what a model makes of an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tvtasks.hot_pixels import without
from tvtasks.micrograph import Micrograph, Region
from tvtasks.solvers import Convergence

if TYPE_CHECKING:
    from tvtasks.choosing import Choice
    from tvtasks.choosing.diagnosis import Diagnosis
    from tvtasks.recipe import Recipe

Floats = NDArray[np.floating[Any]]
Kind = Literal["level", "difference", "plain", "input"]


class Made(NamedTuple):
    """An array that a step made.

    Attributes
    ----------
    values
        The array, scaled as the models see the image.
    kind
        A ``level`` contains the zero level of the raw image, a ``difference`` does not, ``plain`` values are
        not in the unit of the image, and an ``input`` is, and is not scaled.
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
    surface
        What the background step itself found; None before it.
    unfiltered
        The input of the median filter, in which the noise is still white.
    diagnosis
        What was found to be wrong with the raw image, in its unit; None unless a step asked.
    steps, notes
        A record of each finished step, and sentences for the user.
    hot
        Rows and columns of hot pixels in the region, shape (count, 2).
    """

    micrograph: Micrograph
    recipe: Recipe
    region: Region
    offset: float
    factor: float
    current: Floats
    lifted: bool = True
    arrays: Mapping[str, Made] = field(default_factory=dict)
    surface: Floats | None = None
    unfiltered: Floats | None = None
    diagnosis: Diagnosis | None = None
    steps: tuple[StepRecord, ...] = ()
    notes: tuple[str, ...] = ()
    hot: NDArray[np.intp] = field(default_factory=lambda: np.empty((0, 2), np.intp))

    @property
    def raw(self) -> NDArray[Any]:
        """The region of the raw image, in its unit and dtype, without hot pixels."""
        raw = self.micrograph.data[self.region.slices]
        return without(raw, self.hot) if len(self.hot) else raw

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
    level
        Whether `u` contains the zero level of the image, if it is a background.
    diagnosis
        As in `Draft`, if the model made it.
    """

    u: NDArray[Any]
    used: Mapping[str, Any] = field(default_factory=dict)
    convergence: Convergence | None = None
    choice: Choice | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, tuple[NDArray[Any], Kind]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    level: bool = True
    diagnosis: Diagnosis | None = None


class Settings:
    """One table of a recipe: the parameters of a step. All such classes derive from this one.

    Attributes
    ----------
    arrays
        Names of the arrays that a step with these settings makes, besides those of every such step.
    chooses
        Whether λ is chosen for each image.
    checks_itself
        Whether the step checks what it takes of the sample, and notes it.
    """

    arrays: ClassVar[tuple[str, ...]] = ()
    checks_itself: ClassVar[bool] = False

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
        Bytes that it needs for each pixel, besides its input. Measured as the peak of the resident memory:
        for the variational models on 500² to 1500² pixels of noise (where an iteration goes over to float64,
        that counts), for the others on 700² and 1000² pixels of noise, terraces, counts, and a lattice with
        and without its backward scan. A model that does not say so counts like Huber-ROF.
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
