"""Entries as rows of the SQLite file, and the queries on them."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tvtasks.ledger import retries
from tvtasks.ledger.entries import Entry, Output, Priority, State

SCHEMA_VERSION = 3
"""Ledgers of schema 2, whose outputs are paths alone, are brought to 3 when a watch opens them."""

SCHEMA = (
    """
    CREATE TABLE files (
        id INTEGER PRIMARY KEY,
        recipe TEXT NOT NULL,
        folder TEXT NOT NULL,
        name TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        state TEXT NOT NULL,
        priority TEXT NOT NULL,
        next_attempt TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        failures INTEGER NOT NULL,
        first_seen TEXT NOT NULL,
        updated TEXT NOT NULL,
        reason TEXT NOT NULL,
        outputs TEXT NOT NULL,
        detail TEXT NOT NULL,
        UNIQUE (folder, name, recipe, sha256)
    )
    """,
    "CREATE INDEX content ON files (sha256, recipe, state)",
    # What claim() searches, in the order of its search: the last part of every index is the id.
    "CREATE INDEX waiting ON files (recipe, priority, next_attempt) WHERE state IN ('queued', 'failed')",
    "CREATE INDEX states ON files (state, recipe, updated)",
    """
    CREATE TABLE attempts (
        id INTEGER PRIMARY KEY,
        file INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
        begun TEXT NOT NULL,
        ended TEXT NOT NULL,
        outcome TEXT NOT NULL,
        reason TEXT NOT NULL
    )
    """,
    "CREATE INDEX of_a_file ON attempts (file)",
    "CREATE INDEX endings ON attempts (outcome, ended)",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


def migrate(db: sqlite3.Connection) -> None:
    """Bring a ledger of schema 2 to this one: its outputs are paths, and now become records."""
    for row in db.execute("SELECT id, outputs FROM files WHERE outputs != '[]'").fetchall():
        outputs = [_as_record(Output(Path(path))) for path in json.loads(row["outputs"])]
        db.execute("UPDATE files SET outputs = ? WHERE id = ?", (json.dumps(outputs), row["id"]))
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _as_record(output: Output) -> list[str | int]:
    """Return an output as JSON holds it: a list, because there may be 100,000 of them."""
    return [str(output.path), output.size, output.mtime_ns, output.seal]


def outputs(row: sqlite3.Row) -> tuple[Output, ...]:
    """Return the outputs that a row holds."""
    return tuple(_as_output(output) for output in json.loads(row["outputs"]))


def _as_output(stored: str | list[Any]) -> Output:
    # Whoever only reads an old ledger does not change it.
    return Output(Path(stored)) if isinstance(stored, str) else Output(Path(stored[0]), *stored[1:])


def timestamp(when: datetime) -> str:
    """Return a time as text that sorts in the order of time."""
    return when.astimezone(UTC).isoformat(timespec="microseconds")


def as_text(name: str) -> str | bytes:
    """Return a name as SQLite stores it: as bytes if it is not valid Unicode, which Linux allows."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def place(path: Path) -> tuple[str | bytes, str | bytes]:
    """Return the folder and the name as SQLite stores them."""
    return as_text(str(path.parent)), as_text(path.name)


def printable(reason: str) -> str:
    """Return a sentence as valid Unicode; it may quote a file name that is not."""
    return reason.encode(errors="backslashreplace").decode()


def as_entry(row: sqlite3.Row) -> Entry:
    """Return the entry that a row holds."""
    return Entry(
        path=Path(os.fsdecode(row["folder"]), os.fsdecode(row["name"])),
        sha256=row["sha256"],
        recipe=row["recipe"],
        size=row["size"],
        mtime_ns=row["mtime_ns"],
        state=State(row["state"]),
        reason=row["reason"],
        outputs=outputs(row),
        detail=json.loads(row["detail"]),
        priority=Priority(row["priority"]),
        next_attempt=row["next_attempt"],
        attempts=row["attempts"],
        failures=row["failures"],
        first_seen=row["first_seen"],
        updated=row["updated"],
    )


def select(db: sqlite3.Connection, where: str, *values: object, using: str = "") -> list[Entry]:
    """Return the entries that meet a condition."""
    return [as_entry(row) for row in db.execute(f"SELECT * FROM files {using} WHERE {where}", values)]


