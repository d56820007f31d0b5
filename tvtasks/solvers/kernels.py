"""Compiled iterations of the primal–dual methods (numba; they release the interpreter's lock).

Every array has a border of one pixel. A difference across the border must be zero: `same` repeats the
outermost pixels of a row, the first row stands above the first, the last below the last, and dual arrays stay
zero where there is no difference. So no inner loop has a branch, and one kernel serves all three directions.
Iterates are float32 or float64; constants are converted to that dtype first, because a float64 literal would
turn the whole loop into float64.

A row function receives whole arrays and the number of the row: a slice would cost as much as fifty pixels.
Its loops are small enough for the compiler to see that no two arrays overlap, and to vectorise them.

An iteration passes through the image once, stage after stage, each stage one row behind the one that it
needs. Several iterations follow each other down the image (a wavefront) while the rows that they share are in
the cache; the numbers are the same as one iteration after the other. A kernel receives the steps of the
wavefront to make, from `first` up to `last`: at step s, the first stage of iteration t is at row s − lag · t.
`rows` (iteration, variable, row modulo 4, column) holds what passes from stage to stage. The caller is
tvtasks.solvers.wavefront.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tvtasks.solvers.compiling import kept

Array = NDArray[Any]

# "nnan" and "ninf" are left out so that a diverging iterate is noticed. "afn" lets the processor estimate
# 1/√x in float32 and improve it to within rounding, instead of a root and a division. error_model="numpy"
# drops the test for a division by zero, which prevents vectorising.
compiled = kept(nogil=True, error_model="numpy", fastmath={"contract", "nsz", "arcp", "afn"})
_SORTED, _HALVINGS = 24, 64  # values that are sorted rather than counted; of the bracket
# Sums and maxima may be taken in any order, so that they can be vectorised; a NaN still makes a sum NaN.
summed = kept(nogil=True, error_model="numpy", fastmath={"contract", "nsz", "arcp", "reassoc", "nnan"})


@kept(nogil=True, error_model="numpy")
def median_of(values: Array, room: Array) -> float:
    """Return the median of some values, three times as fast as by partitioning.

    Its bracket is halved by counting, which has no branches, until a few values are left to sort.

    Parameters
    ----------
    values
        One or more, finite, shape (N,).
    room
        At least N + 1 places of the same dtype, which are overwritten.
    """
    n = len(values)
    below, upto = (n - 1) // 2, n // 2  # ranks of the two in the middle
    low, high = values[0], values[0]
    for i in range(n):
        low, high = min(low, values[i]), max(high, values[i])
    smaller, inside, whole = 0, n, True
    for _ in range(_HALVINGS):
        middle = low + (high - low) / values.dtype.type(2)
        if inside <= _SORTED or not low < middle < high:
            break
        count = 0
        for i in range(n):
            count += 1 if values[i] < middle else 0
        if count <= below:
            low, inside, smaller = middle, inside - (count - smaller), count
        elif count > upto:
            high, inside, whole = middle, count - smaller, False
        else:
            break
    m = 0
    for i in range(n):
        room[m] = values[i]
        m += 1 if (values[i] >= low) & ((values[i] < high) | whole) else 0
    few = np.sort(room[:m])
    return (float(few[below - smaller]) + float(few[upto - smaller])) / 2


@cache
def keep_freed_memory() -> None:
    """Make the C library of Linux keep up to 32 MB of freed memory for the next arrays.

    Call it before solving. Otherwise the library returns the memory to the system and gets it back page by
    page, which takes longer than solving an image of 512 × 512 pixels. How much it keeps follows the largest
    block freed so far: this one, whose pages nobody touches.
    """
    np.empty(2**25 - 2**14, np.uint8)


@njit(inline="always")
def larger(a: Any, b: Any) -> Any:
    """Return the larger value, in a form that is vectorised.

    A running maximum in one variable is not vectorised, so there is one maximum per column.
    """
    return a if a > b else b


@compiled
def same(a: Array, k: int) -> None:
    """Repeat the outermost pixels of row `k` beyond the border."""
    n = a.shape[1]
    a[k, 0] = a[k, 1]
    a[k, n - 1] = a[k, n - 2]


@compiled
def _ball_row(
    p: Array, i: int, z: Array, k: int, below: int, step_x: Any, step_y: Any, shrink: Any, rho: Any
) -> None:
    """Row of p: a step along ∇z, shrunk, projected onto the unit ball, over-relaxed."""
    one = p.dtype.type(1)
    for j in range(1, p.shape[2] - 1):
        a = (p[0, i, j] + step_x * (z[k, j + 1] - z[k, j])) * shrink
        b = (p[1, i, j] + step_y * (z[below, j] - z[k, j])) * shrink
        s = one / np.sqrt(max(one, a * a + b * b))
        p[0, i, j] += rho * (a * s - p[0, i, j])
        p[1, i, j] += rho * (b * s - p[1, i, j])


@compiled
def _huber_rof_primal(
    u: Array, p: Array, f: Array, i: int, z: Array, k: int, tau: Any, pull: Any, shrink: Any, rho: Any
) -> None:
    two = u.dtype.type(2)
    for j in range(1, u.shape[1] - 1):
        w = p[0, i, j - 1] - p[0, i, j] + p[1, i - 1, j] - p[1, i, j]
        move = (u[i, j] - tau * w + pull * f[i, j]) * shrink - u[i, j]
        z[k, j] = u[i, j] + two * move
        u[i, j] += rho * move


@compiled
def huber_rof(
    u: Array,
    p: Array,
    f: Array,
    along_x: float,
    along_y: float,
    lam: float,
    alpha: float,
    tau: float,
    sigma: float,
    rho: float,
    iterations: int,
    rows: Array,
    first: int,
    last: int,
) -> None:
    """Run the over-relaxed primal–dual iteration for Huber-ROF with α > 0. Lag 2, two stages."""
    end = u.shape[0] - 1
    real = u.dtype.type
    for step in range(first, last):
        for t in range(iterations):
            i = step - 2 * t
            if i < 1 or i > end:
                continue
            z = rows[t, 0]
            if i < end:
                _huber_rof_primal(
                    u, p, f, i, z, i % 4, real(tau), real(tau * lam), real(1 / (1 + tau * lam)), real(rho)
                )
                same(z, i % 4)
            r = i - 1
            if r >= 1:
                _ball_row(
                    p,
                    r,
                    z,
                    r % 4,
                    min(i, end - 1) % 4,
                    real(sigma * along_x),
                    real(sigma * along_y),
                    real(1 / (1 + sigma * alpha)),
                    real(rho),
                )


@compiled
def _huber_dual_row(u: Array, i: int, alpha: Any, along_x: Any, along_y: Any, p: Array) -> None:
    for j in range(1, u.shape[1] - 1):
        x = along_x * (u[i, j + 1] - u[i, j])
        y = along_y * (u[i + 1, j] - u[i, j])
        shrink = 1 / max(alpha, np.sqrt(x * x + y * y))
        p[0, i, j] = x * shrink
        p[1, i, j] = y * shrink


@compiled
def huber_dual(u: Array, alpha: float, along_x: float, along_y: float, p: Array) -> None:
    """Write p = ∇u / max(α, |∇u|), the dual field that belongs to u."""
    rows, columns = u.shape[0] - 2, u.shape[1] - 2
    real = u.dtype.type
    for i in range(1, rows + 1):
        _huber_dual_row(u, i, real(alpha), real(along_x), real(along_y if i < rows else 0), p)
        p[0, i, columns] = 0
    # The last column has no gradient in x, but one in y.
    for i in range(1, rows):
        y = real(along_y) * (u[i + 1, columns] - u[i, columns])
        p[1, i, columns] = y / max(real(alpha), abs(y))


@compiled
def _residual_row(s: Array, p: Array, i: int, b: Array, k: int) -> None:
    """Row of s + ∇ᵀp, which is zero at a solution."""
    for j in range(1, b.shape[1] - 1):
        b[k, j] = s[i, j] + (p[0, i, j - 1] - p[0, i, j]) + (p[1, i - 1, j] - p[1, i, j])


@compiled
def _tv_primal(
    u: Array,
    i: int,
    b: Array,
    above: int,
    k: int,
    below: int,
    z: Array,
    centre: Any,
    side_x: Any,
    side_y: Any,
    rho: Any,
) -> None:
    """Row of u, moved against the smoothed residual and over-relaxed; row of z, moved twice as far."""
    two = u.dtype.type(2)
    for j in range(1, u.shape[1] - 1):
        move = centre * b[k, j] + side_x * (b[k, j - 1] + b[k, j + 1]) + side_y * (b[above, j] + b[below, j])
        z[k, j] = u[i, j] - two * move
        u[i, j] -= rho * move


@compiled
def fidelity_row(
    s: Array, f: Array, i: int, z: Array, k: int, omega: Any, shrink: Any, bound: Any, rho: Any
) -> None:
    """Row of s, the dual variable of the fidelity: a step along z − f, shrunk, bounded, over-relaxed."""
    for j in range(1, s.shape[1] - 1):
        t = shrink * (s[i, j] + omega * (z[k, j] - f[i, j]))
        s[i, j] += rho * (min(max(t, -bound), bound) - s[i, j])


@compiled
def mean_row(mean: Array, p: Array, i: int, share: float) -> None:
    """Move row `i` of a running mean of p towards p by the sample's share."""
    weight = mean.dtype.type(share)
    for c in range(p.shape[0]):
        for j in range(1, p.shape[2] - 1):
            mean[c, i, j] += weight * (mean.dtype.type(p[c, i, j]) - mean[c, i, j])


