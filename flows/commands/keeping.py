"""How results are kept, as the commands that restore are told: ``--compression`` and ``--sample``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tvtasks.archive.filters import Compression, options

if TYPE_CHECKING:
    from tvtasks.archive.keeping import Keeping

Packing = Annotated[
    Compression,
    typer.Option(
        "--compression",
        help="What packs the images. gzip is read by every program; lz4 and zstd are quicker and need "
        "hdf5plugin wherever a file is read.",
    ),
]
SampleFile = Annotated[
    Path | None,
    typer.Option(
        "--sample",
        help="A TOML file on the sample: name, atom_types, preparation_date and more; kept with each image.",
        metavar="FILE.toml",
    ),
]


def keeping(compression: Compression, sample: Path | None) -> Keeping:
    """Return how results are to be kept.

    Raises
    ------
    ConfigurationError
        The sample data cannot be read, or a package is missing that is needed for packing.
    """
    from tvtasks.archive.keeping import Keeping, Sample

    options(compression)
    return Keeping(compression, Sample.load(sample) if sample else None)
