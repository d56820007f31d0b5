"""Hand results on: to a second folder, a command of the lab, or a server that takes JSON (ELN, catalogue).

The archive is the queue: what an action has not delivered is due, so nothing can be lost. Deliveries are
noted in ``.tvtasks/handed-on.sqlite``; an action delivers one result after another, in the order in which
they were archived, and repeats one that fails until it succeeds or the receiver refuses that very result.

A kill after a delivery and before its note repeats it. A copy is then the same file, and a request carries
the same ``Idempotency-Key``, by which the receiver tells it from a new one.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from tvtasks.archive.catalogue import CatalogueEntry, archive_files, entry
from tvtasks.errors import ArchiveError, ConfigurationError
from tvtasks.files import write_whole
from tvtasks.ledger.retries import delay
from tvtasks.models import STRICT
from tvtasks.recipe import sentences

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_REFUSED = frozenset({400, 413, 415, 422})  # the receiver does not want this result; others may be welcome
_THERE = 409  # it has it already
_TABLES = """
create table if not exists deliveries (action text, run text, at text, primary key (action, run));
create table if not exists failures (
    action text, run text, attempts integer, due real, refused integer, reason text,
    primary key (action, run)
);
"""


class _RefusedError(Exception):
    """The receiver will never take this result."""


@checked(frozen=True, config=STRICT, kw_only=True)
class Copy:
    """Copies result and picture into another folder; each appears when it is complete."""

    kind: Literal["copy"]
    name: str
    folder: Path

    def deliver(self, entry: CatalogueEntry, client: httpx.Client) -> None:  # noqa: D102
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in (entry.preview, entry.path):  # the result comes last, as in the archive
            if path.exists():
                write_whole(self.folder / path.name, path.read_bytes())


@checked(frozen=True, config=STRICT, kw_only=True)
class Command:
    """Runs a command without a shell; words may hold fields of the result, such as ``{path}``."""

    kind: Literal["command"]
    name: str
    command: Annotated[tuple[str, ...], Field(min_length=1)]
    timeout: float = 60.0

    def deliver(self, entry: CatalogueEntry, client: httpx.Client) -> None:  # noqa: D102
        words = [_filled(word, described(entry)) for word in self.command]
        done = subprocess.run(words, capture_output=True, text=True, timeout=self.timeout, check=False)
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise OSError(f"{words[0]} ended with {done.returncode}: {' '.join(last)}")


@checked(frozen=True, config=STRICT, kw_only=True)
class Post:
    """Sends JSON to a server; texts in `body` may hold fields of the result, url and headers variables."""

    kind: Literal["http"]
    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 30.0

    def deliver(self, entry: CatalogueEntry, client: httpx.Client) -> None:  # noqa: D102
        fields = described(entry)
        headers = {name: with_secrets(value) for name, value in self.headers.items()}
        answer = client.post(
            with_secrets(self.url),
            json=_completed(self.body, fields) if self.body else fields,
            headers={"Idempotency-Key": f"{self.name}-{entry.run_id}", **headers},
            timeout=self.timeout,
        )
        if answer.status_code in _REFUSED:
            raise _RefusedError(f"the server answered {answer.status_code}: {answer.text[:200]}")
        if answer.is_error and answer.status_code != _THERE:
            raise OSError(f"the server answered {answer.status_code}")


Action = Annotated[Copy | Command | Post, Field(discriminator="kind")]


def load_actions(path: Path) -> list[Copy | Command | Post]:
    """Read the actions of a TOML file, each a table ``[[action]]``.

    Raises
    ------
    ConfigurationError
        The file cannot be read, an action is incomplete, or a variable that one needs is not set.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8-sig"))
        found = TypeAdapter(list[Action]).validate_python(content.get("action", []))
    except ValidationError as error:
        raise ConfigurationError(f"Actions {path}: {' '.join(sentences(error))}") from error
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"Actions {path} cannot be read: {error}.") from error
    names = [action.name for action in found]
    if not names or len(set(names)) < len(names):
        raise ConfigurationError(f"Actions {path}: give at least one [[action]], each with its own name.")
    for action in found:
        for text in (action.url, *action.headers.values()) if isinstance(action, Post) else ():
            with_secrets(text)
    return found


