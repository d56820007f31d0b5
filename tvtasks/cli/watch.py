"""``tvtasks watch``: restores all images in a folder, and new ones as they arrive."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tvtasks.cli import options
from tvtasks.cli.progress import WatchDisplay, announce_compiling, compile_solvers, spinner, watch_display
from tvtasks.cli.terminal import Exit, complain, print_json, say, shell_line, stoppable
from tvtasks.errors import ConfigurationError
from tvtasks.options import MAX_WAIT, MAX_WAIT_ONCE, PREVIEW_SIZE, WatchOptions

if TYPE_CHECKING:
    from tvtasks.acquisition.loop import Tally
    from tvtasks.acquisition.watch import OpenDashboard, Watch


def watch(
    folder: options.Folder,
    archive: options.Archive,
    recipe: options.Recipes = None,
    frames: options.Frames = "",
    once: Annotated[
        bool, typer.Option("--once", help="Restore the files that are there, then exit.")
    ] = False,
    recursive: options.Recursive = False,
    ignore: options.Ignore = None,
    settle: Annotated[
        float,
        typer.Option(min=0.01, help="Seconds without change before a file counts as complete.", metavar="S"),
    ] = 2.0,
    max_wait: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            help="Seconds before a file that is still incomplete is reported.",
            show_default=f"{MAX_WAIT:g}, or {MAX_WAIT_ONCE:g} with --once",
            metavar="S",
        ),
    ] = None,
    observer: options.Observer = "auto",
    no_dashboard: options.NoDashboard = False,
    preview_size: Annotated[
        int,
        typer.Option(
            min=0,
            max=5000,
            help="Largest page of an image in the dashboard, in kB; 0 leaves out the picture.",
            metavar="KB",
        ),
    ] = PREVIEW_SIZE,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Port for a new Prefect server.", show_default="4200", metavar="PORT"
        ),
    ] = None,
    metrics: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Port on this computer for Prometheus to scrape.", metavar="PORT"
        ),
    ] = None,
    compression: options.CompressionOption = "gzip",
    exact: options.Exact = False,
    sample: options.SampleFile = None,
    session: options.SessionName = "",
    operator: options.Operator = "",
    workers: options.Workers = 2,
    memory: options.Memory = None,
    ledger: options.LedgerFolder = None,
    hand_on: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with what to do with each result: copy it, send it to a server …",
            metavar="FILE.toml",
        ),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.JsonLines = False,
) -> None:
    """Restore all images in a folder, and new ones as they arrive.

    Ctrl-C (or SIGTERM) finishes the work under way, prints what is left and ends with exit code 0. A second
    Ctrl-C ends at once; the next start then repeats the work that was under way. No image is restored twice.
    """
    asked = WatchOptions(
        folder=folder,
        archive=archive,
        recipes=options.recipes(recipe),
        frames=frames,
        once=once,
        recursive=recursive,
        ignore=tuple(ignore or ()),
        settle=settle,
        max_wait=max_wait or (MAX_WAIT_ONCE if once else MAX_WAIT),
        observer=observer,
        dashboard=not no_dashboard,
        preview_size=preview_size,
        port=port,
        metrics=metrics,
        compression=compression,
        exact=exact,
        sample=sample,
        session=session,
        operator=operator,
        workers=workers,
        memory=memory,
        ledger=ledger,
        hand_on=hand_on,
    )
    with watch_display(quiet=quiet, as_json=as_json) as display:
        tally = run(asked, display, silent=quiet or as_json)
    conclude(tally, archive, display, quiet=quiet, as_json=as_json, endless=not once)


def run(
    asked: WatchOptions,
    display: WatchDisplay,
    *,
    silent: bool,
    home: Path | None = None,
    finished: Callable[[], bool] | None = None,
    keep_server: bool = False,
) -> Tally:
    """Run a watch in this process, with a Prefect server if it has a dashboard.

    Parameters
    ----------
    asked
        What the watch was asked for.
    display
        Shows its files and problems.
    silent
        Whether to print nothing else.
    home
        Where the database of a new server is; Prefect's own place if not given.
    finished
        Returns whether no more files will come; `asked.once` decides if not given.
    keep_server
        Whether a new server keeps running after the watch.
    """
    from tvtasks.acquisition.watch import Watch

    with ExitStack() as stack:
        stop = stack.enter_context(stoppable())
        watch = Watch(asked, stop)
        announce_compiling(silent)
        open_dashboard = None
        if asked.dashboard:
            open_dashboard = _dashboard(watch, silent, home, keep_server, stack)
        elif not silent:
            say(f"Watching {asked.folder}, without a dashboard.")
            say(_page_line(asked.archive))
        return watch.run(listener=display, open_dashboard=open_dashboard, finished=finished)


def _page_line(archive: Path) -> str:
    from tvtasks.archive.folder import page_path

    return f"The newest images: {page_path(archive).absolute().as_uri()}"


def _dashboard(
    watch: Watch, silent: bool, home: Path | None, keep_server: bool, stack: ExitStack
) -> OpenDashboard:
    """Find or start a server, and return the function that opens the dashboard on it."""
    from tvtasks.archive.folder import server_log_path
    from tvtasks.dashboard import own_flows
    from tvtasks.dashboard import server as servers

    log = server_log_path(watch.options.archive)
    server = servers.running(home) if home else servers.find()
    if server is None:
        threading.Thread(target=compile_solvers, daemon=True).start()

        def check() -> None:
            if watch.stop.is_set():
                raise ConfigurationError("Stopped before the Prefect server was ready; no file was restored.")
            own_flows.load("acquire")  # imports Prefect, which takes seconds, while the server does the same

        with spinner("Starting the Prefect server (the first time takes half a minute)", silent):
            server = servers.start(log, home=home, port=watch.options.port, keep=keep_server, waiting=check)
    if keep_server and server.process and not silent:
        stop = shell_line(["taskkill", "/F", "/T", "/PID"] if sys.platform == "win32" else ["kill"])
        text = f"The dashboard keeps running at {server.dashboard}; stop it with: {stop} {server.process.pid}"
        stack.callback(say, text)
    keeper = stack.enter_context(servers.ServerKeeper(server, log, home=home, keep=keep_server))
    watch.stop.at_once = keeper.abandon
    if not silent:
        say(f"Watching {watch.options.folder}. Dashboard: {server.dashboard} ({server.origin})")
        say(_page_line(watch.options.archive))
    opened: OpenDashboard = partial(own_flows.load("acquire").dashboard, keeper)
    return opened


def conclude(
    tally: Tally, archive: Path, display: WatchDisplay, *, quiet: bool, as_json: bool, endless: bool = False
) -> None:
    """Print the summary, with the failures that are not on the screen yet, and exit with the code for it.

    Files that are left do not count as failures of an endless watch that the user stopped.
    """
    if as_json:
        print_json({**tally.record, "archive": str(archive)}, indent=None)
    else:
        if not quiet:
            say(f"{tally.restored} restored, {len(tally.failed)} failed. Results: {archive}")
            if not endless:
                say(_page_line(archive))
        for path, reason in tally.failed.items():
            if path not in display.reported:
                complain(reason if path.name in reason else f"{path.name}: {reason}")
        if tally.left:
            names = ", ".join(path.name for path in tally.left[:10]) + (" …" if len(tally.left) > 10 else "")
            complain(f"{len(tally.left)} left for the next start: {names}")
    if tally.failed or (tally.left and not endless):
        raise typer.Exit(Exit.ATTENTION)
