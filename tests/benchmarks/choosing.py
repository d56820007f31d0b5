"""Restore 48 synthetic scans, and 24 fresh ones, with λ chosen, by the paper's settings and by others.

``python -m tests.benchmarks.choosing`` from the checkout, with ``pip install -e '.[bench]'``; half an hour on
one core. Writes a table and a picture into the folder given. BM3D is in none of our extras, as its licence is
for non-commercial use; it takes part where it is installed.
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse  # noqa: E402 - see above
import json  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterable, Sequence  # noqa: E402
from dataclasses import asdict, dataclass, field  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from scipy.ndimage import median_filter  # noqa: E402

from tests.benchmarks import rivals  # noqa: E402
from tests.benchmarks.families import (  # noqa: E402
    FAMILIES,
    SEEDS_FRESH,
    SEEDS_HELD,
    SEEDS_TUNED,
    Sample,
    sample,
)
from tvtasks import TVL1, Gap, HuberROF, solve  # noqa: E402
from tvtasks.choosing import Choice, choose_background, choose_denoise, with_lam  # noqa: E402
from tvtasks.models import Model  # noqa: E402
from tvtasks.operators import Array, Direction  # noqa: E402

ROWS = (3, 1)  # the median filter of the paper
FILTERED = ("STM scratches", "drift", "charging SEM")  # as the presets for them
BACKGROUND: dict[str, tuple[Model, Direction]] = {
    "STM scratches": (HuberROF(0.05, 0.05), "x"),
    "drift": (HuberROF(0.5, 0.05), "both"),
    "charging SEM": (TVL1(0.01), "x"),
}
DENOISE: dict[str, Model] = {"charging SEM": HuberROF(4.0, 0.0), "low-dose STEM": HuberROF(4.0, 0.05)}
STOP = Gap(1e-3)
OURS, ORACLE, PAPER = "tvtasks, chosen λ", "tvtasks, best λ", "paper, published code"
_COLOURS = {"tuned": "tab:blue", "held": "tab:orange", "fresh": "tab:green"}
Results = dict[str, dict[int, dict[str, float]]]  # family → seed → method → dB


def score(restored: Array, truth: Sample) -> float:
    """PSNR in dB, up to a constant."""
    error = np.std(restored - truth.truth)
    return float(20 * np.log10(np.ptp(truth.truth) / error))


def ours(item: Sample) -> tuple[float, float, list[Choice], tuple[float, float]]:
    """Score with λ chosen and with the best λ; the choices; seconds of choosing and of restoring."""
    low, unit = item.image.min(), float(np.ptp(item.image))
    f = (item.image - low) / unit
    post = _median if item.family in FILTERED else _same
    choices: list[Choice] = []
    choosing = restoring = 0.0

    def timed(make: Callable[[], Choice]) -> Choice:
        nonlocal choosing
        began = time.process_time()
        choices.append(make())
        choosing += time.process_time() - began
        return choices[-1]

    flats = [f]
    if item.family in BACKGROUND:
        model, direction = BACKGROUND[item.family]
        window = ROWS if item.family in FILTERED else None
        choice = timed(lambda: choose_background(f, model, direction=direction, median=window))
        lams = [choice.lam, *_around(model, direction)]
        flats = []
        for lam in lams:
            began = time.process_time()
            flats.append(f - solve(f, with_lam(model, lam), direction=direction, stop=STOP).u)
            restoring += (time.process_time() - began) * (len(flats) == 1)
    scores = [score(post(flat) * unit, item) for flat in flats]
    if item.family not in DENOISE:
        return scores[0], max(scores), choices, (choosing, restoring)
    denoiser = DENOISE[item.family]
    window = ROWS if item.family in FILTERED else None
    choice = timed(lambda: choose_denoise(flats[0], denoiser, median=window))
    scores_then = []
    for flat in dict.fromkeys((0, int(np.argmax(scores)))):
        for lam in (choice.lam, *(choice.lam * 1.3**k for k in range(-4, 5) if k)):
            began = time.process_time()
            u = solve(post(flats[flat]), with_lam(denoiser, lam), stop=STOP).u
            restoring += (time.process_time() - began) * (not scores_then)
            scores_then.append(score(u * unit, item))
    return scores_then[0], max(scores_then), choices, (choosing, restoring)


def _around(model: Model, direction: Direction) -> Iterable[float]:
    if isinstance(model, HuberROF):
        return np.geomspace(1e-5, 4, 60) / model.alpha
    return np.geomspace(2e-3, 1, 40)


def _median(image: Array) -> Array:
    return np.asarray(median_filter(image, ROWS))


def _same(image: Array) -> Array:
    return image


@dataclass
class Comparison:
    """Scores by family, seed and method, and what is told beside them."""

    scores: Results = field(default_factory=dict)
    tuned: tuple[int, ...] = ()
    fresh: tuple[int, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    fallbacks: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def run(
    side: int,
    tuned: Sequence[int],
    held: Sequence[int],
    fresh: Sequence[int],
    save: Callable[[Comparison], None],
) -> None:
    """Score everything; each rival has the setting with the best median on the tuned seeds of a family.

    `save` is called whenever a family, or a rival on all of them, is done.
    """
    others, missing = rivals.installed()
    found = Comparison(tuned=tuple(tuned), fresh=tuple(fresh), missing=missing)
    samples = {family: {s: sample(family, s, side) for s in (*tuned, *held, *fresh)} for family in FAMILIES}
    for family, items in samples.items():
        table: dict[int, dict[str, float]] = {seed: {} for seed in items}
        found.scores[family], found.seconds[family] = table, []
        for seed, item in items.items():
            auto, best, choices, seconds = ours(item)
            table[seed] |= {OURS: auto, ORACLE: best, PAPER: score(rivals.paper(item.image, family), item)}
            found.seconds[family].append(seconds)
            found.fallbacks += [f"{item.title}: {choice.reason}" for choice in choices if choice.fell_back]
            print(item.title, {name: round(value, 2) for name, value in table[seed].items()}, flush=True)
        save(found)
    for rival in others:
        for family, items in samples.items():
            options, scores = _tuned(rival, items, tuned)
            found.settings[f"{family}, {rival.name}"] = ", ".join(f"{k} {v}" for k, v in options.items())
            for seed, value in scores.items():
                found.scores[family][seed][rival.name] = value
        print(rival.name, flush=True)
        save(found)


def _tuned(
    rival: rivals.Rival, items: dict[int, Sample], tuned: Sequence[int]
) -> tuple[dict[str, Any], dict[int, float]]:
    def scores(options: dict[str, Any], seeds: Iterable[int]) -> dict[int, float]:
        return {seed: score(rival.run(items[seed].image, **options), items[seed]) for seed in seeds}

    tried = [scores(options, tuned) for options in rival.options]
    best = int(np.argmax([np.median(list(found.values())) for found in tried]))
    options = rival.options[best]
    return options, tried[best] | scores(options, [seed for seed in items if seed not in tuned])


_HEAD = """\
# How well λ is chosen

