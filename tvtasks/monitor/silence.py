"""Detects an observer that has fallen silent: alive, but reporting nothing."""

import logging
from pathlib import Path

from tvtasks.monitor.observe import FolderObserver

logger = logging.getLogger(__name__)

MISSES = 3
"""Scans in a row that find unreported files before the monitor gives up on notification."""


class SilenceDetector:
    """Compares what an observer reports with what scans find.

    A file that a scan finds first may be reported a moment later. It counts as missed if it has settled and
    still was not reported.

    Parameters
    ----------
    observer
        It restarts if it has missed files, and switches to polling if a restart does not help.
    """

    def __init__(self, observer: FolderObserver) -> None:
        self._observer = observer
        self._unreported: set[Path] = set()
        self._missed: list[Path] = []
        self._misses = 0
        self._excused = False  # nothing could be reported before the next scan

    def excuse(self) -> None:
        """Take note that nothing could be reported for a while: the next scan proves nothing."""
        self._excused = True

    def reported(self, path: Path) -> None:
        """Take in a path that was reported."""
        self._unreported.discard(path)

    def found(self, path: Path) -> None:
        """Take in a file that a scan found and the observer should have reported."""
        self._unreported.add(path)

    def settled(self, path: Path) -> None:
        """Take in a file that has settled."""
        if path in self._unreported:
            self._unreported.discard(path)
            self._missed.append(path)

    def judge(self, *, burst: bool) -> bool:
        """Judge the observer before a scan; return whether it should report new files that the scan finds.

        Parameters
        ----------
        burst
            Whether the scan begins because of so many reports that some may have been lost.
        """
        missed, self._missed = self._missed, []
        self._mend(missed)
        ought = not (burst or self._excused or self._observer.polls)
        self._excused = False
        return ought

    def _mend(self, missed: list[Path]) -> None:
        """Restart an observer that did not report new files; give up on it if that does not help."""
        if not missed or self._observer.polls:
            self._misses = 0
            return
        self._misses += 1
        if self._misses >= MISSES:
            self._observer.poll(f"scans found {missed[0]} and others that were not reported")
        elif self._observer.is_alive:
            logger.warning(
                "A scan found %s, which was not reported; the observer of %s restarts.",
                missed[0],
                self._observer.folder,
            )
            self._observer.stop()
            self._observer.ensure_alive()
