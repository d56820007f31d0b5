"""What a family of file formats offers."""

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
        What the family is called in a message.
    matches
        Whether a file that begins with these bytes (up to 4096 of them) is of this family.
    read
        The images of a file of this family. It may raise what it likes: `tvtasks.readers.read` turns
        anything that is not an `UnreadableFileError` into one.
    unfinished
        What is missing in a file, as a clause without a full stop; None where it is whole or not of this
        family. Raises nothing but OSError.
    companions
        The files that belong to the image in a file, there or not: with them missing or still being written,
        it is not to be read by itself. Raises nothing but OSError.
    """

    name: str
    matches: Callable[[bytes], bool]
    read: Callable[[Path, Source], list[Micrograph]]
    unfinished: Callable[[Path], str | None]
    companions: Callable[[Path], tuple[Path, ...]] = lambda path: ()


def require_extra(module: str, extra: str, path: Path) -> None:
    """Refuse a file whose format an optional package reads, where that package is not installed.

    Raises
    ------
    UnreadableFileError
        Where there is no `module`; it says how to install `extra`.
    """
    if find_spec(module) is None:
        raise UnreadableFileError(
            f"{path} is of a format that tvtasks reads with a package that is not installed. "
            f"Install it: pip install 'tvtasks[{extra}]'"
        )
