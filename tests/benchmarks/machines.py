"""Several machines, played on one: python -m tests.benchmarks.machines [kill] [overhead] [--images 500].

`kill`: a Prefect server with a password on PostgreSQL, two workers, and reruns of many small images; one of
the workers is killed with all that it runs, twice, and between the two the server and the database are killed
and restarted. What is counted is what lies in the archive at the end. `overhead`: what a live run and a rerun
cost an image on SQLite, PostgreSQL, threads and Dask. Needs PostgreSQL (Debian: apt-get install postgresql)
and Linux.
"""

from __future__ import annotations

import argparse
import contextvars
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from flows import restore
from tests.benchmarks import overhead
from tests.benchmarks.rerun import RECIPE
from tests.heard import Heard
from tests.postgres import Database
from tests.prefect_fixtures import unused_port
from tvtasks import archive
from tvtasks.dashboard import server
from tvtasks.dashboard.runs import tagged_with
from tvtasks.dashboard.supervision import prefect_at
from tvtasks.dashboard.watch_page import WatchPage
from tvtasks.options import WatchOptions
from tvtasks.outcome import Outcome
from tvtasks.recipe import Recipe
from tvtasks.rerun import Request, run_batch
from tvtasks.rerun.cluster import BATCH
from tvtasks.workflow import restore_file

PASSWORD = "lab:for-a-benchmark"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", choices=["kill", "overhead"], default=["kill", "overhead"])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--per-run", type=int, default=25, help="images of a rerun")
    parser.add_argument("--folder", type=Path, help="a new folder, which is kept, with all logs")
    options = parser.parse_args()
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    with ExitStack() as stack:
        root = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        root.mkdir(exist_ok=True)
        root.chmod(0o755)  # PostgreSQL runs as another user
        (root / "quick.toml").write_text(RECIPE.format(lam=0.05), "utf-8")
        if "kill" in options.what:
            kill(root, options.images, options.per_run)
        if "overhead" in options.what:
            costs(root, options.images)


def scans(folder: Path, number: int, size: int) -> list[Path]:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    files = [folder / f"stm_{index:04d}.npy" for index in range(number)]
    for path in files:
        np.save(path, rng.normal(size=(size, size)).cumsum(axis=1).astype(np.float32))
    return files


class Program:
    """A program in a group of its own, with all that it starts."""

    def __init__(self, root: Path, name: str, words: list[str], environment: dict[str, str]) -> None:
        self._log, self._words, self._environment = root / f"{name}.log", words, os.environ | environment
        self._cwd = root
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._words],
                env=self._environment,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def works(self) -> bool:
        return bool(psutil.Process(self._process.pid).children())

    def kill(self) -> int:
        """Kill it and what it has started, as a power cut does; return how many processes that were."""
        family = [psutil.Process(self._process.pid)]
        family += family[0].children(recursive=True)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        self._process.wait()
        return len(family)