def in_state(db: sqlite3.Connection, recipe: str | None, *states: State) -> list[Entry]:
    """Return the entries of a recipe in some states, oldest first; of all recipes or states if not given."""
    wanted = []
    values: list[str] = []
    if recipe is not None:
        wanted.append("recipe = ?")
        values.append(recipe)
    if states:
        wanted.append(f"state IN ({', '.join('?' * len(states))})")
        values += states
    return select(db, f"{' AND '.join(wanted) or '1'} ORDER BY id", *values)


def find(db: sqlite3.Connection, path: Path, sha256: str, recipe: str) -> Entry | None:
    """Return the entry for a path, its content and a recipe; None if there is none."""
    found = select(db, "recipe = ? AND folder = ? AND name = ? AND sha256 = ?", recipe, *place(path), sha256)
    return found[0] if found else None


def current(db: sqlite3.Connection, entry: Entry) -> Entry:
    """Return the current version of an entry; the caller's may be old."""
    return find(db, entry.path, entry.sha256, entry.recipe) or entry


def row_id(db: sqlite3.Connection, entry: Entry) -> int:
    """Return the id of the row that holds an entry."""
    found: tuple[int] = db.execute(
        "SELECT id FROM files WHERE recipe = ? AND folder = ? AND name = ? AND sha256 = ?",
        (entry.recipe, *place(entry.path), entry.sha256),
    ).fetchone()
    return found[0]


def next_due(db: sqlite3.Connection, recipe: str, now: datetime) -> Entry | None:
    """Return the next work that is due, except content that is running under another path."""
    due = (
        ("next_attempt = ''", ()),
        ("next_attempt BETWEEN '0' AND ?", (timestamp(now),)),
        # No wait is this long: a clock that was ahead wrote it, and the file would wait for years.
        ("next_attempt > ?", (timestamp(now + retries.LONGEST_DELAY),)),
    )
    for priority in Priority:
        for when, values in due:
            found = select(
                db,
                f"recipe = ? AND priority = ? AND state IN ('queued', 'failed') AND {when} "
                "AND NOT EXISTS (SELECT 1 FROM files AS twin WHERE twin.sha256 = files.sha256 "
                "AND twin.recipe = files.recipe AND twin.state = 'running') "
                "ORDER BY next_attempt, id LIMIT 1",
                recipe,
                priority.value,
                *values,
                using="INDEXED BY waiting",
            )
            if found:
                return found[0]
    return None


def done_entry(db: sqlite3.Connection, entry: Entry) -> Entry | None:
    """Return an entry, under any path, in which this content was done with this recipe."""
    found = select(db, "sha256 = ? AND recipe = ? AND state = 'done' LIMIT 1", entry.sha256, entry.recipe)
    return found[0] if found else None


def counts(db: sqlite3.Connection, recipe: str | None) -> dict[State, int]:
    """Return how many entries are in each state; every state is present."""
    where, values = ("", ()) if recipe is None else ("WHERE recipe = ?", (recipe,))
    found = db.execute(
        f"SELECT state, count(*) AS number FROM files INDEXED BY states {where} GROUP BY state", values
    )
    number = Counter({State(row["state"]): row["number"] for row in found})
    return {state: number[state] for state in State}


def upsert(db: sqlite3.Connection, entry: Entry) -> None:
    """Insert an entry, or update its row."""
    folder, name = place(entry.path)
    values = {
        "recipe": entry.recipe,
        "folder": folder,
        "name": name,
        "sha256": entry.sha256,
        "size": entry.size,
        "mtime_ns": entry.mtime_ns,
        "state": entry.state.value,
        "priority": entry.priority.value,
        "next_attempt": entry.next_attempt,
        "attempts": entry.attempts,
        "failures": entry.failures,
        "first_seen": entry.first_seen,
        "updated": entry.updated,
        "reason": printable(entry.reason),
        "outputs": json.dumps([_as_record(output) for output in entry.outputs]),
        "detail": json.dumps(dict(entry.detail)),
    }
    db.execute(
        f"INSERT INTO files ({', '.join(values)}) VALUES ({', '.join(f':{name}' for name in values)}) "
        "ON CONFLICT (folder, name, recipe, sha256) DO UPDATE SET "
        + ", ".join(f"{name} = excluded.{name}" for name in values),
        values,
    )
