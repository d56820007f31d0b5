"""Prefect flows: composition of the tasks in `tvtasks.tasks`, and the command line that starts them."""

import os

# Prefect reads these when it is imported, which is after this package: nothing is reported to anyone.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY", "false")
