"""A rerun over the processes of a Dask cluster, on this computer or on many that share the folders."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from tvtasks.errors import ConfigurationError, TvtasksError
from tvtasks.rerun.working import Pool

if TYPE_CHECKING:
    from distributed import Client

LOCAL = "local"
"""Instead of an address: processes of this computer, as many as files are to be worked on at a time."""

BATCH = 2
"""Files that are sent at a time, so that the scheduler is asked less often."""

_WAITING = 1  # batches more than there are threads; after Ctrl-C these are done too, so few
_REFRESH = 2.0  # seconds between two questions how large the cluster is
_PATIENCE = 20.0  # seconds to find it


@contextmanager
def cluster(address: str, workers: int) -> Iterator[Pool | None]:
    """Give where files are worked on: a Dask cluster; None, for threads of this process, without an address.

    A batch whose process is killed is sent to another; a file that has cost four processes is given up.
    Nothing but paths, recipes and outcomes is sent.

    Parameters
    ----------
    address
        Of the scheduler, such as ``tcp://10.0.0.5:8786``; or ``local``.
    workers
        Processes, where they are started here.

    Raises
    ------
    ConfigurationError
        Dask is not installed, nobody answers there, or tvtasks is not what it is here.
    """
    if not address:
        yield None
        return
    try:
        import distributed  # noqa: F401, PLC0415 - few need it
    except ImportError as error:
        raise ConfigurationError(
            "A rerun over several processes or computers needs Dask: pip install 'tvtasks[dask]'"
        ) from error
    with ExitStack() as stack:
        client = _local(workers, stack) if address == LOCAL else _at(address, stack)
        yield Pool(client.get_executor(pure=False), _room(client, address), BATCH)


def _local(workers: int, stack: ExitStack) -> Client:
    from distributed import Client, LocalCluster  # noqa: PLC0415

    here = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        host="127.0.0.1",
        # Scheduler and workers have pages of their own, which would be open to everybody.
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0",
        memory_limit=0,  # the system's own limit, as without Dask
        preload=[__name__],
        silence_logs=logging.ERROR,  # that a process was lost is told by what becomes of its files
    )
    return stack.enter_context(Client(stack.enter_context(here)))


def dask_setup(_: object) -> None:
    """Leave Ctrl-C to whoever has given the command; Dask calls this in each process that is started here."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _at(address: str, stack: ExitStack) -> Client:
    from distributed import Client  # noqa: PLC0415

    try:
        client = stack.enter_context(Client(address, timeout=_PATIENCE))
    except (OSError, ValueError, TypeError) as error:  # the last two: what is no address
        raise ConfigurationError(
            f"No Dask scheduler answers at {address}. Start one with 'dask scheduler', correct the address, "
            f"or give --dask {LOCAL} for processes of this computer. ({str(error) or type(error).__name__})"
        ) from error
    ours = versions()
    try:
        found: dict[str, dict[str, Any]] = client.run(versions)
    except Exception as error:  # whatever a worker without tvtasks raises comes here
        raise ConfigurationError(
            f"A Dask worker at {address} cannot use tvtasks ({error}). Install tvtasks {ours['tvtasks']} for "
            "it and start it again."
        ) from error
    for worker, theirs in found.items():
        if theirs != ours:
            raise ConfigurationError(
                f"The Dask worker {worker} has {_said(theirs)}, and here it is {_said(ours)}: the results "
                "would differ. Install the same on all of them."
            )
    return client


def versions() -> dict[str, Any]:
    """Return what must be the same wherever images of one rerun are restored."""
    from tvtasks import __version__  # noqa: PLC0415 - this is called in the workers too
    from tvtasks.restoration import ALGORITHM_VERSION  # noqa: PLC0415

    return {"tvtasks": __version__, "algorithms": ALGORITHM_VERSION}


def _said(what: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in what.items())


def _room(client: Client, address: str) -> Callable[[], int]:
    """Return what says how many batches the cluster should have; workers may come and go."""
    asked, room = -_REFRESH, 0

    def ask() -> int:
        nonlocal asked, room
        if client.status not in {"running", "connecting"}:
            raise TvtasksError(
                f"The Dask scheduler at {address} does not answer any more. What was done is in the archive: "
                "start the scheduler and give the same command again."
            )
        if client.status == "running" and time.monotonic() - asked >= _REFRESH:
            try:
                threads = sum(client.nthreads().values())
            except OSError:  # it is gone; the client tries for a while to find it again, and then is closed
                return 0
            # A cluster that grows with its work has no workers before there is any.
            room, asked = max(threads, 1) + _WAITING, time.monotonic()
        return room if client.status == "running" else 0

    return ask
