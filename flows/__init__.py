"""Prefect flows, one a file: each composes what `tvtasks` does into a run of the dashboard."""

import tvtasks.dashboard  # noqa: F401 - before Prefect is imported: it switches telemetry off
