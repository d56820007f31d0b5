"""The monitor joined to the restore flow: every file that settles in a folder becomes a run."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from tvtasks.archive import remove_partials
from tvtasks.errors import ArchiveError, ConfigurationError
from tvtasks.monitor import Entry, Ledger, Monitor, State, check_folders
from tvtasks.monitor.dispatch import Dispatcher, Event, Restored, defect
from tvtasks.monitor.health import Pulse
from tvtasks.monitor.observe import ObserverKind
from tvtasks.recipe import Recipe
from tvtasks.recipe_book import RecipeBook
from tvtasks.workflow import Outcome, create_folder, restored_by

__all__ = ["Change", "RestoreFile", "Tally", "Watching", "acquire", "defect", "ledger_path"]

logger = logging.getLogger(__name__)

PAUSE = 0.25
"""Seconds between two turns when nothing happens. What settles here, or ends, makes a turn at once."""

TIDY_SECONDS = 86_400.0
"""Seconds between two times of removing what nobody needs any more."""

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
    ignore: tuple[str, ...] = ()


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
    pulse: Callable[[Pulse], object] = lambda pulse: None,
    reconcile: Callable[[], object] = lambda: None,
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
        Once this is true, the call returns as soon as nothing is left to do. Work that failed and is due
        again later is not waited for.
    stop
        Once this is set, no file is begun any more; the call returns when those under way are done.
    report
        Called for every change of a file's state, in the calling thread.
    pulse
        Called at every turn of the loop, in the calling thread.
    reconcile
        Called once before any work is begun, when no other process can be working for this archive.

    Raises
    ------
    ConfigurationError
        The folder cannot be watched, or another process works for the archive.
    ArchiveError
        The ledger cannot be opened; or it cannot be written when the call is to return.
    """
    stop = stop or threading.Event()
    check_folders(folder, archive, recursive=watching.recursive, ignore=watching.ignore)
    path = ledger_path(archive)
    create_folder(path.parent)

    watched = folder.resolve()

    def choose(path: Path) -> Recipe | None:
        return recipes.choose(path, watched)

    def work(entry: Entry) -> Restored[Outcome]:
        recipe = choose(entry.path)
        if recipe is None:
            raise ConfigurationError(f"No recipe is given for {entry.path.name}.")
        return _restored(recipe, restore(entry.path, recipe, archive))

    with (
        Ledger(path) as ledger,
        Monitor(
            folder, ledger, recipes.digest, outputs=archive, settle=watching.settle,
            max_wait=watching.max_wait, rescan=watching.rescan, observer=watching.observer,
            recursive=watching.recursive, ignore=watching.ignore,
            has_recipe=lambda path: choose(path) is not None,
        ) as monitor,
        Dispatcher(ledger, recipes.digest, work, folder=watched, workers=workers) as dispatcher,
    ):  # fmt: skip
        reconcile()
        told: dict[Path, str] = {}
        restored = 0
        last_round, looks, last_look = False, 0, 0.0
        next_tidying = time.monotonic()
        while True:
            if last_round and monitor.last_look != last_look:
                looks, last_look = looks + 1, monitor.last_look
            elif not last_round and finished():
                last_round, looks, last_look = True, 0, monitor.last_look
            if not stop.is_set():
                for entry in monitor.poll():
                    report(Change(entry.path, State.QUEUED, _name(choose(entry.path))))
                _tell_waiting(monitor, told, report)
            # The first look may have begun before the last file was written. This is asked before the turn:
            # what settles later is claimed at the next one.
            nothing_comes = last_round and looks >= 2 and not monitor.settling
            for event in dispatcher.turn(begin=not stop.is_set()):
                restored += event.restored is not None
                if event.entry.state is State.OVERWRITTEN:
                    monitor.notice(event.entry.path)
                    nothing_comes, looks = False, 0
                report(_change(event, choose(event.entry.path)))
            trouble = dispatcher.trouble or monitor.trouble
            pulse(_pulse(monitor, dispatcher, trouble))
            nothing_runs = dispatcher.idle or (dispatcher.trouble and not dispatcher.running)
            if nothing_runs and (stop.is_set() or nothing_comes):
                if fatal := dispatcher.trouble if stop.is_set() else trouble:
                    raise ArchiveError(fatal)
                break
            if time.monotonic() >= next_tidying:
                # Listing a share may take long or hang: nothing waits for this thread, not even the end.
                threading.Thread(target=_tidy, args=(path, archive), daemon=True).start()
                next_tidying = time.monotonic() + TIDY_SECONDS
            dispatcher.wait(PAUSE / 10 if last_round else PAUSE)
        return _tally(ledger, monitor, recipes, restored)


