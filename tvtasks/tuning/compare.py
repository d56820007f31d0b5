"""One image as several runs restored it, on one page: two of them, their difference, and what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvtasks.errors import ConfigurationError
from tvtasks.figures import Restored
from tvtasks.micrograph import Region
from tvtasks.pages import page, printable
from tvtasks.scores import QualityScores
from tvtasks.tuning.layers import encode
from tvtasks.tuning.series import part_of

MOST_RUNS = 24
"""A page with more runs is too large."""

_SIDE = 512  # px of the middle of the image
_QUALITIES = (85, 60, 35)
_PRECISE = 0.1  # error of an image, in units of its own roughness
_COARSE = 3e-4  # and at least this part of its range


def compare(runs: Sequence[Restored], names: Sequence[str], scores: Sequence[QualityScores | None]) -> str:
    """Return the page.

    Parameters
    ----------
    runs
        The runs; their restored images have the same shape.
    names
        What each run is called where its recipe does not distinguish it.
    scores
        The scores of each run; None where there are none.

    Raises
    ------
    ConfigurationError
        There are too few or too many runs, or their images are of different sizes.
    """
    if not 2 <= len(runs) <= MOST_RUNS:
        raise ConfigurationError(f"2 to {MOST_RUNS} runs can be compared, and these are {len(runs)}.")
    shapes = {run.restored.shape for run in runs}
    if len(shapes) > 1:
        sizes = ", ".join(f"{columns} × {rows}" for rows, columns in sorted(shapes))
        raise ConfigurationError(f"The images have different sizes ({sizes}); compare runs of one image.")
    table = _differing([_facts(run, score) for run, score in zip(runs, scores, strict=True)])
    labels = _labels(runs, names)
    title = f"{printable(runs[0].micrograph.name)}: {len(runs)} runs"
    for quality in _QUALITIES:
        text = page("tvtasks.tuning", title, data=_data(runs, labels, table, quality))
        if len(text) <= 500_000 * len(runs):
            break
    return text


def _data(
    runs: Sequence[Restored], labels: Sequence[str], table: Mapping[str, Sequence[str]], quality: int
) -> dict[str, Any]:
    first = runs[0]
    micrograph = first.micrograph
    part = part_of(first.restored, _SIDE)
    images = [("raw", micrograph.data[first.region.slices])]
    images += [(label, run.restored) for label, run in zip(labels, runs, strict=True)]
    size = micrograph.pixel_size
    return {
        "name": printable(micrograph.name),
        "shape": [part.bottom - part.top, part.right - part.left],
        "whole": micrograph.data.shape,
        "factor": 1,
        "unit": micrograph.units,
        "pixel": [*size, micrograph.pixel_unit] if size else [1, 1, "px"],
        "compare": [[printable(label), _encoded(image, part, quality)] for label, image in images],
        "table": [[printable(key), *map(printable, values)] for key, values in table.items()],
        "after": [],
    }


def _encoded(image: NDArray[Any], part: Region, quality: int) -> Any:
    shown = image[part.slices].astype(np.float64)
    shown = (shown - np.median(shown)).astype(np.float32)
    rough = float(np.median(np.abs(np.diff(shown, axis=1))))
    tolerance = max(_PRECISE * rough, _COARSE * float(np.ptp(shown)) / 2)
    return encode(shown, np.zeros_like(shown), tolerance, quality)[0]


def _labels(runs: Sequence[Restored], names: Sequence[str]) -> list[str]:
    """Return the names of the recipes; where two are the same, what is different or the name of the file."""
    recipes = [run.recipe.name for run in runs]
    if len(set(recipes)) == len(runs):
        return recipes
    varied = _differing([_flat(run.recipe.parameters) for run in runs])
    words = [
        ", ".join(f"{key.rpartition('.')[2]} {values[n]}" for key, values in varied.items())
        for n in range(len(runs))
    ]
    short = [f"{recipe} {text}".strip() for recipe, text in zip(recipes, words, strict=True)]
    return short if len(set(short)) == len(runs) and max(map(len, short)) < 60 else list(names)


def _facts(run: Restored, scores: QualityScores | None) -> dict[str, str]:
    facts = {"recipe": run.recipe.name} | _flat(run.recipe.parameters)
    for step, choice in run.choices.items():
        facts[f"{step}.lam"] = f"{choice.lam:.4g} (auto)"
    facts["gap"] = "nothing proven" if run.gap is None else f"{run.gap:.1e}"
    return facts | (scores.facts(run.micrograph.units) if scores else {})


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested parameters as ``step.key``."""
    found: dict[str, str] = {}
    for key, value in parameters.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = f"{value:g}" if isinstance(value, float) else str(value)
    return found


def _differing(facts: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Return what is not the same in all, with the value of each; "–" where it is missing."""
    keys = dict.fromkeys(key for one in facts for key in one)
    found = {key: [one.get(key, "–") for one in facts] for key in keys}
    return {key: values for key, values in found.items() if len(set(values)) > 1}
