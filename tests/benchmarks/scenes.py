"""Synthetic scans whose truth is the sample, of seven families, with every fault on its own or left out.

The truth is what a microscopist keeps: terraces, islands, particles, molecules and the lattice on them, with
their heights. Tilt, bow, drift, offsets of lines, tip changes, scars, streaks and noise are not. Everything
is drawn widely (sizes from 128 to 1,024 pixels, never square; lengths, heights and numbers over a decade
where that makes sense), so that no constant fits one scale only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from tests import components
from tvtasks import synthetic as syn
from tvtasks.operators import Array

SEEDS_TUNED = range(12)
"""The constants of the rules and the settings of the peers were chosen on these."""
SEEDS_HELD = range(100, 112)
"""Looked at now and then, never tuned on."""
SEEDS_FRESH = range(200, 212)
"""Looked at once, at the end: the figures to believe."""

Fault = Literal["offsets", "tip changes", "scars", "bow", "drift", "streaks"]
SIZES = (128, 160, 192, 224, 256, 320, 384, 512)


@dataclass(frozen=True, eq=False)
class Scene:
    """A scan as its parts; all arrays have the shape of the image.

    Attributes
    ----------
    family, seed, technique
        What it is; `technique` as in `Micrograph`.
    sample
        The truth: what is kept.
    tilt
        A plane, which no score counts.
    faults
        What goes, by name.
    noise
        White noise, or for counts the difference from the expected counts, with all faults.
    quiet
        The noise of the same scan without faults.
    lattice
        The part of the sample that repeats; zero where there is none.
    terraces
        The part of the sample with steps, in steps of 1; None where there is none.
    counts
        Whether values are counts; the score then frees the error of a constant alone, else of a plane.
    """

    family: str
    seed: int
    technique: str
    sample: Array
    tilt: Array
    faults: dict[Fault, Array]
    noise: Array
    quiet: Array
    lattice: Array
    terraces: Array | None = None
    counts: bool = False

    @property
    def title(self) -> str:
        return f"{self.family} {self.seed}"

    @property
    def image(self) -> Array:
        """The scan with all its faults."""
        return self.with_faults(self.faults)

    @property
    def clean(self) -> Array:
        """The same scan without a fault: sample, tilt and noise."""
        return self.sample + self.tilt + self.quiet

    def with_faults(self, names: Iterable[Fault]) -> Array:
        """The scan with some of its faults."""
        chosen = [self.faults[name] for name in self.faults if name in set(names)]
        noise = self.noise if chosen else self.quiet
        return np.asarray(self.sample + self.tilt + sum(chosen, np.zeros_like(self.sample)) + noise)


def scene(family: str, seed: int, largest: int = 512) -> Scene:
    """Draw the scan of a family that a seed stands for, no side longer than `largest`."""
    rng = np.random.default_rng([list(FAMILIES).index(family), seed])
    sizes = [size for size in SIZES if size <= largest]
    rows, columns = (int(size) for size in rng.choice(sizes, 2, replace=False))
    return FAMILIES[family](rng, (rows, columns), family, seed)


def large_scene(family: str, seed: int) -> Scene:
    """Draw a scan of 1,024 × 768 pixels."""
    rng = np.random.default_rng([list(FAMILIES).index(family), seed, 1])
    return FAMILIES[family](rng, (1024, 768), family, seed)


# ---------------------------------------------------------------------------------------------- families


def _terraces(rng: np.random.Generator, shape: syn.Shape, family: str, seed: int) -> Scene:
    """STM: steps that wander, a weak lattice, adsorbates."""
    height = _log(rng, 0.5e-10, 8e-10)
    steps = syn.step_terraces(
        shape,
        rng,
        steps=int(rng.integers(1, 5)),
        step_height=1.0,
        angle=rng.uniform(-np.pi, np.pi),
        meander=_log(rng, 1, 30),
    )
    if rng.random() < 0.3:  # steps are not always sharp
        steps = gaussian_filter(steps, rng.uniform(0.5, 2))
    lattice = np.zeros(shape)
    if rng.random() < 0.75:
        lattice = _lattice(rng, shape, rng.uniform(0.02, 0.15), vacancies=0.0)
    sample = steps + lattice
    if rng.random() < 0.75:
        sample += components.adsorbates(
            syn.centred(shape),
            rng,
            per_pixel=_log(rng, 2e-5, 5e-4),
            height=rng.uniform(0.2, 1.2),
            width=rng.uniform(1.2, 5),
        )
    faults = _line_faults(rng, shape, 1.0)
    sigma = _log(rng, 0.005, 0.05)
    return _scaled(
        Scene(
            family,
            seed,
            "STM",
            sample,
            _tilt(rng, shape, 4.0),
            faults,
            *_white(rng, shape, sigma),
            lattice,
            steps,
        ),
        height,
    )


def _islands(rng: np.random.Generator, shape: syn.Shape, family: str, seed: int) -> Scene:
    """STM: islands and holes one step high on one terrace or two, bow."""
    height = _log(rng, 0.5e-10, 8e-10)
    steps = np.zeros(shape)
    y, x = np.mgrid[: shape[0], : shape[1]]
    if rng.random() < 0.4:  # coarsened, as after deposition
        smooth = gaussian_filter(rng.normal(size=shape), rng.uniform(5, 20), mode="wrap")
        level = np.quantile(smooth, rng.uniform(0.55, 0.92))
        slope = np.abs(np.gradient(smooth)[0]).mean()
        steps += rng.choice((-1, 1)) * expit((smooth - level) / (slope * rng.uniform(0.4, 1.0)))
    else:
        for _ in range(int(rng.integers(2, 30))):
            radius = _log(rng, 4, 0.2 * min(shape))
            angle = np.arctan2(y - (cy := rng.uniform(0, shape[0])), x - (cx := rng.uniform(0, shape[1])))
            edge = 1 + sum(
                rng.normal(0, 0.12 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4, 6)
            )
            inside = expit((radius * edge - np.hypot(y - cy, x - cx)) / rng.uniform(0.4, 1.0))
            sign = rng.choice((-1, 1), p=(0.35, 0.65))
            steps = steps * (1 - inside) + sign * inside if rng.random() < 0.8 else steps + sign * inside
    if rng.random() < 0.3:
        steps += syn.step_terraces(
            shape, rng, steps=1, step_height=1.0, angle=rng.uniform(-np.pi, np.pi), meander=_log(rng, 1, 20)
        )
    lattice = _lattice(rng, shape, rng.uniform(0.02, 0.1)) if rng.random() < 0.4 else np.zeros(shape)
    faults = _line_faults(rng, shape, 1.0)
    faults["bow"] = _bow(rng, shape, rng.uniform(0.5, 6))
    sigma = _log(rng, 0.01, 0.06)
    return _scaled(
        Scene(
            family,
            seed,
            "STM",
            steps + lattice,
            _tilt(rng, shape, 4.0),
            faults,
            *_white(rng, shape, sigma),
            lattice,
            steps,
        ),
        height,
    )


def _particles(rng: np.random.Generator, shape: syn.Shape, family: str, seed: int) -> Scene:
    """AFM: caps of spheres on a rough plane, strong bow."""
    height = _log(rng, 1e-9, 1e-7)
    y, x = np.mgrid[: shape[0], : shape[1]]
    sample = np.zeros(shape)
    radius = _log(rng, 4, 0.12 * min(shape))
    number = max(2, round(rng.uniform(0.02, 0.25) * y.size / (np.pi * radius**2)))
    blunt = rng.uniform(0.6, 1.0)  # a cap, or half a sphere
    for _ in range(min(number, 150)):
        r = radius * rng.uniform(0.6, 1.4)
        distance = np.hypot(y - rng.uniform(0, shape[0]), x - rng.uniform(0, shape[1]))
        cap = np.sqrt(np.maximum(1 - (blunt * distance / r) ** 2, 0)) - np.sqrt(1 - blunt**2)
        sample = np.maximum(sample, np.where(distance < r, cap * r / radius, 0))
    sample /= sample.max()
    rough = gaussian_filter(rng.normal(size=shape), _log(rng, 1.0, 6.0))
    sample += rng.uniform(0.005, 0.05) * rough / rough.std()
    faults = _line_faults(rng, shape, 1.0, tip_changes=int(rng.integers(0, 4)))
    faults["bow"] = _bow(rng, shape, rng.uniform(1, 12))
    sigma = _log(rng, 0.005, 0.04)
    return _scaled(
        Scene(
            family,
            seed,
            "AFM",
            sample,
            _tilt(rng, shape, 6.0),
            faults,
            *_white(rng, shape, sigma),
            np.zeros(shape),
        ),
        height,
    )


def _molecules(rng: np.random.Generator, shape: syn.Shape, family: str, seed: int) -> Scene:
    """STM: molecules of a few lobes on a flat metal, in patches that are ordered, or single."""
    height = _log(rng, 0.3e-10, 3e-10)
    lobes = [
        (rng.normal(0, 1), rng.normal(0, 1), rng.uniform(0.5, 1)) for _ in range(int(rng.integers(2, 6)))
    ]
    size = _log(rng, 2.0, 7.0)
    if rng.random() < 0.5:
        vectors = components.lattice_vectors(
            "oblique", period=rng.uniform(5, 9) * size, angle=rng.uniform(0, np.pi)
        )
        reach = int(np.hypot(*shape) / (3 * size))
        cells = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), -1).reshape(-1, 2)
        patch = gaussian_filter(rng.normal(size=shape), 30, mode="wrap")
        places = cells @ vectors + np.array(shape) / 2
        inside = [
            p
            for p in places
            if 0 <= p[0] < shape[0]
            and 0 <= p[1] < shape[1]
            and patch[int(p[0]), int(p[1])] > np.quantile(patch, 0.35)
        ]
        turns = np.zeros(len(inside))
        places = np.array(inside).reshape(-1, 2)
    else:
        places = rng.uniform(0, shape, (max(3, int(rng.uniform(2e-4, 1e-3) * shape[0] * shape[1])), 2))
        turns = rng.integers(0, 3, len(places)) * np.pi / 3
    sample = np.zeros(shape)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for (cy, cx), turn in zip(places[:700], turns[:700], strict=True):
        for ly, lx, high in lobes:
            py = cy + size * (ly * np.cos(turn) + lx * np.sin(turn))
            px = cx + size * (lx * np.cos(turn) - ly * np.sin(turn))
            near = np.s_[
                max(int(py - 4 * size), 0) : int(py + 4 * size) + 1,
                max(int(px - 4 * size), 0) : int(px + 4 * size) + 1,
            ]
            d2 = (y[near] - py) ** 2 + (x[near] - px) ** 2
            sample[near] += high * np.exp(-d2 / (2 * (0.7 * size) ** 2))
    sample /= max(float(sample.max()), 1e-9)
    lattice = _lattice(rng, shape, rng.uniform(0.01, 0.06)) if rng.random() < 0.5 else np.zeros(shape)
    faults = _line_faults(rng, shape, 0.7)
    sigma = _log(rng, 0.005, 0.05)
    return _scaled(
        Scene(
            family,
            seed,
            "STM",
            sample + lattice,
            _tilt(rng, shape, 4.0),
            faults,
            *_white(rng, shape, sigma),
            lattice,
        ),
        height,
    )


def _afm_lattice(rng: np.random.Generator, shape: syn.Shape, family: str, seed: int) -> Scene:
    """AFM: a lattice with vacancies and nothing else, on a slow background much larger than itself."""
    height = _log(rng, 1e-11, 1e-10)
    lattice = _lattice(rng, shape, 1.0, vacancies=rng.uniform(0, 0.03), longest=min(shape) / 12)
    faults = _line_faults(rng, shape, rng.uniform(0.1, 1.0), tip_changes=int(rng.integers(0, 4)))
    faults["drift"] = syn.smooth_background(shape, rng, bound=_log(rng, 2, 25))
    sigma = _log(rng, 0.02, 0.1)
    return _scaled(
        Scene(
            family, seed, "AFM", lattice, _tilt(rng, shape, 4.0), faults, *_white(rng, shape, sigma), lattice
        ),
        height,
    )


def _charging_sem(rng: np.random.Generator, shape: syn.Shape, family: str, seed: int) -> Scene:
    """SEM: ellipses with bright rims; streaks of one row or two that begin sharply and decay; counts."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    sample = np.full(shape, 1.0)
    radius = _log(rng, 5, 0.12 * min(shape))
    contrast = rng.uniform(0.5, 3)
    for _ in range(min(200, max(2, round(rng.uniform(0.05, 0.35) * y.size / (np.pi * radius**2))))):
        a, b = radius * rng.uniform(0.5, 1.5), radius * rng.uniform(0.5, 1.5)
        turn, cy, cx = rng.uniform(0, np.pi), rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        u = (y - cy) * np.cos(turn) + (x - cx) * np.sin(turn)
        v = (x - cx) * np.cos(turn) - (y - cy) * np.sin(turn)
        inside = (1 - np.hypot(u / a, v / b)) * min(a, b)
        rim = rng.uniform(0.2, 0.6) * np.exp(-0.5 * (inside / rng.uniform(1, 2.5)) ** 2)
        cover = expit(inside / 0.7)
        sample = sample * (1 - cover) + (1 + contrast * rng.uniform(0.6, 1.2)) * (1 + rim) * cover
    if rng.random() < 0.5:
        sample *= 1 + syn.smooth_background(shape, rng, bound=0.3)
    dose = _log(rng, 8, 90)
    sample = np.minimum(sample * dose, 240)
    streaks = np.zeros(shape)
    for row in rng.integers(0, shape[0], rng.poisson(rng.uniform(0.05, 0.5) * shape[0])):
        thick, start = int(rng.integers(1, 3)), int(rng.integers(shape[1]))
        decay = np.exp(-np.arange(shape[1] - start) / (_log(rng, 0.05, 0.6) * shape[1]))
        step = rng.choice((-1.0, 1.0)) * rng.uniform(0.15, 0.8) * dose
        streaks[row : row + thick, start:] += step * decay
    streaks = np.clip(streaks, 0.15 * sample - sample, 250 - sample)
    noisy = _counted(rng, sample + streaks)
    return Scene(
        family,
        seed,
        "SEM",
        sample,
        np.zeros(shape),
        {"streaks": streaks},
        noisy,
        _counted(rng, sample),
        np.zeros(shape),
        counts=True,
    )


