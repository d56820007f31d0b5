"""A file → its micrographs; one module per family of formats, found by content.

A new family is a module with a `READER` and a line in `registry`, or a package of its own with an
entry point.
"""

from datetime import UTC, datetime
from pathlib import Path

from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Micrograph, Source
from tvtasks.readers.completeness import is_companion
from tvtasks.readers.reader import Reader
from tvtasks.readers.registry import ending_of, endings, reader_for

__all__ = [
    "Reader",
    "companions",
    "endings",
    "incomplete",
    "is_candidate",
    "is_companion",
    "read",
    "unfinished",
]

_HEAD_BYTES = 4096


def read(path: str | Path) -> list[Micrograph]:
    """Read every image in a file, in the file's order.

    Raises
    ------
    UnreadableFileError
        Where the file is missing, empty, not whole, damaged, of an unknown format or holds no image.
    """
    path = Path(path)
    head = _head(path)
    reader = reader_for(path, head)
    if not head:
        raise UnreadableFileError(f"{path} is empty. Check that the program that wrote it has finished.")
    if reader is None:
        raise UnreadableFileError(
            f"{path} is in no format that tvtasks knows ({', '.join(sorted(endings()))}). "
            "Export it as TIFF or HDF5 from the program that wrote it."
        )
    if missing := unfinished(path):
        raise UnreadableFileError(
            f"{path} is not whole: {missing}. Wait until it is written, or copy it again from the microscope."
        )
    if not reader.matches(head):
        raise UnreadableFileError(
            f"{path} is named like {reader.name}, but its content is not {reader.name}. "
            "Check that this is the right file, and export it again."
        )
    try:
        source = Source.of(path)
        micrographs = reader.read(path, source)
        status = path.stat()
    except UnreadableFileError:
        raise
    except Exception as error:  # the libraries raise anything at all when a file is damaged
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise UnreadableFileError(
            f"{path} cannot be read as {reader.name}: {reason.rstrip('.')}. The file may be damaged; "
            "open it in the program that wrote it and save it again."
        ) from error
    if (status.st_size, datetime.fromtimestamp(status.st_mtime, UTC)) != (source.size, source.modified):
        raise UnreadableFileError(
            f"{path} changed while it was read. Wait until it is written, then try again."
        )
    if not micrographs:
        raise UnreadableFileError(f"{path} holds no image. Check that this is the right file.")
    return micrographs


def unfinished(path: str | Path) -> str | None:
    """Say why a file is not whole according to its own format, or None where nothing speaks against it.

    A file that is not there, no image, or for a reader that cannot be loaded is not unfinished: `read` says
    what is wrong with it. Space reserved at full length and filled later is only seen while the beginning is
    still zeros.
    """
    path = Path(path)
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        if not head:
            return "it is empty"
        if not any(head):
            return "it begins with zeros, as if space had been reserved for it and not been filled yet"
        reader = reader_for(path, head)
        return reader.unfinished(path) if reader else None
    except (FileNotFoundError, UnreadableFileError):
        return None
    except OSError as error:  # on Windows, what a writer holds open cannot be opened by others
        return f"it cannot be opened yet ({error.strerror or error})"


def incomplete(path: str | Path) -> str | None:
    """Say why an image is not whole, in this file or in another that belongs to it; None where it is."""
    path = Path(path)
    if missing := unfinished(path):
        return missing
    for companion in companions(path):
        if not companion.exists():
            return f"{companion.name}, which belongs to it, is not there yet"
        if missing := unfinished(companion):
            return f"{companion.name}, which belongs to it, is not whole: {missing}"
    return None


def companions(path: str | Path) -> tuple[Path, ...]:
    """Return the files without which an image is not to be read by itself, there or not.

    That is the description in a file of its own, where the format has one: ``.emi`` beside ``.ser``, ``.hdr``
    beside the TIFF of a Tescan microscope. Someone may still have such a file read by hand. Of a file that is
    not whole itself, this is not known yet.
    """
    path = Path(path)
    try:
        if unfinished(path):
            return ()
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        known = reader_for(path, head)
        return known.companions(path) if known else ()
    except (OSError, UnreadableFileError):
        return ()


def is_candidate(path: str | Path) -> bool:
    """Whether a path is named like an image, and not like the litter of file managers and network drives."""
    path = Path(path)
    if path.name.startswith((".", "~")) or "@eaDir" in path.parts:
        return False
    return ending_of(path) is not None


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        raise UnreadableFileError(f"{path} does not exist. Check the name and the folder.") from error
    except OSError as error:
        if isinstance(error, IsADirectoryError | PermissionError) and path.is_dir():
            raise UnreadableFileError(f"{path} is a folder. Name a file in it.") from error
        raise UnreadableFileError(
            f"{path} cannot be opened: {error.strerror or error}. Check that you may read it and that no "
            "other program holds it."
        ) from error
