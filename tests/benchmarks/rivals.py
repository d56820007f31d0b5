"""What else is done to such images: the usual filters, tuned for each family, and the paper's settings."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter, median_filter

from tvtasks import TGVL1, Published, solve
from tvtasks.models import HuberROF
from tvtasks.operators import Array

Method = Callable[..., Array]


class Rival(NamedTuple):
    """A method with the settings among which the best is taken, for each family, on the tuned seeds."""

    name: str
    run: Method
    options: tuple[dict[str, Any], ...] = ({},)
    needs: str = ""


def row_median(image: Array) -> Array:
    return image - np.median(image, axis=1, keepdims=True)


def flatten_rows(image: Array, order: int) -> Array:
    """Subtract a polynomial of total order, then bring each line to its neighbour by the median step."""
    rows, columns = image.shape
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    basis = np.stack([(y**i * x**j).ravel() for i in range(order + 1) for j in range(order + 1 - i)], axis=1)
    flat = image - (basis @ np.linalg.lstsq(basis, image.ravel())[0]).reshape(image.shape)
    steps = np.median(np.diff(flat, axis=0), axis=1)
    levels = np.concatenate([[0.0], np.cumsum(steps)])
    # Sums of medians wander; their own trend is the polynomial's business.
    trend = np.polynomial.Polynomial.fit(np.arange(rows), levels, order)(np.arange(rows))
    return flat - (levels - trend)[:, np.newaxis]


def stripe_filter(image: Array, level: int, size: float) -> Array:
    """Wavelet-FFT filter of Münch et al. 2009, for vertical stripes, on the image turned by 90°."""
    filtered = import_module("algotom.prep.removal").remove_stripe_based_wavelet_fft(
        np.ascontiguousarray(image.T), level=level, size=size
    )
    return np.asarray(filtered).T


def high_pass(image: Array, sigma: float) -> Array:
    return image - gaussian_filter(image, sigma, mode="reflect")


def rof(image: Array, weight: float, align: bool) -> Array:
    f, unit = _begun(image, align)
    return unit * import_module("skimage.restoration").denoise_tv_chambolle(f, weight=weight)


def nlm(image: Array, strength: float, align: bool) -> Array:
    f, unit = _begun(image, align)
    skimage = import_module("skimage.restoration")
    sigma = skimage.estimate_sigma(f)
    return unit * skimage.denoise_nl_means(
        f, patch_size=5, patch_distance=9, h=strength * sigma, sigma=sigma, fast_mode=True
    )


def bm3d(image: Array, align: bool) -> Array:
    f, unit = _begun(image, align)
    sigma = import_module("skimage.restoration").estimate_sigma(f)
    return unit * import_module("bm3d").bm3d(f, sigma)


def paper(image: Array, family: str) -> Array:
    """The settings printed in the paper for the technique, with the iteration and the stop of its code."""
    low, unit = image.min(), np.ptp(image)
    f = (image - low) / unit

    def flat(model: HuberROF, direction: str) -> Array:
        return f - solve(f, model, direction=direction, stop=Published()).u

    def denoised(u: Array) -> Array:
        return solve(u, TGVL1(1.5, gradient="jacobian"), stop=Published()).u

    if family == "STM scratches":
        u = median_filter(flat(HuberROF(0.05, 0.05), "x"), (3, 1))
    elif family == "drift":
        u = median_filter(flat(HuberROF(0.5, 0.05), "both"), (3, 1))
    elif family == "charging SEM":
        u = denoised(median_filter(flat(HuberROF(0.001, 0.005), "x"), (3, 1)))
    else:
        u = denoised(f)
    return unit * u


def installed() -> tuple[list[Rival], list[str]]:
    """Those whose package can be imported, and the names of the others."""
    missing = {name for name in {rival.needs for rival in RIVALS} if name and not _there(name)}
    return [r for r in RIVALS if r.needs not in missing], [r.name for r in RIVALS if r.needs in missing]


def _there(package: str) -> bool:
    try:
        import_module(package)
    except ImportError:
        return False
    return True


def _begun(image: Array, align: bool) -> tuple[Array, float]:
    """In [0, 1], the lines aligned first if that is asked for; and the range."""
    f = row_median(image) if align else image
    unit = float(np.ptp(f))
    return (f - f.min()) / unit, unit


_BOTH = (False, True)
RIVALS = (
    Rival("raw", lambda image: image),
    Rival("row median", row_median),
    Rival("polynomial + rows", flatten_rows, tuple({"order": n} for n in (1, 2, 3, 5))),
    Rival(
        "wavelet-FFT stripes",
        stripe_filter,
        tuple({"level": level, "size": size} for level in (3, 5) for size in (1, 3, 8)),
        "algotom",
    ),
    Rival("Gaussian high-pass", high_pass, tuple({"sigma": s} for s in (2, 3, 4, 6, 8, 12, 20, 40, 80))),
    Rival(
        "scikit-image TV",
        rof,
        tuple({"weight": w, "align": a} for w in (0.02, 0.05, 0.1, 0.2) for a in _BOTH),
        "skimage",
    ),
    Rival("NLM", nlm, tuple({"strength": s, "align": a} for s in (0.6, 0.9, 1.2) for a in _BOTH), "skimage"),
    Rival("BM3D", bm3d, ({"align": True},), "bm3d"),  # seconds for each image, so there is one setting
)
