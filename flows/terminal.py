"""What all commands share: the terminal, exit codes, and how Ctrl-C ends them."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from tvtasks.errors import TvtasksError


class Exit(IntEnum):
    """Exit codes of all commands."""

    OK = 0
    """All were restored; nothing needs attention; stopped on purpose."""
    ATTENTION = 1
    """Some were not restored; something needs attention."""
    USAGE = 2
    """The command, a folder or a recipe cannot work as given; nothing was begun."""
    AT_ONCE = 130
    """Ended by a second Ctrl-C before what was under way was done."""


EXIT_CODES = (
    "Exit codes: 0 all is well, 1 something failed or needs attention, 2 the command, a folder or a recipe "
    "is wrong, 130 ended at once by a second Ctrl-C."
)

# Elsewhere than on a terminal nothing is as wide as rich's guess of 80 columns.
console = Console(width=None if sys.stdout.isatty() else 200)
errors = Console(stderr=True)


def complain(error: TvtasksError) -> None:
    """Print the sentence of an error."""
    errors.print(Text(f"tvtasks: {error}"), soft_wrap=True)


@contextmanager
def spinner(text: str, silent: bool) -> Iterator[None]:
    """Show that something goes on, on a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=silent or not console.is_terminal
    ) as progress:
        progress.add_task(text)
        yield


@contextmanager
def counting(text: str, total: int, silent: bool) -> Iterator[Callable[[int], None]]:
    """Show a bar on the error output, and give what is to be called with the number done.

    `text` has places for that number and for the total: ``{} of {} points``.
    """
    bar = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*bar, console=errors, transient=True, disable=silent or not errors.is_terminal) as progress:
        task = progress.add_task(text.format(0, total), total=total)

        def count(done: int) -> None:
            progress.update(task, completed=done, description=text.format(done, total))

        yield count


def load_solvers(silent: bool) -> None:
    """Have the solvers compiled, which takes half a minute once on a computer, or loaded."""
    with spinner("Loading the solvers (compiled once on each computer)", silent):
        import numpy as np  # noqa: PLC0415 - only the commands that restore wait for this

        from tvtasks import TGVL1, TVL1, Gap, HuberROF, solve  # noqa: PLC0415

        scan = np.random.default_rng(0).random((8, 8)).astype(np.float32)
        for model in (HuberROF(4.0, 0.01), TVL1(0.5), TGVL1(0.5)):
            solve(scan, model, stop=Gap(1e-12, max_iterations=3000))  # ends in float64
        solve(scan, HuberROF(4.0, 0.01), direction="x")


class Stop(threading.Event):
    """Set by the first Ctrl-C; `at_once` is called by the second, just before the process ends."""

    at_once: Callable[[], object] = staticmethod(lambda: None)


@contextmanager
def draining() -> Iterator[Stop]:
    """Give the event that the first Ctrl-C or SIGTERM sets, for finishing what is under way.

    The second one ends the process there and then: what was under way is in the ledger, and is done again.
    """
    stop = Stop()

    def drain(*_: object) -> None:
        if stop.is_set():
            _end(stop)
        stop.set()
        _say("Finishing what is under way; press Ctrl-C again to stop at once.")

    # Windows: a service manager, or whoever has put us into a group of our own, sends CTRL_BREAK.
    names = [name for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
    before: dict[int, Any] = {}
    for name in names:
        number = getattr(signal, name)
        before[number] = signal.signal(number, drain)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(stop: Stop) -> NoReturn:
    with suppress(Exception):
        stop.at_once()
    _say("Stopped at once; what was under way is done again at the next start.")
    # Not sys.exit(): that would wait for the threads that are at work.
    os._exit(Exit.AT_ONCE)


def _say(text: str) -> None:
    # A closed terminal, or a signal that came in the middle of another line, must not keep us from stopping.
    with suppress(OSError, RuntimeError):
        errors.print(text)
