"""``tvtasks gallery``: makes the page that shows an archive, in the archive or as one file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tvtasks.cli import options
from tvtasks.cli.progress import counting
from tvtasks.cli.terminal import Exit, complain, say
from tvtasks.words import amount, count

if TYPE_CHECKING:
    from tvtasks.gallery import Unrestored


def gallery(
    archive: Annotated[Path, typer.Argument(help="Folder with results.", metavar="ARCHIVE")],
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write the page as one file with everything in it.",
            show_default="index.html in the archive, with its pictures in index_files",
            metavar="FILE.html",
        ),
    ] = None,
    latest: Annotated[
        bool, typer.Option("--latest", help="With --output: only the newest run of each image.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is no such page.")
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Make the page of an archive: all images, their parameters and gaps, to look through and search.

    The page opens in any browser, from a disk or a share, without a server or the internet. A watch keeps the
    page in its archive up to date by itself; this command draws the pictures of older images as well.
    """
    from tvtasks.errors import ConfigurationError
    from tvtasks.files import refuse_taken
    from tvtasks.gallery import is_page

    if output is None:
        if latest:
            raise ConfigurationError("--latest makes a page of its own: add --output FILE.html.")
        faults = _keep(archive, quiet)
    else:
        if not is_page(output):
            refuse_taken(output, overwrite=overwrite)
        faults = _write(archive, output, latest, quiet)
    if faults:
        complain(f"{count(faults, 'file')} cannot be read; the page shows why.")
        raise typer.Exit(Exit.ATTENTION)


def _keep(archive: Path, quiet: bool) -> int:
    """Write the page in the archive; return the number of results that cannot be read."""
    from tvtasks.gallery import ArchivePage

    page = ArchivePage(archive)
    with counting("Reading the archive", None, quiet) as progress:
        page.look(progress)
    with counting("Drawing pictures", None, quiet) as progress:
        drawn = page.draw(everything=True, progress=progress)
    page.write(_unrestored(archive))
    page.write_state()
    if not quiet:
        say(f"{page.path.absolute().as_uri()}: {count(page.images, 'image')}, {drawn} new")
    return page.faults


def _write(archive: Path, output: Path, latest: bool, quiet: bool) -> int:
    """Write the page as one file; return the number of results that cannot be read."""
    from tvtasks.archive import catalogue
    from tvtasks.errors import ConfigurationError
    from tvtasks.gallery import write_page

    if output.suffix.lower() not in {".html", ".htm"}:
        raise ConfigurationError(f"{output} is not an HTML page: give --output a name that ends in .html.")
    entries = catalogue.entries(archive)
    if latest:
        entries = catalogue.latest(entries)
    title = archive.resolve().name or "tvtasks"
    with counting("Drawing pictures", len(entries), quiet) as progress:
        write_page(entries, output, title=title, unrestored=_unrestored(archive), progress=progress)
    if not quiet:
        say(f"{output}: {count(len(entries), 'image')}, {amount(output.stat().st_size)}")
    return sum(bool(entry.fault) for entry in entries)


def _unrestored(archive: Path) -> Sequence[Unrestored]:
    """Return the files that the last watch of the archive did not restore."""
    from tvtasks.archive.folder import ledger_path
    from tvtasks.cli.status import unrestored
    from tvtasks.errors import ArchiveError
    from tvtasks.gallery import Unrestored

    if not ledger_path(archive).is_file():
        return []
    try:
        entries = unrestored(archive)
    except ArchiveError:  # the page shows the results without it
        return []
    return [
        Unrestored(entry.path.name, str(entry.state), entry.reason, datetime.fromisoformat(entry.updated))
        for entry in entries
    ]
