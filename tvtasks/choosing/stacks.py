"""Denoising a stack of frames of one area, whose drift is found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft2, fftfreq, ifft2, irfft2, next_fast_len, rfft2
from scipy.ndimage import minimum_filter, uniform_filter

from tvtasks.choosing.denoising import Denoised, denoise_auto
from tvtasks.choosing.noise import Noise, estimate_noise, stabilised
from tvtasks.choosing.smoothing import best_width, gaussian
from tvtasks.errors import UnusableImageError
from tvtasks.operators import Array
from tvtasks.solvers.jitter import line_jitter, moved_lines

_LEAST_OVERLAP = 0.5  # of a frame with the others
_SURE = 4.0  # standard deviations by which a minimum must be lower than one that lies nearer
_OUT_OF_PLACE = 1.4  # as in denoising
_SLOW = 8.0  # a Gaussian of this part of the side is taken off
_CHANCE = 4.0  # standard deviations by which the power of a mode is above the noise
_LEAST_MODES = 8.0
_MARGIN = 16  # px, mirrored, for moving a frame by a part of a pixel
_ROUNDS = 2
_LEAST_SIDE = 32


@dataclass(frozen=True, eq=False)
class DenoisedStack:
    """The common area of a stack without its noise.

    Attributes
    ----------
    denoised
        As of one image, the mean of the frames where all of them overlap; `looks` are in frames of one.
    drifts
        Shape (T, 2): where the sample lies in each frame, (dy, dx) in pixels from where it lies in the first.
    corner
        Row and column of the first frame at which the common area begins.
    line_offsets
        Shape (T, M) in pixels along the lines, or None where no frame's lines are out of place.
    """

    denoised: Denoised
    drifts: NDArray[np.float64]
    corner: tuple[int, int]
    line_offsets: NDArray[np.float64] | None


def denoise_stack(frames: Array, *, noise: Noise | None = None, threads: int = 1) -> DenoisedStack:
    """Denoise frames of one area, shape (T, M, N).

    Each frame is laid upon the mean of those before it, to a fraction of a pixel; where a lattice makes
    several places fit equally well the nearest to the last frame's is taken. Lines out of place are moved in
    each frame by itself. The mean of all frames, with the noise that is left in it, is then denoised as one
    image.

    Parameters
    ----------
    frames
        Real and finite, with the same exposure.
    noise
        Of one frame; estimated where it is not given.
    threads
        Cores to use; the result is the same bit for bit.

    Returns
    -------
    DenoisedStack

    Raises
    ------
    UnusableImageError
        If `frames` is no stack, or holds NaN or infinity.

    Examples
    --------
    >>> import numpy as np
    >>> from tvtasks import denoise_stack
    >>> y, x = np.mgrid[:64, :64]
    >>> expected = 20 + 10 * np.cos(2 * np.pi * x / 8) * np.cos(2 * np.pi * y / 9)
    >>> frames = np.random.default_rng(0).poisson(expected, (3, 64, 64))
    >>> found = denoise_stack(frames)
    >>> (top, left), (rows, columns) = found.corner, found.denoised.image.shape
    >>> error = found.denoised.image - expected[top : top + rows, left : left + columns]
    >>> bool(np.std(error) < 0.5 * np.std(frames.mean(axis=0) - expected))
    True
    """
    stack = np.asarray(frames)
    if stack.ndim != 3 or len(stack) == 0 or stack.dtype.kind not in "biuf" or not np.isfinite(stack).all():
        raise UnusableImageError("A stack has three dimensions, frames first, and holds finite real numbers.")
    f = stack.astype(np.float64)
    noise = estimate_noise(f) if noise is None else noise
    number = len(f)
    if number == 1 or not noise.sigma > 0:
        denoised = denoise_auto(f.mean(axis=0).astype(stack.dtype if stack.dtype.kind == "f" else np.float64))
        return DenoisedStack(denoised, np.zeros((number, 2)), (0, 0), None)
    drifts = find_drifts(f, noise)
    lines: NDArray[np.float64] | None = None
    of_mean = replace(
        noise, sigma=noise.sigma / number**0.5, offset=noise.offset / number, gain=noise.gain / number
    )
    for last in (False, True):
        merged, corner = _merged(f, drifts, lines)
        denoised = denoise_auto(merged, noise=of_mean, threads=threads)
        if last or denoised.method != "lattice-mean":
            break
        lines = _lines_of_frames(f, denoised.image, drifts, corner, noise)
        if lines is None:
            break
    reason = f"{number} frames were laid upon each other. {denoised.reason}"
    evidence = denoised.evidence | {"frames": number, "largest_drift_px": float(np.abs(drifts).max())}
    denoised = replace(denoised, looks=denoised.looks * np.float32(number), reason=reason, evidence=evidence)
    return DenoisedStack(denoised, drifts, corner, lines)


def find_drifts(frames: Array, noise: Noise) -> NDArray[np.float64]:
    """Find where the sample lies in each frame, (dy, dx) in pixels from the first; shape (T, 2).

    The waves of a lattice say best where a frame lies, but for translations of the lattice; of those, the
    image with its defects tells which, as far as it can.
    """
    fine, coarse = _of_waves(frames, noise), _smoothed(frames, noise)
    drifts = np.zeros((len(frames), 2))
    for k in range(1, len(frames)):
        drifts[k] = _offset(k, fine.images[0], coarse.images[0], fine, coarse, drifts[k - 1])
    for _ in range(_ROUNDS):
        # Against the mean of all, which has less noise; what is known is only improved.
        means = [
            np.mean([_moved(s, d) for s, d in zip(kind.images, drifts, strict=True)], axis=0)
            for kind in (fine, coarse)
        ]
        drifts = np.stack([
            _offset(k, means[0], means[1], fine, coarse, drifts[k], near=2.0) for k in range(len(frames))
        ])  # fmt: skip
        drifts -= drifts[0]
    return drifts


class _Filtered(NamedTuple):
    """Frames after a filter, and the standard deviation by chance of the mean squared difference of two."""

    images: list[Array]
    chance: float


def _smoothed(frames: Array, noise: Noise) -> _Filtered:
    width = best_width(stabilised(frames[0].astype(np.float32), noise))
    slow = max(frames.shape[1:]) / _SLOW
    images = []
    for frame in frames:
        pilot = stabilised(gaussian(frame.astype(np.float32), width), noise)
        images.append((pilot - gaussian(pilot, slow)).astype(np.float64))
    left, independent = 1 / (4 * np.pi * width**2), images[0].size / (2 * np.pi * width**2)
    return _Filtered(images, 2 * left * float(np.sqrt(2 / independent)))


def _of_waves(frames: Array, noise: Noise) -> _Filtered:
    """Filter frames by what their mean power has above the noise: of few counts' noise little is left so."""
    rows, columns = frames.shape[1:]
    window = np.outer(np.hanning(rows + 2)[1:-1], np.hanning(columns + 2)[1:-1])
    norm = noise.sigma * float(np.sqrt(np.sum(window**2)))
    smooth = [frame - gaussian(frame, max(rows, columns) / _SLOW) for frame in frames]
    power = np.mean([np.abs(rfft2(frame * window) / norm) ** 2 for frame in smooth], axis=0)
    power = uniform_filter(power, 3, mode="wrap")  # a wave has a few modes
    level = 1 + _CHANCE / float(np.sqrt(9 * len(frames)))
    weight = np.clip(1 - level / np.maximum(power, 1e-9), 0, 1)
    several = np.full(weight.shape[1], 2.0)
    several[0] = 1.0
    modes = float(np.sum(weight**2 * several))
    if modes < _LEAST_MODES:
        return _smoothed(frames, noise)
    images = [irfft2(rfft2(frame) * weight, (rows, columns)) / noise.sigma for frame in smooth]
    return _Filtered(images, 2 * modes / images[0].size * float(np.sqrt(2 / modes)))


