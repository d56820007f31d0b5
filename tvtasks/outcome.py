"""What came of the work: `Outcome` of one image, `Change` of one file, `BatchReport` of a whole set."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

FINAL = frozenset({"done", "failed", "quarantined", "incomplete", "overwritten"})
"""States of a file in which nothing more happens to it for now."""

LAST = 50
"""Images whose latest outcomes a report keeps for tables; it keeps all that failed."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one image, or of a file that could not be read.

    Attributes
    ----------
    name
        Name of the file that the image came from.
    recipe
        Name of the recipe that restored it.
    state
        ``restored`` now, ``current`` (the archive held this work already) or ``failed``.
    source_sha256
        Checksum of the file as it was read, hexadecimal.
    archive, preview
        The NeXus file, and the picture beside it; None where the image failed.
    gap, converged, seconds
        The largest certified gap of its steps, whether all met their stopping rule, and the time they took;
        None unless it was restored now.
    notes
        Sentences that a user should see.
    reason
        A sentence on why it failed; else empty.
    is_passing
        Whether the system (disk, share, processes) is behind the failure and not the file.
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
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Change:
    """A file has come to another state.

    Attributes
    ----------
    path
        The file.
    state
        A state of the ledger, or ``settling`` or ``incomplete`` for a file that has not settled.
    recipe
        Name of the recipe.
    reason
        A sentence where the file is incomplete, failed, was quarantined or overwritten.
    outcomes
        What came of its images, where the work was done now.
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
        """What a user should know of its images, each sentence once."""
        return list(dict.fromkeys(note for outcome in self.outcomes for note in outcome.notes))

    @property
    def gap(self) -> str:
        """The largest gap of its images, as text; empty where there is none."""
        gap = largest_gap(self.outcomes)
        text = "" if gap is None else f"{gap:.1e}"
        return f"{text} (not reached)" if any(done.converged is False for done in self.outcomes) else text

    @property
    def seconds(self) -> str:
        """The time that its images took, as text: ``before`` where the archive held all of them."""
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
    """What has come of a set of images so far; it fills up while the work goes on.

    Attributes
    ----------
    archive
        Where results go.
    total
        Images that were to be restored, those included that could not be read.
    current
        Images that the archive held already, and that were not begun.
    restored
        Images restored so far.
    failed
        What failed.
    last
        The latest outcomes that did not fail.
    stopped_because
        A sentence where the rest was not begun for another reason than that the user stopped it.
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
        """Take in what came of an image."""
        if outcome.state == "failed":
            self.failed.append(outcome)
            return
        if outcome.state == "current":  # another process restored it since the work was planned
            self.current += 1
            self._found_current += 1
        else:
            self.restored += 1
        self.last.append(outcome)

    @property
    def done(self) -> int:
        """Images, out of `total`, of which something came."""
        return self.restored + self._found_current + len(self.failed)

    @property
    def left(self) -> int:
        """Images of which nothing came: not begun, or cut short."""
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
    """Return the largest gap of some images; None where none was solved for."""
    return max((outcome.gap for outcome in outcomes if outcome.gap is not None), default=None)


def recipes_of(outcomes: Sequence[Outcome], given: str) -> str:
    """Return the names of the recipes that were chosen for the images of a file; `given` where none was."""
    return ", ".join(dict.fromkeys(outcome.recipe for outcome in outcomes if outcome.recipe)) or given
