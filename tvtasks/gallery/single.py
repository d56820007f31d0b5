"""The page as one file with everything in it, to keep elsewhere or to send."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tvtasks.archive.catalogue import CatalogueEntry
from tvtasks.files import whole
from tvtasks.gallery import pictures
from tvtasks.gallery.records import Record, Unrestored, run_record, unrestored_record
from tvtasks.pages import page

_DRAWERS = 4
_GENERATOR = b'<meta name="generator" content="tvtasks gallery">'


def write_page(
    entries: Sequence[CatalogueEntry],
    target: Path,
    *,
    title: str = "tvtasks",
    unrestored: Sequence[Unrestored] = (),
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> None:
    """Write a page that needs no other file and contacts no server.

    Parameters
    ----------
    entries
        The runs to show.
    target
        The page; an existing page is replaced when the new one is complete.
    title
        Title of the page.
    unrestored
        Files to list as not restored.
    progress
        Called with the number of finished pictures and of all.

    Raises
    ------
    ArchiveError
        The page cannot be written.
    """
    limit = pictures.picture_bytes(len(entries))

    def described(entry: CatalogueEntry) -> Record:
        record = run_record(entry, target.parent)
        if pair := pictures.pair_of(entry):
            record["large"] = [pictures.embedded(pair, limit), [0, 0, 0.5, 1], [0.5, 0, 0.5, 1]]
        return record

    images = []
    with ThreadPoolExecutor(_DRAWERS, thread_name_prefix="page") as pool:
        for number, record in enumerate(pool.map(described, entries), 1):
            images.append(record)
            progress(number, len(entries))
    data = {"images": images, "unrestored": [unrestored_record(file) for file in unrestored]}
    with whole(target) as partial:
        partial.write_text(page("tvtasks.gallery", title, data=data), "utf-8", newline="\n")


def is_page(path: Path) -> bool:
    """Return whether a file is a page that tvtasks made."""
    try:
        with path.open("rb") as file:
            return _GENERATOR in file.read(1000)
    except OSError:
        return False
