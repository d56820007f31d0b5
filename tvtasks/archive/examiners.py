"""Verify many archive files, several at a time, in processes of their own.

HDF5 may crash over a damaged file, or never come back. Then it is the file's examiner that dies, or is ended;
the file is reported and another examiner goes on with the next one.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tvtasks.archive.verification import Finding, check, recompute
from tvtasks.errors import ArchiveError

PATIENCE = 60.0
"""Seconds in which a file must have been read, and one more for each of its megabytes."""


def verify(
    paths: Iterable[str | Path],
    *,
    again: bool = False,
    workers: int = 2,
    patience: float = PATIENCE,
    report: Callable[[Path, list[Finding]], object] = lambda path, findings: None,
) -> dict[Path, list[Finding]]:
    """Check archive files, and compute their results again where that is asked for.

    Parameters
    ----------
    paths
        The files.
    again
        Whether to restore each stored raw image by its stored parameters as well, and compare.
    workers
        How many files are worked on at a time.
    patience
        Seconds after which a file that is still being read is given up.
    report
        Called for each file when it is done, in any order, from one thread at a time.

    Returns
    -------
    dict
        What was found of each file, in the order of `paths`.
    """
    files = list(dict.fromkeys(Path(path) for path in paths))
    free: SimpleQueue[_Examiner] = SimpleQueue()
    examiners = [_Examiner(patience) for _ in range(max(1, min(workers, len(files))))]
    for examiner in examiners:
        free.put(examiner)
    lock = threading.Lock()

    def one(path: Path) -> list[Finding]:
        examiner = free.get()
        try:
            found = examiner.examine(path, again=again)
        finally:
            free.put(examiner)
        with lock:
            report(path, found)
        return found

    pool = ThreadPoolExecutor(len(examiners), thread_name_prefix="verify")
    try:
        return dict(zip(files, pool.map(one, files), strict=True))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for examiner in examiners:  # after Ctrl-C one may be in the middle of a file
            examiner.end()
        pool.shutdown()


class _Examiner:
    """A process that checks one file after the other; it is started when it is needed."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._process: subprocess.Popen[str] | None = None
        self._ended = False

    def examine(self, path: Path, *, again: bool) -> list[Finding]:
        """Return what is found of a file; never raises, whatever the file does to HDF5."""
        try:
            limit = self._patience + path.stat().st_size / 1e6
        except OSError as error:
            return [Finding("damaged", "", f"{path} cannot be read: {error.strerror or error}.")]
        process = self._running()
        assert process.stdin is not None
        if self._ended:  # meanwhile, before there was a process to end
            process.kill()
        late = threading.Event()

        def give_up() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(limit, give_up)
        timer.daemon = True
        timer.start()
        try:
            with suppress(OSError):  # it has died: there will be no answer
                process.stdin.write(json.dumps({"path": str(path), "again": again}) + "\n")
                process.stdin.flush()
            found = _answer(process)
        finally:
            timer.cancel()
        if self._ended:
            raise ArchiveError("Verifying was interrupted.")
        if found is None:
            how = "takes for ever" if late.is_set() else "ends the program that reads it"
            return [
                Finding(
                    "damaged", "",
                    f"{path} is damaged: its structure is broken, so that HDF5 {how}. "
                    "Take the file from a backup, or restore the image again.",
                )
            ]  # fmt: skip
        if again and not any(finding.grave for finding in found):
            repeated = _answer(process)  # a large image may take its time
            if repeated is None:
                reason = "the program ended; there may not be enough memory"
                repeated = [Finding("differs", "", f"{path} cannot be computed again: {reason}.")]
            found += repeated
        return found

    def end(self) -> None:
        """End the process, and do not start another."""
        self._ended = True
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            if self._ended:
                raise ArchiveError("Verifying was interrupted.")
            if self._process is not None:
                self._process.communicate()
            self._process = subprocess.Popen(
                # -P: the tvtasks that asks, and never a file of the folder in which someone asks.
                [sys.executable, "-P", "-m", "tvtasks.archive.examiners"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8",
            )  # fmt: skip
            if _answer(self._process) is None:
                raise ArchiveError(
                    f"The program that reads archive files, {sys.executable}, cannot be started. "
                    "Check that tvtasks is installed for it."
                )
        return self._process


def _answer(process: subprocess.Popen[str]) -> list[Finding] | None:
    """Return what an examiner says next, None where it has died."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.endswith("\n"):
        process.wait()
        return None
    return [Finding(**finding) for finding in json.loads(line)]


def _examine(lines: Iterable[str]) -> Iterator[list[Finding]]:
    """Answer each request: the findings of a file, and where it is whole those of computing it again."""
    for line in lines:
        request: dict[str, Any] = json.loads(line)
        found = check(request["path"])
        yield found
        if request["again"] and not any(finding.grave for finding in found):
            try:
                yield recompute(request["path"])
            except ArchiveError as error:
                yield [Finding("damaged", "", str(error))]


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asks; it ends us
    print("[]", flush=True)  # what has taken a while is the start, and not a file
    for found in _examine(sys.stdin):
        print(json.dumps([finding.as_record() for finding in found]), flush=True)


if __name__ == "__main__":
    _main()
