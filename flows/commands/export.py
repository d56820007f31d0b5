"""``tvtasks export``: images of archived runs for other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from flows.terminal import Exit, console, counting, errors
from tvtasks.errors import ArchiveError, ConfigurationError

if TYPE_CHECKING:
    from tvtasks.archive import ArchivedRun


def export(
    paths: Annotated[list[Path], typer.Argument(help="Archive files.", metavar="FILE.nxs...")],
    form: Annotated[
        Literal["tiff", "png", "gwy", "gsf", "npz"],
        typer.Option("--format", help="TIFF with scale, grey PNG, Gwyddion's .gwy or .gsf, NumPy's .npz."),
    ],
    array: Annotated[
        str, typer.Option(help="raw, background, flat, contrast, restored; several with commas; or all.")
    ] = "restored",
    output: Annotated[Path | None, typer.Option(help="Folder for the files (here).")] = None,
    run: Annotated[str | None, typer.Option(help="Which run of a file with several; otherwise all.")] = None,
    bits: Annotated[
        int,
        typer.Option(
            min=8, max=16, help="PNG: 8 as in the preview, 16 from the least to the greatest value."
        ),
    ] = 8,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say only what went wrong.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the files as JSON.")] = False,
) -> None:
    """Write images of archived runs as TIFF, PNG, .gwy, .gsf or .npz, named after the archive file.

    A file that cannot be read does not stop the others; nothing is overwritten without --overwrite.
    """
    from tvtasks.export import export as write
    from tvtasks.export import names

    if bits not in {8, 16}:
        raise ConfigurationError(f"A PNG can have 8 or 16 bits, not {bits}.")
    wanted = list(names(array))
    folder = output or Path()
    written: list[Path] = []
    faults: dict[str, str] = {}
    with counting("{} of {} files", len(paths), quiet or as_json) as done:
        for number, path in enumerate(paths, 1):
            try:
                for found in _runs(path, run):
                    written += write(
                        found, form, folder, arrays=wanted, bits=16 if bits == 16 else 8, overwrite=overwrite
                    )
            except (ArchiveError, ConfigurationError) as error:
                faults[str(path)] = str(error)
            done(number)
    if as_json:
        print(
            json.dumps(
                {"files": [str(file) for file in written], "failed": faults}, indent=2, ensure_ascii=False
            )
        )
    elif not quiet:
        for file in written:
            console.print(Text(str(file)), soft_wrap=True)
    for fault in faults.values():
        errors.print(Text(f"tvtasks: {fault}"), soft_wrap=True)
    if faults:
        raise typer.Exit(Exit.ATTENTION)


def _runs(path: Path, run: str | None) -> list[ArchivedRun]:
    """Load the run that was asked for, otherwise all that the file holds."""
    from tvtasks import archive

    if run is not None:
        return [archive.load(path, run=run)]
    return [archive.load(path, run=name) for name in archive.runs(path)]
