"""Check that results are unchanged, and that they can be reproduced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from tvtasks.archive import reading
from tvtasks.archive.layout import ENTRY
from tvtasks.archive.lean import as_recorded
from tvtasks.archive.record import sha256
from tvtasks.archive.sealing import is_whole
from tvtasks.archive.software import software
from tvtasks.archive.structure import differences
from tvtasks.choosing import RULES
from tvtasks.errors import ArchiveError, TvtasksError
from tvtasks.restoration import ALGORITHM_VERSION, Restoration, restore

Kind = Literal["damaged", "missing", "misnamed", "differs", "note"]

# Relative, for energies of images in float32 or better; direct methods prove gaps far below it.
_ROUNDING = 1e-5
_NAMED = 5  # paths that a message names before it counts the rest


@dataclass(frozen=True)
class FileFinding:
    """One finding about a result.

    Attributes
    ----------
    kind
        ``damaged``: the file was changed or damaged; ``missing``: it is gone; ``misnamed``: its name is that
        of another run; ``differs``: it is intact, but restoring again gives results that differ more than
        they may; ``note``: information, nothing is wrong.
    what
        The path in the file, or the empty string for the whole file.
    message
        A sentence for the user.
    run
        Name of the run's group, in a file that holds several.
    """

    kind: Kind
    what: str
    message: str
    run: str = ""

    @property
    def is_fault(self) -> bool:
        """Whether something is wrong."""
        return self.kind != "note"

    def as_record(self) -> dict[str, Any]:
        """Return the finding, safe for JSON."""
        return asdict(self)


def check(path: str | Path) -> list[FileFinding]:
    """Compare a result with its seal, its checksums and its run record.

    Parameters
    ----------
    path
        A result, or a file of collected runs.

    Returns
    -------
    list of FileFinding
        Empty if every byte is as it was written. A damaged file may crash HDF5 and with it this process;
        `tvtasks.archive.verify_many.verify` runs the same check in child processes.
    """
    path = Path(path)
    try:
        whole = is_whole(path)
    except OSError as error:
        return [FileFinding("damaged", "", f"{path} cannot be read: {error.strerror or error}.")]
    try:
        names = reading.runs(path)
    except ArchiveError as error:
        return [FileFinding("damaged", "", str(error))]
    if ENTRY not in names:
        whole = None  # collected runs had seals of their own
    found = [finding for name in names for finding in _check_run(path, name, whole=whole)]
    if not names:
        found.append(_broken(path, f"/{ENTRY}", "it contains no run"))
    if whole is False and not any(finding.is_fault for finding in found):
        found.append(
            FileFinding(
                "damaged",
                "",
                f"{path} was changed after it was written: it does not match its seal, although all arrays, "
                "parameters and records are unchanged. Restore the file from a backup unless someone changed "
                "it on purpose.",
            )
        )
    return found


def recompute(path: str | Path) -> list[FileFinding]:
    """Restore the stored raw image with the stored parameters and compare the results.

    On the same machine with the same versions they must be bit for bit the same. Elsewhere the energy of each
    step must agree within the gaps proven then and now. The last finding says which was the case.

    Raises
    ------
    ArchiveError
        The file is damaged.
    """
    path = Path(path)
    found = []
    for name in reading.runs(path):
        run = reading.load(path, run=name)
        try:
            again = restore(run.micrograph, run.recipe)
        except TvtasksError as error:
            found.append(FileFinding("differs", "", f"{path} cannot be reproduced: {error}", _label(name)))
            continue
        found += [_compared(path, run, again, _label(name))]
    return found


def _check_run(path: Path, name: str, *, whole: bool | None) -> Iterator[FileFinding]:
    """Yield what is wrong with one run. Each array is read separately, so a bad one hides no other."""
    label = _label(name)
    try:
        with reading.opened(path, name) as file:
            record = reading.read_record(file, path)
            last = record["steps"][-1]["group"]
            problems = [
                *reading.faults(file, path, record),
                *([f"{last}/prov"] if not _holds(file, f"{last}/prov") else []),
            ]
    except ArchiveError as error:
        yield FileFinding("damaged", "", str(error), label)
        return
    for what in problems:
        yield _broken(path, what, "it is missing or was changed", label)
    unsealed = whole is None and name == ENTRY
    if unsealed:
        yield _broken(path, f"/{ENTRY}/seal", "it is missing or illegible", label)
    if problems or whole:
        return
    try:
        run = reading.load(path, run=name)
        with h5py.File(path, "r", locking=False) as file:
            wrong = differences(file, name, run)
    except Exception as error:  # HDF5 raises anything at all when a file is damaged
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        yield _broken(path, "", f"its tree cannot be read ({reason.rstrip('.')})", label)
        return
    if wrong:
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        yield _broken(path, ", ".join(wrong[:_NAMED]) + more, "it does not match the run record", label)
    elif whole is None and not unsealed:
        yield FileFinding(
            "note",
            "",
            f"{path} has no seal because it was collected from other files. Its arrays, parameters and "
            "records are unchanged; its curves of convergence have no checksum.",
            label,
        )


def _holds(file: Any, note: str) -> bool:
    """Return whether the data of a note matches the checksum beside it."""
    try:
        return bool(sha256(file[f"{note}/data"][()].tobytes()) == file[f"{note}/checksum"].asstr()[()])
    except Exception:  # HDF5 raises anything at all when a file is damaged
        return False


def _compared(path: Path, run: reading.ArchivedRun, again: Restoration, label: str) -> FileFinding:
    then, now = run.record["software"], software()
    others = _changed(then, now)
    distances = {}
    computed = as_recorded(again, run.record)
    for name, old in run.arrays.items():
        new = computed[name]
        if old.dtype != new.dtype or old.tobytes() != new.tobytes():
            distances[name] = float(np.abs(old.astype(np.float64) - new.astype(np.float64)).max())
    if not distances:
        elsewhere = f", in spite of differences ({others})" if others else ""
        return FileFinding("note", "", f"{path} is reproduced bit for bit{elsewhere}.", label)
    span = float(np.ptp(run.restored.astype(np.float64))) or 1.0
    far = ", ".join(f"{name} by up to {distance / span:.1e}" for name, distance in distances.items())
    far = f"{far} (of the range of the restored image)"
    version = run.record["algorithm_version"]
    if version != ALGORITHM_VERSION:
        return FileFinding(
            "note",
            "",
            f"{path} was made by version {version} of the algorithms; this tvtasks has version "
            f"{ALGORITHM_VERSION}. As expected, the results differ: {far}. tvtasks rerun updates them.",
            label,
        )
    rules = {choice["rules"] for step in run.record["steps"] if (choice := step["choice"])}
    if rules - {RULES}:
        return FileFinding(
            "note",
            "",
            f"{path}: version {max(rules)} of the rules chose λ; this tvtasks has version {RULES}. As "
            f"expected, the results differ: {far}. tvtasks rerun updates them.",
            label,
        )
    far += _other_lams(run.record, again)
    beyond = _beyond_the_gap(run.record, again)
    if others and not beyond:
        return FileFinding(
            "note",
            "",
            f"{path} is reproduced within the gap: {far}. What differs: {others}.",
            label,
        )
    reason = f"What differs: {others}." if others else "The machine and all versions are the same."
    within = f"more than the gap allows ({', '.join(beyond)})" if beyond else "although within the gap"
    return FileFinding(
        "differs",
        "",
        f"{path} is not reproduced: the results differ {within}: {far}. {reason} Restore the image from its "
        "original file and compare; if they differ again, the processor or memory may be faulty.",
        label,
    )


def _other_lams(record: Mapping[str, Any], again: Restoration) -> str:
    """Name the steps for which the rules now choose another λ."""
    return "".join(
        f"; λ of the {new.name} {old['parameters']['lam']:g} then, {new.parameters['lam']:g} now"
        for old, new in zip(record["steps"], again.steps, strict=True)
        if new.choice and old["parameters"]["lam"] != new.parameters["lam"]
    )


def _beyond_the_gap(record: Mapping[str, Any], again: Restoration) -> list[str]:
    """Return the steps whose energies, then and now, cannot both be within their proven gaps.

    A step works on the results of earlier steps, so their gaps count as well.
    """
    beyond, allowed = [], _ROUNDING
    for step, new in zip(record["steps"], again.steps, strict=True):
        old = step["convergence"]
        if not old or not new.convergence:
            continue
        # Without a proof the energy may be anywhere above the minimum, and so may those that follow.
        allowed += max(float("inf") if old["gap"] is None else old["gap"], new.convergence.gap)
        energies = old["energy"], new.convergence.energy
        if abs(energies[0] - energies[1]) > allowed * max(map(abs, energies)):
            beyond.append(step["name"])
    return beyond


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Name the differences between the software and machine of a record and this one."""
    pairs = {
        **{name: (version, now["packages"].get(name)) for name, version in then["packages"].items()},
        **{name: (then[name], now[name]) for name in ("commit", "python", "system", "machine", "processor")},
    }
    return ", ".join(
        f"{name} {old or 'unknown'} then, {new or 'none'} now"
        for name, (old, new) in pairs.items()
        # Uncommitted changes may be anything.
        if old != new or str(new).endswith("-dirty")
    )


def _broken(path: Path, what: str, why: str, run: str = "") -> FileFinding:
    where = f": {what}" if what else ""
    return FileFinding(
        "damaged",
        what,
        f"{path} is damaged{where}: {why}. Restore the file from a backup, or restore the image again.",
        run,
    )


def _label(name: str) -> str:
    return "" if name == ENTRY else name
