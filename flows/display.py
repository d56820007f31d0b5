"""What the terminal shows: of work under way a live table, plain lines or JSON lines; and the reports."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tvtasks.monitor.health import Heartbeat, amount
from tvtasks.monitor.ledger import Overview, State

if TYPE_CHECKING:  # `tvtasks status` answers in half the time without what restores images
    from flows.acquire import Change
    from tvtasks.monitor.doctor import Finding
    from tvtasks.monitor.status import Status
    from tvtasks.workflow import Outcome

_STYLES = {"done": "green", "failed": "red", "quarantined": "red", "incomplete": "red", "running": "cyan"}
FINAL = {"done", "failed", "quarantined", "incomplete", "overwritten"}
_ROWS = 15
_RUN = {"flow_run_name": "", "flow_run_id": "", "run_count": "attempt ", "deployment_id": "deployment "}


class Display(Protocol):
    """Shows changes as they come; used as a context manager.

    `told` has the files whose failure has been printed in full and stays on the screen.
    """

    told: set[Path]

    def show(self, change: Change) -> None:
        """Take in a change."""
        ...

    def tell(self, sentence: str) -> None:
        """Print what is no file's matter: a problem of the watch that has begun or ended."""
        ...

    def __enter__(self) -> Any: ...
    def __exit__(self, *args: object) -> None: ...


def choose(console: Console, *, quiet: bool, as_json: bool) -> Display:
    """Return JSON lines or nothing if asked for, a live table on a terminal, plain lines elsewhere."""
    if as_json:
        return JsonLines()
    if quiet:
        return Lines(console, only_faults=True)
    return LiveTable(console) if console.is_terminal else Lines(console)


class Lines:
    """One line for each file that has come to an end."""

    def __init__(self, console: Console, *, only_faults: bool = False) -> None:
        self._console = console
        self._only_faults = only_faults
        self.told: set[Path] = set()

    def show(self, change: Change) -> None:
        """Print the change if it is an end."""
        if change.state not in FINAL or (self._only_faults and change.state == "done"):
            return
        if change.reason:
            self.told.add(change.path)
        gap, seconds = figures(change.outcomes)
        parts = [
            change.path.name,
            change.state,
            change.recipe,
            gap and f"gap {gap}",
            f"{seconds} s" if seconds[:1].isdigit() else seconds,
        ]
        line = "  ".join(part for part in parts if part)
        said = " ".join([change.reason, *notes(change)]).strip()
        self._console.print(Text(f"{line}  {said}".rstrip()), soft_wrap=True)

    def tell(self, sentence: str) -> None:
        """Print the sentence."""
        self._console.print(Text(sentence), soft_wrap=True)

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class JsonLines:
    """One JSON object for each file that has come to an end."""

    def __init__(self) -> None:
        self.told: set[Path] = set()

    def show(self, change: Change) -> None:
        """Print the change if it is an end."""
        if change.state in FINAL:
            print(json.dumps(as_record(change)), flush=True)

    def tell(self, sentence: str) -> None:
        """Print the sentence where it is not taken for a file."""
        print(sentence, file=sys.stderr, flush=True)

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class LiveTable:
    """A table of the newest files that redraws itself, with counts below."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.told: set[Path] = set()
        self._rows: dict[Path, Change] = {}
        self._live: AbstractContextManager[Any] = nullcontext()

    def show(self, change: Change) -> None:
        """Put the change in the file's row."""
        self._rows[change.path] = change
        while len(self._rows) > 20 * _ROWS:
            # For days on end: what came to an end long ago is counted in the archive, not here.
            oldest = next((path for path, row in self._rows.items() if row.state in FINAL), None)
            if oldest is None:
                break
            del self._rows[oldest]

    def tell(self, sentence: str) -> None:
        """Print the sentence above the table, with the time: it stays when the table has moved on."""
        self._console.print(Text(f"{datetime.now():%H:%M}  {sentence}", style="yellow"))

    def __enter__(self) -> LiveTable:
        self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=5)
        self._live.__enter__()
        return self

    def __exit__(self, *args: object) -> None:
        self._live.__exit__(*args)  # type: ignore[arg-type]

    def _table(self) -> RenderableType:
        table = Table(
            "file", "state", "recipe", "gap", "seconds", box=None, header_style="bold", pad_edge=False
        )
        for name in ("gap", "seconds"):
            next(column for column in table.columns if column.header == name).justify = "right"
        rows = list(self._rows.values())
        for row in rows[-_ROWS:]:
            state = Text(row.state, style=_STYLES.get(row.state, "yellow"))
            table.add_row(row.path.name, state, row.recipe, *figures(row.outcomes))
        parts: list[RenderableType] = [table]
        said = dict.fromkeys(note for row in rows[-_ROWS:] for note in notes(row))
        parts += [Text(note, style="yellow") for note in said]
        if len(rows) > _ROWS:
            counts = Counter(row.state for row in rows)
            parts.append(
                Text("  ".join(f"{number} {state}" for state, number in counts.items()), style="dim")
            )
        return Group(*parts)


