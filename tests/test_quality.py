import time

import numpy as np
import pytest

from tvtasks import quality
from tvtasks import synthetic as syn

RNG = np.random.default_rng(0)


def lattice(shape=(128, 128), period=9.0):
    return syn.wave_lattice(shape, period=period, corrugation=1.0, angle=0.3, symmetry="square")


class TestAgainstTheTruth:
    def test_a_constant_does_not_count(self):
        truth = lattice()
        found = quality.compare(truth + 7.0, truth)
        assert found.rmse == pytest.approx(0, abs=1e-12)
        assert found.ssim == pytest.approx(1)
        assert found.lattice_kept == pytest.approx(1)
        assert found.line_offset == pytest.approx(0, abs=1e-12)

    def test_psnr_is_the_range_over_the_error(self):
        truth = lattice()
        error = np.where(np.indices(truth.shape).sum(axis=0) % 2, 0.01, -0.01) * np.ptp(truth)
        assert quality.psnr(truth + error, truth) == pytest.approx(40)

    def test_ssim_is_scikit_images(self):
        metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is in the extra [bench]")
        truth = lattice() + 3
        found = truth + RNG.normal(0, 0.1, truth.shape)
        theirs = metrics.structural_similarity(
            found, truth, data_range=np.ptp(truth), gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False,
        )  # fmt: skip
        assert quality.ssim(found, truth) == pytest.approx(theirs, abs=1e-9)

    def test_ssim_of_single_windows_is_the_formula(self):
        # On 11 × 11 pixels one window is left: means and variances under its weights, as Wang et al. have it.
        truth, found = RNG.random((2, 11, 11))
        at = np.arange(-5, 6)
        weights = np.exp(-(at**2) / (2 * 1.5**2))
        weights = np.outer(weights, weights) / weights.sum() ** 2
        mx, my = (weights * found).sum(), (weights * truth).sum()
        vx, vy = (weights * (found - mx) ** 2).sum(), (weights * (truth - my) ** 2).sum()
        cov = (weights * (found - mx) * (truth - my)).sum()
        c1, c2 = (0.01 * np.ptp(truth)) ** 2, (0.03 * np.ptp(truth)) ** 2
        expected = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
        assert quality.ssim(found, truth) == pytest.approx(expected)

    @pytest.mark.parametrize("kept", [0.6, 0.9])
    def test_lattice_kept_is_its_amplitude_whatever_else_there_is(self, kept):
        truth = lattice()
        found = kept * truth + RNG.normal(0, 0.05, truth.shape) + np.linspace(0, 3, 128)
        assert quality.lattice_kept(found, truth) == pytest.approx(kept, abs=0.02)

    def test_without_a_lattice_none_is_kept(self):
        assert quality.lattice_kept(RNG.normal(size=(64, 64)), RNG.normal(size=(64, 64))) is None

    def test_line_offsets_are_what_was_added_to_lines(self):
        offsets = RNG.normal(0, 2.0, (128, 1))
        truth = lattice()
        assert quality.line_offset(truth + offsets, truth) == pytest.approx(offsets.std())

    def test_step_height_error_sees_through_tilt(self):
        terraces = syn.step_terraces(
            (96, 128), np.random.default_rng(1), steps=2, step_height=0.3, angle=0.2, meander=4.0
        )
        image = 0.8 * terraces + syn.plane((96, 128), rise=(1.0, -2.0))
        assert quality.step_height_error(image, terraces) == pytest.approx(-0.2)


class TestWithoutTheTruth:
    def test_noise_is_white_and_structure_is_not(self):
        noise = RNG.normal(size=(128, 128))
        assert quality.whiteness(noise) > 0.95
        assert quality.whiteness(noise + 2 * lattice()) < 0.9
        assert quality.whiteness(np.zeros((64, 64))) is None

    def test_stripes_taken_away_show(self):
        sample, stripes = lattice(), np.repeat(RNG.normal(0, 1.0, (128, 1)), 128, axis=1)
        marks = quality.assess(sample + stripes, sample, stripes)
        assert marks.line_jumps_before > 10 * marks.line_jumps_after
        assert marks.whiteness is None

    def test_lattice_that_went_into_the_background_shows(self):
        sample = lattice() + RNG.normal(0, 0.05, (128, 128))
        good = quality.assess(sample, sample - 0.0, 0.02 * sample)
        bad = quality.assess(sample, 0.5 * sample, 0.5 * sample)
        assert good.lattice_in_background == pytest.approx(0.02, abs=1e-6)
        assert bad.lattice_in_background == pytest.approx(0.5, abs=1e-6)
        assert bad.lattice_before > 100

    def test_less_noise_makes_the_lattice_stand_out_more(self):
        sample = lattice()
        noise = RNG.normal(0, 0.3, sample.shape)
        marks = quality.assess(sample + noise, sample + 0.1 * noise, flat=sample + noise)
        assert marks.lattice_after > 3 * marks.lattice_before
        assert marks.whiteness > 0.95

    def test_saturation_counts_shared_extremes_only(self):
        image = np.linspace(0, 1, 100).reshape(10, 10)
        assert quality.saturated(image) == 0
        assert quality.saturated(np.minimum(image, 0.8999)) == pytest.approx(0.1)

    @pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (31, 31)])
    def test_images_too_small_for_a_spectrum_are_no_error(self, shape):
        image = RNG.random(shape)
        assert quality.assess(image, image / 2, image / 2, image).lattice_before is None

    def test_record_is_plain(self):
        import json

        assert json.loads(json.dumps(quality.assess(lattice(), lattice()).record))["whiteness"] is None

    def test_all_marks_are_cheap(self):
        raw = syn.afm_lattice_scan(0, (512, 512)).image
        quality.assess(raw, raw, raw, raw)
        began = time.process_time()
        quality.assess(raw, raw, raw, raw)
        assert time.process_time() - began < 0.08  # 0.015 measured; the rest is for a busy machine
