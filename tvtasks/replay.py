"""The replay microscope: writes synthetic scans into a folder as real instruments do.

A way of writing is a generator. It does one step, yields the seconds until the next, and leaves the complete
file at its path at the end; the caller decides whether to sleep. `replay` sleeps; a test looks at the folder
between two steps instead.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from uuid import NAMESPACE_OID, uuid5

import numpy as np
import tifffile
from PIL import Image

from tvtasks import synthetic
from tvtasks.errors import ConfigurationError
from tvtasks.micrograph import array_sha256

WRITING_SHARE = 0.75
"""Fraction of a scan's time that writing takes; the folder is quiet for the rest."""


def replay(
    folder: Path,
    *,
    scans: int = 6,
    duration: float = 20.0,
    seed: int = 0,
    shape: synthetic.Shape = (256, 256),
    sleep: Callable[[float], object] = time.sleep,
    on_event: Callable[[str], object] | None = None,
) -> list[Path]:
    """Write scans into a folder, one after another, and return their paths.

    Six scans make one round of all techniques, formats and ways of writing; the seventh begins the next. File
    numbers continue those in the folder, and nothing is overwritten.

    Parameters
    ----------
    folder
        Where to write; created if it does not exist.
    scans
        Number of scans.
    duration
        Seconds for all of them. With less than about 2.7 s per scan, the pause in the middle of a file is
        shorter than 2 s.
    seed
        The same seed and file number give the same scan.
    shape
        Rows and columns of the scans.
    sleep
        Called with the seconds between two steps.
    on_event
        Called with a sentence when a file is started and when it is finished.

    Raises
    ------
    ConfigurationError
        The folder cannot be written to, or there is nothing to write.
    """
    steps = replay_steps(folder, scans=scans, duration=duration, seed=seed, shape=shape, on_event=on_event)
    while True:
        try:
            seconds = next(steps)
        except StopIteration as end:
            paths: list[Path] = end.value
            return paths
        sleep(seconds)


def replay_steps(
    folder: Path,
    *,
    scans: int = 6,
    duration: float = 20.0,
    seed: int = 0,
    shape: synthetic.Shape = (256, 256),
    on_event: Callable[[str], object] | None = None,
) -> Generator[float, None, list[Path]]:
    """Do what `replay` does in steps: yield the seconds until the next step, and return the paths."""
    if scans < 1 or not 0 <= duration < np.inf:
        raise ConfigurationError(
            f"A replay of {scans} scans in {duration} s is not possible: "
            "ask for at least one scan and a duration of 0 s or more."
        )
    tell = on_event or (lambda sentence: None)
    seconds = duration / scans
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        first = _next_number(folder)
        for number in range(first, first + scans):
            acquisition = ROUND[(number - 1) % len(ROUND)]
            path = folder / f"{acquisition.prefix}_{number:04d}{acquisition.suffix}"
            content = acquisition.encode(acquisition.scan(np.random.default_rng([seed, number]), shape))
            tell(f"{path.name}: started, {acquisition.manner}.")
            yield from acquisition.write(path, content, WRITING_SHARE * seconds)
            tell(f"{path.name}: finished, {len(content)} bytes.")
            yield (1 - WRITING_SHARE) * seconds
            paths.append(path)
    except OSError as error:
        raise ConfigurationError(
            f"The replay cannot write to {folder} ({error}). Choose a folder that you may write to."
        ) from error
    return paths


def write_slowly(path: Path, content: bytes, seconds: float = 0.0, *, pieces: int = 8) -> Iterator[float]:
    """Write a file under its own name in pieces of about the same size, so that it visibly grows."""
    with path.open("xb") as file:
        for number, piece in enumerate(_cut(content, pieces)):
            if number:
                yield seconds / (pieces - 1)
            file.write(piece)
            file.flush()


def write_with_pause(path: Path, content: bytes, seconds: float = 0.0) -> Iterator[float]:
    """Write half a file under its own name, keep it open for `seconds`, then write the rest."""
    return write_slowly(path, content, seconds, pieces=2)


def write_then_rename(path: Path, content: bytes, seconds: float = 0.0) -> Iterator[float]:
    """Write a file in pieces under its name with ``.part`` added, then rename it."""
    if path.exists():
        # Everywhere except on Windows, renaming would replace it.
        raise FileExistsError(f"{path} exists already")
    part = path.with_name(f"{path.name}.part")
    yield from write_slowly(part, content, seconds)
    part.rename(path)


