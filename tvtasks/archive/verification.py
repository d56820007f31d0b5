"""Whether archive files are what was written, and whether their results can be computed again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from tvtasks.archive import reading
from tvtasks.archive.layout import ENTRY
from tvtasks.archive.record import sha256, stored_arrays
from tvtasks.archive.sealing import is_whole
from tvtasks.archive.software import software
from tvtasks.archive.structure import differences
from tvtasks.choosing import RULES
from tvtasks.errors import ArchiveError, TvtasksError
from tvtasks.restoration import ALGORITHM_VERSION, Restoration, restore

Kind = Literal["damaged", "differs", "note"]

# Of energies, whose images are float32 at worst; a direct method proves gaps far below it.
_ROUNDING = 1e-5
_TOLD = 5  # paths that a sentence names before it says how many more there are


@dataclass(frozen=True)
class FileFinding:
    """One thing that is to be said about an archive file.

    Attributes
    ----------
    kind
        ``damaged``: the file is not what was written; ``differs``: it is, but computing it again gives other
        results than it may; ``note``: worth knowing, nothing is wrong.
    what
        Where: the path in the file, or the empty string for the file as a whole.
    message
        A sentence for a person.
    run
        Name of the run's group, in a file that holds several.
    """

    kind: Kind
    what: str
    message: str
    run: str = ""

    @property
    def grave(self) -> bool:
        """Whether something must be done about it."""
        return self.kind != "note"

    def as_record(self) -> dict[str, Any]:
        """Return it safe for JSON."""
        return asdict(self)


Finding = FileFinding  # goes when the outer half has taken up the name


def check(path: str | Path) -> list[FileFinding]:
    """Compare an archive file with its seal, its checksums and its run record.

    Parameters
    ----------
    path
        An archive file, or one into which several were collected.

    Returns
    -------
    list of FileFinding
        Empty where every byte is as it was written. A damaged file may crash HDF5, and with it the process:
        `tvtasks.archive.verify_many.verify` does the same in processes of their own.
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
        whole = None  # the seals of the files that were collected are not for this one
    found = [finding for name in names for finding in _check_run(path, name, whole=whole)]
    if not names:
        found.append(_broken(path, f"/{ENTRY}", "there is no run in it"))
    if whole is False and not any(finding.grave for finding in found):
        found.append(
            FileFinding(
                "damaged",
                "",
                f"{path} was changed after it was written: its bytes are not those that were sealed, though "
                "all arrays, parameters and records in it are as they were. Take the file from a backup if "
                "nobody changed it on purpose.",
            )
        )
    return found


def recompute(path: str | Path) -> list[FileFinding]:
    """Restore the stored raw image by the stored parameters and compare the results.

    On the same machine with the same versions they must be the same bit for bit, otherwise the energy of each
    step must agree within the gaps that were proven then and now. The last finding says which it was.

    Raises
    ------
    ArchiveError
        If the file is damaged.
    """
    path = Path(path)
    found = []
    for name in reading.runs(path):
        run = reading.load(path, run=name)
        try:
            again = restore(run.micrograph, run.recipe)
        except TvtasksError as error:
            found.append(
                FileFinding("differs", "", f"{path} cannot be computed again: {error}", _label(name))
            )
            continue
        found += [_compared(path, run, again, _label(name))]
    return found


def _check_run(path: Path, name: str, *, whole: bool | None) -> Iterator[FileFinding]:
    """Yield what is wrong with one run. Each array is read on its own, so that one bad one hides no other."""
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
        yield _broken(path, what, "it is missing or is not what was written", label)
    unsealed = whole is None and name == ENTRY
    if unsealed:
        yield _broken(path, f"/{ENTRY}/seal", "it is missing or cannot be recognised", label)
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
        more = f" and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
        yield _broken(path, ", ".join(wrong[:_TOLD]) + more, "not what the run record implies", label)
    elif whole is None and not unsealed:
        yield FileFinding(
            "note",
            "",
            f"{path} has no seal (it was collected from others): arrays, parameters and records are whole, "
            "but curves of convergence have no checksum.",
            label,
        )


def _holds(file: Any, note: str) -> bool:
    """Return whether the data of a note has the checksum that stands beside it."""
    try:
        return bool(sha256(file[f"{note}/data"][()].tobytes()) == file[f"{note}/checksum"].asstr()[()])
    except Exception:  # HDF5 raises anything at all when a file is damaged
        return False


