"""``tvtasks compare``: shows runs of one image on a page, and what differs in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tvtasks.cli import options
from tvtasks.cli.progress import announce_compiling, counting
from tvtasks.cli.terminal import complain, say
from tvtasks.errors import ConfigurationError
from tvtasks.words import amount

if TYPE_CHECKING:
    from tvtasks.figures import Restored
    from tvtasks.scores import QualityScores

Found = list[tuple["Restored", str, "QualityScores | None"]]


def compare(
    paths: Annotated[
        list[Path], typer.Argument(help="Results; or one file, with --recipe.", metavar="FILE…")
    ],
    recipe: Annotated[
        list[str] | None,
        typer.Option(help="Restore the file by this preset or TOML file; repeatable.", metavar="RECIPE"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="The page.", show_default="FILE_compare.html in this folder", metavar="FILE.html"),
    ] = None,
    channel: options.Channel = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Show runs of one image on a page: two at a time, their difference, profiles, and what differs in them.

    Give results of one image (A.nxs B.nxs …; also a file with several runs), or one image file and several
    --recipe. The page works without tvtasks and without the internet.
    """
    from tvtasks.files import refuse_taken, write_whole
    from tvtasks.tuning import compare as make

    target = output or Path(f"{paths[0].stem}_compare.html")
    if target.suffix.lower() not in {".html", ".htm"}:
        raise ConfigurationError(f"{target} is not an HTML page: give --output a name that ends in .html.")
    refuse_taken(target, overwrite=overwrite or output is None)
    found = _restored(paths, recipe, channel, quiet) if recipe else _archived(paths)
    runs, names, scores = zip(*found, strict=True)
    write_whole(target, make(runs, names, scores).encode())
    if not quiet:
        say(f"{target.absolute().as_uri()}  ({amount(target.stat().st_size)})")


def _archived(paths: Sequence[Path]) -> Found:
    from tvtasks import archive
    from tvtasks.scores import QualityScores

    found: Found = []
    for path in paths:
        for name in archive.runs(path):
            run = archive.load(path, run=None if name == "entry" else name)
            scores = run.record.get("quality")
            found.append((run, run.record["run_id"][:12], QualityScores(**scores) if scores else None))
    return found


def _restored(paths: Sequence[Path], recipes: Sequence[str], channel: str | None, quiet: bool) -> Found:
    from tvtasks import restore
    from tvtasks.recipe import Recipe
    from tvtasks.restoration import within_memory
    from tvtasks.sweep import arguments

    if len(paths) > 1:
        raise ConfigurationError("With --recipe, give one file: each recipe restores it.")
    loaded = [Recipe.load(name) for name in recipes]
    micrograph, note = arguments.image(paths[0], loaded[0], channel)
    if note:
        complain(note)
    announce_compiling(quiet)
    found: Found = []
    with counting(f"Restoring {micrograph.name}", len(loaded), quiet) as progress:
        for number, (name, one) in enumerate(zip(recipes, loaded, strict=True), 1):
            chosen = one.for_technique(micrograph.technique, micrograph.name)
            with within_memory(micrograph, chosen):
                result = restore(micrograph, chosen)
            found.append((result, Path(name).stem, result.quality))
            progress(number, len(loaded))
    return found