def with_secrets(text: str) -> str:
    """Return a text with ``${NAME}`` replaced by the environment variable of that name.

    Raises
    ------
    ConfigurationError
        There is no such variable.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise ConfigurationError(f"An action needs the environment variable {found[1]}. Set it.")
        return os.environ[found[1]]

    return _VARIABLE.sub(value, text)


def described(entry: CatalogueEntry) -> dict[str, Any]:
    """Return what an action may use of a result, safe for JSON."""
    return {
        "run_id": entry.run_id,
        "path": str(entry.path),
        "result": entry.path.name,
        "size": entry.size,
        "source_name": entry.source_name,
        "source_sha256": entry.source_sha256,
        "channel": entry.channel,
        "technique": entry.technique or "",
        "recipe": entry.recipe,
        "written_at": entry.written_at.isoformat(),
        "acquired_at": entry.acquired_at.isoformat() if entry.acquired_at else "",
        "sample": (entry.sample or {}).get("name", ""),
        "version": entry.version,
    }


@dataclass(frozen=True)
class Standing:
    """How far an action is: results delivered and waiting, those refused, and why the next one waits."""

    action: str
    delivered: int
    waiting: int
    refused: int
    reason: str


class Handover:
    """Delivers the results of an archive by some actions.

    Parameters
    ----------
    archive
        The archive.
    actions
        What to do with each result.
    now
        Returns seconds since 1970.
    wait_after
        Returns how many seconds to wait after a failure, given the number of failures before it.
    """

    def __init__(
        self,
        archive: Path,
        actions: Sequence[Copy | Command | Post],
        *,
        now: Callable[[], float] = time.time,
        wait_after: Callable[[int], float] = lambda failures: delay(failures).total_seconds(),
    ) -> None:
        self._archive, self._actions, self._now, self._wait_after = archive, actions, now, wait_after
        self._notes = archive / ".tvtasks" / "handed-on.sqlite"
        self._known: dict[Path, CatalogueEntry] = {}  # results do not change

    @cached_property
    def _client(self) -> httpx.Client:
        """One for all turns: to load the certificates takes longer than a delivery."""
        return httpx.Client()

    def turn(self) -> float | None:
        """Deliver all that is due; return the seconds until more is due, None if nothing waits.

        Raises
        ------
        ArchiveError
            The notes cannot be written.
        ConfigurationError
            There is no such archive.
        """
        found = self._results()
        with closing(self._open()) as db:
            waits = [self._deliver(db, self._client, action, found) for action in self._actions]
        return min((wait for wait in waits if wait is not None), default=None)

    def standing(self) -> Iterator[Standing]:
        """Yield how far each action is."""
        total = len(self._results())
        with closing(self._open()) as db:
            for action in self._actions:
                (delivered,) = db.execute(
                    "select count(*) from deliveries where action = ?", (action.name,)
                ).fetchone()
                failures = db.execute(
                    "select refused, reason from failures where action = ?", (action.name,)
                ).fetchall()
                refused = sum(row[0] for row in failures)
                reason = next((row[1] for row in failures if not row[0]), "")
                waiting = max(total - delivered - refused, 0)
                yield Standing(action.name, delivered, waiting, refused, reason)

    def _results(self) -> list[CatalogueEntry]:
        """Return the readable results, the oldest first."""
        present = set(archive_files(self._archive))
        for path in present - self._known.keys():
            if (found := entry(path)) and not found.fault:
                self._known[path] = found
        known = (result for path, result in self._known.items() if path in present)
        return sorted(known, key=lambda result: (result.written_at, result.path.name))

    def _deliver(
        self,
        db: sqlite3.Connection,
        client: httpx.Client,
        action: Copy | Command | Post,
        found: Sequence[CatalogueEntry],
    ) -> float | None:
        done = {row[0] for row in db.execute("select run from deliveries where action = ?", (action.name,))}
        failed = {
            row[0]: row[1:]
            for row in db.execute(
                "select run, attempts, due, refused from failures where action = ?", (action.name,)
            )
        }
        for result in found:
            attempts, due, refused = failed.get(result.run_id, (0, 0.0, 0))
            if result.run_id in done or refused:
                continue
            if due > self._now():  # those behind it wait, too, so that the order is kept
                return float(due - self._now())
            try:
                action.deliver(result, client)
            except _RefusedError as error:
                self._note_failure(db, action.name, result.run_id, attempts + 1, 0.0, True, str(error))
            except (OSError, httpx.HTTPError, subprocess.SubprocessError, ArchiveError) as error:
                wait = self._wait_after(attempts)
                reason = str(error) or type(error).__name__
                due = self._now() + wait
                self._note_failure(db, action.name, result.run_id, attempts + 1, due, False, reason)
                return wait
            else:
                key = (action.name, result.run_id)
                with db:
                    db.execute(
                        "insert into deliveries values (?, ?, ?)", (*key, datetime.now(UTC).isoformat())
                    )
                    db.execute("delete from failures where action = ? and run = ?", key)
        return None

    @staticmethod
    def _note_failure(
        db: sqlite3.Connection, action: str, run: str, attempts: int, due: float, refused: bool, reason: str
    ) -> None:
        with db:
            db.execute(
                "insert or replace into failures values (?, ?, ?, ?, ?, ?)",
                (action, run, attempts, due, int(refused), reason),
            )

    def _open(self) -> sqlite3.Connection:
        try:
            self._notes.parent.mkdir(exist_ok=True)
            db = sqlite3.connect(self._notes, timeout=30.0)
            db.executescript(_TABLES)
        except (OSError, sqlite3.Error) as error:
            raise ArchiveError(f"{self._notes} cannot be written: {error}.") from error
        return db


def _filled(text: str, fields: Mapping[str, Any]) -> str:
    """Return a text with the names of fields in braces replaced by their values."""
    for name, value in fields.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


def _completed(body: Any, fields: Mapping[str, Any]) -> Any:
    if isinstance(body, Mapping):
        return {name: _completed(value, fields) for name, value in body.items()}
    if isinstance(body, list | tuple):
        return [_completed(value, fields) for value in body]
    return _filled(body, fields) if isinstance(body, str) else json.loads(json.dumps(body, default=str))
