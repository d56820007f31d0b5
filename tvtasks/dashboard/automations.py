"""Rules of a Prefect server for runs whose process was killed: it marks them, and schedules them again."""

from __future__ import annotations

from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from tvtasks.dashboard.runs import TAG
from tvtasks.dashboard.supervision import RUN_HEARTBEAT_SECONDS

SILENT = "tvtasks: mark runs whose process was killed as crashed"
SILENT_AFTER = timedelta(seconds=3 * RUN_HEARTBEAT_SECONDS + 15)
"""How long a run may be silent: three heartbeats may get lost, and a busy server is late with the last."""
SILENT_MESSAGE = (
    "tvtasks was killed, the computer went off, or the network failed before this run ended: it has given no "
    "sign of life for over a minute. The next watch, or another worker, does what is left."
)

UNBEGUN = "tvtasks: schedule runs again whose worker was killed before they began"
UNBEGUN_AFTER = timedelta(seconds=120)
"""How long a worker may take to start the process of a run: imports from a slow share take a minute."""
UNBEGUN_MESSAGE = (
    "The worker that took this run was killed, or its computer went off, before the run began. The run waits "
    "for another worker."
)

CRASHED = "tvtasks: schedule crashed runs of workers again"
ATTEMPTS = 4
"""How often a run is begun at most: a run that kills its process each time must not do so for ever."""

CRASHED_UNBEGUN = "tvtasks: schedule runs of workers again that crashed before they began"
CRASHED_UNBEGUN_AFTER = timedelta(minutes=10)
"""How long such a run waits: the server may have been gone just then, and will be back. What does not heal,
such as a worker that lacks a package, is retried as seldom as this, and the run's log says what it is."""

AGAIN_MESSAGE = "Its process was lost. The archive has what is done already; the rest is done now."

_OURS = ResourceSpecification({"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"})
_OF_WORKERS = [_OURS, ResourceSpecification({"prefect.resource.id": "prefect.work-pool.*"})]
_DESCRIPTION = "Set up and kept up to date by tvtasks."
_HEARTBEAT = "prefect.flow-run.heartbeat"


def silent_runs(after: timedelta = SILENT_AFTER) -> AutomationCore:
    """Return the rule that marks runs of tvtasks that have fallen silent as crashed.

    A run that has begun must give a sign of life again and again (`tvtasks.dashboard.supervision` sees to
    that; a worker of Prefect does so too), or end. Other flows on the server are left alone.
    """
    ends = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Crashed", "Cancelled")}
    return AutomationCore(
        name=SILENT,
        description=_DESCRIPTION,
        trigger=EventTrigger(
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=_OURS,
            for_each={"prefect.resource.id"},
            after={"prefect.flow-run.Running", _HEARTBEAT},
            expect={_HEARTBEAT, *ends},
            posture=Posture.Proactive,
            threshold=1,
            within=after,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=SILENT_MESSAGE)],
    )


def unbegun_runs(after: timedelta = UNBEGUN_AFTER) -> AutomationCore:
    """Return the rule for runs that a worker took and did not begin, because it was killed just then.

    They have given no sign of life that could cease. Runs without a worker are left alone. A run waits for a
    worker again, however often that happens: each time takes two minutes.
    """
    rule = silent_runs(after)
    rule.name = UNBEGUN
    assert isinstance(rule.trigger, EventTrigger)
    rule.trigger.after = {"prefect.flow-run.Pending", "prefect.flow-run.Submitting"}
    # A run that has to wait for others, or is put off, is not overdue.
    waits = {f"prefect.flow-run.{state}" for state in ("Running", "AwaitingConcurrencySlot", "Scheduled")}
    rule.trigger.expect = (rule.trigger.expect - {_HEARTBEAT}) | waits
    rule.trigger.match_related = [*_OF_WORKERS]
    rule.actions = [ChangeFlowRunState(state=StateType.SCHEDULED, message=UNBEGUN_MESSAGE)]
    return rule


def crashed_runs() -> AutomationCore:
    """Return the rule that schedules a run of a worker again that had begun and crashed, a few times.

    Runs that no worker does are left alone: a watch itself does again what was under way.
    """
    begun = [str(number) for number in range(1, ATTEMPTS)]
    trigger = EventTrigger(
        match=_runs_begun(*begun),
        match_related=_OF_WORKERS,
        expect={"prefect.flow-run.Crashed"},
        posture=Posture.Reactive,
        threshold=1,
    )
    return AutomationCore(
        name=CRASHED, description=_DESCRIPTION, trigger=trigger, actions=[_schedule_again()]
    )


def crashed_unbegun_runs(after: timedelta = CRASHED_UNBEGUN_AFTER) -> AutomationCore:
    """Return the rule that schedules a run of a worker again that crashed before it began."""
    trigger = EventTrigger(
        match=_runs_begun("0"),
        match_related=_OF_WORKERS,
        for_each={"prefect.resource.id"},
        after={"prefect.flow-run.Crashed"},
        expect={f"prefect.flow-run.{state}" for state in ("Scheduled", "AwaitingRetry", "Cancelled")},
        posture=Posture.Proactive,
        threshold=1,
        within=after,
    )
    return AutomationCore(
        name=CRASHED_UNBEGUN, description=_DESCRIPTION, trigger=trigger, actions=[_schedule_again()]
    )


def all_rules() -> list[AutomationCore]:
    """Return the rules for a server with workers; a watch alone needs the first only."""
    return [silent_runs(), unbegun_runs(), crashed_runs(), crashed_unbegun_runs()]


def ensure(client: SyncPrefectClient, rule: AutomationCore) -> str:
    """Have the server keep a rule, once, as this version of tvtasks wants it.

    Returns
    -------
    str
        What was done: created, updated or unchanged.
    """
    found = client.read_automations_by_name(rule.name)
    done = "unchanged" if found else "created"
    for there in found[:1]:
        if not is_same(there, rule):
            client.update_automation(there.id, rule)
            done = "updated"
    for twin in found[1:]:
        client.delete_automation(twin.id)
    if not found:
        client.create_automation(rule)
    return done


def is_same(there: Automation, wanted: AutomationCore) -> bool:
    """Return whether a server's automation is as wanted; the server adds ids."""
    # Not as JSON: what it expects is a set, which comes in any order.
    fields = wanted.model_dump(exclude={"tags", "owner_resource"})
    return AutomationCore.model_validate(there.model_dump()).model_dump(include=set(fields)) == fields


def _runs_begun(*times: str) -> ResourceSpecification:
    return ResourceSpecification(
        {"prefect.resource.id": "prefect.flow-run.*", "prefect.run-count": list(times)}
    )


def _schedule_again() -> ChangeFlowRunState:
    return ChangeFlowRunState(state=StateType.SCHEDULED, name="AwaitingRetry", message=AGAIN_MESSAGE)
