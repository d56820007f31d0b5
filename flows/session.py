"""What the dashboard shows of a watch: a run that stands for it, with its progress, files and health."""

from __future__ import annotations

import contextvars
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
from prefect.client.schemas.objects import State as RunState
from prefect.states import Cancelled, Completed, Failed, Running

from flows import live
from flows.acquire import Change
from flows.attendant import TAG, Attendant
from flows.client import Connection
from flows.display import FINAL, figures, notes
from flows.restore import archive_tag, close_lost_runs
from flows.zombies import ensure_automation
from tvtasks.errors import ArchiveError
from tvtasks.monitor.health import Problem
from tvtasks.monitor.ledger import State
from tvtasks.tasks import plain

logger = logging.getLogger(__name__)

EVERY = 2.0
"""Seconds between two times of showing what has changed."""

ROWS = 50
"""Files in the table: the latest that were begun or came to an end."""

_SHOWN = {*FINAL, State.RUNNING}
_FAULTS = {"failed", "quarantined", "incomplete"}
_WAITING = (State.QUEUED, State.RUNNING, State.FAILED)
_ENDED = (State.DONE, State.QUARANTINED)


@flow(name="watch")
def _watch(folder: str, archive: str, recipes: list[str]) -> None:
    """Stands for a watch in the dashboard; never called, as a watch must go on without a server."""


@dataclass
class _Shown:
    """An artifact: what it is to show, what it shows, and its id on the server."""

    type: str
    description: str
    data: Any = None
    wanted: Any = None
    id: UUID | None = None


