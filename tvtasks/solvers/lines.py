"""Huber-ROF and TV-L1 in one direction: every line is a small problem, solved exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tvtasks.models import TVL1, HuberROF
from tvtasks.operators import Array, Direction, gradient_adjoint
from tvtasks.solvers import Solution, certificates
from tvtasks.solvers.certificates import Certificate
from tvtasks.solvers.kernels import compiled, larger
from tvtasks.solvers.wavefront import mapping

# All kinds of lines in the tests settled within 20 passes; one that does not is left to the iteration.
_PASSES = 200
# Lines that are solved side by side.
_LANES = 64


def solve(
    image: Array, model: HuberROF | TVL1, direction: Direction, *, rtol: float = 0.0, threads: int = 1
) -> Solution | None:
    """Return the exact minimiser for direction ``x`` or ``y``, or None if a line did not settle.

    It is float32 for a float32 image, unless that would miss the tolerance.
    """
    if isinstance(model, TVL1):
        u, certificate = _tv_l1(np.ascontiguousarray(image if direction == "y" else image.T), model, threads)
        result = u if direction == "y" else np.ascontiguousarray(u.T)
        return certificates.solution(certificate, result, method="line-exact")
    rows = np.ascontiguousarray(image if direction == "x" else image.T, np.float64)
    found = _huber_rof(rows, model)
    if found is None:
        return None
    u, p = found
    if direction == "y":
        u, p = np.ascontiguousarray(u.T), p[::-1].transpose(0, 2, 1)
    certificate, u, _ = certificates.certify_rounded(model, u, None, p, image, direction, rtol)
    return certificates.solution(certificate, u, method="line-exact")


def in_blocks(work: Callable[[Sequence[slice]], None], lines: int, lanes: int, threads: int) -> None:
    """Distribute blocks of `lanes` lines among threads."""
    blocks = [slice(start, min(start + lanes, lines)) for start in range(0, lines, lanes)]
    with mapping(threads) as run:
        list(run(work, [blocks[n::threads] for n in range(threads)]))


def _huber_rof(f: Array, model: HuberROF) -> tuple[Array, Array] | None:
    """Solve (αI + DDᵀ/λ) p = D f in the box |p| ≤ 1 for the rows of `f`; then u = f − Dᵀp/λ.

    α may be 0. Each row is a tridiagonal quadratic programme, solved by a primal–dual active set.

    References
    ----------
    M. Hintermüller, K. Ito, K. Kunisch, "The Primal-Dual Active Set Strategy as a Semismooth Newton Method",
    SIAM Journal on Optimization 13 (2002) 865–888, doi:10.1137/S1052623401383558.
    """
    p = np.zeros((2, *f.shape))
    if f.shape[1] > 1:
        inner = np.zeros((f.shape[0], f.shape[1] - 1))
        if _box_lines(f, model.lam, model.alpha, inner, _PASSES) < 0:
            return None
        p[0, :, :-1] = np.clip(inner, -1, 1)
    return f - gradient_adjoint(p, "x") / model.lam, p


def _tv_l1(f: Array, model: TVL1, threads: int) -> tuple[Array, Certificate]:
    """Solve the columns of `f` by dynamic programming; the minimiser takes only values of the column."""
    u, sums = np.empty_like(f), np.zeros((3, f.shape[1]))
    half, shift = _pieces(model.lam, len(f))

    def solve_some(blocks: Sequence[slice]) -> None:
        data, value, lower, upper = np.zeros((4, len(f), _LANES), f.dtype)
        p, least, most = np.zeros((3, len(f), _LANES))
        for lines in blocks:
            lanes = slice(0, lines.stop - lines.start)
            data[:, lanes] = f[:, lines]
            _tv_l1_messages(data, half, shift, lower, upper, value)
            _read_off(lower, upper, value)
            _tv_l1_dual(data, model.lam, value, least, most, p)
            sums[:, lines] = _tv_l1_sums(data, model.lam, value, p)[:, lanes]
            u[:, lines] = value[:, lanes]

    in_blocks(solve_some, f.shape[1], _LANES, threads)
    energy, product, most = float(sums[0].sum()), float(sums[1].sum()), float(sums[2].max())
    lower = product * min(1.0, model.lam / most) if most > 0 else 0.0
    gap = certificates.relative_gap(energy, energy - lower)
    return u, Certificate(energy, lower, gap, "primal-dual gap, dual scaled")


@compiled
def _box_line(f: Array, lam: float, alpha: float, p: Array, passes: int) -> int:  # noqa: PLR0912 - one loop
    """Minimise ½ pᵀ(αI + DDᵀ/λ)p − pᵀDf over |p| ≤ 1 for one line `f`, in place; D is the forward difference.

    Primal–dual active set: entries held at ±1 are fixed, the others solve a tridiagonal system, and entries
    change side if they leave the box or their multiplier has the wrong sign. The tolerance decides ties,
    which integer data have (without it such lines cycle for α = 0).

    Returns the number of passes, or -1 if the sets had not settled after `passes`.
    """
    n = f.size - 1
    tolerance = 1e-12
    diagonal = alpha + 2 / lam
    beside = -1 / lam
    side = np.zeros(n, np.int8)
    c = np.empty(n)
    d = np.empty(n)
    for count in range(passes):
        for i in range(n):
            if side[i] != 0:
                c[i] = 0.0
                d[i] = float(side[i])
            else:
                pivot = diagonal
                right = f[i + 1] - f[i]
                if i > 0:
                    pivot -= beside * c[i - 1]
                    right -= beside * d[i - 1]
                c[i] = beside / pivot
                d[i] = right / pivot
        p[n - 1] = d[n - 1]
        for i in range(n - 2, -1, -1):
            p[i] = d[i] - c[i] * p[i + 1]
        changed = False
        for i in range(n):
            new = 0
            if side[i] == 0:
                if p[i] > 1 + tolerance:
                    new = 1
                elif p[i] < -1 - tolerance:
                    new = -1
            else:
                left = p[i - 1] if i > 0 else 0.0
                right = p[i + 1] if i < n - 1 else 0.0
                multiplier = f[i + 1] - f[i] - diagonal * p[i] - beside * (left + right)
                if multiplier * side[i] > -tolerance * diagonal:
                    new = side[i]
            if new != side[i]:
                side[i] = new
                changed = True
        if not changed:
            return count + 1
    return -1


@compiled
def _box_lines(f: Array, lam: float, alpha: float, p: Array, passes: int) -> int:
    """Run `_box_line` for each row of `f`; return the largest number of passes, or -1 if one fails."""
    most = 0
    for i in range(f.shape[0]):
        count = _box_line(f[i], lam, alpha, p[i], passes)
        if count < 0:
            return -1
        most = max(most, count)
    return most


# For TV-L1, _LANES lines are solved side by side, with the pixels of a line down a column. Values are read
# before one is chosen: otherwise the compiler would not dare to read both.


@compiled
def _clamp_lanes(a: Array, i: int, bounds: Array, least: int, most: int, out: Array, k: int) -> None:
    """Write row `i` of `a`, clamped to two rows of `bounds`, to row `k` of `out`."""
    for lane in range(_LANES):
        value, low, high = a[i, lane], bounds[least, lane], bounds[most, lane]
        value = low if value < low else value
        out[k, lane] = high if value > high else value


@compiled
def _tv_l1_messages(f: Array, half: int, shift: int, lower: Array, upper: Array, u: Array) -> None:
    """Minimise Σ|u[i+1] − u[i]| + λ Σ|u[i] − f[i]| exactly for each line, except for reading off u.

    This is a dynamic programme on the derivative of the optimal cost of the line so far as a function of its
    last value: a staircase, which the next pixel sees cut off at ±1. A pixel adds a jump of 2λ at its own
    value: everything below moves down by λ, everything above moves up. If the levels are cut into pieces,
    `shift` of which make up λ and `half` of which lie between 0 and 1, a staircase is the list of values at
    which its pieces are climbed, infinite for those that no pixel has reached yet. So a pixel puts piece k at
    the pixel's value, clamped to where the pieces k − shift and k + shift were.

    Writes, for each pixel, the interval in which the staircase is between −1 and 1, and u for the last one.
    """
    n = f.shape[0]
    here = np.full((2 * (half + shift), _LANES), np.inf).astype(f.dtype)
    here[: half + shift] = -np.inf
    after = here.copy()
    middle = half + shift
    for i in range(n):
        reach = min(half, shift * (i + 1))
        for k in range(middle - reach, middle + reach):
            _clamp_lanes(f, i, here, k - shift, k + shift, after, k)
        for lane in range(_LANES):
            lower[i, lane], upper[i, lane] = after[shift, lane], after[middle + half - 1, lane]
        here, after = after, here
    for lane in range(_LANES):
        u[n - 1, lane] = here[middle - 1, lane]


def _pieces(lam: float, n: int) -> tuple[int, int]:
    """Return how many pieces lie between the levels 0 and 1 of a staircase, and how many make up λ.

    The steps of a staircase end at levels jλ, −1 + jλ and 1 − jλ, which coincide if 1/λ is an integer. Levels
    that n pixels cannot reach are left out.
    """
    inverse = 1 / lam
    if abs(inverse - round(inverse)) < 1e-12 * inverse:
        return min(round(inverse), n), 1
    return min(int(inverse) + int(2 * inverse) + 1, 3 * n), 3


@compiled
def _read_off(lower: Array, upper: Array, u: Array) -> None:
    """Fill `u` upwards from its last row, each value clamped to its interval."""
    for i in range(u.shape[0] - 2, -1, -1):
        for lane in range(_LANES):
            value, least, most = u[i + 1, lane], lower[i, lane], upper[i, lane]
            value = least if value < least else value
            u[i, lane] = most if value > most else value


@compiled
def _tv_l1_dual(f: Array, lam: float, u: Array, lower: Array, upper: Array, p: Array) -> None:
    """Write a dual `p` that proves that `u` is the minimiser for `f`; `lower` and `upper` are overwritten.

    p[i] = p[i-1] + λ s with s in the subdifferential of |u − f|, p[i] = ±1 where u steps, and 0 after the
    last pixel. The forward pass finds the possible interval, the backward pass makes a choice.
    """
    n = f.shape[0]
    low, high, after = np.zeros(_LANES), np.zeros(_LANES), np.zeros(_LANES)
    for i in range(n - 1):
        for lane in range(_LANES):
            value, next_value, data = u[i, lane], u[i + 1, lane], f[i, lane]
            least = low[lane] + (lam if value > data else -lam)
            most = high[lane] + (-lam if value < data else lam)
            least = -1.0 if least < -1 or next_value < value else least
            most = 1.0 if most > 1 or next_value > value else most
            low[lane] = 1.0 if next_value > value else least
            high[lane] = -1.0 if next_value < value else most
            lower[i, lane], upper[i, lane] = low[lane], high[lane]
    for lane in range(_LANES):
        p[n - 1, lane] = 0.0
    for i in range(n - 2, -1, -1):
        for lane in range(_LANES):
            value, data, here = u[i + 1, lane], f[i + 1, lane], after[lane]
            least, most = lower[i, lane], upper[i, lane]
            from_below = here - (-lam if value < data else lam)
            from_above = here - (lam if value > data else -lam)
            here = from_below if here < from_below else here
            here = least if here < least else here
            here = from_above if here > from_above else here
            here = most if here > most else here
            after[lane] = here
            p[i, lane] = here


@compiled
def _tv_l1_sums(f: Array, lam: float, u: Array, p: Array) -> Array:
    """Return the energy, ⟨w, f⟩ and max |w| of each line, w = ∇ᵀp."""
    sums = np.zeros((3, _LANES))
    for i in range(f.shape[0]):
        # The last row of p, which serves as the row before the first, is zero.
        _add_lanes(f, lam, u, p, (i - 1) % f.shape[0], i, min(i + 1, f.shape[0] - 1), sums)
    return sums


@compiled
def _add_lanes(f: Array, lam: float, u: Array, p: Array, above: int, i: int, below: int, sums: Array) -> None:
    for lane in range(_LANES):
        value, data, largest = np.float64(u[i, lane]), np.float64(f[i, lane]), sums[2, lane]
        w = p[above, lane] - p[i, lane]
        sums[0, lane] += abs(u[below, lane] - value) + lam * abs(value - data)
        sums[1, lane] += w * data
        sums[2, lane] = larger(abs(w), largest)
