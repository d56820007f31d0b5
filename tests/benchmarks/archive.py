"""What the archive promises, in full: nothing half after a kill, every flipped byte found, how fast it is.

    python -m tests.benchmarks.archive [kills] [flips] [speed] [--number 1000]

The suite does the same with small numbers.
"""

from __future__ import annotations

import argparse
import collections
import functools
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tvtasks import Micrograph, Recipe, Restoration, restore
from tvtasks.archive import load, remove_partials, write
from tvtasks.archive.sealing import is_whole
from tvtasks.archive.verification import FileFinding
from tvtasks.archive.verify_many import verify
from tvtasks.errors import ArchiveError
from tvtasks.micrograph import Region

HUBER = {"model": "huber-rof", "lam": 0.5}
HOUR = timedelta(hours=1)


@functools.cache
def example(side: int = 48) -> Restoration:
    """Return a restoration with every kind of thing that an archive file can hold."""
    rng = np.random.default_rng(0)
    image = 0.3 + 1e-3 * (np.arange(side) // 8 + rng.normal(scale=0.1, size=(side, side)))
    micrograph = Micrograph(
        image,
        quantity="height",
        units="V",
        channel="Z",
        pixel_size=(2e-10, 1e-10),
        vendor_metadata={"Bias": {"value": -1.5, "unit": "V"}, "comment": "Å" * 100},
    )
    denoise = {"model": "tv-l1", "lam": 1.0, "stop": {"rtol": 1e-2}}
    recipe = {"background": HUBER, "median": {}, "contrast": HUBER, "denoise": denoise}
    return restore(micrograph, Recipe.model_validate(recipe))


@dataclass(frozen=True)
class Kills:
    """What many kills left: finished files, half files under a final name, and partials before and after."""

    number: int
    finished: int
    half: int
    partials: int
    left: int


def kills(number: int, seed: int = 0) -> Kills:
    """Kill, again and again, a process that writes archive files, at a random microsecond.

    After each kill the next start tidies up, and every file under a final name is read. POSIX only: the
    writer is forked, so that it writes within a millisecond.
    """
    restoration, rng = example(), random.Random(seed)
    fork = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        took = time.perf_counter()
        write(restoration, place / "once")
        took = time.perf_counter() - took
        (place / "once").joinpath(next((place / "once").iterdir()).name).unlink()
        (place / "once").rmdir()
        finished = half = partials = left = 0
        for _ in range(number):
            child = fork.Process(target=_write_on, args=(restoration, place), daemon=True)
            child.start()
            time.sleep(rng.uniform(0.0, 3 * took))
            os.kill(child.pid or 0, signal.SIGKILL)
            child.join()
            partials += sum(".partial-" in path.name for path in place.iterdir())
            remove_partials(place, HOUR)
            for path in list(place.iterdir()):
                if path.suffix != ".nxs":
                    left += 1
                    continue
                finished += 1
                try:
                    load(path)
                    half += not is_whole(path)
                except ArchiveError:
                    half += 1
                path.unlink()
    return Kills(number, finished, half, partials, left)


def _write_on(restoration: Restoration, folder: Path) -> None:
    for number in range(1_000_000):
        write(replace(restoration, micrograph=replace(restoration.micrograph, frame=number)), folder)


@dataclass(frozen=True)
class Flips:
    """What became of files in each of which one byte was changed.

    `faults` counts findings by the place that they name, or by what was said of the whole file; `missed` are
    the offsets that were not found, `wrong` those among the missed where HDF5 reads another content.
    """

    number: int
    faults: collections.Counter[str]
    missed: list[int]
    wrong: list[int]
    seconds: float


def flips(original: Path, number: int, seed: int = 0, workers: int = 2) -> Flips:
    """Change one byte anywhere in a copy of a file, many times, and verify the copies."""
    rng, content = random.Random(seed), original.read_bytes()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        offsets = {}
        for index in range(number):
            changed = bytearray(content)
            at = rng.randrange(len(content))
            changed[at] ^= rng.randrange(1, 256)
            path = Path(folder) / f"{index:04d}.nxs"
            path.write_bytes(changed)
            offsets[path] = at
        found = verify(offsets, workers=workers, patience=20.0)
        missed = [path for path in found if not any(finding.is_fault for finding in found[path])]
        wrong = [offsets[path] for path in missed if everything(path) != everything(original)]
        faults = collections.Counter(_place(finding) for path in found for finding in found[path][:1])
    return Flips(number, faults, [offsets[path] for path in missed], wrong, time.perf_counter() - began)


def _place(finding: FileFinding) -> str:
    told = (
        "cannot be read",
        "HDF5 never finishes reading it",
        "HDF5 ends",
        "was changed after",
        "has no seal",
    )
    what = finding.what.split(",")[0]
    return what or next((text for text in told if text in finding.message), finding.message)


def everything(path: Path) -> dict[str, Any]:
    """Return all that HDF5 reads of a file: values, types and attributes, by path."""
    content: dict[str, Any] = {}

    def note(name: str, thing: Any) -> None:
        for key, value in thing.attrs.items():
            if key not in {"DIMENSION_LIST", "REFERENCE_LIST"}:
                content[f"{name}@{key}"] = repr(value)
        if isinstance(thing, h5py.Dataset):
            value = thing[()]
            text = value.tobytes() if isinstance(value, np.ndarray | np.generic) else value
            content[name] = (str(thing.dtype), thing.shape, text)
            content[f"{name}: scales"] = [[scale.name for scale in axis.values()] for axis in thing.dims]

    try:
        with h5py.File(path) as file:
            note("", file)
            file.visititems(note)
    except Exception as error:  # a file that is said to be whole must be readable
        return {"error": str(error)}
    return content


def speed(rounds: int = 5, side: int = 2048) -> tuple[float, float]:
    """Return the CPU seconds of writing and reading back four arrays: ours, and those of plain h5py.

    The best of some rounds each; h5py writes the same arrays with the same filters and the file is synced.
    """
    restoration = _large(side)
    arrays = {
        "raw": restoration.micrograph.data,
        "background": restoration.background,
        "flat": restoration.flat,
        "restored": restoration.restored,
    }
    ours, plain = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            began = time.process_time()
            path = write(restoration, folder)
            ours.append(time.process_time() - began)
            path.unlink()
            began = time.process_time()
            path = Path(folder) / "plain.h5"
            with h5py.File(path, "w") as file:
                for name, values in arrays.items():
                    file.create_dataset(
                        name,
                        data=values,
                        chunks=(512, 512),
                        compression="gzip",
                        compression_opts=4,
                        shuffle=True,
                        fletcher32=True,
                    )
                file.flush()
                os.fsync(file.id.get_vfd_handle())
            with h5py.File(path) as file:
                for name in arrays:
                    file[name][()]
            plain.append(time.process_time() - began)
            path.unlink()
    return min(ours), min(plain)


def _large(side: int) -> Restoration:
    """Return a restoration whose arrays are made up, because only their size matters here."""
    small = restore(
        np.random.default_rng(0).random((16, 16)), Recipe.model_validate({"background": HUBER, "median": {}})
    )
    wave = np.add.outer(np.sin(np.arange(side) / 99), np.cos(np.arange(side) / 77)) * 8000 + 20000
    raw = (wave + np.random.default_rng(0).normal(scale=300, size=wave.shape)).astype(np.uint16)
    background = wave.astype(np.float32)
    flat = (raw - background).astype(np.float32)
    return replace(
        small,
        micrograph=Micrograph(raw, units="counts", pixel_size=(1e-9, 1e-9)),
        region=Region(0, side, 0, side),
        arrays={"background": background, "flat": flat, "restored": flat + np.float32(2e4)},
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("what", nargs="*", default=["kills", "flips", "speed"])
    options.add_argument("--number", type=int, default=1000)
    given = options.parse_args()
    if "kills" in given.what:
        print(kills(given.number), flush=True)
    if "flips" in given.what:
        with tempfile.TemporaryDirectory() as folder:
            found = flips(write(example(), folder), given.number)
        print(f"{found.number} flips in {found.seconds:.0f} s: {len(found.missed)} not found, {found.wrong}")
        for place, number in found.faults.most_common():
            print(f"{number:6d}  {place}")
    if "speed" in given.what:
        ours, plain = speed()
        print(f"write and read back: {ours:.3f} s CPU, plain h5py {plain:.3f} s: {ours / plain:.2f}×")


if __name__ == "__main__":
    sys.exit(main())
