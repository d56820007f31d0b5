"""What a rerun will take: time and disk, judged by the runs that there are."""

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

_SAME = "as in runs of the same recipe"
_SIMILAR = "as in runs of the same models with other parameters"
_UNKNOWN = "not known, as there is no run of the same models yet"
_AS_THERE = "as in the runs that are there"
_UNCOMPRESSED = "at most, as nothing like it is there yet"
_ODD = 10  # times as long as usual

ImageState = Literal["current", "outdated", "missing"]


@dataclass(frozen=True)
class Item:
    """One image and what is to become of it.

    Attributes
    ----------
    source
        The archive file whose raw image is taken, or the original file.
    stored
        Whether that is an archive file.
    newest
        Its newest run; of an image without any, only what is known of the image.
    given, recipe
        The recipe as it was given, and what that means for this image.
    run_id
        Identity of that work.
    state
        ``current`` where the archive holds that work, ``outdated`` where it holds runs with other parameters
        or of an older algorithm only, ``missing`` where it holds none.
    sample
        What its newest run that says anything of the sample says.
    """

    source: Path
    stored: bool
    newest: CatalogueEntry
    given: Recipe
    recipe: Recipe
    run_id: str
    state: ImageState
    sample: Mapping[str, Any] | None = None


class Estimate(NamedTuple):
    """What it will take: seconds of solving and bytes of archive, and on what each of the figures rests.

    `beside` are the seconds for reading, pictures and writing, one file after the other. Either time is None
    where there is nothing that it could rest on.
    """

    seconds: float | None
    time_rests_on: str
    size: int
    size_rests_on: str
    beside: float | None = 0.0

    def duration(self, workers: int, *, apart: bool = False) -> float | None:
        """Return the seconds that will pass, None where the time of solving is not known.

        Threads solve side by side; what they do beside that is done by one at a time, as compressing and
        writing HDF5 is. Processes, which are `apart`, do all of it side by side.
        """
        if self.seconds is None:
            return None
        beside, at_once = self.beside or 0.0, min(workers, os.cpu_count() or 1)
        return (self.seconds + beside) / at_once if apart else self.seconds / at_once + beside


NOTHING = Estimate(0.0, "nothing is to be done", 0, "nothing is to be done")


def estimate(items: Iterable[Item], experience: Iterable[CatalogueEntry]) -> Estimate:
    """Say what the items that are not current will take, judging by the runs that there are.

    Time goes with the number of pixels: it is the median for one pixel in runs of the same recipe by the same
    algorithms, else in runs of the same models in the same steps with other parameters. What is done beside
    solving goes with the bytes that are written.
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
    """Return the seconds for one byte of archive that pass beside solving, one file after the other.

    Work on several images at a time overlaps, and one waits for the other, so that what each of them took
    would be too much. What counts is for how long any was worked on, less the time of solving, which was done
    by as many at a time as overlapped. A pause that is shorter than the work on an image is for reading.
    """
    known = [(*run.span, run.seconds, run.size) for run in experience if run.span and run.size]
    if not known:
        return None
    # A computer that slept meanwhile, or compiled the solvers, says nothing about the next time.
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
    """Return the free bytes where an archive lies or will lie; None where that cannot be found out."""
    place = archive.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        return shutil.disk_usage(place).free
    except OSError:
        return None


def _models(parameters: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what decides the time roughly: the steps, their models and directions."""
    return tuple(
        (name, step.get("model"), step.get("direction"))
        for name, step in parameters.items()
        if isinstance(step, Mapping)
    )


def _bytes_at_most(item: Item) -> float:
    """Return the bytes of one pixel of an image without compression."""
    kind = np.dtype(item.newest.dtype)
    working = np.result_type(kind, np.float32).itemsize
    return kind.itemsize + working * len(item.recipe.arrays)
