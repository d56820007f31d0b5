"""What an archive folder holds: one entry for each file, without opening all of them as HDF5.

There is no index that could be out of date. The run record lies uncompressed near the end of a file, where it
is found and checked against its own checksum by one small read: 10,000 files take a second or two. A file in
which it is not found that way (another layout, a damaged file, one that was renamed) is read through HDF5.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from tvtasks.errors import ArchiveError, ConfigurationError

_SIGNATURE = b"\x89HDF\r\n\x1a\n\0"  # and the superblock of version 0, in which h5py's files begin
_RECORD = b'{"algorithm_version":'  # the first key of a run record
_TAIL = 32_768  # bytes; the record and its checksum lie in the last 10,000 or so
_READERS = 8  # files read at a time: a network share answers each request late
_CHUNK = 64
_NEVER = datetime.min.replace(tzinfo=UTC)
_WRITING = 60.0  # seconds from the record to the end of the file that are believed


class ImageKey(NamedTuple):
    """Which image of which content: runs with the same key are of the same image."""

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
        The file, and its bytes.
    fault
        A sentence on what is wrong with a file that cannot be read; all that follows is then empty.
    run_id
        Identity of the run, 64 hexadecimal digits.
    schema, version
        Version of the record, and of the tvtasks that wrote it.
    written_at
        When the run was archived, with time zone.
    source_name, source_sha256
        Name and checksum of the file that the image came from; for an image from memory the name is
        ``image`` and the checksum that of its values.
    channel, direction, frame, technique, quantity, units, acquired_at
        As in `Micrograph`.
    shape, dtype
        Of the raw image.
    pixel_size, pixel_unit
        (dy, dx) and its unit; None where the image is not calibrated.
    recipe, recipe_sha256, parameters
        Name and digest of the recipe, and everything that decides the result, defaults included.
    algorithm_version
        See `tvtasks.restoration.ALGORITHM_VERSION`.
    gap, converged, seconds
        Largest relative gap of any step (None where nothing is proven or nothing was minimised), whether all
        steps met their stopping rule, and the time spent in the steps.
    notes
        What had to be decided, as sentences.
    sample
        What is known of the sample, as `tvtasks.archive.Sample` takes it; None where nothing is.
    span
        When its first step began and when the file was written, in seconds since 1970; None where that is not
        known.
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
    span: tuple[float, float] | None = None

    @property
    def image(self) -> ImageKey:
        """Which image this is a run of."""
        return ImageKey(self.source_sha256, self.channel, self.direction, self.frame)

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the steps of the recipe, in order."""
        from tvtasks.steps import STEPS  # noqa: PLC0415 - a list of an archive does without

        return tuple(step for step in STEPS if step in self.parameters)

    @property
    def preview(self) -> Path:
        """Where the picture of the run lies, whether it is there or not."""
        return self.path.with_suffix(".png")


def entries(
    folder: str | Path, *, progress: Callable[[int, int], object] = lambda done, of: None
) -> list[CatalogueEntry]:
    """Return an entry for each archive file in a folder, not in its subfolders, in the order of names.

    Files of other kinds and unfinished ones are left out. A file that cannot be read has an entry with its
    fault. What is removed meanwhile is left out.

    Parameters
    ----------
    folder
        The archive.
    progress
        Called now and then with the number of files read, and of all.

    Raises
    ------
    ConfigurationError
        There is no such folder, or it cannot be listed.
    """
    paths = sorted(archive_files(folder), key=str)  # comparing paths takes four times as long
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    found: list[CatalogueEntry] = []
    with ThreadPoolExecutor(_READERS, thread_name_prefix="catalogue") as pool:
        for number, chunk in enumerate(pool.map(_entries, chunks), 1):
            found += chunk
            progress(min(number * _CHUNK, len(paths)), len(paths))
    return found


def archive_files(folder: str | Path) -> Iterator[Path]:
    """Yield the finished archive files of a folder, by their names alone, in no order.

    Raises
    ------
    ConfigurationError
        There is no such folder, or it cannot be listed.
    """
    try:
        with os.scandir(folder) as listing:
            for place in listing:
                if place.name.endswith(".nxs") and not place.name.startswith("."):
                    yield Path(place.path)
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigurationError(f"There is no archive folder {folder}. Check the path.") from None
    except OSError as error:
        raise ConfigurationError(
            f"The archive folder {folder} cannot be read: {error.strerror or error}. "
            "Check that it is connected and that you may read it."
        ) from error


def latest(found: Iterable[CatalogueEntry]) -> list[CatalogueEntry]:
    """Keep of each image the run that was archived last, and every file that cannot be read."""
    newest: dict[ImageKey | Path, CatalogueEntry] = {}
    for entry in found:
        key: ImageKey | Path = entry.path if entry.fault else entry.image
        if key not in newest or newest[key].written_at < entry.written_at:
            newest[key] = entry
    return list(newest.values())


def entry(path: Path) -> CatalogueEntry | None:
    """Return the entry of one file; None where there is none any more."""
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
    """Return the run record, None where it cannot be found, and proven to be whole, without HDF5."""
    with path.open("rb", buffering=0) as file:
        head = file.read(48)
        size = file.seek(0, os.SEEK_END)
        # A file that has another length than it says was cut short.
        if head[:9] != _SIGNATURE or int.from_bytes(head[40:], "little") != size:
            return None
        file.seek(max(0, size - _TAIL))
        tail = file.read(_TAIL)
    at = tail.rfind(_RECORD)
    if at < 0:
        return None
    try:
        text = tail[at:].decode("latin-1")  # one character a byte; the record itself is ASCII
        record, length = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return None
    checksum = hashlib.sha256(tail[at : at + length]).hexdigest()
    # A file with several runs, or of another run than its name says, is not what it looks like from here.
    if checksum.encode() not in tail or not path.stem.endswith(f"__{record.get('run_id', '')[:12]}"):
        return None
    return record if isinstance(record, dict) else None


def _thoroughly(path: Path) -> dict[str, Any]:
    from tvtasks.archive.reading import summary  # noqa: PLC0415 - brings in HDF5, which is rarely needed

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
            span=_span(record, stat.st_mtime),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ArchiveError(
            f"{path} has a run record that this tvtasks does not understand "
            f"({type(error).__name__}: {error}). If a newer tvtasks wrote it, install that one."
        ) from error


def _span(record: Mapping[str, Any], modified: float) -> tuple[float, float]:
    """Return when the work on an image began and its file was written; see `CatalogueEntry`.

    The file was changed last when it was written, soon after the record was made; a copy may be younger.
    """
    began = datetime.fromisoformat(record["began_at"]).timestamp()
    recorded = datetime.fromisoformat(record["written_at"]).timestamp()
    return began, modified if 0.0 <= modified - recorded <= _WRITING else recorded
