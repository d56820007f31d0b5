"""Prefect flows, one per file: each composes the work of `tvtasks` into a run in the dashboard."""

import tvtasks.dashboard  # noqa: F401 - switches telemetry off before Prefect is imported
