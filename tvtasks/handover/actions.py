"""What can be done with a result: copy it, run a command, send JSON to a server, or report a Prefect event.

A delivery may be repeated, because an answer can be lost. So a copy of the same file is left as it is, a
request carries an ``Idempotency-Key``, an event has a fixed id, and `Post.exists` asks a server that knows no
such keys whether it has the result.
"""

from __future__ import annotations

import filecmp
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import NAMESPACE_URL, uuid5

import httpx
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from tvtasks.archive.catalogue import CatalogueEntry
from tvtasks.errors import ConfigurationError
from tvtasks.files import write_whole
from tvtasks.models import STRICT
from tvtasks.recipe import read_settings, sentences

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_UNWELCOME = frozenset({400, 413, 415, 422})  # the server does not want this result; others may be welcome
_THERE = 409  # it has the result already
_BAD_DATA = 65  # EX_DATAERR of sysexits.h
_UNPROTECTED = 422  # what a Prefect server without protection answers to a request for a token
_EVENT = "tvtasks.result.archived"


class RefusedError(Exception):
    """The receiver will never take this result."""


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Copy:
    """Copies picture and result into another folder; each appears when it is complete.

    Attributes
    ----------
    name
        Name of the action.
    folder
        The other folder; it is created if missing.
    """

    kind: Literal["copy"]
    name: str
    folder: Path

    def deliver(self, entry: CatalogueEntry, client: httpx.Client) -> None:  # noqa: D102
        for path in (entry.preview, entry.path):  # the result comes last, as in the archive
            target = self.folder / path.name
            if path.exists() and not (target.exists() and filecmp.cmp(path, target, shallow=False)):
                write_whole(target, path.read_bytes())


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Command:
    """Runs a command, without a shell; exit code 65 refuses the result, another one is a failure.

    Attributes
    ----------
    name
        Name of the action.
    command
        Program and arguments, in which ``{path}`` and other fields of `described` are filled in.
    timeout
        Seconds after which it is ended, which is a failure.
    """

    kind: Literal["command"]
    name: str
    command: Annotated[tuple[str, ...], Field(min_length=1)]
    timeout: float = 60.0

    def deliver(self, entry: CatalogueEntry, client: httpx.Client) -> None:  # noqa: D102
        words = [_filled(word, described(entry)) for word in self.command]
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=self.timeout, check=False
        )
        if not done.returncode:
            return
        last = " ".join((done.stderr or done.stdout).strip().splitlines()[-1:])
        reason = f"{words[0]} ended with {done.returncode}: {last}"
        raise RefusedError(reason) if done.returncode == _BAD_DATA else OSError(reason)


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Post:
    """Sends JSON to a server.

    Attributes
    ----------
    name
        Name of the action.
    url, headers
        Where to, and with which headers; ``${NAME}`` is an environment variable.
    body
        The JSON; fields of `described` are filled in. All of them are sent if it is empty.
    exists
        URL that is asked first; the server has the result if its answer contains the run_id. For servers that
        would make a second entry when a request is repeated.
    timeout
        Seconds to wait for an answer.
    """

    kind: Literal["http"]
    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    exists: str = ""
    timeout: float = 30.0

    def deliver(self, entry: CatalogueEntry, client: httpx.Client) -> None:  # noqa: D102
        fields = described(entry)
        headers = _with_secrets(self.headers)
        if self.exists:
            url = _filled(with_secrets(self.exists), fields)
            answer = client.get(url, headers=headers, timeout=self.timeout)
            _judge(answer, {404})
            if answer.is_success and entry.run_id in answer.text:
                return
        body = _completed(self.body, fields) if self.body else fields
        key = {"Idempotency-Key": _key(self.name, entry)}
        answer = client.post(with_secrets(self.url), json=body, headers=key | headers, timeout=self.timeout)
        if answer.status_code in _UNWELCOME:
            raise RefusedError(f"the server answered {answer.status_code}: {answer.text[:200]}")
        _judge(answer, {_THERE})


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Event:
    """Reports each result as an event of a Prefect server, for its automations.

    Attributes
    ----------
    name
        Name of the action.
    url
        API of the server.
    headers
        For a server that asks who calls; ``${NAME}`` is an environment variable.
    timeout
        Seconds to wait for an answer.
    """

    kind: Literal["event"]
    name: str
    url: str = "${PREFECT_API_URL}"
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 30.0

    def deliver(self, entry: CatalogueEntry, client: httpx.Client) -> None:  # noqa: D102
        event = {
            "id": str(uuid5(NAMESPACE_URL, _key(self.name, entry))),  # a server keeps one event of an id
            "occurred": entry.written_at.isoformat(),
            "event": _EVENT,
            "resource": {
                "prefect.resource.id": f"tvtasks.result.{entry.run_id}",
                "prefect.resource.name": entry.path.name,
            },
            "payload": described(entry),
        }
        headers = _with_secrets(self.headers)
        api = with_secrets(self.url).rstrip("/")
        headers |= self._token(client, api, headers)
        _judge(client.post(f"{api}/events", json=[event], headers=headers, timeout=self.timeout), set())

    def _token(self, client: httpx.Client, api: str, headers: Mapping[str, str]) -> dict[str, str]:
        """Ask for what a server wants with each request if it is protected from other sites' pages."""
        answer = client.get(
            f"{api}/csrf-token", params={"client": self.name}, headers=headers, timeout=self.timeout
        )
        if answer.status_code == _UNPROTECTED:
            return {}
        _judge(answer, set())
        return {"Prefect-Csrf-Client": self.name, "Prefect-Csrf-Token": answer.json()["token"]}


