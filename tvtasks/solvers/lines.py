"""Huber-ROF and TV-L1 in one direction: every line is a small problem of its own, solved exactly."""

# A line is one loop with many cases; cut into functions it could not be read beside its description.
# ruff: noqa: PLR0912

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np

from tvtasks.models import TVL1, HuberROF
from tvtasks.operators import Array, Direction, gradient_adjoint
from tvtasks.solvers import Solution, certificates
from tvtasks.solvers.certificates import Certificate
from tvtasks.solvers.kernels import compiled

# Lines of every kind settled within 20 passes; one that has not by then is left to the iteration.
_PASSES = 200


def solve(image: Array, model: HuberROF | TVL1, direction: Direction, threads: int = 1) -> Solution | None:
    """Return the exact minimiser for direction ``x`` or ``y``, or None if a line did not settle."""
    f = np.ascontiguousarray(image if direction == "x" else image.T)
    if isinstance(model, TVL1):
        u, certificate = _tv_l1(f, model, threads)
        return certificates.solution(certificate, u if direction == "x" else u.T.copy(), method="line-exact")
    found = _huber_rof(f.astype(np.float64, copy=False), model)
    if found is None:
        return None
    u, p = found
    if direction == "y":
        u, p = np.ascontiguousarray(u.T), p[::-1].transpose(0, 2, 1)
    result = u.astype(image.dtype, copy=False)
    certificate = certificates.certify(model, result, None, p, image, direction)
    return certificates.solution(certificate, result, method="line-exact")


def _huber_rof(f: Array, model: HuberROF) -> tuple[Array, Array] | None:
    """Rows of `f`: the dual (αI + DDᵀ/λ) p = D f in the box |p| ≤ 1, then u = f − Dᵀp/λ. α = 0 included.

    A tridiagonal quadratic programme a row, by a primal–dual active set (Hintermüller, Ito & Kunisch 2003).
    """
    p = np.zeros((2, *f.shape))
    if f.shape[1] > 1:
        inner = np.zeros((f.shape[0], f.shape[1] - 1))
        if _box_lines(f, model.lam, model.alpha, inner, _PASSES) < 0:
            return None
        p[0, :, :-1] = np.clip(inner, -1, 1)
    return f - gradient_adjoint(p, "x") / model.lam, p


def _tv_l1(f: Array, model: TVL1, threads: int) -> tuple[Array, Certificate]:
    """Rows of `f`, by dynamic programming; the minimiser's values are values of the row."""
    u, sums = np.empty_like(f), np.zeros((3, len(f)))
    bounds = np.linspace(0, len(f), threads + 1).astype(int)
    with ThreadPoolExecutor(threads) if threads > 1 else nullcontext() as pool:
        run = pool.map if pool else map
        list(run(lambda first, last: _tv_l1_lines(f, model.lam, u, sums, first, last), bounds, bounds[1:]))
    energy, product, most = float(sums[0].sum()), float(sums[1].sum()), float(sums[2].max())
    lower = product * min(1.0, model.lam / most) if most > 0 else 0.0
    gap = certificates.relative_gap(energy, energy - lower)
    return u, Certificate(energy, lower, gap, "primal-dual gap, dual scaled")


