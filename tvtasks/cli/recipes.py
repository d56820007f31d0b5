"""``tvtasks recipes``: lists the presets."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from tvtasks.cli.terminal import console


def recipes(
    show_name: Annotated[
        str | None, typer.Option("--show", help="Print this preset as TOML.", metavar="NAME")
    ] = None,
) -> None:
    """List the presets, the recipes that come with tvtasks."""
    from tvtasks.recipe import Recipe, preset_names, preset_text

    if show_name is not None:
        print(preset_text(show_name), end="")
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for name in preset_names():
        table.add_row(name, Recipe.load(name).description)
    console.print(table)
