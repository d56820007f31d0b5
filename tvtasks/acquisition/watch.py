"""A watch: the acquisition loop with its log, heartbeat and metrics, and optionally a dashboard."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

from tvtasks.acquisition.live_page import LivePage
from tvtasks.acquisition.log import ChangeLog, logging_to
from tvtasks.acquisition.loop import RestoreFile, Tally, acquire
from tvtasks.archive.folder import ledger_path
from tvtasks.errors import ArchiveError, ConfigurationError
from tvtasks.health.heartbeat import ServerState
from tvtasks.health.heartbeat_writer import HeartbeatWriter
from tvtasks.ledger import UNRESTORED, Entry, Overview, ReadOnlyLedger, State, refuse_second
from tvtasks.listener import Listener, Listeners
from tvtasks.monitor import check_folders
from tvtasks.options import WatchOptions
from tvtasks.places import holding
from tvtasks.recipe_book import RecipeBook
from tvtasks.restoration import Call, call_directly
from tvtasks.stopping import Stop
from tvtasks.workflow import restore_file

if TYPE_CHECKING:
    from pathlib import Path

    from tvtasks.handover.deliveries import Handover
    from tvtasks.health.metrics import Metrics

logger = logging.getLogger(__name__)


class Dashboard(Protocol):
    """What a dashboard does for a watch."""

    @property
    def page(self) -> Listener:
        """The page of the watch."""
        ...

    def restore(self) -> RestoreFile:
        """Return a function that restores a file as a run in the dashboard."""
        ...

    def server(self) -> ServerState:
        """Return the last known state of the server, at once."""
        ...

    def before_work(self) -> None:
        """Clean up after an earlier watch, when no other can be working on the archive."""
        ...


OpenDashboard = Callable[["Watch"], AbstractContextManager[Dashboard]]


class Watch:
    """What the parts of a watch share.

    Parameters
    ----------
    options
        What the watch was asked for.
    stop
        Once this is set, no more files are started.

    Attributes
    ----------
    recipes, storage
        The recipes and settings that `options` names, loaded.
    around
        Takes a function that calls the steps of a restoration and returns the one to use instead, which times
        the steps if the watch has metrics.

    Raises
    ------
    ConfigurationError, RecipeError
        An option cannot work; nothing has been written.
    """

    def __init__(self, options: WatchOptions, stop: Stop | None = None) -> None:
        self.options = options
        self.stop = stop or Stop()
        self.recipes = RecipeBook.load(options.recipes, frames=options.frames)
        self.storage = options.storage()
        self.around: Callable[[Call], Call] = lambda call: call
        check_folders(options.folder, options.archive, options)
        refuse_second(ledger_path(options.archive, options.ledger))
        self._handover = self._prepared(options.hand_on) if options.hand_on else None

    @property
    def direct(self) -> Call:
        """The function that calls the steps of a restoration without a dashboard."""
        return self.around(call_directly)

    def overview(self) -> Overview:
        """Return the figures of the ledger."""
        with ReadOnlyLedger(ledger_path(self.options.archive, self.options.ledger)) as ledger:
            return ledger.overview(self.recipes.digest)

    def _unrestored(self) -> list[Entry]:
        with suppress(ArchiveError), ReadOnlyLedger(ledger_path(self.options.archive)) as ledger:
            return ledger.entries(self.recipes.digest, *UNRESTORED)
        return []

    def _counts(self) -> dict[State, int]:
        with suppress(ArchiveError), ReadOnlyLedger(ledger_path(self.options.archive)) as ledger:
            return ledger.counts(self.recipes.digest)
        return {}

    def run(
        self,
        *,
        listener: Listener,
        open_dashboard: OpenDashboard | None = None,
        finished: Callable[[], bool] | None = None,
    ) -> Tally:
        """Watch until `stop` is set or, with `once`, until nothing is left to do.

        Parameters
        ----------
        listener
            Receives the changes of files and the problems.
        open_dashboard
            Opens a dashboard for this watch; None for a watch without a dashboard.
        finished
            See `acquire`.

        Raises
        ------
        ArchiveError
            The archive cannot be written to.
        """
        options = self.options
        everyone = Listeners(ChangeLog(options.folder.resolve()), listener)
        with ExitStack() as stack:
            stack.enter_context(holding(options.archive))
            stack.enter_context(logging_to(options.archive))
            if options.metrics is not None:
                metrics = self._serve_metrics(options.metrics, stack)
                self.around = metrics.timed
                everyone.add(metrics)
            live_page = LivePage(options, unrestored=self._unrestored, counts=self._counts)
            everyone.add(stack.enter_context(live_page))
            if self._handover:
                stack.enter_context(self._handover.going_on())
            dashboard = stack.enter_context(open_dashboard(self)) if open_dashboard else None
            restore: RestoreFile = partial(restore_file, call=self.direct, storage=self.storage)
            if dashboard:
                everyone.add(dashboard.page)
                restore = dashboard.restore()
            heartbeat = stack.enter_context(
                HeartbeatWriter(
                    options,
                    self.recipes.digest,
                    server=dashboard.server if dashboard else lambda: None,
                    listener=everyone,
                )
            )
            logger.info("Watching %s (process %d)", options.folder.resolve(), os.getpid())
            tally = acquire(
                options,
                self.recipes,
                restore,
                listener=everyone,
                pulse=heartbeat.pulse,
                finished=finished,
                stop=self.stop,
                before_work=dashboard.before_work if dashboard else lambda: None,
            )
            failed, left = len(tally.failed), len(tally.left)
            logger.info("Stopped: %d restored, %d failed, %d left", tally.restored, failed, left)
        return tally

    def _prepared(self, actions: Path) -> Handover:
        from tvtasks.handover.actions import load_actions  # noqa: PLC0415 - few need it
        from tvtasks.handover.deliveries import Handover  # noqa: PLC0415

        return Handover(self.options.archive, load_actions(actions))

    def _serve_metrics(self, port: int, stack: ExitStack) -> Metrics:
        try:
            from tvtasks.health.metrics import Metrics, serving  # noqa: PLC0415 - few need it
        except ImportError as error:
            raise ConfigurationError(
                "Metrics for Prometheus need the package prometheus-client: pip install 'tvtasks[metrics]'"
            ) from error
        metrics = Metrics(self.overview)
        stack.enter_context(serving(metrics, port))
        return metrics
