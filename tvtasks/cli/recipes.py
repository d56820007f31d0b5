"""``tvtasks recipes``: lists the presets, and checks recipes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tvtasks.cli.terminal import Exit, complain, console, say
from tvtasks.errors import RecipeError

if TYPE_CHECKING:
    from tvtasks.recipe import Recipe


def recipes(
    show_name: Annotated[
        str | None, typer.Option("--show", help="Print this preset as TOML.", metavar="NAME")
    ] = None,
    check: Annotated[
        list[Path] | None,
        typer.Option("--check", help="Check this TOML file; repeatable.", metavar="FILE.toml"),
    ] = None,
) -> None:
    """List the presets, the recipes that come with tvtasks, or check recipes of your own."""
    from tvtasks.recipe import Recipe, preset_names, preset_text

    if show_name is not None:
        print(preset_text(show_name), end="")
        return
    if check:
        faults = []
        for path in check:
            try:
                say(_words(path, Recipe.load(path)))
            except RecipeError as error:
                faults.append(str(error))
        for fault in faults:
            complain(f"tvtasks: {fault}")
        if faults:
            raise typer.Exit(Exit.USAGE)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for name in preset_names():
        table.add_row(name, Recipe.load(name).description)
    console.print(table)


def _words(path: Path, recipe: Recipe) -> str:
    """Return what a good recipe does, one line for each step."""
    lines = [f"{path} is a good recipe, named {recipe.name}."]
    if recipe.by_technique:
        lines += [f"  {technique}: {content['name']}" for technique, content in recipe.by_technique.items()]
    for step in recipe.steps:
        parameters = recipe.parameters[step]
        words = [f"{key} {value}" for key, value in parameters.items() if not isinstance(value, dict)]
        lines.append(f"  {step}: {', '.join(words)}")
    return "\n".join(lines)
