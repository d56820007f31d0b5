"""Synthetic scans on which the choice of λ is judged: twelve of each of four kinds, no two at the same scale.

Terraces are not among them: a step belongs to the sample, so no λ of a background that takes it is right;
`tests.benchmarks.scenes` judges that.

Lengths are drawn so that one λ cannot fit them all: a lattice has 5 to 20 pixels, as in scans of many sizes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests import components
from tvtasks import synthetic as syn
from tvtasks.operators import Array

SEEDS_TUNED = range(6)
"""What rules and peers were tuned on; the other half, `SEEDS_HELD`, was only looked at."""
SEEDS_HELD = range(6, 12)
SEEDS_FRESH = range(12, 18)
"""Looked at once, when the rules were finished: the figure to believe."""

Drawn = tuple[Array, Array]  # image and truth


@dataclass(frozen=True, eq=False)
class Sample:
    """An image and what a perfect restoration of it shows, up to a constant."""

    family: str
    seed: int
    image: Array
    truth: Array

    @property
    def title(self) -> str:
        return f"{self.family} {self.seed}"


def stm_scratches(rng: np.random.Generator, shape: syn.Shape) -> Drawn:
    """A lattice with defects under lines that jump and carry scars. Truth: lattice and defects."""
    truth = _atoms(rng, shape)
    image = truth + syn.plane(shape, rise=(rng.uniform(-3, 3), rng.uniform(-3, 3)))
    image += syn.line_jumps(shape, rng, share=rng.uniform(0.05, 0.4), height=rng.uniform(0.3, 2))
    image += syn.line_scars(
        shape,
        rng,
        per_line=rng.uniform(0.05, 0.5),
        length=rng.uniform(0.1, 0.5) * shape[1],
        height=rng.uniform(0.3, 2),
    )
    return image + components.gaussian_noise(shape, rng, sigma=rng.uniform(0.03, 0.15)), truth


def drift(rng: np.random.Generator, shape: syn.Shape) -> Drawn:
    """A lattice sheared by thermal drift, on a large smooth background, with 1/f noise."""
    moved = components.drifted(
        shape,
        drift=(rng.uniform(-0.1, 0.1) * shape[0], rng.uniform(-0.1, 0.1) * shape[1]),
        creep=(rng.uniform(-4, 4), rng.uniform(-4, 4)),
    )
    truth = _atoms(rng, shape, moved)
    image = truth + syn.smooth_background(shape, rng, bound=rng.uniform(2, 20))
    image += components.pink_noise(shape, rng, sigma=rng.uniform(0.02, 0.15))
    return image + components.gaussian_noise(shape, rng, sigma=rng.uniform(0.03, 0.15)), truth


def charging_sem(rng: np.random.Generator, shape: syn.Shape) -> Drawn:
    """Particles on a charging substrate, unevenly lit; counts in 8 bits. Truth: the particles."""
    radius = rng.uniform(4, 16)
    truth = syn.particles(shape, rng, per_pixel=0.12 / (np.pi * radius**2), radius=radius, height=100.0)
    expected = truth + 60 + syn.smooth_background(shape, rng, bound=rng.uniform(5, 25))
    expected += syn.charging_streaks(
        shape,
        rng,
        per_line=rng.uniform(0.1, 0.5),
        length=rng.uniform(0.1, 0.5) * shape[1],
        height=rng.uniform(15, 45),
    )
    return expected + syn.counting_noise(expected, rng, largest=255), truth


def low_dose_stem(rng: np.random.Generator, shape: syn.Shape) -> Drawn:
    """Two sublattices of columns at a low dose; counts. Truth: the expected counts, background and all."""
    period = np.exp(rng.uniform(np.log(8), np.log(24)))
    dose = np.exp(rng.uniform(np.log(0.4), np.log(8)))
    symmetry = rng.choice(["square", "rectangular", "hexagonal", "centred"])
    vectors = components.lattice_vectors(symmetry, period=period, angle=rng.uniform(0, np.pi))
    width = rng.uniform(0.14, 0.2) * period
    sites = [
        components.Site((0, 0), 12 * dose, width),
        components.Site((0.5, 0.5) if symmetry != "hexagonal" else (1 / 3, 2 / 3), 5 * dose, width),
    ]
    where = syn.centred(shape)
    truth = components.peak_lattice(where, vectors, sites)
    truth += components.vacancies(where, vectors, sites[0], rng, share=rng.uniform(0, 0.03))
    truth += dose * (3 + syn.smooth_background(shape, rng, bound=1.5))
    return truth + syn.counting_noise(truth, rng, largest=65535), truth


FAMILIES: dict[str, Callable[[np.random.Generator, syn.Shape], Drawn]] = {
    "STM scratches": stm_scratches,
    "drift": drift,
    "charging SEM": charging_sem,
    "low-dose STEM": low_dose_stem,
}
_SEQUENCE = {"STM scratches": 0, "drift": 2, "charging SEM": 3, "low-dose STEM": 4}
"""The first word of each seed. Number 1 was a family that is gone; the others keep their scans."""


def sample(family: str, seed: int, side: int = 256) -> Sample:
    """The scan of a family that a seed stands for."""
    image, truth = FAMILIES[family](np.random.default_rng([_SEQUENCE[family], seed]), (side, side))
    return Sample(family, seed, image, truth)


def _atoms(rng: np.random.Generator, shape: syn.Shape, where: syn.Coordinates | None = None) -> Array:
    """A lattice about 1 high, of any Bravais type, with vacancies and adsorbates."""
    period = float(np.exp(rng.uniform(np.log(5), np.log(20))))
    symmetry = rng.choice(["oblique", "rectangular", "centred", "square", "hexagonal"])
    vectors = components.lattice_vectors(
        symmetry,
        period=period,
        ratio=rng.uniform(1.1, 1.5),
        gamma=rng.uniform(1.1, 1.5),
        angle=rng.uniform(0, np.pi),
    )
    site = components.Site((0, 0), 1.0, period * rng.uniform(0.2, 0.26))
    where = where or syn.centred(shape)
    atoms = components.peak_lattice(where, vectors, [site])
    atoms += components.vacancies(where, vectors, site, rng, share=rng.uniform(0, 0.02))
    return atoms + components.adsorbates(
        where, rng, per_pixel=rng.uniform(1e-5, 1e-4), height=1.0, width=0.3 * period
    )
