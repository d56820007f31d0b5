"""Read a result, and report what is wrong with one that is damaged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tvtasks.archive.filters import MissingFilterError, have_filters
from tvtasks.archive.layout import ENTRY, RECORD, VENDOR_METADATA
from tvtasks.archive.lean import computed, formulas_of
from tvtasks.archive.record import READABLE, SCHEMA, sha256
from tvtasks.errors import ArchiveError
from tvtasks.micrograph import Image, Micrograph, Position, Region, Source, array_sha256
from tvtasks.recipe import Recipe
from tvtasks.restoration import Arrays

if TYPE_CHECKING:
    from tvtasks.choosing import Choice

_OPPOSITE = "opposite_scan"


@dataclass(frozen=True, eq=False)
class ArchivedRun(Arrays):
    """A restoration as read from a result; every array matched its checksum.

    Attributes
    ----------
    path
        The result file.
    record
        The run record: steps, parameters, convergence, checksums, software.
    micrograph
        The raw image and what is known about it. The path of its source is only the file name, because
        folders are not archived.
    region
        The part of the raw image that was restored.
    arrays
        See `tvtasks.restoration.Arrays`.
    """

    path: Path
    record: Mapping[str, Any]
    micrograph: Micrograph
    region: Region
    arrays: Mapping[str, Image]

    def __repr__(self) -> str:
        """Describe the run in one line."""
        gap = "" if self.gap is None else f", gap {self.gap:.1e}"
        recipe = self.record["recipe"]["name"]
        return f"ArchivedRun {self.path.name}: {self.micrograph.name} by {recipe}{gap}"

    @property
    def raw(self) -> Image:
        """The complete image as acquired."""
        return self.micrograph.data

    @property
    def gap(self) -> float | None:
        """The largest relative gap of any step; None if nothing is proven or minimised."""
        gap: float | None = self.record["gap"]
        return gap

    @property
    def unitless(self) -> frozenset[str]:  # type: ignore[override]
        """Names of the arrays that are not in the unit of the raw image."""
        return frozenset(name for name, about in self.record["arrays"].items() if about.get("units") == "")

    @property
    def choices(self) -> dict[str, Choice]:
        """How λ was chosen, by step, where the recipe leaves it open."""
        from tvtasks.choosing import Choice  # noqa: PLC0415 - few runs have one

        chosen = ((step["name"], step["choice"]) for step in self.record["steps"])
        return {name: Choice.read(choice) for name, choice in chosen if choice}

    @property
    def recipe(self) -> Recipe:
        """The recipe, to repeat the run."""
        try:
            return Recipe.model_validate(self.record["recipe"])
        except ValueError as error:
            raise ArchiveError(
                f"This tvtasks does not understand the recipe in {self.path}. To repeat the run, install the "
                f"version that wrote it: tvtasks {self.record['software']['packages']['tvtasks']}."
            ) from error


def load(path: str | Path, *, run: str | None = None) -> ArchivedRun:
    """Read a complete result and check every array against its checksum.

    Parameters
    ----------
    path
        A result, or a file of collected runs.
    run
        In a file with several runs, the beginning of a run_id.

    Returns
    -------
    ArchivedRun

    Raises
    ------
    ArchiveError
        The file is not a result of tvtasks, is truncated or damaged, or lacks something; the message says
        what.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from tvtasks import archive, restore
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = archive.write(restore(np.eye(8), "afm-background"), folder)
    ...     archive.load(path).restored.shape
    (8, 8)
    """
    path = Path(path)
    with opened(path, run) as file:
        record = read_record(file, path)
        arrays = dict(_all_arrays(file, path, record))
        vendor_metadata = _vendor_metadata(file, path, record)
        return ArchivedRun(
            path=path,
            record=record,
            micrograph=_micrograph(record, arrays.pop("raw"), vendor_metadata, arrays.get(_OPPOSITE)),
            region=Region(*record["region"]),
            arrays=arrays,
        )


def raw(path: str | Path, *, run: str | None = None) -> Micrograph:
    """Read only the raw image of a result, checked, and what is known about it, to restore it again.

    Raises
    ------
    ArchiveError
        As `load` does, except for damage in other arrays.
    """
    path = Path(path)
    with opened(path, run) as file:
        record = read_record(file, path)
        image = _array(file, path, record["arrays"]["raw"])
        about = record["arrays"].get(_OPPOSITE)
        opposite = None if about is None else _array(file, path, about)
        return _micrograph(record, image, _vendor_metadata(file, path, record), opposite)


def summary(path: str | Path, *, run: str | None = None) -> dict[str, Any]:
    """Read only the run record, safe for JSON, and check that the arrays that it names exist.

    Raises
    ------
    ArchiveError
        As `load` does, except for damaged values in an array.
    """
    path = Path(path)
    with opened(path, run) as file:
        record = read_record(file, path)
        for about in record["arrays"].values():
            if "formula" in about:
                _formula(file, path, about)
            else:
                _dataset(file, path, about)
    return {"path": str(path), **record}


def runs(path: str | Path) -> list[str]:
    """Return the names of the entries of a result; a file of collected runs has one per run.

    Raises
    ------
    ArchiveError
        The file is not a result of tvtasks, or is truncated or damaged.
    """
    path = Path(path)
    with opened(path, "") as file:
        _check_creator(file, path)
        return _runs(file)


class _OneOf:
    """A file with several runs, presented as if it held one: ``/entry/…`` means that run's entry."""

    def __init__(self, file: h5py.File, name: str) -> None:
        self.attrs = file.attrs
        self._file, self._name = file, name

    def __getitem__(self, path: str) -> Any:
        return self._file[self._name + path.removeprefix("/").removeprefix(ENTRY)]

    def get(self, path: str) -> Any:
        """Return the object at a path, or None."""
        return self._file.get(self._name + path.removeprefix("/").removeprefix(ENTRY))


