"""The right to write to a ledger: a lock file that ends with its process, and a note of who holds it."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from tvtasks.errors import ConfigurationError

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


class LedgerLock:
    """The right to be the only monitor of a ledger.

    Parameters
    ----------
    ledger
        Path of the ledger.
    folder
        The watched folder, for the note.
    """

    def __init__(self, ledger: Path, folder: Path) -> None:
        self._ledger = ledger
        self._folder = folder
        self._lock = FileLock(_lock_path(ledger), timeout=0, thread_local=False)

    def acquire(self) -> None:
        """Take the lock and write the note.

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
            raise _in_use(self._ledger) from None
        except (OSError, NotImplementedError) as error:
            self._lock.release()
            raise ConfigurationError(
                f"The ledger {self._ledger} cannot be locked: {error}. Check that its folder can be written "
                "to."
            ) from error

    def release(self) -> None:
        """Remove the note and release the lock."""
        with suppress(OSError):  # Windows: someone is reading it at this moment
            _note_path(self._ledger).unlink()
        self._lock.release()


def has_locks(folder: Path) -> bool:
    """Return whether files in a folder can be locked, by trying; some network shares have no locks.

    Raises
    ------
    OSError
        The folder cannot be written to.
    """
    probe = folder / f".tvtasks-locks-{os.getpid()}.partial"
    try:
        with FileLock(probe, timeout=0):
            return True
    except NotImplementedError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def require_locks(ledger: Path) -> None:
    """Refuse a ledger on a share without file locks: nothing would stop a second watch.

    Raises
    ------
    ConfigurationError
        The message says what to do.
    """
    with suppress(OSError):  # whoever opens the ledger reports that its folder cannot be written to
        ledger.parent.mkdir(parents=True, exist_ok=True)
        if not has_locks(ledger.parent):
            raise ConfigurationError(
                f"The ledger {ledger} would be on a share without file locks, where nothing stops a second "
                "watch, and where SQLite does not work. Keep the ledger on a disk of this computer: "
                "--ledger DIR"
            )


def refuse_second(ledger: Path) -> None:
    """Refuse a second watch on a ledger; write nothing.

    The monitor takes the lock itself when it begins. Checking earlier avoids starting a server for nothing.

    Raises
    ------
    ConfigurationError
        Another watch holds the ledger; the message names it.
    """
    path = _lock_path(ledger)
    if not path.exists():
        return
    try:
        with FileLock(path, timeout=0):
            return
    except Timeout:
        raise _in_use(ledger) from None
    except (OSError, NotImplementedError):
        return  # the monitor will report what is wrong


def _lock_path(ledger: Path) -> Path:
    return ledger.with_name(ledger.name + ".lock")


def _note_path(ledger: Path) -> Path:
    return ledger.with_name(ledger.name + ".holder")


def _in_use(ledger: Path) -> ConfigurationError:
    try:
        who = _note_path(ledger).read_text(encoding="utf-8").strip()
    except OSError:
        who = "another process"
    return ConfigurationError(
        f"The ledger {ledger} is in use by {who}. Stop that watch first, or give this one another archive."
    )
