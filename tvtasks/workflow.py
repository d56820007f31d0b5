"""One file from reading to archive: the work that every way of running tvtasks does for each file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL.Image import Image

from tvtasks import archive, channels, figures, readers
from tvtasks.archive.definitions import missing
from tvtasks.archive.filters import options
from tvtasks.archive.folder import create_folder
from tvtasks.archive.seals import log_seal
from tvtasks.archive.session import session_of
from tvtasks.archive.storage import DEFAULT_STORAGE, Storage
from tvtasks.courtesy import ends_early
from tvtasks.errors import UnusableImageError
from tvtasks.files import write_whole
from tvtasks.micrograph import Micrograph, file_sha256
from tvtasks.outcome import Outcome
from tvtasks.readers.metadata import json_safe
from tvtasks.recipe import Recipe
from tvtasks.restoration import Call, Restoration, call_directly, restore, within_memory


def restore_file(
    path: Path,
    recipe: Recipe,
    directory: Path,
    *,
    call: Call = call_directly,
    context: Mapping[str, Any] | None = None,
    storage: Storage = DEFAULT_STORAGE,
) -> list[Outcome]:
    """Read a file, restore the images that the recipe selects, and archive them with pictures.

    An image that is current in the archive is not restored again.

    Parameters
    ----------
    path
        An image file.
    recipe
        The steps and their parameters.
    directory
        The archive; created if it does not exist.
    call
        Calls each step.
    context
        Further provenance for the run record (who ran it), safe for JSON.
    storage
        How to compress the results, and the sample data. Existing results stay as they are.

    Raises
    ------
    UnreadableFileError, UnusableImageError, RecipeError
        The file is at fault, or does not match the recipe; trying again will not help.
    ArchiveError
        The results cannot be written.
    ConfigurationError
        The package for the compression is not installed.
    """
    options(storage.compression)  # reports a missing package before reading
    micrographs, notes = channels.choose(call(read, path), recipe)
    storage, faults = in_session(storage, path, micrographs)
    return restore_images(
        micrographs, recipe, directory, call=call, context=context, storage=storage, notes=notes + faults
    )


def in_session(
    storage: Storage, path: Path, micrographs: Sequence[Micrograph]
) -> tuple[Storage, tuple[str, ...]]:
    """Return the storage with the session in which a file was measured, and a note if that is unclear.

    Parameters
    ----------
    storage
        What the command line asks for.
    path
        The image file; a `session.toml` in its folder or above counts.
    micrographs
        Its images. If they have no time of acquisition, that of the file's last change counts.
    """
    image = next(iter(micrographs), None)
    when = image and (image.acquired_at or (image.source and image.source.modified))
    session, fault = session_of(path, when or datetime.now(UTC), storage.session)
    return replace(storage, session=session), (fault,) if fault else ()


def restore_images(
    micrographs: Iterable[Micrograph],
    recipe: Recipe,
    directory: Path,
    *,
    call: Call = call_directly,
    context: Mapping[str, Any] | None = None,
    storage: Storage = DEFAULT_STORAGE,
    notes: tuple[str, ...] = (),
) -> list[Outcome]:
    """Restore images that were read from files or results, as `restore_file` does.

    `notes` are added to those of each run. If one of several images cannot be restored (the detector was
    off), the outcomes of the others get a note. Images that are left when a `courtesy.Turn` ends early have
    no outcome.
    """
    options(storage.compression)  # reports a missing package before the work
    create_folder(directory)
    outcomes: list[Outcome] = []
    unusable: list[UnusableImageError] = []
    left_out: list[str] = []
    images = list(micrographs)
    for number, micrograph in enumerate(images, 1):
        try:
            outcomes.append(_restore_image(micrograph, recipe, directory, call, context, storage, notes))
            if outcomes[-1].state == "restored" and ends_early(len(images) - number):
                break
        except UnusableImageError as error:
            unusable.append(error)
            left_out.append(f"{micrograph.channel or f'Frame {micrograph.frame}'} was left out: {error}")
    if unusable and not outcomes:
        raise unusable[0]
    return [replace(outcome, notes=(*outcome.notes, *left_out)) for outcome in outcomes]


def _restore_image(
    micrograph: Micrograph,
    recipe: Recipe,
    directory: Path,
    call: Call,
    context: Mapping[str, Any] | None,
    storage: Storage,
    notes: tuple[str, ...],
) -> Outcome:
    chosen = recipe.for_technique(micrograph.technique, micrograph.name)
    identity = archive.Identity.of(micrograph, chosen)
    checksum = identity.content_sha256
    done = archive.find(directory, identity)
    if done is not None:
        if not done.with_suffix(".png").exists():
            draw_again(done)
        return Outcome(
            name=micrograph.name,
            recipe=chosen.name,
            state="current",
            source_sha256=checksum,
            archive=done,
            preview=done.with_suffix(".png"),
            notes=_sample_left_out(done, storage),
        )
    with within_memory(micrograph, chosen):
        return _restore_now(micrograph, recipe, chosen, identity, directory, call, context, storage, notes)


def _restore_now(
    micrograph: Micrograph,
    recipe: Recipe,
    chosen: Recipe,
    identity: archive.Identity,
    directory: Path,
    call: Call,
    context: Mapping[str, Any] | None,
    storage: Storage,
    notes: tuple[str, ...],
) -> Outcome:
    result = restore(micrograph, chosen, call=call)
    why = _why(recipe, chosen, micrograph)
    result = replace(result, notes=(*result.notes, *why, *notes, *_why_by_no_definition(micrograph, storage)))
    # The result comes last: if it exists, everything does, however often the work was cut short.
    picture = call(write_preview, result, identity.path(directory))
    target = call(write_archive, result, directory, context, storage, identity, picture)
    return Outcome(
        name=micrograph.name,
        recipe=chosen.name,
        source_sha256=identity.content_sha256,
        archive=target,
        preview=picture,
        gap=result.gap,
        converged=result.converged,
        seconds=result.seconds,
        scores=result.quality,
        notes=result.notes,
    )


def _why(recipe: Recipe, chosen: Recipe, micrograph: Micrograph) -> tuple[str, ...]:
    """Return a note on the choice if a recipe chose another by technique."""
    if chosen is recipe:
        return ()
    technique = micrograph.technique or "no technique"
    return (f"Recipe {recipe.name}: the file names {technique}, so it was restored by {chosen.name}.",)


def _why_by_no_definition(micrograph: Micrograph, storage: Storage) -> tuple[str, ...]:
    """Return a note if an image with sample data or operator fits no NeXus definition."""
    if not (storage.sample or (storage.session.operator and micrograph.technique in {"STM", "AFM"})):
        return ()
    reason = missing({"image": vars(micrograph), "session": vars(storage.session)})
    return (f"The result follows no NeXus application definition: {reason}.",) if reason else ()


def _sample_left_out(done: Path, storage: Storage) -> tuple[str, ...]:
    """Return a note if an existing result lacks the sample data."""
    # In the form of the record: JSON has no tuples.
    wanted = storage.sample and json_safe(asdict(storage.sample))
    if not wanted or archive.summary(done)["sample"] == wanted:
        return ()
    return (
        f"{done.name} was archived earlier, with other sample data or none, and results are never changed. "
        "To add the sample, move this result away and restore the image again.",
    )


def read(path: Path) -> list[Micrograph]:
    """Read the images of a file."""
    return readers.read(path)


def write_archive(
    result: Restoration,
    directory: Path,
    context: Mapping[str, Any] | None,
    storage: Storage,
    identity: archive.Identity,
    preview: Path | None,
) -> Path:
    """Write the NeXus file and return its path."""
    return archive.write(
        result, directory, identity=identity, context=context, storage=storage, preview=preview
    )


def write_preview(result: figures.Restored, target: Path) -> Path:
    """Draw and write the picture beside the result `target` and return its path."""
    return save_preview(figures.preview(result), target)


def save_preview(picture: Image, target: Path) -> Path:
    """Write a finished picture beside the result `target` and return its path."""
    path = target.with_suffix(".png")
    write_whole(path, figures.png(picture))
    return path


def draw_again(result: Path) -> Path:
    """Draw the picture of a result that has lost it, and return its path.

    Another version of tvtasks may draw it differently, so its checksum goes into the log of seals.

    Raises
    ------
    ArchiveError
        The result is damaged, or the picture cannot be written.
    """
    path = write_preview(archive.load(result), result)
    log_seal(path, file_sha256(path))
    return path