def kill(root: Path, images: int, per_run: int) -> None:
    files = scans(root / "scans", images, 64)
    results, recipe = root / "archive", root / "quick.toml"
    port = unused_port()
    api = f"http://127.0.0.1:{port}/api"
    with ExitStack() as stack:
        database = stack.enter_context(Database(root / "postgres").running())
        environment = {
            "PREFECT_HOME": str(root / "home"),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": database.url,
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
            "PREFECT_API_AUTH_STRING": PASSWORD,
        }
        serving = Program(root, "server", ["tvtasks.cli", "server", "--port", str(port)], environment)
        stack.callback(serving.kill)
        wait(lambda: server.answers(api), 180)
        print(f"a stranger is answered {httpx.get(f'{api}/admin/version').status_code}", flush=True)
        environment["PREFECT_API_URL"] = api
        subprocess.run(
            [sys.executable, "-m", "tvtasks.cli", "deploy", "--quiet"],
            check=True,
            env=os.environ | environment,
        )
        client = httpx.Client(base_url=api, auth=tuple(PASSWORD.split(":")), timeout=30)
        token = client.get("/csrf-token", params={"client": "benchmark"}).json()["token"]
        client.headers |= {"Prefect-Csrf-Client": "benchmark", "Prefect-Csrf-Token": token}
        (found,) = client.post(
            "/deployments/filter", json={"deployments": {"name": {"any_": ["rerun"]}}}
        ).json()
        client.patch(f"/deployments/{found['id']}", json={"concurrency_limit": 4}).raise_for_status()
        workers = []
        for name in ("a", "b"):
            words = ["prefect", "worker", "start", "--pool", "tvtasks", "--limit", "1", "--name", name]
            workers.append(Program(root, f"worker-{name}", words, environment))
            stack.callback(workers[-1].kill)
        for start in range(0, images, per_run):
            chunk = [str(path) for path in files[start : start + per_run]]
            parameters = {"sources": chunk, "recipes": [str(recipe)], "archive": str(results), "workers": 1}
            client.post(
                f"/deployments/{found['id']}/create_flow_run",
                json={"parameters": parameters, "state": {"type": "SCHEDULED"}},
            ).raise_for_status()
        began = time.monotonic()

        def here() -> int:
            return sum(1 for _ in results.glob("*.nxs")) if results.is_dir() else 0

        def say(text: str) -> None:
            print(f"{time.monotonic() - began:5.0f} s, {here():3d} archives: {text}", flush=True)

        say("two workers have begun")
        plan: list[tuple[float, Callable[[], object]]] = [
            (0.2, lambda: lose(workers[0], say)),
            (0.4, lambda: restart(serving, database, api, say)),
            (0.6, lambda: lose(workers[0], say)),
        ]
        for part, event in plan:
            wait(lambda part=part: here() >= part * images, 600)
            event()
        crashed: set[str] = set()
        while (states := runs(client))["COMPLETED"] < -(-images // per_run):
            # The server gives them again by itself; see tvtasks/dashboard/automations.py.
            for lost in find(client, "CRASHED") + find(client, "FAILED"):
                if lost["state"]["id"] not in crashed:
                    crashed.add(lost["state"]["id"])
                    say(f"run {lost['name']} is {lost['state']['type'].lower()}: {lost['state']['message']}")
            if time.monotonic() - began > 1500:
                say(f"given up: {dict(states)}")
                break
            time.sleep(1.0)
        begun = Counter(run["run_count"] for run in find(client, "COMPLETED"))
        say(f"runs: {dict(runs(client))}; by how often they were begun: {dict(begun)}")
    check(files, results, Recipe.load(recipe), root)


def lose(worker: Program, say: Callable[[str], None]) -> None:
    wait(worker.works, 120)
    say(f"worker a is killed in the middle of a run, {worker.kill()} processes")
    time.sleep(3)
    worker.start()


def restart(serving: Program, database: Database, api: str, say: Callable[[str], None]) -> None:
    serving.kill()
    database.stop("immediate")
    say("server and PostgreSQL are gone")
    time.sleep(5)
    database.start()
    serving.start()
    wait(lambda: server.answers(api), 180)
    say("both are there again")


def find(client: httpx.Client, state: str) -> list[dict[str, Any]]:
    chosen = {"state": {"type": {"any_": [state]}}, "deployment_id": {"is_null_": False}}
    found: list[dict[str, Any]] = client.post("/flow_runs/filter", json={"flow_runs": chosen}).json()
    return found


def runs(client: httpx.Client) -> Counter[str]:
    chosen = {"deployment_id": {"is_null_": False}}
    found = client.post("/flow_runs/filter", json={"flow_runs": chosen}).json()
    return Counter(run["state"]["type"] for run in found)


def check(files: list[Path], results: Path, recipe: Recipe, root: Path) -> None:
    """Count what lies there, and compare its arrays with those of a restoration in this process."""
    there = sorted(results.glob("*.nxs"))
    sources = Counter(archive.summary(path)["source"]["name"] for path in there)
    partial = [
        path.name for path in results.rglob("*") if path.is_file() and path.suffix not in {".nxs", ".png"}
    ]
    twice = {name: number for name, number in sources.items() if number > 1}
    print(f"{len(there)} archives of {len(sources)} images, {len(files)} wanted; twice: {twice or 'none'}")
    print(f"files of another kind: {partial or 'none'}")
    different = 0
    for path in files:
        (expected,) = restore_file(path, recipe, root / "direct")
        same = digests(results / expected.archive.name) == digests(expected.archive)
        different += not same
    print(f"archives whose arrays or parameters are not those of one machine: {different}", flush=True)


def digests(path: Path) -> Any:
    """What must be the same wherever it was done: the checksum of every array, and every parameter."""
    record = archive.summary(path)
    return record["run_id"], record["arrays"], record["recipe"]


def wait(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise SystemExit(f"nothing happened for {seconds:.0f} s")
        time.sleep(0.1)


def costs(root: Path, images: int) -> None:
    files = scans(root / "small", images, 512)
    live_files = files[: max(images // 5, 10)]
    restore_file(files[0], overhead.RECIPE, root / "warm")
    direct = overhead.measure(live_files, root / "direct-live", restore_file, workers=1, pid=None)
    print(f"live, {len(live_files)} images of 512², one at a time; ms an image more than without Prefect")
    print("                wall      CPU   (here   server)")
    with live(root, "sqlite") as cost:
        print("SQLite     ", minus(cost(live_files), direct), flush=True)
    with Database(root / "postgres-live").running() as database:
        os.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database.url
        try:
            with live(root, "postgres") as cost:
                print("PostgreSQL ", minus(cost(live_files), direct), "and the database itself", flush=True)
        finally:
            del os.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    print(f"rerun of {images} images of 512²; ms an image, of all processes")
    bare = plain(files, root / "plain", Recipe.load(root / "quick.toml"))
    print(f"plain loop           CPU {bare[1]:6.1f}  wall {bare[0]:6.1f}", flush=True)
    for name, words in (
        ("1 thread", {"workers": 1}),
        ("2 threads", {"workers": 2}),
        ("Dask, 2 processes", {"workers": 2, "dask": "local"}),
    ):
        request = Request(tuple(files), (str(root / "quick.toml"),), root / name.replace(" ", "-"), **words)
        wall, cpu = rerun_cost(request)
        print(
            f"{name:20s} CPU {cpu:6.1f}  wall {wall:6.1f}  overhead {cpu - bare[1]:5.1f} of CPU", flush=True
        )


@contextmanager
def live(root: Path, name: str) -> Iterator[Callable[[list[Path]], overhead.Cost]]:
    running = server.start(root / f"{name}.log", home=root / f"home-{name}", port=unused_port())
    asked = WatchOptions(folder=root, archive=root / name, recipes=())
    try:
        with (
            prefect_at(running.api_url) as supervisor,
            tagged_with(root / name),
            WatchPage(supervisor, running.api_url, asked) as page,
        ):
            page.begin()

            def cost(files: list[Path]) -> overhead.Cost:
                warm, *rest = files
                contextvars.copy_context().run(restore.restore_and_show, warm, overhead.RECIPE, root / name)
                assert running.process
                return overhead.measure(
                    rest,
                    root / name,
                    restore.restore_and_show,
                    workers=1,
                    pid=running.process.pid,
                    shown=page.changed,
                )

            yield cost
    finally:
        running.stop()


def minus(one: overhead.Cost, other: overhead.Cost) -> overhead.Cost:
    return overhead.Cost(one.wall - other.wall, one.client - other.client, one.server - other.server)


def plain(files: list[Path], directory: Path, recipe: Recipe) -> tuple[float, float]:
    restore_file(files[0], recipe, directory)
    wall, cpu = time.perf_counter(), time.process_time()
    for path in files[1:]:
        restore_file(path, recipe, directory)
    number = (len(files) - 1) / 1e3
    return (time.perf_counter() - wall) / number, (time.process_time() - cpu) / number


def rerun_cost(request: Request) -> tuple[float, float]:
    """Milliseconds an image, of wall clock and of CPU in all processes, without their start."""
    seen: list[tuple[float, float]] = []
    skip = 10 * BATCH

    def finished(_: Outcome) -> None:
        seen.append((time.perf_counter(), cpu_of_family()) if len(seen) in {skip, last} else (0.0, 0.0))

    last = len(request.sources) - 1
    report = run_batch(request, listener=Heard(finished))
    assert report.restored == len(request.sources), report.sentence
    number = (last - skip) / 1e3
    return (seen[last][0] - seen[skip][0]) / number, (seen[last][1] - seen[skip][1]) / number


def cpu_of_family() -> float:
    own = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in [own, *own.children(recursive=True)])


if __name__ == "__main__":
    main()
