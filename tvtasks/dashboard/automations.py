"""Rules with which a Prefect server marks runs whose process was killed, and schedules them again."""

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
"""How long a run may be silent: three heartbeats may be lost, and a busy server is late with the last."""
SILENT_MESSAGE = (
    "tvtasks was killed, its computer went off, or the network failed before this run ended: it has given no "
    "sign of life for over a minute. The next watch, or another worker, does the rest of the work."
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
"""How many times a run may begin: a run that kills its process every time must not do so for ever."""

CRASHED_UNBEGUN = "tvtasks: schedule runs of workers again that crashed before they began"
CRASHED_UNBEGUN_AFTER = timedelta(minutes=10)
"""How long such a run waits: the server may have been gone at that moment and may be back soon. A lasting
cause, such as a package missing on the worker, is retried only this often; the run's log names it."""

AGAIN_MESSAGE = (
    "The process of this run was lost. The archive keeps the finished results; the rest follows now."
)

_OURS = ResourceSpecification({"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"})
_OF_WORKERS = [_OURS, ResourceSpecification({"prefect.resource.id": "prefect.work-pool.*"})]
_DESCRIPTION = "Set up and kept up to date by tvtasks."
_HEARTBEAT = "prefect.flow-run.heartbeat"


def silent_runs(after: timedelta = SILENT_AFTER) -> AutomationCore:
    """Return the rule that marks silent runs of tvtasks as crashed.

    A run that has begun must either end or keep sending heartbeats (`tvtasks.dashboard.supervision` sends
    them, and so does a Prefect worker). The rule ignores other flows on the server.
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
    """Return the rule for runs whose worker was killed after it took them and before they began.

    Such runs have sent no heartbeat that could stop. The rule ignores runs without a worker. It lets a run
    wait for a worker any number of times, since each time takes two minutes.
    """
    rule = silent_runs(after)
    rule.name = UNBEGUN
    assert isinstance(rule.trigger, EventTrigger)
    rule.trigger.after = {"prefect.flow-run.Pending", "prefect.flow-run.Submitting"}
    # A run that must wait for others, or was put off, is not overdue.
    waits = {f"prefect.flow-run.{state}" for state in ("Running", "AwaitingConcurrencySlot", "Scheduled")}
    rule.trigger.expect = (rule.trigger.expect - {_HEARTBEAT}) | waits
    rule.trigger.match_related = [*_OF_WORKERS]
    rule.actions = [ChangeFlowRunState(state=StateType.SCHEDULED, message=UNBEGUN_MESSAGE)]
    return rule


def crashed_runs() -> AutomationCore:
    """Return the rule that schedules a worker's run again, a few times, if it crashed after it began.

    The rule ignores runs without a worker: a watch itself repeats the work that was under way.
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
    """Return the rule that schedules a worker's run again if it crashed before it began."""
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
    """Return the rules for a server with workers; a watch alone needs only the first."""
    return [silent_runs(), unbegun_runs(), crashed_runs(), crashed_unbegun_runs()]


def ensure(client: SyncPrefectClient, rule: AutomationCore) -> str:
    """Make the server keep a rule exactly once, as this version of tvtasks defines it.

    Returns
    -------
    str
        ``created``, ``updated`` or ``unchanged``.
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
    """Return whether a server's automation matches the wanted one, apart from ids that the server adds."""
    # Not compared as JSON: the expected events are a set, whose order varies.
    fields = wanted.model_dump(exclude={"tags", "owner_resource"})
    return AutomationCore.model_validate(there.model_dump()).model_dump(include=set(fields)) == fields


def _runs_begun(*times: str) -> ResourceSpecification:
    return ResourceSpecification(
        {"prefect.resource.id": "prefect.flow-run.*", "prefect.run-count": list(times)}
    )


def _schedule_again() -> ChangeFlowRunState:
    return ChangeFlowRunState(state=StateType.SCHEDULED, name="AwaitingRetry", message=AGAIN_MESSAGE)
