"""``tvtasks export``: writes images of archived runs for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from tvtasks.cli import options
from tvtasks.cli.progress import counting
from tvtasks.cli.terminal import Exit, complain, print_json, say
from tvtasks.errors import ArchiveError, ConfigurationError

if TYPE_CHECKING:
    from tvtasks.archive import ArchivedRun
    from tvtasks.export import FigureFormat, Format


def export(
    paths: Annotated[list[Path], typer.Argument(help="Results.", metavar="FILE.nxs")],
    form: Annotated[
        Literal["tiff", "imagej", "png", "svg", "pdf", "gwy", "gsf", "npz"],
        typer.Option(
            "--format",
            help="TIFF with scale, unchanged or as ImageJ holds it; grey PNG; a figure as SVG or PDF; "
            "Gwyddion's .gwy or .gsf; NumPy's .npz.",
        ),
    ],
    array: Annotated[
        str,
        typer.Option(
            help="raw, background, flat, contrast, restored; several with commas between them; or all.",
            metavar="NAMES",
        ),
    ] = "restored",
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the files.", show_default="the current folder", metavar="DIR"),
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="Which run, if a file holds several.", show_default="all", metavar="ID")
    ] = None,
    bits: Annotated[
        int,
        typer.Option(
            min=8,
            max=16,
            help="PNG: 8 bits, grey as in the preview, or 16 bits from the smallest to the largest value.",
            metavar="8|16",
        ),
    ] = 8,
    figure: Annotated[
        bool,
        typer.Option(
            "--figure", help="PNG: a figure for a talk, with scale bar and colour bar, as SVG and PDF are."
        ),
    ] = False,
    colour_map: Annotated[
        str,
        typer.Option(
            help="Figures: a colour map of Matplotlib, such as gray, viridis or afmhot.", metavar="NAME"
        ),
    ] = "gray",
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the files as JSON.")] = False,
) -> None:
    """Write images of archived runs for other programs, or figures of them, named after the result.

    If one file cannot be read, the others are still written. Existing files are kept unless you give
    --overwrite.
    """
    from tvtasks.export import export as write
    from tvtasks.export import export_figure, names

    if bits not in {8, 16}:
        raise ConfigurationError(f"A PNG can have 8 or 16 bits, not {bits}.")
    if figure and form not in {"png", "svg", "pdf"}:
        raise ConfigurationError(f"A figure can be png, svg or pdf, not {form}. Leave out --figure.")
    wanted = list(names(array))

    def written_of(found: ArchivedRun) -> list[Path]:
        if form in {"svg", "pdf"} or figure:
            return [
                export_figure(
                    found,
                    cast("FigureFormat", form),
                    folder,
                    arrays=wanted,
                    colour_map=colour_map,
                    overwrite=overwrite,
                )
            ]
        return write(
            found,
            cast("Format", form),
            folder,
            arrays=wanted,
            bits=16 if bits == 16 else 8,
            overwrite=overwrite,
        )

    folder = output or Path()
    for archive in dict.fromkeys(path.parent for path in paths):
        _refuse_among_images(archive, folder)
    written: list[Path] = []
    faults: dict[str, str] = {}
    with counting("Exporting", len(paths), quiet or as_json) as progress:
        for number, path in enumerate(paths, 1):
            try:
                for found in _runs(path, run):
                    written += written_of(found)
            except (ArchiveError, ConfigurationError) as error:
                faults[str(path)] = str(error)
            progress(number, len(paths))
    if as_json:
        print_json({"files": [str(file) for file in written], "failed": faults})
    elif not quiet:
        for file in written:
            say(str(file))
    for fault in faults.values():
        complain(f"tvtasks: {fault}")
    if faults:
        raise typer.Exit(Exit.ATTENTION)


def _refuse_among_images(archive: Path, folder: Path) -> None:
    """Refuse to write into the folder that the archive's watch watches: it would restore the exports."""
    from tvtasks.health.heartbeat import read_heartbeat
    from tvtasks.monitor import check_folders

    heartbeat = read_heartbeat(archive)
    if heartbeat and heartbeat.options.folder.is_dir():
        check_folders(heartbeat.options.folder, folder, heartbeat.options, what="output folder")


def _runs(path: Path, run: str | None) -> list[ArchivedRun]:
    """Load the run that the user asked for, or all runs in the file."""
    from tvtasks import archive

    if run is not None:
        return [archive.load(path, run=run)]
    return [archive.load(path, run=name) for name in archive.runs(path)]
