"""Opens a result in napari as layers: raw, and each array of the run, with the scale of the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tvtasks import archive
from tvtasks.errors import ArchiveError

Layer = tuple[Any, dict[str, Any], str]

_SHOWN = ("raw", "restored")  # the other layers are hidden at first


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[Layer]] | None:
    """Return the function that reads a file, or None if it is not a result of tvtasks; for napari."""
    paths = [path] if isinstance(path, str) else list(path)
    try:
        for one in paths:
            archive.runs(one)
    except ArchiveError:
        return None
    return read_layers


def read_layers(path: str | Sequence[str]) -> list[Layer]:
    """Return the layers of one or several results: data, properties and kind, as napari takes them."""
    layers: list[Layer] = []
    for one in [path] if isinstance(path, str) else path:
        for name in archive.runs(one):
            run = archive.load(one, run=None if name == "entry" else name)
            label = f"{Path(run.micrograph.name).stem} {run.recipe.name}"
            layers += _layers(run, label)
    return layers


def _layers(run: archive.ArchivedRun, label: str) -> list[Layer]:
    size, unit = run.micrograph.pixel_size, run.micrograph.pixel_unit
    region = run.region
    found: list[Layer] = []
    for name, image in {"raw": run.raw, **run.arrays}.items():
        if image.ndim != 2:
            continue
        about: dict[str, Any] = {"name": f"{label} {name}", "visible": name in _SHOWN}
        if size:
            about |= {"scale": size, "units": (unit, unit)}
        if name != "raw" and image.shape == region.shape:
            dy, dx = size or (1.0, 1.0)
            about["translate"] = (region.top * dy, region.left * dx)
        about["metadata"] = {"unit": run.micrograph.units, "run_id": run.record["run_id"]}
        found.append((image, about, "image"))
    return found
