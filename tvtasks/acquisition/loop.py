"""The loop that joins monitor, ledger and work: every file that settles in a folder is restored."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum, auto
from pathlib import Path
from typing import Any

from tvtasks import memory
from tvtasks.acquisition.dispatch import Dispatcher
from tvtasks.acquisition.suspects import restore_apart
from tvtasks.archive import remove_partials
from tvtasks.archive.folder import ledger_path, note_ledger
from tvtasks.errors import ArchiveError, ConfigurationError
from tvtasks.health.heartbeat import Pulse
from tvtasks.health.results import check_and_queue
from tvtasks.ledger import UNRESTORED, Entry, Ledger, State, require_locks
from tvtasks.listener import Listener
from tvtasks.monitor import Monitor, check_folders
from tvtasks.options import WatchOptions
from tvtasks.outcome import Change, Outcome, recipes_of
from tvtasks.periodic import Periodic
from tvtasks.places import holding
from tvtasks.recipe import Recipe
from tvtasks.recipe_book import RecipeBook

logger = logging.getLogger(__name__)

TURN_SECONDS = 0.25
"""Seconds between turns when nothing happens. A file that is queued or finishes triggers a turn at once."""

TIDY_SECONDS = 86_400.0
"""Seconds between checks of the results, which also remove old records and unfinished files."""

_NAMED = 3  # subfolders that cannot be read, in the status

RestoreFile = Callable[[Path, Recipe, Path], list[Outcome]]
"""Restores a file by a recipe into an archive."""


@dataclass(frozen=True)
class Tally:
    """The result of an acquisition: how many files it restored, which failed and why, and which are left."""

    restored: int
    failed: dict[Path, str]
    left: list[Path]

    @property
    def record(self) -> dict[str, Any]:
        """The tally, safe for JSON."""
        return {
            "restored": self.restored,
            "failed": {str(path): reason for path, reason in self.failed.items()},
            "left": [str(path) for path in self.left],
        }


class Phase(Enum):
    """The phase of the loop."""

    WATCHING = auto()
    """New files may come at any time."""
    FINISHING = auto()
    """No more files come: the loop ends when the files that are there are finished."""
    STOPPING = auto()
    """No more files are started: the loop ends when the work under way is finished."""


class AcquisitionLoop:
    """Turns in a loop: queues settled files, starts due work, and reports changes.

    The phase changes from watching to finishing once `finished` is true, and from either to stopping once
    `stop` is set.

    Parameters
    ----------
    monitor, dispatcher
        The monitor and the dispatcher, with their contexts open.
    recipe_name
        Returns the name of the recipe for a file; empty if it has none.
    listener
        Receives every change in a file's state.
    pulse
        Called at every turn with the state of the loop.
    finished
        Returns whether no more files will come.
    stop
        Once this is set, no more files are started.

    Attributes
    ----------
    phase
        The phase of the loop.
    restored
        Files restored so far.
    """

    def __init__(
        self,
        monitor: Monitor,
        dispatcher: Dispatcher,
        recipe_name: Callable[[Path], str],
        *,
        listener: Listener,
        pulse: Callable[[Pulse], object],
        finished: Callable[[], bool],
        stop: threading.Event,
    ) -> None:
        self.phase = Phase.WATCHING
        self.restored = 0
        self._monitor = monitor
        self._dispatcher = dispatcher
        self._recipe_name = recipe_name
        self._listener = listener
        self._pulse = pulse
        self._finished = finished
        self._stop = stop
        self._unsettled: dict[Path, str] = {}
        # Looks at the folder that ended in the finishing phase.
        self._last_look = 0.0
        self._looks = 0

    def run(self) -> None:
        """Turn until nothing is left to do.

        Raises
        ------
        ArchiveError
            The ledger cannot be read or written at the end of the loop.
        """
        while self.turn():
            self._dispatcher.wait(TURN_SECONDS / 10 if self.phase is Phase.FINISHING else TURN_SECONDS)

    def turn(self) -> bool:
        """Do one turn; return whether there is more to do."""
        self._take_phase()
        if self.phase is not Phase.STOPPING:
            for entry in self._monitor.poll():
                self._report(Change(entry.path, State.QUEUED))
            self._report_unsettled()
        # Before the dispatcher's turn: it claims files that settle later at the next turn.
        nothing_comes = self._nothing_comes()
        changes = self._dispatcher.turn(begin=self.phase is not Phase.STOPPING)
        for entry in self._monitor.newly_queued():  # since the poll, and perhaps started already
            self._report(Change(entry.path, State.QUEUED))
        for change in changes:
            self.restored += bool(change.outcomes) and change.state == State.DONE
            if change.state == State.OVERWRITTEN:
                self._monitor.notice(change.path)
                nothing_comes, self._looks = False, 0
            self._report(change)
        trouble = self._dispatcher.trouble or self._monitor.trouble
        self._pulse(_pulse(self._monitor, self._dispatcher, trouble))
        if self._is_working() or not (self.phase is Phase.STOPPING or nothing_comes):
            return True
        if fatal := self._dispatcher.trouble if self.phase is Phase.STOPPING else trouble:
            raise ArchiveError(fatal)
        return False

    def _take_phase(self) -> None:
        if self.phase is Phase.FINISHING and self._monitor.last_look != self._last_look:
            self._looks, self._last_look = self._looks + 1, self._monitor.last_look
        if self._stop.is_set():
            self.phase = Phase.STOPPING
        elif self.phase is Phase.WATCHING and self._finished():
            self.phase = Phase.FINISHING
            self._looks, self._last_look = 0, self._monitor.last_look

    def _nothing_comes(self) -> bool:
        # Two looks, since the first may have begun before the last file was written.
        return self.phase is Phase.FINISHING and self._looks >= 2 and not self._monitor.settling

    def _is_working(self) -> bool:
        dispatcher = self._dispatcher
        # Outcomes that cannot be recorded do not delay the end.
        return not (dispatcher.is_idle or (dispatcher.trouble and not dispatcher.running))

    def _report(self, change: Change) -> None:
        name = recipes_of(change.outcomes, self._recipe_name(change.path))
        self._listener.changed(replace(change, recipe=name))

    def _report_unsettled(self) -> None:
        """Report the files that began to settle or turned incomplete since the last time."""
        now = dict.fromkeys(self._monitor.settling, "") | self._monitor.stuck
        for path, reason in now.items():
            if self._unsettled.get(path) != reason:
                state = "incomplete" if reason else "settling"
                self._listener.changed(Change(path, state, reason=reason))
        self._unsettled = now


def acquire(
    options: WatchOptions,
    recipes: RecipeBook,
    restore: RestoreFile,
    *,
    listener: Listener | None = None,
    pulse: Callable[[Pulse], object] = lambda pulse: None,
    finished: Callable[[], bool] | None = None,
    stop: threading.Event | None = None,
    before_work: Callable[[], object] = lambda: None,
) -> Tally:
    """Restore all images in a folder and those that arrive later.

    Parameters
    ----------
    options
        What to watch and how, and where results go. With `once`, no more files are expected.
    recipes
        Which recipe a file gets; files without a recipe are left alone.
    restore
        Restores one file; called in several threads at a time.
    listener
        Receives every change in a file's state, in the calling thread.
    pulse
        Called at every turn of the loop, in the calling thread.
    finished
        Once this returns True, the call returns as soon as nothing is left to do. It does not wait for failed
        work that is due again later. If not given, `options.once` decides.
    stop
        Once this is set, no more files are started; the call returns when those under way are finished.
    before_work
        Called once before the first work starts, when no other process can be working on this archive.

    Raises
    ------
    ConfigurationError
        The folder cannot be watched, or another process is working on the archive.
    ArchiveError
        The ledger cannot be opened, or cannot be written to at the end.
    """
    check_folders(options.folder, options.archive, options)
    path = ledger_path(options.archive, options.ledger)
    checked = threading.Event()
    storage = options.storage()
    watched = options.folder.resolve()

    def choose(path: Path) -> Recipe | None:
        return recipes.choose(path, watched)

    def recipe_name(path: Path) -> str:
        recipe = choose(path)
        return recipe.name if recipe else ""

    def work(entry: Entry) -> list[Outcome]:
        recipe = choose(entry.path)
        if recipe is None:
            raise ConfigurationError(f"{entry.path.name} has no recipe: no --recipe pattern matches it.")
        if entry.attempts > 1 and ledger.was_interrupted(entry):
            return restore_apart(entry.path, recipe, options.archive, storage, archive_id)
        return restore(entry.path, recipe, options.archive)

    with (
        memory.limited(int(options.memory * memory.GIGABYTE) if options.memory else None),
        holding(options.archive) as archive_id,
        _ledger(path, options.archive) as ledger,
        ExitStack() as stack,
        Monitor(
            options.folder,
            ledger,
            recipes.digest,
            options,
            outputs=options.archive,
            has_recipe=lambda path: choose(path) is not None,
        ) as monitor,
        Dispatcher(
            ledger, recipes.digest, work, folder=watched, archive=options.archive, workers=options.workers
        ) as dispatcher,
    ):
        before_work()
        # Listing a share may take long or hang, so nothing waits for this thread, except a watch that would
        # otherwise end before it knows whether all results are there.
        tidying = Periodic(
            lambda: _tidy(path, options.archive, recipes.digest, checked),
            every=TIDY_SECONDS,
            name="tvtasks tidying",
        )
        stack.callback(tidying.stop, 0.0)
        tidying.start()
        loop = AcquisitionLoop(
            monitor,
            dispatcher,
            recipe_name,
            listener=listener or Listener(),
            pulse=pulse,
            finished=lambda: checked.is_set() and (finished() if finished else options.once),
            stop=stop or threading.Event(),
        )
        loop.run()
        return _tally(ledger, monitor, recipes, loop.restored)


def _ledger(path: Path, archive: Path) -> Ledger:
    """Open the ledger, and note in the archive where it is."""
    require_locks(path)
    note_ledger(archive, path)
    return Ledger(path)


def _pulse(monitor: Monitor, dispatcher: Dispatcher, trouble: str) -> Pulse:
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
        unreadable=_unreadable(monitor),
    )


def _unreadable(monitor: Monitor) -> tuple[str, int] | None:
    folders = sorted(monitor.unreadable)
    return (", ".join(map(str, folders[:_NAMED])), len(folders)) if folders else None


def _tidy(ledger: Path, archive: Path, recipe: str, checked: threading.Event) -> None:
    """Queue files again whose results are lost; remove old records and what killed writers left behind."""
    try:
        with Ledger(ledger) as own:
            check_and_queue(own, archive, recipe)
            checked.set()
            own.prune()
        remove_partials(archive, older_than=timedelta(hours=1))
    except (ArchiveError, OSError) as error:
        logger.warning("The results were not checked, or old records not removed, until tomorrow: %s", error)
    finally:
        checked.set()


def _tally(ledger: Ledger, monitor: Monitor, recipes: RecipeBook, restored: int) -> Tally:
    failed = dict(monitor.stuck)
    left = list(monitor.settling)
    open_states = (State.QUEUED, State.RUNNING, State.OVERWRITTEN, *UNRESTORED)
    for entry in ledger.entries(recipes.digest, *open_states):
        path = entry.path
        if monitor.folder not in path.parents or path in left or not path.exists():
            continue
        if entry.state in UNRESTORED:
            failed[path] = entry.reason
        elif entry.state in {State.QUEUED, State.RUNNING}:
            left.append(path)
        elif path not in failed and not _is_known(ledger, entry):
            # A polling observer may not have noticed its new content yet.
            left.append(path)
    return Tally(restored, failed, left)


def _is_known(ledger: Ledger, entry: Entry) -> bool:
    """Return whether the ledger has the content that the path of an overwritten entry holds now."""
    status = entry.path.stat()
    return ledger.known(entry.path, status.st_size, status.st_mtime_ns, entry.recipe) is not None
