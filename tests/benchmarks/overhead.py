"""What the dashboard costs an image, in time and in CPU time of this process and of the server together.

    python -m tests.benchmarks.overhead [--images 100] [--workers 1]

The same small scans are restored twice: directly, and as runs of a Prefect server that is started for this
with a database of its own, with all that a watch shows there. Small scans, because what is measured is all
that is neither solving nor writing files. Linux only: what the server uses is read from /proc.
"""

from __future__ import annotations

import argparse
import contextvars
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flows import restore
from tests.prefect_fixtures import unused_port
from tvtasks.dashboard import server, supervision
from tvtasks.dashboard.runs import tagged_with
from tvtasks.dashboard.watch_page import WatchPage
from tvtasks.ledger import State
from tvtasks.options import WatchOptions
from tvtasks.outcome import Change, Outcome
from tvtasks.recipe import HuberROFStep, Recipe
from tvtasks.workflow import restore_file

STEP = HuberROFStep(model="huber-rof", lam=0.5, alpha=10.0, direction="x")
RECIPE = Recipe(name="overhead", background=STEP, denoise=STEP)
SETTLE = 8.0
"""Seconds after the last image in which the server writes what it had put off."""

Restore = Callable[[Path, Recipe, Path], list[Outcome]]


@dataclass(frozen=True)
class Cost:
    """Seconds an image: of wall clock, of CPU here, and of CPU in the server."""

    wall: float
    client: float
    server: float

    @property
    def cpu(self) -> float:
        return self.client + self.server

    def __str__(self) -> str:
        parts = (self.wall, self.cpu, self.client, self.server)
        return "  ".join(f"{part * 1e3:7.1f}" for part in parts)


def cpu_of(pid: int | None) -> float:
    """CPU seconds of a process so far, all of its threads."""
    if pid is None:
        return 0.0
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def measure(
    files: list[Path],
    archive: Path,
    do: Restore,
    *,
    workers: int,
    pid: int | None,
    shown: Callable[[Change], object] = lambda change: None,
) -> Cost:
    def one(path: Path) -> None:
        shown(Change(path, State.RUNNING, RECIPE.name))
        outcomes = do(path, RECIPE, archive)
        shown(Change(path, State.DONE, RECIPE.name, outcomes=tuple(outcomes)))

    idle = 0.0
    if pid is not None:
        before = cpu_of(pid)
        time.sleep(SETTLE)
        idle = (cpu_of(pid) - before) / SETTLE
    cpu, cpu_server, wall = time.process_time(), cpu_of(pid), time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(contextvars.copy_context().run, one, path) for path in files]:
            future.result()
    wall = time.perf_counter() - wall
    cpu = time.process_time() - cpu
    if pid is not None:
        time.sleep(SETTLE)
    used = cpu_of(pid) - cpu_server - idle * (wall + SETTLE if pid else 0.0)
    return Cost(wall / len(files), cpu / len(files), used / len(files))


def main() -> None:
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--images", type=int, default=100)
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--size", type=int, default=512, help="pixels of a side")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = []
        rng = np.random.default_rng(0)
        for number in range(given.images + 2):
            path = root / f"scan_{number:04d}.npy"
            np.save(path, rng.normal(size=(given.size, given.size)).cumsum(axis=1).astype(np.float32))
            files.append(path)
        warm, files = files[:2], files[2:]
        restore_file(warm[0], RECIPE, root / "direct")
        direct = measure(files, root / "direct", restore_file, workers=given.workers, pid=None)
        running = server.start(root / "server.log", home=root / "home", port=unused_port())
        try:
            assert running.process
            asked = WatchOptions(folder=root, archive=root / "shown", recipes=())
            with (
                supervision.prefect_at(running.api_url) as supervisor,
                tagged_with(root / "shown"),
                WatchPage(supervisor, running.api_url, asked) as page,
            ):
                page.begin()
                restore.restore_and_show(warm[1], RECIPE, root / "shown")
                shown = measure(
                    files,
                    root / "shown",
                    restore.restore_and_show,
                    workers=given.workers,
                    pid=running.process.pid,
                    shown=page.changed,
                )
        finally:
            running.stop()
    more = Cost(shown.wall - direct.wall, shown.client - direct.client, shown.server - direct.server)
    print(f"{given.images} images of {given.size}², {given.workers} at a time; ms an image")
    print("                 wall      CPU   (here   server)")
    print(f"direct        {direct}\nas a run      {shown}\nthe dashboard {more}")


if __name__ == "__main__":
    main()