@compiled
def tv(
    u: Array,
    s: Array,
    p: Array,
    f: Array,
    along_x: float,
    along_y: float,
    sigma: float,
    omega: float,
    shrink: float,
    bound: float,
    rho: float,
    means: Array,
    shares: Array,
    iterations: int,
    rows: Array,
    first: int,
    last: int,
) -> None:
    """Run the preconditioned primal–dual iteration for TV-L1 and ROF. Lag 2, three stages.

    Iteration t adds p to the two `means`, with the weights shares[t].

    The fidelity has a dual variable s as well, so u is free and would take the step −(ω + σ∇ᵀ∇)⁻¹(s + ∇ᵀp).
    Two Richardson steps, as long as the middle of the spectrum allows, replace the inverse: they leave a
    fraction in [0, 1) of every mode, which keeps the iteration convergent for every σ and ω. Together they
    smooth over the neighbours.

    References
    ----------
    K. Bredies, H. Sun, "Preconditioned Douglas–Rachford Algorithms for TV- and TGV-Regularized Variational
    Imaging Problems", Journal of Mathematical Imaging and Vision 52 (2015) 317–344,
    doi:10.1007/s10851-015-0564-1.
    """
    end = u.shape[0] - 1
    real = u.dtype.type
    theta = omega + 2 * sigma * (along_x + along_y)
    centre, side_x, side_y = (
        real(1 / theta),
        real(sigma * along_x / theta**2),
        real(sigma * along_y / theta**2),
    )
    for step in range(first, last):
        for t in range(iterations):
            i = step - 2 * t
            if i < 1 or i > end + 1:
                continue
            b, z = rows[t, 0], rows[t, 1]
            if i < end:
                _residual_row(s, p, i, b, i % 4)
                same(b, i % 4)
            r = i - 1
            if 1 <= r < end:
                _tv_primal(
                    u,
                    r,
                    b,
                    max(r - 1, 1) % 4,
                    r % 4,
                    min(r + 1, end - 1) % 4,
                    z,
                    centre,
                    side_x,
                    side_y,
                    real(rho),
                )
                same(z, r % 4)
                fidelity_row(s, f, r, z, r % 4, real(omega), real(shrink), real(bound), real(rho))
            r = i - 2
            if r >= 1:
                _ball_row(
                    p,
                    r,
                    z,
                    r % 4,
                    min(r + 1, end - 1) % 4,
                    real(sigma * along_x),
                    real(sigma * along_y),
                    real(1),
                    real(rho),
                )
                for k in range(2):
                    if shares[t, k] > 0:
                        mean_row(means[k], p, r, shares[t, k])


