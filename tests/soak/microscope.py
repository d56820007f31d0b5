"""A folder as a busy laboratory fills it: bursts of small scans, and every way in which a file goes wrong.

`tvtasks.replay` and `tests.faulty_writers` do the writing. This module draws lots, and keeps the manifest of
what was written, so that what was restored, refused and ignored can be counted in the end.
"""

from __future__ import annotations

import heapq
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

import numpy as np

from tests import faulty_writers
from tvtasks import replay, synthetic
from tvtasks.micrograph import file_sha256

Steps = Iterator[float]
"""Does a step, yields the seconds until the next."""

WAYS = (
    replay.write_slowly,
    replay.write_with_pause,
    replay.write_then_rename,
    replay.write_at_once,
    faulty_writers.write_preallocated,
    faulty_writers.write_in_two_goes,
)


class Expected(StrEnum):
    """What is to come of a file."""

    RESTORED = "restored"
    REFUSED = "refused"
    """It is named with a reason, and nothing of it is in the archive."""
    IGNORED = "ignored"


@dataclass(frozen=True)
class Left:
    """A file as the microscope has left it.

    Attributes
    ----------
    sha256, mtime_ns
        Checksum of its content, hexadecimal, and time of its last change in nanoseconds.
    expected
        What is to come of it.
    images
        How many images are in it.
    written
        When it was finished, in seconds since 1970.
    """

    sha256: str
    mtime_ns: int
    expected: Expected
    images: int
    written: float


@dataclass
class Manifest:
    """What the microscope has written.

    Attributes
    ----------
    left
        The files that are in the folder in the end.
    passing
        For how long content that did not stay was left alone at most, in seconds, by its checksum. It may
        have been restored if that was long enough.
    fates
        How many files came about in which way.
    """

    left: dict[Path, Left] = field(default_factory=dict)
    passing: dict[str, float] = field(default_factory=dict)
    fates: Counter[str] = field(default_factory=Counter)

    def expected(self, what: Expected) -> dict[Path, Left]:
        """Return the files of which this is expected."""
        return {path: left for path, left in self.left.items() if left.expected is what}

    def leave(self, path: Path, expected: Expected = Expected.RESTORED, images: int = 1) -> None:
        """Take up a file that is finished."""
        status = path.stat()
        self.left[path] = Left(file_sha256(path), status.st_mtime_ns, expected, images, time.time())


@dataclass(frozen=True)
class Scan:
    """What is to be written: a path, the content for it, and a source of more content of the same kind."""

    path: Path
    content: bytes
    another: Callable[[], bytes]
    rng: np.random.Generator
    rest: float
    manifest: Manifest

    @property
    def stack(self) -> Path:
        """Where it goes as a TIFF of several pages."""
        return self.path.with_name(f"{self.path.name.partition('.')[0]}.tif")

    @property
    def copy(self) -> Path:
        """Another name in the same folder."""
        return self.path.with_name(f"copy_of_{self.path.name}")

    @property
    def elsewhere(self) -> Path:
        """The same name in another folder."""
        return self.path.parent.with_name("elsewhere") / self.path.name

    def write(self, path: Path | None = None, content: bytes | None = None) -> Steps:
        """Write good content in one of the ways of instruments; it never rests for long."""
        way = WAYS[int(self.rng.integers(len(WAYS)))]
        return way(path or self.path, content or self.content, self.rest / 4)

    def some_time(self, longest: float = 4.0) -> float:
        """Seconds up to so many times what the monitor waits for: before, while or after it is restored."""
        return float(self.rng.uniform(0, longest * self.rest))


def whole(scan: Scan) -> Steps:
    yield from scan.write()
    scan.manifest.leave(scan.path)


def pages(scan: Scan) -> Steps:
    """A stack of 2 to 4 pages."""
    images = [synthetic.afm_lattice_scan(scan.rng, (16, 24)).recorded for _ in range(scan.rng.integers(2, 5))]
    yield from faulty_writers.write_page_by_page(scan.stack, images, scan.rest / 4)
    scan.manifest.leave(scan.stack, images=len(images))


def overwritten_later(scan: Scan) -> Steps:
    yield from scan.write()
    yield scan.some_time()
    yield from faulty_writers.overwrite(scan.path, scan.another(), scan.rest / 4)
    scan.manifest.leave(scan.path)


def same_under_two_names(scan: Scan) -> Steps:
    yield from whole(scan)
    yield scan.some_time()
    yield from scan.write(scan.copy)
    scan.manifest.leave(scan.copy)


def same_name_in_two_folders(scan: Scan) -> Steps:
    yield from whole(scan)
    scan.elsewhere.parent.mkdir(exist_ok=True)
    yield from scan.write(scan.elsewhere, scan.another())
    scan.manifest.leave(scan.elsewhere)


def moved(scan: Scan) -> Steps:
    yield from scan.write()
    yield scan.some_time()
    scan.elsewhere.parent.mkdir(exist_ok=True)
    yield from insist(lambda: scan.path.rename(scan.elsewhere))
    scan.manifest.leave(scan.elsewhere)


def deleted(scan: Scan) -> Steps:
    yield from scan.write()
    yield scan.some_time()
    yield from insist(scan.path.unlink)


