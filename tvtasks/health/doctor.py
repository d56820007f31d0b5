"""Checks that a watch can work, before it starts or when something seems wrong.

Nothing is ever written to the watched folder. If the archive exists, one small file is written there and
deleted again.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Literal

from tvtasks.archive.folder import ledger_path
from tvtasks.errors import ConfigurationError, TvtasksError
from tvtasks.filesystem import MOUNTS, is_network_folder, network_folders_in
from tvtasks.health.heartbeat import read_heartbeat, utc_now
from tvtasks.health.problems import LEAST_FREE, is_nearly_full, life
from tvtasks.ledger import has_locks
from tvtasks.monitor import check_folders
from tvtasks.monitor.ignore import IgnoreRules
from tvtasks.options import MonitorOptions, ObserverKind
from tvtasks.words import amount, count, duration

Level = Literal["ok", "warn", "fail"]

SKEW = 5.0
"""Seconds by which two clocks may differ: some file systems keep times to 2 s."""

_MOST_FILES = 100_000
_MOST_SECONDS = 20.0
_LIMITS = Path("/proc/sys/fs/inotify")


@dataclass(frozen=True)
class Finding:
    """What one check found: a sentence, and advice on what to do, empty if there is nothing to do."""

    check: str
    level: Level
    sentence: str
    advice: str = ""


def examine(
    folder: Path,
    archive: Path | None = None,
    options: MonitorOptions = MonitorOptions(),
    *,
    has_recipe: Callable[[Path], bool] | None = None,
    try_file: Callable[[Path], object] | None = None,
    now: Callable[[], datetime] = utc_now,
) -> list[Finding]:
    """Check that a watch can work.

    Parameters
    ----------
    folder, archive
        The folder to watch, and the folder for results.
    options
        How the folder is to be watched.
    has_recipe
        Returns whether a file gets a recipe; None to skip this check.
    try_file
        Reads a file as a watch would, and raises a TvtasksError if it would be refused. One file of each
        ending is tried; None to try none.
    now
        Returns the time of day, in UTC.
    """
    found = folders(folder, archive, options)
    if not any(finding.level == "fail" and finding.check == "folder" for finding in found):
        found += share(folder, options.observer, recursive=options.recursive)
        if options.observer != "polling" and not is_network_folder(folder):
            found += inotify(folder, options)
        found += clock_of_folder(folder, recursive=options.recursive, now=now())
        found += endings(folder, options, has_recipe=has_recipe, try_file=try_file)
    if archive is not None:
        found += writing(archive, now=now)
        found += space(archive)
        found += locks(archive)
        found += ledger(archive)
        found += other_watch(folder, archive, now=now())
    return found


def folders(folder: Path, archive: Path | None, options: MonitorOptions = MonitorOptions()) -> list[Finding]:
    """Check that the folder can be read, and that the archive is outside it."""
    try:
        check_folders(folder, None)
    except ConfigurationError as error:
        return [Finding("folder", "fail", *_sentence_and_advice(error))]
    found = [Finding("folder", "ok", f"{folder} can be read.")]
    if options.recursive:
        found += _subfolders(folder, options)
    if archive is None:
        return found
    try:
        check_folders(folder, archive, options)
    except ConfigurationError as error:
        return [*found, Finding("output", "fail", *_sentence_and_advice(error))]
    return [*found, Finding("output", "ok", "The archive is outside the watched folder.")]


def _subfolders(folder: Path, options: MonitorOptions) -> list[Finding]:
    """Name the subfolders that cannot be listed."""
    rules = IgnoreRules(folder.resolve(), options.ignore)
    faults: list[OSError] = []
    deadline = time.monotonic() + _MOST_SECONDS
    for _ in os.walk(folder.resolve(), onerror=faults.append):
        if time.monotonic() > deadline:
            break
    names = [error.filename for error in faults if error.filename and not rules.ignored(Path(error.filename))]
    if not names:
        return []
    sentence = f"{count(len(names), 'subfolder')} cannot be read: {', '.join(names[:10])}."
    advice = "Ask for permission to read there, or exclude them with --ignore: their images are not found."
    return [Finding("subfolders", "warn", sentence, advice)]


def share(
    folder: Path, observer: ObserverKind = "auto", *, recursive: bool = False, mounts: Path = MOUNTS
) -> list[Finding]:
    """Check that the observer notices files written by another computer."""
    network = is_network_folder(folder)
    if network and observer == "native":
        sentence = f"{folder} is on a network share, which does not report new files to this computer."
        return [Finding("observer", "fail", sentence, "Leave out --observer native.")]
    if network:
        return [Finding("observer", "ok", f"{folder} is on a network share: the watch polls it.")]
    shares = network_folders_in(folder, mounts) if recursive else []
    if shares and observer == "native":
        sentence = f"A network share is mounted in {folder}, at {shares[0]}: it does not report new files."
        return [Finding("observer", "fail", sentence, "Leave out --observer native.")]
    if shares and observer == "auto":
        sentence = f"A network share is mounted in {folder}, at {shares[0]}: the watch polls the folder."
        return [Finding("observer", "ok", sentence)]
    if observer == "polling":
        return [Finding("observer", "ok", f"The watch polls {folder}, as you asked.")]
    return [
        Finding(
            "observer",
            "ok",
            f"{folder} is on a disk of this computer, which reports new files at once.",
            "If the microscope writes from another computer, use --observer polling."
            if sys.platform != "linux" and sys.platform != "win32"
            else "",
        )
    ]


def inotify(
    folder: Path, options: MonitorOptions = MonitorOptions(), *, limits: Path = _LIMITS
) -> list[Finding]:
    """Check the limits that Linux sets on observed folders and observers; other systems have none."""
    if sys.platform != "linux":
        return []
    try:
        watches = int((limits / "max_user_watches").read_text())
        instances = int((limits / "max_user_instances").read_text())
    except (OSError, ValueError):
        return []
    # "auto" polls if it cannot observe: slower, but it loses nothing.
    level: Level = "fail" if options.observer == "native" else "warn"
    command = "Ask an administrator to run: sysctl fs.inotify.max_user_"
    number, all_counted = _count_folders(folder, watches) if options.recursive else (1, True)
    found = []
    if number >= watches:
        sentence = f"{folder} holds more folders than Linux lets one user observe ({watches:,})."
        advice = f"{command}watches={4 * watches}, or use --observer polling."
        found.append(Finding("inotify", level, sentence, advice))
    elif number > watches // 2:
        sentence = (
            f"{folder} holds {number:,} folders; Linux lets all programs of a user observe {watches:,}."
        )
        found.append(Finding("inotify", "warn", sentence, f"{command}watches={4 * watches}"))
    elif not all_counted:
        sentence = f"{folder} holds more than {number:,} folders; counting them took too long."
        found.append(Finding("inotify", "warn", sentence, "Watch fewer folders, or use --observer polling."))
    if _inotify_instances() >= instances:
        sentence = f"Other programs use all {instances} observers that Linux allows a user."
        advice = f"Close some of them, or {command[0].lower()}{command[1:]}instances={4 * instances}"
        found.append(Finding("inotify", level, sentence, advice))
    if not found:
        sentence = f"Linux lets a user observe up to {watches:,} folders; this watch needs {number:,}."
        found.append(Finding("inotify", "ok", sentence))
    return found


def clock_of_folder(folder: Path, *, recursive: bool = False, now: datetime) -> list[Finding]:
    """Compare the date of the newest file with this computer's clock: no file can come from the future."""
    newest, name = 0.0, ""
    for path in _files_in(folder, recursive=recursive):
        with suppress(OSError):
            changed = path.stat().st_mtime
            if changed > newest:
                newest, name = changed, path.name
    ahead = newest - now.timestamp()
    if ahead > SKEW:
        sentence = (
            f"{name} is dated {duration(ahead)} in the future: the clock of the microscope, of its share or "
            "of this computer is wrong."
        )
        advice = "Set all clocks from the network. No image is lost, but times in the results are wrong."
        return [Finding("clock", "warn", sentence, advice)]
    return [Finding("clock", "ok", "No file in the folder is dated in the future.")] if name else []


