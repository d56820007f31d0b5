"""What tvtasks adds to a Prefect server: clients, pages, forms, supervision of runs, automations, setup.

Prefect is imported here, in `tvtasks.tasks` and in `flows`, and nowhere else.
"""

import os

# Prefect reads these when it is imported, after this package: they switch telemetry off.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY", "false")