def _low_dose_stem(rng: np.random.Generator, shape: syn.Shape, family: str, seed: int) -> Scene:
    """STEM: two sublattices, an interface, vacancies, thickness; a few counts a pixel. No line faults."""
    period, dose = _log(rng, 6, 24), _log(rng, 0.5, 8)
    symmetry = rng.choice(["square", "rectangular", "hexagonal", "centred"])
    vectors = components.lattice_vectors(symmetry, period=period, angle=rng.uniform(0, np.pi))
    width = rng.uniform(0.14, 0.2) * period
    second = (1 / 3, 2 / 3) if symmetry == "hexagonal" else (0.5, 0.5)
    sites = [components.Site((0, 0), 3.0, width), components.Site(second, rng.uniform(0.8, 2), width)]
    where = syn.centred(shape)
    lattice = components.peak_lattice(where, vectors, sites)
    lattice += components.vacancies(where, vectors, sites[0], rng, share=rng.uniform(0, 0.02))
    y, x = where
    if rng.random() < 0.5:
        turn = rng.uniform(0, np.pi)
        side = expit((x * np.cos(turn) + y * np.sin(turn) + rng.uniform(-20, 20)) / rng.uniform(1, 8))
        lattice *= 1 + rng.uniform(-0.5, 0.5) * side
    sample = dose * (lattice + 1.0 + syn.smooth_background(shape, rng, bound=0.5)) / 2
    noise = rng.poisson(sample) - sample
    return Scene(
        family, seed, "STEM", sample, np.zeros(shape), {}, noise, noise, dose * lattice / 2, counts=True
    )


