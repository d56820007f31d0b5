"""What else denoises a crystal: BM3D and non-local means on stabilised counts, given the true noise."""

from __future__ import annotations

from importlib import import_module

import numpy as np

from tvtasks.choosing.choice import with_lam
from tvtasks.choosing.risk import choose_denoise
from tvtasks.models import HuberROF
from tvtasks.operators import Array
from tvtasks.solvers import Gap, solve


def _stabilised(image: Array, gain: float, offset: float) -> tuple[Array, float, float]:
    """Return the image with noise of variance 1, and what undoes it: see `_undone`."""
    f = np.asarray(image, np.float64)
    if gain * max(float(f.mean()), 0.0) < 0.01 * offset or gain <= 0:
        return f / np.sqrt(offset), 0.0, offset
    return 2 * np.sqrt(np.maximum(f / gain + offset / gain**2 + 3 / 8, 0)), gain, offset


def _undone(z: Array, gain: float, offset: float) -> Array:
    """Undo Anscombe's transform by the closed form of its unbiased inverse (Mäkitalo & Foi 2011)."""
    if gain == 0:
        return z * np.sqrt(offset)
    d = np.maximum(z, 2 * np.sqrt(3 / 8))
    root = np.sqrt(1.5)
    counts = d**2 / 4 + root / 4 / d - 11 / 8 / d**2 + 5 / 8 * root / d**3 - 1 / 8
    return np.asarray(gain * counts - offset / gain)


def bm3d(image: Array, gain: float, offset: float) -> Array:
    z, g, o = _stabilised(image, gain, offset)
    return _undone(np.asarray(import_module("bm3d").bm3d(z, 1.0)), g, o)


def nlm(image: Array, gain: float, offset: float, strength: float = 0.8) -> Array:
    z, g, o = _stabilised(image, gain, offset)
    found = import_module("skimage.restoration").denoise_nl_means(
        z, patch_size=5, patch_distance=9, h=strength, sigma=1.0, fast_mode=True
    )
    return _undone(np.asarray(found), g, o)


def total_variation(image: Array, gain: float, offset: float) -> Array:
    """Huber-ROF with λ by Stein's risk, what this project has done so far."""
    z, g, o = _stabilised(image, gain, offset)
    low, unit = float(z.min()), float(np.ptp(z))
    model = HuberROF(4.0, 0.05)
    lam = choose_denoise((z - low) / unit, model).lam
    return _undone(low + unit * solve((z - low) / unit, with_lam(model, lam), stop=Gap(1e-3)).u, g, o)


PEERS = {"TV": total_variation, "NLM": nlm, "BM3D": bm3d}
