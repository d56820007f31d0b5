"""What the ledger knows of the files in a folder, asked without holding anything up."""

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
"""Files in a folder from which on the ledger is asked for them in the background."""


class KnownFiles:
    """Asks the ledger for the files in a folder, in steps of a few milliseconds.

    For 100,000 files that takes a second. With a thread and a connection to the ledger of its own it holds
    up neither a look at the folder nor the dispatcher.

    Attributes
    ----------
    busy_beside
        Seconds of a processor core that those threads have taken since it was last set to 0.
    """

    def __init__(self, ledger: Ledger, recipe: str) -> None:
        self.busy_beside = 0.0
        self._ledger = ledger
        self._recipe = recipe
        self._large: set[Path] = set()

    def ask(self, folder: Path) -> Generator[None, None, dict[str, FileStatus]]:
        """Return, after some steps, what each known file directly in a folder looks like, by name."""
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
