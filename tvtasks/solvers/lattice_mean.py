"""Weighted means of an image over its own translations: non-local means whose partners are a lattice apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft, fftfreq, ifft, irfft, rfft, rfftfreq

from tvtasks.operators import Array
from tvtasks.solvers.shift_kernels import add_shifted
from tvtasks.solvers.translations import Translations

_PARTS = 4  # of a pixel, to which translations are rounded
_MARGIN = 16  # px around the image, mirrored, for moving it by a part of a pixel


@dataclass(frozen=True, eq=False)
class Means:
    """Means of an image over its translations, one for each sharpness of the weights.

    Attributes
    ----------
    values
        Shape (means, M, N), float32.
    looks
        Effective number of pixels that went into each: (Σw)² / Σw².
    own
        Weight that a pixel has in its own mean.
    """

    values: Array
    looks: Array
    own: Array


def shifted_means(
    image: Array, pilot: Array, translations: Translations, *, noise: float, width: float, patch: int, step: int = 1,
    sharpness: tuple[float, ...] = (0.4, 1.5), threads: int = 1,
) -> Means:  # fmt: skip
    """Average the pixels of an image with those a translation away, where the pilot is alike around both.

    With d the mean squared difference of the pilot over a patch, less what noise alone makes, a partner weighs
    1 / (1 + (d / 2cv)²)², v being the variance of the noise in the pilot: heavy-tailed, so that a pixel that has
    no good partner keeps its best ones. The weights of a patch are averaged over the patches that a pixel lies
    in (Salmon & Strozecki 2012 call that a reprojection).

    Parameters
    ----------
    image
        Shape (M, N): what is averaged.
    pilot
        The same shape, smoothed: what is compared.
    translations
        Of the image.
    noise
        Variance of the noise in the pilot.
    width
        Of the Gaussian that the pilot was smoothed with, in pixels: the noise of pixels near one another is
        shared.
    patch
        Side of a patch in pixels.
    step
        Patches are looked at on every pixel, or every other.
    sharpness
        c of the weights, one for each mean.
    threads
        Cores to use; the result is the same bit for bit.
    """
    rows, columns = image.shape
    pad = ((0, -rows % step), (0, -columns % step))
    values, guide = (np.pad(np.asarray(a, np.float32), pad, mode="edge") for a in (image, pilot))
    coarse = np.ascontiguousarray(guide[step // 2 :: step, step // 2 :: step])
    half = int(np.clip(round(patch / 2 / step - 0.25), 1, 4))
    sharp = (1 / (2 * noise * np.asarray(sharpness))).astype(np.float32)
    sums = np.zeros((len(sharpness), *values.shape), np.float32)
    weights, squares = np.zeros((2, len(sharpness), *coarse.shape), np.float32)
    whole, part, expected = [], [], []
    for shifts in translations.shifts:
        steps = np.rint(shifts * _PARTS).astype(np.intp)
        whole.append(np.floor_divide(steps + _PARTS // 2, _PARTS))
        part.append(steps - whole[-1] * _PARTS)
        distance = np.sum(shifts**2, axis=1)
        expected.append((2 * noise * (1 - np.exp(-distance / (4 * width**2)))).astype(np.float32))
    tiles = np.array([tile for tile in translations.blocks], np.intp)
    tiles = -(-tiles // step)
    with ThreadPoolExecutor(threads) if threads > 1 else nullcontext() as pool:
        for (key, moved_values), (_, moved_guide) in zip(_moved(values), _moved(guide), strict=True):
            phases = np.stack([[moved_guide[a::step, b::step] for b in range(step)] for a in range(step)])

            def one(k: int) -> None:
                of_key = np.all(part[k] == key, axis=1)
                if of_key.any():
                    add_shifted(
                        moved_values, coarse, phases, step, half, tiles[k], whole[k][of_key], expected[k][of_key],
                        sharp, sums, weights, squares,
                    )  # fmt: skip

            for _ in map(one, range(len(tiles))) if pool is None else pool.map(one, range(len(tiles))):
                pass
    # A pixel is its own partner like any other: as much as a typical one counts.
    weights = np.maximum(weights, 1e-20)
    own = squares / weights
    squares += own * own
    weights += own
    full = np.s_[:, :rows, :columns]
    looks, own, over = (_full(a, step)[full] for a in (weights**2 / squares, own / weights, 1 / weights))
    return Means((sums[full] * over + own * values[:rows, :columns]), looks, own)


def _full(coarse: Array, step: int) -> Array:
    return coarse if step == 1 else np.repeat(np.repeat(coarse, step, axis=1), step, axis=2)


def _moved(image: Array) -> Iterator[tuple[tuple[int, int], Array]]:
    """Yield the image moved by every multiple of a part of a pixel: pixel i then holds what was at i + d.

    By Fourier, after which white noise is still white.
    """
    rows, columns = image.shape
    n, m = rows + 2 * _MARGIN, columns + 2 * _MARGIN
    down = fft(rfft(np.pad(image, _MARGIN, mode="symmetric"), axis=1), axis=0, overwrite_x=True)
    fy, fx = fftfreq(n).astype(np.float32)[:, np.newaxis], rfftfreq(m).astype(np.float32)
    inner = slice(_MARGIN, -_MARGIN)
    for a in range(-_PARTS // 2, _PARTS - _PARTS // 2):
        phase = np.exp(2j * np.pi * fy * (a / _PARTS)).astype(np.complex64)
        lines = ifft(down * phase, axis=0, overwrite_x=True)[inner]
        for b in range(-_PARTS // 2, _PARTS - _PARTS // 2):
            if a == b == 0:
                yield (0, 0), image
                continue
            phase = np.exp(2j * np.pi * fx * (b / _PARTS)).astype(np.complex64)
            yield (a, b), np.ascontiguousarray(irfft(lines * phase, m, axis=1, overwrite_x=True)[:, inner])
