"""A batch from beginning to end: what is asked for, the plan, the work, and what came of it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from tvtasks.archive import remove_partials
from tvtasks.archive.conditions import chosen_by
from tvtasks.archive.keeping import AS_USUAL, Keeping
from tvtasks.listener import Listener
from tvtasks.outcome import BatchReport, Outcome
from tvtasks.recipe import Recipe
from tvtasks.recipe_book import RecipeBook
from tvtasks.rerun.cluster import cluster
from tvtasks.rerun.planning import Plan, plan
from tvtasks.rerun.working import execute, live_work


@dataclass(frozen=True)
class Request:
    """What is to be restored.

    Attributes
    ----------
    sources
        Archives, folders of image files, or single files of either kind.
    recipes
        Presets, TOML files, PATTERN=RECIPE, or recipes themselves.
    archive
        Where results go; the archive among the sources if not given.
    select
        Conditions as on the command line, which all must hold.
    failed_only
        Only what went wrong; see `tvtasks.rerun.plan`.
    workers
        Files worked on at a time.
    dask
        Address of a Dask cluster, or ``local`` for processes of this computer; empty for threads.
    keeping
        How results are packed, and what is known of the sample unless the archive says it.
    yields
        Whether no image is begun while a watch of the same archive has files to restore.
    """

    sources: tuple[Path, ...]
    recipes: tuple[str | Recipe, ...]
    archive: Path | None = None
    select: tuple[str, ...] = ()
    failed_only: bool = False
    workers: int = 2
    dask: str = ""
    keeping: Keeping = AS_USUAL
    yields: bool = True

    def plan(self, listener: Listener | None = None) -> Plan:
        """Find out what is to be done."""
        return plan(
            self.sources,
            RecipeBook.load(self.recipes),
            self.archive,
            chosen=chosen_by(self.select),
            failed_only=self.failed_only,
            progress=(listener or Listener()).reading,
        )


class _Bookkeeper(Listener):
    """Adds what came of each image to the report, and passes it on."""

    def __init__(self, report: BatchReport, listener: Listener) -> None:
        self._report = report
        self._listener = listener

    def finished(self, outcome: Outcome) -> None:
        self._report.add(outcome)
        self._listener.finished(outcome)


def run_batch(
    request: Request,
    *,
    listener: Listener | None = None,
    stop: threading.Event | None = None,
    context: Mapping[str, Any] | None = None,
) -> BatchReport:
    """Plan a batch and do it.

    Parameters
    ----------
    request
        What is to be done.
    listener
        Hears of the plan and of each image, in this thread.
    stop
        Once this is set, no file is begun any more.
    context
        Further provenance for the run records, safe for JSON.

    Returns
    -------
    BatchReport
        What came of it.

    Raises
    ------
    TvtasksError
        Nothing could be begun.
    """
    listener = listener or Listener()
    with cluster(request.dask, request.workers) as pool:  # its processes start while the plan is made
        found = request.plan(listener)
        current, faults = found.counts["current"], found.faults
        report = BatchReport(found.archive, len(found.items) - current + len(faults), current)
        bookkeeper = _Bookkeeper(report, listener)
        listener.planned(report, found.summary)
        for path, reason in faults.items():
            bookkeeper.finished(Outcome(name=path.name, recipe="", state="failed", reason=reason))
        archives = {found.archive, *(source for source in request.sources if source.is_dir())}
        remove_partials(found.archive, older_than=timedelta(hours=1))
        jobs = found.jobs
        del found  # a plan of thousands of images takes memory that nothing needs any more
        report.stopped_because = execute(
            jobs,
            report.archive,
            workers=request.workers,
            pool=pool,
            stop=stop,
            listener=bookkeeper,
            live=live_work(*archives) if request.yields else lambda: False,
            context=context,
            keeping=request.keeping,
        )
    return report