def notes(change: Change) -> list[str]:
    """Return what a user should know of a file's images, each sentence once."""
    return list(dict.fromkeys(note for outcome in change.outcomes for note in outcome.notes))


def figures(outcomes: tuple[Outcome, ...]) -> tuple[str, str]:
    """Gap and seconds of a file's images, as text; empty where there are none."""
    gaps = [outcome.gap for outcome in outcomes if outcome.gap is not None]
    seconds = [outcome.seconds for outcome in outcomes if outcome.seconds is not None]
    if outcomes and not seconds:
        return "", "before"
    gap = f"{max(gaps):.1e}" if gaps else ""
    if not all(outcome.converged is not False for outcome in outcomes):
        gap += " (not reached)"
    return gap, f"{sum(seconds):.2f}" if seconds else ""


def as_record(change: Change) -> dict[str, Any]:
    """Return a change, safe for JSON."""
    return {
        "file": str(change.path),
        "state": str(change.state),
        "recipe": change.recipe,
        "reason": change.reason,
        "images": [outcome_record(outcome) for outcome in change.outcomes],
    }


def outcome_record(outcome: Outcome) -> dict[str, Any]:
    """Return what came of an image, safe for JSON."""
    return {
        "archive": str(outcome.archive),
        "preview": str(outcome.preview),
        "gap": outcome.gap,
        "converged": outcome.converged,
        "seconds": outcome.seconds,
        "notes": list(outcome.notes),
    }


def summary(record: Mapping[str, Any]) -> RenderableType:
    """Lay out the run record of an archive file for a reader."""
    image, source, software = record["image"], record["source"], record["software"]
    raw = record["arrays"]["raw"]
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="bold")

    def add(name: str, fact: str) -> None:
        facts.add_row(name, Text(fact))  # names and notes may hold what would be markup

    add("file", str(record["path"]))
    if source:
        add("source", f"{source['name']}, {source['size']} bytes, sha256 {source['sha256']}")
    size = " × ".join(str(number) for number in raw["shape"])
    add("image", f"{size} pixels, {raw['dtype']}, {_described(image)}")
    add("recipe", f"{record['recipe']['name']}, run {record['run_id'][:12]}")
    add("written", f"{record['written_at']} ({record['seconds']:.2f} s of work)")
    add("scaled by", f"(raw − {record['offset']:.6g}) / {record['factor']:.6g}")
    packages = ", ".join(f"{name} {version}" for name, version in sorted(software["packages"].items()))
    add("software", f"{packages}, Python {software['python']}, {software['system']}")
    if sample := record.get("sample"):
        atoms, prepared = ", ".join(sample["atom_types"]), sample["preparation_date"]
        add("sample", f"{sample['name']} ({atoms}), prepared {prepared}")
    if isinstance(run := record["context"].get("prefect"), Mapping):
        known = [f"{word}{run[key]}" for key, word in _RUN.items() if run.get(key)]
        add("flow run", ", ".join(known))
    if quality := record.get("quality"):
        from tvtasks.quality import Marks  # noqa: PLC0415 - reports of a watch do without

        for name, fact in Marks(**quality).facts(image["units"]).items():
            add(name, fact)
    for note in record["notes"]:
        add("note", note)
    steps: list[RenderableType] = []
    for step in record["steps"]:
        parameters = ", ".join(f"{key} {_plain(value)}" for key, value in sorted(step["parameters"].items()))
        steps += [Text(), Text(step["name"], style="bold"), Text(f"  {parameters}")]
        if choice := step.get("choice"):
            from tvtasks.choosing import Choice  # noqa: PLC0415

            steps.append(Text(f"  {Choice.read(choice).words}"))
        if went := step["convergence"]:
            gap = f"{went['gap']:.1e}" if went["gap"] is not None else went["gap_is"]
            steps.append(
                Text(
                    f"  {went['method']}, {went['iterations']} iterations, energy {went['energy']:.6g}, "
                    f"relative gap {gap} ({went['bound']})"
                    + ("" if went["converged"] else "; THE STOPPING RULE WAS NOT MET")
                )
            )
        steps.append(Text(f"  {step['seconds']:.3f} s"))
    return Group(facts, *steps)


