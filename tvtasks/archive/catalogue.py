"""The contents of an archive: one entry per file, without opening all files as HDF5.

There is no index here that could be out of date; `index` has one, for `list`. The run record is stored
uncompressed near the end of a file, where one small read finds it and checks it against its own checksum:
10,000 files take a second or two. A file whose record is not found that way (damaged, renamed, collected) is
read through HDF5.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from tvtasks.archive import verdicts
from tvtasks.archive.verdicts import Verdict
from tvtasks.errors import ArchiveError, ConfigurationError
from tvtasks.micrograph import Region
from tvtasks.scores import QualityScores

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_LENGTH_AT = {0: 40, 2: 28, 3: 28}  # where the length of the file is, by the version of the superblock
_RECORD = b'{"algorithm_version":'  # the first key of a run record
_TAIL = 32_768  # bytes; record and checksum are in the last 10,000 or so
_READERS = 8  # files read at a time, because a network share answers each request late
_CHUNK = 64
_NO_REGION = Region(0, 0, 0, 0)
_NEVER = datetime.min.replace(tzinfo=UTC)
_WRITING = 60.0  # seconds; a longer time between record and modification means that the file is a copy


class ImageKey(NamedTuple):
    """Which image of which content: runs with the same key are runs of the same image."""

    source_sha256: str
    channel: str
    direction: str | None
    frame: int


@dataclass(frozen=True)
class CatalogueEntry:
    """One file of an archive.

    Attributes
    ----------
    path, size
        The file, and its size in bytes.
    fault
        Why the file cannot be read, as a sentence; all that follows is then empty.
    run_id
        Identity of the run, 64 hexadecimal digits.
    schema, version
        Version of the record, and of the tvtasks that wrote it.
    written_at
        When the run was archived, with time zone.
    source_name, source_sha256
        Name and checksum of the file that the image came from; for an image from memory, ``image`` and the
        checksum of its values.
    channel, direction, frame, technique, quantity, units, acquired_at
        As in `Micrograph`.
    shape, dtype
        Shape and dtype of the raw image.
    pixel_size, pixel_unit
        (dy, dx) and its unit; None if the image is not calibrated.
    recipe, recipe_sha256, parameters
        Name and digest of the recipe, and everything that influences the result, defaults included.
    algorithm_version
        See `tvtasks.restoration.ALGORITHM_VERSION`.
    gap, converged, seconds
        Largest relative gap of any step (None if nothing is proven or minimised), whether all steps met their
        stopping rule, and the time spent in the steps.
    notes
        What had to be decided, as sentences.
    sample
        The sample data, as `tvtasks.archive.Sample` takes them; None if there are none.
    preview_sha256
        Checksum of the picture beside the result; empty if there was none, or if an earlier version wrote it.
    region
        The part of the raw image that was restored: top, bottom, left, right.
    quality
        The scores, by name; see `tvtasks.scores.QualityScores`.
    span
        When the first step started and when the file was written, in seconds since 1970; None if unknown.
    session
        Who measured, and for what, as `tvtasks.archive.session.Session` takes it; empty if unknown.
    verdict, note
        What someone said about the run: ``keep``, ``reject`` or nothing, and a note; see `verdicts`.
    """

    path: Path
    size: int
    fault: str = ""
    run_id: str = ""
    schema: int = 0
    version: str = ""
    written_at: datetime = _NEVER
    source_name: str = ""
    source_sha256: str = ""
    channel: str = ""
    direction: str | None = None
    frame: int = 0
    technique: str | None = None
    quantity: str | None = None
    units: str = ""
    acquired_at: datetime | None = None
    shape: tuple[int, int] = (0, 0)
    dtype: str = ""
    pixel_size: tuple[float, float] | None = None
    pixel_unit: str = ""
    recipe: str = ""
    recipe_sha256: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    algorithm_version: int = 0
    gap: float | None = None
    converged: bool | None = None
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    sample: Mapping[str, Any] | None = None
    preview_sha256: str = ""
    region: Region = _NO_REGION
    quality: Mapping[str, float | None] = field(default_factory=dict)
    span: tuple[float, float] | None = None
    session: Mapping[str, str] = field(default_factory=dict)
    verdict: str = ""
    note: str = ""

    @property
    def image(self) -> ImageKey:
        """The image that this is a run of."""
        return ImageKey(self.source_sha256, self.channel, self.direction, self.frame)

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the steps of the recipe, in order."""
        from tvtasks.steps import STEPS  # noqa: PLC0415 - listing an archive does not need it

        return tuple(step for step in STEPS if step in self.parameters)

    @property
    def scores(self) -> QualityScores | None:
        """The scores; None if the file cannot be read, or if it has none."""
        return QualityScores(**self.quality) if self.quality else None  # type: ignore[arg-type]

    @property
    def preview(self) -> Path:
        """The path of the run's picture, whether it exists or not."""
        return self.path.with_suffix(".png")


