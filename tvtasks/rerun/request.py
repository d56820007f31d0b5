"""A rerun from beginning to end: planned, carried out, and what has come of it so far."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from tvtasks.archive import remove_partials
from tvtasks.archive.keeping import AS_USUAL, Keeping
from tvtasks.archive.selection import chosen_by
from tvtasks.recipe import Recipe
from tvtasks.recipe_book import RecipeBook
from tvtasks.rerun.cluster import cluster
from tvtasks.rerun.planning import Plan, plan
from tvtasks.rerun.working import Result, execute, live_work

LAST = 50
"""Images of which the last results are kept for tables; of those that failed all are."""


@dataclass(frozen=True)
class Request:
    """What is to be restored again; see `tvtasks.rerun.plan`.

    `recipes` (or a recipe itself) and `select` are as they are given on the command line; `workers` files are
    worked on at a time, or as many as a Dask cluster has room for: `dask` is its address, or ``local``. What
    is known of the sample is taken from the archive unless `keeping` says it.
    """

    sources: tuple[Path, ...]
    recipes: tuple[str | Recipe, ...]
    archive: Path | None = None
    select: tuple[str, ...] = ()
    failed_only: bool = False
    workers: int = 2
    dask: str = ""
    keeping: Keeping = AS_USUAL

    def plan(self, progress: Callable[[int, int], object] = lambda done, of: None) -> Plan:
        """Find out what is to be done."""
        return plan(
            self.sources,
            RecipeBook.load(self.recipes),
            self.archive,
            chosen=chosen_by(self.select),
            failed_only=self.failed_only,
            progress=progress,
        )


@dataclass
class Sheet:
    """What has come of a rerun so far; as large for many images as for few, but for those that failed.

    Attributes
    ----------
    archive
        Where results go.
    total, current
        Images that are to be done, and those that the archive held already.
    restored, before
        Images that were restored, and those that somebody else had done meanwhile.
    failed
        Pairs of a name and a sentence.
    last
        The last results.
    ended
        A sentence on why the rest was not begun; else empty.
    """

    archive: Path
    total: int
    current: int
    restored: int = 0
    before: int = 0
    failed: list[Result] = field(default_factory=list)
    last: deque[Result] = field(default_factory=lambda: deque(maxlen=LAST))
    ended: str = ""

    @classmethod
    def of(cls, plan: Plan) -> Sheet:
        """Begin a sheet; files that cannot be read have failed already."""
        faults = [Result(path.name, "", reason=reason) for path, reason in plan.faults.items()]
        current = plan.counts["current"]
        return cls(plan.archive, len(plan.items) - current + len(faults), current, failed=faults)

    def add(self, result: Result) -> None:
        """Take in what came of an image."""
        if result.outcome is None:
            self.failed.append(result)
        elif result.outcome.seconds is None:
            self.before += 1
        else:
            self.restored += 1
        self.last.append(result)

    @property
    def done(self) -> int:
        """Images that have come to an end."""
        return self.restored + self.before + len(self.failed)

    @property
    def left(self) -> int:
        """Images that have not been begun, or not come to an end."""
        return max(self.total - self.done, 0)

    @property
    def sentence(self) -> str:
        """The figures in words."""
        parts = [f"{self.restored} restored", f"{len(self.failed)} failed"]
        parts += [f"{self.current + self.before} current already"] if self.current + self.before else []
        parts += [f"{self.left} left"] if self.left else []
        return ", ".join(parts)


def carry_out(
    request: Request,
    *,
    stop: threading.Event | None = None,
    planned: Callable[[Plan, Sheet], object] = lambda plan, sheet: None,
    report: Callable[[Result], object] = lambda result: None,
    progress: Callable[[int, int], object] = lambda done, of: None,
    context: Mapping[str, Any] | None = None,
) -> Sheet:
    """Plan a rerun and do it, after the live work of the archives that it reads and writes.

    Parameters
    ----------
    request
        What is to be done.
    stop
        Once this is set, no file is begun any more.
    planned, report
        Called once with the plan and the sheet, which fills up later, and for each image, in this thread.
    progress
        Called while the plan is made, with how many of how many files were read.
    context
        Further provenance for the run records, safe for JSON.
    """
    with cluster(request.dask, request.workers) as pool:  # its processes start while the plan is made
        found = request.plan(progress)
        sheet = Sheet.of(found)
        planned(found, sheet)

        def add(result: Result) -> None:
            sheet.add(result)
            report(result)

        archives = {found.archive, *(source for source in request.sources if source.is_dir())}
        remove_partials(found.archive, older_than=timedelta(hours=1))
        jobs, archive = found.jobs, found.archive
        del found  # what is known of the images is needed no more
        sheet.ended = execute(
            jobs, archive, workers=request.workers, pool=pool, stop=stop,
            report=add, live=live_work(*archives), context=context, keeping=request.keeping,
        )  # fmt: skip
    return sheet
