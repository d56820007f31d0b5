"""Complete scans: components with the amplitudes of one technique."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tvtasks.synthetic.coordinates import FloatImage, Shape
from tvtasks.synthetic.faults import charging_streaks, counting_noise, line_jumps, line_scars
from tvtasks.synthetic.lattices import column_lattice, wave_lattice
from tvtasks.synthetic.surfaces import particles, plane, smooth_background, step_terraces

Seed = int | np.random.Generator


@dataclass(frozen=True, eq=False)
class Scan:
    """A synthetic scan as the sum of its components, all float64 with shape (rows, columns), in `units`.

    Attributes
    ----------
    lattice
        Atomic corrugation, or atomic columns.
    terraces
        Parts with sharp edges: terraces between steps, or particles.
    background
        Slow variations: tilt, bow, thickness, illumination.
    streaks
        Faults along the fast-scan direction, which is along rows.
    noise
        Random from pixel to pixel; for counts, the difference from the expected counts.
    pixel_size
        Side of the square pixels in m.
    units
        ``m`` or ``counts``.
    dtype
        The type in which the instrument stores the image.
    technique
        As in `Micrograph`.
    title
        One line that describes the sample.
    """

    lattice: FloatImage
    terraces: FloatImage
    background: FloatImage
    streaks: FloatImage
    noise: FloatImage
    pixel_size: float
    units: str
    dtype: Literal["float32", "uint8", "uint16"]
    technique: str
    title: str

    @property
    def truth(self) -> FloatImage:
        """The result of a perfect restoration, up to a constant: the sample without background and faults."""
        return self.lattice + self.terraces

    @property
    def image(self) -> FloatImage:
        """The sum of the components."""
        return self.truth + self.background + self.streaks + self.noise

    @property
    def recorded(self) -> NDArray[np.float32 | np.uint8 | np.uint16]:
        """The image in the type in which the instrument stores it."""
        # Counts are integers only up to the rounding of the sum.
        image = self.image if self.units == "m" else np.rint(self.image)
        return image.astype(self.dtype)


def stm_terrace_scan(seed: Seed, shape: Shape = (256, 256)) -> Scan:
    """Return an STM topography of Au(111): atoms on terraces, tilted, scratched and noisy.

    The hexagonal lattice (nearest neighbours 0.288 nm, corrugation 30 pm) lies on terraces one atomic step
    (0.2355 nm) apart, on a tilted plane. Some lines jump and some have scars of about 0.1 nm, where the tip
    changed. White Gaussian noise has a standard deviation of 8 pm.
    """
    rng = np.random.default_rng(seed)
    pixel_size = 0.04e-9
    return Scan(
        lattice=wave_lattice(
            shape,
            period=0.288e-9 / pixel_size,
            corrugation=30e-12,
            angle=rng.uniform(0, np.pi / 3),
            symmetry="hexagonal",
        ),
        terraces=step_terraces(
            shape, rng, steps=3, step_height=0.2355e-9, angle=rng.uniform(-0.6, 0.6), meander=6.0
        ),
        background=plane(shape, rise=(rng.uniform(-0.2e-9, 0.2e-9), rng.uniform(-0.3e-9, 0.3e-9))),
        streaks=line_jumps(shape, rng, share=0.03, height=0.06e-9)
        + line_scars(shape, rng, per_line=0.15, length=0.2 * shape[1], height=0.1e-9),
        noise=rng.normal(0.0, 8e-12, shape),
        pixel_size=pixel_size,
        units="m",
        dtype="float32",
        technique="STM",
        title="Au(111), terraces with atomic lattice",
    )


def afm_lattice_scan(seed: Seed, shape: Shape = (256, 256)) -> Scan:
    """Return an nc-AFM topography of NaCl(001): a faint lattice on a smooth, much larger background.

    Only one kind of ion is visible: a square lattice of 0.399 nm with a corrugation of 40 pm. The background,
    from thermal drift and the bow of the scanner, stays within ±1 nm. White Gaussian noise has a standard
    deviation of 8 pm.
    """
    rng = np.random.default_rng(seed)
    pixel_size = 0.04e-9
    return Scan(
        lattice=wave_lattice(
            shape,
            period=0.399e-9 / pixel_size,
            corrugation=40e-12,
            angle=rng.uniform(0, np.pi / 2),
            symmetry="square",
        ),
        terraces=np.zeros(shape),
        background=smooth_background(shape, rng, bound=1e-9),
        streaks=np.zeros(shape),
        noise=rng.normal(0.0, 8e-12, shape),
        pixel_size=pixel_size,
        units="m",
        dtype="float32",
        technique="AFM",
        title="NaCl(001), nc-AFM, lattice on a smooth background",
    )


def sem_charging_scan(
    seed: Seed, shape: Shape = (256, 256), *, dtype: Literal["uint8", "uint16"] = "uint8"
) -> Scan:
    """Return an SEM image of particles on a substrate that charges.

    Particles of 100 counts with bright rims lie on a substrate of about 60 counts, with uneven illumination
    of up to ±15. Charging raises or lowers parts of rows by about 35 counts. Counts are Poisson distributed
    and limited to the largest number of `dtype`.
    """
    rng = np.random.default_rng(seed)
    terraces = particles(shape, rng, per_pixel=4e-4, radius=15.0, height=100.0)
    background = 60.0 + smooth_background(shape, rng, bound=15.0)
    streaks = charging_streaks(shape, rng, per_line=0.15, length=0.25 * shape[1], height=35.0)
    return Scan(
        lattice=np.zeros(shape),
        terraces=terraces,
        background=background,
        streaks=streaks,
        noise=counting_noise(terraces + background + streaks, rng, largest=int(np.iinfo(dtype).max)),
        pixel_size=5e-9,
        units="counts",
        dtype=dtype,
        technique="SEM",
        title="Gold particles on a charging substrate",
    )


def stem_haadf_scan(seed: Seed, shape: Shape = (256, 256)) -> Scan:
    """Return a low-dose image of SrTiO3 [001] like those of HAADF-STEM.

    Strontium columns, 12 counts high, form a square lattice of 0.3905 nm; titanium columns, 5 counts high,
    are at its centres. All are Gaussians with a standard deviation of 60 pm. The thickness of the specimen
    gives a background of 3 ± 1.5 counts. Counts are Poisson distributed.
    """
    rng = np.random.default_rng(seed)
    pixel_size = 0.02e-9
    lattice = column_lattice(
        shape,
        period=0.3905e-9 / pixel_size,
        width=0.06e-9 / pixel_size,
        heights=(12.0, 5.0),
        angle=rng.uniform(0, np.pi / 2),
    )
    background = 3.0 + smooth_background(shape, rng, bound=1.5)
    return Scan(
        lattice=lattice,
        terraces=np.zeros(shape),
        background=background,
        streaks=np.zeros(shape),
        noise=counting_noise(lattice + background, rng, largest=int(np.iinfo(np.uint16).max)),
        pixel_size=pixel_size,
        units="counts",
        dtype="uint16",
        technique="STEM",
        title="SrTiO3 [001], HAADF, low dose",
    )
