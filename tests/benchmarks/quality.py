"""Restore scans whose sample is known, told nothing of them, and compare with what people do by hand.

``python -m tests.benchmarks.quality`` from the checkout, with ``pip install -e '.[bench]'``; half an hour on
one core. Writes ``quality.md``, ``quality.json`` and ``quality.png`` into the folder given.
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse  # noqa: E402 - see above
import json  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from collections.abc import Callable, Sequence  # noqa: E402
from dataclasses import asdict, dataclass, field  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402

from tests.benchmarks import hand  # noqa: E402
from tests.benchmarks.scenes import (  # noqa: E402
    FAMILIES,
    SEEDS_FRESH,
    SEEDS_HELD,
    SEEDS_TUNED,
    Scene,
    large_scene,
    scene,
)
from tests.benchmarks.scores import psnr, scores  # noqa: E402
from tvtasks import Micrograph, restore  # noqa: E402
from tvtasks.operators import Array  # noqa: E402
from tvtasks.restoration import Restoration  # noqa: E402

GROUPS = {"tuned": SEEDS_TUNED, "held": SEEDS_HELD, "fresh": SEEDS_FRESH}
_HARM = 0.2  # dB below raw that counts as worse
_SAME = 0.5  # dB below raw that a scan without faults may lose


@dataclass(frozen=True)
class Row:
    """What came of one scan.

    Attributes
    ----------
    raw, ours, hand
        PSNR in dB of the scan, of ours, and of the best that is done by hand (its setting chosen on the tuned
        seeds of the family).
    clean_raw, clean
        PSNR of the same scan without its faults, raw and restored.
    ideal
        PSNR of the scan with its faults taken away exactly and its noise left.
    alone
        What is gained on the scan with one of its faults alone, in dB, by fault.
    """

    family: str
    seed: int
    group: str
    shape: tuple[int, int]
    raw: float
    ours: float
    ideal: float
    clean_raw: float
    clean: float
    step: float | None
    lattice: float | None
    position: float | None
    halo: float | None
    taken: list[str]
    taken_from_clean: list[str]
    seconds: float
    hand: float = float("nan")
    alone: dict[str, float] = field(default_factory=dict)


@dataclass
class Comparison:
    """All rows, and the settings of what is done by hand, by family."""

    rows: list[Row] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)


def told(image: Array, item: Scene, *, technique: bool = True) -> Restoration:
    """Restore a scan as the program does, told the technique at most."""
    return restore(Micrograph(image, technique=item.technique if technique else None), "auto")


def taken(found: Restoration) -> list[str]:
    """The parts that were taken out."""
    decisions = [one for step in found.steps for one in step.evidence.get("decisions", ())]
    return [one["part"] for one in decisions if one["taken"]]


def one(item: Scene, group: str) -> Row:
    """Restore one scan, with and without its faults."""
    raw, clean = item.image, item.clean
    began = time.process_time()
    found = told(raw, item)
    seconds = time.process_time() - began
    spared = told(clean, item)
    marks = scores(found.flat, raw, item)
    alone = {}
    if len(item.faults) > 1 and item.seed % 4 == 0:  # every one takes as long as the scan
        for fault in item.faults:
            image = item.with_faults((fault,))
            alone[fault] = psnr(told(image, item).restored, item) - psnr(image, item)
    return Row(
        item.family,
        item.seed,
        group,
        (raw.shape[0], raw.shape[1]),
        marks.raw,
        psnr(found.restored, item),
        psnr(item.sample + item.noise, item),
        psnr(clean, item),
        psnr(spared.restored, item),
        marks.step,
        marks.lattice,
        marks.position,
        marks.halo,
        taken(found),
        taken(spared),
        seconds,
        alone=alone,
    )


def by_hand(items: dict[int, Scene], tuned: Sequence[int]) -> tuple[str, dict[int, float]]:
    """The combination with the best median on the tuned seeds of a family, and its scores on all."""
    first = next(iter(items.values()))
    ways: dict[str, Callable[[Array], Array]] = dict(hand.counts() if first.counts else hand.heights())
    medians = {
        name: np.median([psnr(run(items[seed].image), items[seed]) for seed in tuned])
        for name, run in ways.items()
    }
    best = max(medians, key=lambda name: medians[name])
    return best, {seed: psnr(ways[best](item.image), item) for seed, item in items.items()}


def run(groups: dict[str, Sequence[int]], families: Sequence[str], largest: int) -> Comparison:
    """Score everything."""
    found = Comparison()
    for family in families:
        items = {seed: scene(family, seed, largest) for seeds in groups.values() for seed in seeds}
        name, best = by_hand(items, [s for s in groups.get("tuned", ()) if s in items] or list(items))
        found.settings[family] = name
        for group, seeds in groups.items():
            for seed in seeds:
                row = one(items[seed], group)
                found.rows.append(Row(**{**vars(row), "hand": best[seed]}))
        mine = [row for row in found.rows if row.family == family]
        print(
            family,
            f"raw {np.median([r.raw for r in mine]):.1f}",
            f"ours {np.median([r.ours for r in mine]):.1f}",
            f"hand {np.median([r.hand for r in mine]):.1f}",
            flush=True,
        )
    return found


_HEAD = """\
# What is kept of the sample

