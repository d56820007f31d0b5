"""Rules for the λ of a background that were tried, against the best λ: why the one that is used is used.

``python -m tests.benchmarks.choosing_rules`` from the checkout; a minute on one core. The scans are those of
the comparison that have a lattice, without the fresh ones.
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse  # noqa: E402 - see above
from collections.abc import Mapping  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402

from tests.benchmarks.choosing import BACKGROUND, FILTERED, ROWS, score  # noqa: E402
from tests.benchmarks.families import SEEDS_HELD, SEEDS_TUNED, Sample, sample  # noqa: E402
from tvtasks import Gap, HuberROF, solve  # noqa: E402
from tvtasks.choosing import background, choose_background, with_lam  # noqa: E402
from tvtasks.choosing.spectrum import kappa_along, spectrum  # noqa: E402
from tvtasks.medians import median_filter  # noqa: E402
from tvtasks.operators import Array, Direction  # noqa: E402

FAMILIES = ("STM scratches", "drift")
TOLERATED = (0.05, 0.15, 0.3)
"""Part of the amplitude of the lattice's longest wave that the first rule gives up."""
CS = np.geomspace(1e-5, 4, 60)
USED = "lattice-spectrum, as used"


def rules(
    seen: Array, image: Array, direction: Direction, window: tuple[int, int] | None
) -> dict[str, float]:
    """Return c = αλ by each rule; `seen` is the image after the median filter that follows."""
    found = spectrum(seen)
    model = HuberROF(1.0, 0.05)
    used = model.alpha * choose_background(image, model, direction=direction, median=window).lam
    wave = found.peaks[0]
    kappa = float(kappa_along(np.array([wave.fy]), np.array([wave.fx]), direction)[0, 0])
    lattice = background._waves(found.peaks, direction)
    power = background._background(seen, found, direction)
    return {
        **{f"protect the longest wave, but for {part:.0%}": part / (1 - part) * kappa for part in TOLERATED},
        "spectral Wiener, g = 1": background._least(power, lattice, 1.0)[0],
        USED: used,
    }


def losses(item: Sample) -> dict[str, float]:
    """How many dB each rule loses against the best of 60 values."""
    model, direction = BACKGROUND[item.family]
    assert isinstance(model, HuberROF)
    unit = float(np.ptp(item.image))
    f = (item.image - item.image.min()) / unit
    window = ROWS if item.family in FILTERED else None

    def scored(c: float) -> float:
        u = solve(f, with_lam(model, c / model.alpha), direction=direction, stop=Gap(1e-3)).u
        return score((median_filter(f - u, *window) if window else f - u) * unit, item)

    cs = rules(median_filter(f, *window) if window else f, f, direction, window)
    found = {name: scored(max(c, 1e-12)) for name, c in cs.items()}
    best = max(*found.values(), *(scored(float(c)) for c in CS))
    return {name: best - value for name, value in found.items()}


def markdown(found: Mapping[str, list[dict[str, float]]]) -> str:
    """The table: median and worst loss in dB."""
    lines = [
        "# Rules for the λ of a background",
        "",
        "Written by `python -m tests.benchmarks.choosing_rules`: loss against the best λ of Huber-ROF in dB, "
        "median and worst of 12 scans of each family.",
        "",
        "| rule | " + " | ".join(found) + " |",
        "|---" * (len(found) + 1) + "|",
    ]
    for name in next(iter(found.values()))[0]:
        cells = [[loss[name] for loss in rows] for rows in found.values()]
        lines.append(f"| {name} | " + " | ".join(f"{np.median(c):.2f} ({max(c):.1f})" for c in cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.choosing_rules", description=__doc__)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="folder of the report")
    options = parser.parse_args()
    seeds = (*SEEDS_TUNED, *SEEDS_HELD)
    found = {name: [losses(sample(name, seed, options.side)) for seed in seeds] for name in FAMILIES}
    text = markdown(found)
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "choosing-rules.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