def entries(
    folder: str | Path, *, progress: Callable[[int, int], object] = lambda done, of: None
) -> list[CatalogueEntry]:
    """Return an entry for each result in a folder, without subfolders, sorted by name.

    Other files and unfinished ones are left out. A file that cannot be read has an entry with its fault.
    Files removed in the meantime are left out.

    Parameters
    ----------
    folder
        The archive.
    progress
        Called now and then with the number of files read, and of all files.

    Returns
    -------
    list of CatalogueEntry

    Raises
    ------
    ConfigurationError
        The folder does not exist or cannot be listed.
    """
    paths = sorted(archive_files(folder), key=str)  # comparing paths takes four times as long
    return judged(read_entries(paths, progress), verdicts.read(Path(folder)))


def read_entries(paths: Sequence[Path], progress: Callable[[int, int], object]) -> list[CatalogueEntry]:
    """Read the entries of files, several at a time; see `entries`."""
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    found: list[CatalogueEntry] = []
    with ThreadPoolExecutor(_READERS, thread_name_prefix="catalogue") as pool:
        for number, chunk in enumerate(pool.map(_entries, chunks), 1):
            found += chunk
            progress(min(number * _CHUNK, len(paths)), len(paths))
    return found


def judged(found: Iterable[CatalogueEntry], said: Mapping[str, Verdict]) -> list[CatalogueEntry]:
    """Return entries with the verdicts on them, which `verdicts.read` returned."""
    return [
        replace(one, verdict=about.verdict, note=about.note)
        if (about := said.get(verdicts.key(one.run_id)))
        else one
        for one in found
    ]


def archive_files(folder: str | Path) -> Iterator[Path]:
    """Yield the results in a folder, by their names alone, in any order.

    Raises
    ------
    ConfigurationError
        The folder does not exist or cannot be listed.
    """
    yield from (Path(place.path) for place in _places(folder))


def listed(folder: str | Path) -> Iterator[tuple[str, int, int]]:
    """Yield name, size and time of last change (ns) of each result in a folder, in any order.

    Raises
    ------
    ConfigurationError
        The folder does not exist or cannot be listed.
    """
    for place in _places(folder):
        try:
            stat = place.stat()
        except OSError:  # it was removed in the meantime
            continue
        yield place.name, stat.st_size, stat.st_mtime_ns


