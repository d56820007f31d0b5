"""What the terminal shows of work under way: a live table, plain lines, or JSON lines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flows.acquire import Change
from tvtasks.workflow import Outcome

_STYLES = {"done": "green", "failed": "red", "quarantined": "red", "incomplete": "red", "running": "cyan"}
_FINAL = {"done", "failed", "quarantined", "incomplete", "overwritten"}
_ROWS = 15


class Display(Protocol):
    """Shows changes as they come; used as a context manager.

    `told` has the files whose failure has been printed in full and stays on the screen.
    """

    told: set[Path]

    def show(self, change: Change) -> None:
        """Take in a change."""
        ...

    def __enter__(self) -> Any: ...
    def __exit__(self, *args: object) -> None: ...


def choose(console: Console, *, quiet: bool, as_json: bool) -> Display:
    """Return JSON lines or nothing if asked for, a live table on a terminal, plain lines elsewhere."""
    if as_json:
        return JsonLines()
    if quiet:
        return Lines(console, only_faults=True)
    return LiveTable(console) if console.is_terminal else Lines(console)


class Lines:
    """One line for each file that has come to an end."""

    def __init__(self, console: Console, *, only_faults: bool = False) -> None:
        self._console = console
        self._only_faults = only_faults
        self.told: set[Path] = set()

    def show(self, change: Change) -> None:
        """Print the change if it is an end."""
        if change.state not in _FINAL or (self._only_faults and change.state == "done"):
            return
        if change.reason:
            self.told.add(change.path)
        gap, seconds = figures(change.outcomes)
        parts = [
            change.path.name,
            change.state,
            change.recipe,
            gap and f"gap {gap}",
            seconds and f"{seconds} s",
        ]
        line = "  ".join(part for part in parts if part)
        said = " ".join([change.reason, *notes(change)]).strip()
        self._console.print(Text(f"{line}  {said}".rstrip()), soft_wrap=True)

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class JsonLines:
    """One JSON object for each file that has come to an end."""

    def __init__(self) -> None:
        self.told: set[Path] = set()

    def show(self, change: Change) -> None:
        """Print the change if it is an end."""
        if change.state in _FINAL:
            print(json.dumps(as_record(change)), flush=True)

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class LiveTable:
    """A table of the newest files that redraws itself, with counts below."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.told: set[Path] = set()
        self._rows: dict[Path, Change] = {}
        self._live: AbstractContextManager[Any] = nullcontext()

    def show(self, change: Change) -> None:
        """Put the change in the file's row."""
        self._rows[change.path] = change
        while len(self._rows) > 20 * _ROWS:
            # For days on end: what came to an end long ago is counted in the archive, not here.
            oldest = next((path for path, row in self._rows.items() if row.state in _FINAL), None)
            if oldest is None:
                break
            del self._rows[oldest]

    def __enter__(self) -> LiveTable:
        self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=5)
        self._live.__enter__()
        return self

    def __exit__(self, *args: object) -> None:
        self._live.__exit__(*args)  # type: ignore[arg-type]

    def _table(self) -> RenderableType:
        table = Table(
            "file", "state", "recipe", "gap", "seconds", box=None, header_style="bold", pad_edge=False
        )
        for name in ("gap", "seconds"):
            next(column for column in table.columns if column.header == name).justify = "right"
        rows = list(self._rows.values())
        for row in rows[-_ROWS:]:
            state = Text(row.state, style=_STYLES.get(row.state, "yellow"))
            table.add_row(row.path.name, state, row.recipe, *figures(row.outcomes))
        parts: list[RenderableType] = [table]
        said = dict.fromkeys(note for row in rows[-_ROWS:] for note in notes(row))
        parts += [Text(note, style="yellow") for note in said]
        if len(rows) > _ROWS:
            counts = Counter(row.state for row in rows)
            parts.append(
                Text("  ".join(f"{number} {state}" for state, number in counts.items()), style="dim")
            )
        return Group(*parts)


