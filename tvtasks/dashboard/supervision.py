"""Supervises the runs of this process: sends their heartbeats and notices when someone cancels them.

Prefect does neither for runs that a process calls itself: a cancelled run would stay "Cancelling" for ever,
and the thread that sends heartbeats would make the shortest run last over a second. Here one thread does both
for all runs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events.schemas.events import Event
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Running

from tvtasks.dashboard import private
from tvtasks.dashboard.client import Connection
from tvtasks.dashboard.runs import TAG, Deployments
from tvtasks.errors import CancelledRunError
from tvtasks.periodic import Periodic
from tvtasks.restoration import Call

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

CHECK_SECONDS = 2.0
"""Seconds between checks for cancelled runs."""

RUN_HEARTBEAT_SECONDS = 20.0
"""Seconds before the first heartbeat of a run, so that short runs send none, and between heartbeats."""

_JOIN_SECONDS = 10.0
_REMEMBERED = 200  # most files whose run a page can link to
_CANCELLED = {StateType.CANCELLING, StateType.CANCELLED}


class RunSupervisor:
    """Supervises the runs of this process, in a thread of its own, while its context is open.

    Parameters
    ----------
    api_url
        The server. It may go away and come back: the supervisor tries again later.
    clock
        Returns monotonic seconds.

    Attributes
    ----------
    around
        Takes a function that calls the steps of a run, and returns the one to use instead.
    deployments
        The deployments on the server that list the runs, as far as known.
    """

    def __init__(self, api_url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.around: Callable[[Call], Call] = lambda call: call
        self.deployments: Deployments = {}
        self._clock = clock
        self._runs: dict[UUID, float] = {}
        self._on_cancel: dict[UUID, Callable[[], object]] = {}
        self._cancelled: set[UUID] = set()
        self._of_file: OrderedDict[Path, UUID] = OrderedDict()
        self._lock = threading.Lock()
        self._connection = Connection(api_url)
        self._next_heartbeat = clock() + RUN_HEARTBEAT_SECONDS
        # The thread needs the caller's settings: without an address, Prefect would start a server of its own.
        self._thread = Periodic(
            self._supervise,
            every=CHECK_SECONDS,
            name="tvtasks run supervisor",
            wait_first=True,
            expected=(httpx.HTTPError, RuntimeError, OSError),
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.stop(_JOIN_SECONDS):
            self._connection.close()

    def begin(self, run: UUID, path: Path | None = None, cancel: Callable[[], object] = lambda: None) -> None:
        """Start to supervise a run.

        Parameters
        ----------
        run
            The run.
        path
            The file that it restores.
        cancel
            Called once, in another thread, when someone cancels the run.
        """
        with self._lock:
            self._runs[run] = self._clock()
            self._on_cancel[run] = cancel
            if path is not None:
                self._of_file[path] = run
                self._of_file.move_to_end(path)
                if len(self._of_file) > _REMEMBERED:
                    self._of_file.popitem(last=False)

    def end(self, run: UUID) -> None:
        """Stop supervising a run."""
        with self._lock:
            self._runs.pop(run, None)
            self._on_cancel.pop(run, None)
            self._cancelled.discard(run)

    def run_of(self, path: Path) -> UUID | None:
        """Return the latest run of a file; None if that was too long ago."""
        with self._lock:
            return self._of_file.get(path)

    def is_cancelled(self, run: UUID) -> bool:
        """Return whether a run was cancelled at the last check; never waits."""
        return run in self._cancelled

    def check(self) -> None:
        """Ask the server for the states of the runs, and correct those that are wrong."""
        with self._lock:
            running = list(self._runs)
        if not running:
            return
        # The server returns at most 200 runs in one answer.
        chosen = FlowRunFilter.model_validate({"id": {"any_": running[:200]}})
        client = self._connection.client
        for found in client.read_flow_runs(flow_run_filter=chosen):
            self._take_in(client, found)

    def send_heartbeats(self) -> None:
        """Send a heartbeat for each run that has lasted for a while."""
        long_ago = self._clock() - RUN_HEARTBEAT_SECONDS
        with self._lock:
            living = [run for run, begun in self._runs.items() if begun <= long_ago]
        if living:
            events = [_heartbeat(run).model_dump(mode="json") for run in living]
            self._connection.client.request("POST", "/events", json=events)

    def _take_in(self, client: SyncPrefectClient, found: FlowRun) -> None:
        state = found.state.type if found.state else None
        with self._lock:
            cancel = self._on_cancel.get(found.id)
            if cancel is None:  # it ended in the meantime
                return
            is_news = found.id not in self._cancelled
            if state in _CANCELLED:
                self._cancelled.add(found.id)
        if state in _CANCELLED and is_news:
            cancel()
        elif state is StateType.CRASHED:
            # The computer was asleep, or the network was down, so the server gave up on the run.
            client.set_flow_run_state(found.id, Running(), force=True)

    def _supervise(self) -> None:
        self.check()
        if self._clock() >= self._next_heartbeat:
            self._next_heartbeat = self._clock() + RUN_HEARTBEAT_SECONDS
            self.send_heartbeats()


_supervisor: ContextVar[RunSupervisor | None] = ContextVar("supervisor", default=None)


def current_supervisor() -> RunSupervisor | None:
    """Return the supervisor of the runs in this context; None if there is none."""
    return _supervisor.get()


@contextmanager
def prefect_at(api_url: str) -> Iterator[RunSupervisor]:
    """Run flows against a server, supervised by this process; yield the supervisor.

    Prefect's own heartbeats are off: at the end of every run, Prefect waits for the thread that sends them,
    which makes even the shortest run last over a second. The supervisor sends them instead.
    """
    with private.cheap_client_settings(api_url) as cheap:
        settings = {PREFECT_API_URL: api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, **cheap}
        with temporary_settings(settings), RunSupervisor(api_url) as supervisor:
            token = _supervisor.set(supervisor)
            try:
                yield supervisor
            finally:
                _supervisor.reset(token)
                private.send_what_is_left()


@contextmanager
def supervised(run: UUID, path: Path) -> Iterator[Callable[[Call], Call]]:
    """Supervise the run of a file; yield a wrapper for its steps that ends a cancelled run between two steps.

    A Prefect worker supervises its runs itself, so they are left alone.
    """
    supervisor = _supervisor.get()
    if supervisor is None:
        yield lambda call: call
        return

    def check() -> None:
        if supervisor.is_cancelled(run):
            raise CancelledRunError(
                f"{path.name} was cancelled in the dashboard. The next start of the watch restores it; to "
                "restore it now, run tvtasks retry with it."
            )

    def around(call: Call) -> Call:
        def checked(step: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
            check()
            return call(step, *args, **kwargs)

        return supervisor.around(checked)

    supervisor.begin(run, path)
    try:
        yield around
    finally:
        supervisor.end(run)


def _heartbeat(run: UUID) -> Event:
    # Like Prefect's own heartbeat, with the tag that distinguishes our runs from others on the server.
    values: dict[str, Any] = {
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
        "related": [{"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"}],
    }
    return Event.model_validate(values)
