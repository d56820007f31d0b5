"""Supervision of this process's runs: sends their heartbeats, and finds out whether they are cancelled.

Prefect does neither for runs that a process calls by itself: a run that someone cancels would stay
"Cancelling" for ever, and the thread that sends heartbeats makes the shortest run last over a second. Here
one thread does both for all runs together.
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
"""Seconds between two questions whether a run is cancelled."""

RUN_HEARTBEAT_SECONDS = 20.0
"""Seconds between two heartbeats of a run; the first comes after as long, so that short runs have none."""

_JOIN_SECONDS = 10.0
_REMEMBERED = 200  # files whose run can be linked to
_CANCELLED = {StateType.CANCELLING, StateType.CANCELLED}


class RunSupervisor:
    """Supervises the runs of this process in a thread of its own while it is entered.

    Parameters
    ----------
    api_url
        The server. It may go and come back: what cannot be asked or sent now is asked or sent later.
    clock
        Monotonic seconds.

    Attributes
    ----------
    around
        Given how a step of a run is called, returns how to call it.
    deployments
        The deployments of the server under which the runs are listed, as they become known.
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
        # With the settings of the caller: without an address, Prefect would start a server of its own.
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
        """Supervise a run from now on.

        Parameters
        ----------
        run
            The run.
        path
            The file that it restores.
        cancel
            Called once, in another thread, when the run is cancelled.
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
        """Supervise a run no more."""
        with self._lock:
            self._runs.pop(run, None)
            self._on_cancel.pop(run, None)
            self._cancelled.discard(run)

    def run_of(self, path: Path) -> UUID | None:
        """Return the latest run of a file, if it is not too long ago."""
        with self._lock:
            return self._of_file.get(path)

    def is_cancelled(self, run: UUID) -> bool:
        """Return whether a run was cancelled when the server was last asked; never waits."""
        return run in self._cancelled

    def check(self) -> None:
        """Ask the server how the runs are, and put right what it has wrong."""
        with self._lock:
            running = list(self._runs)
        if not running:
            return
        # Whoever has no more than 200 at a time gets all of them in one answer.
        chosen = FlowRunFilter.model_validate({"id": {"any_": running[:200]}})
        client = self._connection.client
        for found in client.read_flow_runs(flow_run_filter=chosen):
            self._take_in(client, found)

    def send_heartbeats(self) -> None:
        """Send a heartbeat of each run that has gone on for a while."""
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
            if cancel is None:  # ended meanwhile
                return
            is_news = found.id not in self._cancelled
            if state in _CANCELLED:
                self._cancelled.add(found.id)
        if state in _CANCELLED and is_news:
            cancel()
        elif state is StateType.CRASHED:
            # The computer was asleep, or the server could not be reached: the server gave the run up.
            client.set_flow_run_state(found.id, Running(), force=True)

    def _supervise(self) -> None:
        self.check()
        if self._clock() >= self._next_heartbeat:
            self._next_heartbeat = self._clock() + RUN_HEARTBEAT_SECONDS
            self.send_heartbeats()


_supervisor: ContextVar[RunSupervisor | None] = ContextVar("supervisor", default=None)


def current_supervisor() -> RunSupervisor | None:
    """Return what supervises the runs of this context."""
    return _supervisor.get()


@contextmanager
def prefect_at(api_url: str) -> Iterator[RunSupervisor]:
    """Run flows against a server, supervised by this process; give the supervisor.

    Prefect's own heartbeats are off: at the end of every run Prefect waits for the thread that sends them,
    which makes the shortest run last over a second. The supervisor sends them instead.
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
    """Supervise the run of a file; give what makes it end between two steps when someone cancels it.

    A run that a Prefect worker does is left alone: the worker supervises it.
    """
    supervisor = _supervisor.get()
    if supervisor is None:
        yield lambda call: call
        return

    def check() -> None:
        if supervisor.is_cancelled(run):
            raise CancelledRunError(
                f"{path.name} was cancelled in the dashboard. It is not restored until you run tvtasks retry "
                "with it, or its content changes."
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
    # Like Prefect's own, with the tag by which its runs are told from others on the server.
    values: dict[str, Any] = {
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
        "related": [{"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"}],
    }
    return Event.model_validate(values)
