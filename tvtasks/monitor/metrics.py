"""Figures of a watch for Prometheus: files by state, seconds by stage, age of the queue, gaps of results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tvtasks.errors import ArchiveError, ConfigurationError
from tvtasks.monitor.ledger import Overview

if TYPE_CHECKING:
    from tvtasks.restoration import Call

P = ParamSpec("P")
T = TypeVar("T")

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
_GAPS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 0.1, 1.0)


class Metrics:
    """What is counted while a watch goes on, and, whenever someone asks, what its ledger says.

    Parameters
    ----------
    overview
        Asks the ledger; raises `ArchiveError` where it cannot be read, and its figures are then left out.
    now
        Seconds since 1970.

    Attributes
    ----------
    registry
        All of it, as prometheus-client has it.
    """

    def __init__(self, overview: Callable[[], Overview], *, now: Callable[[], float] = time.time) -> None:
        self.registry = CollectorRegistry()
        self._now = now
        self._arrived = Counter(
            "tvtasks_arrived", "Files that have come into the queue", registry=self.registry
        )
        self._restored = Counter("tvtasks_restored", "Files that were restored", registry=self.registry)
        self._unrestored = Counter(
            "tvtasks_not_restored", "Times that a file could not be restored", registry=self.registry
        )
        self._last = Gauge(
            "tvtasks_last_restored_timestamp_seconds",
            "When the last file was restored; before that, the start",
            registry=self.registry,
        )  # fmt: skip
        self._last.set(now())
        self._stages = Histogram(
            "tvtasks_stage_seconds", "Time that a stage of a restoration took", ["stage"], buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self._gaps = Histogram(
            "tvtasks_gap", "Largest certified relative gap of an image", buckets=_GAPS, registry=self.registry
        )
        self.registry.register(_OfLedger(overview, now))

    def arrived(self) -> None:
        """Count a file that has come into the queue."""
        self._arrived.inc()

    def restored(self, gaps: Iterable[float | None]) -> None:
        """Count a file that was restored, with the gaps of its images; None for what was done before."""
        self._restored.inc()
        self._last.set(self._now())
        for gap in gaps:
            if gap is not None:
                self._gaps.observe(gap)

    def failed(self) -> None:
        """Count a file that could not be restored."""
        self._unrestored.inc()

    def timed(self, call: Call) -> Call:
        """Return what calls a step as `call` does, and notes how long that took under the step's name."""

        def timing(step: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
            begun = time.perf_counter()
            try:
                return call(step, *args, **kwargs)
            finally:
                seconds = time.perf_counter() - begun
                self._stages.labels(getattr(step, "__name__", "step")).observe(seconds)

        return timing


@contextmanager
def serving(metrics: Metrics, port: int) -> Iterator[str]:
    """Answer Prometheus on this computer alone, at the address that is given; 0 is any free port.

    Raises
    ------
    ConfigurationError
        Another program has the port.
    """
    try:
        server, thread = start_http_server(port, "127.0.0.1", metrics.registry)
    except OSError as error:
        raise ConfigurationError(
            f"Figures cannot be served at port {port}: {error.strerror or error}. Give --metrics another one."
        ) from error
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _OfLedger(Collector):
    def __init__(self, overview: Callable[[], Overview], now: Callable[[], float]) -> None:
        self._overview = overview
        self._now = now

    def collect(self) -> Iterator[Metric]:
        try:
            overview = self._overview()
        except ArchiveError:
            return
        files = GaugeMetricFamily("tvtasks_files", "Files in each state", labels=["state"])
        for state, number in overview.counts.items():
            files.add_metric([state.value], number)
        yield files
        waiting = overview.oldest_waiting
        age = self._now() - datetime.fromisoformat(waiting.first_seen).timestamp() if waiting else 0.0
        yield GaugeMetricFamily(
            "tvtasks_queue_age_seconds", "How long the oldest file has waited in the queue", max(age, 0.0)
        )

    def describe(self) -> Iterator[Metric]:
        return iter(())  # so that registering it does not ask the ledger
