"""deployments/prefect.yaml, put on a server as its first lines say."""

import os
import subprocess
import sys
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate

from flows.restore import prefect_at

REPOSITORY = Path(__file__).parents[2]
DEPLOY = "--no-prompt deploy --all --prefect-file deployments/prefect.yaml"


def test_what_is_deployed_is_restore_two_runs_at_a_time_and_rerun_one(server):
    with prefect_at(server.api_url), get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="tvtasks", type="process"))
        subprocess.run(
            [sys.executable, "-m", "prefect", *DEPLOY.split()], cwd=REPOSITORY, check=True,
            capture_output=True, env=os.environ | {"PREFECT_API_URL": server.api_url},
        )  # fmt: skip
        rerun, deployment = sorted(client.read_deployments(), key=lambda found: found.name)
    assert (deployment.name, deployment.tags) == ("restore", ["tvtasks"])
    assert deployment.work_pool_name == "tvtasks"
    assert deployment.global_concurrency_limit.limit == 2
    assert deployment.concurrency_options.collision_strategy == "ENQUEUE"
    assert deployment.parameter_openapi_schema["required"] == ["path", "recipe", "archive"]
    assert deployment.entrypoint == "flows/restore.py:restore_flow"  # deploying has loaded it
    assert (rerun.name, rerun.tags, rerun.global_concurrency_limit.limit) == ("rerun", ["tvtasks"], 1)
    assert rerun.work_pool_name == "tvtasks"
    assert rerun.parameter_openapi_schema["required"] == ["sources", "recipes"]
    assert rerun.entrypoint == "flows/rerun.py:rerun_flow"
