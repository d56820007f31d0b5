"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tvtasks.archive.filters import Compression
from tvtasks.options import USUAL_RECIPE, ObserverKind


def _preset_names() -> list[str]:
    from tvtasks.recipe import preset_names

    return preset_names()


RESULTS = "Folder for results: one .nxs and one .png per image."
RECIPE = "A preset or a TOML file; or PATTERN=RECIPE for files whose name matches; repeatable."
SELECT = (
    "A condition such as 'gap>1e-4', 'technique=STM', 'name~stm_*', 'acquired>=2024-05-01', 'converged=no' "
    "or 'denoise.lam<1'; repeatable: all must hold. 'none' stands for an unknown value."
)

Folder = Annotated[Path, typer.Argument(help="Folder that the microscope writes to.", metavar="FOLDER")]
Archive = Annotated[Path, typer.Option(help=RESULTS, metavar="DIR")]
WatchedArchive = Annotated[
    Path, typer.Argument(help="The folder for results of the watch.", metavar="ARCHIVE")
]
Recipes = Annotated[
    list[str] | None,
    typer.Option(
        "--recipe", help=RECIPE, metavar="RECIPE", show_default=USUAL_RECIPE, autocompletion=_preset_names
    ),
]
Frames = Annotated[
    str,
    typer.Option(
        "--frames",
        help="Frames to take from stacks and series: all, or numbers such as 0-9,20. Needed for a file that "
        "would give more than 64 images.",
        metavar="FRAMES",
    ),
]


def recipes(given: list[str] | None) -> tuple[str, ...]:
    """Return the recipes that the user named, or the usual one."""
    return tuple(given or [USUAL_RECIPE])


Recursive = Annotated[bool, typer.Option("--recursive", help="Watch subfolders too.")]
Ignore = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore",
        help="Pattern of files to leave alone, such as 'test_*' or 'raw/**'; repeatable.",
        metavar="PATTERN",
    ),
]
Observer = Annotated[
    ObserverKind,
    typer.Option(help="How to notice new files; polling works on every network share."),
]
Select = Annotated[list[str] | None, typer.Option("--select", "--where", help=SELECT, metavar="CONDITION")]
Workers = Annotated[int, typer.Option(min=1, max=64, help="Files restored at a time.", metavar="N")]
Memory = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        help="Memory that restoring may take, in GB.",
        show_default="90 % of what is free",
        metavar="GB",
    ),
]
LedgerFolder = Annotated[
    Path | None,
    typer.Option(
        "--ledger",
        help="Folder on this computer for the list of files, for an archive on a share without file locks.",
        show_default="in the archive",
        metavar="DIR",
    ),
]
CompressionOption = Annotated[
    Compression,
    typer.Option(
        "--compression",
        help="How to compress images. Every program reads gzip; lz4 and zstd are faster, but reading the "
        "results then needs hdf5plugin.",
    ),
]
Exact = Annotated[
    bool,
    typer.Option(
        "--exact", help="Keep all bits of the arrays, which otherwise are rounded far below the noise."
    ),
]
SessionName = Annotated[
    str, typer.Option("--session", help="Name of the session, kept with each image.", metavar="NAME")
]
Operator = Annotated[
    str, typer.Option("--operator", help="Who measured, kept with each image.", metavar="NAME")
]
SampleFile = Annotated[
    Path | None,
    typer.Option(
        "--sample",
        help="A TOML file about the sample (name, atom_types, preparation_date and more) to keep with each "
        "image.",
        metavar="FILE.toml",
    ),
]
NoDashboard = Annotated[
    bool, typer.Option("--no-dashboard", help="Work without a Prefect server, and so without pages.")
]
Run = Annotated[str | None, typer.Option(help="Which run, if the file holds several.", metavar="ID")]
Channel = Annotated[str | None, typer.Option(help="Which image, if the file holds several.", metavar="NAME")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]
JsonLines = Annotated[
    bool, typer.Option("--json", help="Print one JSON object per file or image, then a summary.")
]