FAMILIES: dict[str, Callable[[np.random.Generator, syn.Shape, str, int], Scene]] = {
    "STM terraces": _terraces,
    "STM islands": _islands,
    "AFM particles": _particles,
    "STM molecules": _molecules,
    "AFM lattice": _afm_lattice,
    "charging SEM": _charging_sem,
    "low-dose STEM": _low_dose_stem,
}


# ------------------------------------------------------------------------------------------------- parts


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _tilt(rng: np.random.Generator, shape: syn.Shape, most: float) -> Array:
    return syn.plane(shape, rise=(rng.uniform(-most, most), rng.uniform(-most, most)))


def _bow(rng: np.random.Generator, shape: syn.Shape, height: float) -> Array:
    """A paraboloid, as a scanner's tube bends; stronger along one side, or a saddle."""
    y, x = (np.linspace(-1, 1, size) for size in shape)
    bends = rng.uniform(-1, 1, 3)
    bow = bends[0] * x**2 + bends[1] * y[:, np.newaxis] ** 2 + 0.5 * bends[2] * y[:, np.newaxis] * x
    return np.asarray(height * bow / max(np.abs(bends).max(), 0.3))


def _lattice(
    rng: np.random.Generator, shape: syn.Shape, height: float, vacancies: float = 0.0, longest: float = 20.0
) -> Array:
    symmetry = rng.choice(["oblique", "rectangular", "centred", "square", "hexagonal"])
    period = _log(rng, 4.5, max(longest, 6.0))
    vectors = components.lattice_vectors(
        symmetry,
        period=period,
        ratio=rng.uniform(1.1, 1.5),
        gamma=rng.uniform(1.1, 1.5),
        angle=rng.uniform(0, np.pi),
    )
    site = components.Site((0, 0), height, period * rng.uniform(0.2, 0.26))
    where = syn.centred(shape)
    if rng.random() < 0.3:  # thermal drift and creep shear and bend it
        where = components.drifted(
            shape,
            drift=(rng.uniform(-8, 8), rng.uniform(-8, 8)),
            creep=(rng.uniform(-2, 2), rng.uniform(-2, 2)),
        )
    lattice = components.peak_lattice(where, vectors, [site])
    if vacancies:
        lattice += components.vacancies(where, vectors, site, rng, share=vacancies)
    return np.asarray(lattice)


