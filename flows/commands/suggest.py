"""``tvtasks suggest``: the λ that one image asks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from flows.terminal import Exit, console, errors, load_solvers, spinner
from tvtasks.errors import ConfigurationError

if TYPE_CHECKING:
    from tvtasks.proposal import Proposal
    from tvtasks.recipe import Recipe


def suggest(
    path: Annotated[Path, typer.Argument(help="An image file.", metavar="FILE")],
    recipe: Annotated[
        str, typer.Option(help="A preset or TOML file whose steps are taken (auto: by the technique).")
    ] = "auto",
    step: Annotated[
        Literal["background", "denoise"] | None, typer.Option(help="Choose for this step only.")
    ] = None,
    model: Annotated[
        Literal["huber-rof", "tv-l1", "tgv-l1"] | None,
        typer.Option(help="Another model for --step (background, if that is not given)."),
    ] = None,
    direction: Annotated[
        Literal["both", "x", "y"] | None, typer.Option(help="Another direction for that step.")
    ] = None,
    feature_size: Annotated[
        str | None, typer.Option(help="The largest feature to keep: '2 nm', or pixels. Sets the background.")
    ] = None,
    channel: Annotated[str | None, typer.Option(help="Which image of a file with several.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the recipe here (.toml).")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the proposal here (.png or .pdf).")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace these files.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say only what went wrong.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the proposal as JSON.")] = False,
) -> None:
    """Choose λ for one image, say why, and write a recipe with it.

    The exit code is 1 where the image does not tell λ for a step, so that the recipe's own was kept.
    """
    from tvtasks import channels, readers
    from tvtasks.files import refuse_taken, write_whole
    from tvtasks.proposal import propose, toml
    from tvtasks.recipe import Recipe

    form = picture.suffix.lower().removeprefix(".") if picture else ""
    if picture and form not in {"png", "pdf"}:
        raise ConfigurationError(f"{picture} is neither a .png nor a .pdf. Give --picture one of the two.")
    for target in (output, picture):
        if target:
            refuse_taken(target, overwrite=overwrite)
    if not path.is_file():
        raise ConfigurationError(f"There is no file {path}.")
    base = Recipe.load(recipe)
    if channel:
        base = base.model_copy(update={"channel": channel})
    micrograph = channels.choose(readers.read(path), base)[0][0]
    base = _adapted(base.for_technique(micrograph.technique, micrograph.name), step, model, direction)
    silent = quiet or as_json
    load_solvers(silent)
    with spinner(f"Choosing λ for {micrograph.name}", silent):
        proposal = propose(micrograph, base, steps=(step,) if step else base.steps, feature_size=feature_size)
    if output:
        write_whole(output, toml(proposal).encode())
    if picture:
        from tvtasks.figures.choices import proposal_figure
        from tvtasks.figures.sheet import rendered

        write_whole(picture, rendered(proposal_figure(proposal), form))
    _tell(proposal, [file for file in (output, picture) if file], quiet=quiet, as_json=as_json)


def _adapted(base: Recipe, step: str | None, model: str | None, direction: str | None) -> Recipe:
    """Return the recipe with another model or direction for a step, which it may not have had."""
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
        # What the other model's λ was means nothing to this one; it is what is kept if nothing can be chosen.
        table[name] = {"model": model, "lam": MODELS[model].usual_lam[name]}
        if present is not None:
            table[name]["direction"] = present.direction
    if direction:
        table[name]["direction"] = direction
    return Recipe.model_validate(table)


def _tell(proposal: Proposal, files: list[Path], *, quiet: bool, as_json: bool) -> None:
    unsure = [name for name, choice in proposal.choices.items() if choice.fell_back]
    if as_json:
        record = {
            "image": proposal.restoration.micrograph.name,
            "recipe": proposal.recipe.model_dump(mode="json", exclude_none=True),
            "choices": {name: choice.record for name, choice in proposal.choices.items()},
            "files": [str(file) for file in files],
        }
        print(json.dumps(record, indent=2, ensure_ascii=False))
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
            console.print("The recipe has no step with a λ to choose.")
        for file in files:
            console.print(Text(str(file)), soft_wrap=True)
    if unsure:
        if quiet:
            errors.print(Text(" ".join(proposal.choices[name].reason for name in unsure)), soft_wrap=True)
        raise typer.Exit(Exit.ATTENTION)
