import numpy as np
import pytest

from tests import truth
from tvtasks import synthetic as syn

RNG = np.random.default_rng(0)


def lattice(shape=(128, 128), period=9.0):
    return syn.wave_lattice(shape, period=period, corrugation=1.0, angle=0.3, symmetry="square")


def test_a_constant_does_not_count():
    true = lattice()
    found = truth.compare(true + 7.0, true)
    assert found.rmse == pytest.approx(0, abs=1e-12)
    assert found.ssim == pytest.approx(1)
    assert found.lattice_kept == pytest.approx(1)
    assert found.line_offset == pytest.approx(0, abs=1e-12)


def test_psnr_is_the_range_over_the_error():
    true = lattice()
    error = np.where(np.indices(true.shape).sum(axis=0) % 2, 0.01, -0.01) * np.ptp(true)
    assert truth.psnr(true + error, true) == pytest.approx(40)


def test_ssim_is_scikit_images():
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is in the extra [bench]")
    true = lattice() + 3
    found = true + RNG.normal(0, 0.1, true.shape)
    theirs = metrics.structural_similarity(
        found,
        true,
        data_range=np.ptp(true),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert truth.ssim(found, true) == pytest.approx(theirs, abs=1e-9)


def test_ssim_of_single_windows_is_the_formula():
    # On 11 × 11 pixels one window is left: means and variances under its weights, as Wang et al. have it.
    true, found = RNG.random((2, 11, 11))
    at = np.arange(-5, 6)
    weights = np.exp(-(at**2) / (2 * 1.5**2))
    weights = np.outer(weights, weights) / weights.sum() ** 2
    mx, my = (weights * found).sum(), (weights * true).sum()
    vx, vy = (weights * (found - mx) ** 2).sum(), (weights * (true - my) ** 2).sum()
    cov = (weights * (found - mx) * (true - my)).sum()
    c1, c2 = (0.01 * np.ptp(true)) ** 2, (0.03 * np.ptp(true)) ** 2
    expected = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert truth.ssim(found, true) == pytest.approx(expected)


@pytest.mark.parametrize("kept", [0.6, 0.9])
def test_lattice_kept_is_its_amplitude_whatever_else_there_is(kept):
    true = lattice()
    found = kept * true + RNG.normal(0, 0.05, true.shape) + np.linspace(0, 3, 128)
    assert truth.lattice_kept(found, true) == pytest.approx(kept, abs=0.02)


def test_without_a_lattice_none_is_kept():
    assert truth.lattice_kept(RNG.normal(size=(64, 64)), RNG.normal(size=(64, 64))) is None


def test_line_offsets_are_what_was_added_to_lines():
    offsets = RNG.normal(0, 2.0, (128, 1))
    true = lattice()
    assert truth.line_offset(true + offsets, true) == pytest.approx(offsets.std())


def test_step_height_error_sees_through_tilt():
    terraces = syn.step_terraces(
        (96, 128), np.random.default_rng(1), steps=2, step_height=0.3, angle=0.2, meander=4.0
    )
    image = 0.8 * terraces + syn.plane((96, 128), rise=(1.0, -2.0))
    assert truth.step_height_error(image, terraces) == pytest.approx(-0.2)
