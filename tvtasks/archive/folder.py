"""Where everything lies in an archive: results, and ``.tvtasks`` in it for the files of a watch."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tvtasks import places
from tvtasks.errors import ArchiveError, ConfigurationError
from tvtasks.files import write_whole

PRIVATE = ".tvtasks"
"""Name of the folder in an archive for a watch's own files."""


def ledger_path(archive: Path, elsewhere: Path | None = None) -> Path:
    """Return the path of the ledger: the record of all files.

    Parameters
    ----------
    archive
        The archive.
    elsewhere
        The folder for ledgers that the user names. A watch that was started with one leaves a note in the
        archive, so that other commands find the ledger.
    """
    if elsewhere:
        return elsewhere.absolute() / f"{archive_digest(archive)}.sqlite"
    try:
        return Path(_ledger_note(archive).read_text("utf-8"))
    except (OSError, ValueError):
        return archive / PRIVATE / "ledger.sqlite"


def note_ledger(archive: Path, ledger: Path) -> None:
    """Leave a note in an archive on where its ledger is, if it is elsewhere.

    Raises
    ------
    ArchiveError
        The note cannot be written.
    """
    if ledger.parent != archive / PRIVATE and ledger != ledger_path(archive):
        write_whole(_ledger_note(archive), str(ledger).encode())


def _ledger_note(archive: Path) -> Path:
    return archive / PRIVATE / "ledger-elsewhere.txt"


def archive_digest(archive: Path) -> str:
    """Return a name for an archive of this computer."""
    return hashlib.sha256(os.fsencode(os.path.abspath(archive))).hexdigest()[:16]


def heartbeat_path(archive: Path) -> Path:
    """Return the path of the heartbeat that a watch writes every few seconds."""
    return archive / PRIVATE / "heartbeat.json"


def local_heartbeat_path(archive: Path) -> Path:
    """Return the path of a second heartbeat on this computer, for when the archive's disk is away."""
    from platformdirs import user_state_path  # noqa: PLC0415 - few commands need it

    return user_state_path("tvtasks", appauthor=False) / "heartbeats" / f"{archive_digest(archive)}.json"


def seal_log_path(archive: Path) -> Path:
    """Return the path of the log of seals: what was written into the archive, and when."""
    return archive / PRIVATE / "seals.jsonl"


def damaged_folder(archive: Path) -> Path:
    """Return the folder for damaged results that were made again."""
    return archive / PRIVATE / "damaged"


def log_path(archive: Path) -> Path:
    """Return the path of the log of a watch."""
    return archive / PRIVATE / "log" / "tvtasks.log"


def server_log_path(archive: Path) -> Path:
    """Return the path of the output of a Prefect server that a watch started."""
    return archive / PRIVATE / "server.log"


def page_path(archive: Path) -> Path:
    """Return the path of the page that shows the images of an archive."""
    return archive / "index.html"


def page_folder(archive: Path) -> Path:
    """Return the folder of the page's data and pictures, named as browsers name such folders."""
    return archive / "index_files"


def has_watch(folder: Path) -> bool:
    """Return whether a watch has written into a folder, which is therefore an archive."""
    return (folder / PRIVATE).is_dir()


def find_ledger(archive: Path) -> Path:
    """Return the path of a ledger that exists.

    Raises
    ------
    ConfigurationError
        There is no archive, or no watch has written into it.
    """
    if not archive.is_dir():
        raise ConfigurationError(f"There is no archive folder {archive}. Check the path.")
    ledger = ledger_path(archive)
    if not ledger.is_file() and _ledger_note(archive).is_file():
        raise ConfigurationError(
            f"The ledger of {archive} is {ledger}, and that file is not there. Run the command on the "
            "computer of the watch."
        )
    if not ledger.is_file():
        raise ConfigurationError(
            f"No watch has written into {archive}: it holds no ledger. Give the folder that you gave to "
            "tvtasks watch as --archive."
        )
    return ledger


def create_folder(folder: Path) -> None:
    """Create a folder for results unless it exists, or is an archive that this process holds.

    Raises
    ------
    ArchiveError
        The folder cannot be created.
    """
    places.check(folder)
    if places.is_held(folder):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArchiveError(
            f"The archive folder {folder} cannot be created: {error.strerror or error}. "
            "Give a folder that you may write to."
        ) from error
