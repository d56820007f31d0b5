"""The plan of a batch: which images to restore, and which are already current."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tvtasks import channels, readers
from tvtasks.archive.catalogue import CatalogueEntry, ImageKey, archive_files, entries, entry, latest
from tvtasks.archive.folder import has_watch, ledger_path
from tvtasks.archive.identity import content_sha256, work_id
from tvtasks.archive.seals import read_seals
from tvtasks.archive.session import NO_SESSION, Session
from tvtasks.archive.storage import Sample
from tvtasks.errors import ConfigurationError, RecipeError, TvtasksError
from tvtasks.filesystem import is_same_folder
from tvtasks.ledger import UNRESTORED, ReadOnlyLedger
from tvtasks.listener import Progress, no_progress
from tvtasks.micrograph import Micrograph
from tvtasks.recipe import Recipe
from tvtasks.recipe_book import RecipeBook
from tvtasks.rerun.estimate import NOTHING, Estimate, ImageState, Item, estimate
from tvtasks.words import count

_ARCHIVE_NAME = re.compile(r"__[0-9a-f]{8}__[0-9a-f]{12}\.nxs")
_READERS = 4  # original files read at a time, to find the images in them


class Job(NamedTuple):
    """The images to restore from one file, so that each file is read once.

    `sample` and `session` hold what the archive has.
    """

    source: Path
    stored: bool
    recipe: Recipe
    run_ids: frozenset[str]
    sample: Sample | None = None
    session: Session = NO_SESSION


@dataclass(frozen=True)
class Plan:
    """What a batch will do.

    Attributes
    ----------
    archive
        Where results go.
    items
        The selected images.
    without_recipe
        Number of images without a recipe.
    faults
        A sentence for each file that cannot be read or that the recipe does not apply to.
    estimate
        The estimated time and disk space.
    bare
        Current results whose pictures are missing.
    """

    archive: Path
    items: tuple[Item, ...]
    without_recipe: int = 0
    faults: Mapping[Path, str] = field(default_factory=dict)
    estimate: Estimate = NOTHING
    bare: tuple[Path, ...] = ()

    @property
    def counts(self) -> dict[ImageState, int]:
        """The number of images in each state; every state is present."""
        found = Counter(item.state for item in self.items)
        return {"current": found["current"], "outdated": found["outdated"], "missing": found["missing"]}

    @property
    def summary(self) -> str:
        """The figures in words."""
        counts = self.counts
        text = (
            f"{count(len(self.items), 'image')}: {counts['current']} current, {counts['outdated']} outdated, "
            f"{counts['missing']} missing"
        )
        if self.without_recipe:
            text += f"; {self.without_recipe} more have no recipe"
        if self.faults:
            text += f"; {len(self.faults)} cannot be restored"
        if self.bare:
            text += f"; {count(len(self.bare), 'picture')} missing"
        return f"{text}. Archive: {self.archive}"

    @property
    def jobs(self) -> list[Job]:
        """The work, file by file."""
        grouped: dict[tuple[Path, int], list[Item]] = defaultdict(list)
        for item in self.items:
            if item.state != "current":
                grouped[item.source, id(item.given)].append(item)
        return [
            Job(
                items[0].source,
                items[0].stored,
                items[0].given,
                frozenset(item.run_id for item in items),
                _sample(items),
                _session(items),
            )
            for items in grouped.values()
        ]


def plan(
    sources: Sequence[Path],
    recipes: RecipeBook,
    archive: Path | None = None,
    *,
    chosen: Callable[[CatalogueEntry], bool] = lambda entry: True,
    failed_only: bool = False,
    progress: Progress = no_progress,
) -> Plan:
    """Find out which images still have to be restored by a recipe.

    Parameters
    ----------
    sources
        Archives, folders of image files, or single files of either kind. An image in several of them is
        restored once, from an archive if possible; its content identifies it, whatever its names.
    recipes
        Which recipe a file gets; for an archived image, the original name counts.
    archive
        Where results go; the archive among the sources if not given.
    chosen
        Takes the newest run of an image and returns whether to include the image.
    failed_only
        Include only images whose newest run did not meet its stopping rule, and files that are failed or
        quarantined in the ledger of the archive.
    progress
        Called now and then with the number of files read and the total.

    Raises
    ------
    ConfigurationError
        A source does not exist, or it is unclear where results go.
    """
    archives, files = _sorted_out(sources)
    archive = archive or _only(archives)
    _refuse_among_images(archive, files)
    found = {place: _runs(place, progress) for place in archives}
    same = next((place for place in found if place.resolve() == archive.resolve()), None)
    there = found[same] if same else entries(archive, progress=progress) if archive.is_dir() else []
    experience = [run for place in found for run in found[place]] + ([] if same else there)
    faults: dict[Path, str] = {}
    images: dict[ImageKey, tuple[Path, bool, CatalogueEntry]] = {}
    by_age = sorted(experience, key=lambda run: run.written_at)
    samples = {run.image: run.sample for run in by_age if run.sample}
    sessions = {run.image: run.session for run in by_age if run.session}
    for newest in latest(run for place in found for run in found[place]):
        if newest.fault:
            faults[newest.path] = newest.fault
        else:
            images[newest.image] = (newest.path, True, newest)
    known = {run.image: run for run in latest(there) if not run.fault}
    failed = set(_failed_files(archive)) if failed_only else set()
    if archives:  # failed files are not in the archive but where the watch found them
        files = list(dict.fromkeys([*files, *sorted(failed)]))
    without: list[Path] = []
    for path, held in _read_all(files, recipes, progress):
        if held is None:
            without.append(path)
        elif isinstance(held, str):
            faults[path] = held
        else:
            for image in held:
                images.setdefault(image.image, (path, False, known.get(image.image, image)))
    wanted = {
        key: found
        for key, found in images.items()
        if chosen(found[2])
        and not (failed_only and found[2].converged is not False and found[0] not in failed)
    }
    intact = _intact(there, archive)
    runs = {run.run_id for run in intact}
    items = list(_items(wanted, recipes, runs, known, faults, without, samples, sessions))
    current = {item.run_id for item in items if item.state == "current"}
    bare = [run.path for run in intact if run.run_id in current and not run.preview.exists()]
    return Plan(archive, tuple(items), len(without), faults, estimate(items, experience), tuple(bare))


def _intact(runs: Iterable[CatalogueEntry], archive: Path) -> list[CatalogueEntry]:
    """Return the runs whose results are as they were written.

    Only those are read that do not look as the log of seals says: all of a large archive take minutes.
    """
    readable = [run for run in runs if not run.fault]
    log = read_seals(archive)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="seals") as pool:
        intact = pool.map(lambda run: log.is_intact(run.path), readable)
        return [run for run, whole in zip(readable, intact, strict=True) if whole]


def _sample(items: Iterable[Item]) -> Sample | None:
    """Return the sample data of a file, whose images all show the same sample."""
    known = next((item.sample for item in items if item.sample), None)
    return Sample(**known) if known else None


def _session(items: Iterable[Item]) -> Session:
    """Return the session of a file, whose images were measured together."""
    known = next((item.session for item in items if item.session), None)
    return Session(**known) if known else NO_SESSION


def _items(
    images: Mapping[ImageKey, tuple[Path, bool, CatalogueEntry]],
    recipes: RecipeBook,
    runs: Collection[str],
    known: Collection[ImageKey],
    faults: dict[Path, str],
    without: list[Path],
    samples: Mapping[ImageKey, Mapping[str, Any]],
    sessions: Mapping[ImageKey, Mapping[str, str]],
) -> Iterator[Item]:
    """Yield an item for each image; note images without a recipe, or without one for their technique."""
    resolved: dict[tuple[int, str | None], Recipe] = {}
    for key, (path, stored, newest) in images.items():
        given = recipes.choose(Path(newest.source_name) if stored else path)
        if given is None:
            without.append(path)
            continue
        try:
            recipe = _for_technique(given, newest, resolved)
        except RecipeError as error:
            faults[path] = str(error)
            continue
        run_id = work_id(*key, recipe)
        state: ImageState = "current" if run_id in runs else "outdated" if key in known else "missing"
        yield Item(path, stored, newest, given, recipe, run_id, state, samples.get(key), sessions.get(key))


def _sorted_out(sources: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Return the archives (and single results), and the original files."""
    archives: list[Path] = []
    files: list[Path] = []
    for source in sources:
        if source.is_file():
            (archives if _ARCHIVE_NAME.search(source.name) else files).append(source)
        elif not source.is_dir():
            raise ConfigurationError(f"There is no file or folder {source}. Check the name.")
        elif has_watch(source) or any(_ARCHIVE_NAME.search(path.name) for path in archive_files(source)):
            archives.append(source)  # its other pictures are previews
        else:
            originals = sorted(
                path for path in source.iterdir() if path.is_file() and readers.is_candidate(path)
            )
            if not originals:
                raise ConfigurationError(
                    f"The folder {source} holds neither results nor image files that tvtasks can read. Check "
                    "the name."
                )
            files += originals
    return archives, list(dict.fromkeys(files))


