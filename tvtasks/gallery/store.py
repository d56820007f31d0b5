"""The page in an archive: ``index.html`` and, in ``index_files``, its data and pictures.

A page that is opened from a disk may load scripts beside it, but no JSON. So the data are scripts, each of
which calls one function of the page:

- ``state.js``: the state of the watch and the revision of the rest; the page loads it every second.
- ``newest.js``: the newest runs, the files that were not restored, and the days with their numbers of runs.
- ``days/2026-11-28.js``: all runs of a day; the page loads it when someone looks at that day, or searches.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from operator import attrgetter
from pathlib import Path

from PIL import Image as Pillow

from tvtasks.archive import catalogue, verdicts
from tvtasks.archive.catalogue import CatalogueEntry
from tvtasks.archive.folder import page_folder, page_path
from tvtasks.figures import preview_boxes
from tvtasks.files import write_whole
from tvtasks.gallery import pictures
from tvtasks.gallery.records import (
    Record,
    Unrestored,
    WatchState,
    as_script,
    bar_record,
    day_of,
    run_record,
    unrestored_record,
)
from tvtasks.pages import page

NEWEST = 200
"""Number of runs that the page shows at first; they have a sharp large picture, older ones their preview."""

LISTED = 100
"""Number of files that were not restored whose sentences the page lists."""

_DRAWERS = 2
_BEHIND = 100  # runs that may be in newest.js and not yet in the file of their day


class ArchivePage:
    """The page of an archive; not safe for use in several threads.

    Parameters
    ----------
    archive
        The archive.
    title
        Title of the page; the name of the archive's folder if not given.
    read
        Returns the entry of a result; None if it is gone.
    """

    def __init__(
        self,
        archive: Path,
        title: str = "",
        *,
        read: Callable[[Path], CatalogueEntry | None] = catalogue.entry,
    ) -> None:
        self._read = read
        self.path = page_path(archive)
        self._archive = archive
        self._title = title or archive.resolve().name or "tvtasks"
        self._folder = page_folder(archive)
        self._entries: dict[Path, CatalogueEntry] = {}
        self._records: dict[Path, Record] = {}  # of the newest: their pictures are not looked for again
        self._behind: defaultdict[str, int] = defaultdict(int)
        self._said: dict[str, verdicts.Verdict] = {}
        self._state = b""
        self._newest = b""
        self._revision = 0

    @property
    def images(self) -> int:
        """Number of runs."""
        return len(self._entries) - self.faults

    @property
    def faults(self) -> int:
        """Number of results that cannot be read."""
        return sum(bool(entry.fault) for entry in self._entries.values())

    def look(self, progress: Callable[[int, int], object] = lambda done, of: None) -> None:
        """Take in the runs that are new in the archive, and forget those that are gone."""
        is_first = not self._entries
        there = set(catalogue.archive_files(self._archive))
        for path in self._entries.keys() - there:
            self._behind[day_of(self._entries.pop(path))] += _BEHIND
        new = sorted(there - self._entries.keys(), key=str)
        with ThreadPoolExecutor(8, thread_name_prefix="page") as pool:
            for number, found in enumerate(pool.map(self._read, new), 1):
                self._take(found)
                progress(number, len(new))
        self._judge()
        if is_first:
            self._behind.clear()
            self._behind.update(self._stale_days())

    def _judge(self) -> None:
        """Take in the verdicts that are new."""
        said = verdicts.read(self._archive)
        if said == self._said:
            return
        self._said = said
        for entry in catalogue.judged(self._entries.values(), said):
            if entry is not self._entries[entry.path]:
                self._entries[entry.path] = entry
                self._behind[day_of(entry)] += _BEHIND
                self._records.pop(entry.path, None)

    def add(self, paths: Iterable[Path]) -> None:
        """Take in runs that were archived now."""
        for path in paths:
            self._take(self._read(path))

    def draw(
        self, *, everything: bool = False, progress: Callable[[int, int], object] = lambda done, of: None
    ) -> int:
        """Draw the pictures that are missing; return how many runs got some.

        Without `everything`, only the newest runs get pictures; older ones show their previews.
        """
        newest = self._in_order()[:NEWEST]
        wanted = [(entry, True) for entry in newest]
        if everything:
            wanted += [(entry, False) for entry in self._in_order()[NEWEST:]]
        missing = [(entry, is_new) for entry, is_new in wanted if self._lacks_pictures(entry, sharp=is_new)]
        with ThreadPoolExecutor(_DRAWERS, thread_name_prefix="page") as pool:
            for number, _ in enumerate(pool.map(lambda one: self._draw(*one), missing), 1):
                progress(number, len(missing))
        self._remove_large({verdicts.key(entry.run_id) for entry in newest})
        return len(missing)

    def write(self, unrestored: Sequence[Unrestored] = (), *, all_days: bool = True) -> None:
        """Write what has changed; the page notices it after the next `write_state`.

        Parameters
        ----------
        unrestored
            The files that were not restored.
        all_days
            Whether to write every day that has changed, or only those with many new runs.

        Raises
        ------
        ArchiveError
            The page cannot be written.
        """
        self._write_page()
        days = self._days()
        for day in [day for day, behind in self._behind.items() if behind >= (1 if all_days else _BEHIND)]:
            self._write_day(day, days.get(day, []))
        ordered = self._in_order()
        self._records = {
            entry.path: self._records.get(entry.path) or self._record(entry) for entry in ordered[:NEWEST]
        }
        newest = as_script(
            "tvtasks.newest",
            {
                "images": list(self._records.values()),
                "total": len(ordered),
                "days": [[day, len(runs)] for day, runs in sorted(days.items(), reverse=True) if day],
                "faults": [self._record(entry) for entry in days.get("", [])][:LISTED],
                "unrestored": [unrestored_record(file) for file in unrestored[:LISTED]],
                "unrestored_total": len(unrestored),
            },
        )
        if newest != self._newest:
            write_whole(self._folder / "newest.js", newest, sync=False)
            self._newest, self._revision = newest, time.time_ns() // 1_000_000

    def write_state(self, watch: WatchState | None = None, *, stamp: float | None = None) -> None:
        """Write the state of the watch, if there is one.

        By the stamp, in seconds since 1970, the page sees that the watch is alive.
        """
        state = {"revision": self._revision, "watch": watch.record if watch else None}
        content = as_script("tvtasks.state", state | ({"stamp": stamp} if stamp else {}))
        if content != self._state:
            write_whole(self._folder / "state.js", content, sync=False)
            self._state = content

    def _take(self, entry: CatalogueEntry | None) -> None:
        if entry is not None and entry.path not in self._entries:
            self._entries[entry.path] = entry
            self._behind[day_of(entry)] += 1

    def _in_order(self) -> list[CatalogueEntry]:
        good = [entry for entry in self._entries.values() if not entry.fault]
        return sorted(good, key=attrgetter("written_at"), reverse=True)

    def _days(self) -> dict[str, list[CatalogueEntry]]:
        """Return the runs of each day, newest first; what cannot be read has the day ``""``."""
        days: dict[str, list[CatalogueEntry]] = defaultdict(list)
        for entry in sorted(self._entries.values(), key=attrgetter("written_at"), reverse=True):
            days[day_of(entry)].append(entry)
        return days

    def _stale_days(self) -> dict[str, int]:
        """Return the days whose files are missing, or older than their newest run."""
        stale = {}
        for day, entries in self._days().items():
            try:
                written = self._day_path(day).stat().st_mtime
            except OSError:
                written = 0.0
            if not written or written < entries[0].written_at.timestamp():
                stale[day] = _BEHIND
        return stale

    def _write_page(self) -> None:
        content = page("tvtasks.gallery", self._title, source=f"./{self._folder.name}/").encode()
        with suppress(FileNotFoundError):
            if self.path.read_bytes() == content:
                return
            # Another version of tvtasks wrote it, and its records may lack something.
            self._behind.update(dict.fromkeys(self._days(), _BEHIND))
        write_whole(self.path, content, sync=False)

    def _write_day(self, day: str, entries: list[CatalogueEntry]) -> None:
        path = self._day_path(day)
        if day and entries:
            script = as_script("tvtasks.day", day, [self._record(entry) for entry in entries])
            write_whole(path, script, sync=False)
        elif day:
            path.unlink(missing_ok=True)
        del self._behind[day]

    def _day_path(self, day: str) -> Path:
        return self._folder / "days" / f"{day}.js"

    def _record(self, entry: CatalogueEntry) -> Record:
        record = run_record(entry, self.path.parent)
        if entry.fault:
            return record
        large, thumbnail = self._large(entry), self._thumbnail(entry)
        if thumbnail.exists():
            record["thumbnail"] = self._address(thumbnail)
        if large.exists():
            record |= {
                "large": [self._address(large), [0, 0, 0.5, 1], [0.5, 0, 0.5, 1]],
                "bar": bar_record(entry),
            }
        elif boxes := _boxes(entry.preview):
            record["large"] = [f"./{record['link'][2:].removesuffix('.nxs')}.png", *boxes]
        return record

    def _address(self, path: Path) -> str:
        return f"./{path.relative_to(self.path.parent).as_posix()}"

    def _large(self, entry: CatalogueEntry) -> Path:
        return self._folder / "large" / f"{verdicts.key(entry.run_id)}.jpg"

    def _thumbnail(self, entry: CatalogueEntry) -> Path:
        return self._folder / "small" / f"{verdicts.key(entry.run_id)}.jpg"

    def _lacks_pictures(self, entry: CatalogueEntry, *, sharp: bool) -> bool:
        return not self._thumbnail(entry).exists() or (sharp and not self._large(entry).exists())

    def _draw(self, entry: CatalogueEntry, is_new: bool) -> None:
        sharp = pictures.sharp(entry) if is_new else None
        pair = sharp or pictures.pair_of(entry)
        if pair is None:
            return
        if sharp:
            write_whole(self._large(entry), pictures.as_jpeg(pictures.beside(sharp), 85), sync=False)
        self._records.pop(entry.path, None)
        write_whole(self._thumbnail(entry), pictures.thumbnail(pair), sync=False)

    def _remove_large(self, newest: set[str]) -> None:
        """Remove the large pictures of runs that are no longer among the newest."""
        with suppress(OSError):
            for path in (self._folder / "large").iterdir():
                if path.stem not in newest:
                    path.unlink(missing_ok=True)


def _boxes(preview: Path) -> list[list[float]] | None:
    """Return where raw and restored are in a preview, as fractions; None if there is no preview."""
    try:
        with Pillow.open(preview) as picture:
            columns, rows = picture.size
    except (OSError, ValueError, SyntaxError):
        return None
    return [
        [left / columns, top / rows, (right - left) / columns, (bottom - top) / rows]
        for left, top, right, bottom in preview_boxes((columns, rows))
    ]
