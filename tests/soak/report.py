"""The report of a soak: a page in Markdown and a picture."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from tests.benchmarks.report import processor
from tests.soak.soak import Course, Plan
from tests.soak.verdict import LONG_LIVED, MOST_GROWTH, STARTING, Verdict

_HEAD = """\
# Soak

Written by `{command}` on {machine}. It lasted {minutes:.0f} minutes.

A replay microscope writes small scans in bursts, with every fault that it knows. `tvtasks watch` runs as a
process of its own and is killed (SIGKILL) after random amounts of work, sometimes just after it has started.
{disasters} At the end, the archive, the ledger and the watched folder are each counted.

**{result}**
"""


def write(out: Path, command: str, plan: Plan, course: Course, verdict: Verdict) -> None:
    """Write ``soak.md`` and ``soak.png`` into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "soak.md").write_text(markdown(command, plan, course, verdict), encoding="utf-8")
    plot(course, out / "soak.png")


def markdown(command: str, plan: Plan, course: Course, verdict: Verdict) -> str:
    """The page."""
    result = (
        "Every good file was restored exactly once, every bad one was named, and nothing in the watched "
        "folder was changed."
        if not verdict.faults
        else f"{len(verdict.faults)} faults were found; they are listed at the end."
    )
    lines = [
        _HEAD.format(
            command=command,
            machine=machine(),
            minutes=(course.ended - course.began) / 60,
            disasters=disasters(plan, course),
            result=result,
        ),
        "## Counts",
        "",
        "| what | number |",
        "|---|---|",
        f"| scans | {plan.files} |",
        f"| bursts of {plan.burst} | {-(-plan.files // plan.burst)} |",
        f"| kills | {course.kills} |",
        f"| times the watch ended by itself | {len(course.watch.exits)} |",
        *(f"| {name} | {number} |" for name, number in verdict.counts.items()),
        "",
        "## Fates of the scans",
        "",
        "| fate | scans |",
        "|---|---|",
        *(f"| {fate.replace('_', ' ')} | {number} |" for fate, number in course.manifest.fates.most_common()),
        "",
        "## Latencies",
        "",
        "For good files that waited while the watch was neither killed nor starting, and share, disk and "
        f"server were available. A file has settled {plan.rest:g} s after its last change. The second row "
        "reflects the length of the queue.",
        "",
        "| seconds | files | median | 95 % | 99 % | longest |",
        "|---|---|---|---|---|---|",
        _quantiles("from settled to queued", verdict.queueing),
        _quantiles("from queued to done", verdict.finishing),
        "",
        "## Memory",
        "",
        f"Growth of each process that lived longer than {(STARTING + LONG_LIVED) / 60:.0f} minutes, from the "
        f"first quarter of its life to the last, without its first {STARTING:.0f} s. The limit is "
        f"{MOST_GROWTH / 1e6:.0f} MB. Result: {_growth(verdict)}",
        "",
        "![Files and memory over time](soak.png)",
        "",
    ]
    if verdict.faults:
        lines += ["## Faults", "", *(f"- {fault}" for fault in verdict.faults), ""]
    return "\n".join(lines)


def disasters(plan: Plan, course: Course) -> str:
    """Return a sentence on the other disasters."""
    kinds = [outage.kind for outage in course.outages]
    found = []
    if number := kinds.count("share"):
        found.append(f"the watched folder disappeared {number} times for some seconds")
    if number := kinds.count("server"):
        found.append(f"the Prefect server was killed and restarted {number} time(s)")
    if "disk" in kinds:
        found.append(f"the archive's disk ({course.disk}) was full for half a minute")
    if number := kinds.count("archive"):
        found.append(f"the archive's disk was unmounted {number} time(s) under the watch")
    if course.lost:
        found.append(f"{course.lost} results were deleted, emptied or damaged")
    if plan.full_disk and not course.disk:
        found.append("no disk became full, because none could be mounted")
    if len(found) > 1:
        found = [f"{', '.join(found[:-1])} and {found[-1]}"]
    return f"Meanwhile, {found[0]}." if found else ""


def machine() -> str:
    """Processor, cores that may be used, and versions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{platform.system()}, {processor()}, {cores} core(s), Python {platform.python_version()}, "
        f"tvtasks {version('tvtasks')}, prefect {version('prefect')}, watchdog {version('watchdog')}"
    )


def plot(course: Course, path: Path) -> None:
    """Draw memory over time, a line for each process, with the kills and the outages."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    axes = figure.subplots()
    watch = course.watch
    for number in sorted({sample.process for sample in watch.samples}):
        own = [sample for sample in watch.samples if sample.process == number]
        minutes = [(sample.when - course.began) / 60 for sample in own]
        axes.plot(minutes, [sample.resident / 1e6 for sample in own], lw=1)
    kills = [(outage.begun - course.began) / 60 for outage in watch.outages if outage.kind == "kill"]
    axes.plot(kills, np.zeros(len(kills)), "kx", clip_on=False, label="killed")
    for color, kind in (("C0", "share"), ("C1", "server"), ("C3", "disk")):
        for number, outage in enumerate(outage for outage in course.outages if outage.kind == kind):
            begun, ended = ((when - course.began) / 60 for when in (outage.begun, outage.ended))
            label = None if number else f"without {kind}"
            axes.axvspan(begun, ended, color=color, alpha=0.3, label=label)
    axes.set(xlabel="minutes", ylabel="resident memory of the watch, MB")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)


def _quantiles(name: str, seconds: Sequence[float]) -> str:
    if not seconds:
        return f"| {name} | 0 | | | | |"
    values = np.percentile(seconds, [50, 95, 99, 100])
    return f"| {name} | {len(seconds)} | " + " | ".join(f"{value:.3f}" for value in values) + " |"


def _growth(verdict: Verdict) -> str:
    if not verdict.growth:
        return "no process lived that long."
    values = ", ".join(f"{size / 1e6:+.1f}" for size in verdict.growth.values())
    return f"{values} MB."
