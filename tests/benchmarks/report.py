"""The Markdown table and the picture."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.benchmarks.cases import Case
from tests.benchmarks.measure import OWN_STOP, TARGETS, Result, Size
from tests.benchmarks.watch import BEYOND

_PACKAGES = ("tvtasks", "numpy", "scipy", "numba", "scikit-image", "pyproximal", "pylops", "odl")

_HEAD = """\
# Benchmarks

Written by `python -m tests.benchmarks`; all times come from one run of it, on one machine: {machine}.

Seconds until the objective is within the given part of the minimum, for {side}×{side} pixels in [0, 1],
in one thread but for one row, after compilation. In brackets, how many times longer than the first row; for
the own stop, than the second to 1e-4. Medians of three runs, single runs above 10 s. "> {budget:g} s": not
reached.

- *First within*: our iteration, stopped when the target is first met, tried in steps of 5 %. No user can know
  it then, but the other programs are timed in this way. *Proven*: the whole call
  `solve(image, model, stop=Gap(target))`, which certifies the target itself, as users have it.
  The image is given in float32, as instruments measure.
- The others work on the same image in float64. Their objective is looked at after each 5 % more iterations
  (scikit-image: 20 %), with the clock stopped. PyProximal and ODL have our steps for Huber-ROF
  with α > 0 and τ = 0.01 otherwise; ODL accelerates plain ROF.
- *Published iteration*: that of the paper with sparse matrices, as users have it today. *Own stop*: time and
  excess where its rule, an RMSE below 5e-6 between two iterates, stops it. "≈": its iterations were counted
  by making them with our compiled kernels, and multiplied by the time that one of its own takes.
- The minimum is that of our solver in float64; *gap* is the proven bound on its relative error."""


def markdown(
    results: Sequence[Result],
    sizes: dict[Case, list[Size]],
    speed: str,
    notes: Sequence[str],
    side: int,
    budget: float,
) -> str:
    """The whole report."""
    lines = [
        _HEAD.format(machine=machine(), side=side, budget=budget),
        *(f"- {note}" for note in notes),
        "",
        "| case | program | " + " | ".join(f"to {target:.0e}" for target in TARGETS) + " | own stop |",
        "|---" * (len(TARGETS) + 3) + "|",
    ]
    for result in results:
        ours = result.rows[0].seconds
        name = f"{result.case.title}<br>{result.method}; gap {result.gap:.0e}"
        for row in result.rows:
            base = ours if row is not result.rows[0] else [None] * len(ours)
            cells = [_cell(*pair, budget) for pair in zip(row.seconds, base, strict=True)]
            own = "–"
            if row.own_stop:
                seconds, excess = row.own_stop
                proven = result.rows[1].seconds[TARGETS.index(1e-4)]
                own = f"{_cell(seconds, proven, max(budget, OWN_STOP))}, excess {excess:.1e}"
            lines.append(f"| {name} | {row.solver} | {' | '.join(cells)} | {own} |")
            name = ""
    lines += ["", "## Time against size", ""]
    lines += ["| case | pixels | tvtasks, proven 1e-4 | published, own stop |", "|---|---|---|---|"]
    for case, rows in sizes.items():
        for size in rows:
            cells = f"{_cell(size.ours, None, budget)} | {_cell(size.today, size.ours, budget)}"
            lines.append(f"| {case.title} | {size.pixels} | {cells} |")
    return "\n".join([*lines, "", "![Times](benchmarks.png)", "", "## Speed of one iteration", "", speed, ""])


def _cell(seconds: float, ours: float | None, budget: float) -> str:
    """Seconds and the ratio to ours, both lower bounds where the budget ended."""
    bound = "> " if seconds == BEYOND else "≈ " if seconds > budget else ""
    seconds = min(seconds, budget) if seconds == BEYOND else seconds
    if ours is None or ours == BEYOND:
        return f"{bound}{seconds:.3g} s"
    ratio = seconds / ours
    return f"{bound}{seconds:.3g} s ({bound}{ratio:.{0 if ratio >= 10 else 1}f}×)"


def processor() -> str:
    """What the processor calls itself."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    return model


def machine() -> str:
    """Processor, cores and versions."""
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {', '.join(versions)}"


def plot(results: Sequence[Result], sizes: dict[Case, list[Size]], path: Path) -> None:
    """Draw time to 1e-4 by case and program, and time against size; what was not reached is left out."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    target = TARGETS.index(1e-4)
    solvers = dict.fromkeys(row.solver for result in results for row in result.rows)
    for marker, solver in zip("os^Dv*P"[: len(solvers)], solvers, strict=True):
        points = [
            (row.seconds[target], place)
            for place, result in enumerate(results)
            for row in result.rows
            if row.solver == solver and row.seconds[target] < BEYOND
        ]
        if points:
            left.plot(*zip(*points, strict=True), marker, label=solver, alpha=0.8)
    left.set_yticks(range(len(results)), [result.case.title for result in results])
    left.invert_yaxis()
    left.set(xscale="log", xlabel="seconds to 1e-4 above the minimum")
    for number, (case, rows) in enumerate(sizes.items()):
        for style, name in (("o-", "ours"), ("s--", "today")):
            points = [(size.pixels, getattr(size, name)) for size in rows if getattr(size, name) < BEYOND]
            label = f"{case.title}, {'proven 1e-4' if name == 'ours' else 'published, own stop'}"
            if points:
                right.plot(*zip(*points, strict=True), style, color=f"C{number}", label=label)
    right.set(xscale="log", yscale="log", xlabel="pixels", ylabel="seconds")
    for axes, columns in ((left, 2), (right, 1)):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, ncols=columns, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    figure.savefig(path, dpi=120)