def _offset(
    k: int, reference: Array, coarse_reference: Array, fine: _Filtered, coarse: _Filtered,
    expected: NDArray[np.float64], near: float = np.inf,
) -> NDArray[np.float64]:  # fmt: skip
    """Return by how much frame k is the reference moved: frame(i + d) fits reference(i) best."""
    difference, dy, dx = _differences(fine.images[k], reference)
    away = np.hypot(dy[:, np.newaxis] - expected[0], dx - expected[1])
    difference[away > near] = np.inf
    limit = float(difference.min()) + _SURE * fine.chance
    limit = max(
        limit, 0.5 * (float(difference.min()) + float(np.median(difference[np.isfinite(difference)])))
    )
    i, j = np.nonzero((difference == minimum_filter(difference, 3, mode="wrap")) & (difference <= limit))
    if len(i) > 1:
        other = _differences(coarse.images[k], coarse_reference)[0]
        best = np.array([
            other[np.ix_(np.arange(y - 1, y + 2) % len(dy), np.arange(x - 1, x + 2) % len(dx))].min()
            for y, x in zip(i, j, strict=True)
        ])  # fmt: skip
        usable = best <= best.min() + _SURE * coarse.chance
        i, j = i[usable], j[usable]
    nearest = int(np.argmin(away[i, j]))
    y, x = int(i[nearest]), int(j[nearest])
    down = difference[[(y - 1) % len(dy), y, (y + 1) % len(dy)], x]
    across = difference[y, [(x - 1) % len(dx), x, (x + 1) % len(dx)]]
    return np.array([dy[y] + _vertex(down), dx[x] + _vertex(across)])


