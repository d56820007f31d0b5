"""Non-local means: a pixel becomes the mean of pixels around it whose neighbourhoods look the same."""

from __future__ import annotations

import numpy as np

from tvtasks.operators import Array
from tvtasks.solvers.kernels import summed

_PATCH = 2  # pixels on each side of the one that is compared: 5 × 5
_REACH = 8  # pixels on each side in which like ones are looked for: 17 × 17
_BEND = 8.0  # (1 − t/8)⁸ stands for exp(−t), to within .04, and ends


def nonlocal_means(values: Array, guide: Array, *, strength: float = 0.5) -> Array:
    r"""Average pixels whose neighbourhoods agree to within the noise.

    A pixel is replaced by the mean of the values within 17 × 17 pixels, with the weights

    .. math:: w = \exp(-\max(d^2 - 2, 0) / h^2)

    of Buades, Coll & Morel (2005), where d² is the mean square difference of the guide on 5 × 5 pixels. A
    pixel has the largest of its neighbours' weights. Work and memory are proportional to the pixels.

    Parameters
    ----------
    values
        What is averaged, shape (M, N): counts as they are, so that the mean has no bias.
    guide
        The same with noise of standard deviation 1 everywhere: what is compared.
    strength
        h: 1.05 where counts are many and .5 where they are few (synthetic SEM and STEM).

    Returns
    -------
    numpy.ndarray
        float64, shape (M, N).

    References
    ----------
    A. Buades, B. Coll and J.-M. Morel, "A non-local algorithm for image denoising", IEEE Computer Society
    Conference on Computer Vision and Pattern Recognition 2 (2005) 60-65, doi:10.1109/CVPR.2005.38.
    """
    margin = _PATCH + _REACH
    z = np.pad(np.asarray(guide, np.float32), margin, mode="symmetric")
    f = np.pad(np.asarray(values, np.float32), margin, mode="symmetric")
    total, weight = np.zeros_like(f), np.zeros_like(f)
    most = np.full_like(f, 1e-3)
    for dy in range(_REACH + 1):
        for dx in range(-_REACH, _REACH + 1):
            if dy > 0 or dx > 0:
                _add_pair(z, f, total, weight, most, dy, dx, 1 / strength**2)
    inner = np.s_[margin:-margin, margin:-margin]
    total, weight, most = total[inner], weight[inner], most[inner]
    own = np.asarray(values, np.float64)
    return np.asarray((total + most * own) / (weight + most), np.float64)


@summed
def _squares(z: Array, y: int, dy: int, dx: int, first: int, last: int, sign: float, down: Array) -> None:
    """Add the squared differences of a line, or take them away."""
    s = np.float32(sign)
    for x in range(first, last):
        r = z[y, x] - z[y + dy, x + dx]
        down[x] += s * (r * r)


@summed
def _weights(down: Array, w: Array, first: int, last: int, rate: float) -> None:
    """Weights from the mean square differences of the patches of a line."""
    share = np.float32(1.0 / (2 * _PATCH + 1) ** 2)
    slope, two, one, zero = np.float32(rate), np.float32(2), np.float32(1), np.float32(0)
    for x in range(first + _PATCH, last - _PATCH):
        d = down[x - 2] + down[x - 1] + down[x] + down[x + 1] + down[x + 2]
        t = max(one - max(d * share - two, zero) * slope, zero)
        t = t * t
        t = t * t
        w[x] = t * t


@summed
def _give(
    f: Array,
    w: Array,
    total: Array,
    weight: Array,
    most: Array,
    to: int,
    by: int,
    shift: int,
    first: int,
    last: int,
) -> None:
    """Give the pixels of line `by` to the means of line `to`; `w` belongs to the place without the shift."""
    for x in range(first + _PATCH, last - _PATCH):
        total[to, x] += w[x] * f[by, x + shift]
        weight[to, x] += w[x]
        most[to, x] = max(most[to, x], w[x])


@summed
def _add_pair(
    z: Array, f: Array, total: Array, weight: Array, most: Array, dy: int, dx: int, scale: float
) -> None:
    """Compare every pixel with the one a shift away, and give each to the mean of the other."""
    rows, columns = z.shape
    first, last = max(0, -dx), columns - max(0, dx)
    down = np.zeros(columns, np.float32)
    w = np.zeros(columns, np.float32)
    turned = np.zeros(columns, np.float32)
    for y in range(2 * _PATCH):
        _squares(z, y, dy, dx, first, last, 1.0, down)
    for y in range(_PATCH, rows - dy - _PATCH):
        _squares(z, y + _PATCH, dy, dx, first, last, 1.0, down)
        _weights(down, w, first, last, scale / _BEND)
        _give(f, w, total, weight, most, y, y + dy, dx, first, last)
        turned[first + dx : last + dx] = w[first:last]
        _give(f, turned, total, weight, most, y + dy, y, -dx, first + dx, last + dx)
        _squares(z, y - _PATCH, dy, dx, first, last, -1.0, down)
