"""The page to tune λ: its data and its size."""

from __future__ import annotations

from typing import Any

import numpy as np

from tvtasks.pages import page, printable
from tvtasks.proposal import NAMELESS, as_toml
from tvtasks.steps import MODELS, STEPS, symbols
from tvtasks.tuning.layers import encode
from tvtasks.tuning.series import Tuning

MOST_BYTES = 1_000_000
"""Largest page that is made if lower quality of its pictures allows it."""

_QUALITIES = (85, 70, 50, 30, 15)
_PRECISE, _PRECISE_INPUT = 0.3, 0.1  # error of the images and of the input, in units of the noise


def html(tuning: Tuning, name: str = "") -> str:
    """Return the page; `name` is that of the file, for the command that the page shows."""
    title = f"{printable(tuning.micrograph.name)}: λ of the {tuning.step}"
    for quality in _QUALITIES:
        text = page("tvtasks.tuning", title, data=_data(tuning, name, quality))
        if len(text) <= MOST_BYTES:
            break
    return text


def _data(tuning: Tuning, name: str, quality: int) -> dict[str, Any]:
    micrograph = tuning.micrograph
    noise = float(np.median(np.abs(np.diff(tuning.input, axis=1)))) + 1e-6
    series = []
    nearest = np.zeros_like(tuning.input, dtype=np.float32)
    for one in tuning.series:
        images, before = [], np.zeros_like(nearest)
        for image in one.images:
            layers, before = encode(image, before, _PRECISE * noise, quality)
            images.append(layers)
        nearest = before if one is tuning.series[0] else nearest
        shown = {symbols().get(key, key): _shown(key, value) for key, value in one.settings.items()}
        series.append(
            {
                "settings": shown,
                "lams": one.lams,
                "images": images,
                "recipes": [as_toml(recipe.model_copy(update=NAMELESS)) for recipe in one.recipes],
            }
        )
    size = micrograph.pixel_size
    rows, columns = micrograph.data.shape
    return {
        "name": printable(micrograph.name),
        "file": printable(name or micrograph.name),
        "step": tuning.step,
        "subtracts": "background" in STEPS[tuning.step].arrays,
        "shape": tuning.input.shape,
        "whole": [rows, columns],
        "factor": tuning.factor,
        "unit": micrograph.units,
        "pixel": [*size, micrograph.pixel_unit] if size else [1, 1, "px"],
        "input": encode(tuning.input, nearest, _PRECISE_INPUT * noise, quality)[0],
        "series": series,
        "after": tuning.after,
    }


def _shown(key: str, value: Any) -> str:
    if key == "model":
        return MODELS[value].title
    if key == "direction":
        return {"both": "x and y", "x": "x only", "y": "y only"}[value]
    return f"{value:g}"