def _runs(file: h5py.File) -> list[str]:
    return [name for name in file if name == ENTRY or name.startswith("run_")]


def _chosen(file: h5py.File, path: Path, run: str | None) -> Any:
    """Return the file itself if it holds one run, otherwise the run that was asked for."""
    if ENTRY in file or run == "" or file.attrs.get("creator") != "tvtasks":
        return file
    names = _runs(file)
    fitting = [name for name in names if run is None or name.startswith((run, f"run_{run}"))]
    if len(fitting) != 1:
        wanted = "" if run is None else f", and {len(fitting) or 'none'} of them match {run}"
        raise ArchiveError(
            f"{path} holds {len(names)} runs{wanted}. Choose one with --run: "
            f"{', '.join(name.removeprefix('run_') for name in names)}."
        )
    return _OneOf(file, fitting[0])


@contextmanager
def opened(path: Path, run: str | None = None) -> Iterator[h5py.File]:
    """Open a result, or one of the runs in a file; exceptions of HDF5 become sentences."""
    try:
        with _open(path) as file:
            yield _chosen(file, path, run)
    except ArchiveError:
        raise
    except FileNotFoundError:
        raise ArchiveError(f"There is no file {path}. Check the path.") from None
    except Exception as error:  # HDF5 raises anything at all when a file is damaged
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ArchiveError(
            f"{path} cannot be read as a result of tvtasks: {reason.rstrip('.')}. If it is one, it is "
            "damaged: restore the file from a backup, or restore the image again."
        ) from error


def _open(path: Path) -> h5py.File:
    # A finished file does not change, and locks fail on some network shares.
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "locking flag" not in str(error):
            raise
    # Something in this process has it open with a lock, and HDF5 requires the same of everyone.
    return h5py.File(path, "r")


def _check_creator(file: h5py.File, path: Path) -> None:
    if file.attrs.get("creator") != "tvtasks":
        raise ArchiveError(
            f"{path} was not written by tvtasks. Give a result of tvtasks, whose name ends in .nxs."
        )


def read_record(file: h5py.File, path: Path) -> dict[str, Any]:
    """Return the run record of an open file, checked."""
    _check_creator(file, path)
    entry = file[ENTRY]
    note = entry[entry.attrs["default"]][RECORD]
    data = note["data"][()].tobytes()
    if sha256(data) != note["checksum"].asstr()[()]:
        raise _damaged(path, note.name)
    record: dict[str, Any] = json.loads(data)
    if record["schema"] not in READABLE:
        raise ArchiveError(
            f"{path} has a run record of version {record['schema']}; this tvtasks reads versions up to "
            f"{SCHEMA}. "
            f"Install tvtasks {file.attrs['creator_version']}, which wrote it, or a later version."
        )
    return record


def _dataset(file: h5py.File, path: Path, about: Mapping[str, Any]) -> h5py.Dataset:
    dataset = file.get(about["path"])
    if not isinstance(dataset, h5py.Dataset):
        raise ArchiveError(
            f"{path} lacks the array {about['path']}, which its record names. "
            "Restore the file from a backup, or restore the image again."
        )
    if (list(dataset.shape), dataset.dtype.name) != (about["shape"], about["dtype"]):
        raise _damaged(path, about["path"])
    have_filters(dataset, path)
    return dataset


