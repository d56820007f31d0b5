"""The flow that watches a folder, and the dashboard of a watch: each file is a run, the watch has a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.states import Completed, Failed
from pydantic import Field

from tvtasks.acquisition.loop import RestoreFile, Tally
from tvtasks.acquisition.watch import Watch
from tvtasks.archive.folder import ledger_path, server_log_path
from tvtasks.dashboard import allowed
from tvtasks.dashboard import server as servers
from tvtasks.dashboard.forms import Help
from tvtasks.dashboard.runs import tagged_with
from tvtasks.dashboard.server import ServerKeeper
from tvtasks.dashboard.supervision import prefect_at
from tvtasks.dashboard.watch_page import WatchPage
from tvtasks.errors import TvtasksError
from tvtasks.health.heartbeat import ServerState
from tvtasks.ledger import Ledger, State
from tvtasks.listener import Listener
from tvtasks.options import USUAL_RECIPE, WatchOptions
from tvtasks.outcome import Outcome
from tvtasks.recipe import Recipe
from tvtasks.stopping import stopping_gently
from tvtasks.workflow import restore_file

from . import restore
from .restore import ArchiveFolder

USUAL_RECIPES = [USUAL_RECIPE]


@flow(name="acquire", flow_run_name="acquire {folder}", persist_result=False)
def acquire_flow(
    folder: Annotated[Path, Help("Folder that the microscope writes to, as the worker sees it.")],
    archive: ArchiveFolder,
    recipes: Annotated[
        list[str],
        Field(min_length=1),
        Help("A preset or a TOML file; or PATTERN=RECIPE for files whose name matches."),
    ] = USUAL_RECIPES,
    recursive: Annotated[bool, Help("Watch subfolders too.")] = False,
    ignore: Annotated[list[str] | None, Help("Patterns of files to leave alone, such as test_*.")] = None,
    workers: Annotated[int, Field(ge=1, le=64), Help("Files restored at a time.")] = 2,
    once: Annotated[bool, Help("Restore the files that are there, then end.")] = False,
    frames: Annotated[
        str,
        Help(
            "Frames to take from stacks and series: all, or numbers such as 0-9, 20; if empty, as the recipe."
        ),
    ] = "",
) -> Any:
    """Restore all images in a folder, and new ones as they arrive, until someone cancels the run.

    This is `tvtasks watch` itself: an archive has one watch at a time, started here or by hand. When the
    worker ends, the watch ends too; for a permanent watch use a service.
    """
    try:
        allowed.check([folder, archive], recipes)
        options = WatchOptions(
            folder=folder,
            archive=archive,
            recipes=tuple(recipes),
            recursive=recursive,
            ignore=tuple(ignore or ()),
            workers=workers,
            once=once,
            frames=frames,
        )
        # In a context of its own: otherwise each image would be a subflow run of this one, at ten times the
        # cost.
        tally: Tally = Context().run(_watch, options)
    except TvtasksError as error:  # the page shows the sentence
        return Failed(message=str(error), data=error)
    for reason in tally.failed.values():
        get_run_logger().warning(reason)
    message = f"{tally.restored} restored, {len(tally.failed)} failed, {len(tally.left)} left."
    return Completed(message=message)


def _watch(options: WatchOptions) -> Tally:
    with stopping_gently(lambda text: None) as stop:
        watch = Watch(options, stop)
        log = server_log_path(options.archive)
        with ServerKeeper(servers.find() or servers.start(log, port=options.port), log) as keeper:
            return watch.run(listener=Listener(), open_dashboard=partial(dashboard, keeper))


@contextmanager
def dashboard(keeper: ServerKeeper, watch: Watch) -> Iterator[WatchDashboard]:
    """Show a watch on a server: each file becomes a run, and the watch has a page."""
    archive = watch.options.archive
    with prefect_at(keeper.server.api_url) as supervisor, tagged_with(archive):
        supervisor.around = watch.around

        def counts() -> Mapping[State, int]:
            return watch.overview().counts

        def retry(path: Path) -> int:
            with Ledger(ledger_path(archive)) as ledger:
                return ledger.retry(path, recipe=watch.recipes.digest)

        page = WatchPage(
            supervisor,
            keeper.server.api_url,
            watch.options,
            counts=counts,
            cancel=watch.stop.set,
            answers=lambda: keeper.state().answers,
            retry=retry,
        )
        with page:
            yield WatchDashboard(keeper, watch, page)


class WatchDashboard:
    """The dashboard of a watch; see `tvtasks.acquisition.watch.Dashboard`."""

    def __init__(self, keeper: ServerKeeper, watch: Watch, page: WatchPage) -> None:
        self.page = page
        self._keeper = keeper
        self._watch = watch

    def restore(self) -> RestoreFile:
        """Return a function that restores a file as a run, or without one while the server is silent."""
        watch, options = self._watch, self._watch.options

        def restore_one(path: Path, recipe: Recipe, archive: Path) -> list[Outcome]:
            # Finding out for each file that the server is dead would take longer than restoring the file.
            if self._keeper.state().answers:
                return restore.restore_and_show(
                    path, recipe, archive, page_kb=options.preview_size, storage=watch.storage
                )
            return restore_file(path, recipe, archive, call=watch.direct, storage=watch.storage)

        return restore_one

    def server(self) -> ServerState:
        """Return the state of the server at the last check."""
        return self._keeper.state()

    def before_work(self) -> None:
        """Close the runs of a killed watch, and show this one."""
        self.page.begin()