def from_the_future(scan: Scan) -> Steps:
    yield from scan.write()
    ahead = time.time() + timedelta(days=float(scan.rng.uniform(0, 400))).total_seconds()
    os.utime(scan.path, (ahead, ahead))
    scan.manifest.leave(scan.path)


def copied_with_its_old_time(scan: Scan) -> Steps:
    """To whole seconds, as a FAT disk has them."""
    yield from scan.write()
    before = time.time() // 2 * 2 - timedelta(days=int(scan.rng.integers(1, 4000))).total_seconds()
    os.utime(scan.path, (before, before))
    scan.manifest.leave(scan.path)


def completed_late(scan: Scan) -> Steps:
    yield from faulty_writers.write_in_two_goes(scan.path, scan.content, scan.some_time(12))
    scan.manifest.leave(scan.path)


def cut_short_for_ever(scan: Scan) -> Steps:
    yield from ()
    faulty_writers.write_truncated(scan.path, scan.content)
    scan.manifest.leave(scan.path, Expected.REFUSED)


def empty_for_ever(scan: Scan) -> Steps:
    yield from ()
    faulty_writers.write_truncated(scan.path, b"")
    scan.manifest.leave(scan.path, Expected.REFUSED)


def rubbish(scan: Scan) -> Steps:
    yield from ()
    faulty_writers.write_rubbish(scan.path, size=2000, seed=int(scan.rng.integers(2**31)))
    scan.manifest.leave(scan.path, Expected.REFUSED)


def litter(scan: Scan) -> Steps:
    """What file managers, network drives and copying programs leave; some of it has an image's content."""
    name = str(
        scan.rng.choice(["._{}", "~{}", ".{}.partial-1", "{}.part", "Thumbs.db", "{}.txt", "desktop.ini"])
    )
    path = scan.path.with_name(name.format(scan.path.name))
    path.write_bytes(scan.content)
    yield from ()
    scan.manifest.leave(path, Expected.IGNORED)


FATES: dict[Callable[[Scan], Steps], float] = {
    whole: 70,
    pages: 3,
    overwritten_later: 4,
    same_under_two_names: 3,
    same_name_in_two_folders: 3,
    moved: 3,
    deleted: 2,
    from_the_future: 1,
    copied_with_its_old_time: 2,
    completed_late: 2,
    cut_short_for_ever: 2,
    empty_for_ever: 1,
    rubbish: 2,
    litter: 2,
}
"""What becomes of a scan, and of how many in a hundred."""


def burst(
    folder: Path, manifest: Manifest, *, first: int, scans: int, seconds: float, rest: float, seed: int
) -> Steps:
    """Write scans into a new subfolder, several at a time.

    Parameters
    ----------
    folder
        The folder that is watched.
    manifest
        Takes up what is written.
    first, scans
        Number of the first scan, and how many there are.
    seconds
        How long it takes to begin them all.
    rest
        Seconds for which the monitor leaves a file alone before it counts. Files grow in smaller steps, but
        some rest for several times as long before they change once more.
    seed
        The same seed and numbers give the same files.
    """
    place = folder / f"burst_{first:06d}" / "images"
    place.mkdir(parents=True)
    begins = np.random.default_rng([seed, first]).uniform(0, seconds, scans)
    return together(
        (float(begin), _one(place, manifest, number, rest, seed))
        for number, begin in enumerate(begins, start=first)
    )


def _one(place: Path, manifest: Manifest, number: int, rest: float, seed: int) -> Steps:
    """Draw and write one scan, and note for how long its content rests between the steps."""
    rng = np.random.default_rng([seed, number])
    of = replay.ROUND[int(rng.integers(len(replay.ROUND)))]

    def content() -> bytes:
        rows, columns = (int(side) for side in rng.integers(16, 33, 2))
        return of.encode(of.scan(rng, (rows, columns)))

    path = place / f"{of.prefix}_{number:06d}{of.suffix}"
    scan = Scan(path, content(), content, rng, rest, manifest)
    shares = np.array(list(FATES.values()))
    fate = list(FATES)[int(rng.choice(len(FATES), p=shares / shares.sum()))]
    manifest.fates[fate.__name__] += 1
    places = {scan.path, scan.stack, scan.copy, scan.elsewhere}
    since: dict[str, float] = {}
    for seconds in fate(scan):
        there = {file_sha256(each) for each in places if each.exists()}
        since = {sha256: since.get(sha256, time.monotonic()) for sha256 in there}
        yield seconds
        now = time.monotonic()
        for sha256, begun in since.items():
            manifest.passing[sha256] = max(manifest.passing.get(sha256, 0.0), now - begun)


def together(jobs: Iterable[tuple[float, Steps]]) -> Steps:
    """Do several jobs at a time, each begun after its own number of seconds."""
    due = [(begin, number, job) for number, (begin, job) in enumerate(jobs)]
    heapq.heapify(due)
    now = 0.0
    while due:
        when, number, job = heapq.heappop(due)
        if when > now:
            yield when - now
            now = when
        seconds = next(job, None)
        if seconds is not None:
            heapq.heappush(due, (now + seconds, number, job))


def insist(action: Callable[[], object]) -> Steps:
    """Do something with a file, again and again while Windows refuses it because someone reads the file."""
    while True:
        try:
            action()
        except PermissionError:
            yield 0.1
        else:
            return
