"""The work of a rerun: a few files at a time, after what a microscope has just written."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from tvtasks import archive, channels, workflow
from tvtasks.archive.keeping import AS_USUAL, Keeping
from tvtasks.errors import ArchiveError, TvtasksError
from tvtasks.micrograph import Micrograph
from tvtasks.monitor.dispatch import defect, is_passing
from tvtasks.monitor.health import life, read_heartbeat, utc_now
from tvtasks.monitor.ledger import ReadOnlyLedger, State
from tvtasks.recipe import Recipe
from tvtasks.rerun.planning import Job

logger = logging.getLogger(__name__)

PAUSE = 0.25
"""Seconds between two looks whether live files wait, and whether the work is to stop."""

IN_A_ROW = 10
"""So many images that fail one after the other because of the disk or the share end the rerun: none of the
others would fare better."""


@dataclass(frozen=True)
class Result:
    """What came of one image, or of a file that could not be read.

    `outcome` is None where it failed; then `reason` is a sentence, and `passing` says whether the system was
    behind it and not the file.
    """

    name: str
    recipe: str
    outcome: workflow.Outcome | None = None
    reason: str = ""
    passing: bool = False


@dataclass(frozen=True)
class Pool:
    """Processes that work on files elsewhere, on this computer or on others.

    Attributes
    ----------
    executor
        Where batches are submitted. What it is given are paths, recipes and ids, and never arrays.
    room
        How many batches it should have at the moment, those that wait there included.
    batch
        Files in a batch.
    """

    executor: Executor
    room: Callable[[], int]
    batch: int = 1


def execute(
    jobs: Iterable[Job],
    directory: Path,
    *,
    workers: int = 2,
    pool: Pool | None = None,
    stop: threading.Event | None = None,
    report: Callable[[Result], object] = lambda result: None,
    live: Callable[[], bool] = lambda: False,
    context: Mapping[str, Any] | None = None,
    keeping: Keeping = AS_USUAL,
) -> str:
    """Do the work of a plan, a few files at a time. What fails does not keep the others from being done.

    An image that has been archived meanwhile is not done again, so that what was cut short goes on where it
    was, and two that do the same work get into nobody's way.

    Parameters
    ----------
    jobs
        The work; taken one by one.
    directory
        Where results go.
    workers
        How many files are worked on at a time, in threads.
    pool
        Where they are worked on instead. A batch whose process is lost is done again, its files one by one
        if that happens again and again.
    stop
        Once this is set, no file is begun any more; the call returns when those under way are done.
    report
        Called for every image, in the calling thread.
    live
        While this is true, no file is begun.
    context
        Further provenance for the run records, safe for JSON.
    keeping
        How the results are kept; of the sample, what the archive says unless this does.

    Returns
    -------
    str
        Empty, or a sentence on why the rest was not begun, other than `stop`.

    Raises
    ------
    ArchiveError
        The folder for results cannot be made.
    """
    stop = stop or threading.Event()
    workflow.create_folder(directory)
    rest = iter(jobs)
    running: dict[Future[list[Result]], list[Job]] = {}
    in_a_row = 0
    with ExitStack() as stack:
        if pool is None:
            threads = stack.enter_context(ThreadPoolExecutor(workers, thread_name_prefix="rerun"))
            pool = Pool(threads, lambda: workers)
        else:  # it may have another working folder
            directory = directory.absolute()
            rest = (job._replace(source=job.source.absolute()) for job in rest)
        batch = list(islice(rest, pool.batch))
        again: list[list[Job]] = []
        while running or ((batch or again) and not stop.is_set() and in_a_row < IN_A_ROW):
            while (batch or again) and in_a_row < IN_A_ROW and len(running) < pool.room():
                if stop.is_set() or live():
                    break
                if again:
                    jobs_now = again.pop()
                else:
                    jobs_now, batch = batch, list(islice(rest, pool.batch))
                begun = pool.executor.submit(_do_batch, jobs_now, directory, context or {}, keeping)
                running[begun] = jobs_now
            if not running:
                stop.wait(PAUSE)
                continue
            for future in wait(running, timeout=PAUSE, return_when=FIRST_COMPLETED).done:
                jobs_done = running.pop(future)
                if len(jobs_done) > 1 and _is_lost(future):
                    again += [[job] for job in jobs_done]
                    continue
                for result in _results(future, jobs_done):
                    in_a_row = in_a_row + 1 if result.passing else 0
                    report(result)
    if (batch or again) and in_a_row >= IN_A_ROW:
        return (
            f"{in_a_row} images in a row failed because of the disk, the share or the processes, so the rest "
            "was not begun. Mend that and give the same command again."
        )
    return ""


def _is_lost(future: Future[list[Result]]) -> bool:
    return future.cancelled() or future.exception() is not None


def _results(future: Future[list[Result]], jobs: Sequence[Job]) -> list[Result]:
    """Return what came of a batch; where it is lost because its processes were, each of its files failed."""
    if not _is_lost(future):
        return future.result()
    error = "cancelled" if future.cancelled() else future.exception()
    reason = (
        "{} was given up, as the processes that worked on it ended one after the other, perhaps for want of "
        f"memory: {error}"
    )
    return [
        Result(
            job.source.name, job.recipe.name, reason=reason.replace("{}", job.source.name, 1), passing=True
        )
        for job in jobs
    ]


def live_work(*archives: Path) -> Callable[[], bool]:
    """Return what says whether a watch on this computer has files to restore into one of these archives.

    It looks no more often than every `PAUSE` seconds, and then needs a millisecond. A watch that hangs or was
    killed, and one on another computer, holds nobody up.
    """
    lock = threading.Lock()
    looked, answer = -PAUSE, False

    def live() -> bool:
        nonlocal looked, answer
        with lock:
            if time.monotonic() - looked >= PAUSE:
                answer = any(_has_work(archive) for archive in archives)
                looked = time.monotonic()
            return answer

    return live


def _has_work(directory: Path) -> bool:
    heartbeat = read_heartbeat(directory)
    if heartbeat is None or heartbeat.host != socket.gethostname() or life(heartbeat, utc_now()) != "alive":
        return False
    try:
        with ReadOnlyLedger(directory / ".tvtasks" / "ledger.sqlite") as ledger:
            counts = ledger.counts(heartbeat.recipe)
    except ArchiveError as error:
        logger.debug("Whether live files wait is not known: %s", error)
        return False
    return bool(counts[State.QUEUED] or counts[State.RUNNING])


def _do_batch(
    jobs: Sequence[Job], directory: Path, context: Mapping[str, Any], keeping: Keeping
) -> list[Result]:
    """Do some files, in whatever process this is called."""
    return [result for job in jobs for result in _do(job, directory, context, keeping)]


def _do(job: Job, directory: Path, context: Mapping[str, Any], keeping: Keeping) -> list[Result]:
    """Do a file: each of its images that the plan has."""
    keeping = replace(keeping, sample=keeping.sample or job.sample)
    notes: tuple[str, ...] = ()
    try:
        if job.stored:
            images = [archive.raw(job.source)]
            context = {**context, "raw_from": job.source.name}
        else:
            images, notes = channels.choose(workflow.read(job.source), job.recipe)
        chosen = [image for image in images if _run_id(image, job.recipe) in job.run_ids]
    except Exception as error:
        return [_failed(job.source.name, job, error)]
    if not chosen:
        reason = f"{job.source.name} has changed since it was looked at. Give the same command again."
        return [Result(job.source.name, job.recipe.name, reason=reason)]
    return [_restored(image, job, directory, context, keeping, notes) for image in chosen]


def _restored(
    image: Micrograph,
    job: Job,
    directory: Path,
    context: Mapping[str, Any],
    keeping: Keeping,
    notes: tuple[str, ...],
) -> Result:
    try:
        (outcome,) = workflow.restore_images(
            [image], job.recipe, directory, context=context, keeping=keeping, notes=notes
        )
    except Exception as error:
        return _failed(image.name, job, error)
    return Result(image.name, outcome.recipe, outcome)


def _run_id(image: Micrograph, recipe: Recipe) -> str:
    return archive.run_id(image, recipe.for_technique(image.technique, image.name))


def _failed(name: str, job: Job, error: Exception) -> Result:
    passing = is_passing(error)
    if isinstance(error, TvtasksError):
        reason = str(error)
    elif passing:
        reason = f"{name} could not be restored: {error}. Mend that and give the same command again."
    else:
        reason = defect(job.source, error)
    return Result(name, job.recipe.name, reason=reason, passing=passing)