def _described(image: Mapping[str, Any]) -> str:
    """Say what was measured, and how large its pixels are."""
    words = [
        word for word in (image["technique"], image["channel"], image["quantity"], image["direction"]) if word
    ]
    words.append(f"in {image['units']}" if image["units"] else "no unit")
    if image["pixel_size"]:
        dy, dx = image["pixel_size"]
        words.append(f"pixel {dx:.4g} × {dy:.4g} {image['pixel_unit']}")
    return ", ".join(words)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return (
            "(" + ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items() if key != "rule") + ")"
        )
    return str(value)


def status(found: Status) -> RenderableType:
    """Lay out how an archive and its watch are."""
    beat, overview = found.heartbeat, found.overview
    facts = _facts()
    facts.add_row("archive", str(found.archive))
    facts.add_row("watch", _life(found))
    if beat:
        observer = f" ({beat.pulse.observer} observer)" if beat.pulse.observer else ""
        facts.add_row("folder", f"{beat.folder}{observer}")
        facts.add_row("recipes", ", ".join(beat.recipes))
        if found.life == "alive":
            facts.add_row("dashboard", _dashboard(beat))
        if beat.free is not None and beat.total is not None:
            facts.add_row("disk", f"{amount(beat.free)} of {amount(beat.total)} are free")
    parts: list[RenderableType] = [facts]
    if overview:
        parts += [Text(), _counts(found, overview)]
        if error := overview.last_error:
            when = moment(error.updated)
            parts += [Text(), Text.assemble(("last error", "bold"), f"  {when}, {error.path.name}:")]
            parts.append(Padding(Text(error.reason), (0, 0, 0, 2)))
    parts.append(Text())
    if not found.problems:
        parts.append(Text("All is well.", style="green"))
    else:
        parts.append(Text("Needs attention:", style="bold red"))
        parts += [_item(problem.sentence) for problem in found.problems]
    return Group(*parts)


def status_record(found: Status) -> dict[str, Any]:
    """Return how an archive and its watch are, safe for JSON."""
    beat, overview = found.heartbeat, found.overview
    record: dict[str, Any] = {
        "archive": str(found.archive),
        "healthy": not found.problems,
        "problems": [{"kind": problem.kind, "sentence": problem.sentence} for problem in found.problems],
        "watch": {"state": found.life},
        "files": None,
    }
    if beat:
        record["watch"] |= {
            "process": beat.pid,
            "host": beat.host,
            "folder": str(beat.folder),
            "recipes": list(beat.recipes),
            "started": beat.started.isoformat(),
            "last_sign_of_life": beat.written.isoformat(),
            "ended": beat.ended.isoformat() if beat.ended else None,
            "observer": beat.pulse.observer,
            "observer_alive": beat.pulse.observer_alive,
            "settling": beat.pulse.settling,
            "seconds_since_last_turn": beat.since_turn,
        }
        record["server"] = {"url": beat.server.url, "answers": beat.server.answers} if beat.server else None
        record["disk"] = {"free": beat.free, "total": beat.total}
    if overview:
        waiting, error = overview.oldest_waiting, overview.last_error
        record["files"] = {
            "counts": {str(state): number for state, number in overview.counts.items()},
            "oldest_waiting": {"file": str(waiting.path), "since": waiting.first_seen} if waiting else None,
            "last_error": {
                "file": str(error.path), "state": str(error.state),
                "when": error.updated, "reason": error.reason,
            } if error else None,
            "done_last_hour": overview.done_last_hour,
            "seconds_per_file": overview.seconds_per_file,
            "next_retry": overview.next_retry or None,
        }  # fmt: skip
    return record


