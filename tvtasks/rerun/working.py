"""Carries out a batch: a few files at a time, after the new files of a watch."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from tvtasks import archive, channels, workflow
from tvtasks.archive.folder import ledger_path
from tvtasks.archive.storage import DEFAULT_STORAGE, Storage
from tvtasks.errors import ArchiveAwayError, ArchiveError, TvtasksError
from tvtasks.health.heartbeat import read_heartbeat, utc_now
from tvtasks.health.problems import life
from tvtasks.ledger import ReadOnlyLedger, State
from tvtasks.ledger.retries import explain, is_passing, log_defect
from tvtasks.listener import Listener
from tvtasks.memory import limited
from tvtasks.micrograph import Micrograph
from tvtasks.outcome import Outcome
from tvtasks.places import holding
from tvtasks.recipe import Recipe
from tvtasks.rerun.planning import Job

logger = logging.getLogger(__name__)

CHECK_SECONDS = 0.25
"""Seconds between checks for waiting live files and for a request to stop."""

FAILURES_IN_A_ROW = 10
"""A batch ends after this many images in a row that fail because of the disk or the share: the others would
fail too."""


@dataclass(frozen=True)
class Pool:
    """Processes that work on files, on this computer or on others.

    Attributes
    ----------
    executor
        Takes the batches. It receives paths, recipes and ids, never arrays.
    room
        Returns how many batches it should have at the moment, including waiting ones.
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
    listener: Listener | None = None,
    live: Callable[[], bool] = lambda: False,
    context: Mapping[str, Any] | None = None,
    storage: Storage = DEFAULT_STORAGE,
    memory: int | None = None,
) -> str:
    """Carry out the work of a plan, a few files at a time. A failure does not stop the others.

    An image that was archived in the meantime is not restored again. So a batch that was cut short continues
    where it stopped, and two batches with the same work do not get in each other's way.

    Parameters
    ----------
    jobs
        The work; taken one by one.
    directory
        Where results go.
    workers
        Number of files worked on at a time, in threads.
    pool
        Processes to use instead. A batch whose process is lost is repeated; if its processes keep dying, its
        files are repeated one by one.
    stop
        Once this is set, no more files are started; the call returns when those under way are finished.
    listener
        Receives every outcome, in the calling thread.
    live
        While this returns True, no file is started.
    context
        Further provenance for the run records, safe for JSON.
    storage
        How to compress the results, and the sample data; without any here, those in the archive count.
    memory
        Bytes that all work may take at the same time; None for what is free.

    Returns
    -------
    str
        A sentence if the rest was not started for a reason other than `stop`; else empty.

    Raises
    ------
    ArchiveError
        The folder for results cannot be created.
    """
    stop = stop or threading.Event()
    listener = listener or Listener()
    rest = iter(jobs)
    running: dict[Future[list[Outcome]], list[Job]] = {}
    in_a_row = 0
    with ExitStack() as stack:
        archive_id = stack.enter_context(holding(directory))
        if pool is None:
            threads = stack.enter_context(ThreadPoolExecutor(workers, thread_name_prefix="rerun"))
            pool = Pool(threads, lambda: workers)
            stack.enter_context(limited(memory))
            share = None
        else:  # the processes may have another working folder
            directory = directory.absolute()
            rest = (job._replace(source=job.source.absolute()) for job in rest)
            share = memory // workers if memory else None
        batch = list(islice(rest, pool.batch))
        again: list[list[Job]] = []
        while running or ((batch or again) and not stop.is_set() and in_a_row < FAILURES_IN_A_ROW):
            while (batch or again) and in_a_row < FAILURES_IN_A_ROW and len(running) < pool.room():
                if stop.is_set() or live():
                    break
                if again:
                    jobs_now = again.pop()
                else:
                    jobs_now, batch = batch, list(islice(rest, pool.batch))
                begun = pool.executor.submit(
                    _do_batch, jobs_now, directory, archive_id, context or {}, storage, share
                )
                running[begun] = jobs_now
            if not running:
                stop.wait(CHECK_SECONDS)
                continue
            for future in wait(running, timeout=CHECK_SECONDS, return_when=FIRST_COMPLETED).done:
                jobs_done = running.pop(future)
                if len(jobs_done) > 1 and _is_lost(future):
                    again += [[job] for job in jobs_done]
                    continue
                for outcome in _outcomes(future, jobs_done):
                    in_a_row = in_a_row + 1 if outcome.is_passing else 0
                    listener.finished(outcome)
    if (batch or again) and in_a_row >= FAILURES_IN_A_ROW:
        return (
            f"{in_a_row} images in a row failed because of the disk, the share or the processes, so the rest "
            "was not started. Fix the cause and run the same command again."
        )
    return ""


