"""Synthetic scans whose components are known: lattice, defects, terraces, background, streaks and noise.

Each component is a function of its own, with lengths in pixels and heights in the unit of the image; each
``*_scan`` puts components together at the amplitudes of one technique. The same seed gives the same scan.
"""

from tvtasks.synthetic.faults import (
    charging_streaks,
    counting_noise,
    gaussian_noise,
    line_jumps,
    line_scars,
    pink_noise,
    salt_and_pepper,
)
from tvtasks.synthetic.grid import Coordinates, FloatImage, Shape, centred, drifted
from tvtasks.synthetic.lattices import (
    Site,
    Symmetry,
    adsorbates,
    column_lattice,
    lattice_vectors,
    peak_lattice,
    vacancies,
    wave_lattice,
)
from tvtasks.synthetic.scans import (
    Scan,
    Seed,
    afm_lattice_scan,
    sem_charging_scan,
    stem_haadf_scan,
    stm_terrace_scan,
)
from tvtasks.synthetic.surfaces import particles, plane, smooth_background, step_terraces

__all__ = [
    "Coordinates", "FloatImage", "Scan", "Seed", "Shape", "Site", "Symmetry", "adsorbates",
    "afm_lattice_scan", "centred", "charging_streaks", "column_lattice", "counting_noise", "drifted",
    "gaussian_noise", "lattice_vectors", "line_jumps", "line_scars", "particles", "peak_lattice",
    "pink_noise",
    "plane", "salt_and_pepper", "sem_charging_scan", "smooth_background", "stem_haadf_scan",
    "step_terraces", "stm_terrace_scan", "vacancies", "wave_lattice",
]  # fmt: skip
