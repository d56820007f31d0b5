"""What repeats in an image, hidden from the search for line faults: a lattice would be taken for some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft, irfft2, rfft2
from scipy.ndimage import map_coordinates, maximum_filter, uniform_filter

from tvtasks.choosing.spectrum import spectrum, without_plane
from tvtasks.operators import Array
from tvtasks.solvers.compiling import kept

_ABOVE = 6.0  # times the median amplitude around it, along ky and along kx, that a wave stands
_AROUND = 12  # modes on each side that count as around it
_LEAST = 8  # cycles per image; fewer are background
_MOST = 16  # waves that are fitted one by one, at frequencies between the modes
_TRIED = np.linspace(-0.6, 0.6, 13)  # modes off the strongest one
_RAY = 3.0  # times the amplitude further out and in along its own ray; straight steps fill a ray
_ON_RAY = np.array(
    [0.55, 0.65, 0.75, 0.82, 1.18, 1.25, 1.35, 1.45, 1.6]
)  # of its own distance from the origin
_REACH = 6  # modes around a peak of the spectrum in which its waves lie; drift spreads a lattice
_ALONG_Y = 1  # modes from the column fx = 0, within which waves run along y
_TILE = 40  # px; the waves' presence is looked at tile by tile
_SLOW = 31  # px of the box whose mean is no wave
_EVERYWHERE = 0.6  # presence in the poorest tile, above which noise alone makes tiles differ
_CLEAR = 2.5  # modes off, within which a wave between the modes leaks

Complex = NDArray[np.complexfloating[Any, Any]]


@dataclass(frozen=True, eq=False)
class Waves:
    """Plane waves of an image.

    Attributes
    ----------
    values
        Their sum, shape (M, N), in the image's unit.
    frequencies
        (fy, fx) in cycles per pixel of those that were fitted one by one, the strongest first.
    share
        Of the image's variance, its plane taken away.
    """

    values: Array
    frequencies: tuple[tuple[float, float], ...]
    share: float


def waves(image: Array) -> Waves:
    """Find the plane waves of an image: modes that stand out both along ky and along kx.

    Faults of lines fill the whole column kx = 0 of the spectrum, so none of its modes stands out along ky; a
    lattice does. Up to sixteen waves are fitted and subtracted one by one at frequencies between the modes,
    so that a strong one does not leak; of what is left, the modes that stand out are taken as they are.
    """
    r = without_plane(image)
    unit = float(r.std())
    if min(r.shape) < 4 * _LEAST or unit == 0:
        return Waves(np.zeros(r.shape), (), 0.0)
    r = (r / unit).astype(np.float32)
    rows, columns = r.shape
    peaks = spectrum(r).peaks
    modes = np.asarray(rfft2(r))
    height = np.abs(modes)
    ky = np.fft.fftfreq(rows, 1 / rows)[:, np.newaxis]
    kx = np.arange(modes.shape[1])[np.newaxis, :]
    limit = _ABOVE * _levels(height)
    far = ky**2 + kx**2 > _LEAST**2
    # A wave along y has no peak there, as lines are levelled; in its column only a wave is narrow.
    allowed = np.broadcast_to(kx <= _ALONG_Y, height.shape).copy()
    for peak in peaks:
        off_y = (ky - peak.fy * rows + rows / 2) % rows - rows / 2
        allowed |= (np.abs(off_y) <= _REACH) & (np.abs(kx - peak.fx * columns) <= _REACH)
    far &= allowed
    found = np.zeros((rows, columns))
    y, x = np.arange(rows), np.arange(columns)
    frequencies = []
    for _ in range(_MOST):
        standing = np.where(far & (height > limit), height, 0)
        while True:
            i, j = np.unravel_index(int(standing.argmax()), standing.shape)
            if standing[i, j] == 0 or _apart(height, int(ky[i, 0]), int(j)):
                break
            standing[i, j] = 0
            limit[i, j] = np.inf
        if standing[i, j] == 0:
            break
        fy, fx, amplitude = _between(r, float(ky[i, 0]), float(j))
        up, across = np.exp(2j * np.pi * fy * y / rows), np.exp(2j * np.pi * fx * x / columns)
        wave = 2 * (amplitude * up[:, np.newaxis] * across).real
        found += wave
        r -= wave.astype(np.float32)
        modes -= _transform(amplitude, up, across, modes.shape[1])
        height = np.abs(modes)
        frequencies.append((fy / rows, fx / columns))
    standing = far & (height > limit)
    if standing.any():
        near = maximum_filter(standing, 3, mode="wrap") & (height > limit / 3)
        found += irfft2(np.where(near, modes, 0), s=r.shape)
    if found.any():
        found *= _presence(r + found, found)
    return Waves(unit * found, tuple(frequencies), float(np.mean(found**2)))


def _presence(r: Array, found: Array) -> Array:
    """Return how much of the waves there is at each place, from 0 to 1: molecules may cover a part."""
    sides = tuple(max(size // _TILE, 2) for size in r.shape)
    edges = tuple(np.linspace(0, size, n + 1).astype(int) for size, n in zip(r.shape, sides, strict=True))

    def sums(a: Array) -> Array:
        return np.asarray(np.add.reduceat(np.add.reduceat(a, edges[0][:-1], 0), edges[1][:-1], 1))

    high = r - uniform_filter(r, _SLOW, mode="nearest")
    share = sums(high * found) / np.maximum(sums(found * found), 1e-30)
    share = np.clip(share, 0, 1)
    if share.min() > _EVERYWHERE:
        return np.ones(r.shape)
    y, x = ((np.arange(size) + 0.5) / size * n - 0.5 for size, n in zip(r.shape, sides, strict=True))
    return np.asarray(map_coordinates(share, np.meshgrid(y, x, indexing="ij"), order=1, mode="nearest"))


def _between(r: Array, ky: float, kx: float) -> tuple[float, float, complex]:
    """Frequency and amplitude of the strongest wave near a mode."""
    rows, columns = r.shape
    y, x = np.arange(rows), np.arange(columns)
    width = 1.0
    for _ in range(2):
        tried = _TRIED * width
        down = np.exp(-2j * np.pi * (ky + tried)[:, np.newaxis] * y / rows).astype(np.complex64)
        along = np.exp(-2j * np.pi * (kx + tried)[:, np.newaxis] * x / columns).astype(np.complex64)
        z = down @ r @ along.T
        i, j = np.unravel_index(int(np.abs(z).argmax()), z.shape)
        ky, kx, width = ky + tried[i], kx + tried[j], width / 8
    return ky, kx, complex(z[i, j]) / (rows * columns)


def _transform(amplitude: complex, up: Complex, across: Complex, columns: int) -> Complex:
    """Return the real Fourier transform of a wave: two products of vectors."""
    one = np.outer(amplitude * fft(up), fft(across)[:columns])
    one += np.outer(np.conj(amplitude) * fft(np.conj(up)), fft(np.conj(across))[:columns])
    return np.asarray(one.astype(np.complex64))


def _apart(height: Array, i: int, j: int) -> bool:
    """Whether a mode at signed indices stands out along the ray from the origin through it."""
    rows, columns = height.shape
    length = float(np.hypot(i, j))
    places = _ON_RAY[np.abs(_ON_RAY - 1) * length >= _CLEAR]
    y, x = np.rint(i * places).astype(int), np.rint(j * places).astype(int)
    inside = (np.abs(y) <= rows // 2) & (x < columns)
    beside = height[y[inside] % rows, x[inside]]
    return bool(beside.size < 3 or height[i % rows, j] > _RAY * np.median(beside))


def _levels(height: Array) -> Array:
    """Return the larger of the medians around each mode, along ky and kx; negative kx by symmetry."""
    mirrored = np.roll(height[::-1], 1, axis=0)  # at (−ky, kx), which is also at (ky, −kx)
    w = _AROUND
    down = _running_median(np.ascontiguousarray(np.pad(height, ((w, w), (0, 0)), mode="wrap").T), w).T
    end = height.shape[1]
    wide = np.concatenate([mirrored[:, w:0:-1], height, mirrored[:, end - 2 : end - 2 - w : -1]], axis=1)
    across = _running_median(np.ascontiguousarray(wide), w)
    return np.maximum(down, across)


@kept(nogil=True)
def _running_median(a: Array, w: int) -> Array:
    """Median of 2w + 1 neighbours along rows; the ends of the rows are margins."""
    rows, columns = a.shape
    out = np.empty((rows, columns - 2 * w), a.dtype)
    n = 2 * w + 1
    room = np.empty(n, a.dtype)
    for i in range(rows):
        room[:] = np.sort(a[i, :n])
        out[i, 0] = room[w]
        for j in range(n, columns):
            old, new = a[i, j - n], a[i, j]
            at = np.searchsorted(room, old)
            while at < n - 1 and room[at + 1] < new:
                room[at] = room[at + 1]
                at += 1
            while at > 0 and room[at - 1] > new:
                room[at] = room[at - 1]
                at -= 1
            room[at] = new
            out[i, j - n + 1] = room[w]
    return out