def writing(archive: Path, *, now: Callable[[], datetime] = utc_now) -> list[Finding]:
    """Write a small file to check that the archive can be written to, and that its clock is right."""
    if not archive.exists():
        parent = next(parent for parent in archive.absolute().parents if parent.exists())
        if os.access(parent, os.W_OK):
            return [Finding("archive", "ok", f"The watch will create {archive}.")]
        sentence = f"{archive} does not exist, and you may not create it in {parent}."
        return [Finding("archive", "fail", sentence, "Give another folder, or ask for permission.")]
    probe = archive / f".tvtasks-doctor-{os.getpid()}.partial"
    before = now().timestamp()
    try:
        probe.write_bytes(b"tvtasks doctor")
        written = probe.stat().st_mtime
    except OSError as error:
        sentence = f"The archive {archive} cannot be written to: {error.strerror or error}."
        return [
            Finding(
                "archive", "fail", sentence, "Give another folder, free some space, or ask for permission."
            )
        ]
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    after = now().timestamp()
    found = [Finding("archive", "ok", f"{archive} can be written to.")]
    skew = max(written - after, before - written, 0.0)
    if skew > SKEW:
        sentence = f"The clock of the archive's share and this computer's differ by {duration(skew)}."
        advice = (
            "Set both clocks from the network; otherwise tvtasks status reports a watch on another computer "
            "as dead."
        )
        found.append(Finding("archive's clock", "warn", sentence, advice))
    return found


