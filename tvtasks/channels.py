"""Which images of a file are restored: those that the recipe names, or a default for unattended use.

A scan holds up to twenty channels in two directions, and nobody wants all of them restored each time. By
default, a scanning-probe image means the height, forward; or, if the tip was held at constant height, so that
the height holds a single value, the current of an STM or the frequency shift of an AFM. For an electron
microscope it means every signal.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import numpy as np

from tvtasks import readers
from tvtasks.errors import UnusableImageError
from tvtasks.micrograph import Micrograph
from tvtasks.readers.directions import direction_of, undirected
from tvtasks.recipe import Recipe


def read_images(
    path: str | Path,
    *,
    channel: str | Sequence[str] | None = None,
    direction: Literal["forward", "backward", "both"] | None = None,
) -> list[Micrograph]:
    """Read the images of a file that the command line would restore.

    Parameters
    ----------
    path
        An image file.
    channel
        Names of channels, quantities (``height``), or patterns (``Frequency*``); ``"*"`` for all. If not
        given, the usual ones for the technique.
    direction
        Fast-scan direction; forward if not given.

    Returns
    -------
    list of Micrograph
        At least one image.

    Raises
    ------
    UnreadableFileError, UnusableImageError
        The file cannot be read, or has no such image; the message lists those that it has.

    See Also
    --------
    tvtasks.read : every image of a file.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/scan.npy", np.eye(8))
    ...     read_images(f"{folder}/scan.npy")
    [Micrograph scan.npy: 8 × 8 float64]
    """
    wanted = {"channel": channel if channel is None or isinstance(channel, str) else tuple(channel)}
    recipe = Recipe.of("auto").model_copy(update=wanted | {"direction": direction})
    return choose(readers.read(path), recipe)[0]


_WANTED = {
    "STM": ("height", "current"),
    "AFM": ("height", "frequency_shift", "deflection", "amplitude", "phase", "current"),
}
MOST_IMAGES = 64
"""Images of one file that are restored without `frames` in the recipe."""
_MOST_NAMES = 12
_SECOND = " (2)"


def choose(micrographs: Sequence[Micrograph], recipe: Recipe) -> tuple[list[Micrograph], tuple[str, ...]]:
    """Return the images of a file that a recipe selects, in the file's order, and notes on those left out.

    Each has its `opposite_scan`, if the file holds one.

    Parameters
    ----------
    micrographs
        All images of one file.
    recipe
        Its `channel` and `direction` decide; if it chooses by technique, those of the recipe it chooses.

    Raises
    ------
    UnusableImageError
        There is no image of that channel or direction; the message lists those that exist.
    RecipeError
        The recipe chooses by technique and has nothing for the technique of the file.
    """
    if len(micrographs) < 2 and not (
        recipe.channel or recipe.direction or recipe.frames or recipe.by_technique
    ):
        return list(micrographs), ()
    chosen: set[int] = set()
    for technique in dict.fromkeys(micrograph.technique for micrograph in micrographs):
        images = [micrograph for micrograph in micrographs if micrograph.technique == technique]
        plan = recipe.for_technique(technique, images[0].name)
        chosen |= {id(image) for image in _in_frames(_in_direction(_of_channel(images, plan), plan), plan)}
    kept = [_paired(micrograph, micrographs) for micrograph in micrographs if id(micrograph) in chosen]
    if len(kept) > MOST_IMAGES and not recipe.frames:
        raise UnusableImageError(
            f"{kept[0].name} would give {len(kept)} images, more than the {MOST_IMAGES} that are restored "
            'without being asked for. Give --frames, or set frames in the recipe: "all", or numbers such as '
            '"0-9".'
        )
    rest = [micrograph for micrograph in micrographs if id(micrograph) not in chosen]
    if not rest:
        return kept, ()
    note = (
        f"Restored {len(kept)} of {len(micrographs)} images in the file: {_names(kept)}. "
        f"Left out: {_names(rest)}. "
        'For others, set channel ("*" for all), direction (forward, backward, both) and frames in the recipe.'
    )
    return kept, (note,)


def other_direction(micrograph: Micrograph, micrographs: Iterable[Micrograph]) -> Micrograph | None:
    """Return the image that the way back, or there, gave of the same channel; None if there is none.

    Both show the surface in one orientation: readers mirror what a file stores as it was scanned. They differ
    by noise, by faults, and by the hysteresis of the scanner, a few pixels along x.

    Parameters
    ----------
    micrograph
        A forward or a backward image.
    micrographs
        All images of its file, as `tvtasks.readers.read` returns them; not only those that a recipe selects.

    Examples
    --------
    >>> forward, backward = (
    ...     Micrograph(np.eye(3), channel="Z", direction=direction) for direction in ("forward", "backward")
    ... )
    >>> other_direction(forward, [forward, backward]) is backward
    True
    """
    if micrograph.direction is None:
        return None
    found = [other for other in micrographs if _is_way_back(micrograph, other)]
    return found[0] if len(found) == 1 else None  # of two, neither is known to be the one


def _paired(micrograph: Micrograph, micrographs: Sequence[Micrograph]) -> Micrograph:
    """Return an image with its scan in the other direction, if the file holds one."""
    other = other_direction(micrograph, micrographs)
    return micrograph if other is None else replace(micrograph, opposite_scan=other.data)


def _is_way_back(micrograph: Micrograph, other: Micrograph) -> bool:
    return (
        {micrograph.direction, other.direction} == {"forward", "backward"}
        and _scanned(micrograph) == _scanned(other)
        and micrograph.data.shape == other.data.shape
    )


def _scanned(image: Micrograph) -> tuple[object, ...]:
    """Return what the two directions of a channel have in common."""
    return _channel(image), image.quantity, image.units, image.frame, image.pixel_size


def _channel(image: Micrograph) -> str:
    """Return the name of a channel without its direction."""
    if image.direction is None:
        return image.channel
    if direction_of(image.channel) is None:
        return image.channel.removesuffix(_SECOND)  # Createc, Bruker: the converter numbers equal names
    return undirected(image.channel)


def _of_channel(images: list[Micrograph], recipe: Recipe) -> list[Micrograph]:
    if recipe.channel is not None:
        wanted = (recipe.channel,) if isinstance(recipe.channel, str) else recipe.channel
        found = [image for image in images if any(_fits(image, pattern) for pattern in wanted)]
        if not found:
            raise UnusableImageError(
                f"{images[0].name} has no channel {' or '.join(wanted)}, as the recipe asks. "
                f"It has {_names(images)}."
            )
        return found
    quantities = {image.quantity for image in images}
    technique = images[0].technique or ("AFM" if "height" in quantities else "")
    for quantity in _WANTED.get(technique, ()):
        found = [image for image in images if image.quantity == quantity and not _is_constant(image)]
        # Of several (the height of the sensor and of the piezo, or a second pass), take the first in the
        # file.
        forward = [image for image in found if image.direction != "backward"]
        if name := [_channel(image) for image in forward or found][:1]:
            return [image for image in found if _channel(image) == name[0]]
    return images


def _in_direction(images: list[Micrograph], recipe: Recipe) -> list[Micrograph]:
    if recipe.direction == "both":
        return images
    found = [image for image in images if image.direction in {recipe.direction or "forward", None}]
    if not found and recipe.direction:
        raise UnusableImageError(
            f"{images[0].name} has no {recipe.direction} scan, as the recipe asks. It has {_names(images)}."
        )
    return found or images


def _in_frames(images: list[Micrograph], recipe: Recipe) -> list[Micrograph]:
    if recipe.frames is None or recipe.frames.strip() == "all":
        return images
    found = [image for image in images if _is_among(image.frame, recipe.frames)]
    if not found:
        raise UnusableImageError(
            f"{images[0].name} has no frame {recipe.frames}, as the recipe asks. Its frames are "
            f"{min(image.frame for image in images)} to {max(image.frame for image in images)}."
        )
    return found


def _is_among(frame: int, ranges: str) -> bool:
    """Return whether numbers and ranges such as ``0-9, 20`` contain a frame.

    >>> [frame for frame in range(30) if _is_among(frame, "0-3, 20")]
    [0, 1, 2, 3, 20]
    """
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        if int(first) <= frame <= int(last or first):
            return True
    return False


def _fits(image: Micrograph, pattern: str) -> bool:
    # A name does not always match itself as a pattern: passes of Nanonis are called [P1]_Z.
    names = {name.casefold() for name in (image.channel, _channel(image), image.quantity or "")}
    return any(name == pattern.casefold() or fnmatchcase(name, pattern.casefold()) for name in names)


def _is_constant(image: Micrograph) -> bool:
    """Return whether an image holds only a single value, like a height that was held constant."""
    finite = image.data[np.isfinite(image.data)]
    return finite.size == 0 or bool(finite.min() == finite.max())


def _names(images: Iterable[Micrograph]) -> str:
    names = list(dict.fromkeys(_name(image) for image in images))
    return ", ".join(names[:_MOST_NAMES]) + (
        f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    )


def _name(image: Micrograph) -> str:
    name = image.channel or image.quantity or "without a name"
    return name if image.direction is None or direction_of(name) else f"{name} {image.direction}"
