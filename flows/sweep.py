"""The flow of a sweep for a Prefect worker: one image with many parameters, the sheet on its page."""

from __future__ import annotations

import base64
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from PIL import Image
from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.states import Completed, Failed
from pydantic import Field

from tvtasks import figures
from tvtasks.dashboard import allowed
from tvtasks.dashboard.forms import Help
from tvtasks.dashboard.markdown import code, plain
from tvtasks.errors import TvtasksError
from tvtasks.recipe import Recipe
from tvtasks.steps import MODELS, STEPS
from tvtasks.sweep import arguments, results
from tvtasks.sweep import points as grid

from .restore import ImageFile

SHEET_BYTES = 200_000
"""Largest size of the sheet on the page: it holds many images, and each sweep has only one."""

VARIED = [step.name for step in STEPS.values() if step.has_lam]
Numbers = tuple[Annotated[float, Field(ge=0)], ...]


@flow(name="sweep", flow_run_name="sweep {path}", persist_result=False)
def sweep_flow(
    path: ImageFile,
    output: Annotated[Path, Help("Folder for the sheet, the table and the results.")],
    recipe: Annotated[str, Help("The preset or TOML file to start from; may be empty.")] = "",
    models: Annotated[
        tuple[str, ...],
        Help(f"Models to compare: {', '.join(MODELS)}; optionally each with its own λ: tv-l1=.1,.2"),
    ] = (),
    lam: Annotated[Numbers, Help("Values of λ.")] = (),
    alpha: Annotated[Numbers, Help("Values of α of huber-rof.")] = (),
    further: Annotated[
        tuple[str, ...],
        Help("Any other key of a recipe, such as median.rows=3,5 or background.direction=both,x"),
    ] = (),
    step: Annotated[
        str,
        Field(pattern=f"^({'|'.join(VARIED)})?$"),
        Help(f"The step to vary: {', '.join(VARIED)}. If you leave this empty, the first of the recipe."),
    ] = "",
    channel: Annotated[str, Help("Which image, if the file holds several.")] = "",
    workers: Annotated[int, Field(ge=1, le=64), Help("Points computed at a time.")] = 2,
) -> Any:
    """Restore one image with every combination of some parameters, and put the results on one sheet.

    This does what `tvtasks sweep` does. The sheet is also among the artifacts of the run.
    """
    try:
        allowed.check([path, output], [recipe])
        base = Recipe.load(recipe) if recipe else None
        axes = arguments.axes({"lam": lam, "alpha": alpha}, further)
        micrograph, note = arguments.image(path, base, channel or None)
        if base:
            base = base.for_technique(micrograph.technique, micrograph.name)
        points = grid.build_points(base, arguments.models(models), axes, step or None)
        with TemporaryDirectory(prefix="tvtasks-sweep-", ignore_cleanup_errors=True) as folder:
            found = dict(grid.run(micrograph, points, Path(folder), workers=workers))
            trials = [found[number] for number in sorted(found)]
            faults = [f"{trial.point.label}: {trial.fault}" for trial in trials if trial.fault]
            if len(faults) == len(trials):
                return Failed(message=" ".join(dict.fromkeys(trial.fault for trial in trials)))
            files = results.write(micrograph, trials, output / grid.stem(micrograph, points))
    except TvtasksError as error:  # the page shows the sentence
        return Failed(message=str(error), data=error)
    words = [plain(line) for line in (note, *faults) if line]
    text = "\n\n".join([_picture(files[0]), *words, *(code(str(file)) for file in files)])
    create_markdown_artifact(text, key="sweep", description=f"{plain(micrograph.name)}: {len(trials)} points")
    return Completed(message=f"{len(trials) - len(faults)} points, {len(faults)} failed. {files[0]}")


def _picture(sheet: Path) -> str:
    """Return a sheet as Markdown, small enough for the server's database."""
    with Image.open(sheet) as picture:
        shown = figures.jpeg(picture.convert("RGB"), max_bytes=SHEET_BYTES)
    return f"![the sheet](data:image/jpeg;base64,{base64.b64encode(shown).decode()})"