Written by `python -m tests.benchmarks.quality {arguments}`:
{number} synthetic scans of seven families (128 to {largest}
pixels a side, never square; `tests/benchmarks/scenes.py`), restored by the recipe `auto`,
which is told the image and the technique. The truth is the sample with its heights. The score is the PSNR
in dB, the error freed of a plane (counts: of a constant). *By hand* is the best of all combinations of plane,
or quadric, five ways to align lines, and Gwyddion's scars, for counts of scars and NLM or TV on the
Anscombe scale: the setting with the best median on the tuned seeds of the family, which a user does not know.
*Ideal* has the faults taken away exactly and the noise left. {groups}
"""
_ABOUT = {
    "tuned": "The *tuned* seeds chose the constants of the rules.",
    "held": "The *held* seeds did not.",
    "fresh": "The *fresh* seeds were looked at once, at the end.",
}


def markdown(found: Comparison, largest: int) -> str:
    """The tables."""
    groups = {row.group for row in found.rows}
    about = " ".join(words for group, words in _ABOUT.items() if group in groups)
    seeds = max(Counter((row.family, row.group) for row in found.rows).values(), default=0)
    shown = ",".join(group for group in GROUPS if group in groups)
    arguments = f"--groups {shown} --seeds {seeds} --largest {largest}"
    lines = [_HEAD.format(arguments=arguments, number=len(found.rows), largest=largest, groups=about)]
    for group in GROUPS:
        rows = [row for row in found.rows if row.group == group]
        if not rows:
            continue
        lines += [
            f"\n## {group.capitalize()} seeds\n",
            "| family | raw | by hand | ours (worst) | over by hand | ideal | worse than raw "
            "| without faults: median (worst) change | within .5 dB | step error | lattice kept | halo |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        for family in FAMILIES:
            mine = [row for row in rows if row.family == family]
            if not mine:
                continue
            gain = [row.ours - row.raw for row in mine]
            spared = [row.clean - row.clean_raw for row in mine]
            lines.append(
                f"| {family} | {_median(r.raw for r in mine)} | {_median(r.hand for r in mine)} "
                f"| {_median(r.ours for r in mine)} ({min(r.ours for r in mine):.1f}) "
                f"| {np.median([r.ours - r.hand for r in mine]):+.1f} | {_median(r.ideal for r in mine)} "
                f"| {sum(g < -_HARM for g in gain)} of {len(gain)} "
                f"| {np.median(spared):+.2f} ({min(spared):+.2f}) "
                f"| {np.mean([s >= -_SAME for s in spared]):.0%} "
                f"| {_percent(abs(r.step) for r in mine if r.step is not None)} "
                f"| {_percent(r.lattice for r in mine if r.lattice is not None)} "
                f"| {_percent(r.halo for r in mine if r.halo is not None)} |"
            )
    lines += ["\n## One fault alone\n", "Median (worst) gain in dB, all seeds.\n"]
    faults = sorted({fault for row in found.rows for fault in row.alone})
    lines += [f"| family | {' | '.join(faults)} |", f"|---|{'---|' * len(faults)}"]
    for family in FAMILIES:
        mine = [row for row in found.rows if row.family == family and row.alone]
        if mine:
            cells = []
            for fault in faults:
                gains = [row.alone[fault] for row in mine if fault in row.alone]
                cells.append(f"{np.median(gains):+.1f} ({min(gains):+.1f})" if gains else "")
            lines.append(f"| {family} | {' | '.join(cells)} |")
    lines += ["\n## By hand\n", *(f"- {family}: {name}" for family, name in found.settings.items()), ""]
    return "\n".join(lines)


def _median(values: object) -> str:
    return f"{np.median(list(values)):.1f}"  # type: ignore[call-overload]


def _percent(values: object) -> str:
    found = list(values)  # type: ignore[call-overload]
    return f"{np.median(found):.1%}" if found else ""


def plot(found: Comparison, path: Path) -> None:
    """Draw what each scan gained, ours against by hand."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    families = [family for family in FAMILIES if any(row.family == family for row in found.rows)]
    figure, axes = plt.subplots(
        1, len(families), figsize=(2.6 * len(families), 3), sharey=True, squeeze=False
    )
    colours = {"tuned": "tab:blue", "held": "tab:orange", "fresh": "tab:green"}
    for axis, family in zip(axes[0], families, strict=True):
        for group, colour in colours.items():
            mine = [row for row in found.rows if row.family == family and row.group == group]
            axis.scatter(
                [r.hand - r.raw for r in mine], [r.ours - r.raw for r in mine], 9, colour, label=group
            )
        ends = [min(axis.get_xlim()[0], 0), max(axis.get_xlim()[1], 1)]
        axis.plot(ends, ends, "k", lw=0.5)
        axis.axhline(0, color="k", lw=0.5, ls=":")
        axis.set_title(family, fontsize=8)
        axis.set_xlabel("by hand, dB over raw", fontsize=7)
    axes[0, 0].set_ylabel("ours, dB over raw", fontsize=7)
    axes[0, 0].legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Run, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs/benchmarks"))
    parser.add_argument("--groups", default="tuned,held,fresh", help="tuned, held, fresh; several by commas")
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--largest", type=int, default=512, help="longest side in pixels, at least 160")
    parser.add_argument("--seeds", type=int, default=12, help="of each group and family")
    parser.add_argument(
        "--large", action="store_true", help="time one scan of 1,024 × 768 of each family as well"
    )
    given = parser.parse_args()
    groups = {name: list(GROUPS[name])[: given.seeds] for name in given.groups.split(",")}
    families = [family for family in FAMILIES if family in given.families.split(",")]
    found = run(groups, families, given.largest)
    if given.large:
        found.rows += [one(large_scene(family, 0), "large") for family in families]
    given.folder.mkdir(parents=True, exist_ok=True)
    (given.folder / "quality.json").write_text(json.dumps(asdict(found), indent=1) + "\n")
    (given.folder / "quality.md").write_text(markdown(found, given.largest))
    plot(found, given.folder / "quality.png")


if __name__ == "__main__":
    main()
