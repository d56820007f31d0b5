"""What the terminal shows of work under way: a live table, plain lines, or JSON lines."""

from __future__ import annotations

import json
from collections import Counter
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
    """Shows changes as they come; used as a context manager."""

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

    def show(self, change: Change) -> None:
        """Print the change if it is an end."""
        if change.state not in _FINAL or (self._only_faults and change.state == "done"):
            return
        gap, seconds = figures(change.outcomes)
        parts = [
            change.path.name,
            change.state,
            change.recipe,
            gap and f"gap {gap}",
            seconds and f"{seconds} s",
        ]
        line = "  ".join(part for part in parts if part)
        self._console.print(Text(f"{line}  {change.reason}".rstrip()), soft_wrap=True)

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class JsonLines:
    """One JSON object for each file that has come to an end."""

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
        parts += [Text(row.reason, style="red") for row in rows[-_ROWS:] if row.reason]
        if len(rows) > _ROWS:
            counts = Counter(row.state for row in rows)
            parts.append(
                Text("  ".join(f"{number} {state}" for state, number in counts.items()), style="dim")
            )
        return Group(*parts)


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