class Session:
    """Shows a watch in the dashboard, from a thread of its own once it has begun.

    There are three artifacts for each archive, changed in place, so that they do not fill the database: how
    much of the work is done, the latest files, and what is wrong. Their keys are `progress-NAME`,
    `files-NAME` and `health-NAME`, with the name of the archive's folder and a few letters that tell it from
    others of that name.

    Parameters
    ----------
    attendant
        Tells the server that the watch lives, and the watch that it is cancelled.
    api_url
        The server. While it is gone nothing is shown, and nothing waits for it.
    folder, archive, recipes
        What is watched, where results go, and by what recipes, as they were given.
    counts
        How many files are in each state.
    cancel
        Called once if the run of the watch is cancelled in the dashboard.
    answers
        Whether the server answered when it was last looked at.
    """

    def __init__(
        self,
        attendant: Attendant,
        api_url: str,
        folder: Path,
        archive: Path,
        recipes: Sequence[str] = (),
        *,
        counts: Callable[[], Mapping[State, int]] = dict,
        cancel: Callable[[], object] = lambda: None,
        answers: Callable[[], bool] = lambda: True,
    ) -> None:
        self._attendant = attendant
        self._folder, self._archive, self._recipes = folder.resolve(), archive.resolve(), list(recipes)
        self._counts = counts
        self._cancel = cancel
        self._answers = answers
        self._rows: OrderedDict[Path, Change] = OrderedDict()
        self._lock = threading.Lock()
        self._changed = True
        self._run: UUID | None = None
        self._was_cancelled = False
        self._shown = {
            "progress": _Shown("progress", f"Progress of the watch of {self._folder}, in per cent"),
            "files": _Shown("markdown", f"The latest files of the watch of {self._folder}"),
            "health": _Shown("markdown", f"Health of the watch of {self._folder}"),
        }
        self._connection = Connection(api_url)
        self._stop = threading.Event()
        # With the settings of the caller: without an address, Prefect would start a server of its own.
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._go,), name="tvtasks session", daemon=True
        )
        self.show([])

    def note(self, change: Change) -> None:
        """Take in a change of a file's state; never waits."""
        if change.state not in _SHOWN:
            self._changed = True
            return
        with self._lock:
            self._rows[change.path] = change
            self._rows.move_to_end(change.path)
            if len(self._rows) > ROWS:
                self._rows.popitem(last=False)
            self._changed = True

    def show(self, problems: Sequence[Problem]) -> None:
        """Take in what is wrong with the watch now; never waits."""
        self._say_health("\n".join(f"- {plain(problem.sentence)}" for problem in problems) or "All is well.")

    def begin(self) -> None:
        """Close the runs that an earlier watch left, and show this one from now on."""
        close_lost_runs(self._archive)
        self._thread.start()

    def publish(self) -> None:
        """Show what has changed since the last time."""
        client = self._connection.client
        try:
            if self._run is None:
                self._begin_run(client)
            if self._changed:
                self._changed = False
                self._shown["files"].wanted = self._table()
                self._shown["progress"].wanted = self._progress()
            for kind, shown in self._shown.items():
                self._put(client, kind, shown)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.NOT_FOUND:
                raise
            # Someone has deleted the run or an artifact of it, or the server has another database now.
            self._forget()

    @property
    def name(self) -> str:
        """What the keys of the artifacts end with."""
        name = re.sub("[^a-z0-9]+", "-", self._archive.name.lower()).strip("-")[:40] or "archive"
        return f"{name}-{archive_tag(self._archive).rpartition(':')[2][:6]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        self._stop.set()
        if not self._thread.is_alive():
            return
        self._thread.join(EVERY + 10)
        if self._thread.is_alive():
            return
        try:
            if self._answers():
                self._say_health("The watch has ended.")
                self._changed = True
                self.publish()
                self._end_run(error)
        except (httpx.HTTPError, RuntimeError, OSError, ArchiveError) as trouble:
            logger.debug("The end of the watch could not be shown: %s", trouble)
        finally:
            self._connection.close()

    def _begin_run(self, client: SyncPrefectClient) -> None:
        ensure_automation(client)
        parameters = {"folder": str(self._folder), "archive": str(self._archive), "recipes": self._recipes}
        run = live.create(
            client, self._attendant.deployments, _watch, f"watch {self._folder.name}", parameters,
            tags={TAG, archive_tag(self._archive)}, state=Running(),
        )  # fmt: skip
        self._run = run.id
        self._attendant.begin(run.id, cancel=self._take_cancel)

    def _end_run(self, error: BaseException | None) -> None:
        if self._run is None:
            return
        self._attendant.end(self._run)
        state: RunState[Any] = Completed(message="The watch was stopped, or had nothing left to do.")
        if self._was_cancelled:
            state = Cancelled(
                message="The watch was cancelled in the dashboard; it finished what was under way."
            )
        elif isinstance(error, Exception):
            state = Failed(message=str(error) or type(error).__name__)
        self._connection.client.set_flow_run_state(self._run, state, force=True)

    def _take_cancel(self) -> None:
        self._was_cancelled = True
        logger.info("The watch is cancelled in the dashboard.")
        self._cancel()

    def _forget(self) -> None:
        if self._run is not None:
            self._attendant.end(self._run)
        self._run = None
        self._changed = True
        for shown in self._shown.values():
            shown.data = shown.id = None

    def _put(self, client: SyncPrefectClient, kind: str, shown: _Shown) -> None:
        if shown.wanted == shown.data or shown.wanted is None:
            return
        wanted = shown.wanted
        # Neither create_artifact() nor update_artifact(): they have an event sent each time.
        if shown.id is None:
            new = ArtifactCreate(
                key=f"{kind}-{self.name}", type=shown.type, data=wanted, description=shown.description,
                flow_run_id=self._run,
            )  # fmt: skip
            # Not create_artifact(): it has an event sent, whose worker would hold up the end of the process.
            reply = client.request(
                "POST", "/artifacts/", json=new.model_dump(mode="json", exclude_unset=True)
            )
            shown.id = UUID(reply.json()["id"])
        else:
            client.request("PATCH", "/artifacts/{id}", path_params={"id": shown.id}, json={"data": wanted})
        shown.data = wanted

    def _say_health(self, text: str) -> None:
        self._shown["health"].wanted = f"## The watch of {plain(str(self._folder))}\n\n{text}\n"

    def _progress(self) -> float:
        counts = self._counts()
        waiting = sum(counts.get(state, 0) for state in _WAITING)
        ended = sum(counts.get(state, 0) for state in _ENDED)
        return round(100 * ended / (ended + waiting), 1) if ended + waiting else 100.0

    def _table(self) -> str:
        counts = self._counts()
        said = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
        with self._lock:
            changes = list(reversed(self._rows.values()))
        lines = [f"{said or 'No files yet'}. Archive: `{self._archive}`", ""]
        lines += [f"- {sentence}" for sentence in dict.fromkeys(filter(None, map(_sentence, changes)))]
        lines += ["", "| file | state | recipe | seconds | gap |", "| --- | --- | --- | --- | --- |"]
        return "\n".join([*lines, *map(self._row, changes)])

    def _row(self, change: Change) -> str:
        path = change.path
        name = plain(str(path.relative_to(self._folder) if path.is_relative_to(self._folder) else path))
        if run := self._attendant.run_of(path):
            name = f"[{name}](/runs/flow-run/{run})"
        gap, seconds = figures(change.outcomes)
        state = f"**{change.state}**" if change.state in _FAULTS else str(change.state)
        return f"| {name} | {state} | {plain(change.recipe)} | {seconds} | {gap} |"

    def _go(self) -> None:
        while True:
            try:
                if self._answers():
                    self.publish()
            except (httpx.HTTPError, RuntimeError, OSError, ArchiveError) as error:
                logger.debug("The watch could not be shown in the dashboard: %s", error)
            except Exception:
                logger.exception("Showing the watch in the dashboard failed")
            if self._stop.wait(EVERY):
                return


def _sentence(change: Change) -> str:
    """Return what a user should know of a file and a table has no room for; empty where there is nothing."""
    text = plain(" ".join([change.reason, *notes(change)]).strip())
    name = plain(change.path.name)
    return text if not text or name in text else f"{name}: {text}"
