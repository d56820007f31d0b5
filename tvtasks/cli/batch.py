"""Runs a batch for ``tvtasks restore`` and ``tvtasks rerun``: the same bar, summary, JSON and exit codes."""

from __future__ import annotations

import typer

from tvtasks.cli.progress import BatchDisplay, announce_compiling
from tvtasks.cli.terminal import Exit, complain, complain_of_all, print_json, say, stoppable
from tvtasks.outcome import BatchReport
from tvtasks.rerun import Request, run_batch


def run(request: Request, *, dashboard: bool, quiet: bool, as_json: bool) -> None:
    """Run a batch, print the outcome, and exit with the matching code."""
    announce_compiling(quiet or as_json)
    report = _run(request, dashboard=dashboard, quiet=quiet, as_json=as_json)
    if as_json:
        print_json(report.record, indent=None)
    else:
        if not quiet:
            say(f"{report.sentence}. Results: {report.archive}")
        complain_of_all(
            [
                outcome.reason if outcome.name in outcome.reason else f"{outcome.name}: {outcome.reason}"
                for outcome in report.failed
            ]
        )
        if report.stopped_because:
            complain(report.stopped_because)
    if report.failed or report.left:
        raise typer.Exit(Exit.ATTENTION)


def _run(request: Request, *, dashboard: bool, quiet: bool, as_json: bool) -> BatchReport:
    from tvtasks.dashboard import server

    found = server.find(by_profile=False) if dashboard else None
    where = f"{found.dashboard} ({found.origin})" if found else "none"
    why = "" if found or not dashboard else ": no server of tvtasks is running, PREFECT_API_URL names none"
    heading = f"Dashboard: {where}{why}"
    with stoppable() as stop, BatchDisplay(quiet=quiet, as_json=as_json, heading=heading) as display:
        if found is None:
            return run_batch(request, listener=display, stop=stop)
        from tvtasks.dashboard import own_flows
        from tvtasks.dashboard.supervision import prefect_at

        with prefect_at(found.api_url):
            report: BatchReport = own_flows.load("rerun").rerun_and_show(request, display, stop)
            return report
