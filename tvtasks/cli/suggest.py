"""``tvtasks suggest``: chooses λ for one image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from tvtasks.cli import options
from tvtasks.cli.progress import announce_compiling, spinner
from tvtasks.cli.terminal import Exit, complain, console, print_json, say
from tvtasks.errors import ConfigurationError

if TYPE_CHECKING:
    from tvtasks.proposal import Proposal
    from tvtasks.recipe import Recipe


def suggest(
    path: Annotated[Path, typer.Argument(help="An image file.", metavar="FILE")],
    recipe: Annotated[
        str,
        typer.Option(
            help="The preset or TOML file to start from; auto chooses by technique.", metavar="RECIPE"
        ),
    ] = "auto",
    step: Annotated[
        Literal["background", "denoise"] | None, typer.Option(help="Choose λ for this step only.")
    ] = None,
    model: Annotated[
        Literal["huber-rof", "tv-l1", "tgv-l1"] | None,
        typer.Option(help="Another model for --step, or else for the background."),
    ] = None,
    direction: Annotated[
        Literal["both", "x", "y"] | None, typer.Option(help="Another direction for that step.")
    ] = None,
    feature_size: Annotated[
        str | None,
        typer.Option(
            help="The largest feature to keep, such as '2 nm', or in pixels; sets λ of the background.",
            metavar="SIZE",
        ),
    ] = None,
    channel: options.Channel = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the recipe to this file.", metavar="FILE.toml")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the proposal in this file, .png or .pdf.", metavar="FILE")
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Choose λ for one image, show the reason, and write a recipe with it.

    The exit code is 1 if the image does not determine λ of a step; the recipe then keeps its own λ.
    """
    from tvtasks import channels, readers
    from tvtasks.files import refuse_taken, write_whole
    from tvtasks.proposal import propose, toml
    from tvtasks.recipe import Recipe

    form = picture.suffix.lower().removeprefix(".") if picture else ""
    if picture and form not in {"png", "pdf"}:
        raise ConfigurationError(f"--picture {picture} is neither a .png nor a .pdf. Choose one of these.")
    for target in (output, picture):
        if target:
            refuse_taken(target, overwrite=overwrite)
    if not path.is_file():
        raise ConfigurationError(f"There is no file {path}. Check the name.")
    base = Recipe.load(recipe)
    if channel:
        base = base.model_copy(update={"channel": channel})
    micrograph = channels.choose(readers.read(path), base)[0][0]
    base = _adapted(base.for_technique(micrograph.technique, micrograph.name), step, model, direction)
    silent = quiet or as_json
    announce_compiling(silent)
    with spinner(f"Choosing λ for {micrograph.name}", silent):
        proposal = propose(micrograph, base, steps=(step,) if step else base.steps, feature_size=feature_size)
    if output:
        write_whole(output, toml(proposal, named=False).encode())
    if picture:
        from tvtasks.figures.choices import proposal_figure
        from tvtasks.figures.sheet import rendered

        write_whole(picture, rendered(proposal_figure(proposal), form))
    _print(proposal, [file for file in (output, picture) if file], quiet=quiet, as_json=as_json)


def _adapted(base: Recipe, step: str | None, model: str | None, direction: str | None) -> Recipe:
    """Return the recipe with another model or direction for a step; add the step if it is missing."""
    from tvtasks.recipe import Recipe
    from tvtasks.steps import MODELS

    name = step or "background"
    present = getattr(base, name)
    if present is None and not model:
        if step:
            raise ConfigurationError(
                f"The recipe {base.name} has no {name} step. Give --model for one, or another --recipe."
            )
        return base
    table = base.model_dump(mode="json", exclude_none=True)
    if model and (present is None or model != present.model):
        # Another model's λ means nothing here; if the image does not determine λ, the usual one is kept.
        table[name] = {"model": model, "lam": MODELS[model].usual_lam[name]}
        if present is not None:
            table[name]["direction"] = present.direction
    if direction:
        table[name]["direction"] = direction
    return Recipe.model_validate(table)


def _print(proposal: Proposal, files: list[Path], *, quiet: bool, as_json: bool) -> None:
    unsure = [name for name, choice in proposal.choices.items() if choice.fell_back]
    if as_json:
        record = {
            "image": proposal.restoration.micrograph.name,
            "recipe": proposal.recipe.model_dump(mode="json", exclude_none=True),
            "choices": {name: choice.record for name, choice in proposal.choices.items()},
            "files": [str(file) for file in files],
        }
        print_json(record)
    elif not quiet:
        table = Table(box=None, pad_edge=False)
        for heading in ("step", "model", "λ", "rule", "confidence", "why"):
            table.add_column(heading, overflow="fold")
        for name, choice in proposal.choices.items():
            step = getattr(proposal.recipe, name)
            words = (name, step.model, f"{step.lam:g}", choice.rule, choice.confidence, choice.reason)
            table.add_row(*map(Text, words))
        console.print(table)
        if not proposal.choices:
            console.print("The recipe has no step whose λ could be chosen.")
        for file in files:
            say(str(file))
    if unsure:
        if quiet:
            complain(" ".join(proposal.choices[name].reason for name in unsure))
        raise typer.Exit(Exit.ATTENTION)
