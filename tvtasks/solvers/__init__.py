"""Image, model, direction and stopping rule in; minimiser and its certificate out. Arrays only, no files."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import get_args

import numpy as np

from tvtasks.errors import RecipeError, UnusableImageError
from tvtasks.memory import RESERVE, free
from tvtasks.models import TGVL1, HuberROF, Model
from tvtasks.operators import Array, Direction
from tvtasks.solvers.stopping import Check, Gap, Published, StoppingRule

__all__ = ["Check", "Convergence", "Gap", "Published", "Solution", "StoppingRule", "solve"]

# Energies contain squared contrasts, times λ and the number of pixels; float64 ends at 1e±308.
_LEAST_CONTRAST = 1e-100
# Below this tolerance an iteration may continue in float64. Up to so many bytes nobody asks what is free.
_DOUBLE, _SMALL = 1e-4, 2**30


@dataclass(frozen=True, eq=False, kw_only=True)
class Convergence:
    """How a minimisation went.

    Attributes
    ----------
    energy
        Value of the model's objective at the result.
    gap
        Relative primal–dual gap: the energy is at most a factor 1 + gap above the minimum. It is proven,
        whatever stopped the iteration, and infinite if the bound proves nothing.
    bound
        What the gap is based on, in words.
    iterations
        Number of iterations; 0 for a direct method.
    converged
        Whether the stopping rule was met.
    method
        ``linear``, ``line-exact``, ``interior-point`` (TGV-L1 along lines), ``primal-dual`` (and the dtypes
        that it went through), ``published``, ``constant`` if the image does not change along the direction,
        or what the minimiser is if λ is very small or very large: ``median``, ``median of each line``,
        ``plane`` or ``image``.
    history
        Energy and gap at each check of the iteration; empty for a direct method.
    """

    energy: float
    gap: float
    bound: str
    iterations: int
    converged: bool
    method: str
    history: tuple[Check, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Solution(Convergence):
    """A minimiser, and how the minimisation went.

    Attributes
    ----------
    u
        The minimiser, shape (M, N); float32 for a float32 image (unless that would miss the tolerance),
        otherwise float64.
    v
        The vector field of TGV-L1, shape (2, M, N); None for the other models.
    frames
        For a stack, whose arrays have a leading axis T: how each frame went. Then `energy` is the sum, and
        `gap` and `iterations` are the largest.
    """

    u: Array
    v: Array | None = None
    frames: tuple[Convergence, ...] = ()

    @property
    def convergence(self) -> Convergence:
        """The same without the arrays."""
        return Convergence(**{field.name: getattr(self, field.name) for field in fields(Convergence)})


def solve(
    image: Array,
    model: Model,
    *,
    direction: Direction = "both",
    stop: StoppingRule | None = None,
    threads: int = 1,
    memory: float | None = None,
) -> Solution:
    """Minimise `model` for `image` as it is: nothing is scaled.

    The mathematics decides the method, and the result names it. Huber-ROF is linear where no gradient exceeds
    α, which is tested on the solution. In one direction, Huber-ROF and TV-L1 are solved exactly line by line,
    and TGV-L1 as a linear programme per line. Everything else is iterated until the stopping rule is met.

    Parameters
    ----------
    image
        Shape (M, N), or (T, M, N) for a stack of frames that are solved one by one; real and finite. Direct
        methods compute in float64; an iteration starts in float32 and ends in float64 if the tolerance
        requires it.
    model
        `HuberROF`, `TVL1` or `TGVL1`.
    direction
        Gradient components to keep: ``both``, ``x`` (along rows) or ``y`` (along columns).
    stop
        ``Gap(rtol)`` (default ``Gap(1e-4)``) or ``Published()``.
    threads
        Cores to use, for the rows of one large image or for the frames of a stack. The result is bit for bit
        the same.
    memory
        Bytes that the arrays of an iteration may take; None for what is free. An iteration that needs more
        keeps its arrays in temporary files, with the same result (`tvtasks.solvers.scratch`).

    Returns
    -------
    Solution

    Raises
    ------
    UnusableImageError
        The image is not two-dimensional, is empty, is not made of real numbers, holds NaN or infinity, or has
        a contrast that floating-point numbers cannot square.
    RecipeError
        `Published` is combined with TGV-L1 and the symmetrised gradient, which the published code does not
        have; a direction that does not exist; fewer than one thread; or a weight that floating-point numbers
        cannot square.

    References
    ----------
    A. Chambolle, T. Pock, "A First-Order Primal-Dual Algorithm for Convex Problems with Applications to
    Imaging", Journal of Mathematical Imaging and Vision 40 (2011) 120–145, doi:10.1007/s10851-010-0251-1.

    For TV-L1 and ROF, and for TGV-L1 with small λ, preconditioned as in: K. Bredies, H. Sun, "Preconditioned
    Douglas–Rachford Algorithms for TV- and TGV-Regularized Variational Imaging Problems", Journal of
    Mathematical Imaging and Vision 52 (2015) 317–344, doi:10.1007/s10851-015-0564-1.

    Examples
    --------
    >>> import numpy as np
    >>> from tvtasks import TVL1, solve
    >>> spike = np.zeros((9, 9))
    >>> spike[4, 4] = 1.0
    >>> solution = solve(spike, TVL1(lam=1.0))
    >>> bool(abs(solution.u).max() < 0.01), solution.gap <= 1e-4
    (True, True)
    """
    if np.ndim(image) == 3 and len(image) > 0:
        _check_request(model, direction, threads)
        return _solve_stack(image, model, direction, stop, threads, memory)
    f = _checked(image)
    rule = Gap() if stop is None else stop
    _check_request(model, direction, threads)
    # The methods load compiled code, for which a caller who only describes a recipe should not wait.
    from tvtasks.solvers import (  # noqa: PLC0415
        extremes,
        kernels,
        linear,
        lines,
        primal_dual,
        published,
        tgv_lines,
    )

    kernels.keep_freed_memory()
    if isinstance(rule, Published):
        return published.solve(f.astype(np.float64), model, direction, rule)
    if not _changes(f, direction):
        v = np.zeros((2, *f.shape), f.dtype) if isinstance(model, TGVL1) else None
        return Solution(
            u=f.copy(),
            v=v,
            energy=0.0,
            gap=0.0,
            bound="the energy is zero",
            iterations=0,
            converged=True,
            method="constant",
        )
    in_files = _exceeds(f, model, rule.rtol, memory)
    exact, start = None, None
    if not isinstance(model, HuberROF):
        known = extremes.solve(f, model, direction, rtol=rule.rtol, lean=in_files)
        if known is not None:
            return known
    elif model.alpha > 0:
        exact, start = linear.solve(f, model, direction, rtol=rule.rtol, threads=threads)
    if exact is None and direction != "both":
        by_line = tgv_lines if isinstance(model, TGVL1) else lines
        exact = by_line.solve(f, model, direction, rtol=rule.rtol, threads=threads)
    if exact is not None and exact.gap <= rule.rtol:
        return exact
    return primal_dual.solve(f, model, direction, rule, threads, start, in_files=in_files)


def _exceeds(f: Array, model: Model, rtol: float, memory: float | None) -> bool:
    """Return whether the arrays of an iteration would take more memory than they may."""
    needed = model.memory * f.size * (2 if rtol < _DOUBLE else 1)
    if memory is None:
        known = free() if needed > _SMALL else None
        memory = np.inf if known is None else RESERVE * known
    return bool(needed > memory)


def _check_request(model: Model, direction: Direction, threads: int) -> None:
    """Raise an error that describes what cannot be done."""
    if direction not in get_args(Direction):
        raise RecipeError(f"There is no direction {direction!r}. Use 'both', 'x' or 'y'.")
    if threads < 1 or threads != int(threads):
        raise RecipeError(f"threads = {threads} cannot compute anything. Use a whole number from 1 on.")
    for name, weight in vars(model).items():
        if isinstance(weight, float) and weight != 0 and not _LEAST_CONTRAST <= weight <= 1 / _LEAST_CONTRAST:
            raise RecipeError(
                f"{name} = {weight:g} is too {'small' if weight < 1 else 'large'} for floating-point "
                f"numbers. Use a value between {_LEAST_CONTRAST:g} and {1 / _LEAST_CONTRAST:g}."
            )


def _solve_stack(
    stack: Array,
    model: Model,
    direction: Direction,
    stop: StoppingRule | None,
    threads: int,
    memory: float | None,
) -> Solution:
    """Solve frame by frame, `threads` at a time, so that memory holds only that many working sets."""

    def one(frame: Array) -> Solution:
        return solve(frame, model, direction=direction, stop=stop, memory=memory and memory / threads)

    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            frames = list(pool.map(one, stack))
    else:
        frames = [one(frame) for frame in stack]
    return Solution(
        u=np.stack([frame.u for frame in frames]),
        v=np.stack([frame.v for frame in frames if frame.v is not None]) if frames[0].v is not None else None,
        energy=float(np.sum([frame.energy for frame in frames])),
        # No frame is further from its minimum than the worst, so neither is the sum.
        gap=max(frame.gap for frame in frames),
        bound=", ".join(sorted({frame.bound for frame in frames})),
        iterations=max(frame.iterations for frame in frames),
        converged=all(frame.converged for frame in frames),
        method=", ".join(sorted({frame.method for frame in frames})),
        frames=tuple(frame.convergence for frame in frames),
    )


def _changes(f: Array, direction: Direction) -> bool:
    """Return whether the image changes along the direction."""
    first = {"x": f[:, :1], "y": f[:1], "both": f[:1, :1]}[direction]
    return bool((f != first).any())


def _checked(image: Array) -> Array:
    """Return the image as a two-dimensional float array, or raise an error that describes its fault."""
    array = np.asarray(image)
    if array.size == 0:
        raise UnusableImageError(f"The image is empty (shape {array.shape}).")
    if array.ndim != 2:
        raise UnusableImageError(
            "An image has two dimensions, and a stack of frames has three; this array has "
            f"{array.ndim} (shape {array.shape})."
        )
    if array.dtype.kind not in "biuf":
        raise UnusableImageError(
            f"The image holds {array.dtype} values; only real numbers can be restored. "
            "For complex data, use the magnitude or the phase."
        )
    if array.dtype != np.float32:
        array = array.astype(np.float64)
    bad = int(array.size - np.count_nonzero(np.isfinite(array)))
    if bad:
        raise UnusableImageError(
            f"{bad} of {array.size} pixels are NaN or infinite. Crop the image to the part that holds data, "
            "or use tvtasks.restore, which keeps the complete rows."
        )
    low, high = float(array.min()), float(array.max())
    if low < high and not _LEAST_CONTRAST <= high - low <= 1 / _LEAST_CONTRAST:
        distance = "close" if high - low < 1 else "far apart"
        raise UnusableImageError(
            f"The image's values, from {low:g} to {high:g}, are too {distance} to be squared as "
            "floating-point numbers. Scale them to about [0, 1], as tvtasks.restore does."
        )
    return array