def _line_faults(
    rng: np.random.Generator, shape: syn.Shape, height: float, tip_changes: int | None = None
) -> dict[Fault, Array]:
    """Offsets of lines with power 1/f, tip changes in mid-line that last, scars of one to three rows."""
    rows, columns = shape
    frequencies = np.fft.rfftfreq(4 * rows)[1:]
    weights = np.concatenate([[0.0], frequencies ** (-rng.uniform(0.0, 2.0) / 2)])
    series = np.fft.irfft(weights * np.fft.rfft(rng.normal(size=4 * rows)), 4 * rows)[:rows]
    offsets = height * _log(rng, 0.05, 0.6) * series / series.std()
    if rng.random() < 0.3:  # a quiet microscope with a few lines that jump
        offsets = offsets * (rng.random(rows) < rng.uniform(0.02, 0.4))
    changes = np.zeros(shape)
    for _ in range(int(rng.integers(0, 13)) if tip_changes is None else tip_changes):
        at = int(rng.integers(rows * columns))
        changes.reshape(-1)[at:] += rng.choice((-1, 1)) * rng.uniform(0.1, 1.0) * height
    scars = np.zeros(shape)
    for _ in range(int(_log(rng, 5, 60))):
        row, column = int(rng.integers(rows)), int(rng.integers(columns))
        thick = int(rng.choice((1, 2, 3), p=(0.6, 0.25, 0.15)))
        long = 3 + int(rng.exponential(_log(rng, 0.05, 0.5) * columns))
        scar = rng.choice((-1, 1)) * rng.uniform(0.2, 2.0) * height
        scars[row : row + thick, column : column + long] += scar
    return {
        "offsets": np.repeat(offsets[:, np.newaxis], columns, axis=1),
        "tip changes": changes,
        "scars": scars,
    }


def _white(rng: np.random.Generator, shape: syn.Shape, sigma: float) -> tuple[Array, Array]:
    noise = components.gaussian_noise(shape, rng, sigma=sigma)
    return noise, noise


def _counted(rng: np.random.Generator, expected: Array) -> Array:
    """Counts in 8 bits, less the expected ones."""
    return np.asarray(np.clip(rng.poisson(np.maximum(expected, 0)), 0, 255) - expected)


def _scaled(item: Scene, unit: float) -> Scene:
    """The same scan in metres."""
    return Scene(
        item.family,
        item.seed,
        item.technique,
        item.sample * unit,
        item.tilt * unit,
        {name: fault * unit for name, fault in item.faults.items()},
        item.noise * unit,
        item.quiet * unit,
        item.lattice * unit,
        item.terraces,
    )
