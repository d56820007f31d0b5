"""Runs that nobody ends, because their process was killed: how a server finds them by itself."""

from __future__ import annotations

from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows.attendant import BEAT, TAG

NAME = "tvtasks: runs whose process was killed"

WITHIN = timedelta(seconds=3 * BEAT + 15)
"""How long a run may be silent: three heartbeats may get lost, and a busy server is late with the last."""

MESSAGE = (
    "tvtasks was killed, the computer went off, or the network failed before this run ended: there has been "
    "no sign of life of it for over a minute. What is left is done when the watch is started again."
)


def automation(within: timedelta = WITHIN) -> AutomationCore:
    """Return the rule that marks runs of tvtasks that have fallen silent as crashed.

    Whoever begins is expected to give a sign of life again and again (`flows.attendant`; a worker of Prefect
    has its runs do so too), or to end. Other flows on the server are left alone.
    """
    ends = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Crashed", "Cancelled")}
    beat = "prefect.flow-run.heartbeat"
    return AutomationCore(
        name=NAME,
        description="Set up by tvtasks, which also keeps it as it should be.",
        trigger=EventTrigger(
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification(
                {"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"}
            ),
            for_each={"prefect.resource.id"},
            after={"prefect.flow-run.Running", beat},
            expect={beat, *ends},
            posture=Posture.Proactive,
            threshold=1,
            within=within,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=MESSAGE)],
    )


def ensure_automation(client: SyncPrefectClient, within: timedelta = WITHIN) -> None:
    """Have the server mark silent runs as crashed, in the way that this version of tvtasks wants it."""
    wanted = automation(within)
    found = client.read_automations_by_name(NAME)
    for there in found[:1]:
        same = wanted.model_dump(mode="json", exclude={"tags", "owner_resource"})
        if (
            AutomationCore.model_validate(there.model_dump()).model_dump(mode="json", include=set(same))
            != same
        ):
            client.update_automation(there.id, wanted)
    for twin in found[1:]:
        client.delete_automation(twin.id)
    if not found:
        client.create_automation(wanted)


def _says(there: object, wanted: object) -> bool:
    """Return whether what the server has holds all that is wanted; it adds ids and defaults of its own."""
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(_says(there.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        if not isinstance(there, list) or len(there) != len(wanted):
            return False
        pairs = zip(sorted(there, key=str), sorted(wanted, key=str), strict=True)
        return all(_says(one, other) for one, other in pairs)
    return there == wanted
