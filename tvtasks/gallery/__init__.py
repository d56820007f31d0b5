"""A page that shows an archive: one HTML file with everything in it."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tvtasks.archive.catalogue import CatalogueEntry
from tvtasks.errors import TvtasksError
from tvtasks.figures import jpeg, preview
from tvtasks.files import whole
from tvtasks.steps import symbols

_CARDS = "<!-- cards -->"
_DRAWERS = 4
_KEPT = re.compile(r'<article data-picture="([^"]+)".*?<img src="(data:image/jpeg;base64,[^"]+)"')


def picture_bytes(number: int) -> int:
    """Return the largest size of each JPEG on a page of `number` images; 5,000 images make some 50 MB."""
    return 28_000 if number <= 200 else 16_000 if number <= 1000 else 7_000


def is_gallery(path: Path) -> bool:
    """Return whether a file is a page that `write_gallery` wrote."""
    beginning = (resources.files(__name__) / "page.html").read_text("utf-8").partition("{")[0]
    try:
        with path.open("rb") as file:
            return file.read(len(beginning)) == beginning.encode()
    except OSError:
        return False


def write_gallery(
    entries: Sequence[CatalogueEntry],
    target: Path,
    *,
    title: str = "tvtasks",
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> int:
    """Write a page with a card for each run: its picture, origin, parameters and gap.

    The page needs no other file and contacts no server. Its pictures come from the previews beside the
    results, or from the results where previews are missing. Pictures of an earlier page at `target` are
    reused as long as the preview is unchanged.

    Parameters
    ----------
    entries
        What to show, in the order that the page has without scripts.
    target
        The page; an existing page is replaced when the new one is complete.
    title
        Title of the page.
    progress
        Called with the number of finished cards and of all.

    Returns
    -------
    int
        How many pictures were drawn and not reused.

    Raises
    ------
    ArchiveError
        The page cannot be written.
    """
    page = (resources.files(__name__) / "page.html").read_text("utf-8")
    count = "1 image" if len(entries) == 1 else f"{len(entries)} images"
    page = page.replace("{policy}", _policy(page)).replace("{title}", escape(title)).replace("{count}", count)
    before, after = page.split(_CARDS)
    kept, limit, drawn = _kept(target), picture_bytes(len(entries)), 0

    def card(entry: CatalogueEntry) -> tuple[str, bool]:
        key = _key(entry, limit)
        picture = kept.get(key, "")
        return _card(entry, key, picture or _picture(entry, limit), target.parent), not picture

    with whole(target) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        file.write(before)
        with ThreadPoolExecutor(_DRAWERS, thread_name_prefix="gallery") as pool:
            for number, (text, is_new) in enumerate(_in_order(pool, card, entries), 1):
                file.write(text)
                drawn += is_new
                progress(number, len(entries))
        file.write(after)
    return drawn


def _in_order(
    pool: ThreadPoolExecutor,
    card: Callable[[CatalogueEntry], tuple[str, bool]],
    entries: Sequence[CatalogueEntry],
) -> Iterator[tuple[str, bool]]:
    """Yield the cards in order, never more than a few ahead."""
    for start in range(0, len(entries), 64):
        yield from pool.map(card, entries[start : start + 64])


def _policy(page: str) -> str:
    """Allow the page its own style, script and embedded pictures, and nothing else."""

    def allowed(tag: str) -> str:
        content = page.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; img-src data:; style-src {allowed('style')}; script-src {allowed('script')}; "
        "form-action 'none'; base-uri 'none'"
    )


def _kept(target: Path) -> dict[str, str]:
    """Return the pictures of the existing page, by their keys."""
    kept = {}
    with suppress(OSError, UnicodeDecodeError), target.open(encoding="utf-8") as file:
        for line in file:
            if found := _KEPT.match(line):
                kept[found[1]] = found[2]
    return kept


def _key(entry: CatalogueEntry, limit: int) -> str:
    """Return what identifies the picture of a run."""
    with suppress(OSError):
        return f"{entry.run_id[:16]}-{entry.preview.stat().st_mtime_ns}-{limit}"
    return f"{entry.run_id[:16]}-{limit}"


def _picture(entry: CatalogueEntry, limit: int) -> str:
    """Return the preview as a small JPEG in a data URI; empty if there is none."""
    from PIL import Image  # noqa: PLC0415

    if entry.fault:
        return ""
    try:
        with Image.open(entry.preview) as beside:
            content = jpeg(beside.convert("L"), max_bytes=limit)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        from tvtasks.archive import load  # noqa: PLC0415

        try:
            content = jpeg(preview(load(entry.path)), max_bytes=limit)
        except TvtasksError:
            return ""
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


def _card(entry: CatalogueEntry, key: str, picture: str, folder: Path) -> str:
    """Return the HTML of one run, as one line."""
    name = entry.source_name or entry.path.name
    data = {
        "picture": key,
        "name": name,
        "technique": entry.technique or "",
        "recipe": entry.recipe,
        "written": "" if entry.fault else entry.written_at.isoformat(),
        "acquired": entry.acquired_at.isoformat() if entry.acquired_at else "",
        "gap": "" if entry.gap is None else repr(entry.gap),
    }
    attributes = " ".join(f'data-{which}="{_html(value)}"' for which, value in data.items())
    shown = ""
    if picture:
        image = f'<img src="{picture}" alt="raw, background, restored" loading="lazy" decoding="async">'
        link = _link(entry.preview if entry.preview.exists() else entry.path, folder)
        shown = f'<a href="{link}" title="Show the picture in full size">{image}</a>'
    if entry.fault:
        body = f'<p class="fault">{_html(entry.fault)}</p>'
    else:
        tags = "".join(f"<span>{_html(tag)}</span>" for tag in _tags(entry))
        facts = "".join(f"<dt>{_html(term)}</dt><dd>{_html(value)}</dd>" for term, value in _facts(entry))
        body = f'<p class="tags">{tags}</p><dl>{facts}</dl>'
    heading = f'<h2><a href="{_link(entry.path, folder)}" title="The result file">{_html(name)}</a></h2>'
    return f'<article {attributes}>{shown}<div class="text">{heading}{body}</div></article>\n'


def _tags(entry: CatalogueEntry) -> Iterator[str]:
    yield entry.recipe
    yield from filter(None, (entry.technique, entry.channel, entry.direction))
    if entry.converged is False:
        yield "stopping rule not met"


def _facts(entry: CatalogueEntry) -> Iterator[tuple[str, str]]:
    for step in entry.steps:
        yield step, _parameters(entry.parameters[step])
    yield "gap", "nothing proven" if entry.gap is None else f"{entry.gap:.1e}"
    rows, columns = entry.shape
    size = f"{columns} × {rows} px"
    if entry.pixel_size:
        from tvtasks.figures import with_prefix  # noqa: PLC0415

        dy, dx = entry.pixel_size
        wide, high = with_prefix(columns * dx, entry.pixel_unit), with_prefix(rows * dy, entry.pixel_unit)
        size += f", {wide} × {high}"
    yield "image", size
    if entry.acquired_at:
        yield "acquired", f"{entry.acquired_at:%Y-%m-%d %H:%M}"
    yield "archived", f"{entry.written_at.astimezone():%Y-%m-%d %H:%M}"
    yield "run", entry.run_id[:12]


def _parameters(step: Mapping[str, Any]) -> str:
    if "model" not in step:
        return ", ".join(f"{key} {value}" for key, value in step.items())
    words = [str(step["model"])]
    words += [f"{symbol} {step[key]:g}" for key, symbol in symbols().items() if key in step]
    if step.get("direction", "both") != "both":
        words.append(f"{step['direction']} only")
    return ", ".join(words)


def _link(path: Path, folder: Path) -> str:
    """Return the address of a file relative to the page's folder, if both are on one drive."""
    try:
        relative = os.path.relpath(path.absolute(), folder.absolute())
    except ValueError:  # another drive
        return escape(path.absolute().as_uri())
    return escape("./" + quote(Path(relative).as_posix().encode(errors="surrogateescape")))


def _html(text: str) -> str:
    """Return text as HTML shows it, on one line; characters outside UTF-8 become question marks."""
    letters = "".join(letter if letter.isprintable() else " " for letter in text)
    return escape(letters.encode(errors="replace").decode())
