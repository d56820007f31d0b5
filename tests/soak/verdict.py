"""Is everything restored exactly once? Counted in the archive, in the ledger and in the watched folder."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from tests.soak.lab import Outage, Sample
from tests.soak.microscope import Expected, Left, Manifest
from tests.soak.soak import Course, Plan
from tvtasks import archive
from tvtasks.archive.folder import damaged_folder, ledger_path
from tvtasks.archive.sealing import is_whole
from tvtasks.errors import ArchiveError
from tvtasks.ledger import Entry, Ledger, State
from tvtasks.micrograph import file_sha256

MOST_GROWTH = 50_000_000
"""Bytes by which a process may have grown from the first quarter of its time to the last."""

LONG_LIVED = 120.0
"""Seconds, after its start, from which a process is old enough for that."""

STARTING = 60.0
"""Seconds in which a process still imports and compiles: under Prefect its first dozens of files do."""


@dataclass(frozen=True)
class Archived:
    """What was found in an archive.

    Attributes
    ----------
    runs
        For each identity of a run, the checksum of the file that it restored and its archive files.
    faults
        Sentences about files that cannot be read, or have no picture.
    leftovers
        Unfinished files that a kill has left behind.
    """

    runs: dict[str, tuple[str, list[Path]]]
    faults: list[str]
    leftovers: int

    def images(self) -> Counter[str]:
        """How many images of each file were restored."""
        return Counter(sha256 for sha256, _ in self.runs.values())


@dataclass(frozen=True)
class Verdict:
    """How it went.

    Attributes
    ----------
    faults
        What must not be; a sentence each.
    counts
        What was counted, by its name.
    queueing, finishing
        Seconds from settled to queued, and from queued to done, of files that met no outage.
    growth
        Bytes by which each process that lived for long has grown, by its number.
    """

    faults: list[str]
    counts: dict[str, int]
    queueing: list[float]
    finishing: list[float]
    growth: dict[int, float]


def judge(course: Course, plan: Plan) -> Verdict:
    """Count, and say what is wrong."""
    manifest, directory = course.manifest, course.watch.archive
    found = read_archive(directory)
    with Ledger(ledger_path(directory)) as ledger:
        entries = ledger.entries()
        attempts = Counter(
            attempt.outcome for path in {entry.path for entry in entries} for attempt in ledger.history(path)
        )
    growth = growths(course.watch.samples)
    faults = [
        *found.faults,
        *archive_faults(manifest, found, plan.rest),
        *ledger_faults(manifest, entries),
        *folder_faults(course.watch.folder, manifest),
        *last_run_faults(manifest, course.last),
        *exit_faults(course),
        *(
            f"Process {number} has grown by {size / 1e6:.0f} MB."
            for number, size in growth.items()
            if size > MOST_GROWTH
        ),
    ]
    faults += [f"{path} was written while its disk was unmounted." for path in course.hidden]
    if course.kills < plan.kills:
        faults.append(f"Only {course.kills} of {plan.kills} kills came about.")
    good = manifest.expected(Expected.RESTORED)
    images = found.images()
    counts = {
        "files that the microscope left in the folder": len(manifest.left),
        "good files": len(good),
        "different contents of good files": len({left.sha256 for left in good.values()}),
        "images in them": sum({left.sha256: left.images for left in good.values()}.values()),
        "archive files": sum(len(files) for _, files in found.runs.values()),
        "of these, of content that was overwritten or deleted later": sum(
            number
            for sha256, number in images.items()
            if sha256 not in {left.sha256 for left in good.values()}
        ),
        "images restored more than once": sum(len(files) > 1 for _, files in found.runs.values()),
        "results that were deleted, emptied or damaged": course.lost,
        "damaged results that were kept aside": sum(1 for _ in damaged_folder(directory).glob("*")),
        "files to be refused": len(manifest.expected(Expected.REFUSED)),
        "files to be ignored": len(manifest.expected(Expected.IGNORED)),
        "restored only by the last run": int(str(course.last.get("restored", 0))),
        "unfinished files that kills left in the archive": found.leftovers,
        **{f"ledger entries {state}": number for state, number in Counter(e.state for e in entries).items()},
        **{f"attempts that ended {outcome or 'never'}": number for outcome, number in attempts.items()},
    }
    outages = [*course.watch.outages, *course.outages]
    queueing, finishing = latencies(good, entries, outages, plan.rest)
    return Verdict(faults, counts, queueing, finishing, growth)


def read_archive(directory: Path) -> Archived:
    """Read the run record of every archive file."""
    runs: dict[str, tuple[str, list[Path]]] = {}
    faults = []
    for path in sorted(directory.glob("*.nxs")):
        try:
            record = archive.summary(path)
        except ArchiveError as error:
            faults.append(str(error))
            continue
        if not is_whole(path):
            faults.append(f"{path.name} is damaged.")
        sha256 = record["source"]["sha256"]
        runs.setdefault(record["run_id"], (sha256, []))[1].append(path)
        if not path.with_suffix(".png").exists():
            faults.append(f"{path.name} has no picture.")
    leftovers = sum(1 for path in directory.iterdir() if ".partial-" in path.name)
    return Archived(runs, faults, leftovers)


def archive_faults(manifest: Manifest, found: Archived, rest: float) -> Iterator[str]:
    """Each image of each good file once; nothing else but what had rested for long enough to count."""
    images = found.images()
    good = manifest.expected(Expected.RESTORED)
    for path, left in good.items():
        if images[left.sha256] != left.images:
            yield f"{path.name}: {images[left.sha256]} of {left.images} images are in the archive."
    for _, files in found.runs.values():
        if len(files) > 1:
            yield f"The same work is there more than once: {', '.join(file.name for file in files)}."
    finished = {left.sha256 for left in good.values()}
    for sha256, files in found.runs.values():
        if sha256 not in finished and manifest.passing.get(sha256, 0.0) < rest:
            yield f"{files[0].name} was restored from what was never a finished file."


def ledger_faults(manifest: Manifest, entries: Sequence[Entry]) -> Iterator[str]:
    """Each good file done, with all its images; each unreadable one quarantined; nothing left undone."""
    of_path: dict[Path, list[Entry]] = defaultdict(list)
    for entry in entries:
        of_path[entry.path].append(entry)
        if entry.state in {State.QUEUED, State.RUNNING, State.FAILED}:
            yield f"{entry.path.name} is still {entry.state} in the ledger. {entry.reason}"
    for path, left in manifest.expected(Expected.RESTORED).items():
        states = [entry.state for entry in of_path[path] if entry.sha256 == left.sha256]
        if states != [State.DONE]:
            yield f"{path.name} is {', '.join(states) or 'unknown'} in the ledger, not done."
            continue
        (entry,) = (entry for entry in of_path[path] if entry.sha256 == left.sha256)
        if len(set(entry.outputs)) != left.images or not all(
            output.path.exists() for output in entry.outputs
        ):
            yield f"{path.name} has {len(entry.outputs)} results in the ledger instead of {left.images}."
    for path in manifest.expected(Expected.REFUSED).keys() | manifest.expected(Expected.IGNORED).keys():
        if any(entry.state is State.DONE for entry in of_path[path]):
            yield f"{path.name} is done in the ledger, but nothing could be made of it."


def folder_faults(folder: Path, manifest: Manifest) -> Iterator[str]:
    """The watched folder is as the microscope has left it."""
    there = {path for path in folder.rglob("*") if path.is_file()}
    for path in sorted(there - manifest.left.keys()):
        yield f"{path} is in the watched folder, but the microscope has not written it."
    for path, left in manifest.left.items():
        if path not in there:
            yield f"{path} is no longer in the watched folder."
        elif (file_sha256(path), path.stat().st_mtime_ns) != (left.sha256, left.mtime_ns):
            yield f"{path} is no longer as the microscope has left it."


def last_run_faults(manifest: Manifest, last: dict[str, object]) -> Iterator[str]:
    """The last run names every bad file, and no other."""
    failed = last["failed"]
    assert isinstance(failed, dict)
    named = {Path(path) for path in failed}
    refused = manifest.expected(Expected.REFUSED).keys()
    yield from (f"{path.name} is not restored, and nobody says so." for path in sorted(refused - named))
    yield from (f"{failed[str(path)]} But it is a good file." for path in sorted(named - refused))
    if last["left"]:
        yield f"The last run has left: {last['left']}."


def exit_faults(course: Course) -> Iterator[str]:
    """The watch does not end by itself, unless it is just then without its disk or its server."""
    for when, code in course.watch.exits:
        if not any(outage.begun <= when <= outage.ended for outage in course.outages):
            yield f"The watch ended by itself after {when - course.began:.0f} s, with code {code}."


def latencies(
    good: dict[Path, Left], entries: Sequence[Entry], outages: Sequence[Outage], rest: float
) -> tuple[list[float], list[float]]:
    """Return seconds from settled to queued, and from queued to done, of the files that met no outage."""
    written = {(path, left.sha256): left.written for path, left in good.items()}
    queueing, finishing = [], []
    for entry in entries:
        finished = written.get((entry.path, entry.sha256))
        if finished is None or entry.state is not State.DONE:
            continue
        queued = datetime.fromisoformat(entry.first_seen).timestamp()
        done = datetime.fromisoformat(entry.updated).timestamp()
        if not any(outage.begun < queued and outage.ended > finished for outage in outages):
            queueing.append(queued - finished - rest)
        if not any(outage.begun < done and outage.ended > queued for outage in outages):
            finishing.append(done - queued)
    return queueing, finishing


def growths(samples: Sequence[Sample]) -> dict[int, float]:
    """Return how much more memory a process held in the last quarter of its life than in the first."""
    growth = {}
    for number in sorted({sample.process for sample in samples}):
        own = [sample for sample in samples if sample.process == number]
        begun = own[0].when + STARTING
        settled = [sample for sample in own if sample.when >= begun]
        if not settled or own[-1].when - begun < LONG_LIVED:
            continue
        quarter = max(1, len(settled) // 4)
        first, last = settled[:quarter], settled[-quarter:]
        growth[number] = float(
            np.median([sample.resident for sample in last]) - np.median([sample.resident for sample in first])
        )
    return growth
