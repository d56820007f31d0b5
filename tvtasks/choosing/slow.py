"""A slow background under a lattice, told from terraces: a terrace has edges, drift has none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects, gaussian_filter, gaussian_gradient_magnitude, label, maximum_filter

from tvtasks.operators import Array
from tvtasks.solvers.offsets import spread

_KNOTS = 32.0  # px between the knots of a surface that is taken away
_LOOK = 48.0  # px; wider, so that edges stay out of it
_CLIP = 1.5  # standard deviations: what sticks out further does not bend the surface more
_ROUNDS = 12
_TILE = 24  # px


@dataclass(frozen=True)
class Tell:
    """Numbers that tell drift from terraces.

    Attributes
    ----------
    edges
        What a stiff surface leaves near edges, over the range of the surface: lattices on drift .00–.10,
        terraces from .22, islands from .28, particles from .5 (synthetic scans).
    sharp
        How many times steeper the image is close to the steepest places of its smooth part than elsewhere:
        ions on drift 1.9, a moiré 2.2, terraces from 5, islands from 6 (the paper's mica; real and synthetic
        scans).
    range
        Of the levelled surface, over the contrast of what is fine.
    fine
        Contrast of what is fine, over the noise.
    even
        Contrast of what is fine where it is low, over that where it is high: a lattice or ions are everywhere
        (.5–.95), edges are not (under .35).
    ridge
        Extent in pixels of the longest connected place where the smooth part is steep, the lattice hidden: at
        most 49 on lattices with vacancies, 74 on LSMO with adsorbates, 119 along a step under atoms (real and
        synthetic scans).
    lattice
        Whether there is a sharp one.
    common
        Correlation of what is fine between neighbouring pixels, along lines or across, whichever is less:
        line noise has none across.
    """

    edges: float
    sharp: float
    range: float
    fine: float
    even: float
    common: float
    ridge: float = 0.0
    lattice: bool = False

    @property
    def drifts(self) -> bool:
        """Whether there is a background to take: something fine all over it, and no edge in it."""
        lattice = self.edges < 0.13 and self.even > 0.6 and self.range > 2.5 and self.fine > 1.5
        lattice |= self.lattice and self.sharp < 1.6 and self.even > 0.75 and self.range > 2
        ions = self.sharp < 2.1 and self.even > 0.45 and 4.5 < self.range < 14 and self.fine > 3
        return self.common > 0.25 and self.ridge < 90 and (lattice or (ions and self.common > 0.6))


def surface(image: Array, knots: float = _KNOTS) -> Array:
    """Fit a cubic spline surface that vacancies, scars and adsorbates hardly bend.

    Parameters
    ----------
    image
        Shape (M, N).
    knots
        Their distance in pixels.
    """
    f = np.asarray(image, np.float64)
    down, across = (_splines(size, knots) for size in f.shape)
    by_rows, by_columns = (np.linalg.solve(a.T @ a + 1e-6 * np.eye(a.shape[1]), a.T) for a in (down, across))

    def fitted(a: Array) -> Array:
        return np.asarray(down @ (by_rows @ a @ by_columns.T) @ across.T)

    b = fitted(f)
    for _ in range(_ROUNDS):
        e = f - b
        limit = _CLIP * spread(e - np.median(e[:: max(1, len(e) // 64)]))
        move = fitted(np.clip(e, -limit, limit))
        b += move
        if float(np.abs(move).max()) < 1e-3 * limit:
            break
    return b


def tell(image: Array, hidden: Array | None = None) -> Tell:
    """Look for edges in what a stiff surface leaves of an image.

    Parameters
    ----------
    image
        Shape (M, N).
    hidden
        Its lattice, which is no edge.
    """
    f = np.asarray(image, np.float64)
    if min(f.shape) < _LOOK:
        return Tell(edges=np.inf, sharp=np.inf, range=0.0, fine=0.0, even=0.0, common=0.0)
    tiny = 1e-30 + 1e-12 * float(np.abs(f).max())
    contrast, even, common = _fine(f, tiny)
    noise = spread(np.diff(np.diff(f, 2, axis=1), 2, axis=0)) / 6  # Immerkær's mask has the norm 6
    plain = f if hidden is None else f - hidden
    b = surface(plain, _LOOK)
    low, high = np.percentile(levelled(b), (1, 99))
    # Single precision is enough where the surface is gone, and half the memory.
    plain = (plain - b).astype(np.float32)
    left = np.abs(gaussian_filter(plain, 4.0)[8:-8, 8:-8])
    return Tell(
        edges=float(np.percentile(left, 99.5)) / (float(high - low) + tiny),
        sharp=_sharp((f - b).astype(np.float32)),
        range=float(high - low) / (contrast + tiny),
        fine=contrast / (noise + tiny),
        even=even,
        common=common,
        ridge=_ridge(plain),
        lattice=hidden is not None and bool(hidden.any()),
    )


def _fine(f: Array, tiny: float) -> tuple[float, float, float]:
    """Contrast of what is fine; its evenness; the correlation of neighbours."""
    fine = f - gaussian_filter(f, 4.0)
    rows, columns = (size // _TILE for size in f.shape)
    tiles = fine[: rows * _TILE, : columns * _TILE].reshape(rows, _TILE, columns, _TILE).std(axis=(1, 3))
    poor, rich = np.percentile(tiles, (10, 90))
    inner = fine[8:-8, 8:-8]
    power = float(np.mean(inner * inner)) + tiny**2
    common = min(float(np.mean(inner[1:] * inner[:-1])), float(np.mean(inner[:, 1:] * inner[:, :-1])))
    return float(fine.std()), float(poor / (rich + tiny)), common / power


def scale_of(fine: Array) -> float:
    """Typical wavelength in pixels: that of the wave as high and as steep."""
    steep = np.mean(np.diff(fine, axis=0) ** 2) + np.mean(np.diff(fine, axis=1) ** 2)
    return float(2 * np.pi * fine.std() / np.sqrt(max(float(steep), 1e-300)))


def _ridge(v: Array) -> float:
    """Extent of the longest connected place where the image is steep at a scale of four pixels."""
    steep = gaussian_gradient_magnitude(v, 4.0)[8:-8, 8:-8]
    high = max(float(np.percentile(steep, 97)), 4 * float(np.median(steep)))
    places = find_objects(label(steep >= high, np.ones((3, 3)))[0])
    return max(
        (float(np.hypot(*(side.stop - side.start for side in place))) for place in places), default=0.0
    )


def _sharp(v: Array) -> float:
    """How much steeper the image is at small scale where its smooth part is steepest."""
    steep, close = (s * gaussian_gradient_magnitude(v, s) for s in (4.0, 1.0))
    close = maximum_filter(close, 5)
    inner = np.s_[8:-8, 8:-8]
    steep, close = steep[inner], close[inner]
    at = steep >= np.percentile(steep, 98)
    return float(np.median(close[at]) / max(float(np.median(close)), 1e-300))


def levelled(b: Array) -> Array:
    """Subtract the plane that fits best."""
    y, x = (np.linspace(-1, 1, size) for size in b.shape)
    centred = b - b.mean()
    centred = centred - np.outer(y, np.full(x.size, y @ centred.mean(axis=1) / (y @ y)))
    return np.asarray(centred - np.outer(np.ones(y.size), x * (x @ centred.mean(axis=0) / (x @ x))))


def _splines(size: int, knots: float) -> Array:
    """Cubic B-splines at the pixels of one side, as columns, by the recurrence of Cox and de Boor.

    These are SciPy's numbers, bit for bit, without ``scipy.interpolate``: importing it takes 0.2 s.

    References
    ----------
    C. de Boor, "On calculating with B-splines", Journal of Approximation Theory 6, 50-62 (1972),
    doi:10.1016/0021-9045(72)90080-9.
    """
    pieces = max(2, round(size / knots))
    t = np.linspace(0, size - 1, pieces + 1)
    t = np.concatenate([[t[0]] * 3, t, [t[-1]] * 3])
    x = np.arange(size).clip(0, size - 1 - 1e-9)
    left = np.searchsorted(t, x, side="right") - 1
    h = np.zeros((4, size))  # the four splines that are not 0 at a pixel
    h[0] = 1
    for degree in range(1, 4):
        lower = h.copy()
        h[0] = 0
        for n in range(1, degree + 1):
            begin, end = t[left + n - degree], t[left + n]
            weight = lower[n - 1] / (end - begin)
            h[n - 1] += weight * (end - x)
            h[n] = weight * (x - begin)
    out = np.zeros((size, len(t) - 4))
    out[np.arange(size), left - 3 + np.arange(4)[:, np.newaxis]] = h
    return out
