"""Beside the runs of this process: asks whether they are cancelled, and tells the server that they live.

Prefect does neither for runs that are called in a process of one's own. One that is cancelled there would
stay "Cancelling" for ever, and the thread that sends heartbeats makes the shortest run last over a second.
Here one thread does both for all runs together.
"""

from __future__ import annotations

import contextvars
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
from prefect.states import Running

from flows.client import Connection
from flows.live import Deployments
from tvtasks.errors import CancelledRunError
from tvtasks.restoration import Call

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

TAG = "tvtasks"
"""Tag of the runs that are attended: what marks runs without heartbeats as crashed looks at no others."""

LOOK = 2.0
"""Seconds between two questions whether a run is cancelled."""

BEAT = 20.0
"""Seconds between two heartbeats of a run; the first comes after as long, so that short runs have none."""

_PATIENCE = 10.0
_REMEMBERED = 200  # files whose run can be linked to
_CANCELLED = {StateType.CANCELLING, StateType.CANCELLED}


class Attendant:
    """Attends to the runs of this process in a thread of its own while it is entered.

    Parameters
    ----------
    api_url
        The server. It may go and come back: what cannot be asked or told is asked or told later.
    clock
        Monotonic seconds.

    Attributes
    ----------
    around
        What is put around each step of the runs: given how a step is called, it returns how to call it.
    deployments
        The deployments of the server under which the runs are listed, as they become known.
    """

    def __init__(self, api_url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.around: Callable[[Call], Call] = lambda call: call
        self.deployments: Deployments = {}
        self._clock = clock
        self._runs: dict[UUID, float] = {}
        self._cancelled: dict[UUID, Callable[[], object]] = {}
        self._told: set[UUID] = set()
        self._of_file: OrderedDict[Path, UUID] = OrderedDict()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._connection = Connection(api_url)
        # With the settings of the caller: without an address, Prefect would start a server of its own.
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._go,), name="tvtasks attendant", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_PATIENCE)

    def begin(self, run: UUID, path: Path | None = None, cancel: Callable[[], object] = lambda: None) -> None:
        """Attend to a run from now on.

        Parameters
        ----------
        run
            The run.
        path
            The file that it restores.
        cancel
            Called once, in another thread, when it is cancelled.
        """
        with self._lock:
            self._runs[run] = self._clock()
            self._cancelled[run] = cancel
            if path is not None:
                self._of_file[path] = run
                self._of_file.move_to_end(path)
                if len(self._of_file) > _REMEMBERED:
                    self._of_file.popitem(last=False)

    def end(self, run: UUID) -> None:
        """Attend to a run no more."""
        with self._lock:
            self._runs.pop(run, None)
            self._cancelled.pop(run, None)
            self._told.discard(run)

    def run_of(self, path: Path) -> UUID | None:
        """Return the latest run of a file, if it is not too long ago."""
        with self._lock:
            return self._of_file.get(path)

    def is_cancelled(self, run: UUID) -> bool:
        """Say whether a run was cancelled when that was last asked; never waits."""
        return run in self._told

    def look(self) -> None:
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

    def beat(self) -> None:
        """Tell the server of the runs that have gone on for a while that they live."""
        long_ago = self._clock() - BEAT
        with self._lock:
            living = [run for run, begun in self._runs.items() if begun <= long_ago]
        if living:
            events = [_heartbeat(run).model_dump(mode="json") for run in living]
            self._connection.client.request("POST", "/events", json=events)

    def _take_in(self, client: SyncPrefectClient, found: FlowRun) -> None:
        state = found.state.type if found.state else None
        with self._lock:
            cancel = self._cancelled.get(found.id)
            if cancel is None:  # ended meanwhile
                return
            told = found.id in self._told
            if state in _CANCELLED:
                self._told.add(found.id)
        if state in _CANCELLED and not told:
            cancel()
        elif state is StateType.CRASHED:
            # The computer was asleep, or the server could not be reached: it has been given up for dead.
            client.set_flow_run_state(found.id, Running(), force=True)

    def _go(self) -> None:
        next_beat = self._clock() + BEAT
        try:
            while not self._stop.wait(LOOK):
                try:
                    self.look()
                    if self._clock() >= next_beat:
                        next_beat = self._clock() + BEAT
                        self.beat()
                except (httpx.HTTPError, RuntimeError, OSError) as error:
                    logger.debug("The runs could not be attended to: %s", error)
                except Exception:
                    logger.exception("Attending to the runs failed")
        finally:
            self._connection.close()


_attendant: ContextVar[Attendant | None] = ContextVar("attendant", default=None)


@contextmanager
def attending(api_url: str) -> Iterator[Attendant]:
    """Attend to the runs that are begun in this context, and in those that are copied from it."""
    with Attendant(api_url) as attendant:
        token = _attendant.set(attendant)
        try:
            yield attendant
        finally:
            _attendant.reset(token)


def current() -> Attendant | None:
    """Return what attends to the runs of this context."""
    return _attendant.get()


@contextmanager
def attended(run: UUID, path: Path) -> Iterator[Callable[[Call], Call]]:
    """Attend to the run of a file; give what has its steps called so that it ends between two when cancelled.

    Where nobody attends, because a worker of Prefect runs it and looks after it, it is left alone.
    """
    attendant = _attendant.get()
    if attendant is None:
        yield lambda call: call
        return

    def check() -> None:
        if attendant.is_cancelled(run):
            raise CancelledRunError(
                f"{path.name} was cancelled in the dashboard. It is not restored unless you ask for it with "
                "tvtasks retry, or its content changes."
            )

    def around(call: Call) -> Call:
        def checked(step: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
            check()
            return call(step, *args, **kwargs)

        return attendant.around(checked)

    attendant.begin(run, path)
    try:
        yield around
    finally:
        attendant.end(run)


def _heartbeat(run: UUID) -> Event:
    # As Prefect's own, with the tag by which its runs are told from others on the server.
    values: dict[str, Any] = {
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
        "related": [{"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"}],
    }
    return Event.model_validate(values)
