"""What became of the work: `Outcome` of one image, `Change` of one file, `BatchReport` of a set."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tvtasks.scores import QualityScores

FINAL = frozenset({"done", "failed", "quarantined", "cancelled", "incomplete", "overwritten"})
"""States of a file in which nothing more happens to it for now."""

LAST = 50
"""Number of latest outcomes that a report keeps for tables; it keeps every failure."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one image, or of a file that could not be read.

    Attributes
    ----------
    name
        Name of the file that the image came from.
    recipe
        Name of the recipe that restored it.
    state
        ``restored`` now, ``current`` (the archive already held this result) or ``failed``.
    source_sha256
        Checksum of the file as it was read, hexadecimal.
    archive, preview
        The result, and the picture beside it; None if the image failed.
    gap, converged, seconds
        The largest certified gap of its steps, whether all of them met their stopping rule, and the time they
        took; None unless it was restored now.
    scores
        Its scores; None unless it was restored now.
    notes
        Sentences for the user.
    reason
        A sentence on why it failed; else empty.
    is_passing
        Whether the system (disk, share, processes) caused the failure rather than the file.
    """

    name: str
    recipe: str
    state: Literal["restored", "current", "failed"] = "restored"
    source_sha256: str = ""
    archive: Path | None = None
    preview: Path | None = None
    gap: float | None = None
    converged: bool | None = None
    seconds: float | None = None
    scores: QualityScores | None = None
    notes: tuple[str, ...] = ()
    reason: str = ""
    is_passing: bool = False

    @property
    def record(self) -> dict[str, Any]:
        """The outcome, safe for JSON."""
        return {
            "name": self.name,
            "state": self.state,
            "recipe": self.recipe,
            "reason": self.reason,
            "archive": str(self.archive) if self.archive else None,
            "preview": str(self.preview) if self.preview else None,
            "gap": self.gap,
            "converged": self.converged,
            "seconds": self.seconds,
            "scores": self.scores and self.scores.record,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Change:
    """A file has changed its state.

    Attributes
    ----------
    path
        The file.
    state
        A state of the ledger, or ``settling`` or ``incomplete`` for a file that has not settled.
    recipe
        Name of the recipe.
    reason
        A sentence if the file is incomplete, failed, was quarantined or was overwritten; else empty.
    outcomes
        What became of its images, if the work was done now.
    """

    path: Path
    state: str
    recipe: str = ""
    reason: str = ""
    outcomes: tuple[Outcome, ...] = ()

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to the file for now."""
        return self.state in FINAL

    @property
    def notes(self) -> list[str]:
        """The notes on its images, each sentence once."""
        return list(dict.fromkeys(note for outcome in self.outcomes for note in outcome.notes))

    @property
    def gap(self) -> str:
        """The largest gap of its images, as text; empty if there is none."""
        gap = largest_gap(self.outcomes)
        text = "" if gap is None else f"{gap:.1e}"
        return f"{text} (not reached)" if any(done.converged is False for done in self.outcomes) else text

    @property
    def seconds(self) -> str:
        """The time for its images, as text; ``before`` if the archive already held all of them."""
        taken = [outcome.seconds for outcome in self.outcomes if outcome.seconds is not None]
        return f"{sum(taken):.2f}" if taken else "before" if self.outcomes else ""

    @property
    def record(self) -> dict[str, Any]:
        """The change, safe for JSON."""
        return {
            "file": str(self.path),
            "state": str(self.state),
            "recipe": self.recipe,
            "reason": self.reason,
            "images": [outcome.record for outcome in self.outcomes],
        }


@dataclass
class BatchReport:
    """What has become of a set of images so far; it is updated during the work.

    Attributes
    ----------
    archive
        Where results go.
    total
        Images to restore, including those that cannot be read.
    current
        Images that the archive already held, so that there was nothing to do.
    restored
        Images restored so far.
    failed
        Outcomes that failed.
    last
        The latest outcomes that did not fail.
    stopped_because
        A sentence if the rest was not started for a reason other than a stop by the user; else empty.
    """

    archive: Path
    total: int
    current: int = 0
    restored: int = 0
    failed: list[Outcome] = field(default_factory=list)
    last: deque[Outcome] = field(default_factory=lambda: deque(maxlen=LAST))
    stopped_because: str = ""
    _found_current: int = 0

    def add(self, outcome: Outcome) -> None:
        """Take in the outcome of an image."""
        if outcome.state == "failed":
            self.failed.append(outcome)
            return
        if outcome.state == "current":  # another process has restored it since the plan was made
            self.current += 1
            self._found_current += 1
        else:
            self.restored += 1
        self.last.append(outcome)

    @property
    def done(self) -> int:
        """Images of `total` that have an outcome."""
        return self.restored + self._found_current + len(self.failed)

    @property
    def left(self) -> int:
        """Images of `total` without an outcome: not started, or cut short."""
        return max(self.total - self.done, 0)

    @property
    def sentence(self) -> str:
        """The figures in words."""
        parts = [f"{self.restored} restored", f"{len(self.failed)} failed"]
        parts += [f"{self.current} current already"] if self.current else []
        parts += [f"{self.left} left"] if self.left else []
        return ", ".join(parts)

    @property
    def record(self) -> dict[str, Any]:
        """The report, safe for JSON."""
        return {
            "restored": self.restored,
            "current": self.current,
            "failed": [{"name": outcome.name, "reason": outcome.reason} for outcome in self.failed],
            "left": self.left,
            "stopped_because": self.stopped_because,
            "archive": str(self.archive),
        }


def largest_gap(outcomes: Iterable[Outcome]) -> float | None:
    """Return the largest gap of some images; None if none of them has one."""
    return max((outcome.gap for outcome in outcomes if outcome.gap is not None), default=None)


def recipes_of(outcomes: Sequence[Outcome], given: str) -> str:
    """Return the names of the recipes chosen for the images of a file; `given` if there are none."""
    return ", ".join(dict.fromkeys(outcome.recipe for outcome in outcomes if outcome.recipe)) or given
