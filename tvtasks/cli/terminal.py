"""What all commands share: the terminal, the exit codes, and how Ctrl-C ends a command."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum

from rich.console import Console
from rich.text import Text

from tvtasks.errors import TvtasksError
from tvtasks.stopping import STOPPED_AT_ONCE, Stop, stopping_gently


class Exit(IntEnum):
    """Exit codes of all commands."""

    OK = 0
    """Everything was restored, nothing needs attention, or the user stopped a watch."""
    ATTENTION = 1
    """Something was not restored or needs attention."""
    USAGE = 2
    """The command, a folder or a recipe cannot work; nothing was started."""
    AT_ONCE = STOPPED_AT_ONCE
    """A second Ctrl-C ended the command before the work under way was finished."""


EXIT_CODES = (
    "Exit codes: 0 all is well; 1 something failed or needs attention; 2 the command, a folder or a recipe "
    "is wrong; 130 a second Ctrl-C ended the command at once."
)

# Without a terminal, rich would assume 80 columns.
console = Console(width=None if sys.stdout.isatty() else 200)
errors = Console(stderr=True)


def say(text: str | Text, style: str = "") -> None:
    """Print a line that may be wider than the terminal; brackets in it are not markup."""
    console.print(Text(text, style=style) if isinstance(text, str) else text, soft_wrap=True)


def complain(text: str | TvtasksError) -> None:
    """Print a sentence on the error output."""
    errors.print(Text(f"tvtasks: {text}" if isinstance(text, TvtasksError) else text), soft_wrap=True)


def complain_of_all(sentences: list[str], most: int = 100) -> None:
    """Print sentences on the error output; if there are very many, only the first."""
    for sentence in sentences[:most]:
        complain(sentence)
    if len(sentences) > most:
        complain(f"… and {len(sentences) - most} more; --json lists all of them.")


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Yield the event that the first Ctrl-C or SIGTERM sets; see `stopping_gently`."""
    with stopping_gently(errors.print) as stop:
        yield stop


def shell_line(words: Iterable[str]) -> str:
    """Return a command as a user would type it in this system's shell."""
    return subprocess.list2cmdline(list(words)) if sys.platform == "win32" else shlex.join(words)
