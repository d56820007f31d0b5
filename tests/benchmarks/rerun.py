"""Bars of `tvtasks list` and `tvtasks rerun`: python -m tests.benchmarks.rerun [--images N] [--folder F].

Writes real archives of 512² images by a recipe that is quickly solved, 0.2 MB each; what the folder holds
from an earlier time is used. Seconds are of CPU, which other programs do not change much.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from tests.heard import Heard
from tvtasks import archive, workflow
from tvtasks.dashboard import server as servers
from tvtasks.micrograph import Micrograph, Source, array_sha256
from tvtasks.outcome import BatchReport, Outcome
from tvtasks.recipe import Recipe
from tvtasks.rerun import Request, run_batch
from tvtasks.restoration import restore

RECIPE = """
name = "quick"
[background]
model = "huber-rof"
lam = {lam}
direction = "x"
stop = {{rule = "gap", rtol = 1e-3}}
"""
SAMPLE = 200  # images for the overhead


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--select", action="append", default=[], help="which of them the long rerun does")
    parser.add_argument("--folder", type=Path, help="where the archives are kept for the next time")
    parser.add_argument("--server", action="store_true", help="show the long rerun on a Prefect server")
    options = parser.parse_args()
    with ExitStack() as stack:
        place = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place.mkdir(parents=True, exist_ok=True)
        results = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=place)))
        recipes = [place / f"{lam}.toml" for lam in (0.05, 0.06, 0.07)]
        for recipe in recipes:
            recipe.write_text(RECIPE.format(lam=recipe.stem), "utf-8")
        fill(place / "archive", options.images, Recipe.load(recipes[0]))
        for words in (["list"], ["rerun", "--plan", "--recipe", str(recipes[1])]):
            command(words, place / "archive")
        overhead(place / "archive", results, recipes[1])
        select = tuple(options.select)
        request = Request((place / "archive",), (str(recipes[2]),), results / "long", select)
        do = run_batch
        if options.server:
            server = servers.start(place / "server.log", home=results / "prefect")
            stack.callback(server.stop)
            do = on(server)
        long_rerun(request, do)


def fill(directory: Path, number: int, recipe: Recipe) -> None:
    there = sum(1 for _ in directory.glob("*.nxs")) if directory.is_dir() else 0
    directory.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    for index in range(there, number):
        workflow.restore_images([image(index)], recipe, directory)
    print(f"{number - there} archives written in {time.process_time() - began:.0f} s", flush=True)


def image(number: int) -> Micrograph:
    """Return terraces with marks that tell this image from the others."""
    rows, columns = np.ogrid[:512, :512]
    data = (rows // 64 * 8 + columns // 128 * 16).astype(np.uint8)
    data[::37] += 3
    data = np.roll(data, 7 * number, axis=0)
    data[0, :4] = [number % 256, number // 256, 0, 1]
    day = datetime(2026, 1, 1, tzinfo=UTC)
    source = Source(Path(f"stm_{number:05d}.npy"), data.nbytes, day, array_sha256(data))
    return Micrograph(data, technique="STM", source=source, acquired_at=day)


def command(words: list[str], directory: Path) -> None:
    """Time a command as a user gives it, from the start of Python to its end."""
    before, began = os.times(), time.perf_counter()
    line = [sys.executable, "-m", "tvtasks.cli", words[0], str(directory), *words[1:]]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"tvtasks {' '.join(words[:2])}: {wall:.2f} s, {cpu:.2f} s of CPU", flush=True)


def overhead(directory: Path, results: Path, recipe: Path) -> None:
    """Compare a rerun with the bare solver and the file writing, image by image in turns."""
    files = list(itertools.islice(directory.glob("*.nxs"), SAMPLE))
    chosen = Recipe.load(recipe)
    spent = {"bare": 0.0, "rerun": 0.0}

    def bare(file: Path) -> None:
        image = archive.raw(file)
        began = time.process_time()
        archive.write(restore(image, chosen), results / "bare")
        spent["bare"] += time.process_time() - began

    def again(chunk: list[Path]) -> None:
        began = time.process_time()
        run_batch(Request(tuple(chunk), (str(recipe),), results / "rerun", workers=1))
        spent["rerun"] += time.process_time() - began

    for turn, start in enumerate(range(0, len(files), 20)):
        for file in files[start : start + 20]:
            bare(file)
        again(files[start : start + 20])
        if not turn:  # the first is slower in both: what is compiled and imported is loaded
            spent = dict.fromkeys(spent, 0.0)
    each = {name: 1000 * seconds / (len(files) - 20) for name, seconds in spent.items()}
    print(
        f"per image: bare {each['bare']:.1f} ms, rerun {each['rerun']:.1f} ms, "
        f"overhead {each['rerun'] - each['bare']:.1f} ms (the picture is in it)",
        flush=True,
    )


def long_rerun(request: Request, do: Callable[..., BatchReport]) -> None:
    """Do many, and watch the memory."""
    shown = _Watch()
    cpu, wall = time.process_time(), time.perf_counter()
    report = do(request, listener=Heard(shown))
    seconds = time.perf_counter() - wall
    number = max(report.done, 1)
    print(
        f"{report.sentence}: {1000 * seconds / number:.1f} ms an image, "
        f"{1000 * (time.process_time() - cpu) / number:.1f} ms of CPU; "
        f"memory in MB after each 200: {shown.memory}"
    )


class _Watch:
    """Notes how much memory the process has."""

    def __init__(self) -> None:
        self.done, self.memory = 0, list[int]()

    def __call__(self, outcome: Outcome) -> None:
        self.done += 1
        if self.done % 200 == 0:
            self.memory.append(round(resident() / 1e6))


def resident() -> float:
    """Return the bytes of memory of this process, where the system says so."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return float("nan")
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def on(server: servers.Server) -> Callable[..., BatchReport]:
    """Return what does a rerun as a run of a server."""
    from flows.rerun import rerun_and_show
    from tvtasks.dashboard.supervision import prefect_at

    def do(request: Request, listener: Heard) -> BatchReport:
        with prefect_at(server.api_url):
            return rerun_and_show(request, listener, threading.Event())

    return do


if __name__ == "__main__":
    main()
