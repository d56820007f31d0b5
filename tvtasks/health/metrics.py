"""Metrics of a watch for Prometheus: files by state, seconds by step, age of the queue, gaps and scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tvtasks.errors import ArchiveError, ConfigurationError
from tvtasks.ledger import UNRESTORED, Overview, State
from tvtasks.listener import Listener
from tvtasks.outcome import Change, Outcome
from tvtasks.scores import FLAGS

if TYPE_CHECKING:
    from tvtasks.restoration import Call

P = ParamSpec("P")
T = TypeVar("T")

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
_GAPS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 0.1, 1.0)
_FRACTIONS = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 1.0, 1.02, 1.05, 1.1, 1.5)


class Metrics(Listener):
    """Counts the files of a running watch, and asks its ledger whenever Prometheus scrapes the metrics.

    Parameters
    ----------
    overview
        Reads the ledger; if it raises `ArchiveError`, the figures from the ledger are left out.
    now
        Returns seconds since 1970.

    Attributes
    ----------
    registry
        The prometheus-client registry with the metrics.
    """

    def __init__(self, overview: Callable[[], Overview], *, now: Callable[[], float] = time.time) -> None:
        self.registry = CollectorRegistry()
        self._now = now
        self._arrived = Counter("tvtasks_arrived", "Files that came into the queue", registry=self.registry)
        self._restored = Counter("tvtasks_restored", "Files restored", registry=self.registry)
        self._unrestored = Counter(
            "tvtasks_not_restored", "Failed attempts to restore a file", registry=self.registry
        )
        self._last = Gauge(
            "tvtasks_last_restored_timestamp_seconds",
            "When the last file was restored; before the first file, when the watch began",
            registry=self.registry,
        )
        self._last.set(now())
        self._stages = Histogram(
            "tvtasks_stage_seconds",
            "Seconds that a step of a restoration took",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._gaps = Histogram(
            "tvtasks_gap", "Largest certified relative gap of an image", buckets=_GAPS, registry=self.registry
        )
        self._scores = Histogram(
            "tvtasks_score",
            "Scores of the images that were restored, as fractions",
            ["score"],
            buckets=_FRACTIONS,
            registry=self.registry,
        )
        self._flagged = Counter(
            "tvtasks_flagged", "Restored images that someone should look at", ["flag"], registry=self.registry
        )
        for flag in FLAGS:  # a counter that appears with its first image has not increased
            self._flagged.labels(flag)
        self.registry.register(_OfLedger(overview, now))

    def changed(self, change: Change) -> None:
        """Count a file that was queued, was restored or failed."""
        if change.state == State.QUEUED:
            self._arrived.inc()
        elif change.state == State.DONE:
            self._restored.inc()
            self._last.set(self._now())
            for outcome in change.outcomes:
                self._count(outcome)
        elif change.state in UNRESTORED:
            self._unrestored.inc()

    def _count(self, outcome: Outcome) -> None:
        if outcome.gap is not None:
            self._gaps.observe(outcome.gap)
        if outcome.scores:
            for name, value in outcome.scores.fractions.items():
                self._scores.labels(name).observe(value)
            for flag in outcome.scores.flags:
                self._flagged.labels(flag).inc()

    def timed(self, call: Call) -> Call:
        """Return a function that calls a step as `call` does and records its time under its name."""

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
    """Serve the metrics to this computer only, and yield the address; port 0 stands for any free port.

    Raises
    ------
    ConfigurationError
        Another program uses the port.
    """
    try:
        server, thread = start_http_server(port, "127.0.0.1", metrics.registry)
    except OSError as error:
        raise ConfigurationError(
            f"Port {port} cannot serve metrics: {error.strerror or error}. Give --metrics another port."
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
        return iter(())  # registering must not read the ledger
