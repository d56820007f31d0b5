"""A batch from beginning to end: the request, the plan, the work and the report."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from tvtasks.archive import remove_partials
from tvtasks.archive.conditions import chosen_by
from tvtasks.archive.storage import DEFAULT_STORAGE, Storage
from tvtasks.listener import Listener
from tvtasks.memory import GIGABYTE
from tvtasks.outcome import BatchReport, Outcome
from tvtasks.recipe import Recipe
from tvtasks.recipe_book import RecipeBook
from tvtasks.rerun.cluster import cluster
from tvtasks.rerun.planning import Plan, plan
from tvtasks.rerun.working import draw_again, execute, live_work


@dataclass(frozen=True)
class Request:
    """What to restore, and how.

    Attributes
    ----------
    sources
        Archives, folders of image files, or single files of either kind.
    recipes
        Presets, TOML files, PATTERN=RECIPE, or recipes themselves.
    archive
        Where results go; the archive among the sources if not given.
    select
        Conditions as on the command line; all must hold.
    failed_only
        Only images and files that went wrong; see `tvtasks.rerun.plan`.
    workers
        Files worked on at a time.
    dask
        Address of a Dask cluster, or ``local`` for processes on this computer; empty for threads.
    storage
        How to compress results, and the sample data for images without any in the archive.
    memory
        Memory that restoring may take, in GB of 10⁹ bytes; None for what is free. The processes of a cluster
        share it.
    frames
        Frames to take from stacks and series, instead of those that the recipes name; empty for theirs.
    yields
        Whether to wait while a watch of the same archive has files to restore.
    """

    sources: tuple[Path, ...]
    recipes: tuple[str | Recipe, ...]
    archive: Path | None = None
    select: tuple[str, ...] = ()
    failed_only: bool = False
    workers: int = 2
    dask: str = ""
    storage: Storage = DEFAULT_STORAGE
    memory: float | None = None
    yields: bool = True
    frames: str = ""

    def plan(self, listener: Listener | None = None) -> Plan:
        """Find out what there is to do."""
        return plan(
            self.sources,
            RecipeBook.load(self.recipes, frames=self.frames),
            self.archive,
            chosen=chosen_by(self.select),
            failed_only=self.failed_only,
            progress=(listener or Listener()).reading,
        )


class _Bookkeeper(Listener):
    """Adds the outcome of each image to the report, and passes it on."""

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
    """Plan a batch and carry it out.

    Parameters
    ----------
    request
        What to restore, and how.
    listener
        Receives the plan and each outcome, in this thread.
    stop
        Once this is set, no more files are started.
    context
        Further provenance for the run records, safe for JSON.

    Returns
    -------
    BatchReport
        The outcomes.

    Raises
    ------
    TvtasksError
        Nothing could be started.
    """
    listener = listener or Listener()
    with cluster(request.dask, request.workers) as pool:  # its processes start during planning
        found = request.plan(listener)
        current, faults = found.counts["current"], found.faults
        report = BatchReport(found.archive, len(found.items) - current + len(faults), current)
        bookkeeper = _Bookkeeper(report, listener)
        listener.planned(report, found.summary)
        for path, reason in faults.items():
            bookkeeper.finished(Outcome(name=path.name, recipe="", state="failed", reason=reason))
        archives = {found.archive, *(source for source in request.sources if source.is_dir())}
        remove_partials(found.archive, older_than=timedelta(hours=1))
        draw_again(found.bare)
        jobs = found.jobs
        del found  # a plan of thousands of images takes memory that is no longer needed
        report.stopped_because = execute(
            jobs,
            report.archive,
            workers=request.workers,
            pool=pool,
            stop=stop,
            listener=bookkeeper,
            live=live_work(*archives) if request.yields else lambda: False,
            context=context,
            storage=request.storage,
            memory=int(request.memory * GIGABYTE) if request.memory else None,
        )
    return report