def _refuse_among_images(archive: Path, files: Iterable[Path]) -> None:
    for folder in dict.fromkeys(file.parent for file in files):
        if is_same_folder(archive, folder):
            raise ConfigurationError(
                f"The archive cannot be the folder of the images {folder} itself. Give a folder beside it."
            )


def _only(archives: Iterable[Path]) -> Path:
    folders = {place if place.is_dir() else place.parent for place in archives}
    if len(folders) != 1:
        raise ConfigurationError(
            "Name the folder for results with --archive. You may leave it out only if you give exactly one "
            "archive: results then go there."
        )
    return folders.pop()


def _failed_files(archive: Path) -> Iterator[Path]:
    """Yield the files that the ledger of an archive lists as unrestored and that still exist."""
    ledger = ledger_path(archive)
    if not ledger.is_file():
        return
    with ReadOnlyLedger(ledger) as found:
        for file in found.entries(None, *UNRESTORED):
            if file.path.is_file():
                yield file.path


def _runs(place: Path, progress: Progress) -> list[CatalogueEntry]:
    if place.is_dir():
        return entries(place, progress=progress)
    found = entry(place)
    return [found] if found else []


def _read_all(
    files: list[Path], recipes: RecipeBook, progress: Progress
) -> Iterator[tuple[Path, list[CatalogueEntry] | str | None]]:
    """Yield the images that each file holds for its recipe; read several files at a time but keep few."""

    def read(path: Path) -> list[CatalogueEntry] | str | None:
        recipe = recipes.choose(path)
        return None if recipe is None else _images(path, recipe)

    with ThreadPoolExecutor(_READERS, thread_name_prefix="read") as pool:
        for number, (path, held) in enumerate(zip(files, pool.map(read, files), strict=True), 1):
            yield path, held
            progress(number, len(files))