def space(archive: Path) -> list[Finding]:
    """Check the free space on the archive's disk."""
    try:
        usage = shutil.disk_usage(
            next(path for path in (archive.absolute(), *archive.absolute().parents) if path.exists())
        )
    except OSError as error:
        return [
            Finding(
                "disk",
                "warn",
                f"The free space of {archive} cannot be determined: {error.strerror or error}.",
                "Check it by other means.",
            )
        ]
    sentence = f"{amount(usage.free)} of {amount(usage.total)} are free on the archive's disk."
    if is_nearly_full(usage.free, usage.total):
        return [Finding("disk", "fail", sentence, "Free some space: without it no result can be written.")]
    if is_nearly_full(usage.free // 10, usage.total):
        advice = f"Free some space soon: a disk with less than {amount(LEAST_FREE)} counts as full."
        return [Finding("disk", "warn", sentence, advice)]
    return [Finding("disk", "ok", sentence)]


def locks(archive: Path) -> list[Finding]:
    """Check that files can be locked where the ledger is, by trying."""
    folder = next(
        (
            place
            for place in (ledger_path(archive).parent, archive)
            if place.is_dir() and os.access(place, os.W_OK)
        ),
        None,
    )
    if folder is None:
        return []
    try:
        if has_locks(folder):
            return [Finding("locks", "ok", f"Files in {folder} can be locked.")]
        sentence = f"Files in {folder} cannot be locked: its share has no file locks."
    except OSError as error:
        sentence = f"Files in {folder} cannot be locked: {error.strerror or error}."
    advice = "Keep the ledger on a disk of this computer: tvtasks watch … --ledger DIR"
    return [Finding("locks", "fail", sentence, advice)]


def ledger(archive: Path) -> list[Finding]:
    """Check that the ledger, if there is one, is intact and on a disk where SQLite works well."""
    path = ledger_path(archive)
    found = []
    network = is_network_folder(archive)
    if path.is_file():
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as db:
                (mode,) = db.execute("PRAGMA journal_mode").fetchone()
                (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.Error as error:
            mode, verdict = "", str(error)
        if verdict != "ok":
            sentence = f"The ledger {path} cannot be used: {verdict}."
            advice = (
                "If this lasts, move the ledger away. The watch begins a new one and does not restore images "
                "again that the archive holds."
            )
            return [Finding("ledger", "fail", sentence, advice)]
        if network and mode == "wal":
            sentence = "The ledger is on a network share, but in a mode (WAL) that does not work there."
            found.append(
                Finding(
                    "ledger",
                    "fail",
                    sentence,
                    "Start the watch once while no other program uses the archive: it changes the mode.",
                )
            )
    if network and not found:
        sentence = f"The archive {archive} is on a network share: its ledger works there, but slower."
        found.append(
            Finding("ledger", "warn", sentence, "If you can, keep the archive on a disk of this computer.")
        )
    return found or [
        Finding(
            "ledger", "ok", "The ledger is intact." if path.is_file() else "The watch will create a ledger."
        )
    ]


def other_watch(folder: Path, archive: Path, *, now: datetime) -> list[Finding]:
    """Check whether another watch writes to the archive."""
    heartbeat = read_heartbeat(archive)
    if heartbeat is None or heartbeat.ended:
        return [Finding("other watches", "ok", "No watch writes to this archive.")]
    if life(heartbeat, now) == "stalled":
        sentence = f"A watch ({heartbeat.who}) was killed, or hangs."
        return [Finding("other watches", "warn", sentence, f"Run: tvtasks status {archive}")]
    sentence = f"A watch ({heartbeat.who}) writes to this archive from {heartbeat.options.folder}."
    if heartbeat.rival:
        sentence = f"Two watches write to this archive: {heartbeat.who} and {heartbeat.rival}."
        return [Finding("other watches", "fail", sentence, "Stop one of them.")]
    if heartbeat.options.folder.resolve() != folder.resolve():
        return [Finding("other watches", "fail", sentence, "Give this watch another archive.")]
    return [Finding("other watches", "ok", sentence)]


def endings(
    folder: Path,
    options: MonitorOptions = MonitorOptions(),
    *,
    has_recipe: Callable[[Path], bool] | None = None,
    try_file: Callable[[Path], object] | None = None,
) -> list[Finding]:
    """Report which files in the folder would be restored, and which would not: by name, or when tried."""
    from tvtasks import readers  # noqa: PLC0415 - loads the readers of all formats

    smallest: dict[str, tuple[int, Path]] = {}
    taken: Counter[str] = Counter()
    unread: Counter[str] = Counter()
    without: Counter[str] = Counter()
    folder = folder.resolve()
    rules = IgnoreRules(folder, options.ignore)
    for path in _files_in(folder, recursive=options.recursive):
        if rules.ignored(path):
            continue
        ending = path.suffix.lower() or "without an ending"
        if not readers.is_candidate(path):
            unread[ending] += 1
        elif has_recipe is not None and not has_recipe(path):
            without[ending] += 1
        else:
            taken[ending] += 1
            with suppress(OSError):
                example = (path.stat().st_size, path)
                smallest[ending] = min(smallest.get(ending, example), example)
    found = _refused([path for _, path in smallest.values()], try_file) if try_file else []
    if taken:
        what = "can be read" if has_recipe is None else "get a recipe"
        found.append(Finding("files", "ok", f"Files that {what}: {_listed(taken)}."))
    if without:
        sentence = f"Files that match no --recipe pattern and are left alone: {_listed(without)}."
        found.append(
            Finding("files", "warn", sentence, 'Add a recipe for all other files: --recipe "*=RECIPE".')
        )
    if unread:
        sentence = f"Files that tvtasks cannot read and leaves alone: {_listed(unread)}."
        advice = f"If they are images, export them in one of: {', '.join(sorted(readers.endings()))}."
        found.append(Finding("files", "ok" if taken or without else "warn", sentence, advice))
    return found or [Finding("files", "ok", "The folder is empty.")]


def _refused(examples: Iterable[Path], try_file: Callable[[Path], object]) -> list[Finding]:
    """Try one file of each ending, while there is time; return what would be refused."""
    deadline = time.monotonic() + _MOST_SECONDS
    found = []
    for path in examples:
        if time.monotonic() > deadline:
            break
        try:
            try_file(path)
        except TvtasksError as error:
            sentence, advice = _sentence_and_advice(error)
            found.append(
                Finding("files", "warn", f"Of the {path.suffix} files, one was tried. {sentence}", advice)
            )
    return found


def _files_in(folder: Path, *, recursive: bool) -> Iterator[Path]:
    """Yield as many files as can be found within a time limit."""
    deadline = time.monotonic() + _MOST_SECONDS
    every = (Path(root, name) for root, _, names in _walk(folder, recursive) for name in names)
    for path in islice(every, _MOST_FILES):
        if time.monotonic() > deadline:
            return
        yield path


def _walk(folder: Path, recursive: bool) -> Iterator[tuple[str, list[str], list[str]]]:
    for root, inside, names in os.walk(folder):
        if not recursive:
            inside.clear()
        yield root, inside, names


def _count_folders(folder: Path, enough: int) -> tuple[int, bool]:
    """Return the number of folders, and whether all of them were counted."""
    deadline = time.monotonic() + _MOST_SECONDS
    number = 0
    for number, _ in enumerate(os.walk(folder), start=1):
        if number >= enough:
            break
        if time.monotonic() > deadline:
            return number, False
    return number, True


def _inotify_instances() -> int:
    """Return how many observers this user's programs hold, as far as we may see."""
    number = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if process.stat().st_uid == os.getuid():
                number += sum(_is_inotify(handle) for handle in (process / "fd").iterdir())
    return number


def _is_inotify(handle: Path) -> bool:
    try:
        return str(handle.readlink()) == "anon_inode:inotify"
    except OSError:
        return False


def _listed(endings: Counter[str]) -> str:
    """Return the number of files with each ending as text: ``12 .tif, 3 .png``."""
    words = [f"{number:,} {ending}" for ending, number in endings.most_common(6)]
    return ", ".join(words) + (", and others" if len(endings) > len(words) else "")


def _sentence_and_advice(error: TvtasksError) -> tuple[str, str]:
    """Split an error into what is wrong and what to do."""
    sentence, point, advice = str(error).partition(". ")
    return sentence + ("." if point else ""), advice
