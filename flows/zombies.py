"""Runs that nobody ends, because their process was killed: how a server finds them by itself."""

from __future__ import annotations

from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows.attendant import BEAT, TAG

NAME = "tvtasks: runs whose process was killed"

WITHIN = timedelta(seconds=3 * BEAT + 15)
"""How long a run may be silent: three heartbeats may get lost, and a busy server is late with the last."""

MESSAGE = (
    "tvtasks was killed, the computer went off, or the network failed before this run ended: there has been "
    "no sign of life of it for over a minute. What is left is done when the watch is started again."
)

UNBEGUN = "tvtasks: runs whose worker was killed before they began"

UNBEGUN_WITHIN = timedelta(seconds=120)
"""How long a worker may take to start the process of a run: imports from a slow share take a minute."""

UNBEGUN_MESSAGE = (
    "The worker that took this run was killed, or its computer went off, before the run began. It waits for "
    "another one."
)

AGAIN = "tvtasks: runs of workers that crashed are given again"

ATTEMPTS = 4
"""How often a run is begun at most. What kills its process each time is not to do so for ever."""

AGAIN_MESSAGE = "Its process was lost. What is done already is found in the archive; the rest is done now."


_OF_A_WORKER = ResourceSpecification({"prefect.resource.id": "prefect.work-pool.*"})


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


def unbegun(within: timedelta = UNBEGUN_WITHIN) -> AutomationCore:
    """Return the rule for runs that a worker took and did not begin, because it was killed just then.

    They have given no sign of life that could cease. Runs without a worker are not looked at. They wait for a
    worker again, however often that happens: each time takes two minutes.
    """
    wanted = automation(within)
    wanted.name = UNBEGUN
    assert isinstance(wanted.trigger, EventTrigger)
    assert isinstance(wanted.trigger.match_related, ResourceSpecification)
    wanted.trigger.after = {"prefect.flow-run.Pending", "prefect.flow-run.Submitting"}
    # A run that has to wait for others, or is put off, is waited for by nobody.
    waits = {f"prefect.flow-run.{state}" for state in ("Running", "AwaitingConcurrencySlot", "Scheduled")}
    wanted.trigger.expect = (wanted.trigger.expect - {"prefect.flow-run.heartbeat"}) | waits
    wanted.trigger.match_related = [wanted.trigger.match_related, _OF_A_WORKER]
    wanted.actions = [ChangeFlowRunState(state=StateType.SCHEDULED, message=UNBEGUN_MESSAGE)]
    return wanted


def again() -> AutomationCore:
    """Return the rule that gives a run that had begun and crashed to a worker again, a few times.

    A run that crashed before it began is left alone: its worker says why, and that will not heal by itself.
    Nor are runs looked at that no worker does: a watch does again by itself what was under way.
    """
    wanted = automation()
    wanted.name = AGAIN
    assert isinstance(wanted.trigger, EventTrigger)
    begun = [str(number) for number in range(1, ATTEMPTS)]
    match = {"prefect.resource.id": "prefect.flow-run.*", "prefect.run-count": begun}
    wanted.trigger = EventTrigger(
        match=ResourceSpecification(match),
        match_related=[wanted.trigger.match_related, _OF_A_WORKER],
        expect={"prefect.flow-run.Crashed"},
        posture=Posture.Reactive,
        threshold=1,
    )
    wanted.actions = [
        ChangeFlowRunState(state=StateType.SCHEDULED, name="AwaitingRetry", message=AGAIN_MESSAGE)
    ]
    return wanted


def ensure_automation(client: SyncPrefectClient, within: timedelta = WITHIN) -> str:
    """Have the server mark silent runs as crashed, in the way that this version of tvtasks wants it.

    Returns
    -------
    What was done: created, updated or unchanged.
    """
    return ensure(client, automation(within))


def ensure(client: SyncPrefectClient, wanted: AutomationCore) -> str:
    """Have the server keep a rule, once; return what was done."""
    found = client.read_automations_by_name(wanted.name)
    done = "unchanged" if found else "created"
    for there in found[:1]:
        if not is_same(there, wanted):
            client.update_automation(there.id, wanted)
            done = "updated"
    for twin in found[1:]:
        client.delete_automation(twin.id)
    if not found:
        client.create_automation(wanted)
    return done


def is_same(there: Automation, wanted: AutomationCore) -> bool:
    """Return whether a server's automation is what is wanted; the server adds ids."""
    # Not as JSON: what it expects is a set, which comes in any order.
    fields = wanted.model_dump(exclude={"tags", "owner_resource"})
    return AutomationCore.model_validate(there.model_dump()).model_dump(include=set(fields)) == fields
