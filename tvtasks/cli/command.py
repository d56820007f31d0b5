"""The class of all commands: its help shows no Python types."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class Command(TyperCommand):
    """Shows FILE and --quiet in its help, where typer would show ``FILE <list[Path]>`` and ``<bool>``."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        for param in self.get_params(ctx):
            if param.param_type_name == "argument" or getattr(param, "is_flag", False):
                setattr(param, "display_type_rich", lambda ctx: None)  # noqa: B010 - not every typer has it
        super().format_help(ctx, formatter)
