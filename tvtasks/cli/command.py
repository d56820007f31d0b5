"""The classes of the program and its commands, whose help shows no Python types."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """Shows ``FILE`` and ``--quiet`` in the help instead of typer's ``FILE <list[Path]>`` and ``<bool>``."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        _hide_types(self.get_params(ctx))
        super().format_help(ctx, formatter)


class Group(TyperGroup):
    """Shows ``--version`` in the help instead of typer's ``--version <bool>``."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        _hide_types(self.get_params(ctx))
        super().format_help(ctx, formatter)


def _hide_types(params: Any) -> None:
    for param in params:
        if param.param_type_name == "argument" or getattr(param, "is_flag", False):
            setattr(param, "display_type_rich", lambda ctx: None)  # noqa: B010 - not every typer has it
