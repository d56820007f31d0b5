import numpy as np
import pytest

from tests import components
from tvtasks import synthetic as syn


@pytest.fixture(scope="session")
def lattice_scan():
    """Make a lattice of a period in nm on a background of its own, scanned at a pixel size in nm."""

    def scan(pixel=1.0, side=128, seed=0, period=12.0, noise=0.08):
        shape = (side, side)
        vectors = components.lattice_vectors("hexagonal", period=period / pixel, angle=0.4)
        where = syn.centred(shape)
        image = components.peak_lattice(where, vectors, [components.Site((0, 0), 1.0, 0.24 * period / pixel)])
        y, x = (pixel * axis for axis in where)
        image += 3 * np.sin(2 * np.pi * y / 180 + 1) * np.cos(2 * np.pi * x / 230) + 0.004 * x
        image += components.gaussian_noise(shape, np.random.default_rng(seed), sigma=noise)
        return (image - image.min()) / np.ptp(image)

    return scan


@pytest.fixture(scope="session")
def counts():
    """A low-dose STEM image: the expected counts, and the counts."""
    rng = np.random.default_rng(3)
    vectors = components.lattice_vectors("square", period=12.0, angle=0.3)
    sites = [components.Site((0, 0), 12.0, 2.2), components.Site((0.5, 0.5), 5.0, 2.2)]
    truth = 3.0 + components.peak_lattice(syn.centred((128, 128)), vectors, sites)
    return truth, rng.poisson(truth).astype(np.float64)