@compiled
def _excess_row(p: Array, i: int, r: Array, k: int, bound: Any) -> None:
    """Row of what w = ∇ᵀp exceeds ±bound by."""
    for j in range(1, p.shape[2] - 1):
        w = p[0, i, j - 1] - p[0, i, j] + p[1, i - 1, j] - p[1, i, j]
        r[k, j] = w - min(max(w, -bound), bound)


@compiled
def _repaired_row(
    p: Array, o: Array, i: int, r: Array, k: int, below: int, step_x: Any, step_y: Any, beyond: Any
) -> None:
    """Row of p: a step from o against ∇r, projected onto the unit ball; o goes `beyond` its move."""
    one = p.dtype.type(1)
    for j in range(1, p.shape[2] - 1):
        a = o[0, i, j] - step_x * (r[k, j + 1] - r[k, j])
        b = o[1, i, j] - step_y * (r[below, j] - r[k, j])
        s = one / np.sqrt(max(one, a * a + b * b))
        a, b = a * s, b * s
        o[0, i, j] = a + beyond * (a - p[0, i, j])
        o[1, i, j] = b + beyond * (b - p[1, i, j])
        p[0, i, j] = a
        p[1, i, j] = b


@compiled
def repair(
    p: Array,
    o: Array,
    along_x: float,
    along_y: float,
    lam: float,
    beyond: Array,
    iterations: int,
    rows: Array,
    first: int,
    last: int,
) -> None:
    """Decrease by how much ∇ᵀp exceeds ±λ, with |p| ≤ 1: accelerated projected gradients. Lag 2, two stages.

    Half the sum of squares of the excess has a gradient of Lipschitz constant ‖∇‖² ≤ 8. `o` = p at the start.

    References
    ----------
    A. Beck, M. Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems",
    SIAM Journal on Imaging Sciences 2 (2009) 183–202, doi:10.1137/080716542.
    """
    end = p.shape[1] - 1
    real = p.dtype.type
    step = 1 / (4 * (along_x + along_y))
    for now in range(first, last):
        for t in range(iterations):
            i = now - 2 * t
            if i < 1 or i > end:
                continue
            r = rows[t, 0]
            if i < end:
                _excess_row(o, i, r, i % 4, real(lam))
                same(r, i % 4)
            k = i - 1
            if k >= 1:
                _repaired_row(
                    p,
                    o,
                    k,
                    r,
                    k % 4,
                    min(i, end - 1) % 4,
                    real(step * along_x),
                    real(step * along_y),
                    real(beyond[t]),
                )


@compiled
def residual(s: Array, p: Array, b: Array, first: int, last: int) -> None:
    """Write rows of s + ∇ᵀp, which is zero at a solution."""
    for i in range(first, last):
        _residual_row(s, p, i, b, i)


@compiled
def tv_duals(
    s: Array,
    p: Array,
    z: Array,
    f: Array,
    along_x: float,
    along_y: float,
    lam: float,
    omega: float,
    sigma: float,
    rho: float,
    first: int,
    last: int,
) -> None:
    """Move rows of s and p along z, each projected onto its ball, over-relaxed."""
    real = s.dtype.type
    end = z.shape[0] - 1
    for i in range(first, last):
        same(z, i)
        fidelity_row(s, f, i, z, i, real(omega), real(1), real(lam), real(rho))
        _ball_row(
            p,
            i,
            z,
            i,
            min(i + 1, end - 1),
            real(sigma * along_x),
            real(sigma * along_y),
            real(1),
            real(rho),
        )