def _differences(image: Array, reference: Array) -> tuple[Array, Array, Array]:
    """Mean squared difference at every shift where they overlap enough, and the shifts."""
    rows, columns = image.shape
    size = (next_fast_len(2 * rows), next_fast_len(2 * columns, real=True))
    one = rfft2(np.ones_like(image), size)
    cross = irfft2(np.conj(rfft2(reference, size)) * rfft2(image, size), size)
    overlap = np.rint(irfft2(np.conj(one) * one, size))
    squares = irfft2(np.conj(one) * rfft2(image**2, size) + np.conj(rfft2(reference**2, size)) * one, size)
    difference = (squares - 2 * cross) / np.maximum(overlap, 1)
    difference[overlap < _LEAST_OVERLAP * image.size] = np.inf
    dy, dx = (np.rint(fftfreq(side) * side) for side in size)
    return difference, dy, dx


def _vertex(values: Array) -> float:
    """Place, from the middle of three values, of the vertex of the parabola through them."""
    low, middle, high = (float(value) for value in values)
    bend = low + high - 2 * middle
    return float(np.clip((low - high) / 2 / bend, -0.5, 0.5)) if 0 < bend < np.inf else 0.0


def _moved(image: Array, offset: NDArray[np.float64]) -> Array:
    """Move an image by Fourier, mirrored at its border: pixel i then holds what was at i + offset."""
    margin = _MARGIN + int(np.ceil(np.abs(offset).max()))
    margin = min(margin, *image.shape)
    padded = np.pad(image, margin, mode="symmetric")
    fy, fx = (fftfreq(side) for side in padded.shape)
    phase = np.exp(2j * np.pi * (fy[:, np.newaxis] * offset[0] + fx * offset[1]))
    inner = slice(margin, -margin)
    return np.asarray(ifft2(fft2(padded) * phase).real[inner, inner])


def _merged(
    frames: Array, drifts: NDArray[np.float64], lines: NDArray[np.float64] | None
) -> tuple[Array, tuple[int, int]]:
    """Return the mean of the frames where all of them overlap, and where in the first frame that begins."""
    low, high = np.ceil(np.maximum(-drifts.min(axis=0), 0)), np.ceil(np.maximum(drifts.max(axis=0), 0))
    (top, left), (bottom, right) = low.astype(int), high.astype(int)
    rows, columns = frames.shape[1:]
    if min(rows - top - bottom, columns - left - right) < _LEAST_SIDE:
        raise UnusableImageError(
            f"The frames drift by up to {np.abs(drifts).max():.0f} pixels, so that they hardly overlap."
        )
    total = np.zeros((rows, columns))
    for k, (frame, drift) in enumerate(zip(frames, drifts, strict=True)):
        straight = frame if lines is None else moved_lines(frame, -lines[k])
        total += _moved(straight, drift)
    return (total / len(frames))[top : rows - bottom, left : columns - right], (top, left)


def _lines_of_frames(
    frames: Array, image: Array, drifts: NDArray[np.float64], corner: tuple[int, int], noise: Noise
) -> NDArray[np.float64] | None:
    """Find the lines that are out of place in each frame, against the common area; None where none are."""
    rows, columns = image.shape
    whole = np.pad(
        image,
        [(corner[0], frames.shape[1] - rows - corner[0]), (corner[1], frames.shape[2] - columns - corner[1])],
        mode="edge",
    )
    out = np.zeros(frames.shape[:2])
    found = False
    for k, (frame, drift) in enumerate(zip(frames, drifts, strict=True)):
        model = _moved(whole, -drift)
        seen = line_jitter(frame, model, noise.variance(model))
        if seen.excess > _OUT_OF_PLACE:
            found = True
            offsets = seen.shrunk().offsets
            out[k] = offsets - np.median(offsets)
    return out if found else None
