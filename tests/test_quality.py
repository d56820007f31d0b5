import time

import numpy as np
import pytest

from tvtasks import quality
from tvtasks import synthetic as syn

RNG = np.random.default_rng(0)


def lattice(shape=(128, 128), period=9.0):
    return syn.wave_lattice(shape, period=period, corrugation=1.0, angle=0.3, symmetry="square")


class TestWithoutTheTruth:
    def test_noise_is_white_and_structure_is_not(self):
        noise = RNG.normal(size=(128, 128))
        assert quality.whiteness(noise) > 0.95
        assert quality.whiteness(noise + 2 * lattice()) < 0.9
        assert quality.whiteness(np.zeros((64, 64))) is None

    def test_what_rounding_leaves_is_not_judged(self):
        flat = (1.0 + lattice()).astype(np.float32)
        assert quality.assess(flat, flat + np.float32(1e-7), flat=flat).whiteness is None
        assert quality.assess(flat, flat + RNG.normal(0, 1e-3, flat.shape), flat=flat).whiteness > 0.9

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
