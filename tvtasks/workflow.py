"""One file from reading to archive: what every way of running tvtasks does with each file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL.Image import Image

from tvtasks import archive, figures, readers
from tvtasks.errors import ArchiveError
from tvtasks.micrograph import Micrograph
from tvtasks.recipe import Recipe
from tvtasks.restoration import Call, Restoration, call_directly, restore


@dataclass(frozen=True)
class Outcome:
    """What came of one image.

    Attributes
    ----------
    source_sha256
        Checksum of the file as it was read.
    archive, preview
        The NeXus file, and the picture beside it.
    gap, converged, seconds
        The largest certified gap of its steps, whether all met their stopping rule, and the time they took;
        None for an image that had been done before.
    notes
        Sentences that a user should see.
    """

    source_sha256: str
    archive: Path
    preview: Path
    gap: float | None
    converged: bool | None
    seconds: float | None
    notes: tuple[str, ...] = ()


def restore_file(
    path: Path,
    recipe: Recipe,
    directory: Path,
    *,
    call: Call = call_directly,
    context: Mapping[str, Any] | None = None,
) -> list[Outcome]:
    """Read a file, restore each of its images, and archive them with a picture beside each.

    An image that the archive already holds for this recipe is not done again.

    Parameters
    ----------
    path
        An image file.
    recipe
        What to do.
    directory
        Where the archive is; created if it is not there.
    call
        How each step is called.
    context
        Further provenance for the run record, safe for JSON (who ran it).

    Raises
    ------
    UnreadableFileError, UnusableImageError
        The file is at fault; trying again will not help.
    ArchiveError
        The results cannot be written.
    """
    create_folder(directory)
    outcomes = []
    for micrograph in call(read, path):
        assert micrograph.source is not None
        checksum = micrograph.source.sha256
        done = archive.find(directory, micrograph, recipe)
        if done is not None:
            outcomes.append(Outcome(checksum, done, done.with_suffix(".png"), None, None, None))
            continue
        result = restore(micrograph, recipe, call=call)
        # The archive file comes last: where it is, everything is, however often the work was cut short.
        picture = call(write_preview, result, archive.archive_path(directory, micrograph, recipe))
        target = call(write_archive, result, directory, context)
        outcomes.append(
            Outcome(checksum, target, picture, result.gap, result.converged, result.seconds, result.notes)
        )
    return outcomes


def read(path: Path) -> list[Micrograph]:
    """Read the images of a file."""
    return readers.read(path)


def write_archive(result: Restoration, directory: Path, context: Mapping[str, Any] | None) -> Path:
    """Write the NeXus file and return its path."""
    return archive.write(result, directory, context=context)


def write_preview(result: Restoration, target: Path) -> Path:
    """Write the picture beside the archive file `target` and return its path."""
    return save_preview(figures.preview(result), target)


def save_preview(picture: Image, target: Path) -> Path:
    """Write a picture that was drawn beside the archive file `target` and return its path."""
    path = target.with_suffix(".png")
    try:
        path.write_bytes(figures.png(picture))
    except OSError as error:
        raise ArchiveError(
            f"The picture {path} cannot be written: {error.strerror or error}. "
            "Check the free space of the disk and who may write there."
        ) from error
    return path


def create_folder(directory: Path) -> None:
    """Create an archive folder where it is not there yet."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArchiveError(
            f"The archive folder {directory} cannot be created: {error.strerror or error}. "
            "Give a folder that you may write to."
        ) from error