@compiled
def _box_line(f: Array, lam: float, alpha: float, p: Array, passes: int) -> int:
    """Minimise ½ pᵀ(αI + DDᵀ/λ)p − pᵀDf over |p| ≤ 1 for one line `f`, in place; D the forward difference.

    Primal–dual active set: entries held at ±1 are fixed, the others solve a tridiagonal system, and entries
    change side where they leave the box or their multiplier has the wrong sign. The tolerance decides ties,
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
    """`_box_line` for every row of `f`; the largest number of passes, or -1 if one did not settle."""
    most = 0
    for i in range(f.shape[0]):
        count = _box_line(f[i], lam, alpha, p[i], passes)
        if count < 0:
            return -1
        most = max(most, count)
    return most


@compiled
def _tv_l1_line(f: Array, lam: float, u: Array) -> None:
    """Minimise Σ|u[i+1] − u[i]| + λ Σ|u[i] − f[i]| for one line, exactly.

    Dynamic programme over the derivative of the optimal cost of the line so far as a function of its last
    value: a staircase, kept as its jumps in order. A pixel adds a jump of 2λ at its value; the next pixel
    sees the staircase cut off at ±1, so that no more than 1/λ + 2 jumps are ever kept. Then u is read off
    backwards: the next value, clamped to where the staircase is between −1 and 1.
    """
    n = f.size
    at = np.empty(n + 1)
    jump = np.empty(n + 1)
    lower = np.empty(n)
    upper = np.empty(n)
    # The jumps that are kept are those from first up to end.
    first = 0
    end = 0
    left = 0.0
    right = 0.0
    for i in range(n):
        value = np.float64(f[i])
        k = end
        while k > first and at[k - 1] > value:
            at[k] = at[k - 1]
            jump[k] = jump[k - 1]
            k -= 1
        at[k] = value
        jump[k] = 2 * lam
        end += 1
        left -= lam
        right += lam
        if i == n - 1:
            break
        lower[i] = -np.inf
        if left < -1:
            while left + jump[first] < -1:
                left += jump[first]
                first += 1
            lower[i] = at[first]
            jump[first] -= -1 - left
            left = -1.0
        upper[i] = np.inf
        if right > 1:
            while right - jump[end - 1] > 1:
                right -= jump[end - 1]
                end -= 1
            upper[i] = at[end - 1]
            jump[end - 1] -= right - 1
            right = 1.0
    while first < end - 1 and left + jump[first] < 0:
        left += jump[first]
        first += 1
    after = at[first]
    u[n - 1] = after
    for i in range(n - 2, -1, -1):
        after = min(max(after, lower[i]), upper[i])
        u[i] = after


@compiled
def _tv_l1_dual(f: Array, lam: float, u: Array, p: Array) -> None:
    """Write a dual `p` that proves `u` to be the minimiser for the line `f`.

    p[i] = p[i-1] + λ s with s in the subdifferential of |u − f|, p[i] = ±1 where u steps, and 0 behind the
    last pixel. Forwards the interval of what is possible, backwards one choice.
    """
    n = f.size
    lower = np.empty(n)
    upper = np.empty(n)
    low = 0.0
    high = 0.0
    for i in range(n - 1):
        low += lam * (1 if u[i] > f[i] else -1)
        high += lam * (-1 if u[i] < f[i] else 1)
        step = u[i + 1] - u[i]
        low = 1.0 if step > 0 else max(low, -1.0)
        high = -1.0 if step < 0 else min(high, 1.0)
        if step < 0:
            low = -1.0
        if step > 0:
            high = 1.0
        lower[i] = low
        upper[i] = high
    after = 0.0
    for i in range(n - 2, -1, -1):
        most = after - lam * (1 if u[i + 1] > f[i + 1] else -1)
        least = after - lam * (-1 if u[i + 1] < f[i + 1] else 1)
        after = min(max(after, least, lower[i]), most, upper[i])
        p[i] = after


@compiled
def _tv_l1_lines(f: Array, lam: float, u: Array, sums: Array, first: int, last: int) -> None:
    """Solve the rows of `f` from `first` up to `last`; of each, write its energy, ⟨w, f⟩ and max |w|.

    w is ∇ᵀp for the dual p.
    """
    n = f.shape[1]
    p = np.zeros(n)
    for i in range(first, last):
        _tv_l1_line(f[i], lam, u[i])
        _tv_l1_dual(f[i], lam, u[i], p)
        energy = 0.0
        product = 0.0
        largest = 0.0
        before = 0.0
        for j in range(n):
            value = np.float64(u[i, j])
            if j < n - 1:
                energy += abs(np.float64(u[i, j + 1]) - value)
            energy += lam * abs(value - np.float64(f[i, j]))
            w = before - p[j]
            before = p[j]
            product += w * np.float64(f[i, j])
            largest = max(largest, abs(w))
        sums[0, i], sums[1, i], sums[2, i] = energy, product, largest
