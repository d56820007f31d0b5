"""The command line: the commands that restore; further groups of commands are in `flows.commands`."""

from __future__ import annotations

import contextvars
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from flows.commands import (
    care,
    collect,
    deploy,
    export,
    gallery,
    keeping,
    listing,
    profile,
    rerun,
    suggest,
    sweep,
    verify,
)
from flows.terminal import EXIT_CODES, Exit, complain, console, draining, errors, load_solvers, spinner
from tvtasks.errors import ConfigurationError, RecipeError, TvtasksError

if TYPE_CHECKING:
    from flows.acquire import Tally
    from tvtasks.archive import Keeping
    from tvtasks.recipe import Recipe
    from tvtasks.recipe_book import RecipeBook
    from tvtasks.workflow import Outcome

app = typer.Typer(
    help="Total-variation restoration of microscope images, with provenance.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DEMO_RECIPES = (
    "stm_*=stm-scratches", "*afm_*=afm-background", "sem_*=sem-charging", "stem_*=stem-denoise",
)  # fmt: skip

ArchiveOption = Annotated[
    Path, typer.Option(help="Folder for results: one .nxs and one .png for each image.")
]
RecipeOption = Annotated[
    list[str],
    typer.Option(
        "--recipe",
        help="A preset or a TOML file; or PATTERN=RECIPE for the files whose name fits, several times.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say only what went wrong.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per file, and a last one in all.")]
Workers = Annotated[int, typer.Option(min=1, max=64, help="Files worked on at a time.")]
PreviewSize = Annotated[
    int,
    typer.Option(min=0, max=5000, help="Size of an image's page in the dashboard, in kB; 0: no picture."),
]


def main() -> None:
    """Run the command line; a mistake that a user can put right ends in a sentence, not a traceback."""
    # Prefect logs to its server; the terminal shows our own table.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    try:
        app()
    except (ConfigurationError, RecipeError) as error:
        complain(error)
        sys.exit(Exit.USAGE)
    except TvtasksError as error:
        complain(error)
        sys.exit(Exit.ATTENTION)


@app.command(short_help="Restore what is in a folder and what comes into it.")
def watch(
    folder: Annotated[Path, typer.Argument(help="Folder that the microscope writes to.", metavar="FOLDER")],
    archive: ArchiveOption,
    recipe: RecipeOption,
    once: Annotated[bool, typer.Option("--once", help="Handle what is there, then exit.")] = False,
    recursive: Annotated[bool, typer.Option("--recursive", help="Watch subfolders too.")] = False,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            "--ignore", help="Files to leave alone: a pattern like 'test_*' or 'raw/**'; repeatable."
        ),
    ] = None,
    settle: Annotated[
        float, typer.Option(min=0.01, help="Seconds without change before a file counts.")
    ] = 2.0,
    max_wait: Annotated[
        float | None,
        typer.Option(
            min=0.01, help="Seconds after which a file that is still not whole is reported (600; --once: 30)."
        ),
    ] = None,
    observer: Annotated[
        Literal["auto", "native", "polling"],
        typer.Option(help="How changes are noticed; polling works on every network share."),
    ] = "auto",
    no_dashboard: Annotated[
        bool, typer.Option("--no-dashboard", help="Restore without a Prefect server, and so without pages.")
    ] = False,
    preview_size: PreviewSize = 60,
    metrics: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port of this computer where Prometheus may ask for figures."),
    ] = None,
    compression: keeping.Packing = "gzip",
    sample: keeping.SampleFile = None,
    workers: Workers = 2,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Restore every image that is in a folder or comes into it.

    Ctrl-C, or SIGTERM, finishes what is under way, says what is left and ends with exit code 0; a second one
    ends at once, and what was under way is done again at the next start. Nothing is done twice.
    """
    from flows.acquire import Watching
    from flows.watch import watch as run

    watching = Watching(
        settle=settle, max_wait=max_wait or (30.0 if once else 600.0), observer=observer, recursive=recursive,
        ignore=tuple(ignore or ()),
    )  # fmt: skip
    tally, told = run(
        folder, archive, recipe, watching, workers=workers, once=once, dashboard=not no_dashboard,
        page_kb=preview_size, metrics_port=metrics, keeping=keeping.keeping(compression, sample), quiet=quiet,
        as_json=as_json,
    )  # fmt: skip
    _conclude(tally, archive, told, quiet=quiet, as_json=as_json, endless=not once)


@app.command(short_help="Show the whole path in a minute.")
def demo(
    folder: Annotated[Path, typer.Option(help="Where scans, results and the server's data go.")] = Path(
        "tvtasks-demo"
    ),
    keep: Annotated[bool, typer.Option("--keep", help="Leave the Prefect server running.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Show the whole path in a minute: a replay microscope writes 6 scans, and they come out restored."""
    from flows import display
    from flows import server as servers
    from flows.acquire import acquire
    from flows.restore import prefect_at, restore_and_show
    from tvtasks.recipe_book import RecipeBook

    scans, archive = folder / "scans", folder / "archive"
    silent = quiet or as_json
    try:
        scans.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"The folder {folder} cannot be created: {error.strerror}.") from error
    compiling = threading.Thread(target=load_solvers, args=(True,), daemon=True)
    compiling.start()
    with spinner("Starting the Prefect server (the first time takes half a minute)", silent):
        server = servers.start(folder / "prefect" / "server.log", home=folder / "prefect")
        compiling.join()
    try:
        if not silent:
            console.print(f"Dashboard: {server.dashboard}", soft_wrap=True)
        microscope = _Replay(scans)
        with (
            draining() as stop,
            prefect_at(server.api_url),
            display.choose(console, quiet=quiet, as_json=as_json) as shown,
        ):
            tally = acquire(
                scans, archive, RecipeBook.load(DEMO_RECIPES), restore_and_show, stop=stop, report=shown.show,
                finished=microscope.is_done,
            )  # fmt: skip
    finally:
        if not keep:
            server.stop()
    if microscope.error:
        raise microscope.error
    _conclude(tally, archive, shown.told, quiet=quiet, as_json=as_json)
    if keep and server.process and not silent:
        end = "taskkill /F /T /PID" if sys.platform == "win32" else "kill"
        console.print(f"The dashboard stays at {server.dashboard}; stop it with: {end} {server.process.pid}")


