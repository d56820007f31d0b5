"""Crystals, and what is no crystal, whose truth is known: drawn at random, no two alike.

Atoms are not all Gaussians here, and lattices not all perfect: a method that was made on Gaussian atoms of
one perfect lattice should be found out. Every scene is drawn in counts; `Scene.image` may then be in any unit
and any type.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tests import components
from tvtasks import synthetic as syn
from tvtasks.operators import Array

SEEDS_TUNED = range(12)
"""What constants were found on."""
SEEDS_HELD = range(100, 112)
"""Looked at when a version was finished, to see whether it holds."""
SEEDS_FRESH = range(1000, 1012)
"""Looked at once, at the end."""

Profile = Callable[[Array, Array], Array]
"""Height of an atom at (dy, dx) from its middle; 1 there, or near it."""


@dataclass(frozen=True, eq=False)
class Scene:
    """An image and its truth.

    Attributes
    ----------
    family, seed
        What it was drawn from.
    image
        As an instrument would store it.
    truth
        Expected value of every pixel, in the unit of `image`.
    gain, offset
        Variance of the noise at an expected value m: offset + gain · m, in the unit of `image`.
    period
        Length of the shorter lattice vector in pixels; 0 without a lattice.
    features
        By kind: (image of the feature alone, in the unit of `image`) for each that repeats nowhere.
    """

    family: str
    seed: int
    image: Array
    truth: Array
    gain: float
    offset: float
    period: float = 0.0
    features: list[tuple[str, Array]] = field(default_factory=list)

    @property
    def title(self) -> str:
        return f"{self.family} {self.seed}"


def score(restored: Array, truth: Array) -> float:
    """PSNR in dB against the range of the truth, up to a constant."""
    error = np.std(np.asarray(restored, np.float64) - truth)
    return float(20 * np.log10(np.ptp(truth) / max(float(error), 1e-300)))


# --- atoms --------------------------------------------------------------------------------------------------


def profile(rng: np.random.Generator, width: float, kind: str | None = None) -> Profile:
    """Return the shape of an atom about as wide as a Gaussian of standard deviation `width`."""
    kind = kind or str(
        rng.choice(["gaussian", "gaussian", "moffat", "tailed", "disc", "cone", "oval", "dumbbell", "airy"])
    )
    turn, stretch = rng.uniform(0, np.pi), rng.uniform(1.2, 1.7)
    share, part = rng.uniform(0.1, 0.3), rng.uniform(0.75, 1.0)

    def shape(dy: Array, dx: Array) -> Array:  # noqa: PLR0911 - a list of shapes
        r2 = dy * dy + dx * dx
        if kind == "moffat":  # tails of a probe
            return (1 + r2 / (2 * 2.5 * width**2)) ** -2.5
        if kind == "tailed":
            return (1 - share) * np.exp(-r2 / (2 * width**2)) + share * np.exp(-r2 / (2 * (2.2 * width) ** 2))
        if kind == "disc":  # flat at the top
            return 1 / (1 + np.exp((np.sqrt(r2) - 1.5 * width) / max(0.3 * width, 0.5)))
        if kind == "cone":
            return np.clip(1 - np.sqrt(r2 + 0.5) / (2.4 * width), 0, None)
        if kind == "airy":  # a weak ring around it
            r = np.sqrt(r2) / width
            return np.exp(-(r**2) / 2) + 0.12 * np.exp(-((r - 3) ** 2) / 0.5)
        if kind in ("oval", "dumbbell"):
            a, b = dy * np.sin(turn) + dx * np.cos(turn), dy * np.cos(turn) - dx * np.sin(turn)
            if kind == "oval":
                return np.exp(-(a * a / stretch + b * b * stretch) / (2 * width**2))
            w = 0.7 * width
            one, two = ((a - s * 1.3 * w) ** 2 + b * b for s in (-1, 1))
            return np.exp(-one / (2 * w * w)) + part * np.exp(-two / (2 * w * w))
        return np.exp(-r2 / (2 * width**2))

    return shape


def place(out: Array, places: Array, heights: Array, shape: Profile, reach: float) -> None:
    """Add atoms at places (y, x) in pixels; each is cut at `reach`."""
    rows, columns = out.shape
    for (y, x), height in zip(places, heights, strict=True):
        top, bottom = max(int(np.ceil(y - reach)), 0), min(int(y + reach) + 1, rows)
        left, right = max(int(np.ceil(x - reach)), 0), min(int(x + reach) + 1, columns)
        if top < bottom and left < right:
            dy, dx = np.arange(top, bottom)[:, np.newaxis] - y, np.arange(left, right)[np.newaxis] - x
            out[top:bottom, left:right] += height * shape(dy, dx)


Field = Callable[[Array], Array]
"""Where an atom at places (k, 2) of the perfect lattice is found in the image."""


@dataclass(frozen=True, eq=False)
class Crystal:
    """Lattice vectors (rows, y and x, in pixels), an origin, and sites: fractions, height, shape."""

    vectors: Array
    origin: Array
    sites: list[tuple[tuple[float, float], float, Profile]]
    width: float

    @property
    def period(self) -> float:
        a, b = self.vectors
        candidates = [np.hypot(*(i * a + j * b)) for i in (-1, 0, 1) for j in (0, 1) if (i, j) != (0, 0)]
        return float(min(c for c in candidates if c > 0))

    def places(self, shape: syn.Shape, site: int) -> Array:
        """Places (k, 2) of one sublattice, in the image and two cells around it."""
        margin = 2.5 * max(np.hypot(*v) for v in self.vectors)
        corners = np.array(
            [[y, x] for y in (-margin, shape[0] + margin) for x in (-margin, shape[1] + margin)]
        )
        fractions = (corners - self.origin) @ np.linalg.inv(self.vectors)
        low, high = np.floor(fractions.min(axis=0)).astype(int), np.ceil(fractions.max(axis=0)).astype(int)
        n, m = np.mgrid[low[0] : high[0] + 1, low[1] : high[1] + 1]
        cells = np.stack([n.ravel(), m.ravel()], axis=1) + np.array(self.sites[site][0])
        found = cells @ self.vectors + self.origin
        inside = np.all((found > -margin) & (found < np.array(shape) + margin), axis=1)
        return np.asarray(found[inside])


def crystal(
    rng: np.random.Generator,
    *,
    period: tuple[float, float] = (5, 30),
    like: Crystal | None = None,
    kind: str | None = None,
) -> Crystal:
    """Draw a crystal of two sublattices; with `like` one of nearly the same lattice, as at an interface."""
    if like is not None:
        stretch = 1 + rng.normal(0, 0.02, 2)
        sites = [(at, height * rng.uniform(0.5, 1.6), shape) for at, height, shape in like.sites]
        return Crystal(
            like.vectors * stretch[:, np.newaxis], like.origin + rng.uniform(-3, 3, 2), sites, like.width
        )
    length = float(np.exp(rng.uniform(*np.log(period))))
    symmetry = str(rng.choice(["oblique", "rectangular", "centred", "square", "hexagonal"]))
    vectors = components.lattice_vectors(
        symmetry,
        period=length,
        ratio=rng.uniform(1.1, 1.6),
        gamma=rng.uniform(1.1, 1.5),
        angle=rng.uniform(0, np.pi),
    )
    width = rng.uniform(0.14, 0.2) * length
    at = (1 / 3, 2 / 3) if symmetry == "hexagonal" else (0.5, 0.5)
    sites = [((0.0, 0.0), 12.0, profile(rng, width, kind))]
    if rng.random() < 0.85:
        sites.append((at, rng.uniform(3, 9), profile(rng, width * rng.uniform(0.8, 1.1), kind)))
    return Crystal(vectors, rng.uniform(0, length, 2), sites, width)


def still(places: Array) -> Array:
    return places


def render(
    out: Array, c: Crystal, rng: np.random.Generator, *,
    where: Callable[[Array], NDArray[np.bool_]] | None = None, field: Field = still, missing: float = 0.0,
    dopants: float = 0.0,
) -> None:  # fmt: skip
    """Add a crystal to an image: atoms for which `where` holds, moved by `field`, a share of them missing."""
    for k, (_, height, shape) in enumerate(c.sites):
        places = c.places(out.shape, k)
        if where is not None:
            places = places[where(places)]
        heights = np.full(len(places), height)
        heights[rng.random(len(places)) < dopants] *= 1.3
        gone = rng.random(len(places)) < missing
        heights[gone] = 0
        place(out, field(places)[heights > 0], heights[heights > 0], shape, 6 * c.width)


def thickness(rng: np.random.Generator, shape: syn.Shape) -> Array:
    """Background of the specimen, between 1 and 6 counts."""
    y, x = (np.linspace(-0.5, 0.5, size) for size in shape)
    ramp = rng.uniform(-2, 2) * y[:, np.newaxis] + rng.uniform(-2, 2) * x
    bound = rng.uniform(0, 1.5)
    return np.maximum(
        rng.uniform(2, 5) + ramp + (syn.smooth_background(shape, rng, bound=bound) if bound > 0.1 else 0), 0.3
    )


# --- noise --------------------------------------------------------------------------------------------------


def counted(
    family: str, seed: int, rng: np.random.Generator, expected: Array, *, period: float = 0.0,
    unit: float | None = None, readout: float = 0.0, features: list[tuple[str, Array]] | None = None,
) -> Scene:  # fmt: skip
    """Poisson counts, with the noise of a readout, in the unit and type of some instrument."""
    counts = rng.poisson(np.maximum(expected, 0)).astype(np.float64)
    if readout:
        counts += rng.normal(0, readout, counts.shape)
    kind = str(rng.choice(["counts", "uint16", "uint8", "float32", "scaled"])) if unit is None else "counts"
    scale, level, image = 1.0, 0.0, counts
    if kind == "uint16" and not readout:
        image = counts.astype(np.uint16)
    elif kind == "uint8" and not readout and counts.max() < 256:
        image = counts.astype(np.uint8)
    elif kind == "scaled":
        scale, level = float(10 ** rng.uniform(-12, 4)), 0.0
        level = scale * rng.uniform(-20, 20)
        image = scale * counts + level
    elif kind == "float32":
        scale = float(rng.uniform(0.5, 200))
        image = (scale * counts).astype(np.float32)
    found = [(name, scale * part) for name, part in features or []]
    return Scene(
        family,
        seed,
        image,
        scale * expected + level,
        scale,
        scale**2 * readout**2 - scale * level,
        period,
        found,
    )


# --- families -----------------------------------------------------------------------------------------------


def _dose(rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(0.4), np.log(8))))


def _side_of_line(rng: np.random.Generator, shape: syn.Shape) -> Callable[[Array], NDArray[np.bool_]]:
    angle, middle = rng.uniform(0, 2 * np.pi), np.array(shape) * rng.uniform(0.35, 0.65, 2)
    normal = np.array([np.sin(angle), np.cos(angle)])
    return lambda places: np.asarray((places - middle) @ normal > 0)


def low_dose_stem(rng: np.random.Generator, shape: syn.Shape, seed: int) -> Scene:
    """Two sublattices, most with an interface, vacancies, thickness."""
    dose, truth = _dose(rng), np.zeros(shape)
    first = crystal(rng)
    missing = rng.uniform(0, 0.03)
    kind = rng.choice(["one", "interface", "interface", "contrast"])
    if kind == "one":
        render(truth, first, rng, missing=missing)
    else:
        side = _side_of_line(rng, shape)
        second = crystal(rng, like=first)
        if kind == "contrast":  # coherent: other atoms on the same lattice
            second = Crystal(first.vectors, first.origin, second.sites, first.width)
        render(truth, first, rng, where=side, missing=missing)
        render(truth, second, rng, where=lambda places: ~side(places), missing=missing)
    truth += thickness(rng, shape)
    return counted("low-dose STEM", seed, rng, dose * truth, period=first.period)


def grains(rng: np.random.Generator, shape: syn.Shape, seed: int) -> Scene:
    """Two or three grains of one crystal in different orientations."""
    dose, truth = _dose(rng), np.zeros(shape)
    first = crystal(rng)
    number = int(rng.integers(2, 4))
    middles = rng.uniform(0, 1, (number, 2)) * np.array(shape)
    for k in range(number):
        turn = rng.uniform(0, np.pi / 2)
        about = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        grain = Crystal(first.vectors @ about, rng.uniform(0, 10, 2), first.sites, first.width)

        def mine(places: Array, k: int = k) -> NDArray[np.bool_]:
            away = np.stack([np.hypot(*(places - m).T) for m in middles])
            return np.asarray(away.argmin(axis=0) == k)

        render(truth, grain, rng, where=mine, missing=0.01)
    truth += thickness(rng, shape)
    return counted("grains", seed, rng, dose * truth, period=first.period)


def antiphase(rng: np.random.Generator, shape: syn.Shape, seed: int) -> Scene:
    """Two domains, one moved by half a lattice vector or by any part of one."""
    dose, truth = _dose(rng), np.zeros(shape)
    first, side = crystal(rng), _side_of_line(rng, shape)
    share = np.array([0.5, 0.0]) if rng.random() < 0.5 else rng.uniform(0.2, 0.8, 2)
    second = Crystal(first.vectors, first.origin + share @ first.vectors, first.sites, first.width)
    render(truth, first, rng, where=side)
    render(truth, second, rng, where=lambda places: ~side(places))
    truth += thickness(rng, shape)
    return counted("antiphase", seed, rng, dose * truth, period=first.period)


def dislocation(rng: np.random.Generator, shape: syn.Shape, seed: int) -> Scene:
    """An edge dislocation, or a pair, in one crystal; isotropic displacement field with ν = 0.3."""
    dose, truth = _dose(rng), np.zeros(shape)
    first = crystal(rng)
    cores = rng.uniform(0.25, 0.75, (int(rng.integers(1, 3)), 2)) * np.array(shape)
    along = first.vectors[0] / np.hypot(*first.vectors[0])
    across, b, nu = np.array([-along[1], along[0]]), np.hypot(*first.vectors[0]), 0.3

    def moved(places: Array) -> Array:
        out = places.copy()
        for sign, core in zip((1, -1), cores, strict=False):
            x, y = (places - core) @ along, (places - core) @ across
            r2 = x * x + y * y + 1.0
            u = b / 2 / np.pi * (np.arctan2(y, x) + x * y / (2 * (1 - nu) * r2))
            v = (
                -b
                / 2
                / np.pi
                * ((1 - 2 * nu) / (4 * (1 - nu)) * np.log(r2 / 100) + (x * x - y * y) / (4 * (1 - nu) * r2))
            )
            out += sign * (u[:, np.newaxis] * along + v[:, np.newaxis] * across)
        return out

    render(truth, first, rng, field=moved)
    truth += thickness(rng, shape)
    return counted("dislocation", seed, rng, dose * truth, period=first.period)


def drift(rng: np.random.Generator, shape: syn.Shape, seed: int) -> Scene:
    """One crystal, sheared and bent by drift and creep."""
    dose, truth = _dose(rng), np.zeros(shape)
    first = crystal(rng)
    rate, creep = rng.uniform(-0.06, 0.06, 2) * shape[0], rng.uniform(-5, 5, 2)

    def moved(places: Array) -> Array:
        t = places[:, :1] / shape[0]
        return np.asarray(places + rate * t + creep * (1 - np.exp(-4 * np.clip(t, -0.2, None))))

    render(truth, first, rng, field=moved, missing=0.01)
    truth += thickness(rng, shape)
    return counted("drift", seed, rng, dose * truth, period=first.period)


def jitter(rng: np.random.Generator, shape: syn.Shape, seed: int) -> Scene:
    """Lines displaced along x by the scan; the truth is the displaced crystal."""
    dose = _dose(rng)
    first, rows = crystal(rng, period=(10, 30)), np.zeros(shape)
    render(rows, first, rng, missing=0.01)
    rows += thickness(rng, shape)
    moves = rng.normal(0, rng.uniform(0.1, 0.6), shape[0])
    padded = np.concatenate([rows, rows[:, ::-1]], axis=1)
    wave = np.fft.rfftfreq(padded.shape[1])
    truth = np.fft.irfft(
        np.fft.rfft(padded, axis=1) * np.exp(2j * np.pi * wave * moves[:, np.newaxis]),
        padded.shape[1],
        axis=1,
    )
    truth = np.maximum(truth[:, : shape[1]], 0.05)
    return counted("jitter", seed, rng, dose * truth, period=first.period)


def nanoparticle(rng: np.random.Generator, shape: syn.Shape, seed: int) -> Scene:
    """Crystals on an amorphous film."""
    dose, truth = _dose(rng), np.zeros(shape)
    first = crystal(rng, period=(5, 20))
    for _ in range(int(rng.integers(1, 4))):
        turn = rng.uniform(0, np.pi)
        about = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        grain = Crystal(first.vectors @ about, rng.uniform(0, 10, 2), first.sites, first.width)
        middle, radius = rng.uniform(0.2, 0.8, 2) * np.array(shape), rng.uniform(0.12, 0.3) * shape[0]
        render(truth, grain, rng, where=lambda places, m=middle, r=radius: np.hypot(*(places - m).T) < r)
    truth += 3 + 1.0 * amorphous_film(rng, shape, first.width)
    return counted("nanoparticle", seed, rng, dose * np.maximum(truth, 0.2), period=first.period)


def amorphous_film(rng: np.random.Generator, shape: syn.Shape, width: float) -> Array:
    film = gaussian_filter(rng.normal(size=shape), width, mode="wrap")
    return np.asarray(film / film.std())


def amorphous(rng: np.random.Generator, shape: syn.Shape, seed: int) -> Scene:
    """Atoms without order."""
    dose, width, truth = _dose(rng), rng.uniform(1.2, 4), np.zeros(shape)
    number = int(shape[0] * shape[1] / (5 * width) ** 2 * rng.uniform(0.8, 2))
    places = rng.uniform(-20, np.array(shape) + 20, (number, 2))
    place(truth, places, rng.uniform(2, 8, number), profile(rng, width, "gaussian"), 5 * width)
    return counted("amorphous", seed, rng, dose * (truth + thickness(rng, shape)))


def spm_lattice(rng: np.random.Generator, shape: syn.Shape, seed: int) -> Scene:
    """A corrugation of any symmetry, vacancies, adsorbates, white noise; heights in metres or anything."""
    first = crystal(rng, period=(5, 24), kind=str(rng.choice(["gaussian", "cone", "disc", "moffat", "oval"])))
    wide = Crystal(
        first.vectors,
        first.origin,
        [(at, h / 12, profile(rng, rng.uniform(0.2, 0.26) * first.period)) for at, h, _ in first.sites[:1]],
        first.width * 1.4,
    )
    truth = np.zeros(shape)
    render(truth, wide, rng, missing=rng.uniform(0, 0.02))
    number = int(rng.integers(0, 6))
    places = rng.uniform(0, 1, (number, 2)) * np.array(shape)
    place(
        truth,
        places,
        rng.uniform(0.6, 1.3, number),
        profile(rng, 0.3 * first.period, "gaussian"),
        2 * first.period,
    )
    sigma = float(np.exp(rng.uniform(np.log(0.03), np.log(0.5))))
    unit = float(10 ** rng.uniform(-11, 3))
    image = unit * (truth + rng.normal(0, sigma, shape))
    kept = image.astype(np.float32) if rng.random() < 0.5 else image
    return Scene("SPM lattice", seed, kept, unit * truth, 0.0, (unit * sigma) ** 2, first.period)


def sem(rng: np.random.Generator, shape: syn.Shape, seed: int) -> Scene:
    """Particles with bright rims on a substrate; counts in 8 bits."""
    radius = rng.uniform(4, 16)
    truth = syn.particles(shape, rng, per_pixel=0.12 / (np.pi * radius**2), radius=radius, height=100.0)
    expected = truth + 60 + syn.smooth_background(shape, rng, bound=rng.uniform(5, 25))
    expected = expected * float(np.exp(rng.uniform(np.log(0.1), np.log(1.3))))
    counts = np.minimum(rng.poisson(np.maximum(expected, 0)), 255)
    return Scene("SEM", seed, counts.astype(np.uint8), expected, 1.0, 0.0)


def plain_stem(rng: np.random.Generator, shape: syn.Shape, seed: int) -> Scene:
    """Gaussian columns of two sublattices, an interface, vacancies, thickness; counts."""
    dose, truth = float(np.exp(rng.uniform(np.log(0.5), np.log(8)))), np.zeros(shape)
    first, side = crystal(rng, period=(7, 26), kind="gaussian"), _side_of_line(rng, shape)
    other = crystal(rng, period=(7, 26), kind="gaussian")
    second = other if rng.random() < 0.3 else crystal(rng, like=first)
    render(truth, first, rng, where=side, missing=rng.uniform(0, 0.03))
    render(truth, second, rng, where=lambda places: ~side(places), missing=rng.uniform(0, 0.03))
    truth += thickness(rng, shape)
    return counted("plain STEM", seed, rng, dose * truth, period=first.period, unit=1.0)


def detector_blur(rng: np.random.Generator, shape: syn.Shape, seed: int) -> Scene:
    """Counts that the detector spreads over neighbours, so that they share their noise."""
    dose, truth = 2 * _dose(rng), np.zeros(shape)
    first = crystal(rng, period=(8, 24), kind="gaussian")
    render(truth, first, rng, missing=0.01)
    truth = dose * (truth + thickness(rng, shape))
    blur = rng.uniform(0.4, 1.0)
    counts = rng.poisson(truth).astype(np.float64)
    spot = np.zeros((15, 15))
    spot[7, 7] = 1
    share = float(np.sum(gaussian_filter(spot, blur) ** 2))
    image, expected = (gaussian_filter(a, blur, mode="reflect") for a in (counts, truth))
    return Scene("detector blur", seed, image.astype(np.float32), expected, share, 0.0, first.period)


FAMILIES: dict[str, Callable[[np.random.Generator, syn.Shape, int], Scene]] = {
    "low-dose STEM": low_dose_stem,
    "grains": grains,
    "antiphase": antiphase,
    "dislocation": dislocation,
    "drift": drift,
    "jitter": jitter,
    "nanoparticle": nanoparticle,
    "amorphous": amorphous,
    "SPM lattice": spm_lattice,
    "SEM": sem,
    "plain STEM": plain_stem,
    "detector blur": detector_blur,
}


def scene(family: str, seed: int, side: int = 256) -> Scene:
    """The scene of a family that a seed stands for."""
    rng = np.random.default_rng([777, list(FAMILIES).index(family), seed])
    return FAMILIES[family](rng, (side, side), seed)


# --- features, and noise alone ------------------------------------------------------------------------------

KINDS = ("vacancy", "interstitial", "particle", "dopant")


def featured(kind: str, dose: float, seed: int, side: int = 256) -> Scene:
    """A crystal with a few features of one kind, each in a place of its own."""
    rng = np.random.default_rng([778, KINDS.index(kind), int(dose * 1000), seed])
    shape, truth = (side, side), np.zeros((side, side))
    c = crystal(rng, period=(7, 24))
    render(truth, c, rng)
    truth += thickness(rng, shape)
    places, (_, height, atom) = c.places(shape, 0), c.sites[0]
    margin = 3 * c.period
    inner = places[np.all((places > margin) & (places < side - margin), axis=1)]
    chosen: list[Array] = []
    for at in rng.permutation(inner):
        if all(np.hypot(*(at - other)) > 6 * c.period for other in chosen):
            chosen.append(at)
        if len(chosen) == 4:
            break
    features = []
    for at in chosen:
        part = np.zeros(shape)
        if kind == "vacancy":
            place(part, at[np.newaxis], np.array([-height]), atom, 6 * c.width)
        elif kind == "dopant":
            place(part, at[np.newaxis], np.array([0.3 * height]), atom, 6 * c.width)
        elif kind == "interstitial":
            between = at + rng.uniform(0.2, 0.3, 2) @ c.vectors
            place(part, between[np.newaxis], np.array([0.5 * height]), atom, 6 * c.width)
        else:
            radius = rng.uniform(0.5, 1.5) * c.period
            y, x = np.mgrid[:side, :side]
            r = np.hypot(y - at[0], x - at[1])
            part = rng.uniform(0.5, 1.2) * height / (1 + np.exp((r - radius) / 0.7))
        features.append((kind, dose * part))
        truth = truth + part
    return counted(
        f"{kind}, dose {dose:g}", seed, rng, dose * truth, period=c.period, unit=1.0, features=features
    )


NOISES = ("Gaussian", "counts", "few counts", "shared by neighbours", "line noise")


def noise_alone(kind: str, seed: int, side: int = 256) -> Array:
    """An image in which there is nothing."""
    rng = np.random.default_rng([779, NOISES.index(kind), seed])
    shape = (side, side)
    if kind == "Gaussian":
        return rng.normal(rng.uniform(-5, 5), np.exp(rng.uniform(-5, 5)), shape)
    if kind == "counts":
        return rng.poisson(rng.uniform(5, 100), shape).astype(np.uint16)
    if kind == "few counts":
        return rng.poisson(rng.uniform(0.05, 2), shape).astype(np.uint8)
    if kind == "shared by neighbours":
        return gaussian_filter(rng.normal(size=shape), rng.uniform(0.4, 1.5), mode="wrap")
    return (
        rng.normal(size=shape)
        + rng.normal(0, rng.uniform(0.2, 1), (side, 1))
        + components.pink_noise(shape, rng, sigma=rng.uniform(0.2, 1))
    )


def kept(restored: Array, scene: Scene) -> list[float]:
    """Share of each feature's contrast that is left: the least-squares factor of its shape in the result.

    The result less the truth is fitted by the shape of the feature and by a constant, where the shape is at
    least a tenth of its height and a little around it; 1 plus that factor is what is kept.
    """
    out = []
    for _, part in scene.features:
        size = np.abs(part)
        near = size > 0.05 * size.max()
        error = (np.asarray(restored, np.float64) - scene.truth)[near]
        shape = part[near]
        out.append(1 + float(shape @ error) / float(shape @ shape))
    return out
