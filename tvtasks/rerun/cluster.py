"""Runs a batch in the processes of a Dask cluster, on this computer or on several that share the folders."""

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
"""Instead of an address: processes on this computer, one for each file worked on at a time."""

BATCH = 2
"""Files in a batch: sending several at a time means fewer requests to the scheduler."""

_WAITING = (
    1  # batches that wait beyond the number of threads; few, because they are finished after Ctrl-C too
)
_REFRESH = 2.0  # seconds between questions about the size of the cluster
_PATIENCE = 20.0  # seconds to wait for the scheduler


@contextmanager
def cluster(address: str, workers: int) -> Iterator[Pool | None]:
    """Yield a pool on a Dask cluster; without an address None, which stands for threads of this process.

    A batch whose process is killed goes to another process; a file during which four processes have died is
    given up. Only paths, recipes and outcomes travel between the processes.

    Parameters
    ----------
    address
        Address of the scheduler, such as ``tcp://10.0.0.5:8786``; or ``local``.
    workers
        Number of processes, if they are started here.

    Raises
    ------
    ConfigurationError
        Dask is not installed, no scheduler answers, or the workers have another version of tvtasks.
    """
    if not address:
        yield None
        return
    try:
        import distributed  # noqa: F401, PLC0415 - few need it
    except ImportError as error:
        raise ConfigurationError(
            "A rerun in several processes or on several computers needs Dask: pip install 'tvtasks[dask]'"
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
        # Scheduler and workers have pages of their own, which would be open to everyone.
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0",
        memory_limit=0,  # the system's own limit, as without Dask
        preload=[__name__],
        silence_logs=logging.ERROR,  # the outcomes of its files report a lost process
    )
    return stack.enter_context(Client(stack.enter_context(here)))


def dask_setup(_: object) -> None:
    """Leave Ctrl-C to the process of the command; Dask calls this in each process that is started here."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _at(address: str, stack: ExitStack) -> Client:
    from distributed import Client  # noqa: PLC0415

    try:
        client = stack.enter_context(Client(address, timeout=_PATIENCE))
    except (OSError, ValueError, TypeError) as error:  # the last two mean that it is not an address
        raise ConfigurationError(
            f"No Dask scheduler answers at {address}. Start one with 'dask scheduler', correct the address, "
            f"or give --dask {LOCAL} for processes on this computer. ({str(error) or type(error).__name__})"
        ) from error
    ours = versions()
    try:
        found: dict[str, dict[str, Any]] = client.run(versions)
    except Exception as error:  # a worker without tvtasks may raise anything
        raise ConfigurationError(
            f"A Dask worker at {address} cannot use tvtasks ({error}). Install tvtasks {ours['tvtasks']} "
            "there and start the worker again."
        ) from error
    for worker, theirs in found.items():
        if theirs != ours:
            raise ConfigurationError(
                f"The Dask worker {worker} has {_listed(theirs)}, but this computer has {_listed(ours)}: the "
                "results would differ. Install the same version on all computers."
            )
    return client


def versions() -> dict[str, Any]:
    """Return the versions that must be the same on all computers that work on one batch."""
    from tvtasks import __version__  # noqa: PLC0415 - this is called in the workers too
    from tvtasks.restoration import ALGORITHM_VERSION  # noqa: PLC0415

    return {"tvtasks": __version__, "algorithms": ALGORITHM_VERSION}


def _listed(found: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _room(client: Client, address: str) -> Callable[[], int]:
    """Return a function that returns how many batches the cluster should have; workers may come and go."""
    asked, room = -_REFRESH, 0

    def ask() -> int:
        nonlocal asked, room
        if client.status not in {"running", "connecting"}:
            raise TvtasksError(
                f"The Dask scheduler at {address} no longer answers. Finished results are in the archive: "
                "start the scheduler and run the same command again."
            )
        if client.status == "running" and time.monotonic() - asked >= _REFRESH:
            try:
                threads = sum(client.nthreads().values())
            except OSError:  # it is gone; the client tries to find it again for a while, then closes
                return 0
            # A cluster that grows on demand has no workers before it has work.
            room, asked = max(threads, 1) + _WAITING, time.monotonic()
        return room if client.status == "running" else 0

    return ask
