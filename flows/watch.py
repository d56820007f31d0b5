"""A watch with all that looks after it: the Prefect server, the heartbeat, the log and the terminal."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from flows import display
from flows import server as servers
from flows.acquire import Change, RestoreFile, Tally, Watching, acquire, ledger_path
from flows.log import log_change, logging_to
from flows.server import Keeper
from flows.terminal import Stop, console, draining, load_solvers, spinner
from tvtasks.archive.keeping import AS_USUAL, Keeping
from tvtasks.errors import ConfigurationError
from tvtasks.monitor import check_folders
from tvtasks.monitor.health import OVER, Heart, Problem, refuse_second
from tvtasks.monitor.ledger import Overview, ReadOnlyLedger, State
from tvtasks.recipe import Recipe
from tvtasks.recipe_book import RecipeBook
from tvtasks.restoration import Call, call_directly
from tvtasks.workflow import Outcome, create_folder, restore_file

if TYPE_CHECKING:
    from flows.session import Session
    from tvtasks.monitor.metrics import Metrics

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
    page_kb: int | None = None,
    metrics_port: int | None = None,
    keeping: Keeping = AS_USUAL,
    quiet: bool,
    as_json: bool,
) -> tuple[Tally, set[Path]]:
    """Watch a folder until a signal comes, or with `once` until nothing is left to do.

    Of the options, `page_kb` is the largest page of an image in the dashboard, `metrics_port` where
    Prometheus may ask, and `keeping` how results are kept; the others are those of `tvtasks watch`.

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
            keeper = stack.enter_context(Keeper(server, _server_log(archive)))
            stop.at_once = keeper.abandon
        if not silent:
            where = f". Dashboard: {server.dashboard}" if server else ", without a dashboard."
            console.print(Text(f"Watching {folder}{where}"), soft_wrap=True)
        shown = stack.enter_context(display.choose(console, quiet=quiet, as_json=as_json))

        session: Session | None = None
        wrong: list[Problem] = []

        def tell(begun: list[Problem], ended: list[Problem], now: list[Problem]) -> None:
            wrong[:] = now
            if session:
                session.show(now)
            for problem in begun:
                shown.tell(problem.sentence)
            for problem in ended:
                shown.tell(OVER[problem.kind])

        heart = stack.enter_context(
            Heart(
                folder, archive, recipes=[absolute(text) for text in recipes], recipe=book.digest,
                server=keeper.state if keeper else lambda: None, changed=tell,
            )
        )  # fmt: skip
        watched = folder.resolve()
        logger.info("Watching %s (process %d)", watched, os.getpid())

        metrics = None if metrics_port is None else _serve_metrics(archive, book, metrics_port, stack)
        around: Callable[[Call], Call] = metrics.timed if metrics else lambda call: call
        restore: RestoreFile = partial(restore_file, call=around(call_directly), keeping=keeping)
        options: dict[str, Any] = {}
        if keeper:
            restore, session = _with_pages(
                keeper, folder, archive, recipes, book, stop, around, page_kb, keeping, stack
            )
            session.show(wrong)
            # Runs that an earlier watch has left are closed when no other can be working any more.
            options["reconcile"] = session.begin

        def report(change: Change) -> None:
            log_change(change, watched)
            shown.show(change)
            if session:
                session.note(change)
            if metrics:
                _count(metrics, change)

        tally = acquire(
            folder, archive, book, restore, watching=watching, workers=workers, stop=stop,
            finished=lambda: once, report=report, pulse=heart.pulse, **options,
        )  # fmt: skip
        logger.info(
            "Stopped: %d restored, %d failed, %d left", tally.restored, len(tally.failed), len(tally.left)
        )
    return tally, shown.told


def _with_pages(
    keeper: Keeper, folder: Path, archive: Path, recipes: Sequence[str], book: RecipeBook, stop: Stop,
    around: Callable[[Call], Call], page_kb: int | None, keeping: Keeping, stack: ExitStack,
) -> tuple[RestoreFile, Session]:  # fmt: skip
    """Return what restores a file as a run of the server, and what shows the watch there."""
    from flows import restore  # noqa: PLC0415 - importing Prefect takes a second
    from flows.session import Session  # noqa: PLC0415

    attendant = stack.enter_context(restore.prefect_at(keeper.server.api_url))
    attendant.around = around
    stack.enter_context(restore.watch_runs(archive))
    options: dict[str, Any] = {"keeping": keeping} | ({} if page_kb is None else {"page_kb": page_kb})

    def restore_one(path: Path, recipe: Recipe, archive: Path) -> list[Outcome]:
        # To find out for each file that the server is dead would take longer than to restore it.
        if keeper.state().answers:
            return restore.restore_and_show(path, recipe, archive, **options)
        return restore_file(path, recipe, archive, call=around(call_directly), keeping=keeping)

    def counts() -> Mapping[State, int]:
        with ReadOnlyLedger(ledger_path(archive)) as ledger:
            return ledger.counts(book.digest)

    def answers() -> bool:
        return keeper.state().answers

    session = Session(
        attendant, keeper.server.api_url, folder, archive, recipes, counts=counts, cancel=stop.set,
        answers=answers,
    )  # fmt: skip
    return restore_one, stack.enter_context(session)


def _serve_metrics(archive: Path, book: RecipeBook, port: int, stack: ExitStack) -> Metrics:
    """Return what counts for Prometheus, which may ask at a port of this computer from now on."""
    try:
        from tvtasks.monitor.metrics import Metrics, serving  # noqa: PLC0415 - few need it
    except ImportError as error:
        raise ConfigurationError(
            "Figures for Prometheus need the package prometheus-client: pip install 'tvtasks[metrics]'"
        ) from error

    def overview() -> Overview:
        with ReadOnlyLedger(ledger_path(archive)) as ledger:
            return ledger.overview(book.digest)

    metrics = Metrics(overview)
    stack.enter_context(serving(metrics, port))
    return metrics


def _count(metrics: Metrics, change: Change) -> None:
    """Count a change of a file's state."""
    if change.state == State.QUEUED:
        metrics.arrived()
    elif change.state == State.DONE:
        metrics.restored(outcome.gap for outcome in change.outcomes)
    elif change.state in {State.FAILED, State.QUARANTINED}:
        metrics.failed()


def _give_up_if(stop: threading.Event) -> Callable[[], None]:
    def check() -> None:
        if stop.is_set():
            raise ConfigurationError("Stopped before the Prefect server was there; nothing was begun.")

    return check


def _server_log(archive: Path) -> Path:
    return archive / ".tvtasks" / "server.log"


def absolute(recipe: str) -> str:
    """Return a recipe as it can be given in any folder."""
    pattern, equals, name = recipe.rpartition("=")
    if Path(recipe).is_file():
        return str(Path(recipe).absolute())
    return f"{pattern}{equals}{Path(name).absolute()}" if Path(name).is_file() else recipe