def notes(change: Change) -> list[str]:
    """Return what a user should know of a file's images, each sentence once."""
    return list(dict.fromkeys(note for outcome in change.outcomes for note in outcome.notes))


def figures(outcomes: tuple[Outcome, ...]) -> tuple[str, str]:
    """Gap and seconds of a file's images, as text; empty where there are none."""
    gaps = [outcome.gap for outcome in outcomes if outcome.gap is not None]
    seconds = [outcome.seconds for outcome in outcomes if outcome.seconds is not None]
    if outcomes and not seconds:
        return "", "before"
    gap = f"{max(gaps):.1e}" if gaps else ""
    if not all(outcome.converged is not False for outcome in outcomes):
        gap += " (not reached)"
    return gap, f"{sum(seconds):.2f}" if seconds else ""


def as_record(change: Change) -> dict[str, Any]:
    """Return a change, safe for JSON."""
    return {
        "file": str(change.path),
        "state": str(change.state),
        "recipe": change.recipe,
        "reason": change.reason,
        "images": [
            {
                "archive": str(outcome.archive),
                "preview": str(outcome.preview),
                "gap": outcome.gap,
                "converged": outcome.converged,
                "seconds": outcome.seconds,
                "notes": list(outcome.notes),
            }
            for outcome in change.outcomes
        ],
    }


def summary(record: Mapping[str, Any]) -> RenderableType:
    """Lay out the run record of an archive file for a reader."""
    image, source, software = record["image"], record["source"], record["software"]
    raw = record["arrays"]["raw"]
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="bold")
    facts.add_row("file", str(record["path"]))
    if source:
        facts.add_row("source", f"{source['name']}, {source['size']} bytes, sha256 {source['sha256']}")
    size = " × ".join(str(number) for number in raw["shape"])
    facts.add_row("image", f"{size} pixels, {raw['dtype']}, {_described(image)}")
    facts.add_row("recipe", f"{record['recipe']['name']}, run {record['run_id'][:12]}")
    facts.add_row("written", f"{record['written_at']} ({record['seconds']:.2f} s of work)")
    facts.add_row("scaled by", f"(raw − {record['offset']:.6g}) / {record['factor']:.6g}")
    packages = ", ".join(f"{name} {version}" for name, version in sorted(software["packages"].items()))
    facts.add_row("software", f"{packages}, Python {software['python']}, {software['system']}")
    for note in record["notes"]:
        facts.add_row("note", note)
    steps: list[RenderableType] = []
    for step in record["steps"]:
        parameters = ", ".join(f"{key} {_plain(value)}" for key, value in sorted(step["parameters"].items()))
        steps += [Text(), Text(step["name"], style="bold"), Text(f"  {parameters}")]
        if went := step["convergence"]:
            gap = f"{went['gap']:.1e}" if went["gap"] is not None else went["gap_is"]
            steps.append(
                Text(
                    f"  {went['method']}, {went['iterations']} iterations, energy {went['energy']:.6g}, "
                    f"relative gap {gap} ({went['bound']})"
                    + ("" if went["converged"] else "; THE STOPPING RULE WAS NOT MET")
                )
            )
        steps.append(Text(f"  {step['seconds']:.3f} s"))
    return Group(facts, *steps)


def _described(image: Mapping[str, Any]) -> str:
    """Say what was measured, and how large its pixels are."""
    words = [
        word for word in (image["technique"], image["channel"], image["quantity"], image["direction"]) if word
    ]
    words.append(f"in {image['units']}" if image["units"] else "no unit")
    if image["pixel_size"]:
        dy, dx = image["pixel_size"]
        words.append(f"pixel {dx:.4g} × {dy:.4g} {image['pixel_unit']}")
    return ", ".join(words)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return (
            "(" + ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items() if key != "rule") + ")"
        )
    return str(value)
