"""What people do by hand in three clicks: a background, the lines, the scars; for counts a denoiser.

Each is written plainly, as the programs in use have it. Every combination of settings is tried, and the best
median on the tuned seeds of a family stands for the method: more than a user knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import product
from typing import Any

import numpy as np
from scipy.ndimage import label

from tvtasks.operators import Array

_ROW = np.array([[0, 0, 0], [1, 1, 1], [0, 0, 0]])


def polynomial(image: Array, order: int) -> Array:
    """Subtract the polynomial of x and y of a total order: 1 a plane, 2 a quadric."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in image.shape), indexing="ij")
    basis = np.stack([(y**i * x**j).ravel() for i in range(order + 1) for j in range(order + 1 - i)], axis=1)
    return image - (basis @ np.linalg.lstsq(basis, image.ravel())[0]).reshape(image.shape)


def lines_none(image: Array) -> Array:
    return image


def lines_median(image: Array) -> Array:
    """Bring every line to the same median."""
    return image - np.median(image, axis=1, keepdims=True)


def lines_median_of_differences(image: Array) -> Array:
    """Bring every line to the one before it by the median of their difference."""
    steps = np.median(np.diff(image, axis=0), axis=1)
    levels = np.concatenate([[0.0], np.cumsum(steps)])
    y = np.arange(len(levels))
    return image - (levels - np.polyval(np.polyfit(y, levels, 1), y))[:, np.newaxis]


def lines_polynomial(order: int) -> Callable[[Array], Array]:
    """Subtract from every line the polynomial that fits it best."""

    def subtract(image: Array) -> Array:
        x = np.linspace(-1, 1, image.shape[1])
        basis = np.stack([x**k for k in range(order + 1)], axis=1)
        return image - (basis @ np.linalg.lstsq(basis, image.T)[0]).T

    return subtract


def scars_removed(
    image: Array, high: float = 0.666, low: float = 0.25, length: int = 16, width: int = 4
) -> Array:
    """Find scars as Gwyddion does, and fill them from the lines above and below.

    A scar is at most `width` lines thick; all of it stands above (or below) the lines on both sides by `low`
    of the RMS difference of lines, part of it by `high`, over at least `length` pixels.
    """
    rows = len(image)
    if rows < width + 3:
        return image
    rms = np.sqrt(np.mean(np.diff(image, axis=0) ** 2))
    marked = np.zeros(image.shape, bool)
    for sign in (1.0, -1.0):
        f = sign * image
        above = np.full(image.shape, -np.inf)
        for k in range(width, 0, -1):
            beside = np.maximum(f[: rows - k - 1], f[k + 1 :])
            least = np.min(np.stack([f[1 + j : rows - k + j] for j in range(k)]), axis=0)
            for j in range(k):
                part = above[1 + j : rows - k + j]
                np.maximum(part, (least - beside) / rms, out=part)
        labels, number = label(above > low, _ROW)
        strong = np.zeros(number + 1, bool)
        strong[np.unique(labels[above > high])] = True
        strong &= np.bincount(labels.ravel(), minlength=number + 1) >= length
        strong[0] = False
        marked |= strong[labels]
    return filled(image, marked)


def filled(image: Array, marked: Array) -> Array:
    """Fill marked pixels by straight lines down the columns."""
    out = image.copy()
    for column in np.flatnonzero(marked.any(axis=0)):
        bad = marked[:, column]
        if not bad.all():
            out[bad, column] = np.interp(np.flatnonzero(bad), np.flatnonzero(~bad), image[~bad, column])
    return out


LINES: dict[str, Callable[[Array], Array]] = {
    "lines as they are": lines_none,
    "row median": lines_median,
    "median of differences": lines_median_of_differences,
    "row lines": lines_polynomial(1),
    "row parabolas": lines_polynomial(2),
}


def heights() -> Iterator[tuple[str, Callable[[Array], Array]]]:
    """Every combination for a probe's image: background, lines, scars."""
    for order, (name, align), scars in product((1, 2), LINES.items(), (False, True)):

        def run(image: Array, order: int = order, align: Any = align, scars: bool = scars) -> Array:
            flat = align(polynomial(image, order))
            return scars_removed(flat) if scars else flat

        yield f"{'quadric' if order == 2 else 'plane'}, {name}{', scars' if scars else ''}", run


def counts() -> Iterator[tuple[str, Callable[[Array], Array]]]:
    """Every combination for an image of counts: scars, then a denoiser on the Anscombe scale."""
    for scars, (name, denoise) in product((False, True), _denoisers()):

        def run(image: Array, scars: bool = scars, denoise: Any = denoise) -> Array:
            z = 2 * np.sqrt(np.maximum(scars_removed(image) if scars else image, 0) + 0.375)
            return (denoise(z) / 2) ** 2 - 0.125

        yield f"{'scars, ' if scars else ''}{name}", run


def _denoisers() -> Iterator[tuple[str, Callable[[Array], Array]]]:
    yield "no denoising", lambda z: z
    try:
        skimage = import_module("skimage.restoration")
    except ImportError:
        return
    for h in (0.4, 0.6, 0.8, 1.0, 1.3):
        yield (
            f"NLM {h}",
            lambda z, h=h: skimage.denoise_nl_means(
                z, patch_size=5, patch_distance=9, h=h, sigma=1.0, fast_mode=True
            ),
        )
    for weight in (0.5, 1.0, 2.0):
        yield f"TV {weight}", lambda z, w=weight: skimage.denoise_tv_chambolle(z, weight=w)


def bm3d(image: Array) -> Array | None:
    """BM3D on the Anscombe scale; None where it is not installed (its licence is for non-commercial use)."""
    try:
        package = import_module("bm3d")
    except ImportError:
        return None
    z = 2 * np.sqrt(np.maximum(image, 0) + 0.375)
    return (np.asarray(package.bm3d(z, 1.0)) / 2) ** 2 - 0.125
