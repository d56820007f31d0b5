"""Synthetic scans with known components: lattice, terraces, background, streaks and noise.

One function creates each component, with lengths in pixels and heights in the unit of the image. Each
``*_scan`` function adds components with the amplitudes of one technique. The same seed gives the same scan.

>>> scan = stm_terrace_scan(seed=1, shape=(64, 64))
>>> scan.image.shape, scan.units, scan.technique
((64, 64), 'm', 'STM')
"""

from tvtasks.synthetic.coordinates import Coordinates, FloatImage, Shape, centred
from tvtasks.synthetic.faults import charging_streaks, counting_noise, line_jumps, line_scars
from tvtasks.synthetic.lattices import column_lattice, wave_lattice
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
    "Coordinates",
    "FloatImage",
    "Scan",
    "Seed",
    "Shape",
    "afm_lattice_scan",
    "centred",
    "charging_streaks",
    "column_lattice",
    "counting_noise",
    "line_jumps",
    "line_scars",
    "particles",
    "plane",
    "sem_charging_scan",
    "smooth_background",
    "stem_haadf_scan",
    "step_terraces",
    "stm_terrace_scan",
    "wave_lattice",
]
