"""Before and after: ten scans whose sample is known, restored by hand, by the paper's presets, and by `auto`.

Usage: python -m tests.benchmarks.before_after [folder of the docs]

Writes ``before-and-after.md`` and its pictures. By hand means what gives the best score of a few clicks in
the usual programs (`tests/benchmarks/hand.py`), chosen with the sample known: no user can choose better.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from tests.benchmarks import hand
from tests.benchmarks.scenes import Scene, scene
from tests.benchmarks.scores import psnr
from tvtasks import Micrograph, restore
from tvtasks.operators import Array

SCANS = (
    ("STM terraces", 101),
    ("STM terraces", 103),
    ("STM islands", 102),
    ("STM islands", 104),
    ("AFM particles", 101),
    ("AFM particles", 105),
    ("STM molecules", 103),
    ("AFM lattice", 102),
    ("charging SEM", 101),
    ("low-dose STEM", 102),
)
SIDE = 256
_PRESETS = {"STM": "stm-scratches", "AFM": "afm-background", "SEM": "sem-charging", "STEM": "stem-denoise"}
_HEIGHTS = ("STM", "AFM")
_INTRODUCTION = """# Before and after

Ten synthetic scans with a known sample: raw, the best that a few clicks by hand can do, the paper's preset
for the technique, and the recipe `auto`. The number above each image is the PSNR against the sample in dB,
freed from a plane (heights) or a constant (counts); higher is better. *By hand* is the best of {number}
combinations (plane or quadric, median of rows or of differences, scars; for counts also non-local means and
total variation), chosen with the sample known. The curves are the marked line, grey for the sample.
[Quality](benchmarks/quality.md) has the figures for many more scans.

The paper's presets remove what is large and smooth. They are right for a lattice on a slow background, and
they flatten terraces: the notes of such a result give the part of the steps that is left.

`python -m tests.benchmarks.before_after` makes this page.
"""


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs"))
    folder = parser.parse_args().folder
    number = len(list(hand.heights()))
    parts = [_INTRODUCTION.format(number=number)]
    for count, (family, seed) in enumerate(SCANS, 1):
        item = scene(family, seed, SIDE)
        name = f"before_after_{count:02}.png"
        sentences = picture(item, folder / "pictures" / name)
        print(family, seed, *sentences, sep="\n  ")
        parts.append(f"## {count}. {family}\n\n![{family}](pictures/{name})\n\n{' '.join(sentences)}\n")
    (folder / "before-and-after.md").write_text("\n".join(parts), "utf-8")


def picture(item: Scene, path: Path) -> tuple[str, ...]:
    """Draw one scan in all versions, and return what `auto` notes on it."""
    technique = item.technique or "STM"
    ours = restore(Micrograph(item.image, technique=technique), "auto")
    preset = _PRESETS[technique]
    by_hand = max(
        (function(item.image) for _, function in (hand.heights if technique in _HEIGHTS else hand.counts)()),
        key=lambda image: psnr(image, item),
    )
    versions = {
        "sample": item.sample,
        "raw": item.image,
        "by hand": by_hand,
        preset: restore(Micrograph(item.image, technique=technique), preset).restored,
        "auto": ours.restored,
    }
    figure, axes = plt.subplots(
        2, len(versions), figsize=(15, 4.6), height_ratios=[3, 1.1], layout="constrained"
    )
    row = len(item.sample) // 2
    for (name, image), (above, below) in zip(versions.items(), axes.T, strict=True):
        low, high = np.percentile(image, [0.5, 99.5])
        above.imshow(image, cmap="gray", vmin=low, vmax=high)
        above.set_title(name if name == "sample" else f"{name}   {psnr(image, item):.1f} dB")
        above.set_axis_off()
        above.axhline(row, color="tab:orange", linewidth=0.6)
        _profile(below, item.sample[row], "0.7")
        _profile(below, np.asarray(image, np.float64)[row], "tab:blue")
        below.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=64)
    plt.close(figure)
    with Image.open(buffer) as drawn:
        drawn.convert("RGB").quantize(64).save(path, optimize=True)
    return ours.notes


def _profile(axes: plt.Axes, values: Array, colour: str) -> None:
    axes.plot(values - np.median(values), color=colour, linewidth=0.9)


if __name__ == "__main__":
    main()
