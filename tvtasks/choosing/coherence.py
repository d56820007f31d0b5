"""λ of a background along lines without a lattice: what neighbouring lines have in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tvtasks.choosing.choice import Choice, Confidence, fallback, lowest, with_lam
from tvtasks.choosing.spectrum import without_plane
from tvtasks.models import TGVL1, TVL1, HuberROF, Model
from tvtasks.operators import Array, Direction
from tvtasks.solvers import Gap, solve

_BANDS = 12  # groups of three neighbouring lines to look at
_STEPS = 13  # values of λ; every other one is tried, then the neighbours of the best
# if the error without a background is below this part of the lowest error with one, none should be subtracted
_HARM = 0.5
# λ of TGV-L1 along lines (α1 = 1) divided by that of TV-L1; measured on four synthetic SEM scans
_OF_TGV = 0.3
_LEAST_COMMON = 0.1  # correlation of neighbouring lines below which they count as unrelated


def by_coherence(image: Array, model: Model, direction: Direction) -> Choice:
    """Choose the λ that removes most of what is particular to a line, and least of what lines share.

    Faults of single lines (scars, jumps, charging) and noise differ from line to line; the sample is nearly
    the same in the next line. So the expected error of the flat image is, up to a constant, the variance of
    the flat lines that is not shared with their neighbours, plus the covariance of neighbouring lines of the
    background. Both come from the solutions themselves, on 12 groups of three lines, at every other one of 13
    values of λ and at the neighbours of the best. So the rule holds for Huber-ROF and TV-L1, linear or not.
    TGV-L1, which takes two hundred times as long per line, gets 0.3 of the best λ of TV-L1, times α1.

    Parameters
    ----------
    image
        Shape (M, N).
    model
        Its λ is the fallback.
    direction
        ``x`` or ``y``.

    Returns
    -------
    Choice
    """
    f = image.T if direction == "y" else image
    rows, columns = f.shape
    whole = without_plane(f)
    spread = float(np.mean(whole * whole))
    common = _covariance(whole[np.newaxis]) / spread if spread > 0 else 0.0
    evidence = {"correlation_of_neighbouring_lines": common}
    if common < _LEAST_COMMON:
        return fallback(
            model,
            "There is no lattice, and neighbouring lines have nothing in common: the image is noise, or "
            "nothing but faults. Give a feature_size: the largest feature to keep.",
            evidence,
        )
    starts = np.unique(np.linspace(0, rows - 3, min(_BANDS, rows // 3)).astype(int))
    bands = np.stack([f[start : start + 3] for start in starts])
    lines = np.ascontiguousarray(bands.reshape(-1, columns))
    solved: Model = TVL1(model.lam) if isinstance(model, TGVL1) else model

    def error(lam: float) -> float:
        u = solve(lines, with_lam(solved, lam), direction="x", stop=Gap(1e-2)).u.reshape(bands.shape)
        flat = bands - u
        return float(np.var(flat)) - _covariance(flat) + _covariance(u)

    steps = _lams(solved, columns)
    found = {k: error(float(steps[k])) for k in range(0, _STEPS, 2)}
    best = min(found, key=found.__getitem__)
    for k in (best - 1, best + 1):
        if 0 <= k < _STEPS:
            found[k] = error(float(steps[k]))
    tried = sorted(found)
    lams, values = steps[tried], np.array([found[k] for k in tried])
    if isinstance(model, TGVL1):
        lams = lams * (_OF_TGV * model.alpha1)
    lam = float(np.exp(lowest(np.log(lams), values)))
    if np.argmin(values) == len(values) - 1:
        return fallback(
            model,
            "There is no lattice, and neighbouring lines share so little "
            f"({common:.0%} of their variance) that a background would remove nearly everything. "
            "Give a feature_size: the largest feature to keep.",
            evidence,
        )
    untouched = float(np.var(bands)) - _covariance(bands)
    reason = f"Neighbouring lines share {common:.0%} of their variance; "
    confidence: Confidence = "high" if common > 0.5 else "medium"
    if untouched < _HARM * values.min():
        confidence = "low"
        reason += (
            "lines differ so little that any background removes more of the sample than of the faults. "
            "This one does the least harm; it is better to leave the step out."
        )
    else:
        reason += "this background removes the least of that, and the most of what differs from line to line."
        if not 0 < int(np.argmin(values)) < len(values) - 1:
            confidence = "low"
            reason += " The best λ is at the end of the range that was tried."
    evidence["error_without_background"] = untouched
    return Choice(
        lam, "line-coherence", confidence, reason, tuple(lams.tolist()), tuple(values.tolist()), evidence
    )


def _covariance(bands: NDArray[np.floating]) -> float:
    """Return the mean of the covariances of lines one and two apart; shape (bands, lines, pixels)."""
    b = bands - bands.mean()
    near, next_but_one = np.mean(b[:, 1:] * b[:, :-1]), np.mean(b[:, 2:] * b[:, :-2])
    return float((near + next_but_one) / 2)


def _lams(model: Model, length: int) -> NDArray[np.float64]:
    """Return values of λ, from a nearly flat background to one that follows everything."""
    if isinstance(model, HuberROF):
        scale = max(model.alpha, 1e-3)
        return np.asarray(np.geomspace((0.5 / length) ** 2, 0.5, _STEPS) / scale)
    return np.geomspace(1.0 / length, 1.0, _STEPS)
