"""Reports for the terminal: the status of a watch, the findings of the doctor, the content of a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tvtasks.health.doctor import Finding
from tvtasks.health.heartbeat import Heartbeat
from tvtasks.health.status import Status
from tvtasks.ledger import UNRESTORED, Entry, Overview, State
from tvtasks.words import amount, in_a_line, moment

_RUN = {"flow_run_name": "", "flow_run_id": "", "run_count": "attempt ", "deployment_id": "deployment "}


def summary(record: Mapping[str, Any]) -> RenderableType:
    """Lay out the run record of a result."""
    image, source, software = record["image"], record["source"], record["software"]
    raw = record["arrays"]["raw"]
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="bold")

    def add(name: str, fact: str) -> None:
        facts.add_row(name, Text(fact))  # names and notes may look like markup

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
        from tvtasks.scores import QualityScores

        for name, fact in QualityScores(**quality).facts(image["units"]).items():
            add(name, fact)
    for note in record["notes"]:
        add("note", note)
    steps: list[RenderableType] = []
    for step in record["steps"]:
        parameters = ", ".join(f"{key} {_plain(value)}" for key, value in sorted(step["parameters"].items()))
        steps += [Text(), Text(step["name"], style="bold"), Text(f"  {parameters}")]
        if choice := step.get("choice"):
            from tvtasks.choosing import Choice

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
    """Return the measured quantity and the pixel size, in words."""
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
    """Lay out the status of an archive and its watch."""
    beat, overview = found.heartbeat, found.overview
    facts = _facts()
    facts.add_row("archive", str(found.archive))
    facts.add_row("watch", _life(found))
    if beat:
        observer = f" ({beat.pulse.observer} observer)" if beat.pulse.observer else ""
        facts.add_row("folder", f"{beat.options.folder}{observer}")
        facts.add_row("recipes", ", ".join(beat.options.recipes))
        if found.life == "alive":
            facts.add_row("dashboard", _dashboard(beat))
        if beat.free is not None and beat.total is not None:
            facts.add_row("disk", f"{amount(beat.free)} of {amount(beat.total)} are free")
    for standing in found.handed_on:
        facts.add_row("handed on", Text(f"{standing.action}: {standing.words}"))
    parts: list[RenderableType] = [facts]
    if overview:
        parts += [Text(), _counts(found, overview)]
        if overview.newest and found.newest_notes:
            head = f"  {moment(overview.newest.updated)}, {in_a_line(overview.newest.path.name)}:"
            parts += [Text(), Text.assemble(("newest", "bold"), head)]
            parts += [Padding(Text(note), (0, 0, 0, 2)) for note in found.newest_notes]
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


def unrestored(entries: Sequence[Entry]) -> RenderableType:
    """Lay out the files that were not restored, each with its reason."""
    if not entries:
        return Text("\nEvery file was restored.", style="green")
    parts: list[RenderableType] = [Text("\nNot restored:", style="bold")]
    for entry in entries:
        head = f"{in_a_line(entry.path.name)}  {entry.state}, {moment(entry.updated)}"
        parts += [Text(head), Padding(Text(entry.reason), (0, 0, 0, 2))]
    return Group(*parts)


def findings(found: Sequence[Finding]) -> RenderableType:
    """Lay out the findings of the doctor."""
    styles = {"ok": "green", "warn": "yellow", "fail": "red"}
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in found:
        text = Text(finding.sentence)
        if finding.advice:
            text.append(f"\n→ {finding.advice}", style="" if finding.level == "ok" else "bold")
        table.add_row(Text(finding.level, style=styles[finding.level]), finding.check, text)
    worst = [finding.level for finding in found]
    if "fail" in worst:
        verdict = Text("Fix the failed checks, then start the watch.", style="bold red")
    elif "warn" in worst:
        verdict = Text("A watch can work, but read the warnings.", style="yellow")
    else:
        verdict = Text("A watch can work.", style="green")
    return Group(table, Text(), verdict)


def _facts() -> Table:
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    return facts


def _life(found: Status) -> Text:
    beat = found.heartbeat
    if beat is None:
        return Text("no heartbeat found", style="yellow")
    if found.life == "stopped":
        assert beat.ended is not None
        return Text(f"stopped at {moment(beat.ended)}, {beat.who}")
    style = "green" if found.life == "alive" else "red"
    since = f"since {moment(beat.started)}" if found.life == "alive" else f"since {moment(_stalled(beat))}"
    return Text.assemble((str(found.life), style), f" {since}, {beat.who}")


def _stalled(beat: Heartbeat) -> datetime:
    """Return when the loop of a watch last turned."""
    return beat.written - timedelta(seconds=beat.since_turn)


def _dashboard(beat: Heartbeat) -> Text:
    if beat.server is None:
        return Text("none (--no-dashboard)")
    url = beat.server.url.removesuffix("/").removesuffix("/api")
    return Text(url) if beat.server.answers else Text.assemble(url, ("  does not answer", "red"))


def _counts(found: Status, overview: Overview) -> Table:
    """Lay out the number of files in each state, with remarks."""
    table = _facts()
    table.columns[1].justify = "right"
    table.add_column(overflow="fold")
    counts = overview.counts
    if found.heartbeat and found.life == "alive":
        table.add_row("settling", str(found.heartbeat.pulse.settling), "")
    remarks = {State.DONE: "", State.QUEUED: "", State.FAILED: ""}
    if overview.seconds_per_file is not None:
        remarks[State.DONE] = (
            f"{overview.done_last_hour} in the last hour, {overview.seconds_per_file:.2g} s each"
        )
    if waiting := overview.oldest_waiting:
        remarks[State.QUEUED] = f"the oldest since {moment(waiting.first_seen)}: {waiting.path.name}"
    if overview.next_retry:
        remarks[State.FAILED] = f"next attempt at {moment(overview.next_retry)}"
    for state, number in counts.items():
        if number or state not in {State.OVERWRITTEN, *UNRESTORED}:
            table.add_row(str(state), str(number), remarks.get(state, ""))
    return table


def _item(sentence: str) -> RenderableType:
    item = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    item.add_row("-", Text(sentence))
    return item