def _restored(recipe: Recipe, outcomes: list[Outcome]) -> Restored[Outcome]:
    gaps = [outcome.gap for outcome in outcomes if outcome.gap is not None]
    seconds = [outcome.seconds for outcome in outcomes if outcome.seconds is not None]
    return Restored(
        checksums=frozenset(outcome.source_sha256 for outcome in outcomes),
        outputs=tuple(outcome.archive for outcome in outcomes),
        detail={
            "gap": max(gaps, default=None),
            "seconds": sum(seconds),
            "recipe": restored_by(outcomes, recipe),
        },
        outcomes=tuple(outcomes),
    )


def _change(event: Event[Outcome], recipe: Recipe | None) -> Change:
    entry = event.entry
    outcomes = event.restored.outcomes if event.restored else ()
    name = restored_by(outcomes, recipe) if recipe else ""
    return Change(entry.path, entry.state, name, entry.reason, outcomes)


def _pulse(monitor: Monitor, dispatcher: Dispatcher[Outcome], trouble: str) -> Pulse:
    path, longest = next(iter(dispatcher.running.items()), (None, 0.0))
    return Pulse(
        observer="polling" if monitor.polls else "native",
        observer_alive=monitor.alive,
        look_age=time.monotonic() - monitor.last_look,
        settling=len(monitor.settling),
        running=len(dispatcher.running),
        longest=longest,
        longest_file=path.name if path else "",
        error=trouble,
    )


def _tell_waiting(monitor: Monitor, told: dict[Path, str], report: Callable[[Change], object]) -> None:
    """Report the files that have begun, or ceased, to settle since the last time."""
    now = dict.fromkeys(monitor.settling, "") | monitor.stuck
    for path, reason in now.items():
        if told.get(path) != reason:
            report(Change(path, "incomplete" if reason else "settling", reason=reason))
    told.clear()
    told.update(now)


def _tidy(ledger: Path, archive: Path) -> None:
    """Remove what nobody needs any more: old records, and what writers that were killed left behind."""
    try:
        with Ledger(ledger) as own:
            own.prune()
        remove_partials(archive, older_than=timedelta(hours=1))
    except (ArchiveError, OSError) as error:
        logger.info("Tidying up is put off until tomorrow: %s", error)


def _tally(ledger: Ledger, monitor: Monitor, recipes: RecipeBook, restored: int) -> Tally:
    failed = dict(monitor.stuck)
    left = list(monitor.settling)
    open_states = (State.QUEUED, State.RUNNING, State.FAILED, State.QUARANTINED, State.OVERWRITTEN)
    for entry in ledger.entries(recipes.digest, *open_states):
        path = entry.path
        if monitor.folder not in path.parents or path in left or not path.exists():
            continue
        if entry.state in {State.FAILED, State.QUARANTINED}:
            failed[path] = entry.reason
        elif entry.state in {State.QUEUED, State.RUNNING}:
            left.append(path)
        elif path not in failed and not _is_known(ledger, entry):
            # A polling observer may not have noticed its new content yet.
            left.append(path)
    return Tally(restored, failed, left)


def _is_known(ledger: Ledger, entry: Entry) -> bool:
    """Return whether the content that the path of an overwritten entry holds now is in the ledger."""
    status = entry.path.stat()
    return ledger.known(entry.path, status.st_size, status.st_mtime_ns, entry.recipe) is not None


def _name(recipe: Recipe | None) -> str:
    return recipe.name if recipe else ""