@app.command(short_help="Restore files or folders of them.")
def restore(
    paths: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.", metavar="FILE...")],
    archive: ArchiveOption,
    recipe: RecipeOption,
    preview_size: PreviewSize = 60,
    compression: keeping.Packing = "gzip",
    sample: keeping.SampleFile = None,
    workers: Workers = 2,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Restore files; shown in the dashboard where a Prefect server is running."""
    from tvtasks import readers
    from tvtasks.recipe_book import RecipeBook

    recipes = RecipeBook.load(recipe)
    how = keeping.keeping(compression, sample)
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise ConfigurationError(f"There is no file or folder {path}.")
        if path.is_dir():
            found = sorted(
                entry for entry in path.iterdir() if entry.is_file() and readers.is_candidate(entry)
            )
            if not found:
                raise ConfigurationError(f"The folder {path} holds no image file that tvtasks reads.")
            files += found
        else:
            files.append(path)
    files = list(dict.fromkeys(files))  # one that is named, and lies in a folder that is named too
    load_solvers(quiet or as_json)
    tally, told = _restore_all(
        files, archive, recipes, keeping=how, page_kb=preview_size, workers=workers, quiet=quiet,
        as_json=as_json,
    )  # fmt: skip
    _conclude(tally, archive, told, quiet=quiet, as_json=as_json)


@app.command(short_help="Say what is in an archive file.")
def show(
    path: Annotated[Path, typer.Argument(help="An archive file.", metavar="FILE.nxs")],
    run: Annotated[str | None, typer.Option(help="Which run of a file with several.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Say what is in an archive file: source, steps, parameters, certificates, versions."""
    from tvtasks import archive

    summary = archive.summary(path, run=run)
    if as_json:
        print(json.dumps(summary, indent=2, ensure_ascii=False))
    else:
        from flows import display

        console.print(display.summary(summary))


@app.command()
def recipes(
    show_name: Annotated[str | None, typer.Option("--show", help="Print the TOML of this one.")] = None,
) -> None:
    """List the recipes that come with tvtasks."""
    from tvtasks.recipe import Recipe, preset_names, preset_text

    if show_name is not None:
        print(preset_text(show_name), end="")
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for name in preset_names():
        table.add_row(name, Recipe.load(name).description)
    console.print(table)


app.command(short_help="Say how a watch is.")(care.status)
app.command(short_help="Try failed files again.")(care.retry)
app.command(short_help="Look for what may keep a watch from working.")(care.doctor)
app.command("list", short_help="List the runs in an archive.")(listing.list_runs)
app.command(short_help="Check that archive files are what was written.")(verify.verify)
app.command(short_help="Restore archived images again by another recipe.")(rerun.rerun)
app.command(short_help="Set up a Prefect server for workers and schedules.")(deploy.deploy)

app.command(cls=sweep.Spaced, short_help="Restore one image by many parameters, on one sheet.")(sweep.sweep)
app.command(short_help="Choose λ for one image, and say why.")(suggest.suggest)
app.command(short_help="Draw the images of a run along a line.")(profile.profile)
app.command(short_help="Copy several runs into one file.")(collect.collect)
app.command(short_help="Write images as TIFF, PNG, .gwy, .gsf or .npz.")(export.export)
app.command(short_help="Make a page of an archive's images.")(gallery.gallery)


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        import tvtasks

        print(f"tvtasks {tvtasks.__version__}")
        raise typer.Exit


class _Replay:
    """The replay microscope in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self.error: TvtasksError | None = None
        self._ended: float | None = None
        self._folder = folder
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        from tvtasks.replay import replay

        try:
            replay(self._folder)
        except TvtasksError as error:
            self.error = error
        self._ended = time.monotonic()

    def is_done(self) -> bool:
        """Return whether the last file has been there for long enough to have been noticed."""
        return self._ended is not None and time.monotonic() - self._ended > 2


def _restore_all(
    files: list[Path], archive: Path, recipes: RecipeBook, *, keeping: Keeping, page_kb: int, workers: int,
    quiet: bool, as_json: bool,
) -> tuple[Tally, set[Path]]:  # fmt: skip
    from flows import display, server
    from flows.acquire import Change, Tally, defect
    from tvtasks import workflow
    from tvtasks.archive import remove_partials
    from tvtasks.monitor import State

    remove_partials(archive, older_than=timedelta(hours=1))
    found = server.configured() if os.environ.get("PREFECT_API_URL") else server.running()
    where: AbstractContextManager[object] = nullcontext()
    do: Callable[[Path, Recipe, Path], list[Outcome]] = partial(workflow.restore_file, keeping=keeping)
    if found:
        from flows.restore import prefect_at, restore_and_show

        where, do = prefect_at(found.api_url), partial(restore_and_show, page_kb=page_kb, keeping=keeping)

    def one(path: Path) -> Change | None:
        if stop.is_set():
            return None
        recipe = recipes.choose(path)
        if recipe is None:
            return Change(path, State.FAILED, reason=f"No recipe is given for {path.name}.")
        try:
            outcomes = tuple(do(path, recipe, archive))
            return Change(path, State.DONE, workflow.restored_by(outcomes, recipe), outcomes=outcomes)
        except TvtasksError as error:
            return Change(path, State.FAILED, recipe.name, str(error))
        except Exception as error:
            return Change(path, State.FAILED, recipe.name, defect(path, error))

    changes: list[Change] = []
    left: list[Path] = []
    with (
        draining() as stop,
        where,
        ThreadPoolExecutor(workers) as pool,
        display.choose(console, quiet=quiet, as_json=as_json) as shown,
    ):
        for path in files:
            shown.show(Change(path, State.QUEUED))
        futures = [pool.submit(contextvars.copy_context().run, one, path) for path in files]
        for path, future in zip(files, futures, strict=True):
            while not future.done():
                wait([future], timeout=0.5)  # without an end, Ctrl-C would not be seen on Windows
            if change := future.result():
                changes.append(change)
                shown.show(change)
            else:
                left.append(path)
    failed = {change.path: change.reason for change in changes if change.state == State.FAILED}
    return Tally(len(changes) - len(failed), failed, left), shown.told


def _conclude(
    tally: Tally, archive: Path, told: set[Path], *, quiet: bool, as_json: bool, endless: bool = False
) -> None:
    """Print the summary, with the failures that were not yet told, and exit with the code for it.

    What is left is no failure where the work has no end and was stopped on purpose.
    """
    if as_json:
        print(
            json.dumps(
                {
                    "restored": tally.restored,
                    "failed": {str(path): reason for path, reason in tally.failed.items()},
                    "left": [str(path) for path in tally.left],
                    "archive": str(archive),
                }
            )
        )
    else:
        if not quiet:
            console.print(
                f"{tally.restored} restored, {len(tally.failed)} failed. Results: {archive}", soft_wrap=True
            )
        for path, reason in tally.failed.items():
            if path in told:
                continue
            errors.print(Text(reason if path.name in reason else f"{path.name}: {reason}"), soft_wrap=True)
        if tally.left:
            names = ", ".join(path.name for path in tally.left[:10]) + (" …" if len(tally.left) > 10 else "")
            errors.print(Text(f"{len(tally.left)} left for the next start: {names}"), soft_wrap=True)
    if tally.failed or (tally.left and not endless):
        raise typer.Exit(Exit.ATTENTION)


if __name__ == "__main__":
    main()
