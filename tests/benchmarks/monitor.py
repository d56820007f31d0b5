"""What watching a folder costs: ``python -m tests.benchmarks.monitor [--files 100000] [--backlog 10000]``.

Real files, a real ledger, the real clock. Nothing is judged here; the figures belong to the machine and to
what else it does at the time.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from tvtasks.ledger import Entry, Ledger
from tvtasks.monitor import Monitor
from tvtasks.monitor.observe import ObserverKind
from tvtasks.options import MonitorOptions

RECIPE = "benchmark"
SETTLE = 0.5
IDLE_SECONDS = 20.0


def write(folder: Path, names: list[str]) -> None:
    """Write small files of different content that are whole by their format, or rather have none."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(name.encode())


def enqueue_all(ledger: Ledger, folder: Path) -> None:
    for item in os.scandir(folder):
        status = item.stat()
        ledger.enqueue(
            folder / item.name, status.st_size, status.st_mtime_ns, f"{hash(item.name):064x}"[-64:], RECIPE
        )


def measure_known(folder: Path, ledger: Ledger, kind: ObserverKind) -> None:
    """Start-up scan, idle cost and the longest look, with all files known."""
    began, busy = time.perf_counter(), time.process_time()
    with Monitor(folder, ledger, RECIPE, MonitorOptions(observer=kind, recursive=True)) as monitor:
        print(f"{kind}: start-up scan {time.perf_counter() - began:.2f} s", end="")
        scan = time.process_time() - busy
        print(f" ({scan:.2f} s of a core), {len(monitor.settling)} unknown", end="")
        pause = monitor._scanner.next_scan - time.monotonic()
        monitor._scanner.next_scan += 1e6
        busy, began = time.process_time(), time.perf_counter()
        longest = 0.0
        while time.perf_counter() - began < IDLE_SECONDS:
            called = time.perf_counter()
            monitor.poll()
            longest = max(longest, time.perf_counter() - called)
            time.sleep(0.03)
        between = (time.process_time() - busy) / IDLE_SECONDS
        print(f"; idle {100 * between:.2f} % between scans; next scan after {pause:.0f} s")
        monitor._scanner.next_scan = 0.0
        busy, calls = time.process_time(), []
        scans = monitor._scanner.last_scan
        while monitor._scanner.under_way or monitor._scanner.last_scan == scans:
            called = time.perf_counter()
            monitor.poll()
            calls.append(time.perf_counter() - called)
            time.sleep(0.03)
        rescan = time.process_time() - busy
        pause = monitor._scanner.next_scan - time.monotonic()
        print(f"   rescan {rescan:.2f} s of a core every {pause:.0f} s", end="")
        print(f" → idle cost {100 * (between + rescan / pause):.2f} % of a core", end="")
        print(f"; longest poll {1e3 * max(calls):.0f} ms during it, {1e3 * longest:.0f} ms otherwise")
    with Monitor(
        folder, ledger, RECIPE, MonitorOptions(observer=kind, recursive=True), patience=None
    ) as monitor:
        monitor._scanner.next_scan = 0.0
        looks, of_a_core = [], []
        while not looks or monitor._scanner.under_way:
            called, busy = time.perf_counter(), time.thread_time()
            monitor.poll()
            looks.append(time.perf_counter() - called)
            of_a_core.append(time.thread_time() - busy)
        print(
            f"   looks during a rescan: {len(looks)}, median {1e3 * statistics.median(looks):.0f} ms, "
            f"longest {1e3 * max(looks):.0f} ms ({1e3 * max(of_a_core):.0f} ms of a core)"
        )


def measure_latency(root: Path, backlog: int, live: int = 100) -> None:
    """How long after a file has settled it is queued, while a backlog is being found and worked off."""
    folder = root / "scans"
    write(folder, [f"old_{number:06}.tif" for number in range(backlog)])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stop = threading.Event()
    settled: dict[str, float] = {}

    def acquire() -> None:
        for number in range(live):
            time.sleep(0.1)
            path = folder / f"live_{number:03}.tif"
            path.write_bytes(path.name.encode())
            settled[path.name] = time.time() + SETTLE

    def work(ledger: Ledger) -> None:
        while not stop.is_set():
            if (entry := ledger.claim(RECIPE)) is None:
                time.sleep(0.01)
                continue
            time.sleep(0.005)
            ledger.finish(entry, [], {})

    with (
        Ledger(root / "ledger.sqlite") as ledger,
        Monitor(folder, ledger, RECIPE, MonitorOptions(settle=SETTLE, rescan=5.0)) as monitor,
    ):
        threads = [threading.Thread(target=acquire), threading.Thread(target=work, args=(ledger,))]
        for thread in threads:
            thread.start()
        began, found = time.perf_counter(), 0
        while threads[0].is_alive() or found < backlog + live:
            found += len(monitor.poll())
            time.sleep(0.03)
        print(f"latency: {found} files queued in {time.perf_counter() - began:.1f} s", end="")
        stop.set()
        threads[1].join()
        late = sorted(
            1e3 * (_queued(entry) - settled[entry.path.name])
            for entry in ledger.entries()
            if entry.path.name in settled
        )
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    print(
        f"; {len(late)} new ones: settled → queued median {statistics.median(late):.0f} ms, 95th percentile "
        f"{late[int(0.95 * len(late))]:.0f} ms, longest {late[-1]:.0f} ms; memory grew by {grown:.0f} MB"
    )


def _queued(entry: Entry) -> float:
    return datetime.fromisoformat(entry.first_seen).astimezone(UTC).timestamp()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--backlog", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tvtasks-monitor-") as name:
        root = Path(name)
        folder = root / "known" / "scans"
        write(folder, [f"scan_{number:06}.tif" for number in range(options.files)])
        with Ledger(root / "known" / "ledger.sqlite") as ledger:
            enqueue_all(ledger, folder)
            for kind in ("native", "polling"):
                measure_known(folder, ledger, kind)
        measure_latency(root / "backlog", options.backlog)


if __name__ == "__main__":
    main()
