"""An index of an archive, so that 100,000 runs are listed within seconds; it can be thrown away at any time.

It is a copy of the entries in a SQLite file beside this user's other state, because SQLite does not work on
some shares and an archive may be read-only. An entry counts as long as name, size and time of last change of
its file are the same; results never change. Whatever is wrong with the index, the files are read instead.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import fields
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from platformdirs import user_state_path

from tvtasks.archive import verdicts
from tvtasks.archive.catalogue import CatalogueEntry, judged, listed, read_entries
from tvtasks.archive.folder import archive_digest
from tvtasks.micrograph import Region

_TIMES = ("written_at", "acquired_at")
_NESTED = ("shape", "pixel_size", "parameters", "notes", "sample", "region", "quality", "span", "session")
_ELSEWHERE = {"path", "size", "fault", "verdict", "note", *_TIMES, *_NESTED}
_PLAIN = tuple(field.name for field in fields(CatalogueEntry) if field.name not in _ELSEWHERE)
_NOTHING = {"fault": "", "verdict": "", "note": ""}
_LAYOUT = zlib.crc32(repr((_PLAIN, _TIMES, _NESTED)).encode()) & 0x7FFFFFFF
_TABLE = (
    "create table if not exists runs "
    "(name text primary key, size integer, changed integer, plain text, nested text)"
)
_AT_ONCE = 1000


def index_path(archive: Path) -> Path:
    """Return the path of the index of an archive."""
    return user_state_path("tvtasks", appauthor=False) / "indexes" / f"{archive_digest(archive)}.sqlite"


def indexed_entries(
    folder: Path, *, progress: Callable[[int, int], object] = lambda done, of: None
) -> list[CatalogueEntry]:
    """Return what `tvtasks.archive.catalogue.entries` does, and read only files that are new or have changed.

    Parameters
    ----------
    folder
        The archive.
    progress
        Called now and then with the number of files read, and of all files to read.

    Raises
    ------
    ConfigurationError
        The folder does not exist or cannot be listed.
    """
    present = {name: (size, changed) for name, size, changed in listed(folder)}
    known = dict(_known(folder, present))
    missing = sorted(present.keys() - known.keys())
    fresh = read_entries([folder / name for name in missing], progress)
    if fresh or len(known) < len(present):
        _keep(folder, {entry.path.name: entry for entry in fresh if not entry.fault}, present)
    found = known | {entry.path.name: entry for entry in fresh}
    return judged((found[name] for name in sorted(found)), verdicts.read(folder))


def _known(folder: Path, present: Mapping[str, tuple[int, int]]) -> Iterator[tuple[str, CatalogueEntry]]:
    """Yield the entries in the index of files that are as they were."""
    try:
        with closing(_open(folder)) as db:
            found = db.execute("select name, size, changed, plain, nested from runs")
            while some := found.fetchmany(_AT_ONCE):
                rows = [row for row in some if present.get(row[0]) == row[1:3]]
                # One text, because each call of the decoder costs as much as the decoding of an entry.
                decoded = json.loads(f"[{','.join(row[3] for row in rows)}]")
                for (name, size, _, _, nested), values in zip(rows, decoded, strict=True):
                    yield name, _entry(folder, name, size, values, nested)
    except (sqlite3.Error, OSError, ValueError, TypeError):
        return  # what is missing is read from the files


def _keep(folder: Path, fresh: Mapping[str, CatalogueEntry], present: Mapping[str, tuple[int, int]]) -> None:
    """Add entries to the index, and remove those of files that are gone; a broken index is made again."""
    rows = [(name, *present[name], *_texts(entry)) for name, entry in fresh.items()]
    for _ in range(2):
        try:
            with closing(_open(folder)) as db, db:
                gone = [(name,) for (name,) in db.execute("select name from runs") if name not in present]
                db.executemany("delete from runs where name = ?", gone)
                db.executemany("insert or replace into runs values (?, ?, ?, ?, ?)", rows)
        except sqlite3.OperationalError:  # someone else writes, or the disk is full
            return
        except sqlite3.DatabaseError:
            with suppress(OSError):
                index_path(folder).unlink(missing_ok=True)
        except OSError:
            return
        else:
            return


def _open(folder: Path) -> sqlite3.Connection:
    path = index_path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=2.0)
    db.execute("pragma synchronous = off")
    if db.execute("pragma user_version").fetchone()[0] != _LAYOUT:
        db.execute("drop table if exists runs")
        db.execute(f"pragma user_version = {_LAYOUT}")
    db.execute(_TABLE)
    return db


def _texts(entry: CatalogueEntry) -> tuple[str, str]:
    plain = [getattr(entry, name) for name in _PLAIN]
    times = [(time := getattr(entry, name)) and time.isoformat() for name in _TIMES]
    nested = [getattr(entry, name) for name in _NESTED]
    return json.dumps(plain + times), json.dumps(nested, default=dict)


def _entry(folder: Path, name: str, size: int, values: list[Any], nested: str) -> CatalogueEntry:
    found = object.__new__(_Indexed)  # setting the attributes of a frozen dataclass one by one takes longer
    found.__dict__.update(_NOTHING, size=size, _place=(folder, name), _nested=nested)
    found.__dict__.update(zip((*_PLAIN, "_written_at", "_acquired_at"), values, strict=True))
    return found


class _Nested:
    """An attribute that is read with all that is nested, when some of it is asked for."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, entry: Any, owner: type) -> Any:
        found = dict(zip(_NESTED, json.loads(entry.__dict__["_nested"]), strict=True))
        for name in ("shape", "pixel_size", "notes", "span"):
            found[name] = found[name] if found[name] is None else tuple(found[name])
        found["region"] = Region(*found["region"])
        entry.__dict__.update(found)
        return found[self._name]


class _Indexed(CatalogueEntry):
    """An entry from the index; what takes time to make is made when it is asked for."""

    shape: Any = _Nested()
    pixel_size: Any = _Nested()
    parameters: Any = _Nested()
    notes: Any = _Nested()
    sample: Any = _Nested()
    region: Any = _Nested()
    quality: Any = _Nested()
    span: Any = _Nested()
    session: Any = _Nested()

    @cached_property
    def path(self) -> Path:
        return Path(*self.__dict__["_place"])

    @cached_property
    def written_at(self) -> datetime:
        return datetime.fromisoformat(self.__dict__["_written_at"])

    @cached_property
    def acquired_at(self) -> datetime | None:
        time = self.__dict__["_acquired_at"]
        return datetime.fromisoformat(time) if time else None
