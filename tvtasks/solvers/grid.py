"""The padded grid that the compiled kernels work on: a border of one pixel of zeros, and masks."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tvtasks.operators import SQRT_HALF, Array, Direction


class Grid(NamedTuple):
    """Masks that are 1 where a difference is a true one, per padded column (x) or row (y).

    `mx`, `my` belong to the forward differences of ∇ (and of the Jacobian), `ex`, `ey` to the backward
    differences on the diagonal of the symmetrised gradient; `mixed` is the factor of its off-diagonal.
    """

    mx: Array
    my: Array
    ex: Array
    ey: Array
    mixed: float

    @classmethod
    def of(cls, shape: tuple[int, ...], direction: Direction, dtype: Any) -> Grid:
        """Return the masks for an unpadded image of `shape`."""
        rows, columns = shape
        mx, ex = _masks(columns, dtype, kept=direction != "y")
        my, ey = _masks(rows, dtype, kept=direction != "x")
        return cls(mx, my, ex, ey, SQRT_HALF if direction == "both" else 0.0)


def _masks(size: int, dtype: Any, *, kept: bool) -> tuple[Array, Array]:
    forward, backward = np.zeros((2, size + 2), dtype)
    if kept:
        forward[1:size] = 1
        backward[2:size] = 1
    return forward, backward


def kept(direction: Direction) -> tuple[float, float]:
    """Return 1 for each direction, x and y, in which differences are taken, otherwise 0."""
    return float(direction != "y"), float(direction != "x")


def pad(a: Array, dtype: Any) -> Array:
    """Copy `a` in `dtype`, with a border of one pixel of zeros around the last two axes."""
    padded = np.zeros((*a.shape[:-2], a.shape[-2] + 2, a.shape[-1] + 2), dtype)
    padded[..., 1:-1, 1:-1] = a
    return padded


def crop(a: Array) -> Array:
    """Undo `pad`, without copying."""
    return a[..., 1:-1, 1:-1]
