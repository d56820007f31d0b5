"""Checks that a folder can be watched and that results do not go among the images."""

import os
from collections.abc import Iterable
from pathlib import Path

from tvtasks.errors import ConfigurationError
from tvtasks.filesystem import is_same_folder
from tvtasks.monitor.ignore import IgnoreRules
from tvtasks.options import MonitorOptions


def check_folders(
    folder: Path,
    outputs: Path | None,
    options: MonitorOptions = MonitorOptions(),
    excluded: Iterable[Path] = (),
    *,
    what: str = "archive",
) -> None:
    """Refuse a folder that cannot be watched, and an archive among the images; write nothing.

    Parameters
    ----------
    folder
        The watched folder.
    outputs
        Where files will be written; None for nowhere.
    options, excluded
        How the folder is watched.
    what
        What will be written there, for the message.

    Raises
    ------
    ConfigurationError
        The message says what to do instead.
    """
    _check_folder(folder)
    folder = folder.resolve()
    rules = IgnoreRules(folder, options.ignore, excluded)
    if outputs is None:
        return
    outputs = outputs.resolve()
    if is_same_folder(outputs, folder):
        raise ConfigurationError(
            f"The {what} cannot be the watched folder {folder} itself. Give a folder beside it."
        )
    if options.recursive and not rules.ignored(outputs / "result.nxs"):
        raise ConfigurationError(
            f"The {what} {outputs} is inside {folder}, which is watched with all its subfolders. Give a "
            f"folder beside it, or exclude the {what} with --ignore."
        )


def _check_folder(folder: Path) -> None:
    try:
        with os.scandir(folder):
            pass
    except FileNotFoundError:
        raise ConfigurationError(
            f"The folder {folder} does not exist. Create it, connect the drive or correct the path."
        ) from None
    except OSError as error:
        if isinstance(error, NotADirectoryError) or folder.is_file():  # Windows has several errors for a file
            raise ConfigurationError(
                f"{folder} is a file, not a folder. Give the folder that the microscope writes to."
            ) from None
        raise ConfigurationError(
            f"The folder {folder} cannot be read: {error.strerror}. Ask for permission to read it."
        ) from error
