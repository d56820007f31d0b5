"""Collect several runs in one file, side by side, to compare them.

External links would be smaller, but viewers and validators do not follow them. Each copy keeps its run record
unchanged; the paths in it begin with ``/entry`` whatever the group is called here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py

from tvtasks.archive.reading import ArchivedRun, load, runs
from tvtasks.errors import ArchiveError, ConfigurationError
from tvtasks.files import refuse_taken, whole

_ID_DIGITS = 12
# References point into the file where they were written, so the axes are attached again in the copy.
_REFERENCES = ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME")


class _Place(NamedTuple):
    """Where a run is: the name of its entry is that of its group in the file."""

    path: Path
    entry: str


def collect(
    paths: Sequence[str | Path],
    target: str | Path,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> list[str]:
    """Copy the runs of some results into one file.

    Each becomes an NXentry ``run_<12 digits of its run_id>``; a run given twice is copied once. Viewers open
    the file on the first run. Every array is checked against its checksum, in the source and again in the
    copy.

    Parameters
    ----------
    paths
        Results, or files that were collected before.
    target
        The file to write; it appears when it is complete.
    overwrite
        Whether it may replace another file.
    progress
        Called with the number of runs copied, and of all runs.

    Returns
    -------
    list of str
        The names of the entries, in the order of `paths`.

    Raises
    ------
    ArchiveError
        A source is damaged, or the target cannot be written.
    ConfigurationError
        The target exists already, or is one of the sources.
    """
    target = Path(target)
    refuse_taken(target, overwrite=overwrite)
    if target.exists() and any(target.samefile(path) for path in paths if Path(path).exists()):
        raise ConfigurationError(f"{target} is one of the files to collect. Give the new file another name.")
    places = list(_places(paths))
    copied: dict[str, None] = {}
    with whole(target, overwrite=overwrite) as partial:
        with h5py.File(partial, "w", track_order=True) as file:
            for number, place in enumerate(places, 1):
                run = load(place.path, run=place.entry)
                name = f"run_{run.record['run_id'][:_ID_DIGITS]}"
                if name not in copied:
                    _copy(place, run, file, name)
                    copied[name] = None
                progress(number, len(places))
            file.attrs["default"] = next(iter(copied))
        for name in copied:
            try:
                load(partial, run=name)
            except ArchiveError as error:
                raise ArchiveError(
                    f"{target} was not written correctly: reading it back failed ({error}) "
                    "Check the disk or the network share."
                ) from error
    return list(copied)


def _places(paths: Sequence[str | Path]) -> Iterator[_Place]:
    if not paths:
        raise ConfigurationError("Give the results to collect.")
    for path in paths:
        for name in runs(path):
            yield _Place(Path(path), name)


def _copy(place: _Place, run: ArchivedRun, target: h5py.File, name: str) -> None:
    with h5py.File(place.path, "r", locking=False) as source:
        if not len(target):
            for key, value in source.attrs.items():
                if key != "default":
                    target.attrs[key] = value
        source.copy(place.entry, target, name)
        plots: list[tuple[str, list[tuple[str, list[str]]]]] = []
        source[place.entry].visititems(lambda path, thing: _axes(path, thing, plots))
    entry = target[name]
    _forget_references(entry)
    for plot, signals in plots:
        for signal, axes in signals:
            for axis, scale in enumerate(axes):
                if not entry[plot][scale].is_scale:
                    entry[plot][scale].make_scale(scale)
                entry[plot][signal].dims[axis].attach_scale(entry[plot][scale])


def _axes(path: str, thing: Any, plots: list[tuple[str, list[tuple[str, list[str]]]]]) -> None:
    """Note which scales the datasets of a plot have along their axes."""
    if not isinstance(thing, h5py.Group):
        return
    signals = []
    for name, dataset in thing.items():
        if isinstance(dataset, h5py.Dataset) and "DIMENSION_LIST" in dataset.attrs:
            signals.append((name, [dim[0].name.rpartition("/")[2] for dim in dataset.dims if len(dim)]))
    if signals:
        plots.append((path, signals))


def _forget_references(entry: h5py.Group) -> None:
    def forget(_: str, thing: Any) -> None:
        if isinstance(thing, h5py.Dataset):
            for name in _REFERENCES:
                if name in thing.attrs:
                    del thing.attrs[name]

    entry.visititems(forget)
