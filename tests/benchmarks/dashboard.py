"""How long the pages of the dashboard take with many runs in the database.

    python -m tests.benchmarks.dashboard [--runs 50000]

One image is restored on a server with a database of its own. Then, with the server stopped, the rows of that
run are written again and again under other ids, spread over a month, as retention leaves them: all rows of
each run but the picture, which is cut to 1 kB, and events for the last two days. The pages are opened in
Chromium, each three times in a fresh browser, until they show what they are for. At last the server is told
to keep runs for half of that time, and what it removes is counted in its database.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from flows import restore
from tests.benchmarks.overhead import RECIPE, cpu_of
from tests.browsing import QUIET, program
from tests.prefect_fixtures import unused_port
from tvtasks.dashboard import server
from tvtasks.dashboard.runs import tagged_with
from tvtasks.dashboard.supervision import prefect_at

OF_A_RUN = {
    "flow_run": "id = :run",
    "flow_run_state": "flow_run_id = :run",
    "task_run": "flow_run_id = :run",
    "task_run_state": "task_run_id IN (SELECT id FROM task_run WHERE flow_run_id = :run)",
    "log": "flow_run_id = :run",
    "artifact": "flow_run_id = :run",
    "events": "resource_id = 'prefect.flow-run.' || :run OR id IN "
    "(SELECT event_id FROM event_resources WHERE resource_id = 'prefect.flow-run.' || :run)",
    "event_resources": "event_id IN (SELECT event_id FROM event_resources "
    "WHERE resource_id = 'prefect.flow-run.' || :run)",
}
TIMES = {
    "created",
    "updated",
    "timestamp",
    "occurred",
    "received",
    "recorded",
    "state_timestamp",
    "start_time",
    "end_time",
    "expected_start_time",
    "next_scheduled_start_time",
}
DAYS, EVENT_DAYS = 30, 2


def fill(path: Path, run: str, number: int) -> None:
    """Write the rows of a run so many times more, in SQL: the last digits of all its own ids change."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA synchronous = OFF")
        own = {run}
        for table, where in OF_A_RUN.items():
            own |= {row[0] for row in db.execute(f"SELECT id FROM {table} WHERE {where}", {"run": run})}
        db.execute("CREATE TEMP TABLE own (id TEXT PRIMARY KEY)")
        db.executemany("INSERT INTO own VALUES (?)", [(each,) for each in own])
        for table, where in OF_A_RUN.items():
            db.execute(f"CREATE TEMP TABLE template AS SELECT * FROM {table} WHERE {where}", {"run": run})
            columns = [column[1] for column in db.execute(f"PRAGMA table_info({table})")]
            copies = number * EVENT_DAYS // DAYS if table.startswith("event") else number
            db.execute(
                "WITH RECURSIVE copies (copy) AS (VALUES (1) UNION ALL SELECT copy + 1 FROM copies "
                f"WHERE copy < {copies}) INSERT INTO {table} ({', '.join(columns)}) "
                f"SELECT {', '.join(_changed(column, number) for column in columns)} FROM copies, template"
            )
            db.execute("DROP TABLE template")
        db.commit()


def _changed(column: str, number: int) -> str:
    """Return the SQL for the value of a column in a copy."""
    if column.endswith("id"):
        return (
            f"CASE WHEN substr({column}, -36) IN (SELECT id FROM own) "
            f"THEN substr({column}, 1, length({column}) - 12) || printf('%012x', copy) ELSE {column} END"
        )
    if column == "idempotency_key":
        return f"{column} || copy"
    if column in TIMES:
        back = f"'-' || (copy * {DAYS * 86_400} / {number}) || ' seconds'"
        return f"strftime('%Y-%m-%d %H:%M:%f', {column}, {back}) || '000'"
    return column


def shorten_pictures(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE artifact SET data = substr(data, 1, 1000) || '\"' WHERE length(data) > 2000")
        db.execute(
            "UPDATE artifact_collection SET data = substr(data, 1, 1000) || '\"' WHERE length(data) > 2000"
        )
        db.commit()


def pages(run: str) -> dict[str, tuple[str, str]]:
    """Address of each page, and a text that it shows when it is of use."""
    return {
        "dashboard": ("/dashboard", "Flow Runs"),
        "runs": ("/runs", "scan.npy · overhead"),
        "a run": (f"/runs/flow-run/{run}", "Finished in state"),
        "artifacts": ("/artifacts", "restored-image"),
        "automations": ("/automations", "Automations"),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--runs", type=int, default=50_000)
    given = options.parse_args()
    path = program()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        np.save(root / "scan.npy", np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32))
        home, port = root / "home", unused_port()
        running = server.start(root / "server.log", home=home, port=port)
        with prefect_at(running.api_url) as supervisor, tagged_with(root / "archive"):
            restore.restore_and_show(root / "scan.npy", RECIPE, root / "archive")
            run = str(supervisor.run_of(root / "scan.npy"))
        time.sleep(10)  # the server writes task runs and events a while later
        running.stop()
        database = home / "tvtasks.db"
        shorten_pictures(database)
        began = time.perf_counter()
        fill(database, run, given.runs - 1)
        seconds = time.perf_counter() - began
        print(f"{given.runs} runs, {database.stat().st_size / 1e6:.0f} MB; filled in {seconds:.0f} s")
        running = server.start(root / "server.log", home=home, port=port)
        try:
            assert running.process
            show(running.dashboard, run, path, running.process.pid)
        finally:
            running.stop()
        prune(root, home, port)


def prune(root: Path, home: Path, port: int) -> None:
    """Have a server remove what is older than half a month, and count what lies in its database."""
    before = rows(home / "tvtasks.db")
    os.environ |= {
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(DAYS // 2 * 86_400),
        "PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": "10",
    }
    began = time.perf_counter()
    running = server.start(root / "server.log", home=home, port=port)
    try:
        assert running.process
        after, cpu = before, cpu_of(running.process.pid)
        while (now := rows(home / "tvtasks.db")) != after or now == before:
            after = now
            if time.perf_counter() - began > 600:
                break
            time.sleep(20)
        cpu = cpu_of(running.process.pid) - cpu
    finally:
        running.stop()
    print(f"pruned in {time.perf_counter() - began:.0f} s, {cpu:.0f} s of CPU; rows before and after:")
    for table, number in before.items():
        print(f"{table:20} {number:9} {after[table]:9}")


def rows(path: Path) -> dict[str, int]:
    """Count the rows of each table that a run writes to."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in OF_A_RUN}


def show(dashboard: str, run: str, path: str, pid: int) -> None:
    with sync_playwright() as playwright:
        for name, (address, text) in pages(run).items():
            seconds = []
            for _ in range(3):
                browser = playwright.chromium.launch(executable_path=path, args=QUIET)
                page = browser.new_page()
                began, cpu = time.perf_counter(), cpu_of(pid)
                page.goto(f"{dashboard}{address}")
                page.get_by_text(text).first.wait_for(timeout=60_000)
                seconds.append(time.perf_counter() - began)
                page.wait_for_load_state("networkidle", timeout=120_000)
                idle, used = time.perf_counter() - began, cpu_of(pid) - cpu
                browser.close()
            wall = f"{min(seconds):5.2f} … {max(seconds):5.2f} s; all {idle:5.2f} s"
            print(f"{name:12} {wall}, server CPU {used:5.2f} s", flush=True)


if __name__ == "__main__":
    main()
