"""The folders that runs started on a server may use: anyone who reaches the server can name any path."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from prefect.context import FlowRunContext

from tvtasks.dashboard.supervision import current_supervisor
from tvtasks.errors import ConfigurationError

VARIABLE = "TVTASKS_ALLOW"
"""Environment variable of a worker: the folders, separated as in PATH."""


def check(paths: Iterable[Path | None], recipes: Iterable[str] = ()) -> None:
    """Raise an error if this run was started on a server and names a path outside the allowed folders.

    Runs that this process started itself, such as those of a watch, may use any path.

    Parameters
    ----------
    paths
        Files and folders; None is ignored.
    recipes
        Presets, TOML files, or PATTERN=RECIPE; only those that are paths count.

    Raises
    ------
    ConfigurationError
        A path is not in an allowed folder.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if current_supervisor() or run is None or run.deployment_id is None:
        return
    folders = [Path(name).resolve() for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    files = [Path(name) for name in (recipe.rpartition("=")[2] for recipe in recipes) if _is_path(name)]
    for path in [*filter(None, paths), *files]:
        if not any(path.resolve().is_relative_to(folder) for folder in folders):
            raise ConfigurationError(_sentence(path, folders))


def _is_path(recipe: str) -> bool:
    return Path(recipe).name != recipe or recipe.endswith(".toml")


def _sentence(path: Path, folders: list[Path]) -> str:
    which = f"only to files in {', '.join(map(str, folders))}" if folders else "to no folder so far"
    return (
        f"{path} may not be used by a run that was started on the server: such runs have access {which}. To "
        "allow a folder, run: tvtasks deploy --allow FOLDER"
    )
