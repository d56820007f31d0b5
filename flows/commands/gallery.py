"""``tvtasks gallery``: a page that shows an archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from flows.terminal import Exit, console, counting, errors


def gallery(
    archive: Annotated[Path, typer.Argument(help="Folder of results.", metavar="ARCHIVE")],
    output: Annotated[
        Path, typer.Option(help="The page to write, .html; one that is there is brought up to date.")
    ],
    latest: Annotated[bool, typer.Option("--latest", help="Only the newest run of each image.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say only what went wrong.")] = False,
) -> None:
    """Make one HTML file with all images of an archive: pictures, parameters, gaps; to sort and to search.

    It needs no server, no internet and no other file. A link on each image leads to its archive file, as long
    as page and archive keep their places to each other. Made again, it draws only what is new.
    """
    from tvtasks.archive import catalogue
    from tvtasks.errors import ConfigurationError
    from tvtasks.gallery import write_gallery

    if output.suffix.lower() not in {".html", ".htm"}:
        raise ConfigurationError(f"{output} is no name of a page: give one that ends in .html.")
    entries = catalogue.entries(archive)
    if latest:
        entries = catalogue.latest(entries)
    entries.sort(key=lambda entry: entry.written_at, reverse=True)
    with counting("{} of {} pictures", len(entries), quiet) as done:
        drawn = write_gallery(
            entries,
            output,
            title=archive.resolve().name or "tvtasks",
            progress=lambda number, _: done(number),
        )
    size = output.stat().st_size / 1e6
    if not quiet:
        images = "1 image" if len(entries) == 1 else f"{len(entries)} images"
        summary = f"{output}: {images}, {drawn} drawn anew, {size:.1f} MB"
        console.print(Text(summary), soft_wrap=True)
    if damaged := [entry for entry in entries if entry.fault]:
        errors.print(Text(f"{len(damaged)} files cannot be read; the page says why."), soft_wrap=True)
        raise typer.Exit(Exit.ATTENTION)
