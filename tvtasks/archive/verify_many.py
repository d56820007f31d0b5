"""Verify many results, several at a time, each in a child process.

HDF5 may crash on a damaged file, or never return. Then the child dies or is killed, the file is reported, and
another child continues with the next file.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tvtasks.archive.verification import FileFinding, check, recompute
from tvtasks.errors import ArchiveError
from tvtasks.processes import Child, ChildEndedError, serve

PATIENCE = 60.0
"""Seconds in which a file must have been read, plus one per megabyte."""


def verify(
    paths: Iterable[str | Path],
    *,
    again: bool = False,
    workers: int = 2,
    patience: float = PATIENCE,
    report: Callable[[Path, list[FileFinding]], object] = lambda path, findings: None,
) -> dict[Path, list[FileFinding]]:
    """Check results, and reproduce them on request.

    Parameters
    ----------
    paths
        The files.
    again
        Whether to restore each stored raw image with the stored parameters as well, and compare.
    workers
        Files to work on at a time.
    patience
        Seconds after which a file that is still being read is given up.
    report
        Called for each finished file, in any order, by one thread at a time.

    Returns
    -------
    dict
        The findings for each file, in the order of `paths`.
    """
    files = list(dict.fromkeys(Path(path) for path in paths))
    children = [Child("tvtasks.archive.verify_many") for _ in range(max(1, min(workers, len(files))))]
    free: SimpleQueue[Child] = SimpleQueue()
    for child in children:
        free.put(child)
    lock = threading.Lock()

    def one(path: Path) -> list[FileFinding]:
        child = free.get()
        try:
            found = _findings(child, path, again=again, patience=patience)
        finally:
            free.put(child)
        with lock:
            report(path, found)
        return found

    pool = ThreadPoolExecutor(len(children), thread_name_prefix="verify")
    try:
        return dict(zip(files, pool.map(one, files), strict=True))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in children:  # after Ctrl-C one may be in the middle of a file
            child.close()
        pool.shutdown()


def _findings(child: Child, path: Path, *, again: bool, patience: float) -> list[FileFinding]:
    """Return the findings for a file, whatever it does to HDF5."""
    try:
        limit = patience + path.stat().st_size / 1e6
    except OSError as error:
        return [FileFinding("damaged", "", f"{path} cannot be read: {error.strerror or error}.")]
    try:
        found = _asked(child, path, "check", limit)
    except ChildEndedError as error:
        how = "HDF5 never finishes reading it" if error.timed_out else "HDF5 crashes on it"
        return [
            FileFinding(
                "damaged",
                "",
                f"{path} is damaged: {how}. Restore the file from a backup, or restore the image again.",
            )
        ]
    if again and not any(finding.is_fault for finding in found):
        try:
            found += _asked(child, path, "recompute", None)  # a large image takes a while
        except ChildEndedError:
            reason = "the program ended, perhaps because it ran out of memory"
            found.append(FileFinding("differs", "", f"{path} cannot be reproduced: {reason}."))
    return found


def _asked(child: Child, path: Path, task: str, seconds: float | None) -> list[FileFinding]:
    found = child.ask({"task": task, "path": str(path)}, seconds=seconds)
    return [FileFinding(**finding) for finding in found]


def _answer(request: Mapping[str, Any]) -> Iterator[list[dict[str, Any]]]:
    work = check if request["task"] == "check" else recompute
    try:
        found = work(request["path"])
    except ArchiveError as error:
        found = [FileFinding("damaged", "", str(error))]
    yield [finding.as_record() for finding in found]


if __name__ == "__main__":
    serve(_answer)
