"""What all commands share: the terminal, the exit codes, and how Ctrl-C ends a command."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from tvtasks.errors import TvtasksError
from tvtasks.stopping import STOPPED_AT_ONCE, Stop, stopping_gently
from tvtasks.words import safe_json, visible


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


class SafeConsole(Console):
    """A console on which no text is taken for a command: neither by the terminal nor as markup.

    Everything that rich prints is rendered here, also the tables that redraw themselves. Names of files and
    what instruments write into them may hold anything.
    """

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Render as rich does, with control characters as escape sequences."""
        for segment in super().render(renderable, options):
            if segment.control:  # rich's own
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)


# Without a terminal, rich would assume 80 columns.
console = SafeConsole(width=None if sys.stdout.isatty() else 200)
errors = SafeConsole(stderr=True)


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """Print a value as JSON, in which control characters are escape sequences, at once."""
    print(safe_json(json.dumps(value, indent=indent, ensure_ascii=False)), flush=True)


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
