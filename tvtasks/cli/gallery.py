"""``tvtasks gallery``: makes an HTML page that shows an archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tvtasks.cli import options
from tvtasks.cli.progress import counting
from tvtasks.cli.terminal import Exit, complain, say
from tvtasks.words import count


def gallery(
    archive: Annotated[Path, typer.Argument(help="Folder with results.", metavar="ARCHIVE")],
    output: Annotated[Path, typer.Option(help="The page to write or update, .html.", metavar="FILE.html")],
    latest: Annotated[bool, typer.Option("--latest", help="Only the newest run of each image.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is no such page.")
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Make one HTML file with all images of an archive: pictures, parameters and gaps, to sort and search.

    The page needs no server, no internet and no other file. Each image links to its result as long as page
    and archive stay in the same place relative to each other. To add new images, run the command again.
    """
    from tvtasks.archive import catalogue
    from tvtasks.errors import ConfigurationError
    from tvtasks.files import refuse_taken
    from tvtasks.gallery import is_gallery, write_gallery

    if output.suffix.lower() not in {".html", ".htm"}:
        raise ConfigurationError(f"{output} is not an HTML page: give --output a name that ends in .html.")
    if not is_gallery(output):
        refuse_taken(output, overwrite=overwrite)
    entries = catalogue.entries(archive)
    if latest:
        entries = catalogue.latest(entries)
    entries.sort(key=lambda entry: entry.written_at, reverse=True)
    with counting("Drawing pictures", len(entries), quiet) as progress:
        drawn = write_gallery(
            entries,
            output,
            title=archive.resolve().name or "tvtasks",
            progress=progress,
        )
    size = output.stat().st_size / 1e6
    if not quiet:
        say(f"{output}: {count(len(entries), 'image')}, {drawn} new, {size:.1f} MB")
    if damaged := [entry for entry in entries if entry.fault]:
        complain(f"{count(len(damaged), 'file')} cannot be read; the page shows why.")
        raise typer.Exit(Exit.ATTENTION)
