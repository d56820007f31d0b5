"""Results that are handed on as events of a Prefect server."""

import time
from pathlib import Path

import httpx
import pytest
from prefect.client.orchestration import get_client

from tests.handover.archives import result
from tvtasks.archive.catalogue import entry
from tvtasks.handover.actions import load_actions


def test_a_server_has_one_event_of_a_result_however_often_it_is_sent(
    tmp_path: Path, at_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", at_server.api_url)
    (tmp_path / "actions.toml").write_text('[[action]]\nkind = "event"\nname = "events"\n')
    (action,) = load_actions(tmp_path / "actions.toml")
    made = entry(result(tmp_path / "archive", 0))
    with httpx.Client() as client:
        action.deliver(made, client)
        action.deliver(made, client)
    wanted = {"filter": {"event": {"name": ["tvtasks.result.archived"]}}}
    deadline = time.monotonic() + 30.0  # the server writes events when it has time to
    with get_client(sync_client=True) as client:
        while not (found := client.request("POST", "/events/filter", json=wanted).json()["events"]):
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.1)
    (event,) = found
    assert event["payload"]["run_id"] == made.run_id
    assert event["resource"]["prefect.resource.id"] == f"tvtasks.result.{made.run_id}"
