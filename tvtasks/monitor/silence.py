"""Finding out an observer that has fallen silent: it is alive, and reports nothing."""

import logging
from pathlib import Path

from tvtasks.monitor.observe import FolderObserver

logger = logging.getLogger(__name__)

MISSES = 3
"""Scans in a row that find files of which nothing was reported, after which notification is given up."""


class SilenceDetector:
    """Compares what an observer reports with what scans find.

    A file that a scan finds first may just be reported a moment later. It counts as missed when it has
    settled by then and still nothing was reported of it.

    Parameters
    ----------
    observer
        It is started again where it has missed files, and turns to polling where that does not mend it.
    """

    def __init__(self, observer: FolderObserver) -> None:
        self._observer = observer
        self._unreported: set[Path] = set()
        self._missed: list[Path] = []
        self._misses = 0
        self._excused = False  # nothing could be reported before the next scan

    def excuse(self) -> None:
        """Take in that nothing could be reported for a while: what the next scan finds tells nothing."""
        self._excused = True

    def reported(self, path: Path) -> None:
        """Take in a path that was reported."""
        self._unreported.discard(path)

    def found(self, path: Path) -> None:
        """Take in a file that a scan has found and that ought to have been reported."""
        self._unreported.add(path)

    def settled(self, path: Path) -> None:
        """Take in a file that has settled."""
        if path in self._unreported:
            self._unreported.discard(path)
            self._missed.append(path)

    def judge(self, *, burst: bool) -> bool:
        """Judge the observer before a scan; return whether the new files it will find ought to be reported.

        Parameters
        ----------
        burst
            The scan begins because so much was reported that some may have been lost.
        """
        missed, self._missed = self._missed, []
        self._mend(missed)
        ought = not (burst or self._excused or self._observer.polls)
        self._excused = False
        return ought

    def _mend(self, missed: list[Path]) -> None:
        """Start an observer again that has not reported new files, and give it up when it does not mend."""
        if not missed or self._observer.polls:
            self._misses = 0
            return
        self._misses += 1
        if self._misses >= MISSES:
            self._observer.poll(f"{missed[0]} and others were found without having been reported")
        elif self._observer.is_alive:
            logger.warning(
                "%s was found without having been reported; observing %s is begun anew.",
                missed[0],
                self._observer.folder,
            )
            self._observer.stop()
            self._observer.ensure_alive()
