"""Read the images of a file. There is one module per family of formats; the content of a file decides.

For a new family, add a module with a `READER` and a line in `registry`, or write a package with an entry
point.
"""

import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime
from errno import EINVAL
from pathlib import Path

from tvtasks.errors import UnreadableFileError, UnusableImageError
from tvtasks.micrograph import Micrograph, Source, file_sha256
from tvtasks.readers.checks import checked
from tvtasks.readers.completeness import is_companion
from tvtasks.readers.reader import Reader
from tvtasks.readers.registry import ending_of, endings, reader_for

__all__ = [
    "Reader",
    "companions",
    "content_sha256",
    "doubtful",
    "endings",
    "incomplete",
    "is_candidate",
    "is_companion",
    "is_result",
    "read",
    "unfinished",
]

_HEAD_BYTES = 4096
_RESULT = re.compile(r"__[0-9a-f]{8}__[0-9a-f]{12}\.(nxs|png)$")


def read(path: str | Path) -> list[Micrograph]:
    """Read every image in a file, in the order of the file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    list of Micrograph
        At least one image.

    Raises
    ------
    UnreadableFileError
        The file is missing, empty, incomplete, damaged or in an unknown format, or it contains no image.
    """
    path = Path(path)
    head = _head(path)
    reader = reader_for(path, head)
    if not head:
        raise UnreadableFileError(f"{path} is empty. Check that the program that writes it has finished.")
    if reader is None:
        raise UnreadableFileError(
            f"{path} is not in a format that tvtasks reads ({', '.join(sorted(endings()))}). "
            "Export it as TIFF or HDF5 from the program that wrote it."
        )
    if missing := unfinished(path):
        raise UnreadableFileError(
            f"{path} is incomplete: {missing}. "
            "Wait until it is written, or copy it again from the microscope."
        )
    if not reader.matches(head):
        raise UnreadableFileError(
            f"{path} is named like {reader.name}, but it is not one. "
            "Check that this is the right file, and export it again."
        )
    try:
        source = replace(Source.of(path), sha256=content_sha256(path))
        micrographs = checked(reader.read(path, source), path)
        status = path.stat()
    except (UnreadableFileError, UnusableImageError):
        raise
    except Exception as error:  # libraries raise any error for a damaged file
        raise UnreadableFileError(_why_unreadable(path, reader.name, error)) from error
    if (status.st_size, datetime.fromtimestamp(status.st_mtime, UTC)) != (source.size, source.modified):
        raise UnreadableFileError(
            f"{path} changed while it was being read. Wait until it is written, then try again."
        )
    if not micrographs:
        raise UnreadableFileError(f"{path} contains no image. Check that this is the right file.")
    return micrographs


def _why_unreadable(path: Path, name: str, error: Exception) -> str:
    """Return a sentence on an error: a package is missing, the system refused, or the file is damaged."""
    reason = (next(iter(str(error).splitlines()), "") or type(error).__name__).rstrip(".")
    if isinstance(error, ImportError):
        return (
            f"{path} cannot be read as {name}, because the package {error.name} is not installed. "
            f"Install it: pip install {error.name}"
        )
    if isinstance(error, OSError) and error.errno not in {None, EINVAL}:
        return (
            f"{path} cannot be read at present: {error.strerror}. Check that you have permission to read it, "
            "and that no other program keeps it open."
        )
    return (
        f"{path} cannot be read as {name}: {reason}. The file may be damaged; open it in the program that "
        "wrote it and save it again."
    )


def unfinished(path: str | Path) -> str | None:
    """Return why a file is incomplete according to its own format; None if there is no sign of it.

    A file that is missing, contains no image, or needs a reader that cannot be loaded is not unfinished:
    `read` describes its fault. Space that was reserved at full length and is filled later is noticed only
    while the file still begins with zeros.
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
            return "it begins with zeros, as if its space had been reserved but not filled yet"
        reader = reader_for(path, head)
        return reader.unfinished(path) if reader else None
    except (FileNotFoundError, UnreadableFileError):
        return None
    except OSError as error:  # on Windows, others cannot open a file that is being written
        return f"it cannot be opened yet ({error.strerror or error})"


def incomplete(path: str | Path) -> str | None:
    """Return why an image is incomplete, in this file or in a companion; None if it is complete."""
    path = Path(path)
    if missing := unfinished(path):
        return missing
    for companion in companions(path):
        if not companion.exists():
            return f"{companion.name}, which belongs to it, does not exist yet"
        if missing := unfinished(companion):
            return f"{companion.name}, which belongs to it, is incomplete: {missing}"
    return None


def companions(path: str | Path) -> tuple[Path, ...]:
    """Return the files without which an image must not be read automatically, whether they exist or not.

    A companion holds the description of the image, in formats that store it separately: ``.emi`` beside
    ``.ser``, ``.hdr`` beside the TIFF of a Tescan microscope. Such an image can still be read by hand. Or it
    holds pixels: the sources of HDF5's virtual datasets. While the file itself is incomplete, the result is
    empty.
    """
    path = Path(path)
    try:
        if unfinished(path) or not (known := _known(path)):
            return ()
        return *known.companions(path), *known.parts(path)
    except (OSError, UnreadableFileError):
        return ()


def doubtful(path: str | Path) -> str | None:
    """Return why a file in which nothing is missing may still grow; None if it is certainly complete.

    Some formats do not record how long their files are, and a series may have been stopped or be going on. A
    watch takes up such a file when it has been silent for `max_wait` seconds.
    """
    path = Path(path)
    try:
        return known.doubtful(path) if (known := _known(path)) else None
    except (OSError, UnreadableFileError):
        return None


def content_sha256(path: str | Path) -> str:
    """Return the checksum of what a file shows, hexadecimal: of its bytes, or of them and those of its parts.

    Two files with the same bytes beside different parts are different images.
    """
    path = Path(path)
    own = file_sha256(path)
    try:
        parts = known.parts(path) if (known := _known(path)) else ()
    except UnreadableFileError:
        parts = ()
    if not parts:
        return own
    every = [own, *(file_sha256(part) if part.is_file() else "" for part in parts)]
    return hashlib.sha256(" ".join(every).encode()).hexdigest()


def _known(path: Path) -> Reader | None:
    with path.open("rb") as file:
        return reader_for(path, file.read(_HEAD_BYTES))


def is_candidate(path: str | Path) -> bool:
    """Return whether a path is named like an image, and not like a helper file of file managers or shares.

    Results of tvtasks and their pictures do not count as images.
    """
    path = Path(path)
    if is_result(path) or path.name.startswith((".", "~")) or "@eaDir" in path.parts:
        return False
    return ending_of(path) is not None


def is_result(path: str | Path) -> bool:
    """Return whether a path is named like a result of tvtasks, or like the picture of one.

    Examples
    --------
    >>> is_result("scan__6c90742a__a1850b1130f2.nxs"), is_result("scan.nxs")
    (True, False)
    """
    return _RESULT.search(Path(path).name) is not None


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        raise UnreadableFileError(f"{path} does not exist. Check the name and the folder.") from error
    except OSError as error:
        if isinstance(error, IsADirectoryError | PermissionError) and path.is_dir():
            raise UnreadableFileError(f"{path} is a folder. Give a file in it.") from error
        raise UnreadableFileError(
            f"{path} cannot be opened: {error.strerror or error}. Check that you have permission to read it "
            "and that no other program keeps it open."
        ) from error