def _images(path: Path, recipe: Recipe) -> list[CatalogueEntry] | str:
    """Return the images that a file holds for a recipe, or a sentence on why it cannot be read."""
    try:
        images, _ = channels.choose(readers.read(path), recipe)
        return [_as_entry(path, micrograph) for micrograph in images]
    except TvtasksError as error:
        return str(error)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror or error}."


def _for_technique(
    given: Recipe, image: CatalogueEntry, resolved: dict[tuple[int, str | None], Recipe]
) -> Recipe:
    """Return the recipe for an image; the same one for all images of a technique."""
    key = id(given), image.technique
    if key not in resolved:
        resolved[key] = given.for_technique(image.technique, image.source_name)
    return resolved[key]


def _as_entry(path: Path, micrograph: Micrograph) -> CatalogueEntry:
    return CatalogueEntry(
        path=path,
        size=0,
        source_name=micrograph.name,
        source_sha256=content_sha256(micrograph),
        channel=micrograph.channel,
        direction=micrograph.direction,
        frame=micrograph.frame,
        technique=micrograph.technique,
        quantity=micrograph.quantity,
        units=micrograph.units,
        acquired_at=micrograph.acquired_at,
        shape=(micrograph.data.shape[0], micrograph.data.shape[1]),
        dtype=micrograph.data.dtype.name,
        pixel_size=micrograph.pixel_size,
        pixel_unit=micrograph.pixel_unit,
    )
