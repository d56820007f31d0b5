"""Compare the tree of a result with the tree that its run record implies.

The tree is built again in memory from the record and the arrays, and compared with the one in the file: every
group, dataset and attribute. So a wrong parameter, axis or unit is found and named in a file that has no
seal, or whose seal is broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

import h5py
import numpy as np

from tvtasks.archive.layout import ENTRY, fill
from tvtasks.archive.reading import ArchivedRun
from tvtasks.archive.sealing import SEAL
from tvtasks.draft import StepRecord
from tvtasks.recipe import Recipe
from tvtasks.restoration import Restoration
from tvtasks.scores import QualityScores
from tvtasks.solvers import Check, Convergence

# The scales of a dataset are compared by name, because references differ in a copy.
_SCALES = {"DIMENSION_LIST", "REFERENCE_LIST"}
_CURVES = ("iteration", "energy", "relative_gap")
_SOURCE_TYPE = f"/{ENTRY}/source/type"  # the system that wrote it may know other types


def differences(file: h5py.File, entry: str, run: ArchivedRun) -> list[str]:
    """Return the paths of everything that is missing, added or different from what the record implies.

    Parameters
    ----------
    file
        An open result.
    entry
        Name of the run's group in it.
    run
        The run as it was read; its arrays are not compared again.
    """
    record = run.record
    arrays = {"raw": run.raw, **run.arrays}
    if record["arrays"]["raw"]["dtype"] == "uint8":
        arrays["raw"] = run.raw.view(np.uint8)
    with h5py.File(f"{uuid4()}", "w", driver="core", backing_store=False) as expected:
        fill(expected, _restoration(run, file[entry]), record, arrays, "none")
        known = {
            _SOURCE_TYPE,
            *(about["path"] for about in record["arrays"].values() if "formula" not in about),
        }
        found = list(_compare(file[entry], expected[ENTRY], known))
        if entry == ENTRY:
            found += _attributes(file, expected)
    return [path for path in found if path != f"/{ENTRY}/{SEAL}"]


def _restoration(run: ArchivedRun, entry: h5py.Group) -> Restoration:
    record = run.record
    return Restoration(
        micrograph=run.micrograph,
        recipe=Recipe.model_validate(record["recipe"]),
        region=run.region,
        offset=record["offset"],
        factor=record["factor"],
        arrays=run.arrays,
        steps=tuple(_step(step, entry) for step in record["steps"]),
        notes=tuple(record["notes"]),
        quality=QualityScores(**record["quality"]),
    )


def _step(step: Mapping[str, Any], entry: h5py.Group) -> StepRecord:
    how, convergence = step["convergence"], None
    if how:
        convergence = Convergence(
            energy=how["energy"],
            gap=float("inf") if how["gap"] is None else how["gap"],
            bound=how["bound"],
            iterations=how["iterations"],
            converged=how["converged"],
            method=how["method"],
            history=_history(entry.get(f"{step['group'].removeprefix(f'/{ENTRY}/')}/convergence")),
        )
    started = datetime.fromisoformat(step["started_at"])
    return StepRecord(step["name"], step["parameters"], started, step["seconds"], convergence)


def _history(plot: h5py.Group | None) -> tuple[Check, ...]:
    """Return the curve of a convergence, which is not in the record: only its form can be checked."""
    if plot is None:
        return ()
    iterations, energies, gaps = (plot[name][()].tolist() for name in _CURVES)
    return tuple(
        Check(iteration=int(iteration), energy=energy, gap=gap)
        for iteration, energy, gap in zip(iterations, energies, gaps, strict=True)
    )


def _compare(found: h5py.Group, expected: h5py.Group, known: set[str]) -> Iterator[str]:
    """Yield the paths of differences below two groups; the contents of `known` are not read."""
    yield from _attributes(found, expected)
    for name in sorted({*found, *expected}):
        path = f"{expected.name}/{name}"
        if name not in expected or name not in found:
            yield path
            continue
        here, there = _read(lambda name=name: found[name]), expected[name]  # type: ignore[misc]
        if type(here) is not type(there):
            yield path
        elif isinstance(there, h5py.Group):
            yield from _compare(here, there, known)
        else:
            yield from _attributes(here, there)
            same_kind = _read(lambda: (here.shape, here.dtype)) == (there.shape, there.dtype)  # noqa: B023
            if not same_kind or (path not in known and _value(lambda: here[()]) != _value(lambda: there[()])):  # noqa: B023
                yield path


def _attributes(found: Any, expected: Any) -> Iterator[str]:
    here, there = _read(lambda: set(found.attrs)), set(expected.attrs)
    if here is None:
        yield f"{expected.name} (its attributes)"
        return
    for name in sorted(here | there):
        path = f"{expected.name}@{name}"
        if name not in here or name not in there:
            yield path
        elif name in _SCALES:
            if _read(lambda: _scales(found)) != _scales(expected):
                yield path
        elif _value(lambda: found.attrs[name]) != _value(lambda: expected.attrs[name]):  # noqa: B023
            yield path


def _scales(dataset: h5py.Dataset) -> list[list[str]]:
    return [[scale.name.rpartition("/")[2] for scale in axis.values()] for axis in dataset.dims]


def _value(read: Callable[[], Any]) -> Any:
    """Return something that values can be compared by; NaN equals itself."""
    value = _read(read)
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return value.tolist()
    return (
        (np.asarray(value).dtype.str, np.asarray(value).shape, np.asarray(value).tobytes())
        if isinstance(value, np.ndarray | np.generic)
        else value
    )


def _read(read: Callable[[], Any]) -> Any:
    """Return what is read, or None if HDF5 cannot read it."""
    try:
        return read()
    except Exception:  # HDF5 raises anything at all when a file is damaged
        return None
