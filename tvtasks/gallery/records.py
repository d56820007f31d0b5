"""What the page shows of a run, a file that was not restored, and a watch; safe for JSON."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tvtasks.archive.catalogue import CatalogueEntry
from tvtasks.archive.verdicts import key
from tvtasks.figures import bar_within, with_prefix
from tvtasks.pages import as_json, printable
from tvtasks.steps import symbols

Record = dict[str, Any]


@dataclass(frozen=True)
class Unrestored:
    """A file that was not restored: its name, its state, a sentence on why, and since when."""

    name: str
    state: str
    reason: str
    since: datetime


@dataclass(frozen=True)
class WatchState:
    """What the page says about the watch.

    Attributes
    ----------
    folder
        The watched folder.
    started
        When the watch began.
    counts
        The number of files in each state.
    problems
        Sentences on what needs attention.
    ended
        Whether the watch has ended.
    """

    folder: str
    started: datetime
    counts: Mapping[str, int] = field(default_factory=dict)
    problems: Sequence[str] = ()
    ended: bool = False

    @property
    def record(self) -> Record:
        """The state, safe for JSON."""
        return {
            "folder": printable(self.folder),
            "started": self.started.timestamp(),
            "counts": {state: number for state, number in self.counts.items() if number},
            "problems": [printable(problem) for problem in self.problems],
            "ended": self.ended,
        }


def run_record(entry: CatalogueEntry, folder: Path) -> Record:
    """Describe a run for the page in `folder`, without its pictures."""
    name = printable(entry.source_name or entry.path.name)
    if entry.fault:
        return {
            "run": entry.path.name,
            "name": name,
            "link": link(entry.path, folder),
            "fault": printable(entry.fault),
        }
    return {
        "run": key(entry.run_id),
        "name": name,
        "link": link(entry.path, folder),
        "file": printable(entry.path.name),
        "recipe": printable(entry.recipe),
        "technique": entry.technique or "",
        **{key: printable(entry.session[key]) for key in ("session", "operator") if key in entry.session},
        "written": entry.written_at.timestamp(),
        "acquired": entry.acquired_at.timestamp() if entry.acquired_at else None,
        "gap": entry.gap,
        "met": entry.converged is not False,
        "tags": [printable(tag) for tag in filter(None, (entry.channel, entry.direction))],
        "facts": [[printable(term), printable(value)] for term, value in _facts(entry)],
        "verdict": entry.verdict,
        "note": printable(entry.note),
        "notes": [printable(note) for note in entry.notes],
        "flags": list(entry.scores.flags) if entry.scores else [],
        "scores": _scores(entry),
    }


def day_of(entry: CatalogueEntry) -> str:
    """Return the day on which a run was archived, in this computer's time zone; empty if unknown."""
    return "" if entry.fault else f"{entry.written_at.astimezone():%Y-%m-%d}"


def unrestored_record(file: Unrestored) -> Record:
    """Describe a file that was not restored."""
    return {
        "name": printable(file.name),
        "state": file.state,
        "reason": printable(file.reason),
        "since": file.since.timestamp(),
    }


def as_script(function: str, *values: Any) -> bytes:
    """Return a script that hands values to a function of the page."""
    return f"{function}({', '.join(map(as_json, values))});\n".encode()


def link(path: Path, folder: Path) -> str:
    """Return the address of a file relative to the page's folder, if both are on one drive."""
    try:
        relative = os.path.relpath(path.absolute(), folder.absolute())
    except ValueError:  # another drive
        return path.absolute().as_uri()
    return "./" + quote(Path(relative).as_posix().encode(errors="surrogateescape"))


def bar_record(entry: CatalogueEntry) -> list[Any] | None:
    """Return the scale bar of the large picture: its part of the width, and its label."""
    if entry.pixel_size is None:
        return None
    return list(bar_within(entry.region.shape[1] * entry.pixel_size[1], entry.pixel_unit))


def _scores(entry: CatalogueEntry) -> dict[str, float]:
    """Return the scores to filter and sort by, short enough for a page of thousands."""
    found = entry.scores.fractions if entry.scores else {}
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def _facts(entry: CatalogueEntry) -> Iterator[tuple[str, str]]:
    for step in entry.steps:
        yield step, _parameters(entry.parameters[step])
    if entry.scores:
        yield from entry.scores.facts(entry.units).items()
    yield "gap", "nothing proven" if entry.gap is None else f"{entry.gap:.1e}"
    rows, columns = entry.shape
    size = f"{columns} × {rows} px"
    if entry.pixel_size:
        dy, dx = entry.pixel_size
        size += (
            f", {with_prefix(columns * dx, entry.pixel_unit)} × {with_prefix(rows * dy, entry.pixel_unit)}"
        )
    yield "image", size
    if entry.acquired_at:
        yield "acquired", f"{entry.acquired_at:%Y-%m-%d %H:%M}"
    yield "archived", f"{entry.written_at.astimezone():%Y-%m-%d %H:%M}"
    yield "run", entry.run_id[:12]


def _parameters(step: Mapping[str, Any]) -> str:
    if "model" not in step:
        return ", ".join(f"{key} {value}" for key, value in step.items())
    words = [str(step["model"])]
    words += [f"{symbol} {step[key]:g}" for key, symbol in symbols().items() if key in step]
    if step.get("direction", "both") != "both":
        words.append(f"{step['direction']} only")
    return ", ".join(words)