def findings(found: Sequence[Finding]) -> RenderableType:
    """Lay out what the doctor has found."""
    styles = {"ok": "green", "warn": "yellow", "fail": "red"}
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in found:
        text = Text(finding.sentence)
        if finding.advice:
            text.append(f"\n→ {finding.advice}", style="" if finding.level == "ok" else "bold")
        table.add_row(Text(finding.level, style=styles[finding.level]), finding.check, text)
    worst = [finding.level for finding in found]
    if "fail" in worst:
        verdict = Text("Mend what failed before you start a watch.", style="bold red")
    elif "warn" in worst:
        verdict = Text("A watch can work; mind the warnings.", style="yellow")
    else:
        verdict = Text("A watch can work.", style="green")
    return Group(table, Text(), verdict)


def findings_record(found: Sequence[Finding]) -> dict[str, Any]:
    """Return what the doctor has found, safe for JSON."""
    return {
        "healthy": all(finding.level != "fail" for finding in found),
        "findings": [asdict(finding) for finding in found],
    }


def moment(when: datetime | str) -> str:
    """Say a time in this computer's zone: the hour, with the date where it is not today."""
    if isinstance(when, str):
        when = datetime.fromisoformat(when)
    when = when.astimezone()
    return f"{when:%H:%M}" if when.date() == datetime.now().date() else f"{when:%Y-%m-%d %H:%M}"


def _facts() -> Table:
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    return facts


def _life(found: Status) -> Text:
    beat = found.heartbeat
    if beat is None:
        return Text("none has left a sign of life", style="yellow")
    if found.life == "stopped":
        assert beat.ended is not None
        return Text(f"stopped at {moment(beat.ended)}, {beat.who}")
    style = "green" if found.life == "alive" else "red"
    since = f"since {moment(beat.started)}" if found.life == "alive" else f"since {moment(_stalled(beat))}"
    return Text.assemble((str(found.life), style), f" {since}, {beat.who}")


def _stalled(beat: Heartbeat) -> datetime:
    """Return when a watch turned last."""
    return beat.written - timedelta(seconds=beat.since_turn)


def _dashboard(beat: Heartbeat) -> Text:
    if beat.server is None:
        return Text("none, as asked for")
    url = beat.server.url.removesuffix("/").removesuffix("/api")
    return Text(url) if beat.server.answers else Text.assemble(url, ("  does not answer", "red"))


def _counts(found: Status, overview: Overview) -> Table:
    """How many files are in each state, with what is worth knowing of them."""
    table = _facts()
    table.columns[1].justify = "right"
    table.add_column(overflow="fold")
    counts = overview.counts
    if found.heartbeat and found.life == "alive":
        table.add_row("settling", str(found.heartbeat.pulse.settling), "")
    said = {State.DONE: "", State.QUEUED: "", State.FAILED: ""}
    if overview.seconds_per_file is not None:
        said[State.DONE] = (
            f"{overview.done_last_hour} in the last hour, {overview.seconds_per_file:.2g} s for each"
        )
    if waiting := overview.oldest_waiting:
        said[State.QUEUED] = f"the oldest since {moment(waiting.first_seen)}: {waiting.path.name}"
    if overview.next_retry:
        said[State.FAILED] = f"the next attempt at {moment(overview.next_retry)}"
    for state, number in counts.items():
        if number or state not in {State.OVERWRITTEN, State.FAILED, State.QUARANTINED}:
            table.add_row(str(state), str(number), said.get(state, ""))
    return table


def _item(sentence: str) -> RenderableType:
    item = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    item.add_row("-", Text(sentence))
    return item
