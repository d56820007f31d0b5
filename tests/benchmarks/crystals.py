"""Compare denoising of crystals with other programs where the truth is known.

Run ``python -m tests.benchmarks.crystals`` from the checkout. Needs ``pip install -e '.[bench]'`` and, for
BM3D, ``pip install bm3d`` (free for research only, so it is in no extra); what is not installed is left out.
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"  # the libraries read this when they are imported

import argparse  # noqa: E402 - see above
import json  # noqa: E402
import time  # noqa: E402
import tracemalloc  # noqa: E402
from collections.abc import Iterable  # noqa: E402
from dataclasses import asdict, dataclass  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
from scipy.ndimage import shift  # noqa: E402
from scipy.special import ndtr, ndtri  # noqa: E402

from tests.benchmarks import crystals_families as scenes  # noqa: E402
from tests.benchmarks.crystals_peers import PEERS  # noqa: E402
from tvtasks.choosing.denoising import Denoised, denoise_auto  # noqa: E402
from tvtasks.choosing.stacks import denoise_stack  # noqa: E402
from tvtasks.solvers.features import FALSE_ALARMS, WIDTHS  # noqa: E402

GROUPS = {"tuned": scenes.SEEDS_TUNED, "held": scenes.SEEDS_HELD, "fresh": scenes.SEEDS_FRESH}
PARTS = ("families", "contrast", "dopants", "stacks", "noise", "cost")
DOSES = (2.0, 8.0)
DOPANT_DOSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_INTERVAL = 1.96


@dataclass(frozen=True)
class Line:
    """What came of one scene: dB by program, share of pixels within their interval of 95 %, seconds."""

    family: str
    seed: int
    method: str
    decibels: dict[str, float]
    coverage: float
    features: int
    seconds: float


def measured(scene: scenes.Scene, known: dict[str, float] | None) -> Line:
    """Denoise one scene by every program; `known` are figures of the others from before."""
    began = time.perf_counter()
    found = denoise_auto(scene.image)
    seconds = time.perf_counter() - began
    if known is None:
        known = {"raw": scenes.score(scene.image, scene.truth)}
        for name, peer in PEERS.items():
            try:
                known[name] = scenes.score(peer(scene.image, scene.gain, scene.offset), scene.truth)
            except ImportError:
                continue
    decibels = known | {"auto": scenes.score(found.image, scene.truth)}
    return Line(
        scene.family, scene.seed, found.method, decibels, coverage(found, scene.truth),
        int(found.evidence.get("features", 0)), seconds,
    )  # fmt: skip


def coverage(found: Denoised, truth: scenes.Array) -> float:
    """Share of pixels whose truth lies in the interval of 95 %; NaN where no errors are known."""
    if not np.isfinite(found.errors).all():
        return float("nan")
    return float(np.mean(np.abs(found.image - truth) <= _INTERVAL * found.errors))


def families(names: Iterable[str], seeds: Iterable[int], kept: Path | None) -> list[Line]:
    known = json.loads(kept.read_text("utf-8")) if kept and kept.exists() else {}
    lines = []
    for name in names:
        for seed in seeds:
            scene = scenes.scene(name, seed)
            line = measured(scene, known.get(scene.title))
            known[scene.title] = {k: v for k, v in line.decibels.items() if k != "auto"}
            lines.append(line)
            print(text_of(line), flush=True)
            if kept:
                kept.write_text(json.dumps(known), "utf-8")
    return lines


def text_of(line: Line) -> str:
    figures = "  ".join(f"{name} {value:5.1f}" for name, value in line.decibels.items())
    title = f"{line.family} {line.seed}"
    more = f"cover {line.coverage:.3f}  {line.features:3d} features  {line.seconds:4.1f} s"
    return f"{title:20s} {line.method:15s} {figures}  {more}"


def table(lines: list[Line]) -> str:
    """Return a Markdown table of medians, a line for each family."""
    programs = list(lines[0].decibels)
    head = [*programs, "less BM3D: median", "worst", "coverage: median", "least", "most"]
    out = ["| family | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for family in dict.fromkeys(line.family for line in lines):
        some = [line for line in lines if line.family == family]
        cells = [f"{np.median([s.decibels[p] for s in some]):.1f}" for p in programs]
        if "BM3D" in programs:
            more = [s.decibels["auto"] - s.decibels["BM3D"] for s in some]
            cells += [f"{np.median(more):+.1f}", f"{min(more):+.1f}"]
        else:
            cells += ["", ""]
        covered = [s.coverage for s in some if np.isfinite(s.coverage)] or [float("nan")]
        cells += [f"{f(covered):.3f}" for f in (np.median, min, max)]
        out.append(f"| {family} | " + " | ".join(cells) + " |")
    return "\n".join(out)


def contrast(seeds: Iterable[int], kinds: Iterable[str] = scenes.KINDS) -> str:
    """Return a table of the share of its contrast that each feature keeps."""
    out = ["| feature | dose | median | least | below .85 | of |", "|---|---|---|---|---|---|"]
    for kind in kinds:
        for dose in DOSES:
            shares: list[float] = []
            for seed in seeds:
                scene = scenes.featured(kind, dose, seed)
                kept = scenes.kept(denoise_auto(scene.image).image, scene)
                shares += kept
                if min(kept) < 0.85:
                    print(scene.title, seed, f"period {scene.period:.1f}", np.round(kept, 2), flush=True)
            low = sum(share < 0.85 for share in shares)
            out.append(
                f"| {kind} | {dose:g} | {np.median(shares):.3f} | {min(shares):.3f} | {low} | {len(shares)} |"
            )
            print(out[-1], flush=True)
    return "\n".join(out)


def dopants(seeds: Iterable[int]) -> str:
    """Return a table of dopants of +30 % by dose, beside what a matched filter at their known places sees.

    Of a dopant whose response is `s` standard deviations, a filter with a threshold of τ keeps all with the
    chance Φ(s − τ), and else nothing; τ is that of `find_features` at the sites of the lattice.
    """
    out = [
        "| dose | kept: median | a quarter keeps less than | response, σ | bound |",
        "|---|---|---|---|---|",
    ]
    for dose in DOPANT_DOSES:
        shares, responses, bounds = [], [], []
        for seed in seeds:
            scene = scenes.featured("dopant", dose, seed)
            shares += scenes.kept(denoise_auto(scene.image).image, scene)
            limit = -float(ndtri(FALSE_ALARMS / 4 / len(WIDTHS) * scene.period**2 / scene.image.size))
            for _, part in scene.features:
                response = float(np.sqrt(np.sum(part**2 / np.maximum(scene.truth - part, 1e-3))))
                responses.append(response)
                bounds.append(float(ndtr(response - limit)))
        figures = np.median(shares), np.quantile(shares, 0.25), np.median(responses), np.mean(bounds)
        out.append("| " + " | ".join([f"{dose:g}", *(f"{v:.2f}" for v in figures)]) + " |")
        print(out[-1], flush=True)
    return "\n".join(out)


def stacks(seeds: Iterable[int], number: int = 4) -> str:
    """Return a table of stacks of drifting frames beside other uses of the same frames, dB."""
    ways = ("stack", "one frame", "mean of frames, each denoised", "one frame of the whole dose")
    out = ["| seed | dose of a frame | " + " | ".join(ways) + " |", "|---" * (len(ways) + 2) + "|"]
    for seed in seeds:
        rng = np.random.default_rng([780, seed])
        dose, margin = float(np.exp(rng.uniform(np.log(0.5), np.log(4)))), 16
        wide = np.zeros((192 + 2 * margin,) * 2)
        scenes.render(wide, scenes.crystal(rng, period=(7, 20)), rng, missing=0.03)
        wide = dose * (wide + 3)
        drifts = np.cumsum(rng.normal(0, 1.5, (number, 2)), axis=0)
        drifts -= drifts[0]
        views = [shift(wide, d, order=3, mode="nearest")[margin:-margin, margin:-margin] for d in drifts]
        frames = np.stack([rng.poisson(np.maximum(view, 0)).astype(float) for view in views])
        found = denoise_stack(frames)
        (top, left), (rows, columns) = found.corner, found.denoised.image.shape
        inner = np.s_[top : top + rows, left : left + columns]
        each = [denoise_auto(frame).image for frame in frames]
        laid = [shift(u, -d, order=3, mode="nearest") for u, d in zip(each, found.drifts, strict=True)]
        long = denoise_auto(rng.poisson(np.maximum(number * views[0], 0)).astype(float)).image / number
        results = (each[0][inner], np.mean(laid, axis=0)[inner], long[inner])
        scores = [scenes.score(u, views[0][inner]) for u in (found.denoised.image, *results)]
        out.append(f"| {seed} | {dose:.1f} | " + " | ".join(f"{value:.1f}" for value in scores) + " |")
        print(out[-1], flush=True)
    return "\n".join(out)


def noise(number: int, first: int = 0) -> str:
    """Return a table of what is found in images of noise alone."""
    out = ["| noise | images | lattices | features | left of the noise |", "|---|---|---|---|---|"]
    for kind in scenes.NOISES:
        lattices, features, left = 0, 0, []
        for seed in range(first, first + number):
            image = scenes.noise_alone(kind, seed)
            found = denoise_auto(image)
            lattices += found.method == "lattice-mean"
            features += int(found.evidence.get("features", 0))
            left.append(float(np.std(found.image)) / float(np.std(image.astype(float))))
        out.append(f"| {kind} | {number} | {lattices} | {features} | {np.median(left):.3f} |")
        print(out[-1], flush=True)
    return "\n".join(out)


def cost(sides: Iterable[int] = (512, 1024), family: str = "low-dose STEM") -> str:
    """Return a table of seconds of one core, and of the most memory in images of the result's type."""
    denoise_auto(scenes.scene(family, 0).image)  # compiles
    out = ["| side | seconds | memory in images of float32 |", "|---|---|---|"]
    for side in sides:
        image = scenes.scene(family, 0, side).image.astype(np.float32)
        seconds = []
        for _ in range(3):
            began = time.process_time()
            denoise_auto(image)
            seconds.append(time.process_time() - began)
        tracemalloc.start()
        denoise_auto(image)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        out.append(f"| {side} | {min(seconds):.2f} | {most / image.nbytes:.1f} |")
        print(out[-1], flush=True)
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.crystals", description=__doc__)
    add = parser.add_argument
    add("--groups", nargs="+", default=["tuned"], choices=list(GROUPS), help="seeds that were used how")
    add("--seeds", type=int, default=12, help="of each group")
    add("--only", nargs="+", default=list(scenes.FAMILIES), metavar="FAMILY", help="families")
    add("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    add("--kinds", nargs="+", default=list(scenes.KINDS[:3]), choices=scenes.KINDS)
    add("--noises", type=int, default=20, help="images of noise of each kind")
    add("--peers", type=Path, help="file in which the figures of other programs are kept between runs")
    add("--out", type=Path, help="folder of the report")
    options = parser.parse_args()
    report, lines = [], []
    for group in options.groups:
        seeds = list(GROUPS[group])[: options.seeds]
        if "families" in options.parts:
            some = families(options.only, seeds, options.peers)
            lines += some
            report += [f"### Restored, {group} seeds, dB", "", table(some), ""]
        if "contrast" in options.parts:
            report += [f"### Contrast kept, {group} seeds", "", contrast(seeds, options.kinds), ""]
    if "dopants" in options.parts:
        report += ["### Dopants of +30 %", "", dopants(seeds[:3]), ""]
    if "stacks" in options.parts:
        report += ["### Stacks of four frames", "", stacks(seeds[:4]), ""]
    if "noise" in options.parts:
        report += ["### Noise alone", "", noise(options.noises), ""]
    if "cost" in options.parts:
        report += ["### Cost", "", cost(), ""]
    text = "\n".join(report)
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "crystals.md").write_text(text, encoding="utf-8")
        figures = json.dumps([asdict(line) for line in lines], indent=1)
        (options.out / "crystals.json").write_text(figures, encoding="utf-8")


if __name__ == "__main__":
    main()
