"""The page of a watch in the dashboard: a run that represents it, with its progress, files and health."""

from __future__ import annotations

import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import httpx
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import State as RunState
from prefect.states import Cancelled, Completed, Failed, Running

from tvtasks.archive.folder import page_path
from tvtasks.dashboard import automations, private
from tvtasks.dashboard.client import Connection
from tvtasks.dashboard.markdown import code, plain
from tvtasks.dashboard.runs import TAG, archive_tag, close_lost_runs, create_run
from tvtasks.dashboard.supervision import RunSupervisor
from tvtasks.errors import ArchiveError
from tvtasks.ledger import UNRESTORED, State
from tvtasks.listener import Listener
from tvtasks.options import WatchOptions
from tvtasks.outcome import FINAL, Change
from tvtasks.periodic import Periodic

logger = logging.getLogger(__name__)

PUBLISH_SECONDS = 2.0
"""Seconds between updates of the page."""

ROWS = 50
"""Number of files in the table: those that started or finished last."""

_AWAITING_RETRY = "AwaitingRetry"  # the state that the button Retry gives a run

_SHOWN = {*FINAL, State.RUNNING}
_FAULTS = {*UNRESTORED, "incomplete"}
_WAITING = (State.QUEUED, State.RUNNING, State.FAILED)
_ENDED = (State.DONE, State.QUARANTINED, State.CANCELLED)
_EXPECTED = (httpx.HTTPError, RuntimeError, OSError, ArchiveError)


@flow(name="watch")
def _watch(folder: str, archive: str, recipes: list[str]) -> None:
    """Stand for a watch in the dashboard; never called, because a watch must go on without a server."""


@dataclass
class _Artifact:
    """An artifact: its id on the server, its content there, and the wanted content."""

    type: str
    description: str
    data: Any = None
    wanted: Any = None
    id: UUID | None = None


