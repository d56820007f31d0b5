"""What people say about results: keep or reject, and a note; kept in the archive beside the ledger.

A result never changes, so the verdicts are in a file of their own: a line of JSON for each. The last one for
a run counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from tvtasks.archive.folder import PRIVATE
from tvtasks.errors import ArchiveError, ConfigurationError

Word = Literal["keep", "reject", ""]

WORDS: tuple[str, ...] = get_args(Word)


@dataclass(frozen=True)
class Verdict:
    """What someone says about a run: the run, keep or reject, a note, and when (ISO 8601, UTC)."""

    run_id: str
    verdict: Word = ""
    note: str = ""
    when: str = ""

    @classmethod
    def of(cls, content: Any) -> Verdict:
        """Return the verdict in a JSON object.

        Raises
        ------
        ConfigurationError
            The object is no verdict.
        """
        if not isinstance(content, Mapping) or not isinstance(content.get("run_id"), str):
            raise ConfigurationError(f"{content!r} is not a verdict: it needs the run_id of a result.")
        word, note = content.get("verdict", ""), content.get("note", "")
        if word not in WORDS or not isinstance(note, str):
            raise ConfigurationError(f"{word!r} is not a verdict. Use keep, reject or an empty text.")
        return cls(content["run_id"], word, note, str(content.get("when", "")))


def key(run_id: str) -> str:
    """Return the part of a run_id that names a run on the archive's page, and in its verdicts."""
    return run_id[:16]


def verdicts_path(archive: Path) -> Path:
    """Return the path of the verdicts of an archive."""
    return archive / PRIVATE / "verdicts.jsonl"


def read(archive: Path) -> dict[str, Verdict]:
    """Return the last verdict on each run, by `key` of its run_id, without lines that cannot be read."""
    found: dict[str, Verdict] = {}
    try:
        lines = verdicts_path(archive).read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    for line in lines:
        try:
            verdict = Verdict.of(json.loads(line))
        except (ValueError, ConfigurationError):  # half a line of a full disk
            continue
        found[key(verdict.run_id)] = verdict
    return found


def add(archive: Path, verdicts: Iterable[Verdict]) -> None:
    """Record verdicts.

    Raises
    ------
    ArchiveError
        The file cannot be written.
    """
    path, now = verdicts_path(archive), datetime.now(UTC).isoformat(timespec="seconds")
    lines = [json.dumps(asdict(one) | {"when": one.when or now}, ensure_ascii=False) for one in verdicts]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # One write at the end of the file: two people who mark at once do not overwrite each other.
        with path.open("ab") as file:
            file.write("".join(f"{line}\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ArchiveError(
            f"{path} cannot be written: {error.strerror or error}. Check that you may write to the archive."
        ) from error
