"""Estimates the time and disk space of a batch from earlier runs."""

from __future__ import annotations

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

import numpy as np

from tvtasks.archive.catalogue import CatalogueEntry
from tvtasks.recipe import Recipe
from tvtasks.restoration import ALGORITHM_VERSION

_SAME = "from runs of the same recipe"
_SIMILAR = "from runs of the same models with other parameters"
_UNKNOWN = "there is no run of the same models yet"
_AS_THERE = "from earlier runs"
_UNCOMPRESSED = "at most, since there is no similar run yet"
_ODD = 10  # times the usual duration, above which a run counts as an exception

ImageState = Literal["current", "outdated", "missing"]


@dataclass(frozen=True)
class Item:
    """One image of a batch, and what to do with it.

    Attributes
    ----------
    source
        The result whose raw image is used, or the original file.
    stored
        Whether the source is a result.
    newest
        Its newest run; for an image without runs, only what is known about the image.
    given, recipe
        The recipe as given, and the one that it means for this image.
    run_id
        Identity of the run of this image with this recipe.
    state
        ``current`` if the archive holds that run, ``outdated`` if it only holds runs with other parameters or
        an older algorithm, ``missing`` if it holds none.
    sample
        The sample data of the newest run that has any.
    session
        The session of the newest run that has one.
    """

    source: Path
    stored: bool
    newest: CatalogueEntry
    given: Recipe
    recipe: Recipe
    run_id: str
    state: ImageState
    sample: Mapping[str, Any] | None = None
    session: Mapping[str, str] | None = None


class Estimate(NamedTuple):
    """The estimated seconds of solving and bytes of archive, and what each figure rests on.

    `beside` is the seconds for reading, pictures and writing, one file after another. A time without any
    basis is None.
    """

    seconds: float | None
    time_rests_on: str
    size: int
    size_rests_on: str
    beside: float | None = 0.0

    def duration(self, workers: int, *, processes: bool = False) -> float | None:
        """Return the estimated duration in seconds; None if the time of solving is unknown.

        Threads solve in parallel, but everything else, such as compressing and writing HDF5, runs in one
        thread at a time. With `processes`, all of them do everything in parallel.
        """
        if self.seconds is None:
            return None
        beside, at_once = self.beside or 0.0, min(workers, os.cpu_count() or 1)
        return (self.seconds + beside) / at_once if processes else self.seconds / at_once + beside


NOTHING = Estimate(0.0, "there is nothing to do", 0, "there is nothing to do")


def estimate(items: Iterable[Item], experience: Iterable[CatalogueEntry]) -> Estimate:
    """Estimate the time and disk space for the items that are not current.

    Time is proportional to the number of pixels. The time per pixel is the median of runs of the same recipe
    by the same algorithms, or else of runs of the same models in the same steps with other parameters. The
    time beside solving is proportional to the bytes written.
    """
    experience = list(experience)
    todo = [item for item in items if item.state != "current"]
    if not todo:
        return NOTHING
    seconds_of: dict[object, list[float]] = defaultdict(list)
    bytes_of: dict[object, list[float]] = defaultdict(list)
    for run in experience:
        pixels = prod(run.shape)
        if run.fault or not pixels:
            continue
        if run.algorithm_version == ALGORITHM_VERSION:
            for key in (run.recipe_sha256, _models(run.parameters)):
                seconds_of[key].append(run.seconds / pixels)
        bytes_of[run.steps, run.dtype].append(run.size / pixels)
    seconds_per_pixel = {key: median(values) for key, values in seconds_of.items()}
    bytes_per_pixel = {key: median(values) for key, values in bytes_of.items()}
    keys = {id(item.recipe): (item.recipe.digest, _models(item.recipe.parameters)) for item in todo}
    seconds = size = 0.0
    rests_on: Counter[str] = Counter()
    unmeasured = 0
    for item in todo:
        pixels = prod(item.newest.shape)
        exact, models = (seconds_per_pixel.get(key) for key in keys[id(item.recipe)])
        rests_on[_SAME if exact is not None else _SIMILAR if models is not None else _UNKNOWN] += 1
        seconds += pixels * (exact if exact is not None else models or 0.0)
        measured = bytes_per_pixel.get((item.recipe.steps, item.newest.dtype))
        unmeasured += measured is None
        size += pixels * (_bytes_at_most(item) if measured is None else measured)
    return Estimate(
        None if rests_on[_UNKNOWN] == len(todo) else seconds,
        "; ".join(
            f"{number} {'image' if number == 1 else 'images'}: {how}" for how, number in rests_on.items()
        ),
        round(size),
        _UNCOMPRESSED if unmeasured else _AS_THERE,
        None if (rate := _beside(experience)) is None else rate * size,
    )


def _beside(experience: Iterable[CatalogueEntry]) -> float | None:
    """Return the seconds per byte of archive that work beside solving takes, one file after another.

    Work on several images at a time overlaps and waits for each other, so the sum of their times would be too
    large. Instead, take the time in which any image was worked on, less the time of solving divided by the
    number of images that overlapped. A pause shorter than the work on one image counts as reading.
    """
    known = [(*run.span, run.seconds, run.size) for run in experience if run.span and run.size]
    if not known:
        return None
    # A run during which the computer slept, or compiled the solvers, is no guide to the next.
    most = _ODD * median(end - begin - seconds for begin, end, seconds, _ in known)
    known = sorted(one for one in known if one[1] - one[0] - one[2] <= most)
    pause = median(end - begin for begin, end, _, _ in known)
    busy, until = 0.0, -float("inf")
    for begin, end, _, _ in known:
        busy += max(end - until, 0.0) if begin - until <= pause else end - begin
        until = max(until, end)
    at_once = max(sum(end - begin for begin, end, _, _ in known) / busy, 1.0) if busy else 1.0
    solving = sum(seconds for _, _, seconds, _ in known) / at_once
    return max(busy - solving, 0.0) / sum(size for _, _, _, size in known)


def free_space(archive: Path) -> int | None:
    """Return the free bytes on the disk of an archive, even one that does not exist yet; None if unknown."""
    place = archive.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        return shutil.disk_usage(place).free
    except OSError:
        return None


def _models(parameters: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what roughly determines the time: the steps, their models and directions."""
    return tuple(
        (name, step.get("model"), step.get("direction"))
        for name, step in parameters.items()
        if isinstance(step, Mapping)
    )


def _bytes_at_most(item: Item) -> float:
    """Return the bytes per pixel of a result without compression."""
    kind = np.dtype(item.newest.dtype)
    working = np.result_type(kind, np.float32).itemsize
    return kind.itemsize + working * len(item.recipe.arrays)