class WatchPage(Listener):
    """Shows a watch in the dashboard, in a thread of its own once it has begun.

    Each archive has three artifacts, which are changed in place so that they do not fill the database: how
    much of the work is done, the latest files, and what is wrong. Their keys are `progress-NAME`,
    `files-NAME` and `health-NAME`; NAME is the name of the archive's folder with a few letters that
    distinguish it from others of that name.

    Parameters
    ----------
    supervisor
        Sends the heartbeats of the watch, and notices when someone cancels it.
    api_url
        The server. While it is gone, nothing is shown and nothing waits for it.
    options
        What the watch was asked for.
    counts
        Returns the number of files in each state.
    cancel
        Called once if someone cancels the watch in the dashboard.
    answers
        Returns whether the server answered at the last check.
    retry
        Queues a file again that was not restored, and returns how many entries it queued.
    """

    def __init__(
        self,
        supervisor: RunSupervisor,
        api_url: str,
        options: WatchOptions,
        *,
        counts: Callable[[], Mapping[State, int]] = dict,
        cancel: Callable[[], object] = lambda: None,
        answers: Callable[[], bool] = lambda: True,
        retry: Callable[[Path], int] = lambda path: 0,
    ) -> None:
        self._supervisor = supervisor
        self._folder, self._archive = options.folder.resolve(), options.archive.resolve()
        self._recipes = list(options.absolute().recipes)
        self._counts = counts
        self._cancel = cancel
        self._answers = answers
        self._retry = retry
        self._rows: OrderedDict[Path, Change] = OrderedDict()
        self._lock = threading.Lock()
        self._has_changed = True
        self._run: UUID | None = None
        self._was_cancelled = False
        watched = plain(str(self._folder))
        self._artifacts = {
            "progress": _Artifact("progress", f"Progress of the watch of {watched}, in per cent"),
            "files": _Artifact("markdown", f"The latest files of the watch of {watched}"),
            "health": _Artifact("markdown", f"Health of the watch of {watched}"),
        }
        self._connection = Connection(api_url)
        # The thread needs the caller's settings: without an address, Prefect would start a server of its own.
        self._thread = Periodic(
            self._publish_if_it_answers,
            every=PUBLISH_SECONDS,
            name="tvtasks watch page",
            expected=_EXPECTED,
        )
        self.problems([], [], [])

    def changed(self, change: Change) -> None:
        """Show a change in a file's state soon; never waits."""
        if change.state in _SHOWN:
            with self._lock:
                self._rows[change.path] = change
                self._rows.move_to_end(change.path)
                if len(self._rows) > ROWS:
                    self._rows.popitem(last=False)
        self._has_changed = True

    def problems(self, begun: Sequence[str], ended: Sequence[str], present: Sequence[str]) -> None:
        """Show the present problems of the watch soon; never waits."""
        self._set_health("\n".join(f"- {plain(sentence)}" for sentence in present) or "All is well.")

    def begin(self) -> None:
        """Close the runs that an earlier watch left, and start to show this one."""
        close_lost_runs(self._archive)
        self._thread.start()

    def publish(self) -> None:
        """Show the changes since the last time."""
        client = self._connection.client
        try:
            if self._run is None:
                self._begin_run(client)
            if self._has_changed:
                self._has_changed = False
                self._artifacts["files"].wanted = self._table()
                self._artifacts["progress"].wanted = self._progress()
            for kind, artifact in self._artifacts.items():
                self._put(client, kind, artifact)
            self._take_retries(client)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.NOT_FOUND:
                raise
            # Someone deleted the run or one of its artifacts, or the server has another database now.
            self._forget()

    @property
    def name(self) -> str:
        """The end of the artifacts' keys."""
        name = re.sub("[^a-z0-9]+", "-", self._archive.name.lower()).strip("-")[:40] or "archive"
        return f"{name}-{archive_tag(self._archive).rpartition(':')[2][:6]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        has_begun = self._thread.is_running
        if not (self._thread.stop(PUBLISH_SECONDS + 10) and has_begun):
            return
        try:
            if self._answers():
                self._set_health("The watch has ended.")
                self._has_changed = True
                self.publish()
                self._end_run(error)
        except _EXPECTED as trouble:
            logger.debug("The end of the watch could not be shown in the dashboard: %s", trouble)
        finally:
            self._connection.close()

    def _publish_if_it_answers(self) -> None:
        if self._answers():
            self.publish()

    def _begin_run(self, client: SyncPrefectClient) -> None:
        automations.ensure(client, automations.silent_runs())
        parameters = {"folder": str(self._folder), "archive": str(self._archive), "recipes": self._recipes}
        run = create_run(
            client,
            self._supervisor.deployments,
            _watch,
            f"watch {self._folder.name}",
            parameters,
            tags={TAG, archive_tag(self._archive)},
            state=Running(),
        )
        self._run = run.id
        self._supervisor.begin(run.id, cancel=self._take_cancel)

    def _end_run(self, error: BaseException | None) -> None:
        if self._run is None:
            return
        self._supervisor.end(self._run)
        state: RunState[Any] = Completed(message="The watch was stopped, or had nothing left to do.")
        if self._was_cancelled:
            message = "Someone cancelled the watch in the dashboard; it finished the work under way."
            state = Cancelled(message=message)
        elif isinstance(error, Exception):
            state = Failed(message=str(error) or type(error).__name__)
        self._connection.client.set_flow_run_state(self._run, state, force=True)

    def _take_cancel(self) -> None:
        self._was_cancelled = True
        logger.info("Someone cancelled the watch in the dashboard.")
        self._cancel()

    def _take_retries(self, client: SyncPrefectClient) -> None:
        """Restore the files whose runs someone asked to retry.

        No worker takes up a run that this process called, so the run would await its retry for ever. The file
        gets a run of its own instead.
        """
        asked = {
            "tags": {"all_": [archive_tag(self._archive)]},
            "state": {"name": {"any_": [_AWAITING_RETRY]}},
        }
        for run in client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(asked)):
            path = Path(str(run.parameters.get("path", "")))
            if self._retry(path):
                logger.info("Someone asked in the dashboard to retry %s", path)
                message = f"The watch restores {path.name} again, in a run of its own."
                state: RunState[Any] = Cancelled(message=message)
            else:
                state = Completed(
                    message=f"There is nothing to retry: {path.name} was restored, or is queued."
                )
            client.set_flow_run_state(run.id, state, force=True)

    def _forget(self) -> None:
        if self._run is not None:
            self._supervisor.end(self._run)
        self._run = None
        self._has_changed = True
        for artifact in self._artifacts.values():
            artifact.data = artifact.id = None

    def _put(self, client: SyncPrefectClient, kind: str, artifact: _Artifact) -> None:
        wanted = artifact.wanted
        if wanted is None or wanted == artifact.data:
            return
        if artifact.id is None:
            new = ArtifactCreate(
                key=f"{kind}-{self.name}",
                type=artifact.type,
                data=wanted,
                description=artifact.description,
                flow_run_id=self._run,
            )
            artifact.id = private.post_artifact(client, new)
        else:
            private.patch_artifact(client, artifact.id, wanted)
        artifact.data = wanted

    def _set_health(self, text: str) -> None:
        self._artifacts["health"].wanted = f"## The watch of {plain(str(self._folder))}\n\n{text}\n"

    def _progress(self) -> float:
        counts = self._counts()
        waiting = sum(counts.get(state, 0) for state in _WAITING)
        ended = sum(counts.get(state, 0) for state in _ENDED)
        return round(100 * ended / (ended + waiting), 1) if ended + waiting else 100.0

    def _table(self) -> str:
        counts = self._counts()
        numbers = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
        with self._lock:
            changes = list(reversed(self._rows.values()))
        page = page_path(self._archive).as_uri()
        lines = [f"{numbers or 'No files yet'}. Archive: {code(str(self._archive))}", ""]
        # Browsers open no file from a page of a server, so it is text to copy.
        lines += [f"All images on one page, in the browser's address bar: {code(page)}", ""]
        lines += [f"- {sentence}" for sentence in dict.fromkeys(filter(None, map(_sentence, changes)))]
        lines += ["", "| file | state | recipe | seconds | gap |", "| --- | --- | --- | --- | --- |"]
        return "\n".join([*lines, *map(self._row, changes)])

    def _row(self, change: Change) -> str:
        path = change.path
        name = plain(str(path.relative_to(self._folder) if path.is_relative_to(self._folder) else path))
        if run := self._supervisor.run_of(path):
            name = f"[{name}](/runs/flow-run/{run})"
        state = f"**{change.state}**" if change.state in _FAULTS else str(change.state)
        return f"| {name} | {state} | {plain(change.recipe)} | {change.seconds} | {change.gap} |"


def _sentence(change: Change) -> str:
    """Return the reason and notes on a file, for which the table has no room; empty if there are none."""
    text = plain(" ".join([change.reason, *change.notes]).strip())
    name = plain(change.path.name)
    return text if not text or name in text else f"{name}: {text}"
