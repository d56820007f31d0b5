"""The monitor joined to the restore flow: every file that settles in a folder becomes a run."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from tvtasks.errors import TvtasksError, UnreadableFileError, UnusableImageError
from tvtasks.monitor import Entry, Ledger, Monitor, State, check_folders
from tvtasks.monitor.observe import ObserverKind
from tvtasks.readers import is_candidate
from tvtasks.recipe import Recipe, RecipeBook
from tvtasks.workflow import Outcome, create_folder

logger = logging.getLogger(__name__)

PAUSE = 0.2
"""Seconds between two looks at the folder."""

RestoreFile = Callable[[Path, Recipe, Path], list[Outcome]]


@dataclass(frozen=True)
class Change:
    """A file has come to another state.

    `state` is that of the ledger, or ``settling`` or ``incomplete`` for a file that has not settled.
    """

    path: Path
    state: str
    recipe: str = ""
    reason: str = ""
    outcomes: tuple[Outcome, ...] = ()


@dataclass(frozen=True)
class Tally:
    """What came of an acquisition: files restored in it, those at fault with the reason, and those left."""

    restored: int
    failed: dict[Path, str]
    left: list[Path]


@dataclass(frozen=True)
class Watching:
    """How the folder is watched; see `tvtasks.monitor.Monitor`."""

    settle: float = 2.0
    max_wait: float = 600.0
    rescan: float = 300.0
    observer: ObserverKind = "auto"
    recursive: bool = False


def ledger_path(archive: Path) -> Path:
    """Where the ledger of an archive lies."""
    return archive / ".tvtasks" / "ledger.sqlite"


def acquire(
    folder: Path,
    archive: Path,
    recipes: RecipeBook,
    restore: RestoreFile,
    *,
    watching: Watching = Watching(),
    workers: int = 2,
    finished: Callable[[], bool] = lambda: False,
    stop: threading.Event | None = None,
    report: Callable[[Change], object] = lambda change: None,
) -> Tally:
    """Restore what is in a folder and what comes into it.

    Parameters
    ----------
    folder, archive
        Where images come from, where results go.
    recipes
        Which recipe a file gets; a file that none fits is ignored.
    restore
        Restores one file; called in `workers` threads at a time.
    watching
        How the folder is watched.
    finished
        Once this is true, the call returns as soon as nothing is left to do.
    stop
        Once this is set, no file is begun any more; the call returns when those under way are done.
    report
        Called for every change of a file's state, in the calling thread.
    """
    stop = stop or threading.Event()
    check_folders(folder, archive, recursive=watching.recursive)
    path = ledger_path(archive)
    create_folder(path.parent)
    with (
        Ledger(path) as ledger,
        Monitor(
            folder, ledger, recipes.digest, outputs=archive, settle=watching.settle,
            max_wait=watching.max_wait, rescan=watching.rescan, observer=watching.observer,
            recursive=watching.recursive,
            is_candidate=lambda path: is_candidate(path) and recipes.choose(path) is not None,
        ) as monitor,
        ThreadPoolExecutor(workers, thread_name_prefix="restore") as pool,
    ):  # fmt: skip
        queue: deque[Entry] = deque()
        running: dict[Future[list[Outcome]], Entry] = {}
        told: dict[Path, str] = {}
        restored = 0
        while True:
            last_round = finished()
            if not stop.is_set():
                for entry in monitor.poll():
                    queue.append(entry)
                    report(Change(entry.path, State.QUEUED, _name(recipes, entry.path)))
                _tell_waiting(monitor, told, report)
            while queue and len(running) < workers and not stop.is_set():
                started = ledger.start(queue.popleft())
                recipe = recipes.choose(started.path) if started else None
                if started is None or recipe is None:
                    continue
                report(Change(started.path, State.RUNNING, recipe.name))
                # A copy each: Prefect's settings travel in the context, which a thread does not inherit.
                context = contextvars.copy_context()
                running[pool.submit(context.run, restore, started.path, recipe, archive)] = started
            done, _ = wait(running, timeout=PAUSE, return_when=FIRST_COMPLETED) if running else (set(), set())
            for future in done:
                change = _conclude(ledger, running.pop(future), future, recipes)
                restored += change.state == State.DONE
                report(change)
            if stop.is_set() and not running:
                break
            if last_round and not (queue or running or monitor.settling):
                break
            if not running:
                stop.wait(PAUSE)
        return _tally(ledger, monitor, recipes, restored)


def _tell_waiting(monitor: Monitor, told: dict[Path, str], report: Callable[[Change], object]) -> None:
    """Report the files that have begun, or ceased, to settle since the last time."""
    now = dict.fromkeys(monitor.settling, "") | monitor.stuck
    for path, reason in now.items():
        if told.get(path) != reason:
            report(Change(path, "incomplete" if reason else "settling", reason=reason))
    told.clear()
    told.update(now)


def _conclude(ledger: Ledger, entry: Entry, future: Future[list[Outcome]], recipes: RecipeBook) -> Change:
    """Record how the work on a file ended."""
    name = _name(recipes, entry.path)
    try:
        outcomes = future.result()
    except (UnreadableFileError, UnusableImageError) as error:
        ledger.quarantine(entry, str(error))
        return Change(entry.path, State.QUARANTINED, name, str(error))
    except TvtasksError as error:
        ledger.fail(entry, str(error))
        return Change(entry.path, State.FAILED, name, str(error))
    except Exception as error:
        reason = defect(entry.path, error)
        ledger.fail(entry, reason)
        return Change(entry.path, State.FAILED, name, reason)
    if any(outcome.source_sha256 != entry.sha256 for outcome in outcomes):
        # The file was overwritten before it was read. What was read is in the archive under its own checksum;
        # the monitor will find the new content and see that it is done.
        ledger.mark_overwritten(entry)
        return Change(entry.path, State.OVERWRITTEN, name)
    gaps = [outcome.gap for outcome in outcomes if outcome.gap is not None]
    seconds = [outcome.seconds for outcome in outcomes if outcome.seconds is not None]
    detail = {"gap": max(gaps, default=None), "seconds": sum(seconds), "recipe": name}
    ledger.finish(entry, [outcome.archive for outcome in outcomes], detail)
    return Change(entry.path, State.DONE, name, outcomes=tuple(outcomes))


def defect(path: Path, error: Exception) -> str:
    """Log an error that is not the user's, and return a sentence for it."""
    logger.error("%s could not be restored", path, exc_info=error)
    return (
        f"{path.name}: an error in tvtasks itself ({type(error).__name__}: {error}). The other files go on; "
        "please report it together with this file."
    )


def _tally(ledger: Ledger, monitor: Monitor, recipes: RecipeBook, restored: int) -> Tally:
    failed = dict(monitor.stuck)
    left = list(monitor.settling)
    # A path that was overwritten has several entries: the latest one counts.
    entries = sorted(ledger.entries(recipes.digest), key=lambda entry: entry.updated)
    for entry in {entry.path: entry for entry in entries}.values():
        if monitor.folder not in entry.path.parents:
            continue
        if entry.state in {State.FAILED, State.QUARANTINED} and entry.path.exists():
            failed[entry.path] = entry.reason
        elif entry.state in {State.QUEUED, State.RUNNING}:
            left.append(entry.path)
        elif entry.state is State.OVERWRITTEN and entry.path not in left and entry.path.exists():
            # A polling observer may not have noticed its new content yet.
            left.append(entry.path)
    return Tally(restored, failed, left)


def _name(recipes: RecipeBook, path: Path) -> str:
    recipe = recipes.choose(path)
    return recipe.name if recipe else ""
