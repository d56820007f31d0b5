"""``tvtasks tune``: makes a page with a slider over λ for one image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tvtasks.cli import options
from tvtasks.cli.progress import announce_compiling, counting
from tvtasks.cli.terminal import complain, say
from tvtasks.errors import ConfigurationError
from tvtasks.words import amount


def tune(
    path: Annotated[
        Path, typer.Argument(help="An image file, or a result whose raw image to use.", metavar="FILE")
    ],
    recipe: Annotated[
        str,
        typer.Option(
            help="The preset or TOML file to start from; auto chooses by technique.", metavar="RECIPE"
        ),
    ] = "auto",
    step: Annotated[
        Literal["background", "contrast", "denoise"] | None,
        typer.Option(help="The step to tune.", show_default="the first step with λ"),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A further model to compare; repeatable.", metavar="MODEL")
    ] = None,
    direction: Annotated[
        list[str] | None, typer.Option(help="A further direction: both, x, y; repeatable.", metavar="D")
    ] = None,
    alpha: Annotated[
        list[float] | None, typer.Option(help="A further α of huber-rof; repeatable.", metavar="VALUE")
    ] = None,
    side: Annotated[
        int | None,
        typer.Option(
            min=32,
            max=2048,
            help="Pixels of the middle of the image to show.",
            show_default="as many as take a few seconds",
            metavar="N",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="The page.", show_default="FILE_tune.html in this folder", metavar="FILE.html"),
    ] = None,
    channel: options.Channel = None,
    run: options.Run = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Make a page with a slider over λ for one image, to choose λ by eye.

    The page works without tvtasks and without the internet. It shows the image before and after the step with
    a line between them to drag, what was subtracted, and step height and noise along a line that you draw.
    *Use this* gives the recipe.
    """
    from tvtasks.files import refuse_taken, write_whole
    from tvtasks.recipe import Recipe
    from tvtasks.sweep import arguments
    from tvtasks.tuning import html
    from tvtasks.tuning import tune as make

    target = output or Path(f"{path.stem}_tune.html")
    if target.suffix.lower() not in {".html", ".htm"}:
        raise ConfigurationError(f"{target} is not an HTML page: give --output a name that ends in .html.")
    refuse_taken(target, overwrite=overwrite or output is None)
    if not path.is_file():
        raise ConfigurationError(f"There is no file {path}. Check the name.")
    base = Recipe.load(recipe)
    micrograph, note = arguments.image(path, base, channel, run)
    if note:
        complain(note)
    announce_compiling(quiet)
    with counting(f"Restoring {micrograph.name}", None, quiet) as progress:
        tuning = make(
            micrograph,
            base,
            step=step,
            models=model or (),
            directions=direction or (),
            alphas=alpha or (),
            side=side,
            progress=progress,
        )
    write_whole(target, html(tuning, str(path)).encode())
    if not quiet:
        say(f"{target.absolute().as_uri()}  ({amount(target.stat().st_size)})")