def _is_lost(future: Future[list[Outcome]]) -> bool:
    return future.cancelled() or future.exception() is not None


def _outcomes(future: Future[list[Outcome]], jobs: Sequence[Job]) -> list[Outcome]:
    """Return the outcomes of some files; if their processes were lost, each file has failed."""
    if not _is_lost(future):
        return future.result()
    error = "cancelled" if future.cancelled() else future.exception()
    return [
        Outcome(
            name=job.source.name,
            recipe=job.recipe.name,
            state="failed",
            reason=f"{job.source.name} was given up: the processes that worked on it died one after another, "
            f"perhaps for lack of memory: {error}",
            is_passing=True,
        )
        for job in jobs
    ]


def draw_again(results: Iterable[Path]) -> None:
    """Draw the missing pictures of results; log those that cannot be drawn."""
    for result in results:
        try:
            workflow.draw_again(result)
        except ArchiveError as error:
            logger.warning("The picture of %s is missing and cannot be drawn: %s", result.name, error)


def live_work(*archives: Path) -> Callable[[], bool]:
    """Return a function that checks whether a watch here has files to restore for one of these archives.

    It looks at most every `CHECK_SECONDS`; a look takes a millisecond. A watch that hangs, was killed or runs
    on another computer delays nobody.
    """
    lock = threading.Lock()
    looked, answer = -CHECK_SECONDS, False

    def live() -> bool:
        nonlocal looked, answer
        with lock:
            if time.monotonic() - looked >= CHECK_SECONDS:
                answer = any(_has_work(archive) for archive in archives)
                looked = time.monotonic()
            return answer

    return live


def _has_work(directory: Path) -> bool:
    heartbeat = read_heartbeat(directory)
    if heartbeat is None or heartbeat.host != socket.gethostname() or life(heartbeat, utc_now()) != "alive":
        return False
    try:
        with ReadOnlyLedger(ledger_path(directory)) as ledger:
            counts = ledger.counts(heartbeat.recipe)
    except ArchiveError as error:
        logger.debug("Could not find out whether live files are waiting: %s", error)
        return False
    return bool(counts[State.QUEUED] or counts[State.RUNNING])


def _do_batch(
    jobs: Sequence[Job],
    directory: Path,
    archive_id: str,
    context: Mapping[str, Any],
    storage: Storage,
    share: int | None,
) -> list[Outcome]:
    """Restore some files, in whichever process this is called."""
    try:
        with holding(directory, archive_id), limited(share) if share else nullcontext():
            return [outcome for job in jobs for outcome in _do(job, directory, context, storage)]
    except ArchiveAwayError as error:
        return [_failed(job.source.name, job, error) for job in jobs]


def _do(job: Job, directory: Path, context: Mapping[str, Any], storage: Storage) -> list[Outcome]:
    """Restore those images of a file that are in the plan."""
    session = storage.session.over(job.session)
    storage = replace(storage, sample=storage.sample or job.sample, session=session)
    notes: tuple[str, ...] = ()
    try:
        if job.stored:
            images = [archive.raw(job.source)]
            context = {**context, "raw_from": job.source.name}
        else:
            images, notes = channels.choose(workflow.read(job.source), job.recipe)
            storage, faults = workflow.in_session(storage, job.source, images)
            notes += faults
        chosen = [image for image in images if _run_id(image, job.recipe) in job.run_ids]
    except Exception as error:
        return [_failed(job.source.name, job, error)]
    if not chosen:
        reason = f"{job.source.name} has changed since the plan was made. Run the same command again."
        return [Outcome(name=job.source.name, recipe=job.recipe.name, state="failed", reason=reason)]
    return [_restored(image, job, directory, context, storage, notes) for image in chosen]


def _restored(
    image: Micrograph,
    job: Job,
    directory: Path,
    context: Mapping[str, Any],
    storage: Storage,
    notes: tuple[str, ...],
) -> Outcome:
    try:
        (outcome,) = workflow.restore_images(
            [image], job.recipe, directory, context=context, storage=storage, notes=notes
        )
    except Exception as error:
        return _failed(image.name, job, error)
    return outcome


def _run_id(image: Micrograph, recipe: Recipe) -> str:
    return archive.run_id(image, recipe.for_technique(image.technique, image.name))


def _failed(name: str, job: Job, error: Exception) -> Outcome:
    passing = is_passing(error)
    if passing and not isinstance(error, TvtasksError):
        reason = f"{name} could not be restored: {error}. Fix the cause and run the same command again."
    else:
        reason = explain(job.source, error)
        if not isinstance(error, TvtasksError):
            log_defect(job.source, error)
    return Outcome(name=name, recipe=job.recipe.name, state="failed", reason=reason, is_passing=passing)
