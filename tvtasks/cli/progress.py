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
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from tvtasks.cli.columns import in_columns
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


class _Bar(Progress):
    """A bar that prints nothing if it is disabled; rich before version 14 then ends a line."""

    def stop(self) -> None:
        """End the bar."""
        if not self.disable:
            super().stop()


@contextmanager
def spinner(text: str, silent: bool) -> Iterator[None]:
    """Show on a terminal that work is under way."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with _Bar(
        *columns, console=console, transient=True, disable=silent or not console.is_terminal
    ) as progress:
        progress.add_task(text)
        yield


@contextmanager
def counting(text: str, total: int | None, silent: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on the error output; yield a function that takes the number done and the total."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with _Bar(*columns, console=errors, transient=True, disable=silent or not errors.is_terminal) as bar:
        task = bar.add_task(text, total=total)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def announce_compiling(silent: bool) -> None:
    """Print a sentence when a solver must be compiled, which is the first time on a computer."""
    from tvtasks.solvers.compiling import on_first_compiling

    sentence = "Compiling the solvers for this computer, once. This takes up to a minute."
    on_first_compiling(None if silent else lambda: say(sentence))


def compile_solvers() -> None:
    """Compile what the usual recipe calls, unless that was done; meanwhile the Prefect server starts."""
    from tvtasks import restore
    from tvtasks.options import USUAL_RECIPE
    from tvtasks.synthetic import stm_terrace_scan

    restore(stm_terrace_scan(seed=1, shape=(64, 64)).image, USUAL_RECIPE)


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
        rows = list(self._rows.values())
        lines = in_columns(
            ("file", "state", "recipe", "gap", "seconds"),
            [
                (in_a_line(row.path.name), str(row.state), row.recipe, row.gap, row.seconds)
                for row in rows[-_ROWS:]
            ],
            width=self._console.width,
            right=("gap", "seconds"),
        )
        parts: list[RenderableType] = [Text(lines[0], style="bold")]
        for row, line in zip(rows[-_ROWS:], lines[1:], strict=True):
            style = _STYLES.get(row.state, "yellow")
            parts.append(Text(line, style=style))
            if row.reason:
                parts.append(Padding(Text(row.reason, style=style), (0, 0, 0, 2)))
        notes = dict.fromkeys(note for row in rows[-_ROWS:] for note in row.notes)
        parts += [Text(note, style="yellow") for note in notes]
        if len(rows) > _ROWS:
            counts = Counter(row.state for row in rows)
            numbers = "  ".join(f"{number} {state}" for state, number in counts.items())
            parts.append(Text(numbers, style="dim"))
        return Group(*parts)


class BatchDisplay(Listener):
    """Shows a batch as a bar with the remaining time, or as JSON lines; used as a context manager.

    Parameters
    ----------
    quiet, as_json
        Options of the command.
    heading
        A line to print above the plan.
    """

    def __init__(self, *, quiet: bool, as_json: bool, heading: str) -> None:
        self._as_json = as_json
        self._heading = heading
        self._silent = quiet or as_json
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = _Bar(
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
            say(self._heading)
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
