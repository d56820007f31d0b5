"""Compiled sums for the certificates: energies and lower bounds of padded iterates, row by row.

Iterates come padded and in their own dtype, the image as it is. Each is converted to float64 row by row, so
no array of the image's size is created. `low` and `extent` scale the image like the iterates: f = (image −
low) / extent. A kernel returns one sum per row of the padded image, which the caller adds up, and one maximum
per column.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tvtasks.operators import Array
from tvtasks.solvers.kernels import compiled, larger, summed
from tvtasks.solvers.tgv_kernels import adjoint_jacobian, adjoint_symmetrised, jacobian, symmetrised

# Side of the blocks of pixels that share a part of the dual field of TGV-L1.
BLOCK = 4


@summed
def _image_row(row: Array, low: float, extent: float, f: Array) -> None:
    for j in range(row.size):
        f[j + 1] = (np.float64(row[j]) - low) / extent


@summed
def _ball_row(px: Array, py: Array, mx: Array, here: float, x: Array, y: Array) -> None:
    """Project a row of p onto the unit ball."""
    for j in range(1, px.size - 1):
        a = np.float64(px[j]) * mx[j]
        b = np.float64(py[j]) * here
        s = 1.0 / max(1.0, np.sqrt(a * a + b * b))
        x[j] = a * s
        y[j] = b * s


@summed
def _huber_rof_row(
    u: Array,
    below: Array,
    f: Array,
    x: Array,
    y: Array,
    y_above: Array,
    mx: Array,
    here: float,
    lam: float,
    alpha: float,
) -> Any:
    curvature = 0.5 / alpha if alpha > 0 else 0.0
    energy = 0.0
    gap = 0.0
    for j in range(1, f.size - 1):
        value = np.float64(u[j])
        gx = mx[j] * (np.float64(u[j + 1]) - value)
        gy = here * (np.float64(below[j]) - value)
        t = np.sqrt(gx * gx + gy * gy)
        h = t * t * curvature if t <= alpha else t - alpha / 2
        conjugate = alpha / 2 * (x[j] * x[j] + y[j] * y[j])
        w = x[j - 1] - x[j] + y_above[j] - y[j]
        d = value - f[j]
        r = d + w / lam
        energy += h + lam / 2 * d * d
        gap += max(0.0, h + conjugate - gx * x[j] - gy * y[j]) + lam / 2 * r * r
    return energy, gap


@summed
def huber_rof_gap(
    u: Array,
    p: Array,
    image: Array,
    low: float,
    extent: float,
    mx: Array,
    my: Array,
    lam: float,
    alpha: float,
    first: int,
    last: int,
    sums: Array,
) -> None:
    """Write the energy and the primal–dual gap of Huber-ROF for rows from `first` to before `last`.

    `p` is projected onto the unit ball. The gap is a sum of terms that are each ≥ 0 (Fenchel–Young per pixel,
    and the square of the optimality condition), so nothing cancels: it is meaningful down to rounding, even
    if the iterates are float32.
    """
    columns = u.shape[1]
    f = np.zeros(columns)
    x = np.zeros(columns)
    y = np.zeros((2, columns))
    _ball_row(p[0, first - 1], p[1, first - 1], mx, my[first - 1], x, y[(first - 1) % 2])
    for i in range(first, last):
        _image_row(image[i - 1], low, extent, f)
        _ball_row(p[0, i], p[1, i], mx, my[i], x, y[i % 2])
        sums[0, i], sums[1, i] = _huber_rof_row(
            u[i], u[i + 1], f, x, y[i % 2], y[(i - 1) % 2], mx, my[i], lam, alpha
        )


@summed
def _tv_l1_row(
    u: Array, below: Array, f: Array, x: Array, y: Array, y_above: Array, mx: Array, here: float, w: Array
) -> Any:
    """Write a row of w = ∇ᵀp for p = (x, y); return Σ|∇u|, Σ|u − f| and ⟨w, f⟩ of the row."""
    length = 0.0
    distance = 0.0
    product = 0.0
    for j in range(1, f.size - 1):
        value = np.float64(u[j])
        gx = mx[j] * (np.float64(u[j + 1]) - value)
        gy = here * (np.float64(below[j]) - value)
        w[j] = x[j - 1] - x[j] + y_above[j] - y[j]
        length += np.sqrt(gx * gx + gy * gy)
        distance += abs(value - f[j])
        product += w[j] * f[j]
    return length, distance, product


@summed
def _outside_row(
    w: Array, f: Array, lam: float, least: float, greatest: float, scales: Array, largest: Array
) -> Any:
    """Return what w costs beyond ±λ/scale, for each of five scales, within the box; update max |w|."""
    a, b, c, d, e = 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(1, f.size - 1):
        far = abs(w[j])
        room = greatest - f[j] if w[j] < 0 else f[j] - least
        a += room * larger(scales[0] * far - lam, 0.0)
        b += room * larger(scales[1] * far - lam, 0.0)
        c += room * larger(scales[2] * far - lam, 0.0)
        d += room * larger(scales[3] * far - lam, 0.0)
        e += room * larger(scales[4] * far - lam, 0.0)
        largest[j] = larger(far, largest[j])
    return a, b, c, d, e


@summed
def tv_l1_bounds(
    u: Array,
    p: Array,
    image: Array,
    low: float,
    extent: float,
    mx: Array,
    my: Array,
    lam: float,
    least: float,
    greatest: float,
    scales: Array,
    first: int,
    last: int,
    sums: Array,
) -> Array:
    """Write sums for rows from `first` to before `last`: energy, ⟨w, f⟩, cost of the box for each scale of w.

    w = ∇ᵀp, `p` projected. `least` and `greatest` enclose the values of a minimiser: those of the scaled
    image. Returns max |w| per column.
    """
    columns = u.shape[1]
    largest = np.zeros(columns)
    f = np.zeros(columns)
    w = np.zeros(columns)
    x = np.zeros(columns)
    y = np.zeros((2, columns))
    _ball_row(p[0, first - 1], p[1, first - 1], mx, my[first - 1], x, y[(first - 1) % 2])
    for i in range(first, last):
        _image_row(image[i - 1], low, extent, f)
        _ball_row(p[0, i], p[1, i], mx, my[i], x, y[i % 2])
        length, distance, sums[1, i] = _tv_l1_row(
            u[i], u[i + 1], f, x, y[i % 2], y[(i - 1) % 2], mx, my[i], w
        )
        sums[0, i] = length + lam * distance
        sums[2, i], sums[3, i], sums[4, i], sums[5, i], sums[6, i] = _outside_row(
            w, f, lam, least, greatest, scales, largest
        )
    return largest


@summed
def _expand(shares: Array, size: int, out: Array) -> None:
    """Write a row of shares for every pixel, interpolated between the middles of blocks."""
    across = shares.size
    for b in range(across):
        here, right, left = shares[b], shares[min(b + 1, across - 1)], shares[max(b - 1, 0)]
        for k in range(BLOCK):
            j = b * BLOCK + k + 1
            if j <= size:
                d = (k + 0.5) / BLOCK - 0.5
                out[j] = here + d * (right - here) if d > 0 else here + d * (here - left)


@summed
def _between_rows(above: Array, below: Array, part: float, out: Array) -> None:
    for j in range(out.size):
        out[j] = (1 - part) * above[j] + part * below[j]


@summed
def _share_row(shares: Array, i: int, expanded: Array, held: Array, out: Array) -> None:
    """Write row `i` of the shares; `expanded` keeps two rows of blocks, whose numbers are in `held`."""
    blocks = shares.shape[0]
    place = (i - 1 + 0.5) / BLOCK - 0.5
    above = int(min(max(np.floor(place), 0), blocks - 1))
    below = min(above + 1, blocks - 1)
    for block in (above, below):
        if held[block % 2] != block:
            _expand(shares[block], out.size - 2, expanded[block % 2])
            held[block % 2] = block
    _between_rows(expanded[above % 2], expanded[below % 2], min(max(place - above, 0.0), 1.0), out)


@summed
def _second_ball_row(
    q: Array, i: int, alpha2: float, share: Array, scale: Array, ball: Array, k: int
) -> None:
    """Project row `i` of q onto the ball of radius α2, take its share, into row `k` of `ball`."""
    scale[:] = 0.0
    for c in range(q.shape[0]):
        component = q[c, i]
        for j in range(1, scale.size - 1):
            scale[j] += np.float64(component[j]) * np.float64(component[j])
    for j in range(1, scale.size - 1):
        scale[j] = share[j] / max(1.0, np.sqrt(scale[j]) / alpha2)
    for c in range(q.shape[0]):
        component = q[c, i]
        for j in range(1, scale.size - 1):
            ball[c, k, j] = np.float64(component[j]) * scale[j]


@summed
def _jacobian_row(v: Array, i: int, below: int, mx: Array, here: float, e: Array) -> None:
    for j in range(1, e.shape[1] - 1):
        e[0, j], e[1, j] = jacobian(v, 0, i, below, j, mx, here)
        e[2, j], e[3, j] = jacobian(v, 1, i, below, j, mx, here)


@summed
def _symmetrised_row(
    v: Array,
    above: int,
    i: int,
    mx: Array,
    ex: Array,
    mixed_above: float,
    mixed_here: float,
    middle: float,
    e: Array,
) -> None:
    for j in range(1, e.shape[1] - 1):
        e[0, j], e[1, j], e[2, j] = symmetrised(v, 0, above, i, j, mx, ex, mixed_above, mixed_here, middle)


@summed
def _adjoint_jacobian_row(
    q: Array, above: int, i: int, mx: Array, my_above: float, my_here: float, p: Array, k: int
) -> None:
    for j in range(1, p.shape[2] - 1):
        for c in range(2):
            p[c, k, j] = adjoint_jacobian(q, c, above, i, j, mx, my_above, my_here)


@summed
def _adjoint_symmetrised_row(
    q: Array,
    i: int,
    below: int,
    mx: Array,
    ex: Array,
    mixed_above: float,
    mixed_here: float,
    middle: float,
    under: float,
    p: Array,
    k: int,
) -> None:
    for j in range(1, p.shape[2] - 1):
        p[0, k, j], p[1, k, j] = adjoint_symmetrised(
            q, i, below, j, mx, ex, mixed_above, mixed_here, middle, under
        )


@summed
def _tgv_l1_row(
    u: Array,
    below: Array,
    v: Array,
    i: int,
    f: Array,
    e: Array,
    mx: Array,
    here: float,
    lam: float,
    alpha1: float,
    alpha2: float,
) -> float:
    """Return the energy of a row, row `i` of `v`; `e` holds the components of E v there, in float64."""
    energy = 0.0
    for j in range(1, f.size - 1):
        value = np.float64(u[j])
        gx = mx[j] * (np.float64(u[j + 1]) - value) - v[0, i, j]
        gy = here * (np.float64(below[j]) - value) - v[1, i, j]
        energy += alpha1 * np.sqrt(gx * gx + gy * gy) + lam * abs(value - f[j])
        a, b, c, d = e[0, j], e[1, j], e[2, j], e[3, j]
        energy += alpha2 * np.sqrt(a * a + b * b + c * c + d * d)
    return energy


@summed
def _dual_row(
    x: Array, y: Array, y_above: Array, f: Array, mx: Array, above: float, here: float, largest: Array
) -> float:
    """Return ⟨w, f⟩ of a row for p = (x, y) and w = ∇ᵀp; update max |p|² and max |w| per column."""
    product = 0.0
    for j in range(1, f.size - 1):
        w = mx[j - 1] * x[j - 1] - mx[j] * x[j] + above * y_above[j] - here * y[j]
        product += w * f[j]
        largest[0, j] = larger(x[j] * x[j] + y[j] * y[j], largest[0, j])
        largest[1, j] = larger(abs(w), largest[1, j])
    return product


@summed
def tgv_l1_bounds(
    u: Array,
    v: Array,
    q: Array,
    shares: Array,
    image: Array,
    low: float,
    extent: float,
    mx: Array,
    my: Array,
    ex: Array,
    ey: Array,
    mixed: float,
    lam: float,
    alpha1: float,
    alpha2: float,
    with_energy: bool,
    first: int,
    last: int,
    sums: Array,
    largest: Array,
) -> None:
    """Write, for p = Eᵀq and w = ∇ᵀp, energy and ⟨w, f⟩ per row, and max |p|² and max |w| per block of rows.

    For rows from `first` to before `last`, `first` at the start of a block. First `q` is projected onto its
    ball of radius α2 and multiplied by its share, which is given for each block of pixels. E is the Jacobian
    if `q` has four components, and the symmetrised gradient if it has three.
    """
    rows, columns = u.shape
    components = q.shape[0]
    f = np.zeros(columns)
    scale = np.zeros(columns)
    share = np.ones(columns)
    expanded, held = np.ones((2, columns)), np.full(2, -1)
    e = np.zeros((4, columns))
    # Rows i − 1, i and i + 1 of v and of the projected q, by row number modulo 3; rows of p modulo 2.
    field = np.zeros((2, 3, columns))
    ball = np.zeros((components, 3, columns))
    p = np.zeros((2, 2, columns))
    for i in range(max(first - 3, 0), last):
        above, now, below = (i + 2) % 3, i % 3, (i + 1) % 3
        if i + 1 < rows - 1:
            _share_row(shares, i + 1, expanded, held, share)
        _second_ball_row(q, i + 1, alpha2, share, scale, ball, below)
        if with_energy:
            for k in range(2):
                for j in range(columns):
                    field[k, below, j] = v[k, i + 1, j]
        if i < first - 1 or i == 0:
            continue
        if components == 4:
            _adjoint_jacobian_row(ball, above, now, mx, my[i - 1], my[i], p, i % 2)
        else:
            _adjoint_symmetrised_row(
                ball, now, below, mx, ex, mixed * my[i - 1], mixed * my[i], ey[i], ey[i + 1], p, i % 2
            )
        if i < first:
            continue
        _image_row(image[i - 1], low, extent, f)
        if with_energy:
            if components == 4:
                _jacobian_row(field, now, below, mx, my[i], e)
            else:
                _symmetrised_row(field, above, now, mx, ex, mixed * my[i - 1], mixed * my[i], ey[i], e)
            sums[0, i] = _tgv_l1_row(u[i], u[i + 1], field, now, f, e, mx, my[i], lam, alpha1, alpha2)
        sums[1, i] = _dual_row(
            p[0, i % 2],
            p[1, i % 2],
            p[1, (i - 1) % 2],
            f,
            mx,
            my[i - 1],
            my[i],
            largest[:, (i - 1) // BLOCK],
        )


@compiled
def spread(excess: Array, decay: float) -> None:
    """Replace each number by the largest one around it, those d blocks away times decayᵈ, in place."""
    rows, columns = excess.shape
    for i in range(rows):
        for j in range(1, columns):
            excess[i, j] = max(excess[i, j], decay * excess[i, j - 1])
        for j in range(columns - 2, -1, -1):
            excess[i, j] = max(excess[i, j], decay * excess[i, j + 1])
    for i in range(1, rows):
        for j in range(columns):
            excess[i, j] = max(excess[i, j], decay * excess[i - 1, j])
    for i in range(rows - 2, -1, -1):
        for j in range(columns):
            excess[i, j] = max(excess[i, j], decay * excess[i + 1, j])


@summed
def _distance_row(u: Array, f: Array, above: Array, below: Array) -> Any:
    distance = 0.0
    rough = 0.0
    for j in range(1, u.size - 1):
        distance += abs(np.float64(u[j]) - f[j])
    for j in range(2, u.size - 2):
        rough += abs(f[j] - np.float64(0.25) * (above[j] + below[j] + f[j - 1] + f[j + 1]))
    return distance, rough


@summed
def distances(u: Array, f: Array, first: int, last: int, sums: Array) -> None:
    """Write, per row, Σ|u − f| and Σ|f − mean of its four neighbours| (inside the image only)."""
    for i in range(first, last):
        sums[0, i], rough = _distance_row(u[i], f[i], f[i - 1], f[i + 1])
        if 1 < i < u.shape[0] - 2:
            sums[1, i] = rough


@compiled
def copy_rows(source: Array, target: Array, first: int, last: int) -> None:
    """Copy rows, on the second axis from the end, of all components."""
    for c in range(source.shape[0]):
        for i in range(first, last):
            for j in range(source.shape[2]):
                target[c, i, j] = source[c, i, j]


@compiled
def rescale(source: Array, low: float, extent: float, target: Array, first: int, last: int) -> None:
    """Write low + extent · source for rows, on the second axis, of all components."""
    for c in range(source.shape[0]):
        for i in range(first, last):
            for j in range(source.shape[2]):
                target[c, i, j] = low + extent * np.float64(source[c, i, j])
