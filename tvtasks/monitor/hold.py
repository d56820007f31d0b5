"""Who holds a ledger: a lock beside it, which ends with its process, and a note that says whose it is."""

import os
import socket
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from tvtasks.errors import ConfigurationError


def lock_path(ledger: Path) -> Path:
    """Where the lock of a ledger lies."""
    return ledger.with_name(ledger.name + ".lock")


def in_use(ledger: Path) -> ConfigurationError:
    """Return the error that says who holds a ledger."""
    try:
        who = _note_path(ledger).read_text(encoding="utf-8").strip()
    except OSError:
        who = "another process"
    return ConfigurationError(
        f"The ledger {ledger} is in use by {who}. Stop that monitor first, or give this one another archive."
    )


class LedgerHold:
    """The right to be the only monitor on a ledger.

    Parameters
    ----------
    ledger
        Path of the ledger.
    folder
        What the monitor watches, for the note.
    """

    def __init__(self, ledger: Path, folder: Path) -> None:
        self._ledger = ledger
        self._folder = folder
        self._lock = FileLock(lock_path(ledger), timeout=0, thread_local=False)

    def take(self) -> None:
        """Take the lock and leave the note.

        Raises
        ------
        ConfigurationError
            Another monitor holds the ledger, or its folder cannot be written to.
        """
        try:
            self._lock.acquire()
            _note_path(self._ledger).write_text(
                f"process {os.getpid()} on {socket.gethostname()}, watching {self._folder}\n",
                encoding="utf-8",
            )
        except Timeout:
            raise in_use(self._ledger) from None
        except OSError as error:
            self._lock.release()
            raise ConfigurationError(
                f"The ledger {self._ledger} cannot be reserved: {error}. Check that its folder can be "
                "written to."
            ) from error

    def release(self) -> None:
        """Remove the note and give the lock back."""
        with suppress(OSError):  # Windows: someone is just reading it
            _note_path(self._ledger).unlink()
        self._lock.release()


def _note_path(ledger: Path) -> Path:
    return ledger.with_name(ledger.name + ".holder")
