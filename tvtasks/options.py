"""The options of a watch: kept in its heartbeat, and printed as the command that starts it again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from tvtasks.archive.filters import Compression
from tvtasks.errors import ConfigurationError

if TYPE_CHECKING:
    from tvtasks.archive.storage import Storage

ObserverKind = Literal["auto", "native", "polling"]

MAX_WAIT = 600.0
MAX_WAIT_ONCE = 30.0
"""Seconds to wait for a file to become complete; the second is for a watch with ``--once``."""

USUAL_RECIPE = "auto"
"""The preset that is used if the user names no recipe."""

PREVIEW_SIZE = 60
"""Largest page of a restored image in the dashboard, in kB of 1000 bytes."""


@dataclass(frozen=True, kw_only=True)
class MonitorOptions:
    """How to watch a folder.

    Attributes
    ----------
    settle
        Seconds without change before a file counts as settled.
    max_wait
        Seconds after its last change when a file that is still incomplete is reported.
    rescan
        Seconds between scans of the whole folder; when polling, at most.
    observer
        How to notice changes: ``native`` (the operating system reports them), ``polling`` (the folder is
        scanned often), ``auto`` (native, but polling on network shares).
    recursive
        Whether to watch subfolders.
    ignore
        Patterns of files and folders to leave alone; see `tvtasks.monitor.ignore.IgnoreRules`.

    Raises
    ------
    ConfigurationError
        A value cannot work.
    """

    settle: float = 2.0
    max_wait: float = MAX_WAIT
    rescan: float = 300.0
    observer: ObserverKind = "auto"
    recursive: bool = False
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("settle", "max_wait", "rescan"):
            value = getattr(self, name)
            if not value > 0:  # also catches nan
                raise ConfigurationError(f"{name} = {value} cannot work: give a number of seconds above 0.")
        if self.observer not in get_args(ObserverKind):
            allowed = ", ".join(get_args(ObserverKind))
            raise ConfigurationError(
                f"observer = {self.observer!r} does not exist. Choose one of: {allowed}."
            )


@dataclass(frozen=True, kw_only=True)
class WatchOptions(MonitorOptions):
    """What a watch was asked for: everything except the look of its terminal.

    Attributes
    ----------
    folder, archive
        The watched folder, and the folder for results.
    recipes
        Presets, TOML files, or PATTERN=RECIPE, as given.
    frames
        Frames to take from stacks and series, instead of those that the recipes name; empty for theirs.
    once
        Whether the watch ends when nothing is left to do.
    workers
        Files restored at a time.
    dashboard
        Whether each file becomes a run on a Prefect server.
    preview_size
        Largest page of an image in the dashboard, in kB; 0 for no picture.
    port
        Port of a new Prefect server; None for the usual one.
    metrics
        Port for Prometheus; None for no metrics.
    ledger
        Folder for the ledger, if it cannot be in the archive.
    memory
        Memory that restoring may take, in GB of 10⁹ bytes; None for what is free.
    hand_on
        TOML file with what to do with each result; see `tvtasks.handover.actions`.
    compression, exact, sample
        How to compress results, whether arrays keep all bits, and the TOML file with the sample data.
    session, operator
        Name of the session, and of the person who measures; a file beside the images may say more.
    """

    folder: Path
    archive: Path
    recipes: tuple[str, ...]
    frames: str = ""
    once: bool = False
    workers: int = 2
    dashboard: bool = True
    preview_size: int = PREVIEW_SIZE
    port: int | None = None
    metrics: int | None = None
    compression: Compression = "gzip"
    exact: bool = False
    sample: Path | None = None
    session: str = ""
    operator: str = ""
    memory: float | None = None
    ledger: Path | None = None
    hand_on: Path | None = None

    def storage(self) -> Storage:
        """Return how results are stored.

        Raises
        ------
        ConfigurationError
            See `Storage.of`.
        """
        from tvtasks.archive.storage import Storage  # noqa: PLC0415 - the options alone do not need it

        return Storage.of(
            self.compression,
            self.sample,
            exact=self.exact,
            session=self.session,
            operator=self.operator,
        )

    def absolute(self) -> WatchOptions:
        """Return the same options with absolute paths."""
        return replace(
            self,
            folder=self.folder.absolute(),
            archive=self.archive.absolute(),
            recipes=tuple(absolute_recipe(recipe) for recipe in self.recipes),
            sample=self.sample.absolute() if self.sample else None,
            ledger=self.ledger.absolute() if self.ledger else None,
            hand_on=self.hand_on.absolute() if self.hand_on else None,
        )

    def command(self) -> list[str]:
        """Return the words of the command that starts such a watch, without options at their defaults.

        Examples
        --------
        >>> options = WatchOptions(folder=Path("scans"), archive=Path("out"), recipes=("auto",), workers=4)
        >>> " ".join(options.command())
        'tvtasks watch scans --archive out --recipe auto --workers 4'
        """
        usual = WatchOptions(
            folder=self.folder,
            archive=self.archive,
            recipes=self.recipes,
            once=self.once,
            max_wait=MAX_WAIT_ONCE if self.once else MAX_WAIT,
        )
        words = ["tvtasks", "watch", str(self.folder), "--archive", str(self.archive)]
        words += [word for recipe in self.recipes for word in ("--recipe", recipe)]
        words += ["--once"] if self.once else []
        for name, option in _OPTIONS.items():
            value = getattr(self, name)
            if value != getattr(usual, name):
                words += _words(option, value)
        return words


_OPTIONS = {
    "frames": "--frames",
    "recursive": "--recursive",
    "ignore": "--ignore",
    "settle": "--settle",
    "max_wait": "--max-wait",
    "observer": "--observer",
    "dashboard": "--no-dashboard",
    "preview_size": "--preview-size",
    "port": "--port",
    "metrics": "--metrics",
    "compression": "--compression",
    "exact": "--exact",
    "sample": "--sample",
    "session": "--session",
    "operator": "--operator",
    "workers": "--workers",
    "memory": "--memory",
    "ledger": "--ledger",
    "hand_on": "--hand-on",
}


def absolute_recipe(recipe: str) -> str:
    """Return a recipe, or PATTERN=RECIPE, with an absolute path if it is a file."""
    pattern, equals, name = recipe.rpartition("=")
    if Path(recipe).is_file():
        return str(Path(recipe).absolute())
    return f"{pattern}{equals}{Path(name).absolute()}" if Path(name).is_file() else recipe


def _words(option: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [option]
    values = value if isinstance(value, tuple) else (value,)
    return [word for one in values for word in (option, f"{one:g}" if isinstance(one, float) else str(one))]