Action = Copy | Command | Post | Event
_KINDS: Mapping[str, type[Action]] = {"copy": Copy, "command": Command, "http": Post, "event": Event}


def load_actions(path: Path) -> list[Action]:
    """Read the actions of a TOML file, each a table ``[[action]]``.

    Raises
    ------
    ConfigurationError
        The file cannot be read, an action is incomplete or cannot work, or a variable that one needs is not
        set.
    """
    tables = read_settings(path, "Actions").get("action", [])
    found = [_action(path, table) for table in (tables if isinstance(tables, list) else [])]
    names = [action.name for action in found]
    if not names or len(set(names)) < len(names):
        raise ConfigurationError(f"Actions {path}: give at least one [[action]], each with its own name.")
    for action in found:
        if isinstance(action, Post | Event):
            _check_addresses(path, action)
    return found


def _action(path: Path, table: Any) -> Action:
    kind = table.get("kind") if isinstance(table, Mapping) else table
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ConfigurationError(f"Actions {path}: kind = {kind!r} does not exist. Use {', '.join(_KINDS)}.")
    try:
        return TypeAdapter(_KINDS[kind]).validate_python(dict(table))
    except ValidationError as error:
        where = f"Actions {path}, {table.get('name', kind)}"
        raise ConfigurationError(f"{where}: {' '.join(sentences(error))}") from error


def _check_addresses(path: Path, action: Post | Event) -> None:
    urls = [action.url, *([action.exists] if isinstance(action, Post) and action.exists else [])]
    for url in map(with_secrets, urls):
        try:
            fine = httpx.URL(url).scheme in {"http", "https"}
        except httpx.InvalidURL:
            fine = False
        if not fine:
            raise ConfigurationError(
                f"Actions {path}: a URL of {action.name} does not begin with http:// or https://."
            )
    for header, value in action.headers.items():
        if not (header + with_secrets(value)).isascii():
            raise ConfigurationError(f"Actions {path}: the header {header} of {action.name} is not ASCII.")


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
        return os.environ[found[1]].strip()  # a file that held it may end with a line break

    return _VARIABLE.sub(value, text)


def _with_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: with_secrets(value) for name, value in headers.items()}


def without_secrets(text: str, action: Action) -> str:
    """Return a text with the values of the variables that an action uses replaced by their names."""
    if isinstance(action, Post | Event):
        exists = action.exists if isinstance(action, Post) else ""
        for name in _VARIABLE.findall(" ".join([action.url, exists, *action.headers.values()])):
            if secret := os.environ.get(name, "").strip():
                text = text.replace(secret, f"${{{name}}}")
    return text


def described(entry: CatalogueEntry) -> dict[str, Any]:
    """Return what an action may use of a result, safe for JSON."""
    return {
        "run_id": entry.run_id,
        "path": str(entry.path),
        "picture": str(entry.preview),
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
        **{name: entry.session.get(name, "") for name in ("session", "operator", "experiment")},
        "version": entry.version,
    }


def _key(action: str, entry: CatalogueEntry) -> str:
    return f"{action}-{entry.run_id}"


def _judge(answer: httpx.Response, fine: set[int]) -> None:
    """Raise an OSError unless the server has done what it was asked; a redirection is no success either."""
    if not answer.is_success and answer.status_code not in fine:
        raise OSError(f"the server answered {answer.status_code}")


def _filled(text: str, fields: Mapping[str, Any]) -> str:
    """Return a text with the names of fields in braces replaced by their values, which are not filled in."""
    return re.sub(r"\{(\w+)\}", lambda name: str(fields.get(name[1], name[0])), text)


def _completed(body: Any, fields: Mapping[str, Any]) -> Any:
    if isinstance(body, Mapping):
        return {name: _completed(value, fields) for name, value in body.items()}
    if isinstance(body, list | tuple):
        return [_completed(value, fields) for value in body]
    return _filled(body, fields) if isinstance(body, str) else json.loads(json.dumps(body, default=str))