def _places(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            for place in listing:
                if place.name.endswith(".nxs") and not place.name.startswith("."):
                    yield place
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigurationError(f"There is no archive folder {folder}. Check the path.") from None
    except OSError as error:
        raise ConfigurationError(
            f"The archive folder {folder} cannot be read: {error.strerror or error}. "
            "Check that its disk or share is connected and that you may read it."
        ) from error


def latest(found: Iterable[CatalogueEntry]) -> list[CatalogueEntry]:
    """Keep the run of each image that was archived last, and all files that cannot be read."""
    newest: dict[ImageKey | Path, CatalogueEntry] = {}
    for entry in found:
        key: ImageKey | Path = entry.path if entry.fault else entry.image
        if key not in newest or newest[key].written_at < entry.written_at:
            newest[key] = entry
    return list(newest.values())


def entry(path: Path) -> CatalogueEntry | None:
    """Return the entry of one file; None if the file no longer exists."""
    try:
        stat = path.stat()
        size = stat.st_size
        record = _quickly(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return CatalogueEntry(path, 0, f"{path} cannot be read: {error.strerror or error}.")
    try:
        return _described(path, stat, record if record is not None else _thoroughly(path))
    except ArchiveError as error:
        return CatalogueEntry(path, size, str(error)) if path.exists() else None


def _entries(paths: list[Path]) -> list[CatalogueEntry]:
    return [found for path in paths if (found := entry(path))]


def _quickly(path: Path) -> dict[str, Any] | None:
    """Return the run record if it can be found and checked without HDF5, otherwise None."""
    with path.open("rb", buffering=0) as file:
        head = file.read(48)
        size = file.seek(0, os.SEEK_END)
        # A file shorter than it says was truncated.
        at = _LENGTH_AT.get(head[8]) if head[:8] == _SIGNATURE and len(head) == 48 else None
        if at is None or int.from_bytes(head[at : at + 8], "little") != size:
            return None
        file.seek(max(0, size - _TAIL))
        tail = file.read(_TAIL)
    at = tail.rfind(_RECORD)
    if at < 0:
        return None
    try:
        text = tail[at:].decode("latin-1")  # one character per byte; the record is ASCII
        record, length = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return None
    checksum = hashlib.sha256(tail[at : at + length]).hexdigest()
    # A file with several runs, or of another run than its name says, needs a closer look.
    if checksum.encode() not in tail or not path.stem.endswith(f"__{record.get('run_id', '')[:12]}"):
        return None
    return record if isinstance(record, dict) else None


def _thoroughly(path: Path) -> dict[str, Any]:
    from tvtasks.archive.reading import summary  # noqa: PLC0415 - loads HDF5, which is rarely needed

    return summary(path)


def _described(path: Path, stat: os.stat_result, record: Mapping[str, Any]) -> CatalogueEntry:
    try:
        image, source, raw = record["image"], record["source"], record["arrays"]["raw"]
        named = {"name", "description"}
        return CatalogueEntry(
            path=path,
            size=stat.st_size,
            run_id=record["run_id"],
            schema=record["schema"],
            version=record["software"]["packages"]["tvtasks"],
            written_at=datetime.fromisoformat(record["written_at"]),
            source_name=source["name"] if source else "image",
            source_sha256=source["sha256"] if source else raw["sha256"],
            channel=image["channel"],
            direction=image["direction"],
            frame=image["frame"],
            technique=image["technique"],
            quantity=image["quantity"],
            units=image["units"],
            acquired_at=datetime.fromisoformat(image["acquired_at"]) if image["acquired_at"] else None,
            shape=(raw["shape"][0], raw["shape"][1]),
            dtype=image["dtype"],
            pixel_size=(image["pixel_size"][0], image["pixel_size"][1]) if image["pixel_size"] else None,
            pixel_unit=image["pixel_unit"],
            recipe=record["recipe"]["name"],
            recipe_sha256=record["recipe_sha256"],
            parameters={key: value for key, value in record["recipe"].items() if key not in named},
            algorithm_version=record["algorithm_version"],
            gap=record["gap"],
            converged=record["converged"],
            seconds=record["seconds"],
            notes=tuple(record["notes"]),
            sample=record["sample"],
            preview_sha256=record.get("preview_sha256", ""),
            region=Region(*record["region"]),
            quality=record.get("quality") or {},
            session=record.get("session") or {},
            span=_span(record, stat.st_mtime),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ArchiveError(
            f"This tvtasks does not understand the run record of {path} "
            f"({type(error).__name__}: {error}). If a newer tvtasks wrote it, install that version."
        ) from error


def _span(record: Mapping[str, Any], modified: float) -> tuple[float, float]:
    """Return when the work on an image began and when its file was written; see `CatalogueEntry`.

    A file is written soon after its record is made; a copy may be younger.
    """
    began = datetime.fromisoformat(record["began_at"]).timestamp()
    recorded = datetime.fromisoformat(record["written_at"]).timestamp()
    return began, modified if 0.0 <= modified - recorded <= _WRITING else recorded
