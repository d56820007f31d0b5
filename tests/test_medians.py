import numpy as np
import pytest
from scipy.ndimage import median_filter as scipy_median

from tvtasks.medians import median_filter


@pytest.mark.parametrize("window", [(3, 1), (1, 3), (3, 3), (5, 1), (1, 1)])
@pytest.mark.parametrize("shape", [(20, 17), (1, 9), (9, 1), (2, 5)])
def test_it_is_scipys_bit_for_bit(window, shape):
    image = np.random.default_rng(0).integers(0, 9, shape).astype(np.float32)
    before = image.copy()
    filtered = median_filter(image, *window)
    np.testing.assert_array_equal(filtered, scipy_median(image, window, mode="reflect"))
    np.testing.assert_array_equal(image, before)
    assert filtered.dtype == image.dtype
