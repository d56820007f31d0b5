"""A watch with all that looks after it: the Prefect server, the heartbeat, the log and the terminal."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.text import Text

from flows import display
from flows import server as servers
from flows.acquire import Change, RestoreFile, Tally, Watching, acquire, ledger_path
from flows.log import log_change, logging_to
from flows.server import Keeper
from flows.terminal import console, draining, load_solvers, spinner
from tvtasks.errors import ConfigurationError
from tvtasks.monitor import check_folders
from tvtasks.monitor.health import OVER, Heart, Problem, refuse_second
from tvtasks.recipe import Recipe, RecipeBook
from tvtasks.workflow import Outcome, create_folder, restore_file

logger = logging.getLogger(__name__)


def watch(
    folder: Path,
    archive: Path,
    recipes: Sequence[str],
    watching: Watching,
    *,
    workers: int,
    once: bool,
    dashboard: bool,
    quiet: bool,
    as_json: bool,
) -> tuple[Tally, set[Path]]:
    """Watch a folder until a signal comes, or with `once` until nothing is left to do.

    Returns
    -------
    What came of it, and the files whose failure has been told already.

    Raises
    ------
    ConfigurationError, RecipeError
        Something cannot work as given; nothing has been written.
    ArchiveError
        The archive cannot be written.
    """
    book = RecipeBook.load(recipes)
    # What cannot work is said before a server is started for nothing.
    check_folders(folder, archive, recursive=watching.recursive, ignore=watching.ignore)
    refuse_second(ledger_path(archive))
    silent = quiet or as_json
    with ExitStack() as stack:
        stop = stack.enter_context(draining())
        server = servers.configured() or servers.running() if dashboard else None
        load_solvers(silent)
        if dashboard and server is None:
            with spinner("Starting the Prefect server", silent):
                server = servers.start(_server_log(archive), waiting=_give_up_if(stop))
        create_folder(archive)
        stack.enter_context(logging_to(archive))
        keeper = None
        if server:
            keeper = stack.enter_context(
                Keeper(server, _server_log(archive), title=f"the watch of {folder.resolve()}")
            )
            keeper.show([])
            stop.at_once = keeper.abandon
            if not silent:
                console.print(Text(f"Watching {folder}. Dashboard: {server.dashboard}"), soft_wrap=True)
        elif not silent:
            console.print(Text(f"Watching {folder}, without a dashboard."), soft_wrap=True)
        shown = stack.enter_context(display.choose(console, quiet=quiet, as_json=as_json))

        def tell(begun: list[Problem], ended: list[Problem], now: list[Problem]) -> None:
            if keeper:
                keeper.show(now)
            for problem in begun:
                shown.tell(problem.sentence)
            for problem in ended:
                shown.tell(OVER[problem.kind])

        heart = stack.enter_context(
            Heart(
                folder, archive, recipes=[_absolute(text) for text in recipes], recipe=book.digest,
                server=keeper.state if keeper else lambda: None, changed=tell,
            )
        )  # fmt: skip
        watched = folder.resolve()
        logger.info("Watching %s (process %d)", watched, os.getpid())

        restore: RestoreFile = restore_file
        options: dict[str, Any] = {}
        if keeper:
            restore, options["reconcile"] = _with_pages(keeper, archive, stack)

        def report(change: Change) -> None:
            log_change(change, watched)
            shown.show(change)

        tally = acquire(
            folder, archive, book, restore, watching=watching, workers=workers, stop=stop,
            finished=lambda: once, report=report, pulse=heart.pulse, **options,
        )  # fmt: skip
        logger.info(
            "Stopped: %d restored, %d failed, %d left", tally.restored, len(tally.failed), len(tally.left)
        )
    return tally, shown.told


def _with_pages(keeper: Keeper, archive: Path, stack: ExitStack) -> tuple[RestoreFile, Callable[[], object]]:
    """Return what restores a file as a run of the server, and what closes the runs of a lost watch."""
    from flows import restore  # noqa: PLC0415 - importing Prefect takes a second

    stack.enter_context(restore.prefect_at(keeper.server.api_url))
    stack.enter_context(restore.watch_runs(archive))

    def restore_one(path: Path, recipe: Recipe, archive: Path) -> list[Outcome]:
        # To find out for each file that the server is dead would take longer than to restore it.
        do = restore.restore_and_show if keeper.state().answers else restore_file
        return do(path, recipe, archive)

    return restore_one, lambda: restore.close_lost_runs(archive)


def _give_up_if(stop: threading.Event) -> Callable[[], None]:
    def check() -> None:
        if stop.is_set():
            raise ConfigurationError("Stopped before the Prefect server was there; nothing was begun.")

    return check


def _server_log(archive: Path) -> Path:
    return archive / ".tvtasks" / "server.log"


def _absolute(recipe: str) -> str:
    """Return a recipe as it can be given in any folder."""
    pattern, equals, name = recipe.rpartition("=")
    if Path(recipe).is_file():
        return str(Path(recipe).absolute())
    return f"{pattern}{equals}{Path(name).absolute()}" if Path(name).is_file() else recipe