def _array(file: h5py.File, path: Path, about: Mapping[str, Any]) -> NDArray[Any]:
    dataset = _dataset(file, path, about)
    try:
        values: NDArray[Any] = dataset[()]
    except OSError as error:  # HDF5's checksum of a chunk, or its compression, is wrong
        raise _damaged(path, about["path"]) from error
    if array_sha256(values) != about["sha256"]:
        raise _damaged(path, about["path"])
    return values


def _all_arrays(file: h5py.File, path: Path, record: Mapping[str, Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the arrays of a run in the order of its record, after those that formulas need."""
    abouts = record["arrays"]
    found = {name: _array(file, path, about) for name, about in abouts.items() if "formula" not in about}
    for name in formulas_of(record):
        found[name] = _computed(file, path, record, name, found)
    yield from ((name, found[name]) for name in abouts)


def _computed(
    file: h5py.File, path: Path, record: Mapping[str, Any], name: str, arrays: Mapping[str, NDArray[Any]]
) -> NDArray[Any]:
    """Return an array that follows from others, checked."""
    about = record["arrays"][name]
    _formula(file, path, about)
    values = computed(about["formula"], arrays, Region(*record["region"]), np.dtype(about["dtype"]))
    if array_sha256(values) != about["sha256"]:
        raise _damaged(path, about["path"])
    return values


def _formula(file: h5py.File, path: Path, about: Mapping[str, Any]) -> None:
    dataset = file.get(about["path"])
    if dataset is None or dataset.asstr()[()] != about["formula"]:
        raise _damaged(path, about["path"])


def faults(file: h5py.File, path: Path, record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the arrays, and the vendor metadata, that are missing or do not match their checksums."""
    found: dict[str, NDArray[Any]] = {}
    for name, about in sorted(record["arrays"].items(), key=lambda item: "formula" in item[1]):
        try:
            if "formula" not in about:
                found[name] = _array(file, path, about)
            elif _whole_terms(about["formula"], found):
                found[name] = _computed(file, path, record, name, found)
            else:  # an array that it is computed from is already named
                _formula(file, path, about)
        except MissingFilterError:
            raise
        except Exception:  # HDF5 raises anything at all when a file is damaged
            yield about["path"]
    try:
        _vendor_metadata(file, path, record)
    except Exception:
        yield f"/{VENDOR_METADATA}"


def _whole_terms(formula: str, found: Mapping[str, NDArray[Any]]) -> bool:
    return all(term.partition("[")[0] in found for term in formula.split(" - "))


def _vendor_metadata(file: h5py.File, path: Path, record: Mapping[str, Any]) -> Mapping[str, Any]:
    data = file[VENDOR_METADATA][()]
    if sha256(data) != record["image"]["vendor_metadata_sha256"]:
        raise _damaged(path, VENDOR_METADATA)
    metadata: Mapping[str, Any] = json.loads(data)
    return metadata


def _damaged(path: Path, what: str) -> ArchiveError:
    return ArchiveError(
        f"{path} is damaged: {what} was changed. Restore the file from a backup, or restore the image again."
    )


def _micrograph(
    record: Mapping[str, Any], raw: Image, vendor_metadata: Mapping[str, Any], opposite: Image | None
) -> Micrograph:
    image, source, size = record["image"], record["source"], record["image"]["pixel_size"]
    return Micrograph(
        data=raw.view(bool) if image["dtype"] == "bool" else raw,
        quantity=image["quantity"],
        units=image["units"],
        channel=image["channel"],
        direction=image["direction"],
        frame=image["frame"],
        pixel_size=(float(size[0]), float(size[1])) if size else None,
        pixel_unit=image["pixel_unit"],
        position=Position(*image["position"]) if image.get("position") else None,
        valid=Region(*image["valid"]) if image["valid"] else None,
        technique=image["technique"],
        acquired_at=datetime.fromisoformat(image["acquired_at"]) if image["acquired_at"] else None,
        source=source
        and Source(
            path=Path(source["name"]),
            size=source["size"],
            modified=datetime.fromisoformat(source["modified"]),
            sha256=source["sha256"],
            companions=source["companions"],
        ),
        reader=tuple(image["reader"]),
        vendor_metadata=vendor_metadata,
        notes=tuple(image["notes"]),
        opposite_scan=opposite,
    )
