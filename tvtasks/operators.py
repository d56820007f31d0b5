"""The finite differences of all models, in plain NumPy: what the compiled code is tested against.

Images have shape (M, N), row index first; x runs along a row, y down a column. In a direction that is left
out the component is zero. Every operator has its adjoint for the Euclidean inner product.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Direction = Literal["both", "x", "y"]
Array = NDArray[Any]

SQRT_HALF = 0.5**0.5


def _forward(a: Array, axis: int) -> Array:
    """Forward difference, zero at the last position."""
    return np.diff(a, axis=axis, append=np.take(a, [-1], axis=axis))


def _forward_adjoint(p: Array, axis: int) -> Array:
    """Adjoint of `_forward`: ``p[k-1] - p[k]``; the last entry of `p` has no effect."""
    kept = np.delete(p, -1, axis=axis)
    edge = np.zeros_like(np.take(p, [0], axis=axis))
    return np.diff(-kept, axis=axis, prepend=edge, append=edge)


def gradient(u: Array, direction: Direction = "both") -> Array:
    """Return the forward differences (∂x u, ∂y u), which are zero at the last column and row.

    Parameters
    ----------
    u
        Shape (M, N).
    direction
        Components to keep.

    Returns
    -------
    ndarray
        Shape (2, M, N), dtype of `u`.

    Examples
    --------
    >>> import numpy as np
    >>> gradient(np.array([[0.0, 1.0], [0.0, 3.0]]))[0].tolist()
    [[1.0, 0.0], [3.0, 0.0]]
    """
    g = np.zeros((2, *u.shape), dtype=u.dtype)
    if direction != "y":
        g[0] = _forward(u, 1)
    if direction != "x":
        g[1] = _forward(u, 0)
    return g


def gradient_adjoint(p: Array, direction: Direction = "both") -> Array:
    """Return ∇ᵀp, the negative divergence of `p` (2, M, N); shape (M, N)."""
    w = np.zeros(p.shape[1:], dtype=p.dtype)
    if direction != "y":
        w += _forward_adjoint(p[0], 1)
    if direction != "x":
        w += _forward_adjoint(p[1], 0)
    return w


def jacobian(v: Array, direction: Direction = "both") -> Array:
    """Return the forward differences (∂x vx, ∂y vx, ∂x vy, ∂y vy) of `v` (2, M, N); shape (4, M, N).

    The code that was published with the paper (Corrias et al. 2025, see `tvtasks.models`) uses these.
    """
    return np.concatenate([gradient(v[0], direction), gradient(v[1], direction)])


def jacobian_adjoint(q: Array, direction: Direction = "both") -> Array:
    """Return the adjoint of `jacobian` at `q` (4, M, N); shape (2, M, N)."""
    return np.stack([gradient_adjoint(q[:2], direction), gradient_adjoint(q[2:], direction)])


def symmetrised_gradient(v: Array, direction: Direction = "both") -> Array:
    """Return (E_xx, E_yy, √2·E_xy) of a vector field `v` (2, M, N); shape (3, M, N).

    The field lives where `gradient` is a true difference: v_x up to the last but one column, v_y up to the
    last but one row. E takes backward differences wherever both ends are defined, and is zero elsewhere. So
    the gradient of an affine image costs nothing, and no true difference is left out at the border. The
    factor √2 makes the Euclidean norm of the three components the Frobenius norm of the symmetric matrix,
    whose off-diagonal entry counts twice.

    References
    ----------
    Equation 4 of the paper (see `tvtasks.models`), after: K. Bredies, K. Kunisch, T. Pock, "Total generalized
    variation", SIAM Journal on Imaging Sciences 3 (2010) 492–526, doi:10.1137/090769521.
    """
    e = np.zeros((3, *v.shape[1:]), dtype=v.dtype)
    vx, vy = v
    if direction != "y":
        e[0, :, 1:-1] = vx[:, 1:-1] - vx[:, :-2]
    if direction != "x":
        e[1, 1:-1] = vy[1:-1] - vy[:-2]
    if direction == "both":
        e[2, 1:, :-1] += vx[1:, :-1] - vx[:-1, :-1]
        e[2, :-1, 1:] += vy[:-1, 1:] - vy[:-1, :-1]
        e[2] *= SQRT_HALF
    return e


def symmetrised_gradient_adjoint(q: Array, direction: Direction = "both") -> Array:
    """Return the adjoint of `symmetrised_gradient` at `q` (3, M, N); shape (2, M, N)."""
    w = np.zeros((2, *q.shape[1:]), dtype=q.dtype)
    wx, wy = w
    if direction != "y":
        wx[:, 1:-1] += q[0, :, 1:-1]
        wx[:, :-2] -= q[0, :, 1:-1]
    if direction != "x":
        wy[1:-1] += q[1, 1:-1]
        wy[:-2] -= q[1, 1:-1]
    if direction == "both":
        mixed = q[2] * SQRT_HALF
        wx[1:, :-1] += mixed[1:, :-1]
        wx[:-1, :-1] -= mixed[1:, :-1]
        wy[:-1, 1:] += mixed[:-1, 1:]
        wy[:-1, :-1] -= mixed[:-1, 1:]
    return w


def magnitude(p: Array) -> Array:
    """Return the Euclidean norm over the components of `p` (c, M, N) at each pixel; shape (M, N)."""
    return np.asarray(np.sqrt(np.sum(p * p, axis=0)))