def _compared(path: Path, run: reading.ArchivedRun, again: Restoration, label: str) -> FileFinding:
    then, now = run.record["software"], software()
    others = _changed(then, now)
    distances = {}
    computed = stored_arrays(again)
    for name, old in run.arrays.items():
        new = computed[name]
        if old.dtype != new.dtype or old.tobytes() != new.tobytes():
            distances[name] = float(np.abs(old.astype(np.float64) - new.astype(np.float64)).max())
    if not distances:
        elsewhere = f", although there are differences: {others}" if others else ""
        return FileFinding("note", "", f"{path}: computed again, the same bit for bit{elsewhere}.", label)
    span = float(np.ptp(run.restored.astype(np.float64))) or 1.0
    far = ", ".join(f"{name} by up to {distance / span:.1e}" for name, distance in distances.items())
    far = f"{far} (of the range of the restored image)"
    version = run.record["algorithm_version"]
    if version != ALGORITHM_VERSION:
        return FileFinding(
            "note",
            "",
            f"{path} was computed by version {version} of the algorithms, this tvtasks has version "
            f"{ALGORITHM_VERSION}: the results differ, as they may, {far}. tvtasks rerun makes new ones.",
            label,
        )
    rules = {choice["rules"] for step in run.record["steps"] if (choice := step["choice"])}
    if rules - {RULES}:
        return FileFinding(
            "note",
            "",
            f"{path}: λ was chosen by version {max(rules)} of the rules, this tvtasks has version {RULES}: "
            f"the results differ, as they may, {far}. tvtasks rerun makes new ones.",
            label,
        )
    far += _other_lams(run.record, again)
    beyond = _beyond_the_gap(run.record, again)
    if others and not beyond:
        return FileFinding(
            "note",
            "",
            f"{path}: computed again, the same within the gap; {far}. What differs: {others}.",
            label,
        )
    reason = f"What differs: {others}." if others else "The machine and all versions are the same as then."
    within = f"more than the gap allows ({', '.join(beyond)})" if beyond else "though within the gap"
    return FileFinding(
        "differs",
        "",
        f"{path}: computed again, the results differ, {within}: {far}. {reason} Restore the image from its "
        "original file and compare; if it happens again, the processor or memory may be faulty.",
        label,
    )


def _other_lams(record: Mapping[str, Any], again: Restoration) -> str:
    """Say where the rules chose another λ now."""
    return "".join(
        f"; λ of the {new.name} {old['parameters']['lam']:g} then, {new.parameters['lam']:g} now"
        for old, new in zip(record["steps"], again.steps, strict=True)
        if new.choice and old["parameters"]["lam"] != new.parameters["lam"]
    )


def _beyond_the_gap(record: Mapping[str, Any], again: Restoration) -> list[str]:
    """Return the steps whose energies, then and now, cannot both be as close to the minimum as was proven.

    A step works on what those before it made, so that their gaps count as well.
    """
    beyond, allowed = [], _ROUNDING
    for step, new in zip(record["steps"], again.steps, strict=True):
        old = step["convergence"]
        if not old or not new.convergence:
            continue
        # What nothing is proven of may be anywhere above the minimum, and all that follows with it.
        allowed += max(float("inf") if old["gap"] is None else old["gap"], new.convergence.gap)
        energies = old["energy"], new.convergence.energy
        if abs(energies[0] - energies[1]) > allowed * max(map(abs, energies)):
            beyond.append(step["name"])
    return beyond


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say in what the software and the machine differ from those of a record."""
    pairs = {
        **{name: (version, now["packages"].get(name)) for name, version in then["packages"].items()},
        **{name: (then[name], now[name]) for name in ("commit", "python", "system", "machine", "processor")},
    }
    return ", ".join(
        f"{name} {old or 'unknown'} then, {new or 'none'} now"
        for name, (old, new) in pairs.items()
        # What was changed after a commit may have been anything.
        if old != new or str(new).endswith("-dirty")
    )


def _broken(path: Path, what: str, why: str, run: str = "") -> FileFinding:
    where = f": {what}" if what else ""
    return FileFinding(
        "damaged",
        what,
        f"{path} is damaged{where}: {why}. Take the file from a backup, or restore the image again.",
        run,
    )


def _label(name: str) -> str:
    return "" if name == ENTRY else name
