"""What the terminal shows while work is under way: spinners, bars, a live table of files, or JSON lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from tvtasks.cli.terminal import complain, console, errors, print_json, say
from tvtasks.listener import Listener
from tvtasks.outcome import BatchReport, Change, Outcome
from tvtasks.words import in_a_line

_STYLES = {
    "done": "green",
    "failed": "red",
    "quarantined": "red",
    "cancelled": "red",
    "incomplete": "red",
    "running": "cyan",
}
_ROWS = 15


@contextmanager
def spinner(text: str, silent: bool) -> Iterator[None]:
    """Show on a terminal that work is under way."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=silent or not console.is_terminal
    ) as progress:
        progress.add_task(text)
        yield


@contextmanager
def counting(text: str, total: int | None, silent: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on the error output; yield a function that takes the number done and the total."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=silent or not errors.is_terminal) as bar:
        task = bar.add_task(text, total=total)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def load_solvers(silent: bool) -> None:
    """Load the solvers; the first time on a computer this compiles them, which takes half a minute."""
    with spinner("Loading the solvers (compiled once on each computer)", silent):
        import numpy as np

        from tvtasks import TGVL1, TVL1, Gap, HuberROF, solve

        scan = np.random.default_rng(0).random((8, 8)).astype(np.float32)
        for model in (HuberROF(4.0, 0.01), TVL1(0.5), TGVL1(0.5)):
            solve(
                scan, model, stop=Gap(1e-12, max_iterations=3000)
            )  # such a small gap needs float64 too, which compiles that version
        solve(scan, HuberROF(4.0, 0.01), direction="x")


class WatchDisplay(Listener):
    """Shows the files of a watch as they arrive; used as a context manager.

    Attributes
    ----------
    reported
        The files whose failure was printed in full and stays on the screen.
    """

    def __init__(self) -> None:
        self.reported: set[Path] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        """End."""

    def problems(self, begun: Sequence[str], ended: Sequence[str], present: Sequence[str]) -> None:
        """Print the problems that began or ended."""
        for sentence in (*begun, *ended):
            self.announce(sentence)

    def announce(self, sentence: str) -> None:
        """Print a sentence that does not belong to a single file."""


def watch_display(*, quiet: bool, as_json: bool) -> WatchDisplay:
    """Return JSON lines or only errors if asked for; else a live table on a terminal, or plain lines."""
    if as_json:
        return JsonLines()
    if quiet:
        return Lines(console, only_faults=True)
    return LiveTable(console) if console.is_terminal else Lines(console)


class Lines(WatchDisplay):
    """Prints one line for each finished file."""

    def __init__(self, target: Console, *, only_faults: bool = False) -> None:
        super().__init__()
        self._console = target
        self._only_faults = only_faults

    def changed(self, change: Change) -> None:
        """Print the change if it is final."""
        if not change.is_final or (self._only_faults and change.state == "done"):
            return
        if change.reason:
            self.reported.add(change.path)
        seconds = change.seconds
        parts = [
            in_a_line(change.path.name),
            change.state,
            change.recipe,
            change.gap and f"gap {change.gap}",
            f"{seconds} s" if seconds[:1].isdigit() else seconds,
        ]
        line = "  ".join(part for part in parts if part)
        text = " ".join([change.reason, *change.notes]).strip()
        self.announce(f"{line}  {text}".rstrip())

    def announce(self, sentence: str) -> None:
        """Print the sentence."""
        self._console.print(Text(sentence), soft_wrap=True)


class JsonLines(WatchDisplay):
    """Prints one JSON object for each finished file."""

    def changed(self, change: Change) -> None:
        """Print the change if it is final."""
        if change.is_final:
            print_json(change.record, indent=None)

    def announce(self, sentence: str) -> None:
        """Print the sentence on the error output, where no program mistakes it for a file."""
        complain(sentence)


class LiveTable(WatchDisplay):
    """Shows a table of the newest files that redraws itself, with counts below."""

    def __init__(self, target: Console) -> None:
        super().__init__()
        self._console = target
        self._rows: dict[Path, Change] = {}
        self._live: AbstractContextManager[Any] = nullcontext()

    def changed(self, change: Change) -> None:
        """Show the change in the row of the file."""
        self._rows[change.path] = change
        while len(self._rows) > 20 * _ROWS:
            # A watch runs for days; files that finished long ago are in the archive.
            oldest = next((path for path, row in self._rows.items() if row.is_final), None)
            if oldest is None:
                break
            del self._rows[oldest]

    def announce(self, sentence: str) -> None:
        """Print the sentence above the table, with the time, so that it stays when the table moves on."""
        self._console.print(Text(f"{datetime.now():%H:%M}  {sentence}", style="yellow"))

    def __enter__(self) -> Self:
        self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=5)
        self._live.__enter__()
        return self

    def __exit__(self, *args: object) -> None:
        self._live.__exit__(*args)  # type: ignore[arg-type]

    def _table(self) -> RenderableType:
        table = Table(
            "file", "state", "recipe", "gap", "seconds", box=None, header_style="bold", pad_edge=False
        )
        for column in table.columns[-2:]:
            column.justify = "right"
        rows = list(self._rows.values())
        for row in rows[-_ROWS:]:
            state = Text(row.state, style=_STYLES.get(row.state, "yellow"))
            table.add_row(Text(in_a_line(row.path.name)), state, Text(row.recipe), row.gap, row.seconds)
        parts: list[RenderableType] = [table]
        notes = dict.fromkeys(note for row in rows[-_ROWS:] for note in row.notes)
        parts += [Text(note, style="yellow") for note in notes]
        if len(rows) > _ROWS:
            counts = Counter(row.state for row in rows)
            numbers = "  ".join(f"{number} {state}" for state, number in counts.items())
            parts.append(Text(numbers, style="dim"))
        return Group(*parts)


class BatchDisplay(Listener):
    """Shows a batch as a bar with the remaining time, or as JSON lines; used as a context manager."""

    def __init__(self, *, quiet: bool, as_json: bool) -> None:
        self._as_json = as_json
        self._silent = quiet or as_json
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(
            *columns, console=console, transient=True, disable=self._silent or not console.is_terminal
        )
        self._task = self._bar.add_task("Reading", total=None)

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(self, *args: object) -> None:
        self._bar.__exit__(*args)  # type: ignore[arg-type]

    def reading(self, done: int, total: int) -> None:
        """Advance the bar."""
        self._bar.update(self._task, completed=done, total=total)

    def planned(self, report: BatchReport, summary: str) -> None:
        """Print the plan, and start a new bar."""
        if not self._silent:
            say(summary)
        # A new bar: on the old one, the remaining time would rest on the speed of reading.
        self._bar.remove_task(self._task)
        self._task = self._bar.add_task("Restoring", completed=report.done, total=report.total)

    def finished(self, outcome: Outcome) -> None:
        """Advance the bar; print a failure, or the outcome as JSON."""
        if self._as_json:
            print_json(outcome.record, indent=None)
        elif outcome.state == "failed" and not self._silent:
            self._bar.console.print(Text(f"{outcome.name} failed", style="red"))
        self._bar.update(self._task, advance=1)
