"""What the ledger knows about the files in a folder, asked without delaying anything else."""

import threading
import time
from collections.abc import Generator
from concurrent.futures import Future, wait
from pathlib import Path

from tvtasks.filesystem import FileStatus
from tvtasks.ledger import Ledger

STEP_SECONDS = 0.005
"""Seconds that one step waits for the ledger."""

LARGE_FOLDER = 5000
"""Known files in a folder above which the ledger is asked in the background."""


class KnownFiles:
    """Asks the ledger for the files in a folder, in steps of a few milliseconds.

    For 100,000 files the answer takes a second. With a thread and a connection of its own, the question
    delays neither a look at the folder nor the dispatcher.

    Attributes
    ----------
    busy_beside
        Processor seconds that those threads have used since the caller last set this to 0.
    """

    def __init__(self, ledger: Ledger, recipe: str) -> None:
        self.busy_beside = 0.0
        self._ledger = ledger
        self._recipe = recipe
        self._large: set[Path] = set()

    def ask(self, folder: Path) -> Generator[None, None, dict[str, FileStatus]]:
        """Return, after some steps, the recorded status of each known file directly in a folder, by name."""
        if folder not in self._large:
            known = self._ledger.known_in(folder, self._recipe)
        else:
            answer: Future[dict[str, FileStatus]] = Future()
            threading.Thread(target=self._ask_beside, args=(folder, answer), daemon=True).start()
            while not answer.done():
                wait([answer], timeout=STEP_SECONDS)
                yield
            known = answer.result()
        (self._large.add if len(known) > LARGE_FOLDER else self._large.discard)(folder)
        yield
        return known

    def _ask_beside(self, folder: Path, answer: "Future[dict[str, FileStatus]]") -> None:
        try:
            with Ledger(self._ledger.path) as ledger:
                known = ledger.known_in(folder, self._recipe)
            self.busy_beside += time.thread_time()
            answer.set_result(known)
        except BaseException as error:
            answer.set_exception(error)
