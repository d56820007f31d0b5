"""Weighted means of an image over its translations: non-local means with partners a lattice apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft, fftfreq, ifft, irfft, rfft, rfftfreq

from tvtasks.operators import Array
from tvtasks.solvers.shift_kernels import FLOOR, add_shifted
from tvtasks.solvers.translations import Translations
from tvtasks.solvers.wavefront import mapping

_PARTS = 4  # of a pixel, to which translations are rounded
_MARGIN = 16  # px around the image, mirrored, for moving it by a part of a pixel
_STRIP = 64  # rows or columns that are worked on at a time
SHARPNESS = 0.4
"""Of the weights, in units of what noise makes: .25 and .6 gave .1 dB less (tuned scenes 0–3)."""


@dataclass(frozen=True, eq=False)
class Mean:
    """A mean of an image over its translations.

    Attributes
    ----------
    values
        Shape (M, N), float32.
    looks
        Effective number of pixels that went into each: (Σw)² / Σw².
    own
        Weight that a pixel has in its own mean.
    """

    values: Array
    looks: Array
    own: Array


def shifted_means(
    image: Array, pilot: Array, translations: Translations, *, noise: float, width: float, patch: int,
    step: int = 1, sharpness: float = SHARPNESS, plainly: bool = True, threads: int = 1,
) -> tuple[Mean, Mean | None]:  # fmt: skip
    """Average the pixels of an image with those a translation away.

    With d the mean squared difference of the pilot over a patch, less what noise alone makes, a partner
    weighs 1 / (1 + (d / 2cv)²)², v being the variance of the noise in the pilot: heavy-tailed, so that a
    pixel that has no good partner keeps its best ones. The weights of a patch are averaged over the patches
    that a pixel lies in (Salmon & Strozecki 2012 call that a reprojection).

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
        c of the weights.
    plainly
        Whether the plain mean is wanted, too.
    threads
        Cores to use; the result is the same bit for bit.

    Returns
    -------
    adapted
        With these weights.
    plain
        With a weight for each block and translation, from how alike the whole block is there: of what is only
        once in a block, nothing is left.
    """
    rows, columns = image.shape
    values, guide = (_whole_pieces(np.asarray(a, np.float32), step) for a in (image, pilot))
    coarse = np.ascontiguousarray(guide[step // 2 :: step, step // 2 :: step])
    half = int(np.clip(round(patch / 2 / step - 0.25), 1, 4))
    sharp = np.float32(1 / (2 * noise * sharpness))
    blocks = -(-np.array(translations.blocks, np.intp) // step)
    pairs = _Pairs.of(translations, noise, width, sharpness)
    sums = np.zeros(values.shape, np.float32)
    weights, squares = np.zeros((2, *coarse.shape), np.float32)
    plain = np.zeros(values.shape if plainly else (0, 0), np.float32)
    counts = np.zeros((2, *coarse.shape) if plainly else (2, 0, 0), np.float32)

    def add(part: int, moved_values: Array, phases: Array, thread: int) -> None:
        k = np.flatnonzero((pairs.part == part) & (pairs.block % threads == thread))
        if k.size:
            add_shifted(
                moved_values, coarse, phases, step, half, blocks, pairs.block[k], pairs.whole[k],
                pairs.expected[k], pairs.alike[k], sharp, sums, weights, squares, plain, counts,
            )  # fmt: skip

    def add_all() -> None:
        with mapping(threads) as run:
            for part, moved_values, moved_guide in zip(
                pairs.parts, _moved(values, pairs.parts), _moved(guide, pairs.parts), strict=True
            ):
                of_part = partial(add, part, moved_values, _phases(moved_guide, step))
                list(run(of_part, range(threads)))

    add_all()  # what it needs is free again afterwards
    here, inner = values[:rows, :columns], np.s_[:rows, :columns]
    adapted = _with_own(sums[inner], here, weights, squares, step)
    return adapted, _with_own(plain[inner], here, counts[0], counts[1], step) if plainly else None


def _whole_pieces(image: Array, step: int) -> Array:
    """Return an image whose sides are multiples of the step: the last pixels are repeated."""
    rows, columns = image.shape
    if rows % step == columns % step == 0:
        return image
    return np.pad(image, ((0, -rows % step), (0, -columns % step)), mode="edge")


def _phases(image: Array, step: int) -> Array:
    if step == 1:
        return image[np.newaxis, np.newaxis]
    return np.stack([[image[a::step, b::step] for b in range(step)] for a in range(step)])


def _with_own(sums: Array, here: Array, weights: Array, squares: Array, step: int) -> Mean:
    """Count a pixel as its own partner, like any other: as much as a typical one. Sums are used up."""
    rows, columns = here.shape
    for top in range(0, len(weights), _STRIP):  # little more memory
        strip = slice(top, top + _STRIP)
        weight, square = np.maximum(weights[strip], FLOOR), squares[strip]
        own = square / weight
        own[own == 0] = 1  # without any partner
        total = weight + own
        fine = slice(step * top, min(step * (top + _STRIP), rows))
        over, share = (_full(a, step)[: fine.stop - fine.start, :columns] for a in (1 / total, own / total))
        sums[fine] = sums[fine] * over + share * here[fine]
        weights[strip], squares[strip] = total**2 / (square + own * own), own / total
    looks, share = (_full(a, step)[:rows, :columns] for a in (weights, squares))
    return Mean(np.ascontiguousarray(sums), looks, share)


class _Pairs(NamedTuple):
    """Blocks and their translations, all in one list, each rounded to a part of a pixel."""

    block: NDArray[np.int32]
    part: NDArray[np.int8]
    """Which of the moved images."""
    whole: NDArray[np.int32]
    expected: Array
    alike: Array

    @property
    def parts(self) -> list[int]:
        return [int(part) for part in np.unique(self.part)]

    @classmethod
    def of(cls, translations: Translations, noise: float, width: float, sharpness: float) -> _Pairs:
        shifts = np.concatenate(translations.shifts)
        block = np.repeat(
            np.arange(len(translations.shifts), dtype=np.int32), [len(s) for s in translations.shifts]
        )
        steps = np.rint(shifts * _PARTS).astype(np.int32)
        whole = np.floor_divide(steps + _PARTS // 2, _PARTS)
        part = steps - whole * _PARTS + _PARTS // 2
        expected = 2 * noise * (1 - np.exp(-np.sum(shifts**2, axis=1) / (4 * width**2)))
        excess = np.maximum(np.concatenate(translations.differences) - expected, 0) / (2 * noise * sharpness)
        alike = 1 / (1 + excess**2) ** 2 + FLOOR
        return cls(
            block,
            (part[:, 0] * _PARTS + part[:, 1]).astype(np.int8),
            whole,
            expected.astype(np.float32),
            alike.astype(np.float32),
        )


def _full(coarse: Array, step: int) -> Array:
    return coarse if step == 1 else np.repeat(np.repeat(coarse, step, axis=0), step, axis=1)


def _moved(image: Array, parts: list[int]) -> Iterator[Array]:
    """Yield the image moved by some multiples of a part of a pixel: pixel i then holds what was at i + d.

    By Fourier, after which white noise is still white. What was yielded before is overwritten.
    """
    rows, columns = image.shape
    n, m = rows + 2 * _MARGIN, columns + 2 * _MARGIN
    inner = slice(_MARGIN, -_MARGIN)
    still = (_PARTS // 2) * (_PARTS + 1)
    lines, of, out = np.empty((0, 0), np.complex64), _PARTS, np.empty((0, 0), np.float32)
    fy, fx = fftfreq(n).astype(np.float32)[:, np.newaxis], rfftfreq(m).astype(np.float32)
    for part in parts:
        if part == still:
            yield image
            continue
        a, b = part // _PARTS - _PARTS // 2, part % _PARTS - _PARTS // 2
        if a != of:
            phase = np.exp(2j * np.pi * fy * (a / _PARTS)).astype(np.complex64)
            if not lines.size:
                lines = np.empty((rows, m // 2 + 1), np.complex64)
                out = np.empty_like(image)
            _move_down(image, phase, lines)
            of = a
        phase = np.exp(2j * np.pi * fx * (b / _PARTS)).astype(np.complex64)
        for top in range(0, rows, _STRIP):
            strip = slice(top, top + _STRIP)
            out[strip] = irfft(lines[strip] * phase, m, axis=1, overwrite_x=True)[:, inner]
        yield out


def _move_down(image: Array, phase: Array, lines: Array) -> None:
    """Make the transform along the rows of an image moved down, in strips: little more memory."""
    for top in range(0, len(image), _STRIP):
        strip = slice(top, top + _STRIP)
        lines[strip] = rfft(np.pad(image[strip], ((0, 0), (_MARGIN, _MARGIN)), mode="symmetric"), axis=1)
    for left in range(0, lines.shape[1], _STRIP):
        some = np.pad(lines[:, left : left + _STRIP], ((_MARGIN, _MARGIN), (0, 0)), mode="symmetric")
        some = fft(some, axis=0, overwrite_x=True)
        some *= phase
        lines[:, left : left + _STRIP] = ifft(some, axis=0, overwrite_x=True)[_MARGIN:-_MARGIN]
