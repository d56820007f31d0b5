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
    "no sign of life of it for over a minute. What is left is done when the watch is started again, or by "
    "another worker."
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

LATER = "tvtasks: runs of workers that crashed before they began are given again"

LATER_AFTER = timedelta(minutes=10)
"""How long such a run waits: the server may have been gone just then, and will be back. What does not heal,
such as a worker that lacks a package, is tried as seldom as this, and the run's log says what it is."""

AGAIN_MESSAGE = "Its process was lost. What is done already is found in the archive; the rest is done now."


_OURS = ResourceSpecification({"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"})
_OF_WORKERS = [_OURS, ResourceSpecification({"prefect.resource.id": "prefect.work-pool.*"})]
_DESCRIPTION = "Set up by tvtasks, which also keeps it as it should be."


def automation(within: timedelta = WITHIN) -> AutomationCore:
    """Return the rule that marks runs of tvtasks that have fallen silent as crashed.

    Whoever begins is expected to give a sign of life again and again (`flows.attendant`; a worker of Prefect
    has its runs do so too), or to end. Other flows on the server are left alone.
    """
    ends = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Crashed", "Cancelled")}
    beat = "prefect.flow-run.heartbeat"
    return AutomationCore(
        name=NAME,
        description=_DESCRIPTION,
        trigger=EventTrigger(
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=_OURS,
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
    wanted.trigger.after = {"prefect.flow-run.Pending", "prefect.flow-run.Submitting"}
    # A run that has to wait for others, or is put off, is waited for by nobody.
    waits = {f"prefect.flow-run.{state}" for state in ("Running", "AwaitingConcurrencySlot", "Scheduled")}
    wanted.trigger.expect = (wanted.trigger.expect - {"prefect.flow-run.heartbeat"}) | waits
    wanted.trigger.match_related = [*_OF_WORKERS]
    wanted.actions = [ChangeFlowRunState(state=StateType.SCHEDULED, message=UNBEGUN_MESSAGE)]
    return wanted


def again() -> AutomationCore:
    """Return the rule that gives a run that had begun and crashed to a worker again, a few times.

    Runs that no worker does are left alone: a watch does again by itself what was under way.
    """
    begun = [str(number) for number in range(1, ATTEMPTS)]
    trigger = EventTrigger(
        match=_runs_begun(*begun),
        match_related=_OF_WORKERS,
        expect={"prefect.flow-run.Crashed"},
        posture=Posture.Reactive,
        threshold=1,
    )
    return AutomationCore(name=AGAIN, description=_DESCRIPTION, trigger=trigger, actions=[_given_again()])


def later(within: timedelta = LATER_AFTER) -> AutomationCore:
    """Return the rule that gives a run of a worker that crashed before it began to a worker again."""
    trigger = EventTrigger(
        match=_runs_begun("0"),
        match_related=_OF_WORKERS,
        for_each={"prefect.resource.id"},
        after={"prefect.flow-run.Crashed"},
        expect={f"prefect.flow-run.{state}" for state in ("Scheduled", "AwaitingRetry", "Cancelled")},
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )
    return AutomationCore(name=LATER, description=_DESCRIPTION, trigger=trigger, actions=[_given_again()])


def _runs_begun(*times: str) -> ResourceSpecification:
    return ResourceSpecification(
        {"prefect.resource.id": "prefect.flow-run.*", "prefect.run-count": list(times)}
    )


def _given_again() -> ChangeFlowRunState:
    return ChangeFlowRunState(state=StateType.SCHEDULED, name="AwaitingRetry", message=AGAIN_MESSAGE)


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
