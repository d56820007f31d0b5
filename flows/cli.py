"""The command line: ``tvtasks demo | watch | restore | show | recipes``."""

from __future__ import annotations

import contextvars
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tvtasks.errors import ConfigurationError, RecipeError, TvtasksError

if TYPE_CHECKING:
    from flows.acquire import Tally
    from flows.server import Server
    from tvtasks.recipe import Recipe, RecipeBook
    from tvtasks.workflow import Outcome


class Exit(IntEnum):
    """Exit codes."""

    ALL_RESTORED = 0
    SOME_FAILED = 1
    USAGE = 2


app = typer.Typer(
    help="Total-variation restoration of microscope images, with provenance.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# Elsewhere than on a terminal nothing is as wide as rich's guess of 80 columns.
console = Console(width=None if sys.stdout.isatty() else 200)
errors = Console(stderr=True)

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


def main() -> None:
    """Run the command line; a mistake that a user can put right ends in a sentence, not a traceback."""
    # Prefect logs to its server; the terminal shows our own table.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    try:
        app()
    except (ConfigurationError, RecipeError) as error:
        _complain(error)
        sys.exit(Exit.USAGE)
    except TvtasksError as error:
        _complain(error)
        sys.exit(Exit.SOME_FAILED)


@app.command(short_help="Restore what is in a folder and what comes into it.")
def watch(
    folder: Annotated[Path, typer.Argument(help="Folder that the microscope writes to.", metavar="FOLDER")],
    archive: ArchiveOption,
    recipe: RecipeOption,
    once: Annotated[bool, typer.Option("--once", help="Handle what is there, then exit.")] = False,
    recursive: Annotated[bool, typer.Option("--recursive", help="Watch subfolders too.")] = False,
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
    workers: Workers = 2,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Restore every image that is in a folder or comes into it; Ctrl-C stops after what is under way."""
    from flows.acquire import Watching
    from tvtasks.monitor import check_folders
    from tvtasks.recipe import RecipeBook

    recipes = RecipeBook.load(recipe)
    check_folders(folder, archive, recursive=recursive)  # before a server is started for nothing
    watching = Watching(
        settle=settle, max_wait=max_wait or (30.0 if once else 600.0), observer=observer, recursive=recursive
    )
    _load_solvers(quiet or as_json)
    with _server(archive, quiet=quiet or as_json) as server:
        if not (quiet or as_json):
            console.print(f"Watching {folder}. Dashboard: {server.dashboard}", soft_wrap=True)
        tally, told = _acquire(
            folder,
            archive,
            recipes,
            server,
            quiet=quiet,
            as_json=as_json,
            watching=watching,
            workers=workers,
            finished=lambda: once,
        )
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
    from flows import server as servers
    from tvtasks.recipe import RecipeBook

    scans, archive = folder / "scans", folder / "archive"
    silent = quiet or as_json
    try:
        scans.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"The folder {folder} cannot be created: {error.strerror}.") from error
    compiling = threading.Thread(target=_load_solvers, args=(True,), daemon=True)
    compiling.start()
    with _spinner("Starting the Prefect server (the first time takes half a minute)", silent):
        server = servers.start(folder / "prefect" / "server.log", home=folder / "prefect")
        compiling.join()
    try:
        if not silent:
            console.print(f"Dashboard: {server.dashboard}", soft_wrap=True)
        microscope = _Replay(scans)
        recipes = RecipeBook.load(DEMO_RECIPES)
        tally, told = _acquire(
            scans, archive, recipes, server, quiet=quiet, as_json=as_json, finished=microscope.is_done
        )
    finally:
        if not keep:
            server.stop()
    if microscope.error:
        raise microscope.error
    _conclude(tally, archive, told, quiet=quiet, as_json=as_json)
    if keep and server.process and not silent:
        stop = "taskkill /F /T /PID" if sys.platform == "win32" else "kill"
        console.print(f"The dashboard stays at {server.dashboard}; stop it with: {stop} {server.process.pid}")


@app.command(short_help="Restore files or folders of them.")
def restore(
    paths: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.", metavar="FILE...")],
    archive: ArchiveOption,
    recipe: RecipeOption,
    workers: Workers = 2,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Restore files; shown in the dashboard where a Prefect server is running."""
    from tvtasks import readers
    from tvtasks.recipe import RecipeBook

    recipes = RecipeBook.load(recipe)
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
    _load_solvers(quiet or as_json)
    tally, told = _restore_all(files, archive, recipes, workers=workers, quiet=quiet, as_json=as_json)
    _conclude(tally, archive, told, quiet=quiet, as_json=as_json)


@app.command(short_help="Say what is in an archive file.")
def show(
    path: Annotated[Path, typer.Argument(help="An archive file.", metavar="FILE.nxs")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Say what is in an archive file: source, steps, parameters, certificates, versions."""
    from tvtasks import archive

    summary = archive.summary(path)
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


def _acquire(
    folder: Path,
    archive: Path,
    recipes: RecipeBook,
    server: Server,
    *,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> tuple[Tally, set[Path]]:
    """Acquire with the terminal's display."""
    from flows import display
    from flows.acquire import acquire
    from flows.restore import prefect_at, restore_and_show

    with (
        _draining() as stop,
        prefect_at(server.api_url),
        display.choose(console, quiet=quiet, as_json=as_json) as shown,
    ):
        tally = acquire(folder, archive, recipes, restore_and_show, stop=stop, report=shown.show, **options)
        return tally, shown.told


def _restore_all(
    files: list[Path], archive: Path, recipes: RecipeBook, *, workers: int, quiet: bool, as_json: bool
) -> tuple[Tally, set[Path]]:
    from flows import display, server
    from flows.acquire import Change, Tally, defect
    from tvtasks import workflow
    from tvtasks.monitor import State

    found = server.configured() if os.environ.get("PREFECT_API_URL") else server.running()
    where: AbstractContextManager[None] = nullcontext()
    do: Callable[[Path, Recipe, Path], list[Outcome]] = workflow.restore_file
    if found:
        from flows.restore import prefect_at, restore_and_show

        where, do = prefect_at(found.api_url), restore_and_show

    def one(path: Path) -> Change | None:
        if stop.is_set():
            return None
        recipe = recipes.choose(path)
        if recipe is None:
            return Change(path, State.FAILED, reason=f"No recipe is given for {path.name}.")
        try:
            return Change(path, State.DONE, recipe.name, outcomes=tuple(do(path, recipe, archive)))
        except TvtasksError as error:
            return Change(path, State.FAILED, recipe.name, str(error))
        except Exception as error:
            return Change(path, State.FAILED, recipe.name, defect(path, error))

    changes: list[Change] = []
    left: list[Path] = []
    with (
        _draining() as stop,
        where,
        ThreadPoolExecutor(workers) as pool,
        display.choose(console, quiet=quiet, as_json=as_json) as shown,
    ):
        for path in files:
            shown.show(Change(path, State.QUEUED))
        futures = [pool.submit(contextvars.copy_context().run, one, path) for path in files]
        for path, future in zip(files, futures, strict=True):
            if change := future.result():
                changes.append(change)
                shown.show(change)
            else:
                left.append(path)
    failed = {change.path: change.reason for change in changes if change.state == State.FAILED}
    return Tally(len(changes) - len(failed), failed, left), shown.told


@contextmanager
def _draining() -> Iterator[threading.Event]:
    """Give the event that the first Ctrl-C sets, for finishing what is under way; the second gives up."""
    stop = threading.Event()
    before: dict[signal.Signals, Any] = {}

    def drain(*_: object) -> None:
        stop.set()
        errors.print("Finishing what is under way; press Ctrl-C again to stop at once.")
        signal.signal(signal.SIGINT, before[signal.SIGINT])

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, drain)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _server(archive: Path, *, quiet: bool) -> Iterator[Server]:
    """Use the server that is configured or running; else start one, and stop it at the end."""
    from flows import server

    found = server.configured() or server.running()
    if found is None:
        with _spinner("Starting the Prefect server", quiet):
            found = server.start(archive / ".tvtasks" / "server.log")
    try:
        yield found
    finally:
        found.stop()


@contextmanager
def _spinner(text: str, quiet: bool) -> Iterator[None]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=quiet or not console.is_terminal
    ) as progress:
        progress.add_task(text)
        yield


def _load_solvers(quiet: bool) -> None:
    """Have the solvers compiled, which takes some ten seconds once on a computer, or loaded."""
    with _spinner("Loading the solvers (compiled once on each computer)", quiet):
        import numpy as np

        from tvtasks import TGVL1, TVL1, Gap, HuberROF, solve

        for dtype in (np.float32, np.float64):
            for model in (HuberROF(4.0, 0.01), TVL1(1.0), TGVL1(1.5)):
                solve(np.eye(4, dtype=dtype), model, stop=Gap(0.5))
        solve(np.eye(4), HuberROF(4.0, 0.01), direction="x")


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
        raise typer.Exit(Exit.SOME_FAILED)


def _complain(error: TvtasksError) -> None:
    errors.print(Text(f"tvtasks: {error}"), soft_wrap=True)


if __name__ == "__main__":
    main()
