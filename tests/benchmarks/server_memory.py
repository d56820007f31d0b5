"""What the Prefect server of a watch occupies while it shows one run after the other.

    python -m tests.benchmarks.server_memory [--runs 20000] [--limit 1.0] [--minutes 600] [--csv FILE]

One small scan is restored. Its run is then shown again and again on a server that a `ServerKeeper` looks
after, as in a watch: the same flow, tasks, log, artifact and page of the watch, but nothing is computed or
archived. Now and then the microscope rests for half a minute, so that the server finds a pause. Linux only:
what the server occupies is read from /proc.
"""

from __future__ import annotations

import argparse
import csv
import os
import sqlite3
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
from prefect import flow, tags

from tests.benchmarks.overhead import RECIPE, cpu_of
from tests.prefect_fixtures import unused_port
from tests.soak.lab import resident_bytes
from tvtasks import figures, workflow
from tvtasks.dashboard import private, server
from tvtasks.dashboard.runs import TAG, call_flow, tagged_with
from tvtasks.dashboard.serve import MEMORY_VARIABLE, PAUSE_SECONDS
from tvtasks.dashboard.supervision import prefect_at
from tvtasks.dashboard.watch_page import WatchPage
from tvtasks.ledger import State
from tvtasks.options import WatchOptions
from tvtasks.outcome import Change
from tvtasks.restoration import Restoration, restore
from tvtasks.steps import STEPS
from tvtasks.tasks import TASKS, _show

LEFT_OUT = (STEPS["median"].run, STEPS["contrast"].run)
"""Steps that the recipe auto has not."""


def _nothing() -> None:
    pass


def shown(result: Restoration, picture: bytes) -> Any:
    """Return a flow that shows what the run of a result shows, and computes nothing."""
    tasks = [task.with_options() for step, task in TASKS.items() if step not in LEFT_OUT]
    for task in tasks:
        task.fn = _nothing
    text = f"{result!r}" + picture.hex()

    def show() -> None:
        _show("restored-image", text, "scan.npy")

    tasks[-1].fn = show

    @flow(name="restore", persist_result=False)
    def restore_flow(path: Path, archive: Path) -> None:
        for task in tasks:
            _ = task()

    private.store_no_results(restore_flow)
    return restore_flow


def main() -> None:
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--limit", type=float, default=1.0, help="GB above which the server begins afresh")
    parser.add_argument("--burst", type=int, default=500, help="runs between two pauses")
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--csv", type=Path, help="a file for seconds, runs, process and MB")
    given = parser.parse_args()
    os.environ[MEMORY_VARIABLE] = str(given.limit)
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), given)


def measure(root: Path, given: argparse.Namespace) -> None:
    path = root / "scan.npy"
    np.save(path, np.random.default_rng(0).normal(size=(256, 256)).cumsum(axis=1).astype(np.float32))
    result = restore(workflow.read(path)[0], RECIPE)
    one = shown(result, figures.jpeg(figures.preview(result), max_bytes=25_000))
    began, rows = time.monotonic(), []
    with ExitStack() as stack:
        first = server.start(root / "server.log", home=root / "home", port=unused_port())
        keeper = stack.enter_context(server.ServerKeeper(first, root / "server.log", home=root / "home"))
        supervisor = stack.enter_context(prefect_at(first.api_url))
        stack.enter_context(tagged_with(root / "archive"))
        stack.enter_context(tags(TAG, "overhead"))
        asked = WatchOptions(folder=root, archive=root / "archive", recipes=())
        page = stack.enter_context(WatchPage(supervisor, first.api_url, asked))
        page.begin()
        for number in range(given.runs + 1):
            if number % 100 == 0:
                rows.append(row(keeper.server, began, number))
            if time.monotonic() - began > 60 * given.minutes:
                break
            if number and number % given.burst == 0:
                time.sleep(1.5 * PAUSE_SECONDS)
                rows.append(row(keeper.server, began, number))
            file = path.with_name(f"scan_{number:05d}.npy")
            page.changed(Change(file, State.RUNNING, "overhead"))
            try:
                call_flow(supervisor.deployments, one, file.name, {"path": file, "archive": root / "archive"})
            except Exception as error:
                print(f"run {number}: {type(error).__name__}", flush=True)
            page.changed(Change(file, State.DONE, "overhead"))
        with closing(sqlite3.connect(root / "home" / "tvtasks.db")) as db:
            kept = dict(db.execute("SELECT state_type, count(*) FROM flow_run GROUP BY state_type"))
    print(f"runs in the database, by state: {kept}")
    log = (root / "server.log").read_text("utf-8", errors="replace")
    print(
        f"began afresh {log.count('The server begins afresh')} times; most {max(r[3] for r in rows):.0f} MB"
    )
    if given.csv:
        with given.csv.open("w", newline="") as file_:
            csv.writer(file_).writerows([("seconds", "runs", "server CPU s", "MB"), *rows])


def row(running: server.Server, began: float, number: int) -> tuple[float, int, float, float]:
    """Return and print the time, the number of runs, the server's CPU seconds and its MB."""
    assert running.process
    pid = running.process.pid
    found = (time.monotonic() - began, number, cpu_of(pid), (resident_bytes(pid) or 0) / 1e6)
    print("{:6.0f} s {:6} runs, server CPU {:6.1f} s, {:6.0f} MB".format(*found), flush=True)
    return found


if __name__ == "__main__":
    main()
