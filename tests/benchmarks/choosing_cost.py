"""What choosing λ costs, for each model, direction and size, beside the restoration that it is chosen for.

``python -m tests.benchmarks.choosing_cost`` from the checkout; seven minutes on one core. Processor time, the
least of several runs. The bars: a background is chosen in at most 50 ms at 512×512, and denoising in at most
three times the restoration, which is the step as a recipe runs it, with its usual stop.
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse  # noqa: E402 - see above
import json  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterator, Sequence  # noqa: E402
from dataclasses import asdict, dataclass  # noqa: E402
from functools import lru_cache  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402

from tests.benchmarks.families import sample  # noqa: E402
from tvtasks import TGVL1, TVL1, Gap, HuberROF, solve  # noqa: E402
from tvtasks.choosing import Choice, choose_background, choose_denoise, with_lam  # noqa: E402
from tvtasks.medians import median_filter  # noqa: E402
from tvtasks.models import Model  # noqa: E402
from tvtasks.operators import Array, Direction  # noqa: E402

SIDES = (256, 512, 1024)
BACKGROUND_MS = 50.0  # at 512×512
DENOISE_RATIO = 3.0
_SMALL = 64
_ENOUGH = 0.6  # seconds for each figure
ROWS = (3, 1)


@dataclass(frozen=True)
class Cost:
    """Milliseconds of processor time for one image."""

    step: str
    model: str
    direction: str
    image: str
    median: bool
    side: int
    rule: str
    choosing: float
    restoring: float

    @property
    def ratio(self) -> float:
        return self.choosing / self.restoring


def least(call: Callable[[], object]) -> float:
    """Milliseconds of processor time of a call, the least of several."""
    found: list[float] = []
    while len(found) < 2 or (sum(found) < _ENOUGH and len(found) < 25):
        if found and found[0] > 2 * _ENOUGH:
            break
        began = time.process_time()
        call()
        found.append(time.process_time() - began)
    return 1e3 * min(found)


@lru_cache(maxsize=16)
def image(kind: str, side: int) -> Array:
    """A scan of a family in [0, 1] and float32, as a restoration works on it; 'spiked' STEM has outliers."""
    rng = np.random.default_rng(0)
    f = sample("low-dose STEM" if "STEM" in kind else kind, 1, side).image
    f = (f - f.min()) / np.ptp(f)
    if kind == "spiked STEM":
        f = np.where(rng.random(f.shape) < 0.02, rng.choice([0.0, 1.0], f.shape), f)
    return np.asarray(f, np.float32)


def named(model: Model) -> str:
    if isinstance(model, HuberROF):
        return "Huber-ROF" if model.alpha else "ROF"
    return "TV-L1" if isinstance(model, TVL1) else "TGV-L1"


def _cases() -> Iterator[tuple[str, Model, Direction, str, bool]]:
    for model in (HuberROF(0.5, 0.05), TVL1(0.2), TGVL1(0.2)):
        for direction in ("both", "x", "y"):
            for kind in ("STM scratches", "charging SEM") if direction != "both" else ("drift",):
                for median in (False, True):
                    yield "background", model, direction, kind, median  # type: ignore[misc]
    for model in (HuberROF(4.0, 0.05), HuberROF(4.0, 0.0), TVL1(1.0), TGVL1(1.5)):
        for direction, kind, median in (
            ("both", "STEM", False),
            ("both", "STEM", True),
            ("both", "spiked STEM", False),
            ("both", "charging SEM", False),
            ("x", "STEM", False),
        ):
            yield "denoise", model, direction, kind, median  # type: ignore[misc]


def measure(step: str, model: Model, direction: Direction, kind: str, median: bool, side: int) -> Cost:
    """Time the choice and the restoration by it."""
    f, window = image(kind, side), ROWS if median else None
    stop = Gap(1e-3) if isinstance(model, TGVL1) else Gap()  # as in the presets
    choose = choose_background if step == "background" else choose_denoise

    def choice() -> Choice:
        return choose(f, model, direction=direction, median=window)

    found = choice()

    def restoration() -> object:
        seen = median_filter(f, *ROWS) if median and step == "denoise" else f
        u = solve(seen, with_lam(model, found.lam), direction=direction, stop=stop).u
        return median_filter(f - u, *ROWS) if median and step == "background" else u

    return Cost(
        step, named(model), direction, kind, median, side, found.rule, least(choice), least(restoration)
    )


_HEAD = """\
# What choosing λ costs

Written by `python -m tests.benchmarks.choosing_cost`: milliseconds of processor time for choosing, and for
the restoration it is chosen for (one step with its usual stop and its median filter), and their ratio."""


def markdown(costs: Sequence[Cost]) -> str:
    """The table, each model, direction and kind of image in a row, the sizes beside each other."""
    sides = sorted({cost.side for cost in costs})
    lines = [
        _HEAD,
        "",
        "| step | model | direction | image | median | rule | " + " | ".join(map(str, sides)) + " |",
    ]
    lines += ["|---" * (6 + len(sides)) + "|"]
    rows: dict[tuple[str, ...], dict[int, Cost]] = {}
    for cost in costs:
        key = (cost.step, cost.model, cost.direction, cost.image, "yes" if cost.median else "no", cost.rule)
        rows.setdefault(key, {})[cost.side] = cost
    for key, row in rows.items():
        cells = [
            f"{row[side].choosing:.3g} / {row[side].restoring:.3g} ms = {row[side].ratio:.2g}"
            if side in row
            else "–"
            for side in sides
        ]
        lines.append(f"| {' | '.join(key)} | {' | '.join(cells)} |")
    over = [
        cost
        for cost in costs
        if (cost.step == "background" and cost.side == 512 and cost.choosing > BACKGROUND_MS)
        or (cost.step == "denoise" and cost.ratio > DENOISE_RATIO)
    ]
    slowest = max((c.choosing for c in costs if c.step == "background" and c.side == 512), default=0.0)
    dearest = max((c.ratio for c in costs if c.step == "denoise"), default=0.0)
    lines += [
        "",
        f"Slowest background at 512×512: {slowest:.0f} ms (bar {BACKGROUND_MS:g}). Dearest denoising: "
        f"{dearest:.1f} times the restoration (bar {DENOISE_RATIO:g}). Beyond its bar: {len(over)}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.choosing_cost", description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=list(SIDES))
    parser.add_argument("--only", default="", help="part of 'step model direction image'")
    parser.add_argument("--out", type=Path, help="folder for choosing-cost.md and .json")
    options = parser.parse_args()
    costs = []
    for case in _cases():
        name = f"{case[0]} {named(case[1])} {case[2]} {case[3]}"
        sides = options.sides if options.only in name else []
        if sides:
            measure(*case, _SMALL)  # what has to be compiled is
        for side in sides:
            costs.append(measure(*case, side))
            print(name, side, f"{costs[-1].choosing:.3g} {costs[-1].restoring:.3g} ms", flush=True)
    text = markdown(costs)
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "choosing-cost.md").write_text(text, encoding="utf-8")
        (options.out / "choosing-cost.json").write_text(
            json.dumps([asdict(cost) for cost in costs], indent=1), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
