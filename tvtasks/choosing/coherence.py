"""λ of a background along lines where there is no lattice: what neighbouring lines have in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tvtasks.choosing.choice import Choice, Confidence, fallback, lowest, with_lam
from tvtasks.choosing.spectrum import without_plane
from tvtasks.models import TGVL1, TVL1, HuberROF, Model
from tvtasks.operators import Array, Direction
from tvtasks.solvers import Gap, solve

_BANDS = 12  # groups of three neighbouring lines that are looked at
_STEPS = 13  # values of λ, of which every other is tried, and those beside the best of these
_HARM = 0.5  # of the least expected error: with less than that without any background, none should be taken
_OF_TGV = 0.3  # λ of TGV-L1 along lines, with α1 = 1, over that of TV-L1 for the same image
_LEAST_COMMON = 0.1  # correlation of neighbouring lines below which they are called unrelated


def by_coherence(image: Array, model: Model, direction: Direction) -> Choice:
    """Choose the λ that leaves the least of what a line has for itself and takes the least of what it shares.

    Faults of single lines (scars, jumps, charging) and noise differ from line to line; the sample is much the
    same in the next. So the expected error of the flat image is, up to a constant, the variance of the flat
    lines that is not shared with their neighbours, plus the covariance of neighbouring lines of the
    background. Both come from the solutions themselves, at every other of 13 values of λ and those beside the
    best, on 12 groups of three lines, so the rule holds for Huber-ROF and TV-L1, linear or not. TGV-L1, whose
    lines take two hundred times as long, gets 0.3 of what is best for TV-L1, times α1: what was measured.

    Parameters
    ----------
    image
        Shape (M, N).
    model, direction
        ``x`` or ``y``.
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
            "No lattice tells, and neighbouring lines have nothing in common: this is noise, or "
            "faults alone. Give a feature_size: the largest feature to keep.",
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
            "No lattice tells, and neighbouring lines share so little "
            f"({common:.0%} of their variance) that a background would take nearly everything. "
            "Give a feature_size: the largest feature to keep.",
            evidence,
        )
    untouched = float(np.var(bands)) - _covariance(bands)
    reason = f"Neighbouring lines share {common:.0%} of their variance; "
    confidence: Confidence = "high" if common > 0.5 else "medium"
    if untouched < _HARM * values.min():
        confidence = "low"
        reason += (
            "a line has so little for itself that any background takes more of the sample than it mends. "
            "This one does least harm; better leave the step out."
        )
    else:
        reason += "this background takes the least of that, and the most of what each line has for itself."
        if not 0 < int(np.argmin(values)) < len(values) - 1:
            confidence = "low"
            reason += " It lies at the end of what was tried."
    evidence["error_without_background"] = untouched
    return Choice(
        lam, "line-coherence", confidence, reason, tuple(lams.tolist()), tuple(values.tolist()), evidence
    )


def _covariance(bands: NDArray[np.floating]) -> float:
    """Covariance of lines one and two apart, the mean of both; shape (bands, lines, pixels)."""
    b = bands - bands.mean()
    near, next_but_one = np.mean(b[:, 1:] * b[:, :-1]), np.mean(b[:, 2:] * b[:, :-2])
    return float((near + next_but_one) / 2)


def _lams(model: Model, length: int) -> NDArray[np.float64]:
    """From a background that is nearly flat to one that follows everything."""
    if isinstance(model, HuberROF):
        scale = max(model.alpha, 1e-3)
        return np.asarray(np.geomspace((0.5 / length) ** 2, 0.5, _STEPS) / scale)
    return np.geomspace(1.0 / length, 1.0, _STEPS)