Written by `python -m tests.benchmarks.choosing`: {number} synthetic scans of {side}×{side} pixels whose truth
is known, of four families, at scales drawn at random (`tests/benchmarks/families.py`). A third of the seeds
({tuned}) were used to tune our rules and the settings of the other filters; a third (*held*) was not, but had
been looked at before the rules were finished; the *fresh* third ({fresh}) was drawn for this run
and seen once.

The score is the PSNR in dB against what a perfect restoration shows, up to a constant: the lattice with its
defects (STM scratches, drift), the particles (SEM), the expected counts (STEM). Whole restorations, terraces
among them, are compared in quality.md: a step belongs to the sample, so no λ that flattens it is right. Every
other filter has, for each family, the setting with the best median on the tuned third, which a
user does not know; denoisers may have the lines aligned first."""


def markdown(found: Comparison, side: int) -> str:
    """The tables."""
    lines = [
        _HEAD.format(
            number=sum(len(table) for table in found.scores.values()),
            side=side,
            tuned=", ".join(map(str, found.tuned)),
            fresh=", ".join(map(str, found.fresh)),
        ),
        "",
    ]
    lines += _scores("Median, and worst, of tuned and held scans, in dB", found, fresh=False)
    if found.fresh:
        lines += _scores("The same of the fresh scans", found, fresh=True)
    lines += ["## Loss of the chosen λ against the best λ of the same model, in dB", ""]
    lines += ["Median, and worst. In the last columns, how often it is better than the paper's settings.", ""]
    lines += ["| family | tuned | held | fresh | better, tuned and held | better, fresh |", "|---" * 6 + "|"]
    for family in (*found.scores, "all"):
        rows = [
            (seed, row[ORACLE] - row[OURS], row[OURS] > row[PAPER])
            for name, table in found.scores.items()
            if family in (name, "all")
            for seed, row in table.items()
        ]
        parts: dict[str, list[float]] = {"tuned": [], "held": [], "fresh": []}
        for seed, loss, _ in rows:
            parts[_part(found, seed)].append(loss)
        cells = " | ".join(f"{np.median(p):.2f} ({max(p):.2f})" if p else "–" for p in parts.values())
        wins = [
            [better for seed, _, better in rows if (_part(found, seed) == "fresh") is fresh]
            for fresh in (False, True)
        ]
        lines.append(f"| {family} | {cells} | " + " | ".join(f"{sum(w)} of {len(w)}" for w in wins) + " |")
    lines += ["", "## What choosing costs", "", "Seconds of processor time, medians, and their ratio.", ""]
    lines += ["| family | choosing | restoring once | ratio |", "|---|---|---|---|"]
    for family, times in found.seconds.items():
        choosing, restoring = (float(np.median(column)) for column in zip(*times, strict=True))
        lines.append(
            f"| {family} | {choosing * 1e3:.0f} ms | {restoring * 1e3:.0f} ms | {choosing / restoring:.1f} |"
        )
    lines += ["", "## Settings that were best on the tuned third", ""]
    lines += [f"- {name}: {setting}" for name, setting in found.settings.items() if setting]
    if found.fallbacks:
        lines += ["", "## Where nothing was chosen", "", *(f"- {reason}" for reason in found.fallbacks)]
    if found.missing:
        lines += ["", f"Not installed, and so not in the tables: {', '.join(found.missing)}."]
    return "\n".join(lines) + "\n"


def _part(found: Comparison, seed: int) -> str:
    return "tuned" if seed in found.tuned else "fresh" if seed in found.fresh else "held"


def _scores(title: str, found: Comparison, *, fresh: bool) -> list[str]:
    lines = [f"## {title}", ""]
    lines += ["| method | " + " | ".join(found.scores) + " |", "|---" * (len(found.scores) + 1) + "|"]
    for method in next(iter(next(iter(found.scores.values())).values())):
        cells = [
            [row[method] for seed, row in table.items() if (seed in found.fresh) is fresh]
            for table in found.scores.values()
        ]
        lines.append(
            f"| {method} | " + " | ".join(f"{np.median(c):.1f} ({min(c):.1f})" for c in cells) + " |"
        )
    return [*lines, ""]


def plot(found: Comparison, path: Path) -> None:
    """Draw every scan's score, less that of the best λ of our model, by method and family."""
    import matplotlib.pyplot as plt

    methods = [m for m in next(iter(next(iter(found.scores.values())).values())) if m != ORACLE]
    figure, axes = plt.subplots(1, len(found.scores), figsize=(15, 4.5), sharey=True, layout="constrained")
    for axis, (family, table) in zip(np.atleast_1d(axes), found.scores.items(), strict=True):
        for place, method in enumerate(methods):
            for seed, row in table.items():
                colour = _COLOURS[_part(found, seed)]
                axis.plot(row[method] - row[ORACLE], place, "o", color=colour, alpha=0.6, markersize=4)
            middle = np.median([row[method] - row[ORACLE] for row in table.values()])
            axis.plot([middle, middle], [place - 0.35, place + 0.35], color="black", linewidth=2)
        axis.axvline(0, color="grey", linewidth=0.8)
        axis.set(title=family, xlabel="dB against our model's best λ", yticks=range(len(methods)))
        axis.set_yticklabels(methods)
        axis.invert_yaxis() if axis is np.atleast_1d(axes)[0] else None
    figure.suptitle(
        "blue: seeds that were tuned on; orange: held out; green: fresh, seen once; bar: median", fontsize=9
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.choosing", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small scans, three seeds: does everything run?")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="folder of the report")
    options = parser.parse_args()
    side, seeds = (96, ([0], [6], [12])) if options.quick else (256, (SEEDS_TUNED, SEEDS_HELD, SEEDS_FRESH))
    options.out.mkdir(parents=True, exist_ok=True)

    def save(found: Comparison) -> None:
        (options.out / "choosing.md").write_text(markdown(found, side), encoding="utf-8")
        (options.out / "choosing.json").write_text(json.dumps(asdict(found), indent=1), encoding="utf-8")
        plot(found, options.out / "choosing.png")

    run(side, *seeds, save)


if __name__ == "__main__":
    main()
