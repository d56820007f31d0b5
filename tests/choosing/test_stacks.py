import numpy as np
import pytest
from scipy.ndimage import shift as moved

from tests.benchmarks import crystals_families as scenes
from tvtasks.choosing.denoising import denoise_auto
from tvtasks.choosing.noise import estimate_noise
from tvtasks.choosing.stacks import denoise_stack, find_drifts
from tvtasks.errors import UnusableImageError

DRIFTS = np.array([(0, 0), (1.3, -2.6), (3.1, -4.2), (2.2, -6.5)])


def frames(number=4, side=160, dose=2.0):
    """Frames of one drifting crystal with vacancies, in counts, and the truth of the first."""
    rng = np.random.default_rng(3)
    wide = np.zeros((side + 40, side + 40))
    crystal = scenes.crystal(rng, period=(9, 12), kind="gaussian")
    scenes.render(wide, crystal, rng, missing=0.03)
    wide = dose * (wide + 3)
    views = [moved(wide, d, order=3, mode="nearest")[20:-20, 20:-20] for d in DRIFTS[:number]]
    return np.stack([rng.poisson(np.maximum(v, 0)) for v in views]).astype(float), views[0]


def test_drift_is_found_to_a_fraction_of_a_pixel():
    stack, _ = frames()
    assert np.abs(find_drifts(stack, estimate_noise(stack)) - DRIFTS).max() < 0.2


def test_looks_come_from_all_frames():
    stack, truth = frames()
    found = denoise_stack(stack)
    (top, left), (rows, columns) = found.corner, found.denoised.image.shape
    part = truth[top : top + rows, left : left + columns]
    alone = denoise_auto(stack[0]).image[top : top + rows, left : left + columns]
    assert scenes.score(found.denoised.image, part) > scenes.score(alone, part) + 1.5
    assert "4 frames" in found.denoised.reason


def test_one_frame_is_an_image():
    stack, _ = frames(1)
    assert np.array_equal(denoise_stack(stack).denoised.image, denoise_auto(stack[0]).image)


@pytest.mark.parametrize("stack", [np.zeros((40, 40)), np.zeros((0, 40, 40)), np.full((2, 40, 40), np.inf)])
def test_what_is_no_stack_is_refused(stack):
    with pytest.raises(UnusableImageError, match="stack"):
        denoise_stack(stack)
