"""The interface of a family of file formats."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Micrograph, Source


@dataclass(frozen=True)
class Reader:
    """A family of file formats.

    Attributes
    ----------
    name
        Name of the family in messages, with its article.
    matches
        Returns whether a file that begins with these bytes (up to 4096) belongs to this family.
    read
        Returns the images of a file of this family. It may raise any error: `tvtasks.readers.read` turns all
        but `UnreadableFileError` into one.
    unfinished
        Returns what is missing in a file, as a clause without a full stop; None if the file is complete or
        not of this family. Raises only OSError.
    companions
        Returns the files that belong to the image in a file, whether they exist or not. While one is missing
        or being written, the image must not be read automatically. Raises only OSError.

    parts
        Returns the files that hold pixels of the image, in formats that spread them over several files,
        whether they exist or not. They are companions, too, and what is in them counts as content of the
        file. Raises only OSError.
    doubtful
        Returns why a file may still grow although nothing in it is missing, as a clause without a full stop;
        None if it is certainly complete. A watch takes up such a file once it has been silent for as long as
        it waits at most. Raises only OSError.
    """

    name: str
    matches: Callable[[bytes], bool]
    read: Callable[[Path, Source], list[Micrograph]]
    unfinished: Callable[[Path], str | None]
    companions: Callable[[Path], tuple[Path, ...]] = lambda path: ()
    parts: Callable[[Path], tuple[Path, ...]] = lambda path: ()
    doubtful: Callable[[Path], str | None] = lambda path: None


def require_extra(module: str, extra: str, path: Path) -> None:
    """Refuse a file if the optional package that reads its format is not installed.

    Raises
    ------
    UnreadableFileError
        `module` is not installed; the message explains how to install `extra`.
    """
    if find_spec(module) is None:
        raise UnreadableFileError(
            f"{path} cannot be read, because the package for its format is not installed. "
            f"Install it: pip install 'tvtasks[{extra}]'"
        )
