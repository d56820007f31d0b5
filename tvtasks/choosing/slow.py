"""A slow background under a lattice, told from terraces: a terrace has edges, drift has none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline
from scipy.ndimage import gaussian_filter

from tvtasks.operators import Array
from tvtasks.solvers.offsets import spread

_KNOTS = 32.0  # px between the knots of a surface that is taken away
_LOOK = 48.0  # px; wider, so that edges stay out of it
_CLIP = 1.5  # standard deviations: what sticks out further does not bend the surface more
_ROUNDS = 12


@dataclass(frozen=True)
class Tell:
    """Numbers that tell drift from terraces.

    Attributes
    ----------
    edges
        What a stiff surface leaves near edges, over the range of the surface: lattices on drift .01–.07,
        terraces from .22, islands from .34, particles from 1.5 (synthetic scans).
    range
        Of the levelled surface, over the contrast of what is fine.
    texture
        What a stiff surface leaves, over the contrast of what is fine.
    peaked
        How far the largest of what is left stands above the typical: edges are few, a texture is everywhere.
    """

    edges: float
    range: float
    texture: float
    peaked: float


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
    by_rows, by_columns = (
        np.linalg.solve(a.T @ a + 1e-6 * np.eye(a.shape[1]), a.T) for a in (down, across)
    )

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


def tell(image: Array) -> Tell:
    """Look for edges in what a stiff surface leaves of an image."""
    f = np.asarray(image, np.float64)
    b = surface(f, _LOOK)
    left = gaussian_filter(f - b, 4.0)[8:-8, 8:-8]
    size = np.abs(left).ravel()
    largest, typical = (float(q) for q in np.percentile(size, (99.5, 50)))
    low, high = np.percentile(levelled(b), (1, 99))
    fine = float((f - gaussian_filter(f, 4.0)).std())
    tiny = 1e-30 + 1e-12 * float(np.abs(f).max())
    return Tell(
        largest / (high - low + tiny), float(high - low) / (fine + tiny), largest / (fine + tiny),
        largest / (typical + tiny),
    )  # fmt: skip


def levelled(b: Array) -> Array:
    """Subtract the plane that fits best."""
    y, x = (np.linspace(-1, 1, size) for size in b.shape)
    centred = b - b.mean()
    centred = centred - np.outer(y, np.full(x.size, y @ centred.mean(axis=1) / (y @ y)))
    return np.asarray(centred - np.outer(np.ones(y.size), x * (x @ centred.mean(axis=0) / (x @ x))))


def _splines(size: int, knots: float) -> Array:
    """Cubic B-splines at the pixels of one side, as columns."""
    pieces = max(2, round(size / knots))
    t = np.linspace(0, size - 1, pieces + 1)
    t = np.concatenate([[t[0]] * 3, t, [t[-1]] * 3])
    return np.asarray(BSpline.design_matrix(np.arange(size).clip(0, size - 1 - 1e-9), t, 3).toarray())
