"""Whether the results that were written are still there: for the ledger of a watch, and for any archive.

A file is done only as long as its results are in the archive. Whoever deletes, empties or edits one, and a
disk that loses one, leave a ledger that is wrong. So a watch compares the two when it starts and every night.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tvtasks import places
from tvtasks.archive.catalogue import CatalogueEntry, entries
from tvtasks.archive.folder import has_watch, ledger_path, seal_log_path
from tvtasks.archive.sealing import read_seal
from tvtasks.archive.seals import SealLog, is_as_written, read_seals
from tvtasks.archive.store import set_aside
from tvtasks.archive.verification import FileFinding
from tvtasks.errors import ArchiveError
from tvtasks.filesystem import FileStatus, status_of
from tvtasks.ledger import Entry, Ledger, Output, ReadOnlyLedger, State
from tvtasks.micrograph import file_sha256

logger = logging.getLogger(__name__)

_READERS = 8  # files read at a time, because a network share answers each request late

Fault = Literal["missing", "empty", "damaged"]


@dataclass(frozen=True)
class LostResults:
    """A file whose results are not in the archive as they were written.

    Attributes
    ----------
    entry
        The file, in the ledger.
    faults
        What became of each result, by its path.
    """

    entry: Entry
    faults: dict[Path, Fault]

    @property
    def reason(self) -> str:
        """A sentence on what became of the results."""
        names = [f"{path.name} is {fault}" for path, fault in self.faults.items()]
        return f"{self.entry.path.name}: its result {', its result '.join(names)}."


def output_of(result: Path) -> Output:
    """Return a result as it looks now, for the ledger."""
    status = status_of(result)
    return Output(result, *status, read_seal(result)) if status else Output(result)


def find_lost(
    ledger: Ledger,
    archive: Path,
    recipe: str | None = None,
    *,
    deep: bool = False,
    path: Path | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> list[LostResults]:
    """Return the files whose results are missing, empty or damaged, and record those that are back.

    Parameters
    ----------
    ledger
        The ledger of the archive.
    archive
        The archive; it may have been moved since the results were written.
    recipe
        Only work for this recipe.
    deep
        Whether to read every result and compare it with its seal. Otherwise only those are read whose size or
        time of last change is not as it was when they were written.
    path
        Only the results of this file.
    progress
        Called with the number of files whose results were checked, and of all.

    Raises
    ------
    ArchiveError
        The archive is not there, so that nothing can be known, or the ledger cannot be used.
    """
    places.check(archive)
    if not places.archive_id(archive):
        raise ArchiveError(
            f"The results in {archive} cannot be checked: it has no marker {places.MARKER}, so its disk or "
            "share may not be connected. Connect it; if the folder is right, start the watch once."
        )
    check = _Check(archive, deep)
    found = []
    checked, total = 0, ledger.overview(recipe).counts.get(State.DONE, 0) if progress else 0
    for piece in ledger.outputs(recipe, path):
        for number, outputs in piece:
            checked += 1
            if progress:
                progress(checked, max(checked, total))
            if check.is_as_recorded(outputs):
                continue
            entry = ledger.entry(number)
            if entry and (lost := check.judge(ledger, entry)):
                found.append(lost)
    places.check(archive)  # if it went away meanwhile, nothing that was found counts
    return found


def queue_lost(ledger: Ledger, lost: Sequence[LostResults]) -> list[Entry]:
    """Queue files again whose results are lost, move damaged results aside, and log both.

    Returns the entries that were queued; the others' images are gone, and they are quarantined.
    """
    remade = {(item.entry.sha256, item.entry.recipe) for item in lost if status_of(item.entry.path)}
    for item in lost:
        logger.warning("%s", item.reason)
        if (item.entry.sha256, item.entry.recipe) in remade:
            for result in item.faults:
                if result.exists():
                    set_aside(result)
    return ledger.lose((item.entry, item.reason) for item in lost)


class _Check:
    """Compares results with what the ledger, and the log of seals, say about them."""

    def __init__(self, archive: Path, deep: bool) -> None:
        self._archive = archive
        self._deep = deep
        self._looks = _looks(archive)
        self._log: SealLog | None = None

    def is_as_recorded(self, outputs: Sequence[Output]) -> bool:
        """Return whether results look as they did when they were recorded; False if all must be read."""
        return not self._deep and all(
            self._looks.get(output.path.name) == (output.size, output.mtime_ns) for output in outputs
        )

    def judge(self, ledger: Ledger, entry: Entry) -> LostResults | None:
        """Read the results of an entry; return those that are lost, or record that all are there."""
        faults = {
            self._archive / output.path.name: fault
            for output in entry.outputs
            if (fault := self._fault(output))
        }
        if faults:
            return LostResults(entry, faults) if entry.state is State.DONE else None
        outputs = tuple(output_of(self._archive / output.path.name) for output in entry.outputs)
        if outputs != entry.outputs or entry.state is not State.DONE:
            ledger.regain(entry, outputs)
        return None

    def _fault(self, output: Output) -> Fault | None:
        path = self._archive / output.path.name
        look = self._looks.get(path.name) or status_of(path)  # it may have been written since
        if look is None:
            return "missing"
        if look.size == 0:
            return "empty"
        seals = {output.seal} | self._logged(path.name) if output.seal else set()
        return None if is_as_written(path, seals) else "damaged"

    def _logged(self, name: str) -> set[str]:
        """Return the seals of a result that was made again, by a rerun for example."""
        if self._log is None:
            self._log = read_seals(self._archive)
        return {line.seal for line in self._log.lines.get(name, [])}


def _looks(archive: Path) -> dict[str, FileStatus]:
    """Return the size and the time of last change of each result, by its name."""
    found = {}
    try:
        with os.scandir(archive) as listing:
            for item in listing:
                if item.name.endswith(".nxs"):
                    status = item.stat()
                    found[item.name] = FileStatus(status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise ArchiveError(f"The archive {archive} cannot be read: {error.strerror or error}.") from error
    return found


def examine_archive(
    folder: Path, report: Callable[[int, int], object] = lambda done, of: None
) -> dict[Path, list[FileFinding]]:
    """Check what no single result shows: which are missing, misnamed, sealed again or without their picture.

    Parameters
    ----------
    folder
        A folder of results.
    report
        Called now and then with the number of results read, and of all.

    Returns
    -------
    dict
        The findings for each file that has any.
    """
    log = read_seals(folder)
    found = {path: [finding] for path, finding in _findings_in_log(folder, log)}
    catalogue = [entry for entry in entries(folder, progress=report) if not entry.fault]
    with ThreadPoolExecutor(_READERS, thread_name_prefix="verify") as pool:
        for entry, findings in zip(
            catalogue, pool.map(lambda one: list(_examine(one, log)), catalogue), strict=True
        ):
            if findings:
                found.setdefault(entry.path, []).extend(findings)
    for path, why in _expected(folder, log).items():
        if not path.exists():
            found[path] = [FileFinding("missing", "", f"{path} is missing: {why}")]
    return found


def _findings_in_log(folder: Path, log: SealLog) -> Iterator[tuple[Path, FileFinding]]:
    path = seal_log_path(folder)
    if log.broken:
        yield (
            path,
            FileFinding(
                "damaged",
                "",
                f"The log of seals {path} was changed: line {log.broken[0]} does not follow from the one "
                "before it. Compare it with a copy in a backup.",
            ),
        )
    elif log.torn:
        yield path, FileFinding("note", "", f"{path} has a line that was cut short, by a power failure.")


def _examine(entry: CatalogueEntry, log: SealLog) -> Iterator[FileFinding]:
    path = entry.path
    if not path.stem.endswith(f"__{entry.run_id[:12]}") and entry.run_id:
        right = f"…__{entry.source_sha256[:8]}__{entry.run_id[:12]}.nxs"
        yield FileFinding(
            "misnamed", "", f"{path} has the name of another run: it holds the run of {right}. Rename it."
        )
    elif path.name in log.lines and read_seal(path) not in {line.seal for line in log.lines[path.name]}:
        yield FileFinding(
            "damaged",
            "",
            f"{path} was changed and sealed again after it was written on "
            f"{log.lines[path.name][-1].at[:10]}: its seal is not in the log of seals. Copy the file from a "
            "backup, or restore the image again.",
        )
    yield from _examine_picture(entry, log)


def _examine_picture(entry: CatalogueEntry, log: SealLog) -> Iterator[FileFinding]:
    picture = entry.preview
    known = {line.seal for line in log.lines.get(picture.name, [])} | {entry.preview_sha256}
    if not entry.preview_sha256:
        return  # an earlier version wrote the result, or it was written without a picture
    try:
        if file_sha256(picture) not in known:
            yield FileFinding(
                "damaged",
                picture.name,
                f"{picture} was changed after it was written. Delete it: tvtasks restore draws it again.",
            )
    except FileNotFoundError:
        sentence = (
            f"{picture} is missing. Run tvtasks restore with the image again: it draws the picture again."
        )
        yield FileFinding("missing", picture.name, sentence)
    except OSError as error:
        yield FileFinding("damaged", picture.name, f"{picture} cannot be read: {error.strerror or error}.")


def _expected(folder: Path, log: SealLog) -> dict[Path, str]:
    """Return the results that should be in an archive, and who says so."""
    expected = {
        folder
        / name: f"it was written on {lines[-1].at[:10]}. Copy it from a backup, or restore its image again."
        for name, lines in log.lines.items()
        if name.endswith(".nxs")
    }
    if has_watch(folder) and ledger_path(folder).is_file():
        with ReadOnlyLedger(ledger_path(folder)) as ledger:
            for piece in ledger.outputs():
                for number, outputs in piece:
                    for output in outputs:
                        path = folder / output.path.name
                        if path.exists():
                            continue
                        entry = ledger.entry(number)
                        name = entry.path.name if entry else "its image"
                        expected[path] = (
                            f"it is the result of {name}. Run: tvtasks retry {folder} "
                            f"{entry.path if entry else '--all'}"
                        )
    return expected


def check_and_queue(
    ledger: Ledger,
    archive: Path,
    recipe: str | None = None,
    *,
    deep: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> list[LostResults]:
    """Find the files whose results are lost, queue them again, and return them; see `find_lost`."""
    lost = find_lost(ledger, archive, recipe, deep=deep, progress=progress)
    queue_lost(ledger, lost)
    return lost
