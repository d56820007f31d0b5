"""The classes of the program and its commands, whose help shows no Python types."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from typer import BadParameter
from typer.core import TyperCommand, TyperGroup

from tvtasks.words import visible

_USAGE: Any = BadParameter.__base__  # every complaint about a command's words; typer does not export it


class Command(TyperCommand):
    """Shows ``FILE`` and ``--quiet`` in the help instead of typer's ``FILE <list[Path]>`` and ``<bool>``."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        _hide_types(self.get_params(ctx))
        super().format_help(ctx, formatter)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the words of the command; a complaint about one shows no control character."""
        with _visible_complaints():
            return super().make_context(*args, **kwargs)


class Group(TyperGroup):
    """Shows ``--version`` in the help instead of typer's ``--version <bool>``."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        _hide_types(self.get_params(ctx))
        super().format_help(ctx, formatter)


@contextmanager
def _visible_complaints() -> Iterator[None]:
    try:
        yield
    except _USAGE as error:
        error.message = visible(error.message)
        raise


def _hide_types(params: Any) -> None:
    for param in params:
        if param.param_type_name == "argument" or getattr(param, "is_flag", False):
            setattr(param, "display_type_rich", lambda ctx: None)  # noqa: B010 - not every typer has it