def write_at_once(path: Path, content: bytes, seconds: float = 0.0) -> Iterator[float]:
    """Wait for `seconds`, like an instrument that saves at the end of its scan, then write the whole file."""
    yield seconds
    with path.open("xb") as file:
        file.write(content)


def imagej_tiff(scan: synthetic.Scan) -> bytes:
    """Return the recorded scan as an ImageJ TIFF, with the pixel size in nm."""
    per_nanometre = 1e-9 / scan.pixel_size
    buffer = BytesIO()
    tifffile.imwrite(
        buffer,
        scan.recorded,
        imagej=True,
        resolution=(per_nanometre, per_nanometre),
        metadata={"axes": "YX", "unit": "nm", "Info": f"{scan.title}\nvalues in {scan.units}"},
    )
    return buffer.getvalue()


def ome_tiff(scan: synthetic.Scan) -> bytes:
    """Return the recorded scan as an OME-TIFF, with the pixel size in nm."""
    buffer = BytesIO()
    recorded = scan.recorded
    tifffile.imwrite(
        buffer,
        recorded,
        ome=True,
        metadata={
            "axes": "YX",
            "Name": scan.title,
            "PhysicalSizeX": scan.pixel_size / 1e-9,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": scan.pixel_size / 1e-9,
            "PhysicalSizeYUnit": "nm",
            # From the pixels, so that the same scan gives the same bytes.
            "UUID": str(uuid5(NAMESPACE_OID, array_sha256(recorded))),
        },
    )
    return buffer.getvalue()


def png(scan: synthetic.Scan) -> bytes:
    """Return the recorded 8- or 16-bit scan as a grey PNG without calibration."""
    buffer = BytesIO()
    Image.fromarray(scan.recorded).save(buffer, format="PNG")
    return buffer.getvalue()


def npy(scan: synthetic.Scan) -> bytes:
    """Return the scan in float64, before the instrument rounds it, as a NumPy file."""
    buffer = BytesIO()
    np.save(buffer, scan.image)
    return buffer.getvalue()


class Acquisition(NamedTuple):
    """A kind of scan, its encoding, and the way its file is written."""

    prefix: str
    suffix: str
    scan: Callable[[np.random.Generator, synthetic.Shape], synthetic.Scan]
    encode: Callable[[synthetic.Scan], bytes]
    write: Callable[[Path, bytes, float], Iterator[float]]
    manner: str


ROUND = (
    Acquisition(
        "stm_terrace", ".tif", synthetic.stm_terrace_scan, imagej_tiff, write_slowly, "growing slowly"
    ),
    Acquisition(
        "ncafm_lattice",
        ".ome.tif",
        synthetic.afm_lattice_scan,
        ome_tiff,
        write_then_rename,
        "under a temporary name",
    ),
    Acquisition(
        "sem_charging",
        ".png",
        synthetic.sem_charging_scan,
        png,
        write_with_pause,
        "with a long pause halfway",
    ),
    Acquisition(
        "stem_haadf",
        ".tif",
        synthetic.stem_haadf_scan,
        imagej_tiff,
        write_at_once,
        "saved at once when the scan ends",
    ),
    Acquisition(
        "stm_terrace", ".npy", synthetic.stm_terrace_scan, npy, write_then_rename, "under a temporary name"
    ),
    Acquisition(
        "sem_charging",
        ".tif",
        synthetic.sem_charging_scan,
        imagej_tiff,
        write_with_pause,
        "with a long pause halfway",
    ),
)
"""What `replay` writes, in this order."""


def _cut(content: bytes, pieces: int) -> list[bytes]:
    """Cut the content into pieces of about the same size."""
    cuts = [len(content) * piece // pieces for piece in range(pieces + 1)]
    return [content[start:end] for start, end in pairwise(cuts)]


def _next_number(folder: Path) -> int:
    """Return one more than the highest number in the file names of the folder; 1 if there is none."""
    numbers = (re.search(r"_(\d{4})\.", path.name) for path in folder.iterdir())
    return 1 + max((int(found[1]) for found in numbers if found), default=0)
